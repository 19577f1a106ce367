/* Shared by the parts of the reconciler. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/core.h"
#include "store/instances.h"

/* journal_undo.c */
_must_check_ int reconcile_journal(struct core *core, struct error *err);
_must_check_ int reconcile_remove_instance(struct core *core, const char *id, const char *identity,
					   const char *verb, const char *detail,
					   struct store_tx *tx, struct error *err);
_must_check_ int reconcile_audit(struct store_tx *tx, const char *identity, const char *verb,
				 const char *object, const char *detail, struct error *err);

/* reconcile.c: makes the kernel hold what the row says. */
_must_check_ int reconcile_instance(struct core *core, const struct store_instance *row,
				    struct error *err);
/* reapply.c: loads an instance again, beside requests. Errors: INSTANCE_BUSY, those of the store.
 */
_must_check_ int reapply_begin(struct core *core, const struct store_instance *row,
			       struct error *err);
/* revoke.c: whether trust revokes a bundle, and taking such an instance out of the kernel. */
bool reconcile_is_revoked(struct core *core, const uint8_t digest[static STORE_DIGEST_LEN]);
_must_check_ int revoke_begin(struct core *core, const struct store_instance *row,
			      struct error *err);

/* reattach.c: attaches a recorded link again. */
_must_check_ int reattach_begin(struct core *core, const struct store_link *row, struct error *err);
