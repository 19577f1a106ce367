/* Shared by the parts of the reconciler. */
#pragma once

#include "daemon/core/core.h"
#include "store/instances.h"

/* journal_undo.c */
_must_check_ int reconcile_journal(struct core *core, struct error *err);
_must_check_ int reconcile_remove_instance(struct core *core, const char *id, const char *identity,
					   const char *verb, const char *detail,
					   struct store_tx *tx, struct error *err);
_must_check_ int reconcile_audit(struct store_tx *tx, const char *identity, const char *verb,
				 const char *object, const char *detail, struct error *err);

/* reapply.c: loads an instance again, beside requests. Errors: INSTANCE_BUSY, those of the store.
 */
_must_check_ int reapply_begin(struct core *core, const struct store_instance *row,
			       struct error *err);
/* reattach.c: attaches a recorded link again. */
_must_check_ int reattach_begin(struct core *core, const struct store_link *row, struct error *err);
