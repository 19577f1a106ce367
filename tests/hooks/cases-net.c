/* Interfaces, network namespaces, cgroups and sockets. */
#define _GNU_SOURCE
#include "tests/hooks/matrix.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "daemon/core/kernel/test-fixture.h"

/* An address of the loopback in a family, or a name of no file. */
union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static socklen_t address_of(int family, uint16_t port, union address *ret)
{
	*ret = (union address){ .any = { .sa_family = (sa_family_t)family } };
	if (family == AF_INET) {
		ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		ret->in.sin_port = htons(port);
		return sizeof(ret->in);
	}
	if (family == AF_INET6) {
		ret->in6.sin6_addr = in6addr_loopback;
		ret->in6.sin6_port = htons(port);
		return sizeof(ret->in6);
	}
	/* Abstract names belong to the network namespace, which is the case's own. */
	(void)snprintf(ret->un.sun_path + 1, sizeof(ret->un.sun_path) - 1, "bpfleet-%u", port);
	return (socklen_t)(sizeof(sa_family_t) + 1 + strlen(ret->un.sun_path + 1));
}

static int make_socket(int family)
{
	const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

/* Two sockets that know each other, made before anything is attached. */
static int near_fd = -1, far_fd = -1;

static void prepare_pair(int family)
{
	union address near, far;
	const socklen_t n_near = address_of(family, 7001, &near);
	const socklen_t n_far = address_of(family, 7002, &far);

	near_fd = make_socket(family);
	far_fd = make_socket(family);
	assert_int_equal(bind(near_fd, &near.any, n_near), 0);
	assert_int_equal(bind(far_fd, &far.any, n_far), 0);
	assert_int_equal(connect(near_fd, &far.any, n_far), 0);
}

static void fire_creates(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		(void)close(make_socket(AF_INET));
}

static void fire_binds(int family, unsigned int n)
{
	union address address;

	for (unsigned int i = 0; i < n; i++) {
		const int fd = make_socket(family);
		const socklen_t size = address_of(family, (uint16_t)(7100 + i), &address);

		assert_int_equal(bind(fd, &address.any, size), 0);
		(void)close(fd);
	}
}

static void fire_connects(int family, unsigned int n)
{
	union address address;
	const socklen_t size = address_of(family, 7002, &address);

	for (unsigned int i = 0; i < n; i++) {
		const int fd = make_socket(family);

		assert_int_equal(connect(fd, &address.any, size), 0);
		(void)close(fd);
	}
}

static void receive_all(void)
{
	union address from;
	socklen_t size = sizeof(from);
	char byte;

	while (recvfrom(far_fd, &byte, 1, MSG_DONTWAIT, &from.any, &size) == 1)
		size = sizeof(from);
}

/* Unconnected, so that the address is given with each. */
static void fire_sends(int family, unsigned int n)
{
	const int fd = make_socket(family);
	union address address;
	const socklen_t size = address_of(family, 7002, &address);

	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(sendto(fd, "x", 1, 0, &address.any, size), 1);
		receive_all();
	}
	(void)close(fd);
}

static void fire_receives(unsigned int n)
{
	union address from;

	for (unsigned int i = 0; i < n; i++) {
		socklen_t size = sizeof(from);
		char byte;

		assert_int_equal(send(near_fd, "x", 1, 0), 1);
		assert_int_equal(recvfrom(far_fd, &byte, 1, 0, &from.any, &size), 1);
	}
}

static void fire_peer_names(unsigned int n)
{
	union address address;

	for (unsigned int i = 0; i < n; i++) {
		socklen_t size = sizeof(address);

		assert_int_equal(getpeername(near_fd, &address.any, &size), 0);
	}
}

static void fire_socket_names(unsigned int n)
{
	union address address;

	for (unsigned int i = 0; i < n; i++) {
		socklen_t size = sizeof(address);

		assert_int_equal(getsockname(near_fd, &address.any, &size), 0);
	}
}

