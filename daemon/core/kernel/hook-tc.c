/* tc: a tcx link; before Linux 6.6 a clsact filter (tc-clsact.c). netkit: the same on its devices.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/order.h"

/* No interface has this index: a kernel with the type says ENODEV, one without knows no such type.
 */
static bool has_type(enum bpf_attach_type type)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts);

	return bpf_prog_query_opts(INT_MAX, type, &opts) == 0 || errno != EINVAL;
}

bool hook_tc_is_tcx(const struct kernel_context *context)
{
	return (context == NULL || !context->force_clsact) && has_type(BPF_TCX_INGRESS);
}

static int attach_tcx(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const char *name = hook_target(attach->hook);
	uint32_t ifindex;
	int fd, r;

	r = hook_find_netdev(attach, &ifindex, err);
	if (r < 0)
		return r;
	fd = order_link_create(attach, hook_attach_type(attach), (int)ifindex,
			       netdev_place(attach->hook, ifindex));
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -EEXIST)
		return error_raise_errno(err, ERROR_HOOK_BUSY, -fd,
					 "this program is attached there already");
	if (fd == -ERANGE)
		return error_raise_errno(err, ERROR_LIMIT_EXCEEDED, -fd,
					 "interface %s has as many tc programs as the kernel runs",
					 name);
	return hook_raise_attach(attach, -fd, err);
}

static int compare_tcx(const struct kernel_attach *attach, int link_fd,
		       const struct bpf_link_info *info, struct kernel_link_view *view,
		       struct error *err)
{
	(void)link_fd;
	/* As netkit's: an interface and a type. */
	hook_compare_type(attach, info->tcx.attach_type, view);
	return hook_compare_netdev(attach, info->tcx.ifindex, view, err);
}

static void probe_tc(struct kernel_support *ret)
{
	hook_probe_load(BPF_PROG_TYPE_SCHED_CLS, 0, ret);
	if (ret->supported)
		(void)snprintf(ret->detail, sizeof(ret->detail), "%s",
			       has_type(BPF_TCX_INGRESS) ? "tcx" : "clsact");
}

static void probe_netkit(struct kernel_support *ret)
{
	ret->supported = has_type(BPF_NETKIT_PRIMARY);
	if (!ret->supported)
		(void)snprintf(
			ret->detail, sizeof(ret->detail),
			"this kernel has no netkit devices (CONFIG_NETKIT, since Linux 6.7)");
}

const struct hook_ops hook_tc = {
	.link_type = BPF_LINK_TYPE_TCX,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_tcx,
	.compare = compare_tcx,
	.probe = probe_tc,
	.update = hook_update_link,
};

const struct hook_ops hook_netkit = {
	.link_type = BPF_LINK_TYPE_NETKIT,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_tcx,
	.compare = compare_tcx,
	.probe = probe_netkit,
	.update = hook_update_link,
};
