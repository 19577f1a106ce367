#include "rpc/loop.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "base/error.h"
#include "rpc/internal.h"

#define WATCH_BATCH 64
#define INBOX_ROUNDS 1000
/* A socket that gRPC does not read although it was made to: how often, and then
 * how long, to wait. */
#define FEED_TRIES 200
#define FEED_WAIT_MS 5

struct task {
	struct task *next;
	rpc_task_fn fn;
	void *arg;
};

struct rpc_watch {
	struct rpc_loop *loop;
	struct rpc_watch *next;
	struct rpc_watch **link;
	int fd;
	rpc_watch_fn fn;
	void *arg;
	uint32_t events;
	bool dead;
};

/*
 * The loop waits in its own epoll, and lets gRPC look at its sockets only after
 * it has put something there itself (rpc/pump.h). Left to itself gRPC reads and
 * parses for as long as a peer keeps sending, without coming back, so that no
 * limit of ours is applied: a client that opened streams without end cost
 * gigabytes, and all others their service.
 *
 * Completions come through a queue of the callback kind: as a rule while gRPC
 * runs on the loop's thread, sometimes on another of its threads, which then
 * wakes the loop.
 */
struct rpc_loop {
	grpc_completion_queue *queue;
	grpc_completion_queue *io_queue;
	/* gRPC runs completions at once only inside of a call to it: so polling is
	 * the completion of an empty batch, on a call that goes nowhere. */
	grpc_channel *poll_channel;
	grpc_call *poll_call;
	grpc_completion_queue_functor poll_functor;
	grpc_completion_queue_functor shutdown_functor;
	int epoll_fd;
	int wake_fd;

	pthread_mutex_t lock; /* over the next block, which other threads reach */
	pthread_cond_t queue_closed;
	pthread_t thread;
	bool queue_is_closed;
	bool woken;
	bool stop_asked;
	bool drain_asked;
	uint64_t drain_deadline;
	struct task *tasks;
	struct task **tasks_end;
	struct rpc_event *events;
	struct rpc_event **events_end;

	bool stopped;
	bool draining;
	unsigned int n_pokes;
	struct rpc_feed *feeds;
	unsigned int feed_tries;
	struct rpc_timer *drain_timer;
	struct rpc_timers timers;
	struct rpc_member *members;
	struct rpc_watch *watches;
	struct rpc_watch *dead_watches;
};

static void log_nothing(gpr_log_func_args *args)
{
	(void)args;
}

void rpc_library_init(void)
{
	gpr_set_log_function(log_nothing);
	grpc_init();
}

gpr_timespec rpc_time_from_ns(uint64_t monotonic_ns)
{
	if (monotonic_ns > INT64_MAX)
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	return (gpr_timespec){ .tv_sec = (int64_t)(monotonic_ns / NS_PER_SEC),
			       .tv_nsec = (int32_t)(monotonic_ns % NS_PER_SEC),
			       .clock_type = GPR_CLOCK_MONOTONIC };
}

