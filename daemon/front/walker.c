#define _GNU_SOURCE
#include "daemon/front/walker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/mapread/storage.h"
#include "rpc/loop.h"

#define N_QUEUED_MAX 64

struct walks {
	struct walk *first, **end;
	unsigned int n;
};

struct walker {
	struct rpc_watch *watch;
	int event_fd; /* counts the walks put among those done */
	bool running;
	pthread_t thread;
	pthread_mutex_t lock; /* over all below, and the states of walks */
	pthread_cond_t wake;
	struct walks queued, done;
	bool quit;
};

static void walks_put(struct walks *walks, struct walk *walk, enum walk_state state)
{
	walk->next = NULL;
	walk->state = state;
	*walks->end = walk;
	walks->end = &walk->next;
	walks->n++;
}

/* Does nothing when it is not among them. */
static void walks_remove(struct walks *walks, struct walk *walk)
{
	struct walk **at = &walks->first;

	while (*at != NULL && *at != walk)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = walk->next;
	if (walks->end == &walk->next)
		walks->end = at;
	walks->n--;
	walk->state = WALK_IDLE;
}

static struct walk *walks_take(struct walks *walks)
{
	struct walk *walk = walks->first;

	if (walk != NULL)
		walks_remove(walks, walk);
	return walk;
}

static void destroy(struct walk *walk)
{
	storage_walk_free(walk->storage);
	free(walk);
}

/* ---- in the thread */

static void *thread_main(void *arg)
{
	struct walker *w = arg;
	const uint64_t one = 1;
	struct walk *walk;

	(void)pthread_mutex_lock(&w->lock);
	while (!w->quit) {
		walk = walks_take(&w->queued);
		if (walk == NULL) {
			(void)pthread_cond_wait(&w->wake, &w->lock);
			continue;
		}
		walk->state = WALK_READ;
		(void)pthread_mutex_unlock(&w->lock);
		walk->result = storage_walk_read(walk->storage, &walk->why);
		(void)pthread_mutex_lock(&w->lock);
		walks_put(&w->done, walk, WALK_DONE);
		/* Far from full: the loop takes from it as often as is written. */
		if (write(w->event_fd, &one, sizeof(one)) < 0)
			break;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- in the loop */

/* One walk a turn, so that fast ones do not keep the loop from the rest. */
static void on_done(void *arg, uint32_t events)
{
	struct walker *w = arg;
	struct walk *walk;
	uint64_t count;

	(void)events;
	if (read(w->event_fd, &count, sizeof(count)) < 0)
		return;
	(void)pthread_mutex_lock(&w->lock);
	walk = walks_take(&w->done);
	(void)pthread_mutex_unlock(&w->lock);
	if (walk == NULL)
		return;
	if (walk->ready == NULL)
		destroy(walk);
	else
		walk->ready(walk->arg, walk->result < 0 ? &walk->why : NULL);
}

int walker_new(struct rpc_loop *loop, struct walker **ret, struct error *err)
{
	struct walker *w = calloc(1, sizeof(*w));
	int r;

	if (w == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for walks");
	w->queued.end = &w->queued.first;
	w->done.end = &w->done.first;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->wake, NULL);
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	r = w->event_fd < 0
		    ? error_raise_errno(err, ERROR_IO, errno, "cannot make an eventfd")
		    : rpc_loop_watch(loop, w->event_fd, EPOLLIN, on_done, w, &w->watch, err);
	if (r < 0) {
		walker_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void walker_free(struct walker *w)
{
	struct walk *walk;

	if (w == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->quit = true;
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->running)
		(void)pthread_join(w->thread, NULL);
	while ((walk = walks_take(&w->queued)) != NULL)
		continue;
	while ((walk = walks_take(&w->done)) != NULL) {
		if (walk->ready == NULL)
			destroy(walk);
	}
	rpc_watch_free(w->watch);
	if (w->event_fd >= 0)
		(void)close(w->event_fd);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

int walk_new(const struct mapread_map *map, int fd, struct walk **ret, struct error *err)
{
	struct storage_walk *storage = NULL;
	struct walk *walk;
	int r = storage_walk_new(map, fd, &storage, err);

	if (r < 0)
		return r;
	walk = calloc(1, sizeof(*walk));
	if (walk == NULL) {
		storage_walk_free(storage);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a walk");
	}
	walk->storage = storage;
	*ret = walk;
	return 0;
}

void walk_free(struct walker *w, struct walk *walk)
{
	bool reading = false;

	if (walk == NULL)
		return;
	if (w != NULL) {
		(void)pthread_mutex_lock(&w->lock);
		walks_remove(&w->queued, walk);
		walks_remove(&w->done, walk);
		reading = walk->state == WALK_READ;
		walk->ready = NULL;
		(void)pthread_mutex_unlock(&w->lock);
	}
	if (!reading)
		destroy(walk);
}

static int start(struct walker *w, struct error *err)
{
	sigset_t all, old;
	int r;

	/* Signals are the main thread's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, thread_main, w);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return error_raise_errno(err, ERROR_UNAVAILABLE, r,
					 "cannot start a thread that walks local storages");
	(void)pthread_setname_np(w->thread, "walker");
	w->running = true;
	return 0;
}

int walker_read(struct walker *w, struct walk *walk, struct error *err)
{
	bool full;
	int r = 0;

	if (w == NULL)
		return error_raise(err, ERROR_UNAVAILABLE, "the daemon is stopping");
	if (!w->running)
		r = start(w, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&w->lock);
	full = w->queued.n >= N_QUEUED_MAX;
	if (!full)
		walks_put(&w->queued, walk, WALK_QUEUED);
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	return full ? error_raise(err, ERROR_LIMIT_EXCEEDED,
				  "%d reads of local storages wait already; repeat this one later",
				  N_QUEUED_MAX)
		    : 0;
}
