/*
 * The event loop of a gRPC server process: one thread that handles gRPC's events, file descriptors
 * and timers. Everything in rpc/server.h happens on that thread, so handlers need no locks; the one
 * way in from another thread is rpc_loop_post(). gRPC starts threads of its own (timers, an
 * executor); they call nothing of ours, but need signals blocked before rpc_loop_new() if the
 * program wants to choose where signals arrive.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct rpc_loop;
struct rpc_timer;
struct rpc_watch;

typedef void (*rpc_task_fn)(void *arg);
typedef void (*rpc_watch_fn)(void *arg, uint32_t events);

/*
 * A new loop; free with rpc_loop_free(). gRPC's own log is silenced in the
 * whole process, since libraries do not log. Errors: OUT_OF_MEMORY, IO.
 */
_must_check_ int rpc_loop_new(struct rpc_loop **ret, struct error *err);

/*
 * Runs the loop on the calling thread until rpc_loop_stop() or rpc_loop_drain()
 * has ended it. Returns 0. May be called again after that only to free
 * (rpc_loop_free() does it by itself).
 */
int rpc_loop_run(struct rpc_loop *loop);

/* Ends rpc_loop_run() soon; calls and connections stay as they are. Any thread.
 */
void rpc_loop_stop(struct rpc_loop *loop);

/*
 * Orderly shutdown: every connection stops taking calls (clients see GOAWAY),
 * calls under way may finish for grace_ms milliseconds, the rest is cancelled;
 * when the last connection has closed, rpc_loop_run() returns. Listeners are
 * closed at once. Any thread; a second call can only shorten.
 */
void rpc_loop_drain(struct rpc_loop *loop, unsigned int grace_ms);

/*
 * Closes what is left (connections with their on_closed, listeners, watches;
 * timers do not fire any more, tasks posted run), then frees. Only when
 * rpc_loop_run() is not running; callbacks run on the calling thread. NULL is
 * fine.
 */
void rpc_loop_free(struct rpc_loop *loop);
DEFINE_CLEANUP(struct rpc_loop, rpc_loop_free)

/* Runs fn(arg) on the loop's thread, in the order of the posts. Any thread.
 * -ENOMEM or 0. */
_must_check_ int rpc_loop_post(struct rpc_loop *loop, rpc_task_fn fn, void *arg);

/*
 * Runs fn(arg) once, delay_ms from now. Loop thread (or before rpc_loop_run()).
 * NULL when out of memory. The handle is valid until fn starts or
 * rpc_timer_cancel().
 */
struct rpc_timer *rpc_loop_after(struct rpc_loop *loop, unsigned int delay_ms, rpc_task_fn fn,
				 void *arg);
/* fn will not run any more. NULL is fine. Loop thread. */
void rpc_timer_cancel(struct rpc_timer *timer);

/*
 * Calls fn(arg, events) on the loop's thread as long as fd has one of `events`
 * (EPOLLIN, EPOLLOUT, EPOLLRDHUP ...; level-triggered, as in epoll). Borrows fd
 * until rpc_watch_free(), which must come before the fd is closed and may come
 * from within fn. Loop thread (or before rpc_loop_run()). Errors:
 * OUT_OF_MEMORY, IO.
 */
_must_check_ int rpc_loop_watch(struct rpc_loop *loop, int fd, uint32_t events, rpc_watch_fn fn,
				void *arg, struct rpc_watch **ret, struct error *err);
/* Changes the events waited for; 0 pauses the watch (errors and hang-ups still
 * come). */
void rpc_watch_set(struct rpc_watch *watch, uint32_t events);
void rpc_watch_free(struct rpc_watch *watch);
