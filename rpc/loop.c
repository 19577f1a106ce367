#include "rpc/loop.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "base/error.h"
#include "rpc/internal.h"

#define WATCH_BATCH 64
#define N_IO_THREADS 2

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
	bool dead;
};

/*
 * Three kinds of threads, of which only the loop's own runs callbacks:
 * - gRPC reads and parses on whatever thread polls, for as long as a peer keeps sending: a peer
 * that floods us would keep the loop inside gRPC, and its own limits from being applied. So the
 * loop's queue is one that does not poll, and threads of our own poll on another, `io_queue`, which
 * never has an event.
 * - gRPC takes no fd but its own sockets. The others are in epoll_fd, which one more thread only
 * waits for: it wakes the loop, which reads the events itself, and waits until that is done.
 */
struct rpc_loop {
	grpc_completion_queue *queue;
	grpc_completion_queue *io_queue;
	pthread_t io_threads[N_IO_THREADS];
	unsigned int n_io_threads;
	grpc_channel *wake_channel;
	grpc_call *wake_call;
	struct rpc_event wake_event;
	int epoll_fd;
	int quit_fd;
	pthread_t poller;
	bool has_poller;

	pthread_mutex_t lock; /* over the next block, which other threads reach */
	pthread_cond_t served;
	bool woken;
	bool watches_ready;
	bool quit;
	bool stop_asked;
	bool drain_asked;
	uint64_t drain_deadline;
	struct task *tasks;
	struct task **tasks_end;

