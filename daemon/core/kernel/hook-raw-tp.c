/*
 * raw_tp: a raw tracepoint by name. Bound at load: tp_btf (the same with typed arguments), fentry,
 * fexit, fmod_ret and lsm (functions of the kernel).
 */
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

static int attach_bound(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	return open_tracepoint(attach, NULL, ret_fd, err);
}

static int compare_bound(const struct kernel_attach *attach, int link_fd,
			 const struct bpf_link_info *info, struct kernel_link_view *view,
			 struct error *err)
{
	const int load_as = hook_ops_of(hook_kind(attach->hook))->load_as;

	(void)link_fd;
	(void)err;
	/* A program is bound to one function for good, so that its id says the rest. */
	if (info->tracing.attach_type != (uint32_t)load_as)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is attached in another way (%u)",
			     info->tracing.attach_type);
	return 0;
}

/*
 * The first type of the kernel is an integer, nothing that a program could be bound to: a kernel
 * that would take one gets as far as saying EINVAL. To find a real one takes 10 ms, at every start.
 */
void hook_probe_bound(enum bpf_prog_type type, enum bpf_attach_type expected,
		      struct kernel_support *ret)
{
	_cleanup_close_ int types = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC), fd = -1;
	const int missing = errno;
	const int r = hook_try_load(type, expected, 1, &fd);

	ret->supported = types >= 0 && r == -EINVAL;
	if (types < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail),
			       "no type information of this kernel: %s", error_errno_name(missing));
	else if (r != -EINVAL)
		(void)snprintf(ret->detail, sizeof(ret->detail), "loading one fails: %s%s",
			       error_errno_name(-r),
			       r == -EPERM ? "; a policy of this kernel forbids it" : "");
}

const struct hook_ops hook_raw_tp = {
	.link_type = BPF_LINK_TYPE_RAW_TRACEPOINT,
	.load_as = HOOK_AS_IS,
	.attach = attach_raw_tp,
	.compare = compare_raw_tp,
	.probe = probe_raw_tp,
};

/* A kind whose programs are bound at load. */
#define BOUND(kind, type, expected, type_of_link, attach_function, compare_function) \
	static void probe_##kind(struct kernel_support *ret)                         \
	{                                                                            \
		hook_probe_bound(type, expected, ret);                               \
	}                                                                            \
	const struct hook_ops hook_##kind = {                                        \
		.link_type = (type_of_link),                                         \
		.load_as = (expected),                                               \
		.bound = true,                                                       \
		.attach = (attach_function),                                         \
		.compare = (compare_function),                                       \
		.probe = probe_##kind,                                               \
	}

BOUND(tp_btf, BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, BPF_LINK_TYPE_RAW_TRACEPOINT, attach_tp_btf,
      compare_raw_tp);
BOUND(fentry, BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY, BPF_LINK_TYPE_TRACING, attach_bound,
      compare_bound);
BOUND(fexit, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, BPF_LINK_TYPE_TRACING, attach_bound,
      compare_bound);
BOUND(fmod_ret, BPF_PROG_TYPE_TRACING, BPF_MODIFY_RETURN, BPF_LINK_TYPE_TRACING, attach_bound,
      compare_bound);
BOUND(lsm, BPF_PROG_TYPE_LSM, BPF_LSM_MAC, BPF_LINK_TYPE_TRACING, attach_bound, compare_bound);
