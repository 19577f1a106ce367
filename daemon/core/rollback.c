/*
 * Rollback and Commit: the end of a Replace, back or forward, because a client asks for it, or
 * forward when the soak time is over, or back when the version that soaks is over its budget.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/journal.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/replace-maps.h"
#include "daemon/core/replace.h"
#include "daemon/core/session.h"
#include "daemon/core/step.h"
#include "daemon/core/tell.h"
#include "daemon/core/version.h"
#include "proto/arena.h"
#include "store/journal.h"

#define ROWS_MAX 65536
/* For the plan and the answer of one that nobody asked for. */
#define ROLLBACK_ARENA ((size_t)8 << 20)

/* A Rollback or Commit on its way. */
struct ending {
	struct job job;
	struct core *core;
	struct request *request;	  /* NULL: nobody asked for it */
	struct arena *arena;		  /* the request's, or else our own */
	char figures[BUDGET_FIGURES_MAX]; /* why nobody had to ask for a Rollback */
	const ProtobufCMessage *response; /* committed; goes out when the pins have followed */
	struct store_instance *before;
	struct version_switch version;
	bool maps_change; /* front may hold one that the version before has not */
	uint64_t op;
	int r;
	struct error err;
};

static void ending_free(struct ending *ending)
{
	if (ending == NULL)
		return;
	version_switch_done(&ending->version);
	if (ending->request == NULL)
		arena_free(ending->arena);
	free(ending->before);
	free(ending);
}
DEFINE_CLEANUP(struct ending, ending_free)

static struct ending *ending_of(struct job *job)
{
	return (struct ending *)(void *)job;
}

/* The instance for a verb, held alone, if it keeps a version; *ret_known_before: a row before. */
static int enter(struct core *core, struct ending *ending, struct store_instance *row,
		 struct error *err)
{
	int r = busy_enter(core, row->id, true, err);

	ending->core = core;
	ending->before = row;
	if (r < 0)
		return r;
	r = row->state != INSTANCE_SOAKING || !row->has_previous
		    ? error_raise(
			      err, ERROR_REPLACE_REFUSED,
			      "instance %s keeps no other version: only what a Replace has left "
			      "SOAKING can be committed or rolled back",
			      row->id)
		    : 0;
	if (r < 0)
		busy_leave(core, row->id);
	return r;
}

static int begin_op(struct ending *ending, const char *kind, const char *step,
		    const struct store_bytes *data, struct store_tx *tx, struct error *err)
{
	const struct request *request = ending->request;
	struct store_op op = {
		.kind = kind,
		.instance = ending->before->id,
		.step = step,
		.started_at_ns = clock_realtime_ns(),
		.identity = request != NULL ? session_identity(request->session) : "",
		.method = request != NULL ? request->method->name : "",
		.request_id = request != NULL ? request->request_id : "",
	};

	if (data != NULL)
		op.data = *data;
	return store_op_begin(tx, &op, &ending->op, err);
}

/* ---- what is left of the version that nobody needs: pins */

static int keep_recorded(struct core *core, const char *id, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int r = store_instance_get(core->store, id, &row, err);
	uint32_t keep[2];

	if (r < 0)
		return r;
	keep[0] = row->generation;
	keep[1] = row->previous_generation;
	return kernel_pins_keep_generations(core->pins, id, keep, row->has_previous ? 2 : 1, err);
}

static void sweep_work(struct job *job)
{
	struct ending *ending = ending_of(job);
	const uint32_t keep[] = { ending->version.to_generation };

	ending->r = kernel_pins_keep_generations(ending->core->pins, ending->before->id, keep, 1,
						 &ending->err);
	core_step("commit.unpinned");
}

/* If it fails the journal has it, for the next start. */
static void sweep_done(struct job *job)
{
	_cleanup_(ending_freep) struct ending *ending = ending_of(job);

	if (ending->r >= 0)
		ending->r = journal_end(ending->core, ending->op, &ending->err);
	if (ending->r < 0)
		log_error(LOG_LEVEL_WARNING, &ending->err, "unpin a version of instance %s",
			  ending->before->id);
	busy_leave(ending->core, ending->before->id);
	if (ending->request != NULL)
		request_reply(ending->request, ending->response);
	else
		core_notice(ending->core);
}

/* The rows have changed: the instance stays held until the pins have followed. */
static void sweep(struct ending *ending, uint32_t keep, const ProtobufCMessage *response)
{
	ending->response = response;
	ending->version.to_generation = keep;
	ending->job = (struct job){ .work = sweep_work, .done = sweep_done };
	jobs_submit(ending->core->jobs, &ending->job);
}

