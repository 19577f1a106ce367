/* tracepoint: a link on a perf event; the supervisor reads the event's id from tracefs. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

/* An event of tracepoint id, disabled; fd or negative errno. Any CPU will do, programs run on all.
 */
static int open_event(uint64_t id)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = id,
		.sample_period = 1,
		.disabled = 1,
	};
	const long fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

static int raise_event(const struct kernel_attach *attach, int sys_errno, struct error *err)
{
	if (sys_errno == EACCES || sys_errno == EPERM)
		return error_raise_errno(
			err, ERROR_KERNEL_UNSUPPORTED, sys_errno,
			"this kernel refuses perf events; set kernel.perf_event_paranoid "
			"to 2 or less, or use raw_tp or tp_btf");
	return hook_raise_attach(attach, sys_errno, err);
}

static int attach_tracepoint(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const struct kernel_context *context = attach->context;
	const char *category = hook_target(attach->hook);
	const char *name = hook_argument(attach->hook);
	_cleanup_close_ int event = -1, fd = -1;
	uint32_t id;
	int r;

	r = context->tracepoint_id(context->user, category, name, &id, err);
	if (r < 0)
		return r;
	event = open_event(id);
	if (event < 0)
		return raise_event(attach, -event, err);
	fd = bpf_link_create(attach->program_fd, event, BPF_PERF_EVENT, NULL);
	if (fd < 0 && errno == EACCES)
		return error_raise_errno(err, ERROR_INVALID_HOOK, errno,
					 "the program reads past the record of %s:%s", category,
					 name);
	if (fd < 0)
		return hook_raise_attach(attach, errno, err);
	if (ioctl(event, PERF_EVENT_IOC_ENABLE, 0) < 0)
		return hook_raise_attach(attach, errno, err);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int compare_tracepoint(const struct kernel_attach *attach, int link_fd,
			      const struct bpf_link_info *info, struct kernel_link_view *view,
			      struct error *err)
{
	struct bpf_link_info named = { 0 };
	uint32_t size = sizeof(named);
	char name[256] = "";

	/* Before Linux 6.6 a link does not say what event it is on. */
	if (info->perf_event.type == BPF_PERF_EVENT_UNSPEC)
		return 0;
	if (info->perf_event.type != BPF_PERF_EVENT_TRACEPOINT) {
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on a perf event of another type");
		return 0;
	}
	named.perf_event.tracepoint.tp_name = (uintptr_t)name;
	named.perf_event.tracepoint.name_len = sizeof(name);
	if (bpf_link_get_info_by_fd(link_fd, &named, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a link");
	if (strcmp(name, hook_argument(attach->hook)) != 0)
		hook_differs(view, KERNEL_LINK_DRIFTED, "it is on tracepoint %.100s", name);
	return 0;
}

static void probe_tracepoint(struct kernel_support *ret)
{
	int event;

	hook_probe_load(BPF_PROG_TYPE_TRACEPOINT, 0, ret);
	if (!ret->supported)
		return;
	/* There is no such id: a kernel that allows perf events says so. */
	event = open_event(UINT32_MAX);
	if (event >= 0)
		(void)close(event);
	if (event != -EACCES && event != -EPERM && event != -ENOSYS)
		return;
	ret->supported = false;
	(void)snprintf(ret->detail, sizeof(ret->detail),
		       "perf events are refused (kernel.perf_event_paranoid): %s",
		       error_errno_name(-event));
}

const struct hook_ops hook_tracepoint = {
	.link_type = BPF_LINK_TYPE_PERF_EVENT,
	.attach = attach_tracepoint,
	.compare = compare_tracepoint,
	.probe = probe_tracepoint,
};
