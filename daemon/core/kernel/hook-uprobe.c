#define _GNU_SOURCE
/* uprobe, uretprobe: a uprobe_multi link at one offset of a file that core opens itself. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"

#define PID_LIMIT 4194304

static int open_target(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const char *path = hook_target(attach->hook);
	const struct kernel_resolved *resolved = attach->resolved;
	/*
	 * O_PATH: the file may be anything, our own database included, and closing an fd that was
	 * opened for reading would drop the locks SQLite holds on it. The kernel follows
	 * /proc/self/fd/N all the same.
	 */
	_cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, errno, "cannot open %.400s",
					 path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "%.400s is not a file", path);
	if (st.st_dev != resolved->dev || st.st_ino != resolved->inode)
		return error_raise(err, ERROR_TARGET_CHANGED,
				   "%.400s is not the file in which the symbol was found", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int pid_of(const struct kernel_attach *attach, uint32_t *ret, struct error *err)
{
	const char *text = hook_option(attach->hook, "pid");
	uint64_t pid = 0;

	if (text != NULL && str_to_u64(text, PID_LIMIT, &pid) < 0)
		return error_raise(err, ERROR_INVALID_HOOK, "'%.32s' is no pid", text);
	*ret = (uint32_t)pid;
	return 0;
}

static int attach_uprobe(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	_cleanup_close_ int target = -1;
	unsigned long offset;
	char path[64];
	int fd, r;

	if (attach->resolved == NULL)
		return error_raise(err, ERROR_INVALID_HOOK, "the symbol was not resolved");
	r = open_target(attach, &target, err);
	if (r == 0)
		r = pid_of(attach, &opts.uprobe_multi.pid, err);
	if (r < 0)
		return r;
	/* The path that the kernel gets leads to the very file that was compared. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	offset = (unsigned long)attach->resolved->offset;
	opts.uprobe_multi.path = path;
	opts.uprobe_multi.offsets = &offset;
	opts.uprobe_multi.cnt = 1;
	if (hook_kind(attach->hook) == HOOK_URETPROBE)
		opts.uprobe_multi.flags = BPF_F_UPROBE_MULTI_RETURN;
	fd = bpf_link_create(attach->program_fd, 0, BPF_TRACE_UPROBE_MULTI, &opts);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno == ESRCH)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no process %u",
				   opts.uprobe_multi.pid);
	if (errno == EINVAL)
		return error_raise_errno(
			err, ERROR_KERNEL_UNSUPPORTED, errno,
			"the kernel takes no uprobe at offset 0x%lx (before Linux 6.6 "
			"none at all)",
			offset);
	return hook_raise_attach(attach, errno, err);
}

static int compare_uprobe(const struct kernel_attach *attach, int link_fd,
			  const struct bpf_link_info *info, struct kernel_link_view *view,
			  struct error *err)
{
	static const char deleted[] = " (deleted)";
	_cleanup_free_ char *path = NULL;
	struct bpf_link_info named = { 0 };
	uint32_t size = sizeof(named), pid;
	size_t n;
	int r;

	(void)info;
	r = pid_of(attach, &pid, err);
	if (r < 0)
		return r;
	path = calloc(1, PATH_MAX);
	if (path == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a path");
	named.uprobe_multi.path = (uintptr_t)path;
	named.uprobe_multi.path_size = PATH_MAX;
	if (bpf_link_get_info_by_fd(link_fd, &named, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a link");
	/* Before Linux 6.8 a link does not say what it is on. */
	if (named.uprobe_multi.count == 0)
		return 0;
	n = strlen(path);
	if (n >= sizeof(deleted) && strcmp(path + n - (sizeof(deleted) - 1), deleted) == 0)
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "the file %.100s was removed",
			     hook_target(attach->hook));
	else if (named.uprobe_multi.count != 1 || named.uprobe_multi.pid != pid)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on %u places of process %u",
			     named.uprobe_multi.count, named.uprobe_multi.pid);
	return 0;
}

static void probe_uprobe(struct kernel_support *ret)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	const unsigned long offset = 0;
	_cleanup_close_ int program = -1, fd = -1;
	const int r = hook_try_load(BPF_PROG_TYPE_KPROBE, BPF_TRACE_UPROBE_MULTI, 0, &program);

	if (r < 0) {
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s",
			       error_errno_name(-r));
		return;
	}
	/* A directory has no text: a kernel that knows uprobe_multi says EBADF. */
	opts.uprobe_multi.path = "/";
	opts.uprobe_multi.offsets = &offset;
	opts.uprobe_multi.cnt = 1;
	fd = bpf_link_create(program, 0, BPF_TRACE_UPROBE_MULTI, &opts);
	ret->supported = fd < 0 && errno == EBADF;
	if (!ret->supported)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "uprobe_multi links (Linux 6.6) are missing: %s",
			       error_errno_name(errno));
}

/* Through perf, a uprobe needs CAP_SYS_ADMIN. */
#define UPROBE(kind)                                     \
	const struct hook_ops hook_##kind = {            \
		.link_type = BPF_LINK_TYPE_UPROBE_MULTI, \
		.load_as = BPF_TRACE_UPROBE_MULTI,       \
		.attach = attach_uprobe,                 \
		.compare = compare_uprobe,               \
		.probe = probe_uprobe,                   \
	}

UPROBE(uprobe);
UPROBE(uretprobe);