/* ---- Commit */

static int commit_rows(struct ending *ending, Bpfleet__V1__CommitResponse **ret, struct error *err)
{
	struct request *request = ending->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_instance *now = NULL;
	struct core *core = ending->core;
	char object[NAME_RESOURCE_MAX + 1];
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = begin_op(ending, "commit", "commit.intent", NULL, &tx, err);
	if (r >= 0)
		r = store_version_forget_previous(&tx, ending->before->id, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, ending->before->id, INSTANCE_READY, NULL, err);
	if (r >= 0)
		r = instance_follow_links(core, &tx, ending->before->id, err);
	core_step("commit.commit");
	resource_format_instance(ending->before->id, object);
	if (r >= 0 && request == NULL) {
		r = reconcile_audit(&tx, ending->before->owner, "replace", object,
				    reconcile_is_revoked(core, ending->before->previous_digest)
					    ? "committed: the version before is of a revoked bundle"
					    : "committed: the soak time is over",
				    err);
		return r < 0 ? r : store_tx_commit(&tx, err);
	}
	if (r >= 0)
		r = store_instance_get(core->store, ending->before->id, &now, err);
	*ret = request != NULL ? arena_alloc(request->arena, sizeof(**ret)) : NULL;
	if (r >= 0 && *ret == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a commit");
	if (r >= 0) {
		bpfleet__v1__commit_response__init(*ret);
		r = convert_instance(core, request->arena, now, &(*ret)->instance, err);
	}
	return r < 0 ? r : request_commit(request, &tx, &(*ret)->base, err);
}

static int commit_begin(struct core *core, struct request *request, struct store_instance *row,
			Bpfleet__V1__CommitResponse **ret, struct error *err)
{
	_cleanup_(ending_freep) struct ending *ending = calloc(1, sizeof(*ending));
	int r;

	if (ending == NULL) {
		free(row);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "commit a version");
	}
	ending->request = request;
	r = enter(core, ending, row, err);
	if (r < 0)
		return r;
	r = commit_rows(ending, ret, err);
	core_step("commit.committed");
	if (r < 0)
		busy_leave(core, row->id);
	else
		sweep(TAKE_PTR(ending), row->generation, *ret == NULL ? NULL : &(*ret)->base);
	return r;
}

int serve_commit(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__CommitRequest *message = (const void *)request->message;
	Bpfleet__V1__CommitResponse *response = NULL;
	struct store_instance *row = NULL;
	int r = request_find_named_instance(request, message->instance, POLICY_VERB_REPLACE, &row,
					    err);

	(void)snprintf(request->detail, sizeof(request->detail), "committed");
	if (r >= 0)
		r = commit_begin(request->core, request, row, &response, err);
	(void)ret_response;
	return r < 0 ? r : REQUEST_PENDING;
}

void version_commit_due(struct core *core)
{
	const struct store_instance_filter filter = { .state = INSTANCE_SOAKING };
	_cleanup_free_ struct store_instance *rows = NULL;
	const uint64_t now = clock_realtime_ns();
	struct error err = { 0 };
	size_t n = 0;

	if (store_instance_list(core->store, &filter, NULL, ROWS_MAX, &rows, &n, &err) < 0)
		log_error(LOG_LEVEL_ERROR, &err, "look for versions that have soaked");
	for (size_t i = 0; i < n; i++) {
		Bpfleet__V1__CommitResponse *none = NULL;
		struct store_instance *row = NULL;

		/* What is revoked is not kept either. */
		if ((rows[i].soak_ends_at_ns == 0 || rows[i].soak_ends_at_ns > now) &&
		    !reconcile_is_revoked(core, rows[i].previous_digest))
			continue;
		err = (struct error){ 0 };
		if (store_instance_get(core->store, rows[i].id, &row, &err) < 0 ||
		    commit_begin(core, NULL, row, &none, &err) < 0) {
			if (err.code != ERROR_INSTANCE_BUSY)
				log_error(LOG_LEVEL_WARNING, &err, "commit instance %s",
					  rows[i].id);
		}
	}
}

/* ---- Rollback */

static void rollback_work(struct job *job)
{
	struct ending *ending = ending_of(job);

	ending->r = version_switch_run(&ending->version, &ending->err);
	core_step("rollback.switched");
}

static void back_work(struct job *job)
{
	struct ending *ending = ending_of(job);
	struct error ignored = { 0 };

	if (version_switch_back(&ending->version, &ignored) < 0)
		log_error(LOG_LEVEL_ERROR, &ignored, "undo a rollback of instance %s",
			  ending->before->id);
}

