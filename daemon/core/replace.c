/* Replace: another version of a bundle takes the place of the one that runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/apply.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/journal.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "daemon/core/replace-maps.h"
#include "daemon/core/replace.h"
#include "daemon/core/rules.h"
#include "daemon/core/session.h"
#include "daemon/core/step.h"
#include "daemon/core/tell.h"
#include "daemon/core/verify.h"
#include "daemon/core/version.h"
#include "proto/arena.h"
#include "store/bundles.h"
#include "store/journal.h"

#define SOAK_MAX_NS (UINT64_C(366) * 24 * 3600 * NS_PER_SEC)

/* A Replace between its request and its reply. */
struct replace {
	struct job job;
	struct request *request;
	struct core *core;
	struct trusted_bundle *bundle; /* the new one */
	struct store_instance *before;
	bool entered; /* the instance is held */
	struct apply *apply;
	struct replace_maps maps;
	struct version_switch version;
	struct store_parameter *parameters; /* of the new version; in the request's arena */
	size_t n_parameters;
	bool switched; /* links may run the new version */
	uint64_t op;
	int r;
	struct error err;
};

static void replace_free(struct replace *replace)
{
	if (replace == NULL)
		return;
	if (replace->entered)
		busy_leave(replace->core, replace->before->id);
	trusted_bundle_unref(replace->bundle);
	version_switch_done(&replace->version);
	replace_maps_done(&replace->maps);
	apply_free(replace->apply);
	free(replace->before);
	free(replace);
}
DEFINE_CLEANUP(struct replace, replace_free)

static struct replace *replace_of(struct job *job)
{
	return (struct replace *)(void *)job;
}

static const Bpfleet__V1__ReplaceRequest *message_of(const struct replace *replace)
{
	return (const void *)replace->request->message;
}

static const Bpfleet__V1__Manifest *manifest_of(const struct replace *replace)
{
	return replace->bundle->bundle->manifest;
}

/* ---- on a worker */

/* What links will run must be there, and of a type that their hooks take. */
static int check_programs(const struct replace *replace, struct error *err)
{
	bool optional;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < replace->version.n_links; i++) {
		const struct version_link *link = &replace->version.links[i];
		const struct kernel_program *program = &replace->apply->object->programs[link->to];

		if (program->fd < 0)
			return error_raise(err, ERROR_REPLACE_REFUSED,
					   "program '%s' is attached, and the other version goes "
					   "without it here: %.300s",
					   program->name, program->skipped_reason);
		r = kernel_hook_check(link->link.hook, program->type, err);
		/* Of most links the kernel swaps the program, never the map. */
		if (r >= 0 && kernel_hook_map(link->link.hook, &optional) != NULL && !optional &&
		    (link->to_map == UINT32_MAX ||
		     (!kernel_hook_swaps_map(link->link.hook) &&
		      !replace->apply->object->maps[link->to_map].shared)))
			return error_raise(err, ERROR_REPLACE_REFUSED,
					   "links/%s is of map '%s', which the versions do not "
					   "share: detach it first",
					   link->link.id,
					   kernel_hook_map(link->link.hook, &optional));
	}
	return r;
}

static int go_over(struct replace *replace, struct error *err)
{
	int r = apply_pin(replace->apply, err);

	core_step("replace.pinned");
	if (r >= 0)
		r = replace_maps_begin(&replace->maps, replace->apply->object, err);
	core_step("replace.copied");
	if (r < 0)
		return r;
	replace->switched = true;
	r = version_switch_run(&replace->version, err);
	core_step("replace.switched");
	if (r >= 0)
		r = replace_maps_finish(&replace->maps, replace->apply->object, err);
	core_step("replace.merged");
	return r;
}

/* Every link runs what it ran, and nothing of the new version is left. */
static void undo(struct replace *replace)
{
	const uint32_t keep[] = { replace->before->generation };
	struct error cause = { 0 };

	if (replace->switched && version_switch_back(&replace->version, &cause) < 0)
		log_error(LOG_LEVEL_ERROR, &cause, "switch instance %s back", replace->before->id);
	core_step("replace.undone");
	if (kernel_pins_keep_generations(replace->core->pins, replace->before->id, keep, 1,
					 &cause) < 0)
		log_error(LOG_LEVEL_ERROR, &cause, "unpin a version of instance %s",
			  replace->before->id);
	kernel_object_free(replace->apply->object);
	replace->apply->object = NULL;
}

