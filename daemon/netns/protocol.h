/*
 * What bpfleet-core and bpfleet-netns say to each other (daemon/netns/FORMAT.md): one request with
 * the program's fd, one reply with the link's, each a datagram of fixed size, then the end. Both
 * are of one build and one host, so integers are native.
 */
#pragma once

#include <linux/bpf.h>
#include <stdint.h>

#define NETNS_PROTOCOL 1
#define NETNS_PATH_MAX 4096
#define NETNS_INTERFACE_MAX 16
#define NETNS_SOCKET_FD 3 /* of bpfleet-netns: its end of the pair */

enum netns_op {
	NETNS_FIND = 1, /* is there such a namespace, and such an interface in it? */
	NETNS_LINK = 2, /* BPF_LINK_CREATE in it */
};

/* How far it came. */
enum netns_step {
	NETNS_STEP_OPEN = 1,  /* opening the namespace: ENOENT, ESRCH: there is none */
	NETNS_STEP_ENTER = 2, /* entering it */
	NETNS_STEP_ACT = 3,   /* what was asked for */
};

struct netns_request {
	uint32_t protocol;		     /* NETNS_PROTOCOL */
	uint32_t op;			     /* enum netns_op */
	char netns[NETNS_PATH_MAX];	     /* absolute path, or a process id; terminated */
	char interface[NETNS_INTERFACE_MAX]; /* terminated; empty: none is meant. NETNS_LINK: is
						target_ifindex still that one? */
	uint32_t target_is_netns;	     /* NETNS_LINK: target_fd shall be the namespace's */
	uint32_t unused;
	union bpf_attr attr; /* NETNS_LINK: link_create without the program's fd */
};

struct netns_reply {
	uint32_t protocol; /* NETNS_PROTOCOL */
	int32_t status;	   /* 0 or negative errno */
	uint32_t step;	   /* enum netns_step: where it failed, or NETNS_STEP_ACT */
	uint32_t ifindex;  /* NETNS_FIND with an interface */
};
