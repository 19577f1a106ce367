#include "daemon/core/loop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/error.h"

#define EVENTS_AT_ONCE 32

struct loop {
	int epoll_fd;
	volatile sig_atomic_t stopped;
	struct loop_timer *timers;
	/* Events of the batch being served; a source unwatched meanwhile is struck out. */
	struct epoll_event events[EVENTS_AT_ONCE];
	int n_events;
};

int loop_new(struct loop **ret, struct error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "make the event loop");
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		free(loop);
		return error_raise_errno(err, ERROR_IO, errno, "make the event loop");
	}
	*ret = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	(void)close(loop->epoll_fd);
	free(loop);
}

int loop_watch(struct loop *loop, struct loop_fd *source, uint32_t epoll_events, struct error *err)
{
	struct epoll_event event = { .events = epoll_events, .data.ptr = source };
	int op = source->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (source->watched && source->events == epoll_events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "watch an fd");
	source->watched = true;
	source->events = epoll_events;
	return 0;
}

void loop_unwatch(struct loop *loop, struct loop_fd *source)
{
	if (!source->watched)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->watched = false;
	for (int i = 0; i < loop->n_events; i++) {
		if (loop->events[i].data.ptr == source)
			loop->events[i].data.ptr = NULL;
	}
}

void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t deadline)
{
	timer->deadline = deadline;
	if (timer->listed)
		return;
	timer->next = loop->timers;
	timer->listed = true;
	loop->timers = timer;
}

void loop_unset_timer(struct loop *loop, struct loop_timer *timer)
{
	for (struct loop_timer **at = &loop->timers; *at != NULL; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	}
	timer->listed = false;
}

static uint64_t next_deadline(const struct loop *loop)
{
	uint64_t next = UINT64_MAX;

	for (const struct loop_timer *t = loop->timers; t != NULL; t = t->next) {
		if (t->deadline < next)
			next = t->deadline;
	}
	return next;
}

/* A timer's function may set and unset timers, so each search starts over. */
static void run_timers(struct loop *loop)
{
	uint64_t now = clock_monotonic_ns();
	struct loop_timer *timer;

	do {
		for (timer = loop->timers; timer != NULL; timer = timer->next) {
			if (timer->deadline <= now)
				break;
		}
		if (timer != NULL) {
			loop_unset_timer(loop, timer);
			timer->due(timer);
		}
	} while (timer != NULL && !loop->stopped);
}

int loop_run(struct loop *loop, struct error *err)
{
	sigset_t none;

	(void)sigemptyset(&none);
	while (!loop->stopped) {
		int n = epoll_pwait(loop->epoll_fd, loop->events, EVENTS_AT_ONCE,
				    clock_poll_ms(next_deadline(loop)), &none);

		if (n < 0 && errno != EINTR)
			return error_raise_errno(err, ERROR_IO, errno, "wait for events");
		loop->n_events = n < 0 ? 0 : n;
		for (int i = 0; i < loop->n_events && !loop->stopped; i++) {
			struct loop_fd *source = loop->events[i].data.ptr;

			if (source != NULL)
				source->ready(source, loop->events[i].events);
		}
		loop->n_events = 0;
		run_timers(loop);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = 1;
}