	bool stopped;
	bool draining;
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

/* ---- waking; an empty batch completes at once, whatever its call is */

static void wake_locked(struct rpc_loop *loop)
{
	if (loop->woken)
		return;
	loop->woken = grpc_call_start_batch(loop->wake_call, NULL, 0, &loop->wake_event, NULL) ==
		      GRPC_CALL_OK;
}

static void *poller_main(void *arg)
{
	struct rpc_loop *loop = arg;
	struct pollfd fds[2] = { { .fd = loop->epoll_fd, .events = POLLIN },
				 { .fd = loop->quit_fd, .events = POLLIN } };

	for (;;) {
		bool quit;

		if (poll(fds, 2, -1) < 0)
			continue;
		pthread_mutex_lock(&loop->lock);
		if ((fds[0].revents & POLLIN) != 0 && !loop->quit) {
			loop->watches_ready = true;
			wake_locked(loop);
		}
		while (loop->watches_ready && !loop->quit)
			pthread_cond_wait(&loop->served, &loop->lock);
		quit = loop->quit;
		pthread_mutex_unlock(&loop->lock);
		if (quit)
			return NULL;
	}
}

static void watches_bury(struct rpc_loop *loop)
{
	while (loop->dead_watches != NULL) {
		struct rpc_watch *watch = loop->dead_watches;

		loop->dead_watches = watch->next;
		free(watch);
	}
}

static void watches_serve(struct rpc_loop *loop)
{
	struct epoll_event events[WATCH_BATCH];
	int n = epoll_wait(loop->epoll_fd, events, WATCH_BATCH, 0);

	for (int i = 0; i < n; i++) {
		struct rpc_watch *watch = events[i].data.ptr;

		if (!watch->dead)
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

static void wake_served(struct rpc_event *event, bool ok)
{
	struct rpc_loop *loop = CONTAINER_OF(event, struct rpc_loop, wake_event);
	bool ready, drain;
	uint64_t deadline;
	struct task *tasks;

	(void)ok;
	pthread_mutex_lock(&loop->lock);
	loop->woken = false;
	tasks = TAKE_PTR(loop->tasks);
	loop->tasks_end = &loop->tasks;
	ready = loop->watches_ready;
	drain = loop->drain_asked;
	deadline = loop->drain_deadline;
	loop->drain_asked = false;
	loop->stopped |= loop->stop_asked;
	loop->stop_asked = false;
	pthread_mutex_unlock(&loop->lock);

	tasks_run(tasks);
	if (ready) {
		watches_serve(loop);
		pthread_mutex_lock(&loop->lock);
		loop->watches_ready = false;
		pthread_cond_signal(&loop->served);
		pthread_mutex_unlock(&loop->lock);
	}
	if (drain)
		drain_begin(loop, deadline);
}

/* ---- life */

static void *io_main(void *arg)
{
	gpr_timespec forever = gpr_inf_future(GPR_CLOCK_MONOTONIC);

	while (grpc_completion_queue_next(arg, forever, NULL).type != GRPC_QUEUE_SHUTDOWN)
		;
	return NULL;
}

static int threads_start(struct rpc_loop *loop, struct error *err)
{
	sigset_t all, old;
	int r;

	/* Signals belong to the threads of the program. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&loop->poller, NULL, poller_main, loop);
	loop->has_poller = r == 0;
	while (r == 0 && loop->n_io_threads < N_IO_THREADS) {
		r = pthread_create(&loop->io_threads[loop->n_io_threads], NULL, io_main,
				   loop->io_queue);
		loop->n_io_threads += r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return error_raise_errno(err, ERROR_IO, r, "cannot start a thread");
	return 0;
}

static grpc_completion_queue *queue_create(grpc_cq_polling_type polling)
{
	const grpc_completion_queue_attributes attributes = { .version = GRPC_CQ_CURRENT_VERSION,
							      .cq_completion_type = GRPC_CQ_NEXT,
							      .cq_polling_type = polling };

	return grpc_completion_queue_create(grpc_completion_queue_factory_lookup(&attributes),
					    &attributes, NULL);
}

int rpc_loop_new(struct rpc_loop **ret, struct error *err)
{
	_cleanup_(rpc_loop_freep) struct rpc_loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (loop == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot make an event loop");
	rpc_library_init();
	loop->tasks_end = &loop->tasks;
	loop->wake_event.fn = wake_served;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->served, NULL);
	loop->queue = queue_create(GRPC_CQ_NON_POLLING);
	loop->io_queue = queue_create(GRPC_CQ_DEFAULT_POLLING);
	loop->wake_channel = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "");
	loop->wake_call =
		grpc_channel_create_call(loop->wake_channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					 loop->queue, grpc_slice_from_static_string("/wake"), NULL,
					 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	loop->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0 || loop->quit_fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot make an event loop");
	r = threads_start(loop, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(loop);
	return 0;
}

/* One event or the first timer, whichever comes first. */
static void loop_step(struct rpc_loop *loop)
{
	grpc_event event = grpc_completion_queue_next(
		loop->queue, rpc_time_from_ns(rpc_timers_next(&loop->timers)), NULL);

	if (event.type == GRPC_OP_COMPLETE) {
		struct rpc_event *tag = event.tag;

		tag->fn(tag, event.success != 0);
	}
	if (rpc_timers_next(&loop->timers) <= clock_monotonic_ns())
		rpc_timers_run(&loop->timers, clock_monotonic_ns());
}

int rpc_loop_run(struct rpc_loop *loop)
{
	while (!loop->stopped)
		loop_step(loop);
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

static void poller_stop(struct rpc_loop *loop)
{
	if (!loop->has_poller)
		return;
	pthread_mutex_lock(&loop->lock);
	loop->quit = true;
	pthread_cond_signal(&loop->served);
	pthread_mutex_unlock(&loop->lock);
	(void)eventfd_write(loop->quit_fd, 1);
	pthread_join(loop->poller, NULL);
}

static void queues_close(struct rpc_loop *loop)
{
	grpc_event event;

	grpc_call_unref(loop->wake_call);
	grpc_channel_destroy(loop->wake_channel);
	grpc_completion_queue_shutdown(loop->queue);
	do
		event = grpc_completion_queue_next(loop->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC),
						   NULL);
	while (event.type != GRPC_QUEUE_SHUTDOWN);
	grpc_completion_queue_destroy(loop->queue);
	grpc_completion_queue_shutdown(loop->io_queue);
	for (unsigned int i = 0; i < loop->n_io_threads; i++)
		pthread_join(loop->io_threads[i], NULL);
	if (loop->n_io_threads == 0)
		(void)io_main(loop->io_queue);
	grpc_completion_queue_destroy(loop->io_queue);
}

void rpc_loop_free(struct rpc_loop *loop)
{
	if (loop == NULL)
		return;
	loop->draining = true;
	rpc_timer_cancel(TAKE_PTR(loop->drain_timer));
	drain_timeout(loop);
	while (loop->members != NULL)
		loop_step(loop);
	poller_stop(loop);
	tasks_run(loop->tasks);
	while (loop->watches != NULL)
		rpc_watch_free(loop->watches);
	watches_bury(loop);
	rpc_timers_done(&loop->timers);
	queues_close(loop);
	cleanup_closep(&loop->epoll_fd);
	cleanup_closep(&loop->quit_fd);
	pthread_mutex_destroy(&loop->lock);
	pthread_cond_destroy(&loop->served);
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
	*watch = (struct rpc_watch){ .loop = loop, .fd = fd, .fn = fn, .arg = arg };
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

	(void)epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
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
