/* raw_tp: a raw tracepoint by name. tp_btf: the same with typed arguments, bound at load. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

#define NAME_MAX_TP 128

static int tracepoint_of(int link_fd, char name[static NAME_MAX_TP], struct error *err)
{
	struct bpf_link_info info = { 0 };
	uint32_t size = sizeof(info);

	info.raw_tracepoint.tp_name = (uintptr_t)name;
	info.raw_tracepoint.tp_name_len = NAME_MAX_TP;
	if (bpf_link_get_info_by_fd(link_fd, &info, &size) < 0 && errno != ENOSPC)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a link");
	return 0;
}

static int open_tracepoint(const struct kernel_attach *attach, const char *name, int *ret_fd,
			   struct error *err)
{
	const int fd = bpf_raw_tracepoint_open(name, attach->program_fd);

	if (fd < 0 && errno == ENOENT)
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "this kernel has no raw tracepoint '%s'",
				   hook_target(attach->hook));
	if (fd < 0 && errno == EINVAL && name != NULL)
		return error_raise_errno(err, ERROR_INVALID_HOOK, errno,
					 "the program reads past the arguments of '%s'", name);
	if (fd < 0)
		return hook_raise_attach(attach, errno, err);
	*ret_fd = fd;
	return 0;
}

static int attach_raw_tp(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	return open_tracepoint(attach, hook_target(attach->hook), ret_fd, err);
}

static int attach_tp_btf(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	char name[NAME_MAX_TP] = "";
	_cleanup_close_ int fd = -1;
	int r;

	r = open_tracepoint(attach, NULL, &fd, err);
	if (r == 0)
		r = tracepoint_of(fd, name, err);
	if (r < 0)
		return r;
	if (strcmp(name, hook_target(attach->hook)) != 0)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "the program was bound to tp_btf:%s when it was loaded", name);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int compare_raw_tp(const struct kernel_attach *attach, int link_fd,
			  const struct bpf_link_info *info, struct kernel_link_view *view,
			  struct error *err)
{
	char name[NAME_MAX_TP] = "";
	int r;

	(void)info;
	r = tracepoint_of(link_fd, name, err);
	if (r == 0 && strcmp(name, hook_target(attach->hook)) != 0)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on tracepoint %.100s", name);
	return r;
}

static void probe_raw_tp(struct kernel_support *ret)
{
	hook_probe_load(BPF_PROG_TYPE_RAW_TRACEPOINT, 0, ret);
}

/*
 * The first type of the kernel is an integer and no tracepoint: a kernel that would take a program
 * bound to one gets as far as saying EINVAL. To find the type of a real one takes 10 ms, at every
 * start.
 */
static void probe_tp_btf(struct kernel_support *ret)
{
	_cleanup_close_ int types = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC), fd = -1;
	const int missing = errno;
	const int r = hook_try_load(BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, 1, &fd);

	ret->supported = types >= 0 && r == -EINVAL;
	if (types < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "no type information of this kernel: %s", error_errno_name(missing));
	else if (r != -EINVAL)
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s",
			       error_errno_name(-r));
}

const struct hook_ops hook_raw_tp = {
	.link_type = BPF_LINK_TYPE_RAW_TRACEPOINT,
	.attach = attach_raw_tp,
	.compare = compare_raw_tp,
	.probe = probe_raw_tp,
};

const struct hook_ops hook_tp_btf = {
	.link_type = BPF_LINK_TYPE_RAW_TRACEPOINT,
	.attach = attach_tp_btf,
	.compare = compare_raw_tp,
	.probe = probe_tp_btf,
};
