#define _GNU_SOURCE
#include "daemon/front/closer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "rpc/loop.h"

#define STACK_BYTES ((size_t)128 << 10)
#define POST_RETRY_US 100000

struct closer {
	struct parcel *all; /* the loop's own */
	void (*on_closed)(void *user);
	void *user;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t more;
	struct rpc_loop *loop;	      /* NULL: front has gone */
	struct parcel *first, **last; /* to be closed */
	struct parcel *closed;	      /* to be forgotten by the loop */
	unsigned int n_waiting;	      /* in first */
	unsigned int n_idle;
	unsigned int n_refs; /* front's, each thread's, each parcel's */
};

/* Unlocks. */
static void closer_unref(struct closer *closer)
{
	const bool is_last = --closer->n_refs == 0;

	(void)pthread_mutex_unlock(&closer->lock);
	if (!is_last)
		return;
	(void)pthread_cond_destroy(&closer->more);
	(void)pthread_mutex_destroy(&closer->lock);
	free(closer);
}

/* On the loop: the parcels that are closed are counted no more. */
static void forget_closed(void *arg)
{
	struct closer *closer = arg;
	struct parcel *parcel, *next;

	(void)pthread_mutex_lock(&closer->lock);
	parcel = TAKE_PTR(closer->closed);
	(void)pthread_mutex_unlock(&closer->lock);
	for (; parcel != NULL; parcel = next) {
		next = parcel->queued;
		*parcel->prev = parcel->next;
		if (parcel->next != NULL)
			parcel->next->prev = parcel->prev;
		free(parcel);
		closer->on_closed(closer->user);
		(void)pthread_mutex_lock(&closer->lock);
		closer->n_refs--; /* the post has one more */
		(void)pthread_mutex_unlock(&closer->lock);
	}
	(void)pthread_mutex_lock(&closer->lock);
	closer_unref(closer);
}

/* Takes the parcel. Called and returns locked. */
static void close_one(struct closer *closer, struct parcel *parcel)
{
	(void)pthread_mutex_unlock(&closer->lock);
	for (size_t i = 0; i < parcel->n; i++)
		(void)close(parcel->fds[i]);
	(void)pthread_mutex_lock(&closer->lock);
	if (closer->loop == NULL) {
		free(parcel);
		closer->n_refs--; /* the thread has one more */
		return;
	}
	parcel->queued = closer->closed;
	closer->closed = parcel;
	closer->n_refs++; /* the post's */
	while (closer->loop != NULL) {
		if (rpc_loop_post(closer->loop, forget_closed, closer) == 0)
			return;
		(void)pthread_mutex_unlock(&closer->lock);
		(void)usleep(POST_RETRY_US);
		(void)pthread_mutex_lock(&closer->lock);
	}
	closer->n_refs--;
}

/* One thread stays for what comes next; another one ends when there is nothing left to close. */
static void *thread_main(void *arg)
{
	struct closer *closer = arg;
	struct parcel *parcel;

	(void)pthread_mutex_lock(&closer->lock);
	for (;;) {
		while (closer->first == NULL && closer->loop != NULL && closer->n_idle == 0) {
			closer->n_idle++;
			(void)pthread_cond_wait(&closer->more, &closer->lock);
			closer->n_idle--;
		}
		parcel = closer->first;
		if (parcel == NULL)
			break;
		closer->first = parcel->queued;
		if (closer->first == NULL)
			closer->last = &closer->first;
		closer->n_waiting--;
		close_one(closer, parcel);
	}
	closer_unref(closer);
	return NULL;
}

/* Locked. */
static int start_thread(struct closer *closer)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, old;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return r;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, &attributes, thread_main, closer);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attributes);
	if (r == 0)
		closer->n_refs++;
	return r;
}

int closer_new(struct rpc_loop *loop, void (*on_closed)(void *user), void *user,
	       struct closer **ret, struct error *err)
{
	struct closer *closer = calloc(1, sizeof(*closer));
	int r;

	if (closer == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to close descriptors");
	closer->on_closed = on_closed;
	closer->user = user;
	closer->loop = loop;
	closer->last = &closer->first;
	closer->n_refs = 1;
	(void)pthread_mutex_init(&closer->lock, NULL);
	(void)pthread_cond_init(&closer->more, NULL);
	/* One from the start: without memory for more what is to be closed waits for it. */
	(void)pthread_mutex_lock(&closer->lock);
	r = start_thread(closer);
	if (r != 0) {
		closer_unref(closer);
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, r, "start a thread");
	}
	(void)pthread_mutex_unlock(&closer->lock);
	*ret = closer;
	return 0;
}

void closer_free(struct closer *closer)
{
	struct parcel *parcel, *next;

	if (closer == NULL)
		return;
	(void)pthread_mutex_lock(&closer->lock);
	closer->loop = NULL;
	(void)pthread_cond_broadcast(&closer->more);
	for (parcel = TAKE_PTR(closer->closed); parcel != NULL; parcel = next) {
		next = parcel->queued;
		free(parcel);
		closer->n_refs--; /* ours is one more */
	}
	closer_unref(closer);
}

unsigned int closer_n_of(const struct closer *closer, uid_t uid)
{
	unsigned int n = 0;

	for (const struct parcel *parcel = closer->all; parcel != NULL; parcel = parcel->next)
		n += parcel->uid == uid;
	return n;
}

struct parcel *parcel_new(struct closer *closer, uid_t uid, int fd)
{
	struct parcel *parcel = calloc(1, sizeof(*parcel));

	if (parcel == NULL)
		return NULL;
	parcel->closer = closer;
	parcel->n_refs = 1;
	parcel->uid = uid;
	parcel->kept = -1;
	parcel->fds[parcel->n++] = fd;
	parcel->next = closer->all;
	parcel->prev = &closer->all;
	if (parcel->next != NULL)
		parcel->next->prev = &parcel->next;
	closer->all = parcel;
	(void)pthread_mutex_lock(&closer->lock);
	closer->n_refs++;
	(void)pthread_mutex_unlock(&closer->lock);
	return parcel;
}

struct parcel *parcel_ref(struct parcel *parcel)
{
	if (parcel != NULL)
		parcel->n_refs++;
	return parcel;
}

void parcel_unref(struct parcel *parcel)
{
	struct closer *closer;

	if (parcel == NULL || --parcel->n_refs > 0)
		return;
	closer = parcel->closer;
	(void)pthread_mutex_lock(&closer->lock);
	parcel->queued = NULL;
	*closer->last = parcel;
	closer->last = &parcel->queued;
	closer->n_waiting++;
	if (closer->n_waiting > closer->n_idle)
		(void)start_thread(closer);
	(void)pthread_cond_signal(&closer->more);
	(void)pthread_mutex_unlock(&closer->lock);
}
