#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/core/apply.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/journal.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "daemon/core/rules.h"
#include "daemon/core/select.h"
#include "daemon/core/session.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/step.h"
#include "daemon/core/tell.h"
#include "daemon/core/verify.h"
#include "proto/arena.h"
#include "store/bundles.h"
#include "store/journal.h"

#define LEASE_TTL_MAX_NS (UINT64_C(366) * 24 * 3600 * NS_PER_SEC)

/* A Load between its request and its reply: first the bundle is verified if need be, then applied.
 */
struct load {
	struct job job;
	struct request *request;
	struct core *request_core; /* outlives the request */
	struct trusted_bundle *bundle;
	struct error err;
	struct apply *apply;
	struct store_bytes budget; /* in the request's arena */
	uint64_t op;
	bool counted; /* in core->n_loading */
	uint8_t token[LEASE_TOKEN_LEN];
	uint64_t lease_ends_at_ns;
};

static void load_free(struct load *load)
{
	if (load == NULL)
		return;
	if (load->counted)
		load->request_core->n_loading--;
	trusted_bundle_unref(load->bundle);
	apply_free(load->apply);
	sodium_memzero(load->token, sizeof(load->token));
	free(load);
}
DEFINE_CLEANUP(struct load, load_free)

static const Bpfleet__V1__LoadRequest *message_of(const struct load *load)
{
	return (const void *)load->request->message;
}

static uint32_t durability_of(const Bpfleet__V1__LoadRequest *message)
{
	if (message->durability == BPFLEET__V1__DURABILITY__DURABILITY_UNSPECIFIED)
		return BPFLEET__V1__DURABILITY__DURABILITY_PERSISTENT;
	return (uint32_t)message->durability;
}

/* ---- refusing what need not be tried */

static int check_message(const Bpfleet__V1__LoadRequest *message, struct error *err)
{
	int r = 0;

	if (message->label[0] != '\0')
		r = name_check_label(message->label, err);
	if (r < 0)
		return r;
	if ((int)message->durability < 0 || message->durability > 3)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "durability %d is not known",
				   (int)message->durability);
	if (message->lease_ttl_ns != 0 &&
	    message->durability != BPFLEET__V1__DURABILITY__DURABILITY_LEASE)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "lease_ttl_ns goes with DURABILITY_LEASE");
	if (message->lease_ttl_ns > LEASE_TTL_MAX_NS)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "lease_ttl_ns is at most a year");
	if (message->n_parameters > BUNDLE_PARAMETERS_MAX)
		return error_raise(err, ERROR_INVALID_PARAMETER, "at most %d parameters",
				   BUNDLE_PARAMETERS_MAX);
	return 0;
}

static int check_host(struct core *core, const struct request *request, const char *label,
		      struct error *err)
{
	_cleanup_free_ struct store_instance *other = NULL;
	const uint64_t n_instances = store_n_instances(core->store);
	struct error absent = { 0 };
	int r;

	if (core->held_by_owner)
		return error_raise(err, ERROR_HOST_HELD, "nothing is loaded on this host now");
	if (n_instances + core->n_loading >= core->config->limits.n_instances)
		return error_raise(err, ERROR_LIMIT_EXCEEDED,
				   "%" PRIu64 " instances are loaded, limits.instances is %u",
				   n_instances, core->config->limits.n_instances);
	if (label[0] == '\0')
		return 0;
	r = store_instance_get_label(core->store, label, session_identity(request->session), &other,
				     &absent);
	if (r >= 0 && strcmp(other->owner, session_identity(request->session)) == 0)
		return error_raise(err, ERROR_LABEL_IN_USE, "instance %s has the label '%s'",
				   other->id, label);
	return 0;
}

static int plan_default_hooks(struct apply *apply, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = apply->bundle->bundle->manifest;

	for (size_t i = 0; i < manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *program = manifest->programs[i];

		for (size_t k = 0; k < program->n_default_hooks; k++) {
			struct hook *hook;
			int r = hook_parse(program->default_hooks[k], &hook, err);

			if (r >= 0)
				r = apply_add_link(apply, NULL, (uint32_t)i, hook, err);
			if (r < 0)
				return r;
			apply->links[apply->n_links - 1].by_default = true;
			if (hook_kind_info(hook_kind(hook))->resolved ||
			    hook_kind_info(hook_kind(hook))->socket || hook_netns(hook) != NULL)
				return error_raise(
					err, ERROR_HOOK_NOT_ALLOWED,
					"program '%s' has a hook in a file, another network "
					"namespace or on a socket as default; load without "
					"attach_defaults, then attach it",
					program->name);
		}
	}
	return 0;
}

