/*
 * The thread "walker": reads the iterators that walk local storages, one after the other, so that
 * the loop does not stand still while the kernel looks at every thread or cgroup of a host.
 * Everything else on the loop's thread.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/error.h"

struct mapread_map;
struct rpc_loop;
struct storage_walk;
struct walker;

/* Where a walk is; the thread changes it too. */
enum walk_state {
	WALK_IDLE,
	WALK_QUEUED,
	WALK_READ, /* the thread is at it */
	WALK_DONE, /* the loop has not been told yet */
};

struct walk {
	struct storage_walk *storage; /* the thread's from walker_read() until `ready` */
	void (*ready)(void *arg, const struct error *error); /* NULL: forgotten */
	void *arg;
	/* The walker's: */
	struct walk *next;
	enum walk_state state;
	int result;
	struct error why;
};

/* The thread starts with the first read. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int walker_new(struct rpc_loop *loop, struct walker **ret, struct error *err);
/* Ends the thread after the read it is at; `ready` is not called. NULL is fine. */
void walker_free(struct walker *walker);

/* A new walk, for walk_free(); takes the fd in any case. Errors: OUT_OF_MEMORY. */
_must_check_ int walk_new(const struct mapread_map *map, int fd, struct walk **ret,
			  struct error *err);
/* Also while it is read: it is freed when that has ended. The walker is NULL when it was freed. */
void walk_free(struct walker *walker, struct walk *walk);

/*
 * Reads once, in the thread, then calls walk->ready with NULL or with what went wrong, never from
 * within. Errors: LIMIT_EXCEEDED (64 others wait), UNAVAILABLE.
 */
_must_check_ int walker_read(struct walker *walker, struct walk *walk, struct error *err);
