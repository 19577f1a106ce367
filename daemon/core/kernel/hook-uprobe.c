#define _GNU_SOURCE
/*
 * uprobe, uretprobe, uprobe_session (both ends), usdt: a uprobe_multi link at the places that were
 * found in a file, which core opens itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
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

/*
 * The entry of a program's table that describes a place, new if none does yet. Entry 0 stays what
 * it is: no arguments. Entries are shared and never freed, so that no running program loses its
 * own.
 */
static int find_spec(int map_fd, const struct kernel_probe_spec *spec, __u64 *ret,
		     struct error *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	const struct kernel_probe_spec none = { 0 };
	struct kernel_probe_spec found;
	uint32_t i = 0;
	int r = 0;

	if (map_fd < 0 || memcmp(spec, &none, sizeof(none)) == 0) {
		*ret = 0;
		return 0;
	}
	(void)pthread_mutex_lock(&lock);
	do {
		i++;
		r = bpf_map_lookup_elem(map_fd, &i, &found) < 0 ? -errno : 0;
	} while (r == 0 && memcmp(&found, spec, sizeof(*spec)) != 0 &&
		 memcmp(&found, &none, sizeof(none)) != 0);
	if (r == 0 && memcmp(&found, spec, sizeof(*spec)) != 0)
		r = bpf_map_update_elem(map_fd, &i, spec, BPF_ANY) < 0 ? -errno : 0;
	(void)pthread_mutex_unlock(&lock);
	if (r == -ENOENT)
		return error_raise(
			err, ERROR_LIMIT_EXCEEDED,
			"the program has seen %u probes with different arguments and has "
			"no room for more (BPF_USDT_MAX_SPEC_CNT)",
			i);
	if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r,
					 "cannot describe the probe to the program");
	*ret = i;
	return 0;
}

/* The program's table must hold what we write into it. */
static int check_table(int map_fd, struct error *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	if (map_fd < 0 ||
	    (bpf_map_get_info_by_fd(map_fd, &info, &size) == 0 && info.type == BPF_MAP_TYPE_ARRAY &&
	     info.value_size == sizeof(struct kernel_probe_spec)))
		return 0;
	return error_raise(err, ERROR_INVALID_HOOK,
			   "the program's map __bpf_usdt_specs is not that of usdt.bpf.h");
}

static int create(const struct kernel_attach *attach, const struct kernel_place *places, size_t n,
		  union bpf_attr *attr, int *ret_fd, struct error *err)
{
	const bool is_probe = hook_kind(attach->hook) == HOOK_USDT;
	_cleanup_free_ unsigned long *offsets = calloc(n, sizeof(*offsets));
	_cleanup_free_ unsigned long *semaphores = calloc(n, sizeof(*semaphores));
	_cleanup_free_ __u64 *cookies = calloc(n, sizeof(*cookies));
	int r = 0, fd;

	if (offsets == NULL || semaphores == NULL || cookies == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold the places of a probe");
	if (is_probe)
		r = check_table(attach->target_fd, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		offsets[i] = places[i].offset;
		semaphores[i] = places[i].semaphore;
		if (is_probe)
			r = find_spec(attach->target_fd, &places[i].spec, &cookies[i], err);
	}
	if (r < 0)
		return r;
	attr->link_create.prog_fd = (uint32_t)attach->program_fd;
	attr->link_create.attach_type = (uint32_t)hook_ops_of(hook_kind(attach->hook))->load_as;
	attr->link_create.uprobe_multi.offsets = (uintptr_t)offsets;
	attr->link_create.uprobe_multi.ref_ctr_offsets = (uintptr_t)semaphores;
	attr->link_create.uprobe_multi.cookies = (uintptr_t)cookies;
	attr->link_create.uprobe_multi.cnt = (uint32_t)n;
	if (hook_kind(attach->hook) == HOOK_URETPROBE)
		attr->link_create.uprobe_multi.flags = BPF_F_UPROBE_MULTI_RETURN;
	fd = hook_link_make(attr);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -ESRCH)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no process %u",
				   attr->link_create.uprobe_multi.pid);
	if (fd == -EINVAL)
		return error_raise_errno(
			err, ERROR_KERNEL_UNSUPPORTED, -fd,
			"the kernel takes no uprobe at offset 0x%lx (before Linux 6.6 "
			"none at all)",
			offsets[0]);
	return hook_raise_attach(attach, -fd, err);
}