static void replace_work(struct job *job)
{
	struct replace *replace = replace_of(job);
	const uint32_t keep[] = { replace->before->generation };
	struct error *err = &replace->err;
	int r = replace_maps_open(&replace->maps, replace->core->pins, replace->before->id,
				  replace->before->generation, err);

	/* What an earlier one that failed could not unpin. */
	if (r >= 0 && !replace->apply->validate_only)
		r = kernel_pins_keep_generations(replace->core->pins, replace->before->id, keep, 1,
						 err);
	if (r >= 0)
		r = apply_load(replace->apply, err);
	if (r >= 0)
		r = check_programs(replace, err);
	if (r >= 0 && !replace->apply->validate_only) {
		core_step("replace.loaded");
		r = go_over(replace, err);
	}
	replace->r = r;
	if (r < 0 && replace->apply->object != NULL && !replace->apply->validate_only)
		undo(replace);
}

static void undo_work(struct job *job)
{
	undo(replace_of(job));
}

/* ---- the outcome */

static int end_failed(struct replace *replace, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(replace->core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_op_end(&tx, replace->op, err);
	/* Links that went and came back may be other ones for the kernel. */
	if (r >= 0)
		r = version_switch_record(replace->core, &replace->version, &tx, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, replace->before->id, INSTANCE_READY, NULL, err);
	if (r >= 0)
		r = instance_follow_links(replace->core, &tx, replace->before->id, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static void failed(struct replace *replace)
{
	struct error journal_err = { 0 };

	if (replace->op != 0 && end_failed(replace, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed replace");
	busy_leave(replace->core, replace->before->id);
	replace->entered = false;
	request_fail(replace->request, &replace->err);
}

static void undo_done(struct job *job)
{
	_cleanup_(replace_freep) struct replace *replace = replace_of(job);

	failed(replace);
}

static int respond(struct replace *replace, Bpfleet__V1__ReplaceResponse **ret, struct error *err)
{
	struct arena *arena = replace->request->arena;
	Bpfleet__V1__ReplaceResponse *response = arena_alloc(arena, sizeof(*response));
	struct told told;
	int r;

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a replace");
	bpfleet__v1__replace_response__init(response);
	r = tell_instance(replace->core, replace->before->id, arena, &told, err);
	if (r >= 0 && replace->apply->validate_only) {
		r = tell_trial(replace->apply, replace->r < 0 ? &replace->err : NULL, arena, &told,
			       err);
		TOLD_PUT_TRIAL(response, &told);
	}
	TOLD_PUT(response, &told);
	if (r >= 0)
		r = replace_maps_tell(&replace->maps, manifest_of(replace), arena, response, err);
	*ret = response;
	return r;
}

static int record(struct replace *replace, Bpfleet__V1__ReplaceResponse **ret, struct error *err)
{
	const uint64_t now = clock_realtime_ns(), soak_ns = message_of(replace)->soak_ns;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct core *core = replace->core;
	struct store_instance row = {
		.id = replace->before->id,
		.generation = replace->apply->generation,
		.loaded_at_ns = now,
		.soak_ends_at_ns = soak_ns == 0 ? 0 : now + soak_ns,
		.state = INSTANCE_SOAKING,
	};
	int r = store_tx_begin(core->store, STORE_TX_GROW, &tx, err);

	memcpy(row.digest, replace->bundle->digest.bytes, sizeof(row.digest));
	if (r >= 0)
		r = store_version_switch(&tx, &row, replace->parameters, replace->n_parameters,
					 err);
	if (r >= 0)
		r = apply_store_parts(replace->apply, &tx, err);
	if (r >= 0)
		r = replace_maps_record(core, &replace->maps, row.id, &tx, err);
	if (r >= 0)
		r = store_version_sweep(&tx, row.id, err);
	if (r >= 0)
		r = version_switch_record(core, &replace->version, &tx, err);
	if (r >= 0)
		r = store_op_end(&tx, replace->op, err);
	if (r >= 0)
		r = respond(replace, ret, err);
	core_step("replace.commit");
	if (r >= 0)
		r = request_commit(replace->request, &tx, &(*ret)->base, err);
	core_step("replace.committed");
	return r;
}

static int record_validate(struct replace *replace, Bpfleet__V1__ReplaceResponse **ret,
			   struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct request *request = replace->request;
	int r = respond(replace, ret, err);

	request->request_id = "";
	(void)snprintf(request->detail, sizeof(request->detail), "validate_only: %s",
		       replace->r >= 0 ? "it would replace" : replace->err.message);
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	return r < 0 ? r : request_commit(request, &tx, &(*ret)->base, err);
}

static void replace_done(struct job *job)
{
	_cleanup_(replace_freep) struct replace *replace = replace_of(job);
	Bpfleet__V1__ReplaceResponse *response = NULL;
	struct core *core = replace->core;
	struct error err = { 0 };
	int r = replace->r;

	if (replace->apply->validate_only) {
		if (record_validate(replace, &response, &err) >= 0)
			request_reply(replace->request, &response->base);
		else
			request_fail(replace->request, &err);
		return;
	}
	if (r < 0) {
		failed(replace);
		return;
	}
	/* Trust may have changed while the kernel was at work. */
	r = trusted_bundle_check(core->bundles, replace->bundle, &replace->err);
	if (r >= 0)
		r = record(replace, &response, &replace->err);
	if (r < 0) {
		replace->job = (struct job){ .work = undo_work, .done = undo_done };
		jobs_submit(core->jobs, &TAKE_PTR(replace)->job);
		return;
	}
	busy_leave(core, replace->before->id);
	replace->entered = false;
	if (replace_maps_changed(&replace->maps))
		core_notice_ended_instance(core, replace->before->id);
	request_reply(replace->request, &response->base);
}

/* ---- the plan */

static int ordinals(void *arg, const struct store_link *row, const struct hook *hook,
		    const char *map, uint32_t *ret_program, uint32_t *ret_map, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = manifest_of(arg);
	struct error cause = { 0 };

	if (apply_find_program(manifest, row->program, ret_program, &cause) < 0)
		return error_raise(
			err, ERROR_REPLACE_REFUSED,
			"program '%s' is attached to %.200s, and the other version has no "
			"such program: detach links/%s first",
			row->program, row->hook, row->id);
	if (rules_check_hook(manifest->programs[*ret_program], hook, &cause) < 0)
		return error_raise(err, ERROR_REPLACE_REFUSED, "links/%s: %.500s", row->id,
				   cause.message);
	for (size_t i = 0; map != NULL && i < manifest->n_maps; i++) {
		if (strcmp(manifest->maps[i]->name, map) == 0)
			*ret_map = (uint32_t)i;
	}
	return 0;
}

/* Those given, and of the others what ran so far, where the new version knows them. */
static int plan_parameters(struct replace *replace, struct error *err)
{
	const Bpfleet__V1__ReplaceRequest *message = message_of(replace);
	const Bpfleet__V1__Manifest *manifest = manifest_of(replace);
	_cleanup_free_ struct store_parameter *old = NULL;
	struct arena *arena = replace->request->arena;
	char **names, **values;
	size_t n_old = 0, n = 0;
	int r = store_parameter_list(replace->core->store, replace->before->id, &old, &n_old, err);

	if (r < 0)
		return r;
	if (!message->keep_parameters)
		n_old = 0;
	names = arena_alloc(arena, (message->n_parameters + n_old) * sizeof(char *));
	values = arena_alloc(arena, (message->n_parameters + n_old) * sizeof(char *));
	replace->parameters =
		arena_alloc(arena, (message->n_parameters + n_old) * sizeof(*replace->parameters));
	if (names == NULL || values == NULL || replace->parameters == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the parameters");
	for (size_t i = 0; i < message->n_parameters; i++, n++) {
		names[n] = message->parameters[i]->name;
		values[n] = message->parameters[i]->value;
	}
	for (size_t i = 0; i < n_old; i++) {
		bool given = false, known = false;

		for (size_t k = 0; k < message->n_parameters; k++)
			given |= strcmp(message->parameters[k]->name, old[i].name) == 0;
		for (size_t k = 0; k < manifest->n_parameters; k++)
			known |= strcmp(manifest->parameters[k]->name, old[i].name) == 0;
		if (given || !known)
			continue;
		names[n] = arena_strndup(arena, old[i].name, strlen(old[i].name));
		values[n] = arena_strndup(arena, old[i].value, strlen(old[i].value));
		if (names[n] == NULL || values[n++] == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the parameters");
	}
	for (size_t i = 0; i < n; i++)
		replace->parameters[i] = (struct store_parameter){ names[i], values[i] };
	replace->n_parameters = n;
	return apply_set_parameters(replace->apply, n, names, values, err);
}

static int record_intent(struct replace *replace, struct error *err)
{
	struct request *request = replace->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_op op = {
		.kind = "replace",
		.instance = replace->before->id,
		.step = "replace.intent",
		.started_at_ns = clock_realtime_ns(),
		.identity = session_identity(request->session),
		.method = request->method->name,
		.request_id = request->request_id,
	};
	int r = request_check_deadline(request, err);

	if (r >= 0)
		r = version_switch_pack(&replace->version, request->arena, &op.data, err);
	if (r >= 0)
		r = store_tx_begin(replace->core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = store_op_begin(&tx, &op, &replace->op, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, replace->before->id, INSTANCE_REPLACING, NULL,
					     err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* The instance as it is now: while the bundle was verified it may have changed. */
static int find_instance(struct replace *replace, struct error *err)
{
	struct store_instance *now = NULL;
	int r = store_instance_get(replace->core->store, replace->before->id, &now, err);

	if (r < 0)
		return r;
	free(replace->before);
	replace->before = now;
	if (held_find(replace->core, now->id) != NULL)
		return error_raise(err, ERROR_REPLACE_REFUSED,
				   "%s is a lease, which ends: load the other version beside it",
				   now->id);
	if (now->state == INSTANCE_SOAKING)
		return error_raise(err, ERROR_REPLACE_REFUSED,
				   "%s still keeps the version before: commit it or roll it back "
				   "first",
				   now->id);
	if (now->state == INSTANCE_REPLACING)
		return error_raise(err, ERROR_INSTANCE_BUSY, "%s is being replaced", now->id);
	if (!instance_state_is_loaded(now->state))
		return error_raise(err, ERROR_INSTANCE_NOT_READY, "instance %s is %s%s%.300s",
				   now->id, instance_state_name((enum instance_state)now->state),
				   now->reason[0] == '\0' ? "" : ": ", now->reason);
	if (strcmp(manifest_of(replace)->name, now->bundle_name) != 0)
		return error_raise(
			err, ERROR_REPLACE_REFUSED,
			"%s runs bundle '%s', and '%s' is another bundle: load it beside", now->id,
			now->bundle_name, manifest_of(replace)->name);
	return 0;
}

static int plan(struct replace *replace, struct error *err)
{
	const Bpfleet__V1__ReplaceRequest *message = message_of(replace);
	struct core *core = replace->core;
	int r = version_switch_init(core, replace->before->id, ordinals, replace, &replace->version,
				    err);

	if (r >= 0)
		r = replace_maps_init(core, replace->before, message->reset_maps,
				      message->n_reset_maps, &replace->maps, err);
	if (r < 0)
		return r;
	replace->apply = apply_new(core, replace->bundle, replace->before->id);
	if (replace->apply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan a replace");
	replace->apply->generation = replace->before->generation + 1;
	replace->apply->validate_only = message->validate_only;
	replace->apply->chooser = &replace->maps.chooser;
	replace->apply->max_memory_bytes =
		budget_max_memory(manifest_of(replace)->budgets, &replace->before->budget);
	replace->version.from_generation = replace->before->generation;
	replace->version.to_generation = replace->apply->generation;
	return plan_parameters(replace, err);
}

static int begin(struct replace *replace, struct error *err)
{
	struct core *core = replace->core;
	int r = rules_check_bundle(replace->request, replace->bundle, err);

	if (r >= 0)
		r = busy_enter(core, replace->before->id, true, err);
	if (r < 0)
		return r;
	replace->entered = true;
	r = find_instance(replace, err);
	if (r >= 0)
		r = plan(replace, err);
	if (r >= 0 && !replace->apply->validate_only)
		r = record_intent(replace, err);
	core_step("replace.intent");
	if (r < 0)
		return r;
	replace->job = (struct job){ .work = replace_work, .done = replace_done };
	jobs_submit(core->jobs, &replace->job);
	return 0;
}

static void verified(void *user, struct trusted_bundle *bundle, const struct error *err)
{
	_cleanup_(replace_freep) struct replace *replace = user;
	int r = -1;

	replace->err = *err;
	if (bundle != NULL) {
		replace->bundle = trusted_bundle_ref(bundle);
		r = begin(replace, &replace->err);
	}
	if (r < 0)
		request_fail(replace->request, &replace->err);
	else
		(void)TAKE_PTR(replace);
}

int serve_replace(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__ReplaceRequest *message = (const void *)request->message;
	_cleanup_(replace_freep) struct replace *replace = calloc(1, sizeof(*replace));
	_cleanup_free_ struct store_bundle *row = NULL;
	struct core *core = request->core;
	char object[sizeof(request->object)];
	int r;

	(void)ret_response;
	if (replace == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "replace a version");
	replace->request = request;
	replace->core = core;
	if (core->held_by_owner)
		return error_raise(err, ERROR_HOST_HELD, "nothing is loaded on this host now");
	if (message->soak_ns > SOAK_MAX_NS)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "soak_ns is at most a year");
	r = request_find_named_instance(request, message->instance, POLICY_VERB_REPLACE,
					&replace->before, err);
	if (r < 0)
		return r;
	(void)snprintf(object, sizeof(object), "%s", request->object);
	r = rules_find_bundle(request, message->bundle, POLICY_VERB_REPLACE, &row, err);
	(void)snprintf(request->object, sizeof(request->object), "%s", object);
	if (r < 0)
		return r;
	r = bundle_verify(core, &request->digest, VERIFY_BYTES_MAX, verified, replace, err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(replace);
	return REQUEST_PENDING;
}
