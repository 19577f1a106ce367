/* raw_tp: a raw tracepoint by name. tp_btf: the same with typed arguments, bound at load. */
#include <bpf/libbpf.h>
#include <errno.h>
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

static void probe_tp_btf(struct kernel_support *ret)
{
	const int id = libbpf_find_vmlinux_btf_id("sys_enter", BPF_TRACE_RAW_TP);
	_cleanup_close_ int fd = -1;
	int r = id;

	if (id > 0)
		r = hook_try_load(BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, (uint32_t)id, &fd);
	ret->supported = r == 0;
	if (r < 0)
		(void)snprintf(ret->detail, sizeof(ret->detail), "%s: %s",
			       id < 0 ? "no type information of this kernel" : "loading one fails",
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
