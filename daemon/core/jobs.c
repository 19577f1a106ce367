#define _GNU_SOURCE
#include "daemon/core/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/error.h"
#include "daemon/core/loop.h"

#define WORKERS_MAX 64
/* Enough for libbpf's frames and a verifier log on the stack; the default 8 MiB is only address
 * space. */
#define WORKER_STACK_BYTES ((size_t)1024 * 1024)

struct queue {
	struct job *first, **last;
};

struct jobs {
	struct loop_fd source; /* an eventfd: something is in `ran` */
	struct loop *loop;
	pthread_mutex_t lock; /* of all below but n_pending */
	pthread_cond_t more;
	struct queue urgent, waiting, ran;
	bool stopping;
	pthread_t threads[WORKERS_MAX];
	unsigned int n_threads;
	size_t n_pending; /* main thread's own */
};

static void queue_push(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->last = job;
	queue->last = &job->next;
}

static struct job *queue_pop(struct queue *queue)
{
	struct job *job = queue->first;

	if (job == NULL)
		return NULL;
	queue->first = job->next;
	if (queue->first == NULL)
		queue->last = &queue->first;
	return job;
}

static struct job *next_job(struct jobs *jobs, bool only_urgent)
{
	struct job *job = queue_pop(&jobs->urgent);

	return job != NULL || only_urgent ? job : queue_pop(&jobs->waiting);
}

static void work(struct jobs *jobs, bool only_urgent)
{
	const uint64_t one = 1;
	struct job *job;

	(void)pthread_mutex_lock(&jobs->lock);
	for (;;) {
		while ((job = next_job(jobs, only_urgent)) == NULL && !jobs->stopping)
			(void)pthread_cond_wait(&jobs->more, &jobs->lock);
		if (job == NULL)
			break;
		(void)pthread_mutex_unlock(&jobs->lock);
		job->work(job);
		(void)pthread_mutex_lock(&jobs->lock);
		queue_push(&jobs->ran, job);
		(void)!write(jobs->source.fd, &one, sizeof(one));
	}
	(void)pthread_mutex_unlock(&jobs->lock);
}

static void *any_worker(void *data)
{
	work(data, false);
	return NULL;
}

static void *urgent_worker(void *data)
{
	work(data, true);
	return NULL;
}

static void finish_ran(struct jobs *jobs)
{
	struct job *job;

	for (;;) {
		(void)pthread_mutex_lock(&jobs->lock);
		job = queue_pop(&jobs->ran);
		(void)pthread_mutex_unlock(&jobs->lock);
		if (job == NULL)
			return;
		jobs->n_pending--;
		job->done(job);
	}
}

static void on_ran(struct loop_fd *source, uint32_t epoll_events)
{
	struct jobs *jobs = (struct jobs *)(void *)((char *)source - offsetof(struct jobs, source));
	uint64_t count;

	(void)epoll_events;
	(void)!read(source->fd, &count, sizeof(count));
	finish_ran(jobs);
}

static int start_threads(struct jobs *jobs, unsigned int n, struct error *err)
{
	pthread_attr_t attr;
	char name[16];
	int r = 0;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
	for (unsigned int i = 0; i < n && r == 0; i++) {
		r = pthread_create(&jobs->threads[i], &attr,
				   i == 0 && n > 1 ? urgent_worker : any_worker, jobs);
		if (r != 0)
			break;
		jobs->n_threads++;
		(void)snprintf(name, sizeof(name), "worker-%u", i % WORKERS_MAX);
		(void)pthread_setname_np(jobs->threads[i], name);
	}
	(void)pthread_attr_destroy(&attr);
	if (r != 0)
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, r, "start a worker");
	return 0;
}

int jobs_new(struct loop *loop, unsigned int n_workers, struct jobs **ret, struct error *err)
{
	struct jobs *jobs = calloc(1, sizeof(*jobs));
	int r;

	if (jobs == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "make the workers");
	jobs->loop = loop;
	jobs->urgent.last = &jobs->urgent.first;
	jobs->waiting.last = &jobs->waiting.first;
	jobs->ran.last = &jobs->ran.first;
	(void)pthread_mutex_init(&jobs->lock, NULL);
	(void)pthread_cond_init(&jobs->more, NULL);
	jobs->source =
		(struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_ran };
	if (jobs->source.fd < 0)
		r = error_raise_errno(err, ERROR_IO, errno, "make the workers");
	else
		r = loop_watch(loop, &jobs->source, EPOLLIN, err);
	if (r >= 0)
		r = start_threads(jobs, n_workers < WORKERS_MAX ? n_workers : WORKERS_MAX, err);
	if (r < 0) {
		jobs_free(jobs);
		return r;
	}
	*ret = jobs;
	return 0;
}

void jobs_free(struct jobs *jobs)
{
	struct job *job;

	if (jobs == NULL)
		return;
	(void)pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	(void)pthread_cond_broadcast(&jobs->more);
	(void)pthread_mutex_unlock(&jobs->lock);
	for (unsigned int i = 0; i < jobs->n_threads; i++)
		(void)pthread_join(jobs->threads[i], NULL);
	finish_ran(jobs);
	/* What `done` has submitted now, an undo for example, finds no worker any more. */
	while ((job = next_job(jobs, false)) != NULL) {
		job->work(job);
		queue_push(&jobs->ran, job);
		finish_ran(jobs);
	}
	if (jobs->source.fd >= 0) {
		loop_unwatch(jobs->loop, &jobs->source);
		(void)close(jobs->source.fd);
	}
	(void)pthread_cond_destroy(&jobs->more);
	(void)pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}

void jobs_submit(struct jobs *jobs, struct job *job)
{
	jobs->n_pending++;
	(void)pthread_mutex_lock(&jobs->lock);
	queue_push(&jobs->waiting, job);
	/* Not one: it might be the worker that does not want it. */
	(void)pthread_cond_broadcast(&jobs->more);
	(void)pthread_mutex_unlock(&jobs->lock);
}

void jobs_submit_urgent(struct jobs *jobs, struct job *job)
{
	jobs->n_pending++;
	(void)pthread_mutex_lock(&jobs->lock);
	queue_push(&jobs->urgent, job);
	(void)pthread_cond_broadcast(&jobs->more);
	(void)pthread_mutex_unlock(&jobs->lock);
}

size_t jobs_pending(const struct jobs *jobs)
{
	return jobs->n_pending;
}
