/* Every network interface of the host, over rtnetlink, for selectors. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/netdevs.h"

#define BUFFER_SIZE 65536
#define NETDEVS_MAX 65536

struct list {
	struct kernel_netdev *netdevs;
	size_t n, n_allocated;
	uint32_t best_metric; /* of the default routes of one family so far */
};

typedef int (*message_fn)(struct list *list, const struct nlmsghdr *message);

/* Asks for everything of a kind and takes each message. */
static int dump(uint16_t type, uint8_t family, message_fn take, struct list *list)
{
	/* Both kinds of request begin with the family. */
	struct {
		struct nlmsghdr header;
		union {
			struct ifinfomsg link;
			struct rtmsg route;
		} body;
	} request = { .header = { .nlmsg_len = NLMSG_LENGTH(type == RTM_GETLINK
								    ? sizeof(struct ifinfomsg)
								    : sizeof(struct rtmsg)),
				  .nlmsg_type = type,
				  .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	_cleanup_free_ struct nlmsghdr *buffer = malloc(BUFFER_SIZE);

	request.body.route.rtm_family = family;
	if (buffer == NULL)
		return -ENOMEM;
	if (fd < 0 || send(fd, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		const ssize_t n = recv(fd, buffer, BUFFER_SIZE, 0);
		size_t left = (size_t)n;

		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		for (const struct nlmsghdr *at = buffer; NLMSG_OK(at, left);
		     at = NLMSG_NEXT(at, left)) {
			int r;

			if (at->nlmsg_type == NLMSG_DONE)
				return 0;
			if (at->nlmsg_type == NLMSG_ERROR)
				return -EPROTO;
			r = take(list, at);
			if (r < 0)
				return r;
		}
	}
}

/* The driver of a device of its own, of a virtual one its kind, else "". */
static void find_driver(struct kernel_netdev *netdev, const struct nlmsghdr *message)
{
	const struct rtattr *info = netdev_attribute(message, IFLA_LINKINFO);
	const struct rtattr *kind = NULL;
	char path[64], target[512];
	ssize_t n;

	if (info != NULL)
		kind = netdev_nested_attribute(info, IFLA_INFO_KIND);
	if (kind != NULL && memchr(RTA_DATA(kind), '\0', RTA_PAYLOAD(kind)) != NULL) {
		(void)snprintf(netdev->driver, sizeof(netdev->driver), "%s",
			       (const char *)RTA_DATA(kind));
		return;
	}
	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/device/driver", netdev->name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	(void)snprintf(netdev->driver, sizeof(netdev->driver), "%s",
		       strrchr(target, '/') != NULL ? strrchr(target, '/') + 1 : target);
}

static int take_link(struct list *list, const struct nlmsghdr *message)
{
	const char *name = kernel_netdev_changed(message);
	const struct ifinfomsg *link = NLMSG_DATA(message);
	struct kernel_netdev *netdevs;

	if (name == NULL)
		return 0;
	if (list->n == NETDEVS_MAX)
		return -E2BIG;
	if (list->n == list->n_allocated) {
		netdevs = realloc(list->netdevs, (2 * list->n + 16) * sizeof(*netdevs));
		if (netdevs == NULL)
			return -ENOMEM;
		list->netdevs = netdevs;
		list->n_allocated = 2 * list->n + 16;
	}
	netdevs = &list->netdevs[list->n++];
	*netdevs = (struct kernel_netdev){ .ifindex = (uint32_t)link->ifi_index };
	(void)snprintf(netdevs->name, sizeof(netdevs->name), "%s", name);
	find_driver(netdevs, message);
	return 0;
}

static void note_default(struct list *list, uint32_t ifindex, bool better)
{
	for (size_t i = 0; i < list->n; i++) {
		struct kernel_netdev *netdev = &list->netdevs[i];

		if (netdev->ifindex == ifindex)
			netdev->default_route |= KERNEL_NETDEV_THIS_FAMILY;
		else if (better)
			netdev->default_route &= (uint8_t)~KERNEL_NETDEV_THIS_FAMILY;
	}
}

static uint32_t number_of(const struct rtattr *attribute, uint32_t otherwise)
{
	uint32_t number = otherwise;

	if (attribute != NULL && RTA_PAYLOAD(attribute) >= sizeof(number))
		memcpy(&number, RTA_DATA(attribute), sizeof(number));
	return number;
}

static int take_route(struct list *list, const struct nlmsghdr *message)
{
	const struct rtattr *multipath = netdev_attribute(message, RTA_MULTIPATH);
	const uint32_t metric = number_of(netdev_attribute(message, RTA_PRIORITY), 0);
	const uint32_t ifindex = number_of(netdev_attribute(message, RTA_OIF), 0);
	bool better = metric < list->best_metric;
	const struct rtnexthop *hop;
	size_t left;

	if (!kernel_is_default_route(message) || metric > list->best_metric)
		return 0;
	list->best_metric = metric;
	if (multipath == NULL) {
		note_default(list, ifindex, better);
		return 0;
	}
	hop = RTA_DATA(multipath);
	left = RTA_PAYLOAD(multipath);
	while (left >= sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) && hop->rtnh_len <= left) {
		const size_t step =
			((size_t)hop->rtnh_len + RTNH_ALIGNTO - 1) & ~(size_t)(RTNH_ALIGNTO - 1);

		note_default(list, (uint32_t)hop->rtnh_ifindex, better);
		better = false;
		if (step >= left)
			break;
		left -= step;
		hop = (const struct rtnexthop *)(const void *)((const char *)hop + step);
	}
	return 0;
}

int kernel_netdevs_list(bool want_routes, struct kernel_netdev **ret, size_t *ret_n,
			struct error *err)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct list list = { 0 };
	int r = dump(RTM_GETLINK, AF_UNSPEC, take_link, &list);

	for (size_t i = 0; r >= 0 && want_routes && i < ARRAY_SIZE(families); i++) {
		list.best_metric = UINT32_MAX;
		r = dump(RTM_GETROUTE, families[i], take_route, &list);
		for (size_t k = 0; k < list.n; k++) {
			if (list.netdevs[k].default_route & KERNEL_NETDEV_THIS_FAMILY)
				list.netdevs[k].default_route = KERNEL_NETDEV_SOME_FAMILY;
		}
	}
	if (r < 0) {
		free(list.netdevs);
		return error_raise_errno(err,
					 r == -ENOMEM ? ERROR_OUT_OF_MEMORY : ERROR_KERNEL_REFUSED,
					 -r, "cannot list the interfaces and routes of this host");
	}
	*ret = list.netdevs;
	*ret_n = list.n;
	return 0;
}
