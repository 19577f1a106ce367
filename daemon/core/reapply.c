/* Loading a recorded instance again: after a reboot, or when its pins are gone. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/apply.h"
#include "daemon/core/budget.h"
#include "daemon/core/links.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/request.h"
#include "daemon/core/unload.h"
#include "daemon/core/verify.h"
#include "proto/arena.h"

#define ROWS_MAX 65536

struct reapply {
	struct job job;
	struct core *core;
	char id[NAME_ID_LEN + 1];
	uint64_t max_memory_bytes;
	struct removal removal; /* of what is left */
	struct trusted_bundle *bundle;
	struct apply *apply;
	struct error err;
};

static void reapply_free(struct reapply *reapply)
{
	if (reapply == NULL)
		return;
	trusted_bundle_unref(reapply->bundle);
	removal_done(&reapply->removal);
	apply_free(reapply->apply);
	free(reapply);
}
DEFINE_CLEANUP(struct reapply, reapply_free)

static void set_failed(struct reapply *reapply)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	char reason[600];
	struct error err = { 0 };
	int r = store_tx_begin(reapply->core->store, STORE_TX_RELEASE, &tx, &err);

	(void)snprintf(reason, sizeof(reason), "%s: %.500s", error_info(reapply->err.code)->reason,
		       reapply->err.message);
	if (r >= 0)
		r = links_set_all(reapply->core, &tx, reapply->id, LINK_DETACHED,
				  "the instance is not loaded", &err);
	if (r >= 0)
		r = store_instance_set_state(&tx, reapply->id, INSTANCE_FAILED, reason, &err);
	if (r >= 0)
		r = store_tx_commit(&tx, &err);
	if (r < 0)
		log_error(LOG_LEVEL_ERROR, &err, "record that instance %s failed", reapply->id);
	log_error(LOG_LEVEL_WARNING, &reapply->err, "instance %s could not be applied again",
		  reapply->id);
}

static void finish(struct reapply *reapply, int r)
{
	struct core *core = reapply->core;

	if (r < 0)
		set_failed(reapply);
	busy_leave(core, reapply->id);
	core_notice(core);
}

/* ---- the outcome */

static int record_links(struct reapply *reapply, struct store_tx *tx, struct arena *arena,
			struct error *err)
{
	struct apply *apply = reapply->apply;

	for (size_t i = 0; i < apply->n_links; i++) {
		const struct kernel_program *program =
			&apply->object->programs[apply->links[i].program];
		struct store_link row;
		int r = apply_link_row(&apply->links[i], apply->id, program->name, arena, &row,
				       err);

		if (r >= 0)
			r = store_link_update(tx, &row, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int record(struct reapply *reapply, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)8 << 20);
	struct core *core = reapply->core;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_instance row = {
		.id = reapply->id,
		.state = INSTANCE_READY,
		.loaded_at_ns = clock_realtime_ns(),
		.boot_id = core->boot_id,
	};
	char object[64];
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "record an instance");
	r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = apply_store_parts(reapply->apply, &tx, err);
	if (r >= 0)
		r = record_links(reapply, &tx, arena, err);
	/* The version kept for Rollback went with the pins. */
	if (r >= 0)
		r = store_version_forget_previous(&tx, reapply->id, err);
	if (r >= 0)
		r = store_instance_update(&tx, &row, err);
	if (r >= 0)
		r = instance_follow_links(core, &tx, reapply->id, err);
	(void)snprintf(object, sizeof(object), "instances/%s", reapply->id);
	if (r >= 0)
		r = reconcile_audit(&tx, "", "reapply", object, "", err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static struct reapply *reapply_of(struct job *job)
{
	return (struct reapply *)(void *)job;
}

static void undo_work(struct job *job)
{
	apply_undo(reapply_of(job)->apply);
}

static void undo_done(struct job *job)
{
	_cleanup_(reapply_freep) struct reapply *reapply = reapply_of(job);

	finish(reapply, -1);
}

static void apply_work(struct job *job)
{
	struct reapply *reapply = reapply_of(job);

	if (removal_run(&reapply->removal, &reapply->err) < 0)
		return;
	apply_run(reapply->apply);
	reapply->err = reapply->apply->err;
}

static void apply_done(struct job *job)
{
	_cleanup_(reapply_freep) struct reapply *reapply = reapply_of(job);
	int r = reapply->apply->object == NULL ? -1 : 0;

	if (r >= 0) {
		r = record(reapply, &reapply->err);
		if (r < 0) {
			reapply->job = (struct job){ .work = undo_work, .done = undo_done };
			jobs_submit(reapply->core->jobs, &TAKE_PTR(reapply)->job);
			return;
		}
		log_info("instance %s is applied again", reapply->id);
	}
	finish(reapply, r);
}

/* ---- the plan */

static int plan_links(struct reapply *reapply, struct error *err)
{
	const struct store_link_filter filter = { .instance = reapply->id };
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)8 << 20);
	_cleanup_free_ struct store_link *rows = NULL;
	size_t n = 0;
	int r = store_link_list(reapply->core->store, &filter, NULL, ROWS_MAX, &rows, &n, err);