static int end_failed(struct ending *ending, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(ending->core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_op_end(&tx, ending->op, err);
	if (r >= 0)
		r = version_switch_record(ending->core, &ending->version, &tx, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, ending->before->id, INSTANCE_SOAKING, NULL, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static void rollback_failed(struct ending *ending)
{
	struct error journal_err = { 0 };

	if (end_failed(ending, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed rollback");
	busy_leave(ending->core, ending->before->id);
	if (ending->request != NULL)
		request_fail(ending->request, &ending->err);
	else if (quarantine_expel(ending->core, ending->before, ending->figures, &ending->err) < 0)
		log_error(LOG_LEVEL_WARNING, &ending->err, "quarantine instance %s",
			  ending->before->id);
}

static void back_done(struct job *job)
{
	_cleanup_(ending_freep) struct ending *ending = ending_of(job);

	rollback_failed(ending);
}

static int record_rollback(struct ending *ending, Bpfleet__V1__RollbackResponse **ret,
			   struct error *err)
{
	Bpfleet__V1__RollbackResponse *response = arena_alloc(ending->arena, sizeof(*response));
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	const char *id = ending->before->id;
	struct core *core = ending->core;
	uint64_t replaced = ending->op;
	struct told told;
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a rollback");
	bpfleet__v1__rollback_response__init(response);
	if (r >= 0)
		r = store_version_switch_back(&tx, id, err);
	if (r >= 0)
		r = version_switch_record(core, &ending->version, &tx, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, id, INSTANCE_READY, NULL, err);
	if (r >= 0)
		r = instance_follow_links(core, &tx, id, err);
	if (r >= 0)
		r = store_op_end(&tx, replaced, err);
	if (r >= 0)
		r = begin_op(ending, "commit", "commit.intent", NULL, &tx, err);
	if (r >= 0)
		r = tell_instance(core, id, ending->arena, &told, err);
	if (r >= 0) {
		response->instance = told.instance;
		response->links = told.links;
		response->n_links = told.n_links;
	}
	if (r >= 0 && ending->request == NULL)
		r = quarantine_record(&tx, ending->before, true, ending->figures, err);
	core_step("rollback.commit");
	if (r >= 0)
		r = ending->request == NULL
			    ? store_tx_commit(&tx, err)
			    : request_commit(ending->request, &tx, &response->base, err);
	core_step("rollback.committed");
	if (r < 0)
		ending->op = replaced;
	*ret = response;
	return r;
}

static void rollback_done(struct job *job)
{
	_cleanup_(ending_freep) struct ending *ending = ending_of(job);
	Bpfleet__V1__RollbackResponse *response = NULL;
	struct core *core = ending->core;
	uint32_t keep = ending->before->previous_generation;
	int r = ending->r;

	if (r < 0) {
		rollback_failed(ending);
		return;
	}
	r = record_rollback(ending, &response, &ending->err);
	if (r < 0) {
		ending->job = (struct job){ .work = back_work, .done = back_done };
		jobs_submit(core->jobs, &TAKE_PTR(ending)->job);
		return;
	}
	if (ending->request == NULL)
		log_warning("instance %s runs the version before: it is over its budget: %s",
			    ending->before->id, ending->figures);
	if (ending->maps_change)
		core_notice_ended_instance(core, ending->before->id);
	sweep(TAKE_PTR(ending), keep, &response->base);
}

/* The version before, as it was recorded. */
struct kept {
	struct store_program *programs;
	struct store_map *maps;
	size_t n_programs, n_maps;
};

static int ordinals(void *arg, const struct store_link *row, const struct hook *hook,
		    const char *map, uint32_t *ret_program, uint32_t *ret_map, struct error *err)
{
	const struct kept *kept = arg;

	(void)hook;
	for (size_t i = 0; map != NULL && i < kept->n_maps; i++) {
		if (strcmp(kept->maps[i].name, map) == 0)
			*ret_map = kept->maps[i].ordinal;
	}
	for (size_t i = 0; i < kept->n_programs; i++) {
		if (strcmp(kept->programs[i].name, row->program) == 0) {
			*ret_program = kept->programs[i].ordinal;
			return 0;
		}
	}
	return error_raise(err, ERROR_REPLACE_REFUSED,
			   "program '%s' is attached to %.200s, and the version before has no such "
			   "program: detach links/%s first",
			   row->program, row->hook, row->id);
}

static int plan_rollback(struct ending *ending, struct error *err)
{
	struct kept kept = { 0 };
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	const char *id = ending->before->id;
	struct store_bytes data;
	int r = store_previous_program_list(ending->core->store, id, ROWS_MAX, &kept.programs,
					    &kept.n_programs, err);

	if (r >= 0)
		r = quarantine_check(ending->core, ending->before->previous_digest, err);
	if (r >= 0)
		r = store_previous_map_list(ending->core->store, id, ROWS_MAX, &kept.maps,
					    &kept.n_maps, err);
	if (r >= 0)
		r = replace_maps_rolled_back(ending->core, ending->before, &ending->maps_change,
					     err);
	if (r >= 0)
		r = version_switch_init(ending->core, id, ordinals, &kept, &ending->version, err);
	free(kept.programs);
	free(kept.maps);
	ending->version.from_generation = ending->before->generation;
	ending->version.to_generation = ending->before->previous_generation;
	if (r >= 0 && ending->request != NULL)
		r = request_check_deadline(ending->request, err);
	if (r >= 0)
		r = version_switch_pack(&ending->version, ending->arena, &data, err);
	if (r >= 0)
		r = store_tx_begin(ending->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = begin_op(ending, "rollback", "rollback.intent", &data, &tx, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, id, INSTANCE_REPLACING, NULL, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* Takes the ending and its row. */
static int rollback_begin(struct ending *given, struct core *core, struct store_instance *row,
			  struct error *err)
{
	_cleanup_(ending_freep) struct ending *ending = given;
	int r = enter(core, ending, row, err);

	if (r < 0)
		return r;
	if (ending->arena == NULL)
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "roll back");
	else if (reconcile_is_revoked(core, row->previous_digest))
		r = error_raise(err, ERROR_BUNDLE_REVOKED,
				"the version before is of a bundle that this host's trust file "
				"revokes");
	else
		r = plan_rollback(ending, err);
	core_step("rollback.intent");
	if (r < 0) {
		busy_leave(core, row->id);
		return r;
	}
	ending->job = (struct job){ .work = rollback_work, .done = rollback_done };
	jobs_submit(core->jobs, &TAKE_PTR(ending)->job);
	return 0;
}

int serve_rollback(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__RollbackRequest *message = (const void *)request->message;
	struct store_instance *row = NULL;
	struct ending *ending;
	int r = request_find_named_instance(request, message->instance, POLICY_VERB_REPLACE, &row,
					    err);

	(void)ret_response;
	if (r < 0)
		return r;
	(void)snprintf(request->detail, sizeof(request->detail), "rolled back");
	ending = calloc(1, sizeof(*ending));
	if (ending == NULL) {
		free(row);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "roll back");
	}
	ending->request = request;
	ending->arena = request->arena;
	r = rollback_begin(ending, request->core, row, err);
	return r < 0 ? r : REQUEST_PENDING;
}

int version_expel(struct core *core, const char *id, const char *figures, struct error *err)
{
	struct ending *ending = calloc(1, sizeof(*ending));
	struct store_instance *row = NULL;
	int r;

	if (ending == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "roll back");
	(void)snprintf(ending->figures, sizeof(ending->figures), "%s", figures);
	ending->arena = arena_new(ROLLBACK_ARENA);
	r = store_instance_get(core->store, id, &row, err);
	if (r < 0) {
		ending_free(ending);
		return r;
	}
	return rollback_begin(ending, core, row, err);
}

/* ---- at the start */

int version_settle(struct core *core, const struct store_op *op, struct store_tx *tx,
		   struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	struct version_switch version = { 0 };
	struct error cause = { 0 };
	int r = store_instance_get(core->store, op->instance, &row, &cause);

	if (r < 0) {
		if (cause.code == ERROR_NOT_FOUND)
			return 0;
		*err = cause;
		return r;
	}
	/* After a reboot there is nothing to switch: what is recorded is loaded again. */
	if (strcmp(op->kind, "commit") != 0 && strcmp(row->boot_id, core->boot_id) == 0) {
		r = version_switch_unpack(core, op, &version, err);
		/* What cannot go back shows as drifted, or is attached again. */
		if (r >= 0 && version_switch_back(&version, &cause) < 0)
			log_error(LOG_LEVEL_ERROR, &cause, "undo %s of instance %s", op->kind,
				  op->instance);
		if (r >= 0)
			r = version_switch_record(core, &version, tx, err);
		version_switch_done(&version);
	}
	if (r >= 0)
		r = keep_recorded(core, op->instance, err);
	if (r < 0 || strcmp(op->kind, "commit") == 0)
		return r;
	r = store_instance_set_state(
		tx, op->instance, row->has_previous ? INSTANCE_SOAKING : INSTANCE_READY, NULL, err);
	return r < 0 ? r : instance_follow_links(core, tx, op->instance, err);
}
