/* Hooks of the daemon's network namespace: sk_lookup, flow_dissector, netfilter. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"

#define OWN_NETNS "/proc/self/ns/net"

int hook_link_create(const struct kernel_attach *attach, union bpf_attr *attr)
{
	long fd;

	attr->link_create.prog_fd = (uint32_t)attach->program_fd;
	fd = syscall(__NR_bpf, BPF_LINK_CREATE, attr, sizeof(*attr));
	return fd < 0 ? -errno : (int)fd;
}

/* ---- sk_lookup, flow_dissector */

static enum bpf_prog_type program_type(enum hook_kind kind)
{
	return kind == HOOK_SK_LOOKUP ? BPF_PROG_TYPE_SK_LOOKUP : BPF_PROG_TYPE_FLOW_DISSECTOR;
}

static int attach_netns(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	_cleanup_close_ int own = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
	union bpf_attr attr;
	int fd;

	if (own < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot open %s",
					 OWN_NETNS);
	memset(&attr, 0, sizeof(attr));
	attr.link_create.target_fd = (uint32_t)own;
	attr.link_create.attach_type = hook_attach_type(attach);
	fd = hook_link_create(attach, &attr);
	if (fd == -EINVAL)
		return hook_raise_invalid(attach, program_type(hook_kind(attach->hook)), err);
	if (fd < 0)
		return hook_raise_attach(attach, -fd, err);
	*ret_fd = fd;
	return 0;
}

static int compare_link(const struct kernel_attach *attach, int link_fd,
			const struct bpf_link_info *info, struct kernel_link_view *view,
			struct error *err)
{
	struct stat st;

	(void)link_fd;
	hook_compare_type(attach, info->netns.attach_type, view);
	if (stat(OWN_NETNS, &st) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot look at %s",
					 OWN_NETNS);
	if (info->netns.netns_ino != st.st_ino)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "it is in another network namespace than the daemon");
	return 0;
}

static void probe_netns(struct kernel_support *ret)
{
	enum hook_kind kind;

	if (hook_kind_from_name(ret->kind, &kind))
		hook_probe_types(program_type(kind), ret);
}

const struct hook_ops hook_of_netns = {
	.link_type = BPF_LINK_TYPE_NETNS,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_netns,
	.compare = compare_link,
	.probe = probe_netns,
	.update = hook_update_link,
};

/* ---- netfilter */

struct netfilter_place {
	uint32_t family, point, flags;
	int32_t priority;
};

static struct netfilter_place netfilter_place(const struct hook *hook)
{
	static const char *const points[NF_INET_NUMHOOKS] = {
		[NF_INET_PRE_ROUTING] = "prerouting",	[NF_INET_LOCAL_IN] = "input",
		[NF_INET_FORWARD] = "forward",		[NF_INET_LOCAL_OUT] = "output",
		[NF_INET_POST_ROUTING] = "postrouting",
	};
	const char *priority = hook_option(hook, "priority"), *defrag = hook_option(hook, "defrag");
	struct netfilter_place ret = {
		.family = strcmp(hook_target(hook), "ipv6") == 0 ? NFPROTO_IPV6 : NFPROTO_IPV4,
		.flags = defrag != NULL && strcmp(defrag, "yes") == 0 ? BPF_F_NETFILTER_IP_DEFRAG
								      : 0,
		.priority = priority != NULL ? (int32_t)strtol(priority, NULL, 10) : 0,
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(points); i++) {
		if (strcmp(points[i], hook_argument(hook)) == 0)
			ret.point = i;
	}
	return ret;
}

static int attach_netfilter(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	const struct netfilter_place place = netfilter_place(attach->hook);
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.attach_type = BPF_NETFILTER;
	attr.link_create.netfilter.pf = place.family;
	attr.link_create.netfilter.hooknum = place.point;
	attr.link_create.netfilter.priority = place.priority;
	attr.link_create.netfilter.flags = place.flags;
	fd = hook_link_create(attach, &attr);
	if (fd == -EBUSY)
		return error_raise_errno(err, ERROR_HOOK_BUSY, EBUSY,
					 "another program has this priority at %.200s",
					 hook_text(attach->hook));
	if (fd < 0)
		return hook_raise_attach(attach, -fd, err);
	*ret_fd = fd;
	return 0;
}

static int compare_netfilter(const struct kernel_attach *attach, int link_fd,
			     const struct bpf_link_info *info, struct kernel_link_view *view,
			     struct error *err)
{
	const struct netfilter_place place = netfilter_place(attach->hook);

	(void)link_fd;
	(void)err;
	if (info->netfilter.pf != place.family || info->netfilter.hooknum != place.point ||
	    info->netfilter.priority != place.priority)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "it is attached to family %u, point %u, priority %d",
			     info->netfilter.pf, info->netfilter.hooknum, info->netfilter.priority);
	return 0;
}

static void probe_netfilter(struct kernel_support *ret)
{
	hook_probe_types(BPF_PROG_TYPE_NETFILTER, ret);
}

const struct hook_ops hook_netfilter = {
	.link_type = BPF_LINK_TYPE_NETFILTER,
	.load_as = HOOK_AS_IS,
	.detachable = true,
	.attach = attach_netfilter,
	.compare = compare_netfilter,
	.probe = probe_netfilter,
};
