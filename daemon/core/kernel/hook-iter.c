/*
 * iter: a program that prints about each task, map, socket and so on; a link makes as many runs of
 * it as are asked for, each an fd to be read. And programs of type syscall, which are only called.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"

static int attach_iter(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	const char *cgroup = hook_option(attach->hook, "cgroup");
	const char *pid = hook_option(attach->hook, "pid");
	union bpf_iter_link_info info = { 0 };
	_cleanup_close_ int cgroup_fd = -1;
	uint64_t number = 0;
	int fd, r = 0;

	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	if ((cgroup != NULL) + (pid != NULL) + (hook_option(attach->hook, "map") != NULL) > 1)
		return error_raise(err, ERROR_INVALID_HOOK,
				   "%s: an iterator takes one of cgroup, map and pid",
				   hook_text(attach->hook));
	if (cgroup != NULL) {
		r = cgroup_open(cgroup, &cgroup_fd, err);
		info.cgroup.cgroup_fd = (uint32_t)cgroup_fd;
		info.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE;
	} else if (pid != NULL) {
		r = str_to_u64(pid, INT32_MAX, &number);
		info.task.pid = (uint32_t)number;
	} else if (hook_option(attach->hook, "map") != NULL) {
		info.map.map_fd = (uint32_t)attach->target_fd;
	} else {
		opts.iter_info = NULL;
		opts.iter_info_len = 0;
	}
	if (r < 0)
		return r;
	fd = bpf_link_create(attach->program_fd, 0, BPF_TRACE_ITER, &opts);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno == ESRCH)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no process %s", pid);
	if (errno == EINVAL || errno == EBADF || errno == EACCES)
		return error_raise_errno(
			err, ERROR_INVALID_HOOK, errno,
			"%s: these iterators need another option, or take none "
			"(map for bpf_map_elem and bpf_sk_storage_map, with keys and "
			"values no smaller than the program reads; cgroup for "
			"cgroup; pid for task)",
			hook_text(attach->hook));
	return hook_raise_attach(attach, errno, err);
}

static int compare_iter(const struct kernel_attach *attach, int link_fd,
			const struct bpf_link_info *info, struct kernel_link_view *view,
			struct error *err)
{
	/* What a program iterates over is bound at load, and its id has been compared. */
	(void)attach;
	(void)link_fd;
	(void)info;
	(void)view;
	(void)err;
	return 0;
}

static void probe_iter(struct kernel_support *ret)
{
	hook_probe_bound(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, ret);
}

const struct hook_ops hook_iter = {
	.link_type = BPF_LINK_TYPE_ITER,
	.load_as = BPF_TRACE_ITER,
	.bound = true,
	.update = hook_update_link,
	.attach = attach_iter,
	.compare = compare_iter,
	.probe = probe_iter,
};

int kernel_open_iterator(int link_fd, int *ret_fd, struct error *err)
{
	const int fd = bpf_iter_create(link_fd);

	if (fd < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot run an iterator");
	*ret_fd = fd;
	return 0;
}

int kernel_run_program(int program_fd, void *context, size_t context_size, uint32_t *ret_value,
		       struct error *err)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = context,
		    .ctx_size_in = (uint32_t)context_size);

	if (context_size == 0)
		opts.ctx_in = NULL;
	if (bpf_prog_test_run_opts(program_fd, &opts) < 0) {
		if (errno == EINVAL)
			return error_raise_errno(err, ERROR_INVALID_ARGUMENT, errno,
						 "the program looks at more than the %zu bytes of "
						 "context that it was given",
						 context_size);
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "the kernel would not call the program");
	}
	*ret_value = opts.retval;
	return 0;
}
