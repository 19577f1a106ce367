/* What the sources of rpc/ share: events of the completion queue, and who lives on a loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "base/cleanup.h"

struct rpc_loop;
struct rpc_timer;

/* First member of everything that is a tag on the loop's completion queue. */
struct rpc_event {
	void (*fn)(struct rpc_event *event, bool ok);
};

/* Connections and listeners: told of a drain, and to close at once. */
struct rpc_member {
	struct rpc_member *next;
	struct rpc_member **link;
	void (*drain)(struct rpc_member *member);
	void (*close)(struct rpc_member *member);
};

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Where events come out, and the one that polls the sockets; a server needs both. */
grpc_completion_queue *rpc_loop_queue(struct rpc_loop *loop);
grpc_completion_queue *rpc_loop_io_queue(struct rpc_loop *loop);
bool rpc_loop_draining(const struct rpc_loop *loop);
void rpc_loop_join(struct rpc_loop *loop, struct rpc_member *member);
void rpc_loop_leave(struct rpc_loop *loop, struct rpc_member *member);

/* grpc_init() and a silent log; each is matched by a grpc_shutdown(). */
void rpc_library_init(void);

/* CLOCK_MONOTONIC nanoseconds to gRPC's time and back; UINT64_MAX is for ever. */
gpr_timespec rpc_time_from_ns(uint64_t monotonic_ns);
uint64_t rpc_time_to_ns(gpr_timespec time);

/* ---- timers, as a heap by time */

struct rpc_timers {
	struct rpc_timer **heap;
	size_t n;
	size_t capacity;
};

struct rpc_timer {
	struct rpc_timers *timers;
	size_t index;
	uint64_t at;
	void (*fn)(void *arg);
	void *arg;
};

/* When the first is due; UINT64_MAX: there is none. */
uint64_t rpc_timers_next(const struct rpc_timers *timers);
/* Runs those due at `now`, at most as many as there are at the start. */
void rpc_timers_run(struct rpc_timers *timers, uint64_t now);
struct rpc_timer *rpc_timers_add(struct rpc_timers *timers, uint64_t at, void (*fn)(void *arg),
				 void *arg);
/* Frees all without running them. */
void rpc_timers_done(struct rpc_timers *timers);
