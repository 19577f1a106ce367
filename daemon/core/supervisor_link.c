#define _GNU_SOURCE
#include "daemon/core/supervisor_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/fdpass.h"
#include "daemon/config/settings.h"
#include "daemon/core/loop.h"
#include "daemon/supervisor/protocol.h"

#define ANSWER_TIMEOUT_SEC 5
#define NETNS_ATTEMPTS 400

/* A question on its way; lives on the asking thread's stack. */
struct question {
	struct question *next;
	uint64_t serial;
	bool answered;
	int32_t status;
	uint64_t value;
	int fd; /* that came with the answer, or -1 */
};

/* A notice that came while the main thread waited for an answer. */
struct deferred {
	struct deferred *next;
	struct supervisor_message message;
	int fd;
};

struct supervisor_link {
	struct loop_fd source;
	struct loop_timer later; /* handles what was deferred */
	struct deferred *deferred;
	pthread_t main;
	struct loop *loop;
	struct supervisor_handler handler;
	pthread_mutex_t lock; /* of the questions */
	pthread_cond_t answer;
	struct question *questions;
	uint64_t serial;
	bool stopped;
};

static int receive(struct supervisor_link *link, struct supervisor_message *ret, int *ret_fd)
{
	int r = fdpass_receive(link->source.fd, ret, sizeof(*ret), ret_fd);

	if (r > 0 && ret->protocol != SUPERVISOR_PROTOCOL) {
		cleanup_closep(ret_fd);
		return -EPROTO;
	}
	return r;
}

/* Takes the fd if the question still waits. */
static void answer(struct supervisor_link *link, const struct supervisor_message *message, int *fd)
{
	(void)pthread_mutex_lock(&link->lock);
	for (struct question *q = link->questions; q != NULL; q = q->next) {
		if (q->serial == message->serial) {
			q->status = message->status;
			q->value = message->value;
			q->fd = TAKE_FD(*fd);
			q->answered = true;
		}
	}
	(void)pthread_cond_broadcast(&link->answer);
	(void)pthread_mutex_unlock(&link->lock);
}

static void handle(struct supervisor_link *link, const struct supervisor_message *message, int *fd)
{
	if (message->type == SUPERVISOR_REPLY)
		answer(link, message, fd);
	else if (message->type == SUPERVISOR_SETTINGS)
		link->handler.reload(link->handler.user, *fd);
	else if (message->type == SUPERVISOR_NEW_FRONT && *fd >= 0)
		link->handler.new_front(link->handler.user, TAKE_FD(*fd));
	cleanup_closep(fd);
}

static void on_later(struct loop_timer *timer)
{
	struct supervisor_link *link =
		(struct supervisor_link *)(void *)((char *)timer -
						   offsetof(struct supervisor_link, later));
	struct deferred *deferred;

	while ((deferred = link->deferred) != NULL) {
		link->deferred = deferred->next;
		handle(link, &deferred->message, &deferred->fd);
		free(deferred);
	}
}

static void on_ready(struct loop_fd *source, uint32_t epoll_events)
{
	struct supervisor_link *link = (struct supervisor_link *)(void *)source;
	struct supervisor_message message;
	int fd, r;

	(void)epoll_events;
	on_later(&link->later);
	while ((r = receive(link, &message, &fd)) > 0)
		handle(link, &message, &fd);
	if (r < 0)
		link->handler.gone(link->handler.user);
}

/* On the main thread, which nobody else reads the answer for; the lock is not held. Notices wait
 * for the loop. Negative: no answer will come. */
static int wait_on_main(struct supervisor_link *link)
{
	struct pollfd poll_fd = { .fd = link->source.fd, .events = POLLIN };
	struct deferred **last = &link->deferred, *deferred;
	struct supervisor_message message;
	int fd, r;

	if (poll(&poll_fd, 1, ANSWER_TIMEOUT_SEC * 1000) <= 0)
		return -ETIMEDOUT;
	r = receive(link, &message, &fd);
	if (r <= 0)
		return r;
	if (message.type == SUPERVISOR_REPLY) {
		handle(link, &message, &fd);
		return 0;
	}
	deferred = calloc(1, sizeof(*deferred));
	if (deferred == NULL) {
		cleanup_closep(&fd);
		return -ENOMEM;
	}
	*deferred = (struct deferred){ .message = message, .fd = fd };
	while (*last != NULL)
		last = &(*last)->next;
	*last = deferred;
	loop_set_timer(link->loop, &link->later, clock_monotonic_ns());
	return 0;
}

