/*
 * Trust taken back: instances of a revoked bundle leave the kernel at once; their rows stay, so
 * that the host's owner sees what ran, and so that a revocation taken back applies them again. And
 * quarantine: an instance that is over its budget leaves its hooks; its maps can still be read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/budget.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/replace.h"
#include "daemon/core/request.h"
#include "daemon/core/trusted.h"
#include "daemon/core/unload.h"
#include "store/bundles.h"

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
	char figures[BUDGET_FIGURES_MAX]; /* of a quarantine; empty: the bundle is revoked */
	uint32_t generation;
	struct removal removal;
	int r;
	struct error err;
};

static void revoke_work(struct job *job)
{
	struct revoke *revoke = (struct revoke *)(void *)job;

	revoke->r = removal_run(&revoke->removal, &revoke->err);
	/* The version before has been a way back, which is not taken any more. */
	if (revoke->r >= 0 && revoke->removal.keep_parts)
		revoke->r =
			kernel_pins_keep_generations(revoke->core->pins, revoke->removal.instance,
						     &revoke->generation, 1, &revoke->err);
}

int quarantine_record(struct store_tx *tx, const struct store_instance *row, bool is_back,
		      const char *figures, struct error *err)
{
	const bool same = memcmp(row->digest, row->previous_digest, sizeof(row->digest)) == 0;
	const struct version version = { row->bundle_version[0], row->bundle_version[1],
					 row->bundle_version[2] };
	char bundle[NAME_RESOURCE_MAX + 1], object[NAME_RESOURCE_MAX + 1];
	char detail[sizeof(bundle) + BUDGET_FIGURES_MAX + 64];
	struct store_quarantine quarantine = {
		.bundle = bundle,
		.at_ns = clock_realtime_ns(),
		.reason = error_info(ERROR_BUDGET_EXCEEDED)->reason,
		.figures = figures,
		.instance = object,
	};
	int r = 0;

	resource_format_bundle(row->bundle_name, &version, bundle);
	resource_format_instance(row->id, object);
	(void)snprintf(detail, sizeof(detail), "%s%s: %s", bundle,
		       !is_back ? ""
		       : same	? ", rolled back to the parameters before"
				: ", rolled back to the version before",
		       figures);
	memcpy(quarantine.digest, row->digest, sizeof(quarantine.digest));
	if (!is_back || !same)
		r = store_quarantine_put(tx, &quarantine, err);
	return r < 0 ? r : reconcile_audit(tx, row->owner, "quarantine", object, detail, err);
}

static int record(struct revoke *revoke, struct error *err)
{
	struct core *core = revoke->core;
	const char *id = revoke->removal.instance;
	const bool quarantine = revoke->figures[0] != '\0';
	_cleanup_free_ struct store_instance *row = NULL;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	char object[NAME_RESOURCE_MAX + 1], reason[BUDGET_FIGURES_MAX + 32] = REASON;
	int r = store_instance_get(core->store, id, &row, err);

	if (quarantine)
		(void)snprintf(reason, sizeof(reason), "%s: %s",
			       error_info(ERROR_BUDGET_EXCEEDED)->reason, revoke->figures);
	resource_format_instance(id, object);
	if (r >= 0)
		r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = links_set_all(core, &tx, id, LINK_DETACHED, reason, err);
	if (r >= 0)
		r = store_instance_set_state(
			&tx, id, quarantine ? INSTANCE_QUARANTINED : INSTANCE_FAILED, reason, err);
	if (r >= 0 && quarantine)
		r = store_version_forget_previous(&tx, id, err);
	if (r >= 0)
		r = quarantine ? quarantine_record(&tx, row, false, revoke->figures, err)
			       : reconcile_audit(&tx, row->owner, "revoke", object, "", err);
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
		log_warning("instance %s is detached: its bundle is %s%s", revoke->removal.instance,
			    revoke->figures[0] != '\0' ? "over its budget: " : "revoked",
			    revoke->figures);
	busy_leave(core, revoke->removal.instance);
	if (!revoke->removal.keep_parts)
		core_notice_ended_instance(core, revoke->removal.instance);
	core_notice(core);
	removal_done(&revoke->removal);
	free(revoke);
}

/* Takes the instance out of the kernel, or with figures off its hooks. */
int quarantine_expel(struct core *core, const struct store_instance *row, const char *figures,
		     struct error *err)
{
	struct revoke *revoke = calloc(1, sizeof(*revoke));
	int r;

	if (revoke == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "expel an instance");
	revoke->core = core;
	revoke->generation = row->generation;
	(void)snprintf(revoke->figures, sizeof(revoke->figures), "%s", figures);
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
	revoke->removal.keep_parts = figures[0] != '\0';
	revoke->job = (struct job){ .work = revoke_work, .done = revoke_done };
	jobs_submit_urgent(core->jobs, &revoke->job);
	return 0;
}

int revoke_begin(struct core *core, const struct store_instance *row, struct error *err)
{
	struct held_instance *held = held_find(core, row->id);

	if (held == NULL)
		return quarantine_expel(core, row, "", err);
	unload_lease(core, row->id, "its bundle is revoked", &held->grace);
	return 0;
}

/* A lease that is over its budget ends; what is kept of it is that its bundle is quarantined. */
static int expel_lease(struct core *core, const struct store_instance *row, const char *figures,
		       struct held_instance *held, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = quarantine_record(&tx, row, false, figures, err);
	if (r >= 0)
		r = store_tx_commit(&tx, err);
	if (r >= 0)
		unload_lease(core, row->id, "it is over its budget", &held->grace);
	return r;
}

bool quarantine_begin(struct core *core, const struct store_instance *row,
		      const Bpfleet__V1__Budgets *budgets, const struct budget_figures *figures,
		      uint32_t n_windows)
{
	struct held_instance *held = held_find(core, row->id);
	char text[BUDGET_FIGURES_MAX];
	struct error err = { 0 };
	int r;

	(void)snprintf(text, sizeof(text),
		       "in %u windows, the last of %" PRIu64 " ms: '%s' took %" PRIu64
		       " ns a run (max_ns_per_run %" PRIu64 "), all programs %" PRIu64
		       " ppm of a CPU (max_cpu_ppm %u)",
		       n_windows, figures->window_ns / NS_PER_MS,
		       figures->program == NULL ? "" : figures->program, figures->ns_per_run,
		       budgets->max_ns_per_run, figures->cpu_ppm, budgets->max_cpu_ppm);
	if (held != NULL)
		r = expel_lease(core, row, text, held, &err);
	else if (row->state == INSTANCE_SOAKING && version_expel(core, row->id, text, &err) >= 0)
		r = 0;
	else
		r = quarantine_expel(core, row, text, &err);
	/* The next window finds it over its budget again. */
	if (r < 0)
		log_error(LOG_LEVEL_WARNING, &err, "quarantine instance %s", row->id);
	return r >= 0;
}
