/*
 * Leases: instances that nothing but core's own fds holds in the kernel. They end with their time
 * limit, ten seconds after their client's connection unless it comes back with the token, and with
 * core.
 */
#pragma once

#include <stdint.h>

#include "bundle/name.h"
#include "daemon/core/core.h"
#include "daemon/core/kernel/hooks.h"

struct apply;
struct request;
struct session;

#define LEASE_TOKEN_LEN 32
#define LEASE_GRACE_NS (UINT64_C(10) * 1000000000)

struct held_link {
	struct held_link *next;
	char id[NAME_ID_LEN + 1];
	struct kernel_link link;
};

/* A map that core made for a map of maps. */
struct held_inner {
	struct held_inner *next;
	uint32_t id; /* kernel's */
	int fd;
};

struct held_instance {
	struct held_instance *next;
	struct core *core;
	char id[NAME_ID_LEN + 1];
	struct session *session;	      /* whose connection keeps it; NULL: it is lost */
	struct loop_timer ends;		      /* the time limit */
	struct loop_timer grace;	      /* the connection is lost */
	uint64_t max_events, max_event_bytes; /* 0: no bound */
	uint64_t n_events, event_bytes;
	size_t n_programs, n_maps;
	int *program_fds, *map_fds, *readonly_fds; /* by ordinal; -1: none */
	struct held_link *links;
	struct held_inner *inner;
};

/* NULL: no lease of that id. */
struct held_instance *held_find(struct core *core, const char *id);
/*
 * Holding a lease comes in two steps around the commit of its rows: held_new() allocates all that
 * is needed and takes nothing, held_take() then takes the fds, links included, and cannot fail.
 * Errors: OUT_OF_MEMORY. Free with held_free() what held_take() did not get.
 */
_must_check_ int held_new(struct core *core, const struct apply *apply, struct held_instance **ret,
			  struct error *err);
void held_take(struct held_instance *held, struct apply *apply, struct session *session,
	       uint64_t ends_at_ns);
void held_free(struct held_instance *held);
DEFINE_CLEANUP(struct held_instance, held_free)
/* Closes every fd and forgets it. */
void held_remove(struct core *core, struct held_instance *held);
/* The same for one more link: an entry to come (free()), which held_add_link() takes with the link.
 * NULL: out of memory. */
struct held_link *held_link_new(const char *id);
void held_add_link(struct held_instance *held, struct held_link *entry, struct kernel_link *link);
/* Gives the link back to the caller; KERNEL_LINK_NONE if there is none of that id. */
struct kernel_link held_take_link(struct held_instance *held, const char *id);

/* A session has ended: its leases have ten seconds. */
void lease_session_ended(struct core *core, const struct session *session);

/*
 * An fd of a program, link or map of any instance, the caller's to close: from the lease, or from
 * its pin. Errors: NOT_FOUND, INSTANCE_NOT_READY (its pins are not there), KERNEL_REFUSED.
 */
_must_check_ int instance_program_fd(struct core *core, const char *id, uint32_t ordinal, int *ret,
				     struct error *err);
_must_check_ int instance_link_fd(struct core *core, const char *id, const char *link, int *ret,
				  struct error *err);
_must_check_ int instance_map_fd(struct core *core, const char *id, uint32_t ordinal, bool readonly,
				 int *ret, struct error *err);