#define FAMILY(suffix, family)                        \
	static void prepare_##suffix(void)            \
	{                                             \
		prepare_pair(family);                 \
	}                                             \
	static void connects_##suffix(unsigned int n) \
	{                                             \
		fire_connects(family, n);             \
	}                                             \
	static void sends_##suffix(unsigned int n)    \
	{                                             \
		fire_sends(family, n);                \
	}

FAMILY(4, AF_INET)
FAMILY(6, AF_INET6)
FAMILY(unix, AF_UNIX)

static void binds_4(unsigned int n)
{
	fire_binds(AF_INET, n);
}

static void binds_6(unsigned int n)
{
	fire_binds(AF_INET6, n);
}

static void fire_getsockopts(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		int value = 0;
		socklen_t size = sizeof(value);

		assert_int_equal(getsockopt(near_fd, SOL_SOCKET, SO_RCVBUF, &value, &size), 0);
	}
}

static void fire_setsockopts(unsigned int n)
{
	const int value = 65536;

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(setsockopt(near_fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof(value)),
				 0);
}

static void fire_opens(const char *path, unsigned int n)
{
	char text[64];

	for (unsigned int i = 0; i < n; i++) {
		const int fd = open(path, O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_true(read(fd, text, sizeof(text)) >= 0);
		(void)close(fd);
	}
}

static void fire_devices(unsigned int n)
{
	fire_opens("/dev/null", n);
}

static void fire_sysctls(unsigned int n)
{
	fire_opens("/proc/sys/net/ipv4/ip_forward", n);
}

/* A connection over the loopback; whoever calls closes both. */
static void connect_pair(int *ret_client, int *ret_server)
{
	union address address;
	socklen_t size = address_of(AF_INET, 0, &address);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0 && *ret_client >= 0);
	assert_int_equal(bind(listener, &address.any, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, &address.any, &size), 0);
	assert_int_equal(connect(*ret_client, &address.any, size), 0);
	*ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_server >= 0);
	(void)close(listener);
}

static void fire_connections(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		int client, server;

		connect_pair(&client, &server);
		(void)close(client);
		(void)close(server);
	}
}

/* Datagrams over the loopback to port 7777, where nobody listens. */
static void fire_local_packets(unsigned int n)
{
	const int fd = make_socket(AF_INET);
	union address address;
	const socklen_t size = address_of(AF_INET, 7777, &address);

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, &address.any, size), 1);
	(void)close(fd);
}

/* The kernel looks for the transport header of frames that a process has made up. */
static void fire_frames(unsigned int n)
{
	static const unsigned char frame[60] = { 2, 0, 0, 0, 0,	   2, 2, 0,  0,		0,
						 0, 1, 8, 0, 0x45, 0, 0, 28, [22] = 64, [23] = 17 };
	const struct sockaddr_ll to = { .sll_family = AF_PACKET,
					.sll_protocol = htons(0x0800),
					.sll_ifindex = (int)if_nametoindex("v0") };
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(sendto(fd, frame, sizeof(frame), 0, (const struct sockaddr *)&to,
					sizeof(to)),
				 sizeof(frame));
	(void)close(fd);
}

/* ---- sockmaps: the actor puts a socket into the map that its parent, the test, has loaded */

