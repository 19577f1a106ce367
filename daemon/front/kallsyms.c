#define _GNU_SOURCE
#include "daemon/front/kallsyms.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "decode/symbols.h"
#include "rpc/loop.h"

#define FRESH_NS (5 * NS_PER_SEC)
#define CHUNK_SIZE 65536
/* Distributions' kernels have some 10 MB. */
#define TEXT_MAX ((size_t)256 << 20)

struct kallsyms {
	struct symbols *table;
	struct error why;
	uint64_t loaded_at; /* monotonic; 0: never */
	struct kallsyms_wait *waits;
	struct rpc_watch *watch;
	int event_fd; /* the thread has ended */
	bool running;
	pthread_t thread;
	/* The thread's, while it runs: */
	int fd;
	struct symbols *new_table;
	struct error new_why;
};

/* ---- in the thread */

static int read_symbols(struct kallsyms *k)
{
	_cleanup_(str_done) struct str text = { 0 };
	_cleanup_free_ char *chunk = malloc(CHUNK_SIZE);
	ssize_t n;

	/* The offset is shared with whoever else holds the file. */
	while (chunk != NULL && !text.failed && text.len < TEXT_MAX) {
		n = pread(k->fd, chunk, CHUNK_SIZE, (off_t)text.len);
		if (n < 0)
			return error_raise_errno(&k->new_why, ERROR_KERNEL_REFUSED, errno,
						 "cannot read the kernel's symbols");
		if (n == 0)
			return symbols_new(text.data, text.len, &k->new_table, &k->new_why);
		(void)str_append_bytes(&text, chunk, (size_t)n);
	}
	return error_raise(&k->new_why, ERROR_OUT_OF_MEMORY, "no memory for the kernel's symbols");
}

static void *thread_main(void *arg)
{
	struct kallsyms *k = arg;
	const uint64_t one = 1;

	(void)read_symbols(k);
	(void)close(TAKE_FD(k->fd));
	/* An eventfd that holds 0 takes 1. */
	return write(k->event_fd, &one, sizeof(one)) < 0 ? k : NULL;
}

/* ---- in the loop */

static void on_loaded(void *arg, uint32_t events)
{
	struct kallsyms *k = arg;
	struct kallsyms_wait *wait;
	uint64_t count;

	(void)events;
	if (read(k->event_fd, &count, sizeof(count)) < 0 || !k->running)
		return;
	(void)pthread_join(k->thread, NULL);
	k->running = false;
	symbols_free(k->table);
	k->table = TAKE_PTR(k->new_table);
	k->why = k->new_why;
	k->loaded_at = clock_monotonic_ns();
	while ((wait = k->waits) != NULL) {
		k->waits = wait->next;
		wait->ready(wait->arg);
	}
}

int kallsyms_new(struct rpc_loop *loop, struct kallsyms **ret, struct error *err)
{
	struct kallsyms *k = calloc(1, sizeof(*k));
	int r;

	if (k == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for the kernel's symbols");
	k->fd = -1;
	k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = k->event_fd < 0
		    ? error_raise_errno(err, ERROR_IO, errno, "cannot make an eventfd")
		    : rpc_loop_watch(loop, k->event_fd, EPOLLIN, on_loaded, k, &k->watch, err);
	if (r < 0) {
		kallsyms_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

void kallsyms_free(struct kallsyms *k)
{
	if (k == NULL)
		return;
	if (k->running)
		(void)pthread_join(k->thread, NULL);
	rpc_watch_free(k->watch);
	if (k->event_fd >= 0)
		(void)close(k->event_fd);
	symbols_free(k->new_table);
	symbols_free(k->table);
	free(k);
}

const struct symbols *kallsyms_table(const struct kallsyms *k, const char **ret_why)
{
	*ret_why = k->why.message;
	return k->table;
}

bool kallsyms_is_fresh(const struct kallsyms *k)
{
	return k->loaded_at != 0 && clock_monotonic_ns() - k->loaded_at < FRESH_NS;
}

static int start(struct kallsyms *k, int fd, struct error *err)
{
	sigset_t all, old;
	int r;

	k->new_table = NULL;
	k->new_why = (struct error){ 0 };
	k->fd = fd;
	/* Signals are the main thread's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&k->thread, NULL, thread_main, k);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r == 0) {
		(void)pthread_setname_np(k->thread, "symbols");
		k->running = true;
		return 0;
	}
	(void)close(TAKE_FD(k->fd));
	return error_raise_errno(err, ERROR_UNAVAILABLE, r,
				 "cannot start a thread that reads the kernel's symbols");
}

int kallsyms_load(struct kallsyms *k, int fd, struct kallsyms_wait *wait, struct error *err)
{
	int r = 0;

	if (k->running)
		(void)close(fd);
	else
		r = start(k, fd, err);
	if (r < 0)
		return r;
	wait->next = k->waits;
	k->waits = wait;
	return 0;
}

void kallsyms_forget(struct kallsyms *k, struct kallsyms_wait *wait)
{
	struct kallsyms_wait **at = k == NULL ? NULL : &k->waits;

	while (at != NULL && *at != NULL && *at != wait)
		at = &(*at)->next;
	if (at != NULL && *at != NULL)
		*at = wait->next;
}
