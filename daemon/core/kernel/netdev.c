/* Names of network interfaces, over rtnetlink: the only kind of socket that core's sandbox allows.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/netdevs.h"

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	struct rtattr attribute;
	char name[IFNAMSIZ];
};

#define ANSWER_MAX 16384

/* What RTM_GETLINK answers: the head, then attributes. */
struct answer {
	struct nlmsghdr header;
	union {
		struct ifinfomsg link;
		struct nlmsgerr error;
		char bytes[ANSWER_MAX];
	} body;
};

/* Finds one link. The kernel answers within send(2), so that recv(2) never waits. */
static int exchange(const struct request *request, struct answer *answer)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t n;

	if (fd < 0 || send(fd, request, request->header.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, answer, sizeof(*answer), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n >= NLMSG_LENGTH(sizeof(answer->body.link)) &&
	    answer->header.nlmsg_type == RTM_NEWLINK && answer->header.nlmsg_len <= (size_t)n)
		return 0;
	if ((size_t)n >= NLMSG_LENGTH(sizeof(answer->body.error)) &&
	    answer->header.nlmsg_type == NLMSG_ERROR && answer->body.error.error < 0)
		return answer->body.error.error;
	return -EPROTO;
}

int netdev_index(const char *name, uint32_t *ret, struct error *err)
{
	struct request request = {
		.header = { .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
		.attribute = { .rta_type = IFLA_IFNAME },
	};
	const size_t n = strlen(name) + 1;
	struct answer answer;
	int r;

	if (n > sizeof(request.name))
		return error_raise(err, ERROR_INVALID_HOOK, "'%.32s' is no name of an interface",
				   name);
	memcpy(request.name, name, n);
	request.attribute.rta_len = (unsigned short)RTA_LENGTH(n);
	request.header.nlmsg_len =
		(uint32_t)(NLMSG_LENGTH(sizeof(request.link)) + RTA_ALIGN(RTA_LENGTH(n)));
	r = exchange(&request, &answer);
	if (r == -ENODEV)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no interface '%s'", name);
	if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r,
					 "cannot look interface '%s' up", name);
	*ret = (uint32_t)answer.body.link.ifi_index;
	return 0;
}

/* The attribute of that type among n bytes of them, NULL if there is none. */
static const struct rtattr *find_attribute(const void *attributes, size_t n, unsigned short type)
{
	const char *at = attributes;
	const struct rtattr *attribute;
	size_t size;

	while (n >= sizeof(*attribute)) {
		attribute = (const struct rtattr *)at;
		if (attribute->rta_len < sizeof(*attribute) || attribute->rta_len > n)
			return NULL;
		if ((attribute->rta_type & NLA_TYPE_MASK) == type)
			return attribute;
		size = RTA_ALIGN(attribute->rta_len);
		if (size >= n)
			return NULL;
		at += size;
		n -= size;
	}
	return NULL;
}

const struct rtattr *netdev_attribute(const struct nlmsghdr *message, unsigned short type)
{
	const bool is_route =
		message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE;
	const size_t n = NLMSG_LENGTH(is_route ? sizeof(struct rtmsg) : sizeof(struct ifinfomsg));

	if (message->nlmsg_len < n)
		return NULL;
	return find_attribute((const char *)message + NLMSG_ALIGN(n),
			      message->nlmsg_len - NLMSG_ALIGN(n), type);
}

const struct rtattr *netdev_nested_attribute(const struct rtattr *within, unsigned short type)
{
	return find_attribute(RTA_DATA(within), RTA_PAYLOAD(within), type);
}

const char *kernel_netdev_changed(const struct nlmsghdr *message)
{
	const struct rtattr *name;

	if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK)
		return NULL;
	name = netdev_attribute(message, IFLA_IFNAME);
	if (name == NULL || memchr(RTA_DATA(name), '\0', RTA_PAYLOAD(name)) == NULL)
		return NULL;
	return RTA_DATA(name);
}

bool kernel_is_default_route(const struct nlmsghdr *message)
{
	const struct rtmsg *route = NLMSG_DATA(message);

	return (message->nlmsg_type == RTM_NEWROUTE || message->nlmsg_type == RTM_DELROUTE) &&
	       message->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) && route->rtm_dst_len == 0 &&
	       route->rtm_table == RT_TABLE_MAIN && route->rtm_type == RTN_UNICAST;
}

/* Finds one link by its index. */
static bool find_link(uint32_t ifindex, struct answer *answer)
{
	const struct request request = {
		.header = { .nlmsg_len = NLMSG_LENGTH(sizeof(request.link)),
			    .nlmsg_type = RTM_GETLINK,
			    .nlmsg_flags = NLM_F_REQUEST },
		.link = { .ifi_index = (int)ifindex },
	};

	return exchange(&request, answer) == 0;
}

static uint32_t number_in(const struct rtattr *attribute)
{
	uint32_t ret = 0;

	if (attribute != NULL && RTA_PAYLOAD(attribute) >= sizeof(ret))
		memcpy(&ret, RTA_DATA(attribute), sizeof(ret));
	return ret;
}

uint32_t netdev_xdp_program(uint32_t ifindex)
{
	const struct rtattr *xdp;
	struct answer answer;

	xdp = find_link(ifindex, &answer) ? netdev_attribute(&answer.header, IFLA_XDP) : NULL;
	return xdp != NULL ? number_in(netdev_nested_attribute(xdp, IFLA_XDP_PROG_ID)) : 0;
}

uint32_t netdev_place(const struct hook *hook, uint32_t ifindex)
{
	const bool is_peer =
		hook_kind(hook) == HOOK_NETKIT && strcmp(hook_argument(hook), "peer") == 0;
	struct answer answer;

	if (!is_peer || hook_netns(hook) != NULL)
		return ifindex;
	return find_link(ifindex, &answer) ? number_in(netdev_attribute(&answer.header, IFLA_LINK))
					   : 0;
}

int hook_compare_netdev(const struct kernel_attach *attach, uint32_t ifindex,
			struct kernel_link_view *view, struct error *err)
{
	const char *name = hook_target(attach->hook);
	struct error missing = { 0 };
	uint32_t now;
	int r;

	if (ifindex == 0) {
		hook_differs(view, KERNEL_LINK_TARGET_GONE, "interface %s was removed", name);
		return 0;
	}
	/* An interface elsewhere is not looked up again: there is no way to ask from here. */
	if (hook_netns(attach->hook) != NULL) {
		hook_compare_netns(attach, 0, view);
		return 0;
	}
	r = netdev_index(name, &now, &missing);
	if (r < 0 && missing.code != ERROR_TARGET_NOT_FOUND) {
		if (err != NULL)
			*err = missing;
		return r;
	}
	if (r < 0)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "interface %u, where it is attached, is not called %s any more",
			     ifindex, name);
	else if (netdev_place(attach->hook, now) != ifindex)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "it is attached to interface %u, and %s is %u now", ifindex, name,
			     now);
	return 0;
}