static int attach_uprobe(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	union bpf_attr attr;
	const struct kernel_resolved *resolved = attach->resolved;
	struct kernel_place function = { 0 };
	_cleanup_close_ int target = -1;
	uint32_t pid = 0;
	char path[64];
	int r;

	if (resolved == NULL || (hook_kind(attach->hook) == HOOK_USDT && resolved->n_places == 0))
		return error_raise(err, ERROR_INVALID_HOOK, "the symbol was not resolved");
	r = open_target(attach, &target, err);
	if (r == 0)
		r = pid_of(attach, &pid, err);
	if (r < 0)
		return r;
	/* The path that the kernel gets leads to the very file that was compared. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	memset(&attr, 0, sizeof(attr));
	attr.link_create.uprobe_multi.path = (uintptr_t)path;
	attr.link_create.uprobe_multi.pid = pid;
	function.offset = resolved->offset;
	if (hook_kind(attach->hook) == HOOK_USDT)
		return create(attach, resolved->places, resolved->n_places, &attr, ret_fd, err);
	return create(attach, &function, 1, &attr, ret_fd, err);
}

static int compare_uprobe(const struct kernel_attach *attach, int link_fd,
			  const struct bpf_link_info *info, struct kernel_link_view *view,
			  struct error *err)
{
	static const char deleted[] = " (deleted)";
	_cleanup_free_ char *path = NULL;
	struct bpf_link_info named = { 0 };
	uint32_t size = sizeof(named), pid;
	size_t n, n_places = 1;
	int r;

	(void)info;
	r = pid_of(attach, &pid, err);
	if (r < 0)
		return r;
	if (attach->resolved != NULL && attach->resolved->n_places > 0)
		n_places = attach->resolved->n_places;
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
	else if (named.uprobe_multi.count != n_places || named.uprobe_multi.pid != pid)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on %u places of process %u",
			     named.uprobe_multi.count, named.uprobe_multi.pid);
	return 0;
}

static void probe_uprobe(struct kernel_support *ret)
{
	const bool session = strcmp(ret->kind, "uprobe_session") == 0;
	const enum bpf_attach_type type =
		session ? (enum bpf_attach_type)HOOK_TRACE_UPROBE_SESSION : BPF_TRACE_UPROBE_MULTI;
	const unsigned long offset = 0;
	_cleanup_close_ int program = -1, fd = -1;
	const int r = hook_try_load(BPF_PROG_TYPE_KPROBE, type, 0, &program);
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	if (r < 0) {
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s",
			       error_errno_name(-r));
		return;
	}
	/* A directory has no text: a kernel that knows uprobe_multi says EBADF. */
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.attach_type = type;
	attr.link_create.uprobe_multi.path = (uintptr_t) "/";
	attr.link_create.uprobe_multi.offsets = (uintptr_t)&offset;
	attr.link_create.uprobe_multi.cnt = 1;
	fd = hook_link_make(&attr);
	ret->supported = fd == -EBADF;
	if (!ret->supported)
		(void)snprintf(ret->detail, sizeof(ret->detail), "%s are missing: %s",
			       session ? "uprobe sessions (Linux 6.13)"
				       : "uprobe_multi links (Linux 6.6)",
			       error_errno_name(-fd));
}

/* Through perf, a uprobe needs CAP_SYS_ADMIN. */
#define UPROBE(kind, type)                               \
	const struct hook_ops hook_##kind = {            \
		.link_type = BPF_LINK_TYPE_UPROBE_MULTI, \
		.load_as = type,                         \
		.attach = attach_uprobe,                 \
		.compare = compare_uprobe,               \
		.probe = probe_uprobe,                   \
	}

UPROBE(uprobe, BPF_TRACE_UPROBE_MULTI);
UPROBE(uretprobe, BPF_TRACE_UPROBE_MULTI);
UPROBE(uprobe_session, HOOK_TRACE_UPROBE_SESSION);
UPROBE(usdt, BPF_TRACE_UPROBE_MULTI);
