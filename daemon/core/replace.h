/* What the switch from one version of an instance to another needs of the rest of core. */
#pragma once

#include "bpfleet/v1/node.pb-c.h"
#include "daemon/core/core.h"
#include "store/instances.h"
#include "store/journal.h"

struct arena;

/* At the start: a "replace" or "rollback" of the journal that did not come to its end is undone, a
 * "commit" is finished, in the caller's transaction. */
_must_check_ int version_settle(struct core *core, const struct store_op *op, struct store_tx *tx,
				struct error *err);

/* Quarantines the bundle of a SOAKING instance, which goes back to the version before; if it
 * cannot, it is quarantined itself. figures: what it cost. Errors: those of Rollback, before it
 * began. */
_must_check_ int version_expel(struct core *core, const char *id, const char *figures,
			       struct error *err);

/* Commits the instances whose soak time is over, or whose version before is revoked. */
void version_commit_due(struct core *core);
