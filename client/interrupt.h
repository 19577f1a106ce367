/*
 * SIGINT and SIGTERM as an event: a thread of its own waits for them, so that it may take locks,
 * which a signal handler may not.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct error;
struct interrupt;

/* Blocks the signals in the calling thread, and so in those that it makes later. */
void interrupt_block(void);

/*
 * After interrupt_block(): starts the thread, which calls on_signal(user) for the first signal; one
 * that comes half a second later or more ends the process. With output_fd (-1: none), a reader that
 * closes the other end counts as a first signal, so that `... | head -1` ends. Errors:
 * OUT_OF_MEMORY, IO.
 */
_must_check_ int interrupt_new(void (*on_signal)(void *user), void *user, int output_fd,
			       struct interrupt **ret, struct error *err);
/* Ends the thread. The signals stay blocked. */
void interrupt_free(struct interrupt *interrupt);
DEFINE_CLEANUP(struct interrupt, interrupt_free)

bool interrupt_happened(const struct interrupt *interrupt);
/* Waits that long or until a signal came; true if it did. */
bool interrupt_wait(const struct interrupt *interrupt, unsigned int ms);
