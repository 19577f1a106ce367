/* Taking an instance out of the kernel and the state: for Unload, leases that end, and re-apply. */
#pragma once

#include "daemon/core/core.h"
#include "daemon/core/jobs.h"
#include "daemon/core/links.h"

/* Everything of an instance that is in the kernel, for a worker to remove. */
struct removal {
	struct kernel_pins *pins;
	char instance[17];
	struct link_removal *links;
	size_t n_links;
	bool keep_parts; /* only the links go */
};

/* Collects the instance's links. Errors: those of the store, OUT_OF_MEMORY. */
_must_check_ int removal_init(struct core *core, const char *instance, struct removal *ret,
			      struct error *err);
void removal_done(struct removal *removal);
/* On a worker: detaches all links, then unpins programs and maps. Goes on after a failure and
 * reports the first one. */
_must_check_ int removal_run(struct removal *removal, struct error *err);

/* Ends a lease, for a reason that the audit row states; if that cannot begin now, `again` is set
 * for a second. */
void unload_lease(struct core *core, const char *id, const char *why, struct loop_timer *again);