int supervisor_settings(int fd, struct settings **ret, struct error *err)
{
	struct supervisor_message message;
	_cleanup_close_ int settings_fd = -1;

	if (fdpass_receive(fd, &message, sizeof(message), &settings_fd) <= 0 ||
	    message.protocol != SUPERVISOR_PROTOCOL || message.type != SUPERVISOR_SETTINGS)
		return error_raise(err, ERROR_PROTOCOL, "bpfleetd sent no settings");
	return settings_open(settings_fd, ret, err);
}

int supervisor_link_new(struct loop *loop, int fd, const struct supervisor_handler *handler,
			struct supervisor_link **ret, struct error *err)
{
	struct supervisor_link *link = calloc(1, sizeof(*link));
	pthread_condattr_t monotonic;
	int r;

	if (link == NULL) {
		(void)close(fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "talk to the supervisor");
	}
	link->source = (struct loop_fd){ .fd = fd, .ready = on_ready };
	link->later = (struct loop_timer){ .deadline = UINT64_MAX, .due = on_later };
	link->main = pthread_self();
	link->loop = loop;
	link->handler = *handler;
	(void)pthread_mutex_init(&link->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&link->answer, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	r = loop_watch(loop, &link->source, EPOLLIN, err);
	if (r < 0) {
		supervisor_link_free(link);
		return r;
	}
	*ret = link;
	return 0;
}

void supervisor_link_free(struct supervisor_link *link)
{
	if (link == NULL)
		return;
	loop_unwatch(link->loop, &link->source);
	loop_unset_timer(link->loop, &link->later);
	for (struct deferred *at = link->deferred, *next; at != NULL; at = next) {
		next = at->next;
		cleanup_closep(&at->fd);
		free(at);
	}
	(void)close(link->source.fd);
	(void)pthread_cond_destroy(&link->answer);
	(void)pthread_mutex_destroy(&link->lock);
	free(link);
}

void supervisor_link_stop(struct supervisor_link *link)
{
	(void)pthread_mutex_lock(&link->lock);
	link->stopped = true;
	(void)pthread_cond_broadcast(&link->answer);
	(void)pthread_mutex_unlock(&link->lock);
}

static int tell(struct supervisor_link *link, struct supervisor_message *message)
{
	message->protocol = SUPERVISOR_PROTOCOL;
	if (send(link->source.fd, message, sizeof(*message), MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

/* A lost notice means that the supervisor is gone, which its socket tells as well. */
void supervisor_core_ready(struct supervisor_link *link)
{
	(void)tell(link, &(struct supervisor_message){ .type = SUPERVISOR_CORE_READY });
}

void supervisor_front_ready(struct supervisor_link *link)
{
	(void)tell(link, &(struct supervisor_message){ .type = SUPERVISOR_FRONT_READY });
}

void supervisor_restart_front(struct supervisor_link *link)
{
	(void)tell(link, &(struct supervisor_message){ .type = SUPERVISOR_RESTART_FRONT });
}

/* Sends and waits, the lock held on entry and on return. */
static int ask(struct supervisor_link *link, struct supervisor_message *message,
	       struct question *question)
{
	struct timespec until;
	int r;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ANSWER_TIMEOUT_SEC;
	question->serial = message->serial = ++link->serial;
	question->next = link->questions;
	link->questions = question;
	r = tell(link, message);
	while (r == 0 && !question->answered && !link->stopped) {
		if (!pthread_equal(link->main, pthread_self())) {
			r = -pthread_cond_timedwait(&link->answer, &link->lock, &until);
			continue;
		}
		(void)pthread_mutex_unlock(&link->lock);
		r = wait_on_main(link);
		(void)pthread_mutex_lock(&link->lock);
	}
	for (struct question **at = &link->questions; *at != NULL; at = &(*at)->next) {
		if (*at == question) {
			*at = question->next;
			break;
		}
	}
	if (!question->answered)
		return r < 0 ? r : -ECANCELED;
	return 0;
}

int supervisor_stats_on(struct supervisor_link *link, uint32_t window_ms, int *ret_fd,
			struct error *err)
{
	struct supervisor_message message = { .type = SUPERVISOR_STATS_ON, .window_ms = window_ms };
	struct question question = { .fd = -1 };
	int r;

	(void)pthread_mutex_lock(&link->lock);
	r = ask(link, &message, &question);
	(void)pthread_mutex_unlock(&link->lock);
	if (r >= 0 && question.fd < 0)
		r = question.status < 0 ? question.status : -EPROTO;
	if (r < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, -r,
					 "ask the supervisor to let the kernel count runs");
	*ret_fd = question.fd;
	return 0;
}

int supervisor_tracepoint_id(struct supervisor_link *link, const char *category, const char *name,
			     uint32_t *ret, struct error *err)
{
	struct supervisor_message message = { .type = SUPERVISOR_TRACEPOINT_ID };
	struct question question = { .fd = -1 };
	int r;

	if (strlen(category) >= sizeof(message.category) || strlen(name) >= sizeof(message.name))
		return error_raise(err, ERROR_INVALID_HOOK, "a tracepoint name of %zu characters",
				   strlen(name));
	(void)snprintf(message.category, sizeof(message.category), "%s", category);
	(void)snprintf(message.name, sizeof(message.name), "%s", name);
	(void)pthread_mutex_lock(&link->lock);
	r = ask(link, &message, &question);
	(void)pthread_mutex_unlock(&link->lock);
	if (r < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, -r,
					 "ask the supervisor for tracepoint %s:%s", category, name);
	if (question.status == -ENOENT)
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "this kernel has no tracepoint %s:%s", category, name);
	if (question.status < 0)
		return error_raise_errno(err, ERROR_TARGET_NOT_FOUND, -question.status,
					 "read the id of tracepoint %s:%s", category, name);
	*ret = (uint32_t)question.value;
	return 0;
}

/* A request whose answer is an fd. Returns 0, or the status; an error if there was no answer. */
static int ask_fd(struct supervisor_link *link, uint32_t type, const char *what, int *ret_status,
		  int *ret_fd, struct error *err)
{
	struct supervisor_message message = { .type = type };
	struct question question = { .fd = -1 };
	int r;

	(void)pthread_mutex_lock(&link->lock);
	r = ask(link, &message, &question);
	(void)pthread_mutex_unlock(&link->lock);
	if (r < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, -r, "ask the supervisor for %s",
					 what);
	*ret_status = question.status == 0 && question.fd < 0 ? -EPROTO : question.status;
	*ret_fd = question.fd;
	return 0;
}

int supervisor_traceable(struct supervisor_link *link, int *ret_fd, struct error *err)
{
	int fd = -1, status,
	    r = ask_fd(link, SUPERVISOR_TRACEABLE, "the functions that can be traced", &status, &fd,
		       err);

	if (r < 0)
		return r;
	if (status < 0)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, -status,
					 "this kernel lists no functions that can be traced "
					 "(CONFIG_DYNAMIC_FTRACE)");
	*ret_fd = fd;
	return 0;
}

int supervisor_kallsyms(struct supervisor_link *link, int *ret_fd, struct error *err)
{
	int fd = -1, status,
	    r = ask_fd(link, SUPERVISOR_KALLSYMS, "the kernel's symbols", &status, &fd, err);

	if (r < 0)
		return r;
	if (status < 0)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, -status,
					 "this kernel lists no symbols (CONFIG_KALLSYMS)");
	*ret_fd = fd;
	return 0;
}

int supervisor_netns(struct supervisor_link *link, int *ret_fd, struct error *err)
{
	const struct timespec pause = { .tv_nsec = (long)(5 * NS_PER_MS) };
	int fd = -1, status = -EBUSY, r = 0;

	/* The one before has answered, and has yet to be gone. */
	for (int i = 0; r >= 0 && status == -EBUSY && i < NETNS_ATTEMPTS; i++) {
		if (i > 0)
			(void)nanosleep(&pause, NULL);
		r = ask_fd(link, SUPERVISOR_NETNS_ATTACH, "bpfleet-netns", &status, &fd, err);
	}
	if (r < 0)
		return r;
	if (status < 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, -status, "start bpfleet-netns");
	*ret_fd = fd;
	return 0;
}
