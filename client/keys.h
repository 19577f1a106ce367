/*
 * The terminal of a command that redraws it: keys are read one by one and not echoed, `q` counts as
 * Ctrl-C, and what was there before is put back.
 */
#pragma once

#include "base/cleanup.h"

struct error;
struct keys;

/* After interrupt_new(), which hears of `q`. *ret NULL: stdin is no terminal. Errors:
 * OUT_OF_MEMORY, IO. */
_must_check_ int keys_new(struct keys **ret, struct error *err);
/* Puts the terminal back. */
void keys_free(struct keys *keys);
DEFINE_CLEANUP(struct keys, keys_free)
