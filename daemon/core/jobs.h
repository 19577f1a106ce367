/*
 * Slow work beside the loop: a job runs on one of a few worker threads and comes back to the main
 * thread when it is done. Jobs own everything they touch; nothing is shared but the kernel.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct error;
struct jobs;
struct loop;

struct job {
	void (*work)(struct job *job); /* on a worker */
	void (*done)(struct job *job); /* on the main thread, afterwards; may free the job */
	struct job *next;
};

/* Starts n_workers threads named "worker-N". Errors: OUT_OF_MEMORY, IO. */
_must_check_ int jobs_new(struct loop *loop, unsigned int n_workers, struct jobs **ret,
			  struct error *err);
/* Finishes every job that was submitted, `work` and `done`, then ends the workers. */
void jobs_free(struct jobs *jobs);
DEFINE_CLEANUP(struct jobs, jobs_free)

/* Ahead of all ordinary jobs, and one worker does nothing else: for what takes things out of the
 * kernel. */
void jobs_submit_urgent(struct jobs *jobs, struct job *job);
/* From the main thread. The queue is bounded by the credits that core gives front. */
void jobs_submit(struct jobs *jobs, struct job *job);
/* Jobs submitted whose `done` has not run. */
size_t jobs_pending(const struct jobs *jobs);
