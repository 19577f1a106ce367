/*
 * What was acknowledged against what the kernel shows: once at the start, and again for what had to
 * wait (a target that is missing, a load that failed for a passing reason).
 */
#pragma once

#include "daemon/core/core.h"

struct store_link_filter;

/*
 * Before the first request: finishes or undoes what the journal holds, ends leases, checks every
 * pin. What has to be loaded or attached again is begun here and goes on beside requests. Errors:
 * those of the store and of kernel_pins_list().
 */
_must_check_ int reconcile_start(struct core *core, struct error *err);

/* After a new trust: what it revokes leaves the kernel, what failed is tried once more. */
void reconcile_trust(struct core *core);

/* Tries everything that waits once more; set off by core->retry. */
void reconcile_retry(struct core *core);

/* Compares recorded links with the kernel now, and attaches those that wait; filter NULL: all. */
void reconcile_look(struct core *core, const struct store_link_filter *filter);
