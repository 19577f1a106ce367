/*
 * What the parts of bpfleet-front share: one loop, one channel to core, and the tables of what
 * clients make front hold. Everything here belongs to the loop's thread. front.c makes it, runs it,
 * ends it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/front/core.h"
#include "daemon/front/counts.h"
#include "daemon/front/limit.h"

struct again;
struct error;
struct events;
struct fdservice;
struct front;
struct grants;
struct kallsyms;
struct resolver;
struct rpc_health;
struct rpc_listener;
struct rpc_loop;
struct rpc_reflection;
struct rpc_service;
struct rpc_timer;
struct session;
struct tallies;
struct uploads;
struct walker;
struct watchers;

/* NodeService, health, reflection v1 and v1alpha. */
#define FRONT_N_SERVICES 4

struct front_options {
	int core_fd;	  /* front's end of the channel */
	int listen_fd;	  /* listening stream socket for gRPC */
	int fdservice_fd; /* listening SEQPACKET socket, -1: none */
	const char *version;
	const char *resolver; /* path of bpfleet-resolver; borrowed */
	uint32_t n_connections;
	uint32_t n_connections_per_uid; /* 0: a quarter of n_connections, at least 16 */
	uint32_t n_calls;		/* of one connection */
	uint32_t n_possible_cpus;
	uint32_t refusals_per_s; /* of one uid; 0: 50, with a burst of 200 */
	uint32_t refusals_burst;
	unsigned int grace_ms; /* for calls under way when front stops; 0: 5,000 */
};

struct front {
	struct front_options options;
	struct rpc_loop *loop;
	struct core *core; /* NULL once front is being freed */
	struct peers *peers;
	struct uploads *uploads;
	struct grants *grants;
	struct kallsyms *kallsyms; /* NULL once front is being freed */
	struct walker *walker;	   /* the same */
	struct events *events;
	struct tallies *tallies;
	struct watchers *watchers;
	struct resolver *resolver;
	struct again *agains; /* links whose symbol is being looked up again */
	struct fdservice *fdservice;
	struct rpc_health *health;
	struct rpc_reflection *reflection;
	struct rpc_listener *listener;
	struct rpc_timer *housekeeping;
	struct session *sessions;
	struct counts counts;
	const struct rpc_service *services[FRONT_N_SERVICES]; /* borrowed by the connections */
	/* The newest of each that core has told. */
	uint64_t revision;
	uint64_t policy_epoch;
	bool stopping;
	bool failed; /* core was lost */
};

/* Takes the fds in any case. Errors: OUT_OF_MEMORY, IO, UNAVAILABLE. */
_must_check_ int front_new(const struct front_options *options, struct front **ret,
			   struct error *err);

/*
 * Serves until front_stop() or until core's end of the channel closes; the second is the error
 * UNAVAILABLE.
 */
_must_check_ int front_run(struct front *front, struct error *err);

/* Ends streams, lets other calls finish for the time of grace. Loop thread, or through
 * rpc_loop_post(). */
void front_stop(struct front *front);

void front_free(struct front *front);
DEFINE_CLEANUP(struct front, front_free)