static int sockmap_of_parent(void)
{
	char path[320], line[128];
	unsigned int type, id;
	struct dirent *entry;
	DIR *folder;
	int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo", getppid());
	folder = opendir(path);
	assert_non_null(folder);
	while (fd < 0 && (entry = readdir(folder)) != NULL) {
		FILE *info;

		(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", getppid(), entry->d_name);
		info = fopen(path, "re");
		if (info == NULL)
			continue;
		type = 0;
		while (fgets(line, sizeof(line), info) != NULL) {
			(void)sscanf(line, "map_type: %u", &type);
			if (type == BPF_MAP_TYPE_SOCKMAP && sscanf(line, "map_id: %u", &id) == 1)
				fd = bpf_map_get_fd_by_id(id);
		}
		(void)fclose(info);
	}
	(void)closedir(folder);
	assert_true(fd >= 0);
	return fd;
}

/* Sends n times out of one socket of the map, into the other. */
static void fire_streams(unsigned int n)
{
	const int map = sockmap_of_parent();
	int client, server;
	char byte;

	connect_pair(&client, &server);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(bpf_map_update_elem(map, &i, i == 0 ? &client : &server, BPF_ANY),
				 0);
	for (unsigned int i = 0; i < n; i++) {
		assert_int_equal(send(client, "x", 1, 0), 1);
		assert_int_equal(recv(server, &byte, 1, 0), 1);
	}
	(void)close(client);
	(void)close(server);
	(void)close(map);
}

/* ---- sockets that their owner, the actor, hands over */

static void prepare_handed(void)
{
	prepare_pair(AF_INET);
	handed_socket = far_fd;
}

static void prepare_reuseport(void)
{
	const int on = 1;
	union address address;
	const socklen_t size = address_of(AF_INET, 7002, &address);

	far_fd = handed_socket = make_socket(AF_INET);
	assert_int_equal(setsockopt(far_fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(bind(far_fd, &address.any, size), 0);
}

/* A pair of netkit devices, where the kernel has them: kit0, and nk0 as its peer. */
static void prepare_kit(void)
{
	place_command("ip link add kit0 type netkit 2>/dev/null || exit 0; printf '%%s\\n' "
		      "'addr add 10.78.0.1/24 dev kit0' 'addr add 10.79.0.1/24 dev nk0' "
		      "'link set kit0 up' 'link set nk0 up' | ip -batch -");
}

static void send_to(uint32_t host, unsigned int n)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(7777),
					.sin_addr.s_addr = htonl(host) };
	const int fd = make_socket(AF_INET);

	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)),
				 1);
	(void)close(fd);
}

static void sends_from_primary(unsigned int n)
{
	send_to(0x0a4e0002, n);
}

static void sends_from_peer(unsigned int n)
{
	send_to(0x0a4f0002, n);
}

#define NET_CASE(label, function, text, kernels, event, setup)                           \
	{                                                                                \
		.name = label, .object = "net", .program = "on_" function, .hook = text, \
		.fire = event, .prepare = setup, .must = kernels                         \
	}
#define ADDRESS_CASE(call, kernels, event, setup)                                            \
	NET_CASE("cgroup_sock_addr:" call, call, "cgroup_sock_addr:{cgroup}:" call, kernels, \
		 event, setup)
#define UNIX_KERNELS (ON_HOST | ON_6_12 | ON_7)

