/*
 * Hooks of a network namespace: sk_lookup, flow_dissector, netfilter; and the way into namespaces
 * other than the daemon's, which is through bpfleet-netns.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/netns/protocol.h"

#define OWN_NETNS "/proc/self/ns/net"

static bool is_interface(const struct kernel_attach *attach)
{
	return hook_kind_info(hook_kind(attach->hook))->target_form == HOOK_FORM_INTERFACE;
}

static bool is_netns(const struct kernel_attach *attach)
{
	return hook_kind_info(hook_kind(attach->hook))->target_form == HOOK_FORM_OWN_NETNS;
}

static int ask(const struct kernel_attach *attach, struct netns_request *request,
	       struct netns_reply *ret, int *ret_fd, struct error *err)
{
	const char *netns = hook_netns(attach->hook);

	if (attach->context == NULL || attach->context->netns == NULL)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED,
				   "there is no way into other network namespaces here");
	if (attach->is_again && netns[0] != '/')
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "process %s was in the network namespace; whether it still is "
				   "the same process cannot be told: attach anew",
				   netns);
	request->protocol = NETNS_PROTOCOL;
	(void)snprintf(request->netns, sizeof(request->netns), "%s", netns);
	return attach->context->netns(attach->context->user, request, attach->program_fd, ret,
				      ret_fd, err);
}

static int create_elsewhere(const struct kernel_attach *attach, const union bpf_attr *attr)
{
	struct netns_request request = { .op = NETNS_LINK, .target_is_netns = is_netns(attach) };
	struct netns_reply reply = { 0 };
	struct error err = { 0 };
	int fd = -1;

	request.attr = *attr;
	if (is_interface(attach))
		(void)snprintf(request.interface, sizeof(request.interface), "%s",
			       hook_target(attach->hook));
	if (ask(attach, &request, &reply, &fd, &err) < 0)
		return err.code == ERROR_TARGET_NOT_FOUND ? -ENOENT : -EAGAIN;
	if (reply.status < 0)
		return reply.status;
	return fd >= 0 ? fd : -EPROTO;
}

int hook_link_make(union bpf_attr *attr)
{
	const long fd = syscall(__NR_bpf, BPF_LINK_CREATE, attr, sizeof(*attr));

	return fd < 0 ? -errno : (int)fd;
}

int hook_link_create(const struct kernel_attach *attach, union bpf_attr *attr)
{
	_cleanup_close_ int own = -1;

	if (hook_netns(attach->hook) != NULL)
		return create_elsewhere(attach, attr);
	if (is_netns(attach)) {
		own = open(OWN_NETNS, O_RDONLY | O_CLOEXEC);
		if (own < 0)
			return -errno;
		attr->link_create.target_fd = (uint32_t)own;
	}
	attr->link_create.prog_fd = (uint32_t)attach->program_fd;
	return hook_link_make(attr);
}

int hook_find_netdev(const struct kernel_attach *attach, uint32_t *ret, struct error *err)
{
	struct netns_request request = { .op = NETNS_FIND };
	struct netns_reply reply = { 0 };
	int fd = -1, r;

	if (hook_netns(attach->hook) == NULL)
		return ret != NULL ? netdev_index(hook_target(attach->hook), ret, err) : 0;
	if (is_interface(attach))
		(void)snprintf(request.interface, sizeof(request.interface), "%s",
			       hook_target(attach->hook));
	r = ask(attach, &request, &reply, &fd, err);
	if (r < 0)
		return r;
	if (reply.status == -ENODEV)
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "there is no interface '%s' in network namespace %.200s",
				   request.interface, request.netns);
	if (reply.status < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -reply.status,
					 "cannot look into network namespace %.200s",
					 request.netns);
	if (ret != NULL)
		*ret = reply.ifindex;
	return 0;
}

/*
 * Whether a path still names a network namespace, and that one; asked without entering it. Of a
 * process id nothing can be said later, nor of a path that core may not search.
 */
void hook_compare_netns(const struct kernel_attach *attach, uint64_t shown,
			struct kernel_link_view *view)
{
	const char *netns = hook_netns(attach->hook);
	const char *path = netns != NULL ? netns : OWN_NETNS;
	struct statfs fs = { 0 };
	struct stat st = { 0 };

	if (path[0] != '/')
		return;
	if (statfs(path, &fs) < 0 || stat(path, &st) < 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			hook_differs(view, KERNEL_LINK_TARGET_GONE,
				     "there is no network namespace %.100s", path);
	} else if (fs.f_type != NSFS_MAGIC) {
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "%.100s is no network namespace now",
			     path);
	} else if (shown != 0 && st.st_ino != shown) {
		hook_differs(view, KERNEL_LINK_DRIFTED, "%.100s is another network namespace now",
			     netns != NULL ? netns : "the daemon's");
	}
}

/* ---- sk_lookup, flow_dissector */

static enum bpf_prog_type program_type(enum hook_kind kind)
{
	return kind == HOOK_SK_LOOKUP ? BPF_PROG_TYPE_SK_LOOKUP : BPF_PROG_TYPE_FLOW_DISSECTOR;
}

static int attach_netns(const struct kernel_attach *attach, int *ret_fd, struct error *err)
{
	union bpf_attr attr;
	int fd, r = hook_find_netdev(attach, NULL, err);

	if (r < 0)
		return r;
	memset(&attr, 0, sizeof(attr));
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
	(void)link_fd;
	(void)err;
	hook_compare_type(attach, info->netns.attach_type, view);
	if (info->netns.netns_ino == 0)
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "the network namespace was removed");
	else
		hook_compare_netns(attach, info->netns.netns_ino, view);
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

/* No two programs may have one priority at one point. */
#define NETFILTER_N_BESIDE 8

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
	int fd, r = hook_find_netdev(attach, NULL, err);

	if (r < 0)
		return r;
	memset(&attr, 0, sizeof(attr));
	attr.link_create.attach_type = BPF_NETFILTER;
	attr.link_create.netfilter.pf = place.family;
	attr.link_create.netfilter.hooknum = place.point;
	attr.link_create.netfilter.priority = place.priority + attach->beside;
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
	view->beside = info->netfilter.priority > place.priority &&
		       info->netfilter.priority - (int64_t)place.priority <= NETFILTER_N_BESIDE;
	if (info->netfilter.pf != place.family || info->netfilter.hooknum != place.point ||
	    info->netfilter.priority != place.priority)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "it is attached to family %u, point %u, priority %d",
			     info->netfilter.pf, info->netfilter.hooknum, info->netfilter.priority);
	/* The kernel does not say in which namespace. */
	hook_compare_netns(attach, 0, view);
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
	.n_beside = NETFILTER_N_BESIDE,
	.compare = compare_netfilter,
	.probe = probe_netfilter,
};
