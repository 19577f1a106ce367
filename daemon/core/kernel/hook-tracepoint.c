/* tracepoint: a link on a perf event; the supervisor reads the event's id from tracefs. */
#include <linux/perf_event.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

static int attach_tracepoint(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .sample_period = 1 };
	const struct kernel_context *context = attach->context;
	uint32_t id;
	int r;

	r = context->tracepoint_id(context->user, hook_target(attach->hook),
				   hook_argument(attach->hook), &id, err);
	if (r < 0)
		return r;
	attr.config = id;
	/* Any CPU will do, programs run on all. */
	return perf_attach(attach, &attr, -1, 0, ret_fd, err);
}

static int compare_tracepoint(const struct kernel_attach *attach, int link_fd,
			      const struct bpf_link_info *info, struct kernel_link_view *view,
			      struct error *err)
{
	return perf_compare(link_fd, info, BPF_PERF_EVENT_TRACEPOINT, hook_argument(attach->hook),
			    view, err);
}

static void probe_tracepoint(struct kernel_support *ret)
{
	/* There is no such id: a kernel that allows perf events says so. */
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT,
					.config = UINT32_MAX,
					.sample_period = 1 };

	perf_probe(BPF_PROG_TYPE_TRACEPOINT, &attr, ret);
}

const struct hook_ops hook_tracepoint = {
	.link_type = BPF_LINK_TYPE_PERF_EVENT,
	.load_as = HOOK_AS_IS,
	.attach = attach_tracepoint,
	.compare = compare_tracepoint,
	.probe = probe_tracepoint,
};