static const struct hook_case cases[] = {
	NET_CASE("cgroup_sock:create", "sock_create", "cgroup_sock:{cgroup}:create", ON_ALL,
		 fire_creates, NULL),
	NET_CASE("cgroup_sock:release", "sock_release", "cgroup_sock:{cgroup}:release", ON_ALL,
		 fire_creates, NULL),
	NET_CASE("cgroup_sock:post_bind4", "post_bind4", "cgroup_sock:{cgroup}:post_bind4", ON_ALL,
		 binds_4, NULL),
	NET_CASE("cgroup_sock:post_bind6", "post_bind6", "cgroup_sock:{cgroup}:post_bind6", ON_ALL,
		 binds_6, NULL),
	ADDRESS_CASE("bind4", ON_ALL, binds_4, NULL),
	ADDRESS_CASE("bind6", ON_ALL, binds_6, NULL),
	ADDRESS_CASE("connect4", ON_ALL, connects_4, prepare_4),
	ADDRESS_CASE("connect6", ON_ALL, connects_6, prepare_6),
	ADDRESS_CASE("connect_unix", UNIX_KERNELS, connects_unix, prepare_unix),
	ADDRESS_CASE("sendmsg4", ON_ALL, sends_4, prepare_4),
	ADDRESS_CASE("sendmsg6", ON_ALL, sends_6, prepare_6),
	ADDRESS_CASE("sendmsg_unix", UNIX_KERNELS, sends_unix, prepare_unix),
	ADDRESS_CASE("recvmsg4", ON_ALL, fire_receives, prepare_4),
	ADDRESS_CASE("recvmsg6", ON_ALL, fire_receives, prepare_6),
	ADDRESS_CASE("recvmsg_unix", UNIX_KERNELS, fire_receives, prepare_unix),
	ADDRESS_CASE("getpeername4", ON_ALL, fire_peer_names, prepare_4),
	ADDRESS_CASE("getpeername6", ON_ALL, fire_peer_names, prepare_6),
	ADDRESS_CASE("getpeername_unix", UNIX_KERNELS, fire_peer_names, prepare_unix),
	ADDRESS_CASE("getsockname4", ON_ALL, fire_socket_names, prepare_4),
	ADDRESS_CASE("getsockname6", ON_ALL, fire_socket_names, prepare_6),
	ADDRESS_CASE("getsockname_unix", UNIX_KERNELS, fire_socket_names, prepare_unix),
	NET_CASE("cgroup_sockopt:get", "getsockopt", "cgroup_sockopt:{cgroup}:get", ON_ALL,
		 fire_getsockopts, prepare_4),
	NET_CASE("cgroup_sockopt:set", "setsockopt", "cgroup_sockopt:{cgroup}:set", ON_ALL,
		 fire_setsockopts, prepare_4),
	NET_CASE("cgroup_device", "device", "cgroup_device:{cgroup}", ON_ALL, fire_devices, NULL),
	NET_CASE("cgroup_sysctl", "sysctl", "cgroup_sysctl:{cgroup}", ON_ALL, fire_sysctls, NULL),
	NET_CASE("sock_ops", "sock_ops", "sock_ops:{cgroup}", ON_ALL, fire_connections, NULL),
	NET_CASE("xdp.frags", "xdp_frags", "xdp:v1", ON_ALL, fire_packets, NULL),
	NET_CASE("xdp.frags,mode=native", "xdp_frags", "xdp:v1,mode=native", ON_ALL, fire_packets,
		 NULL),
	NET_CASE("sk_lookup", "sk_lookup", "sk_lookup:self", ON_ALL, fire_local_packets, NULL),
	NET_CASE("flow_dissector", "flow_dissector", "flow_dissector:self", ON_ALL, fire_frames,
		 NULL),
	NET_CASE("netfilter:ipv4:prerouting", "netfilter", "netfilter:ipv4:prerouting,priority=-5",
		 ON_HOST | ON_6_12 | ON_7, fire_local_packets, NULL),
	NET_CASE("netfilter:ipv4:input", "netfilter", "netfilter:ipv4:input,priority=-5",
		 ON_HOST | ON_6_12 | ON_7, fire_local_packets, NULL),
	NET_CASE("netfilter:ipv4:output", "netfilter", "netfilter:ipv4:output,priority=-5",
		 ON_HOST | ON_6_12 | ON_7, fire_local_packets, NULL),
	NET_CASE("netfilter:ipv4:postrouting", "netfilter",
		 "netfilter:ipv4:postrouting,priority=-5", ON_HOST | ON_6_12 | ON_7,
		 fire_local_packets, NULL),
	NET_CASE("sk_skb:stream_verdict", "stream_verdict", "sk_skb:sockets:stream_verdict",
		 ON_HOST | ON_6_12 | ON_7, fire_streams, NULL),
	NET_CASE("sk_skb:verdict", "verdict", "sk_skb:sockets:verdict", ON_HOST | ON_6_12 | ON_7,
		 fire_streams, NULL),
	NET_CASE("sk_msg", "sk_msg", "sk_msg:sockets", ON_HOST | ON_6_12 | ON_7, fire_streams,
		 NULL),
	NET_CASE("socket_filter:udp", "socket_filter", "socket_filter:udp", ON_ALL, sends_4,
		 prepare_handed),
	NET_CASE("sk_reuseport:udp", "sk_reuseport", "sk_reuseport:udp", ON_ALL, sends_4,
		 prepare_reuseport),
	NET_CASE("netkit:primary", "netkit", "netkit:kit0:primary", ON_6_12 | ON_7,
		 sends_from_primary, prepare_kit),
	NET_CASE("netkit:peer", "netkit", "netkit:kit0:peer", ON_6_12 | ON_7, sends_from_peer,
		 prepare_kit),
};

const struct hook_cases cases_net = { cases, ARRAY_SIZE(cases) };