	if (r >= 0 && arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the links");
	for (size_t i = 0; r >= 0 && i < n; i++) {
		ProtobufCMessage *message;
		struct hook *hook;
		uint32_t program;

		r = apply_find_program(reapply->bundle->bundle->manifest, rows[i].program, &program,
				       err);
		if (r >= 0)
			r = arena_unpack(arena, &bpfleet__v1__hook__descriptor, rows[i].spec.data,
					 rows[i].spec.size, &message, err);
		if (r >= 0)
			r = hook_from_message((const Bpfleet__V1__Hook *)message, &hook, err);
		if (r >= 0)
			r = apply_add_link(reapply->apply, rows[i].id, program, hook, err);
		if (r >= 0) {
			struct apply_link *link =
				&reapply->apply->links[reapply->apply->n_links - 1];

			r = links_stored_resolved(&rows[i], &link->resolved, &link->places, err);
			link->has_resolved = rows[i].resolved_inode != 0;
		}
	}
	return r;
}

static int plan_entries(struct reapply *reapply, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = reapply->bundle->bundle->manifest;
	struct apply *apply = reapply->apply;

	apply->entries = calloc(manifest->n_maps + 1, sizeof(*apply->entries));
	if (apply->entries == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the durable entries");
	for (size_t i = 0; i < manifest->n_maps; i++) {
		struct apply_entries *entries = &apply->entries[apply->n_entries];
		int r;

		if (manifest->maps[i]->contents != BPFLEET__V1__CONTENTS__CONTENTS_DURABLE)
			continue;
		r = store_entry_list(reapply->core->store, reapply->id, manifest->maps[i]->name,
				     NULL, SIZE_MAX >> 1, &entries->rows, &entries->n_rows, err);
		if (r < 0)
			return r;
		entries->block = entries->rows;
		entries->map = (uint32_t)i;
		apply->n_entries++;
	}
	return 0;
}

static int plan_parameters(struct reapply *reapply, struct error *err)
{
	_cleanup_free_ struct store_parameter *rows = NULL;
	_cleanup_free_ char **texts = NULL;
	size_t n = 0;
	int r = store_parameter_list(reapply->core->store, reapply->id, &rows, &n, err);

	if (r < 0)
		return r;
	texts = calloc(2 * n + 1, sizeof(*texts));
	if (texts == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the parameters");
	for (size_t i = 0; i < n; i++) {
		texts[i] = (char *)(uintptr_t)rows[i].name;
		texts[n + i] = (char *)(uintptr_t)rows[i].value;
	}
	return apply_set_parameters(reapply->apply, n, texts, texts + n, err);
}

static int begin(struct reapply *reapply, struct error *err)
{
	int r;

	r = trusted_bundle_check(reapply->core->bundles, reapply->bundle, err);
	if (r >= 0)
		r = quarantine_check(reapply->core, reapply->bundle->digest.bytes, err);
	if (r < 0)
		return r;
	reapply->apply = apply_new(reapply->core, reapply->bundle, reapply->id);
	if (reapply->apply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan an instance");
	reapply->apply->links_may_wait = true;
	reapply->apply->max_memory_bytes = reapply->max_memory_bytes;
	r = store_instance_generation(reapply->core->store, reapply->id,
				      &reapply->apply->generation, err);
	if (r >= 0)
		r = plan_parameters(reapply, err);
	if (r >= 0)
		r = plan_links(reapply, err);
	if (r >= 0)
		r = plan_entries(reapply, err);
	if (r >= 0)
		r = removal_init(reapply->core, reapply->id, &reapply->removal, err);
	if (r < 0)
		return r;
	reapply->job = (struct job){ .work = apply_work, .done = apply_done };
	jobs_submit(reapply->core->jobs, &reapply->job);
	return 0;
}

static void verified(void *user, struct trusted_bundle *bundle, const struct error *err)
{
	_cleanup_(reapply_freep) struct reapply *reapply = user;
	int r = -1;

	reapply->err = *err;
	if (bundle != NULL) {
		reapply->bundle = trusted_bundle_ref(bundle);
		r = begin(reapply, &reapply->err);
	}
	if (r < 0)
		finish(reapply, r);
	else
		(void)TAKE_PTR(reapply);
}

static int mark_loading(struct core *core, const char *id, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = links_set_all(core, &tx, id, LINK_PENDING_TARGET,
				  "the instance is being loaded", err);
	if (r >= 0)
		r = store_instance_set_state(&tx, id, INSTANCE_LOADING, NULL, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static uint64_t max_memory_of(const struct store_instance *row)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUDGET_ARENA);
	const Bpfleet__V1__LoadBudget *budget = budget_of(row, arena);

	return budget == NULL ? 0 : budget->budgets->max_memory_bytes;
}

int reapply_begin(struct core *core, const struct store_instance *row, struct error *err)
{
	_cleanup_(reapply_freep) struct reapply *reapply = calloc(1, sizeof(*reapply));
	struct digest digest;
	int r;

	if (reapply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "apply an instance again");
	r = busy_enter(core, row->id, true, err);
	if (r < 0)
		return r;
	reapply->core = core;
	(void)snprintf(reapply->id, sizeof(reapply->id), "%s", row->id);
	memcpy(digest.bytes, row->digest, BUNDLE_DIGEST_LEN);
	reapply->max_memory_bytes = max_memory_of(row);
	r = mark_loading(core, row->id, err);
	if (r >= 0)
		r = bundle_verify(core, &digest, SIZE_MAX, verified, reapply, err);
	if (r < 0) {
		reapply->err = *err;
		finish(reapply, r);
		return r;
	}
	(void)TAKE_PTR(reapply);
	return 0;
}
