/*
 * The kernel's symbols for the stacks that clients read as JSON: one table for all, made in a
 * thread of its own from the fd that core grants. Everything else on the loop's thread.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct error;
struct kallsyms;
struct rpc_loop;
struct symbols;

/* Who waits for a table. Zero it to start; must stay until `ready` or kallsyms_forget(). */
struct kallsyms_wait {
	struct kallsyms_wait *next;
	void (*ready)(void *arg); /* loop thread */
	void *arg;
};

/* Errors: OUT_OF_MEMORY, IO. */
_must_check_ int kallsyms_new(struct rpc_loop *loop, struct kallsyms **ret, struct error *err);
/* Waits for a thread that still reads; who waits is not called. NULL is fine. */
void kallsyms_free(struct kallsyms *kallsyms);

/*
 * The table of now; NULL: there is none, and *ret_why, borrowed until the next load, says why.
 * Modules and programs come and go, so it is to be read again when it is not fresh: 5 seconds old.
 */
const struct symbols *kallsyms_table(const struct kallsyms *kallsyms, const char **ret_why);
bool kallsyms_is_fresh(const struct kallsyms *kallsyms);

/*
 * Reads the fd, which it takes in any case, unless that is being done already; then, whether that
 * went well or not, calls wait->ready, never from within. Errors: UNAVAILABLE.
 */
_must_check_ int kallsyms_load(struct kallsyms *kallsyms, int fd, struct kallsyms_wait *wait,
			       struct error *err);
/* Either may have been forgotten or freed before. */
void kallsyms_forget(struct kallsyms *kallsyms, struct kallsyms_wait *wait);