uint64_t rpc_time_to_ns(gpr_timespec time)
{
	if (gpr_time_cmp(time, gpr_inf_future(time.clock_type)) == 0)
		return UINT64_MAX;
	time = gpr_convert_clock_type(time, GPR_CLOCK_MONOTONIC);
	if (time.tv_sec < 0)
		return 0;
	if ((uint64_t)time.tv_sec >= UINT64_MAX / NS_PER_SEC)
		return UINT64_MAX;
	return (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec;
}

/* ---- what other threads do */

static void wake_locked(struct rpc_loop *loop)
{
	if (loop->woken || pthread_equal(pthread_self(), loop->thread))
		return;
	loop->woken = eventfd_write(loop->wake_fd, 1) == 0;
}

static void event_completed(grpc_completion_queue_functor *functor, int ok)
{
	struct rpc_event *event = CONTAINER_OF(functor, struct rpc_event, functor);
	struct rpc_loop *loop;

	RPC_TAKE_OVER(event);
	loop = event->loop;
	event->ok = ok != 0;
	event->next = NULL;
	pthread_mutex_lock(&loop->lock);
	*loop->events_end = event;
	loop->events_end = &event->next;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

void rpc_event_init(struct rpc_event *event, struct rpc_loop *loop,
		    void (*fn)(struct rpc_event *event, bool ok))
{
	*event = (struct rpc_event){
		.functor = { .functor_run = event_completed, .inlineable = 1 },
		.loop = loop,
		.fn = fn,
	};
}

void rpc_event_raise(struct rpc_event *event)
{
	event_completed(&event->functor, 1);
}

static void queue_was_closed(grpc_completion_queue_functor *functor, int ok)
{
	struct rpc_loop *loop = CONTAINER_OF(functor, struct rpc_loop, shutdown_functor);

	(void)ok;
	pthread_mutex_lock(&loop->lock);
	loop->queue_is_closed = true;
	pthread_cond_signal(&loop->queue_closed);
	pthread_mutex_unlock(&loop->lock);
}

/* ---- gRPC's sockets */

/* Handles at most one event of one socket. */
static void poll_once(grpc_completion_queue_functor *functor, int ok)
{
	struct rpc_loop *loop = CONTAINER_OF(functor, struct rpc_loop, poll_functor);

	(void)ok;
	(void)grpc_completion_queue_next(loop->io_queue, gpr_inf_past(GPR_CLOCK_MONOTONIC), NULL);
}

static bool feed_is_empty(const struct rpc_feed *feed)
{
	int n = 0;

	return ioctl(feed->fd, SIOCOUTQ, &n) < 0 || n == 0;
}

static void feeds_check(struct rpc_loop *loop)
{
	struct rpc_feed **link = &loop->feeds;

	while (*link != NULL) {
		struct rpc_feed *feed = *link;

		if (!feed_is_empty(feed)) {
			link = &feed->next;
			continue;
		}
		*link = feed->next;
		feed->listed = false;
		loop->feed_tries = 0;
		feed->on_empty(feed);
	}
	loop->feed_tries += loop->feeds != NULL;
}

static void grpc_run(struct rpc_loop *loop)
{
	unsigned int n = loop->n_pokes;

	for (const struct rpc_feed *feed = loop->feeds; feed != NULL; feed = feed->next)
		n++;
	loop->n_pokes = 0;
	for (unsigned int i = 0; n > 0 && i < n + 1; i++)
		(void)grpc_call_start_batch(loop->poll_call, NULL, 0, &loop->poll_functor, NULL);
	feeds_check(loop);
}

void rpc_loop_feed(struct rpc_loop *loop, struct rpc_feed *feed)
{
	if (feed->listed)
		return;
	feed->listed = true;
	feed->next = loop->feeds;
	loop->feeds = feed;
}

void rpc_loop_unfeed(struct rpc_loop *loop, struct rpc_feed *feed)
{
	struct rpc_feed **link = &loop->feeds;

	while (*link != NULL && *link != feed)
		link = &(*link)->next;
	if (*link != NULL)
		*link = feed->next;
	feed->listed = false;
}

void rpc_loop_poke(struct rpc_loop *loop)
{
	loop->n_pokes++;
}

/* ---- one turn */

static void watches_bury(struct rpc_loop *loop)
{
	while (loop->dead_watches != NULL) {
		struct rpc_watch *watch = loop->dead_watches;

		loop->dead_watches = watch->next;
		free(watch);
	}
}

static void watches_serve(struct rpc_loop *loop, int timeout_ms)
{
	struct epoll_event events[WATCH_BATCH];
	int n = epoll_wait(loop->epoll_fd, events, WATCH_BATCH, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct rpc_watch *watch = events[i].data.ptr;

		if (watch != NULL && !watch->dead)
			watch->fn(watch->arg, events[i].events);
	}
	watches_bury(loop);
}

static void drain_timeout(void *arg)
{
	struct rpc_loop *loop = arg;
	struct rpc_member *next;

	loop->drain_timer = NULL;
	for (struct rpc_member *member = loop->members; member != NULL; member = next) {
		next = member->next;
		member->close(member);
	}
}

static void drain_begin(struct rpc_loop *loop, uint64_t deadline)
{
	struct rpc_member *next;

	if (loop->drain_timer != NULL && loop->drain_timer->at <= deadline)
		return;
	rpc_timer_cancel(loop->drain_timer);
	loop->drain_timer = rpc_timers_add(&loop->timers, deadline, drain_timeout, loop);
	if (!loop->draining) {
		loop->draining = true;
		for (struct rpc_member *member = loop->members; member != NULL; member = next) {
			next = member->next;
			member->drain(member);
		}
	}
	if (loop->drain_timer == NULL)
		drain_timeout(loop);
	if (loop->members == NULL)
		loop->stopped = true;
}

static void tasks_run(struct task *tasks)
{
	while (tasks != NULL) {
		struct task *task = tasks;

		tasks = task->next;
		task->fn(task->arg);
		free(task);
	}
}

static void events_run(struct rpc_event *events)
{
	while (events != NULL) {
		struct rpc_event *event = events;

		events = event->next;
		event->fn(event, event->ok);
	}
}

/* Does what was asked for; true if there was anything. */
static bool inbox_run(struct rpc_loop *loop)
{
	struct rpc_event *events;
	struct task *tasks;
	bool drain, busy;
	uint64_t deadline;

	pthread_mutex_lock(&loop->lock);
	if (loop->woken) {
		eventfd_t value;

		(void)eventfd_read(loop->wake_fd, &value);
		loop->woken = false;
	}
	events = TAKE_PTR(loop->events);
	loop->events_end = &loop->events;
	tasks = TAKE_PTR(loop->tasks);
	loop->tasks_end = &loop->tasks;
	drain = loop->drain_asked;
	deadline = loop->drain_deadline;
	loop->drain_asked = false;
	loop->stopped |= loop->stop_asked;
	loop->stop_asked = false;
	pthread_mutex_unlock(&loop->lock);

	busy = events != NULL || tasks != NULL || drain;
	events_run(events);
	tasks_run(tasks);
	if (drain)
		drain_begin(loop, deadline);
	return busy;
}

static int turn_timeout_ms(const struct rpc_loop *loop, bool busy)
{
	int timeout_ms = clock_poll_ms(rpc_timers_next(&loop->timers));

	if (busy || loop->n_pokes > 0 || (loop->feeds != NULL && loop->feed_tries < FEED_TRIES))
		return 0;
	if (loop->feeds != NULL && (timeout_ms < 0 || timeout_ms > FEED_WAIT_MS))
		return FEED_WAIT_MS;
	return timeout_ms;
}

/*
 * What is there to do comes before more input: a portion of input can hold many calls, which come
 * out one after the other, and the limits are ours to apply.
 */
static void loop_turn(struct rpc_loop *loop)
{
	bool busy = true;

	for (unsigned int i = 0; i < INBOX_ROUNDS && busy && !loop->stopped; i++)
		busy = inbox_run(loop);
	if (loop->stopped)
		return;
	watches_serve(loop, turn_timeout_ms(loop, busy));
	grpc_run(loop);
	if (rpc_timers_next(&loop->timers) <= clock_monotonic_ns())
		rpc_timers_run(&loop->timers, clock_monotonic_ns());
}

static void loop_adopt(struct rpc_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->thread = pthread_self();
	pthread_mutex_unlock(&loop->lock);
}

/* ---- life */

static void queues_open(struct rpc_loop *loop)
{
	loop->poll_functor =
		(grpc_completion_queue_functor){ .functor_run = poll_once, .inlineable = 1 };
	loop->shutdown_functor =
		(grpc_completion_queue_functor){ .functor_run = queue_was_closed, .inlineable = 1 };
	loop->queue = grpc_completion_queue_create_for_callback(&loop->shutdown_functor, NULL);
	loop->io_queue = grpc_completion_queue_create_for_next(NULL);
	loop->poll_channel = grpc_lame_client_channel_create("poll", GRPC_STATUS_UNAVAILABLE, "");
	loop->poll_call =
		grpc_channel_create_call(loop->poll_channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					 loop->queue, grpc_slice_from_static_string("/poll"), NULL,
					 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

int rpc_loop_new(struct rpc_loop **ret, struct error *err)
{
	_cleanup_(rpc_loop_freep) struct rpc_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event wake = { .events = EPOLLIN };

	if (loop == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot make an event loop");
	rpc_library_init();
	loop->tasks_end = &loop->tasks;
	loop->events_end = &loop->events;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->queue_closed, NULL);
	loop->thread = pthread_self();
	queues_open(loop);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &wake) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot make an event loop");
	*ret = TAKE_PTR(loop);
	return 0;
}

int rpc_loop_run(struct rpc_loop *loop)
{
	loop_adopt(loop);
	while (!loop->stopped)
		loop_turn(loop);
	loop->stopped = loop->draining;
	return 0;
}

void rpc_loop_stop(struct rpc_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stop_asked = true;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

void rpc_loop_drain(struct rpc_loop *loop, unsigned int grace_ms)
{
	pthread_mutex_lock(&loop->lock);
	loop->drain_asked = true;
	loop->drain_deadline = clock_monotonic_ns() + grace_ms * NS_PER_MS;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

static void queues_close(struct rpc_loop *loop)
{
	grpc_event event;

	grpc_call_unref(loop->poll_call);
	grpc_channel_destroy(loop->poll_channel);
	grpc_completion_queue_shutdown(loop->queue);
	pthread_mutex_lock(&loop->lock);
	while (!loop->queue_is_closed)
		pthread_cond_wait(&loop->queue_closed, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
	grpc_completion_queue_destroy(loop->queue);
	grpc_completion_queue_shutdown(loop->io_queue);
	do
		event = grpc_completion_queue_next(loop->io_queue,
						   gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	while (event.type != GRPC_QUEUE_SHUTDOWN);
	grpc_completion_queue_destroy(loop->io_queue);
}

void rpc_loop_free(struct rpc_loop *loop)
{
	if (loop == NULL)
		return;
	loop_adopt(loop);
	loop->draining = true;
	rpc_timer_cancel(TAKE_PTR(loop->drain_timer));
	drain_timeout(loop);
	while (loop->members != NULL) {
		loop->stopped = false;
		loop_turn(loop);
	}
	tasks_run(loop->tasks);
	while (loop->watches != NULL)
		rpc_watch_free(loop->watches);
	watches_bury(loop);
	rpc_timers_done(&loop->timers);
	queues_close(loop);
	cleanup_closep(&loop->epoll_fd);
	cleanup_closep(&loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_cond_destroy(&loop->queue_closed);
	free(loop);
	grpc_shutdown();
}

/* ---- tasks, timers, watches */

int rpc_loop_post(struct rpc_loop *loop, rpc_task_fn fn, void *arg)
{
	struct task *task = malloc(sizeof(*task));

	if (task == NULL)
		return -ENOMEM;
	*task = (struct task){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->lock);
	*loop->tasks_end = task;
	loop->tasks_end = &task->next;
	wake_locked(loop);
	pthread_mutex_unlock(&loop->lock);
	return 0;
}

struct rpc_timer *rpc_loop_after(struct rpc_loop *loop, unsigned int delay_ms, rpc_task_fn fn,
				 void *arg)
{
	return rpc_timers_add(&loop->timers, clock_monotonic_ns() + delay_ms * NS_PER_MS, fn, arg);
}

int rpc_loop_watch(struct rpc_loop *loop, int fd, uint32_t events, rpc_watch_fn fn, void *arg,
		   struct rpc_watch **ret, struct error *err)
{
	_cleanup_free_ struct rpc_watch *watch = calloc(1, sizeof(*watch));
	struct epoll_event event = { .events = events, .data.ptr = watch };

	if (watch == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot watch a file descriptor");
	*watch = (struct rpc_watch){
		.loop = loop, .fd = fd, .fn = fn, .arg = arg, .events = events
	};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot watch a file descriptor");
	watch->next = loop->watches;
	watch->link = &loop->watches;
	if (watch->next != NULL)
		watch->next->link = &watch->next;
	loop->watches = watch;
	*ret = TAKE_PTR(watch);
	return 0;
}

void rpc_watch_set(struct rpc_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	if (watch->events == events)
		return;
	(void)epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
	watch->events = events;
}

void rpc_watch_free(struct rpc_watch *watch)
{
	struct rpc_loop *loop;

	if (watch == NULL)
		return;
	loop = watch->loop;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	*watch->link = watch->next;
	if (watch->next != NULL)
		watch->next->link = watch->link;
	/* The batch of events being served may still name it. */
	watch->dead = true;
	watch->next = loop->dead_watches;
	loop->dead_watches = watch;
}

/* ---- members */

grpc_completion_queue *rpc_loop_queue(struct rpc_loop *loop)
{
	return loop->queue;
}

grpc_completion_queue *rpc_loop_io_queue(struct rpc_loop *loop)
{
	return loop->io_queue;
}

bool rpc_loop_draining(const struct rpc_loop *loop)
{
	return loop->draining;
}

void rpc_loop_join(struct rpc_loop *loop, struct rpc_member *member)
{
	member->next = loop->members;
	member->link = &loop->members;
	if (member->next != NULL)
		member->next->link = &member->next;
	loop->members = member;
}

void rpc_loop_leave(struct rpc_loop *loop, struct rpc_member *member)
{
	*member->link = member->next;
	if (member->next != NULL)
		member->next->link = member->link;
	if (loop->draining && loop->members == NULL)
		loop->stopped = true;
}
