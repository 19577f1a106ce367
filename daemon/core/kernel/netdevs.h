/* The network interfaces of the host, as selectors see them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct nlmsghdr;

#define KERNEL_NETDEV_SOME_FAMILY 1u
#define KERNEL_NETDEV_THIS_FAMILY 2u /* only while one is being read */

struct kernel_netdev {
	char name[16];
	uint32_t ifindex;
	char driver[32];       /* of a virtual interface its kind ("veth"); "": none known */
	uint8_t default_route; /* not 0: the best default route of IPv4 or IPv6 leaves by it */
};

/*
 * New array (free()). want_routes: fill default_route, which reads every route of the host. Errors:
 * OUT_OF_MEMORY, KERNEL_REFUSED.
 */
_must_check_ int kernel_netdevs_list(bool want_routes, struct kernel_netdev **ret, size_t *ret_n,
				     struct error *err);

/* Name of the interface that a message of rtnetlink is about, within the message; NULL: about none.
 */
const char *kernel_netdev_changed(const struct nlmsghdr *message);
/* Whether a message is about a default route of the main table. */
bool kernel_is_default_route(const struct nlmsghdr *message);
