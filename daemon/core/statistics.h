/*
 * What the programs of this host cost, sampled: for a window now and then, or one after the other
 * while somebody watches, the kernel counts runs and their time. What is over its budget in as many
 * windows as that allows is quarantined. Reads nothing but programs and maps of our own.
 */
#pragma once

#include "base/cleanup.h"

struct core;
struct error;
struct statistics;

/* Begins to sample. Errors: OUT_OF_MEMORY. */
_must_check_ int statistics_new(struct core *core, struct statistics **ret, struct error *err);
/* Once no job runs any more: who waits for a window is told that the daemon stops. NULL is fine. */
void statistics_free(struct statistics *statistics);
