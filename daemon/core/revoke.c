/*
 * Trust taken back: instances of a revoked bundle leave the kernel at once; their rows stay, so
 * that the host's owner sees what ran, and so that a revocation taken back applies them again.
 */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/request.h"
#include "daemon/core/trusted.h"
#include "daemon/core/unload.h"

#define REASON "BUNDLE_REVOKED: this host's trust file revokes the bundle"

bool reconcile_is_revoked(struct core *core, const uint8_t digest[static STORE_DIGEST_LEN])
{
	const struct trust *trust = trust_ref_get(trusted_bundles_trust(core->bundles));

	for (size_t i = 0; i < trust->n_revoked; i++) {
		if (memcmp(trust->revoked[i].bytes, digest, STORE_DIGEST_LEN) == 0)
			return true;
	}
	return false;
}

struct revoke {
	struct job job;
	struct core *core;
	char owner[32];
	struct removal removal;
	int r;
	struct error err;
};

static void revoke_work(struct job *job)
{
	struct revoke *revoke = (struct revoke *)(void *)job;

	revoke->r = removal_run(&revoke->removal, &revoke->err);
}

static int record(struct revoke *revoke, struct error *err)
{
	struct core *core = revoke->core;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	char object[64];
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	(void)snprintf(object, sizeof(object), "instances/%s", revoke->removal.instance);
	if (r >= 0)
		r = links_set_all(core, &tx, revoke->removal.instance, LINK_DETACHED, REASON, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, revoke->removal.instance, INSTANCE_FAILED, REASON,
					     err);
	if (r >= 0)
		r = reconcile_audit(&tx, revoke->owner, "revoke", object, "", err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* What could not be removed is tried again when trust is read again, and at the next start. */
static void revoke_done(struct job *job)
{
	struct revoke *revoke = (struct revoke *)(void *)job;
	struct core *core = revoke->core;

	if (revoke->r >= 0)
		revoke->r = record(revoke, &revoke->err);
	if (revoke->r < 0)
		log_error(LOG_LEVEL_ERROR, &revoke->err, "revoke instance %s",
			  revoke->removal.instance);
	else
		log_warning("instance %s is detached: its bundle is revoked",
			    revoke->removal.instance);
	busy_leave(core, revoke->removal.instance);
	core_notice_ended_instance(core, revoke->removal.instance);
	removal_done(&revoke->removal);
	free(revoke);
}

int revoke_begin(struct core *core, const struct store_instance *row, struct error *err)
{
	struct held_instance *held = held_find(core, row->id);
	struct revoke *revoke;
	int r;

	if (held != NULL) {
		unload_lease(core, row->id, "its bundle is revoked", &held->grace);
		return 0;
	}
	revoke = calloc(1, sizeof(*revoke));
	if (revoke == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "revoke an instance");
	revoke->core = core;
	(void)snprintf(revoke->owner, sizeof(revoke->owner), "%s", row->owner);
	r = busy_enter(core, row->id, true, err);
	if (r >= 0) {
		r = removal_init(core, row->id, &revoke->removal, err);
		if (r < 0) {
			busy_leave(core, row->id);
			removal_done(&revoke->removal);
		}
	}
	if (r < 0) {
		free(revoke);
		return r;
	}
	revoke->job = (struct job){ .work = revoke_work, .done = revoke_done };
	jobs_submit_urgent(core->jobs, &revoke->job);
	return 0;
}
