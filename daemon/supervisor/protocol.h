/*
 * What bpfleetd and bpfleet-core say to each other: fixed-size messages on a SOCK_SEQPACKET pair,
 * one a datagram, at most one fd each. daemon/supervisor/FORMAT.md describes the whole, command
 * lines included. Both ends are of one build and one host, so integers are native.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

/* fds that a child finds open; numbers are also given on its command line. */
#define SUPERVISOR_CORE_FRONT_FD 3	/* core: --front-fd */
#define SUPERVISOR_CORE_SUPERVISOR_FD 4 /* core: --supervisor-fd */
#define SUPERVISOR_CORE_LOCK_FD 5	/* core: --lock-fd; only to be kept open */
#define SUPERVISOR_FRONT_CORE_FD 3	/* front: --core-fd */
#define SUPERVISOR_FRONT_LISTEN_FD 4	/* front: --listen-fd */
#define SUPERVISOR_FRONT_FDSERVICE_FD 5 /* front: --fdservice-fd */

#define SUPERVISOR_PROTOCOL 1
#define SUPERVISOR_NAME_LEN 64
#define SUPERVISOR_STATS_WINDOW_MAX_MS 60000

enum supervisor_type {
	/* core -> supervisor, no reply */
	SUPERVISOR_CORE_READY = 1,  /* state is reconciled; requests are served */
	SUPERVISOR_FRONT_READY = 2, /* front has said Hello */
	/* core -> supervisor, one SUPERVISOR_REPLY with the same serial */
	SUPERVISOR_TRACEPOINT_ID = 3, /* category, name -> value = id */
	SUPERVISOR_STATS_ON = 4, /* window_ms -> fd; statistics count while core keeps it open */
	SUPERVISOR_KALLSYMS = 5, /* -> fd of /proc/kallsyms; its offset is shared: pread */
	SUPERVISOR_RESTART_FRONT = 6, /* front misbehaves: kill it, start another */
	SUPERVISOR_TRACEABLE = 7,     /* -> fd of tracefs' available_filter_functions */
	SUPERVISOR_NETNS_ATTACH = 8,  /* -> fd: the pair with a fresh bpfleet-netns; -EBUSY */
	/* supervisor -> core */
	SUPERVISOR_REPLY = 16,
	SUPERVISOR_NEW_FRONT = 17, /* fd: core's end of the pair with a fresh front */
	SUPERVISOR_SETTINGS = 18, /* fd: of daemon/config/settings.h; first of all, and at SIGHUP */
};

struct supervisor_message {
	uint32_t protocol; /* SUPERVISOR_PROTOCOL */
	uint32_t type;	   /* enum supervisor_type */
	uint64_t serial;   /* chosen by core, repeated in the reply; 0 in notices */
	int32_t status;	   /* reply: 0 or negative errno */
	uint32_t window_ms;
	uint64_t value;
	char category[SUPERVISOR_NAME_LEN]; /* terminated */
	char name[SUPERVISOR_NAME_LEN];	    /* terminated */
};
static_assert(sizeof(struct supervisor_message) == 160, "the message has one size");
