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

struct request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	struct rtattr attribute;
	char name[IFNAMSIZ];
};

/* The kernel answers on the same call, so that a receive never waits for anybody. */
static int exchange(const struct request *request, uint32_t *ret)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	union {
		struct nlmsghdr header;
		struct {
			struct nlmsghdr header;
			struct ifinfomsg link;
		} found;
		struct {
			struct nlmsghdr header;
			struct nlmsgerr error;
		} failed;
		char bytes[8192];
	} answer;
	ssize_t n;

	if (fd < 0 || send(fd, request, request->header.nlmsg_len, 0) < 0)
		return -errno;
	/* The rest of a longer answer is cut: only the head is read. */
	n = recv(fd, &answer, sizeof(answer), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n >= sizeof(answer.found) && answer.header.nlmsg_type == RTM_NEWLINK) {
		*ret = (uint32_t)answer.found.link.ifi_index;
		return 0;
	}
	if ((size_t)n >= sizeof(answer.failed) && answer.header.nlmsg_type == NLMSG_ERROR &&
	    answer.failed.error.error < 0)
		return answer.failed.error.error;
	return -EPROTO;
}

int netdev_index(const char *name, uint32_t *ret, struct error *err)
{
	struct request request = {
		.header = { .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
		.link = { .ifi_family = AF_UNSPEC },
		.attribute = { .rta_type = IFLA_IFNAME },
	};
	const size_t n = strlen(name) + 1;
	int r;

	if (n > sizeof(request.name))
		return error_raise(err, ERROR_INVALID_HOOK, "'%.32s' is no name of an interface",
				   name);
	memcpy(request.name, name, n);
	request.attribute.rta_len = (unsigned short)RTA_LENGTH(n);
	request.header.nlmsg_len =
		(uint32_t)(NLMSG_LENGTH(sizeof(request.link)) + RTA_ALIGN(RTA_LENGTH(n)));
	r = exchange(&request, ret);
	if (r == -ENODEV)
		return error_raise(err, ERROR_TARGET_NOT_FOUND, "there is no interface '%s'", name);
	if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r,
					 "cannot look interface '%s' up", name);
	return 0;
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
	else if (now != ifindex)
		hook_differs(view, KERNEL_LINK_DRIFTED,
			     "it is attached to interface %u, and %s is %u now", ifindex, name,
			     now);
	return 0;
}
