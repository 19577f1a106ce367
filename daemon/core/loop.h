/* The one event loop of core: file descriptors and timers, on the main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct loop;

/* Embedded in whatever it belongs to; zeroed it is not watched. */
struct loop_fd {
	int fd;
	void (*ready)(struct loop_fd *source, uint32_t epoll_events);
	bool watched;
	uint32_t events; /* while it is */
};

struct loop_timer {
	uint64_t deadline; /* monotonic; UINT64_MAX: not set */
	void (*due)(struct loop_timer *timer);
	struct loop_timer *next;
	bool listed;
};

_must_check_ int loop_new(struct loop **ret, struct error *err);
void loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop, loop_free)

/* Watches source->fd for events of epoll(7); again with other events to change them. Errors: IO. */
_must_check_ int loop_watch(struct loop *loop, struct loop_fd *source, uint32_t epoll_events,
			    struct error *err);
void loop_unwatch(struct loop *loop, struct loop_fd *source);

/* Calls timer->due once, at or after the deadline; setting again moves it. */
void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t deadline);
void loop_unset_timer(struct loop *loop, struct loop_timer *timer);

/*
 * Runs until loop_stop(). Signals are let through while it waits and only then, so the caller
 * blocks them and their handlers may call loop_stop(). Errors: IO.
 */
_must_check_ int loop_run(struct loop *loop, struct error *err);
void loop_stop(struct loop *loop);
