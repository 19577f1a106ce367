/* The journal of changes under way, as core writes it: shared by the changes and the reconciler. */
#pragma once

#include <stdint.h>

#include "daemon/core/apply.h"
#include "store/journal.h"

/* The links that an operation is about to make, for store_op.data. Lives in the arena. */
_must_check_ int plan_pack(const struct apply_link *links, size_t n,
			   const Bpfleet__V1__Manifest *manifest, struct arena *arena,
			   struct store_bytes *ret, struct error *err);

/* Ends an operation that came to nothing, in a transaction of its own. */
_must_check_ int journal_end(struct core *core, uint64_t op, struct error *err);
