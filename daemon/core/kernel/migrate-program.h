/*
 * The program that merges one entry inside the kernel: generated for one map and plan, loaded, and
 * run in this thread by BPF_PROG_TEST_RUN. Internal to migrate.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bundle/upgrade/map-plan.h"
#include "daemon/mapread/mapread.h"

struct error;

struct merge_program;

/* Generates and loads the program for the new version's map, both borrowed. Errors:
 * KERNEL_REFUSED, OUT_OF_MEMORY. */
_must_check_ int merge_program_new(const struct map_plan *plan, const struct mapread_map *map,
				   struct merge_program **ret, struct error *err);
void merge_program_free(struct merge_program *program);
DEFINE_CLEANUP(struct merge_program, merge_program_free)

/*
 * Merges one value that the old programs made into the entry as it is now. was, now: the old
 * value when it was copied (NULL: it was not) and at the end, of old_value_size bytes, of one CPU.
 * cpu: whose value, in a per-CPU map. *ret_found: whether the new map has the key; if not, nothing
 * was done. Errors: UNAVAILABLE (new programs write faster than a maximum can be merged),
 * KERNEL_REFUSED.
 */
_must_check_ int merge_program_run(struct merge_program *program, const void *key, uint32_t cpu,
				   const uint8_t *was, const uint8_t *now, bool *ret_found,
				   struct error *err);