static int make_apply(struct load *load, struct error *err)
{
	const Bpfleet__V1__LoadRequest *message = message_of(load);
	size_t n = message->n_parameters;
	char **names = arena_alloc(load->request->arena, n * sizeof(char *));
	char **values = arena_alloc(load->request->arena, n * sizeof(char *));
	char id[NAME_ID_LEN + 1];
	int r = name_new_id(id, err);

	if (r < 0)
		return r;
	load->apply = apply_new(load->request->core, load->bundle, id);
	if (load->apply == NULL || names == NULL || values == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan a load");
	for (size_t i = 0; i < n; i++) {
		names[i] = message->parameters[i]->name;
		values[i] = message->parameters[i]->value;
	}
	load->apply->validate_only = message->validate_only;
	load->apply->lease = message->durability == BPFLEET__V1__DURABILITY__DURABILITY_LEASE;
	r = budget_check(message->budget, load->apply->lease, err);
	if (r >= 0 && message->budget != NULL)
		r = budget_pack(&message->budget->base, load->request->arena, &load->budget, err);
	load->apply->max_memory_bytes =
		budget_max_memory(load->bundle->bundle->manifest->budgets, &load->budget);
	if (r >= 0)
		r = apply_set_parameters(load->apply, n, names, values, err);
	if (r >= 0 && message->attach_defaults)
		r = plan_default_hooks(load->apply, err);
	return r;
}

/* ---- the intent */

int plan_pack(const struct apply_link *links, size_t n, const Bpfleet__V1__Manifest *manifest,
	      struct arena *arena, struct store_bytes *ret, struct error *err)
{
	Bpfleet__State__Plan plan = BPFLEET__STATE__PLAN__INIT;
	uint8_t *bytes;
	size_t size;
	int r = 0;

	plan.links = arena_alloc(arena, n * sizeof(*plan.links));
	for (size_t i = 0; r >= 0 && i < n; i++) {
		Bpfleet__State__PlannedLink *link = arena_alloc(arena, sizeof(*link));

		if (plan.links == NULL || link == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "write the journal");
		bpfleet__state__planned_link__init(link);
		link->id = (char *)(uintptr_t)links[i].id;
		link->program = manifest->programs[links[i].program]->name;
		r = hook_to_message(links[i].hook, arena, &link->hook, err);
		plan.links[plan.n_links++] = link;
	}
	if (r >= 0)
		r = arena_pack(arena, &plan.base, &bytes, &size, err);
	if (r >= 0)
		*ret = (struct store_bytes){ bytes, size };
	return r;
}

static int record_intent(struct load *load, struct error *err)
{
	struct request *request = load->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_op op = {
		.kind = "load",
		.instance = load->apply->id,
		.step = "load.intent",
		.started_at_ns = clock_realtime_ns(),
		.identity = session_identity(request->session),
		.method = request->method->name,
		.request_id = request->request_id,
	};
	int r = request_check_deadline(request, err);

	if (r >= 0)
		r = plan_pack(load->apply->links, load->apply->n_links,
			      load->bundle->bundle->manifest, request->arena, &op.data, err);
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_GROW_INTENT, &tx, err);
	if (r >= 0)
		r = store_op_begin(&tx, &op, &load->op, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* ---- the outcome */

static int insert_instance(struct load *load, struct store_tx *tx, struct error *err)
{
	const Bpfleet__V1__LoadRequest *message = message_of(load);
	struct request *request = load->request;
	struct store_parameter *parameters =
		arena_alloc(request->arena, message->n_parameters * sizeof(*parameters));
	uint64_t now = clock_realtime_ns();
	struct store_instance row = {
		.id = load->apply->id,
		.label = message->label,
		.owner = session_identity(request->session),
		.durability = durability_of(message),
		.state = load->apply->n_links > 0 ? INSTANCE_ATTACHED : INSTANCE_READY,
		.created_at_ns = now,
		.loaded_at_ns = now,
		.boot_id = request->core->boot_id,
		.lease_ends_at_ns = load->lease_ends_at_ns,
		.has_lease_token = load->apply->lease,
		.budget = load->budget,
	};

	if (parameters == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "record an instance");
	for (size_t i = 0; i < message->n_parameters; i++)
		parameters[i] = (struct store_parameter){ message->parameters[i]->name,
							  message->parameters[i]->value };
	memcpy(row.digest, load->bundle->digest.bytes, BUNDLE_DIGEST_LEN);
	core_hash(load->token, sizeof(load->token), row.lease_token_hash);
	return store_instance_insert(tx, &row, parameters, message->n_parameters, err);
}

static int insert_links(struct load *load, struct store_tx *tx, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = load->bundle->bundle->manifest;
	struct apply *apply = load->apply;

	for (size_t i = 0; i < apply->n_links; i++) {
		const char *program = manifest->programs[apply->links[i].program]->name;
		struct store_link row;
		int r = apply_link_row(&apply->links[i], apply->id, program, load->request->arena,
				       &row, err);

		if (r >= 0)
			r = store_link_insert(tx, &row, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int respond(struct load *load, Bpfleet__V1__LoadResponse **ret, struct error *err)
{
	struct arena *arena = load->request->arena;
	Bpfleet__V1__LoadResponse *response = arena_alloc(arena, sizeof(*response));
	struct told told;
	int r = tell_instance(load->request->core, load->apply->id, arena, &told, err);

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a load");
	bpfleet__v1__load_response__init(response);
	TOLD_PUT(response, &told);
	if (r >= 0 && load->apply->lease)
		r = convert_bytes(arena, load->token, sizeof(load->token), &response->lease_token,
				  err);
	*ret = response;
	return r;
}

static int record_outcome(struct load *load, Bpfleet__V1__LoadResponse **ret_response,
			  struct error *err)
{
	struct request *request = load->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);

	if (r >= 0)
		r = insert_instance(load, &tx, err);
	if (r >= 0)
		r = apply_store_parts(load->apply, &tx, err);
	if (r >= 0)
		r = insert_links(load, &tx, err);
	if (r >= 0)
		r = store_op_end(&tx, load->op, err);
	if (r >= 0)
		r = respond(load, ret_response, err);
	core_step("load.commit");
	if (r >= 0)
		r = request_commit(request, &tx, &(*ret_response)->base, err);
	core_step("load.committed");
	return r;
}

int journal_end(struct core *core, uint64_t op, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_op_end(&tx, op, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static void load_failed(struct load *load)
{
	struct error journal_err = { 0 };

	/* A journal row that stays is undone at the next start, which finds nothing to undo. */
	if (load->op != 0 && journal_end(load->request->core, load->op, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed load");
	request_fail(load->request, &load->err);
}

static struct load *load_of(struct job *job)
{
	return (struct load *)(void *)((char *)job - offsetof(struct load, job));
}

/* ---- undo after a failed commit */

static void undo_work(struct job *job)
{
	apply_undo(load_of(job)->apply);
}

static void undo_done(struct job *job)
{
	_cleanup_(load_freep) struct load *load = load_of(job);

	load_failed(load);
}

/* ---- apply */

static int respond_validate(struct load *load, Bpfleet__V1__LoadResponse **ret, struct error *err)
{
	struct arena *arena = load->request->arena;
	Bpfleet__V1__LoadResponse *response = arena_alloc(arena, sizeof(*response));
	struct told told = { 0 };
	int r = tell_trial(load->apply, load->apply->object == NULL ? &load->err : NULL, arena,
			   &told, err);

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a validation");
	bpfleet__v1__load_response__init(response);
	TOLD_PUT(response, &told);
	TOLD_PUT_TRIAL(response, &told);
	*ret = response;
	return r;
}

static int record_validate(struct load *load, Bpfleet__V1__LoadResponse **ret, struct error *err)
{
	struct request *request = load->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = respond_validate(load, ret, err);

	/* A verdict on this kernel now, which may be large: nothing to be read again tomorrow. */
	request->request_id = "";

	(void)snprintf(request->detail, sizeof(request->detail), "validate_only: %s",
		       load->apply->object != NULL ? "it would load" : load->err.message);
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	return r < 0 ? r : request_commit(request, &tx, &(*ret)->base, err);
}

static void validate_done(struct load *load)
{
	Bpfleet__V1__LoadResponse *response = NULL;
	struct error err = { 0 };

	if (record_validate(load, &response, &err) >= 0)
		request_reply(load->request, &response->base);
	else
		request_fail(load->request, &err);
}

static void apply_work(struct job *job)
{
	apply_run(load_of(job)->apply);
}

static bool selects(const struct apply *apply)
{
	for (size_t i = 0; i < apply->n_links; i++) {
		if (hook_selector(apply->links[i].hook) != NULL)
			return true;
	}
	return false;
}

static void apply_done(struct job *job)
{
	_cleanup_(load_freep) struct load *load = load_of(job);
	_cleanup_(held_freep) struct held_instance *held = NULL;
	struct request *request = load->request;
	Bpfleet__V1__LoadResponse *response = NULL;
	int r = 0;

	load->err = load->apply->err;
	if (load->apply->validate_only) {
		validate_done(load);
		return;
	}
	if (load->apply->object == NULL) {
		load_failed(load);
		return;
	}
	/* Trust may have changed while the kernel was at work. */
	r = trusted_bundle_check(request->core->bundles, load->bundle, &load->err);
	if (r >= 0 && load->apply->lease)
		r = held_new(request->core, load->apply, &held, &load->err);
	if (held != NULL && message_of(load)->budget != NULL) {
		held->max_events = message_of(load)->budget->max_events;
		held->max_event_bytes = message_of(load)->budget->max_event_bytes;
	}
	if (r >= 0)
		r = record_outcome(load, &response, &load->err);
	if (r < 0) {
		load->job = (struct job){ .work = undo_work, .done = undo_done };
		jobs_submit(request->core->jobs, &TAKE_PTR(load)->job);
		return;
	}
	if (held != NULL)
		held_take(TAKE_PTR(held), load->apply, request->session, load->lease_ends_at_ns);
	if (selects(load->apply))
		select_reply(request, &response->base, load->apply->id);
	else
		request_reply(request, &response->base);
}

/* The bundle is verified: whatever the manifest decides is decided now, before anything is
 * recorded. */
static int begin(struct load *load, struct error *err)
{
	const Bpfleet__V1__LoadRequest *message = message_of(load);
	struct request *request = load->request;
	int r;

	r = rules_check_bundle(request, load->bundle, err);
	if (r >= 0)
		r = make_apply(load, err);
	if (r < 0)
		return r;
	if (load->apply->lease) {
		randombytes_buf(load->token, sizeof(load->token));
		if (message->lease_ttl_ns > 0)
			load->lease_ends_at_ns = clock_realtime_ns() + message->lease_ttl_ns;
	}
	(void)snprintf(request->detail, sizeof(request->detail), "instances/%s", load->apply->id);
	if (!message->validate_only)
		r = record_intent(load, err);
	core_step("load.intent");
	if (r < 0)
		return r;
	load->job = (struct job){ .work = apply_work, .done = apply_done };
	jobs_submit(request->core->jobs, &load->job);
	return 0;
}

static void verified(void *user, struct trusted_bundle *bundle, const struct error *err)
{
	_cleanup_(load_freep) struct load *load = user;
	int r = -1;

	load->err = *err;
	if (bundle != NULL) {
		load->bundle = trusted_bundle_ref(bundle);
		r = begin(load, &load->err);
	}
	if (r < 0)
		load_failed(load);
	else
		(void)TAKE_PTR(load);
}

int serve_load(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__LoadRequest *message = (const void *)request->message;
	struct core *core = request->core;
	_cleanup_(load_freep) struct load *load = calloc(1, sizeof(*load));
	_cleanup_free_ struct store_bundle *row = NULL;
	int r;

	(void)ret_response;
	if (load == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "load a bundle");
	load->request = request;
	load->request_core = core;
	r = check_message(message, err);
	if (r >= 0)
		r = rules_find_bundle(request, message->bundle, POLICY_VERB_LOAD, &row, err);
	if (r >= 0 && message->attach_defaults)
		r = request_authorize(request, POLICY_VERB_ATTACH, row->name,
				      session_identity(request->session), NULL, err);
	if (r >= 0)
		r = check_host(core, request, message->label, err);
	if (r < 0)
		return r;
	core->n_loading++;
	load->counted = true;
	r = bundle_verify(core, &request->digest, VERIFY_BYTES_MAX, verified, load, err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(load);
	return REQUEST_PENDING;
}
