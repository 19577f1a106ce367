/* The journal of changes under way, as core writes it: shared by the changes and the reconciler. */
#pragma once

#include <stdint.h>

#include "daemon/core/apply.h"
#include "store/journal.h"

/* For store_op.data of a load or attach: the links that it is about to make. A detach or unload
 * keeps there the hash of the request's body, for the answer of one that a restart finishes. Lives
 * in the arena. */
_must_check_ int plan_pack(const struct apply_link *links, size_t n,
			   const Bpfleet__V1__Manifest *manifest, struct arena *arena,
			   struct store_bytes *ret, struct error *err);

/* Ends an operation that came to nothing, in a transaction of its own. */
_must_check_ int journal_end(struct core *core, uint64_t op, struct error *err);
