/* What the sources of rpc/ share: events of the completion queue, and who lives
 * on a loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "base/cleanup.h"

struct rpc_loop;
struct rpc_timer;

/*
 * gRPC hands events from thread to thread with locks of its own, which ThreadSanitizer does not see
 * in a library that is not instrumented: these two tell it.
 */
#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define RPC_HAND_OVER(event) __tsan_release(event)
#define RPC_TAKE_OVER(event) __tsan_acquire(event)
#else
#define RPC_HAND_OVER(event) ((void)(event))
#define RPC_TAKE_OVER(event) ((void)(event))
#endif

/*
 * A tag of the loop's completion queue. gRPC reports it on whatever thread
 * completes the operation; fn then runs on the loop's.
 */
struct rpc_event {
	grpc_completion_queue_functor functor; /* first: its address is the tag */
	struct rpc_loop *loop;
	struct rpc_event *next;
	void (*fn)(struct rpc_event *event, bool ok);
	bool ok;
};

void rpc_event_init(struct rpc_event *event, struct rpc_loop *loop,
		    void (*fn)(struct rpc_event *event, bool ok));
/* Runs it soon, as if gRPC had completed it. */
void rpc_event_raise(struct rpc_event *event);

/* Connections and listeners: told of a drain, and to close at once. */
struct rpc_member {
	struct rpc_member *next;
	struct rpc_member **link;
	void (*drain)(struct rpc_member *member);
	void (*close)(struct rpc_member *member);
};

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Where events come out, and the one that polls gRPC's sockets; a server needs
 * both. */
grpc_completion_queue *rpc_loop_queue(struct rpc_loop *loop);
grpc_completion_queue *rpc_loop_io_queue(struct rpc_loop *loop);

/* A socket that gRPC has to be made to read: bytes were sent to its other end.
 */
struct rpc_feed {
	struct rpc_feed *next;
	bool listed;
	int fd;
	void (*on_empty)(struct rpc_feed *feed); /* gRPC has read it all */
};

void rpc_loop_feed(struct rpc_loop *loop, struct rpc_feed *feed);
void rpc_loop_unfeed(struct rpc_loop *loop, struct rpc_feed *feed);
/* gRPC has something to do on a socket that is no feed. */
void rpc_loop_poke(struct rpc_loop *loop);

bool rpc_loop_draining(const struct rpc_loop *loop);
void rpc_loop_join(struct rpc_loop *loop, struct rpc_member *member);
void rpc_loop_leave(struct rpc_loop *loop, struct rpc_member *member);

/* grpc_init() and a silent log; each is matched by a grpc_shutdown(). */
void rpc_library_init(void);

/* CLOCK_MONOTONIC nanoseconds to gRPC's time and back; UINT64_MAX is for ever.
 */
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
