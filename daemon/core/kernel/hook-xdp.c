/* xdp: one link on an interface, held by its bpf_link. */
#include <errno.h>
#include <linux/if_link.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

static int raise_busy(const struct kernel_attach *attach, uint32_t ifindex, int sys_errno,
		      struct error *err)
{
	const char *name = hook_target(attach->hook);
	const uint32_t holder = hook_netns(attach->hook) == NULL ? netdev_xdp_program(ifindex) : 0;
	int r;

	r = error_raise_errno(err, ERROR_HOOK_BUSY, sys_errno,
			      "interface %s has an XDP program, and the kernel runs one", name);
	if (holder != 0)
		hook_detail_holder(err, holder);
	return r;
}

static int attach_xdp(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const char *mode = hook_option(attach->hook, "mode");
	union bpf_attr attr;
	uint32_t ifindex;
	int fd, r;

	r = hook_find_netdev(attach, &ifindex, err);
	if (r < 0)
		return r;
	memset(&attr, 0, sizeof(attr));
	attr.link_create.target_ifindex = ifindex;
	attr.link_create.attach_type = BPF_XDP;
	if (mode != NULL)
		attr.link_create.flags =
			strcmp(mode, "native") == 0 ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
	fd = hook_link_create(attach, &attr);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (fd == -EBUSY || fd == -EEXIST)
		return raise_busy(attach, ifindex, -fd, err);
	if (fd == -EOPNOTSUPP && mode != NULL)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, -fd,
					 "interface %s has no XDP of mode %s",
					 hook_target(attach->hook), mode);
	return hook_raise_attach(attach, -fd, err);
}

static int compare_xdp(const struct kernel_attach *attach, int link_fd,
		       const struct bpf_link_info *info, struct kernel_link_view *view,
		       struct error *err)
{
	(void)link_fd;
	return hook_compare_netdev(attach, info->xdp.ifindex, view, err);
}

static void probe_xdp(struct kernel_support *ret)
{
	hook_probe_load(BPF_PROG_TYPE_XDP, BPF_XDP, ret);
}

const struct hook_ops hook_xdp = {
	.link_type = BPF_LINK_TYPE_XDP,
	.load_as = BPF_XDP,
	.detachable = true,
	.attach = attach_xdp,
	.compare = compare_xdp,
	.probe = probe_xdp,
	.update = hook_update_link,
};
