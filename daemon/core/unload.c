#include "daemon/core/unload.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/journal.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "daemon/core/session.h"
#include "daemon/core/step.h"
#include "store/audit.h"

#define LINKS_MAX 65536

int removal_init(struct core *core, const char *instance, struct removal *ret, struct error *err)
{
	_cleanup_free_ struct store_link *rows = NULL;
	struct store_link_filter filter = { .instance = instance };
	size_t n = 0;
	int r = store_link_list(core->store, &filter, NULL, LINKS_MAX, &rows, &n, err);

	*ret = (struct removal){ .pins = core->pins };
	(void)snprintf(ret->instance, sizeof(ret->instance), "%s", instance);
	if (r < 0)
		return r;
	ret->links = calloc(n + 1, sizeof(*ret->links));
	if (ret->links == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "remove an instance");
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = link_removal_init(core, &rows[i], &ret->links[ret->n_links++], err);
	return r;
}

void removal_done(struct removal *removal)
{
	for (size_t i = 0; i < removal->n_links; i++)
		link_removal_done(&removal->links[i]);
	free(removal->links);
	*removal = (struct removal){ 0 };
}

int removal_run(struct removal *removal, struct error *err)
{
	struct error first = { 0 };
	int result = 0;

	for (size_t i = 0; i < removal->n_links; i++) {
		struct error cause = { 0 };
		int r = link_removal_run(removal->pins, removal->instance, &removal->links[i],
					 &cause);

		if (r < 0 && result >= 0) {
			first = cause;
			result = r;
		}
	}
	core_step("unload.links_detached");
	if (result >= 0 && !removal->keep_parts)
		result = kernel_pins_remove_instance(removal->pins, removal->instance, &first);
	core_step("unload.unpinned");
	if (result < 0)
		*err = first;
	return result;
}

/* An Unload, or the end of a lease, on its way. */
struct unload {
	struct job job;
	struct core *core;
	struct request *request; /* NULL: a lease ended by itself */
	char why[64];
	char owner[SESSION_IDENTITY_MAX];
	struct removal removal;
	uint64_t op;
	int r;
	struct error err;
};

static void unload_free(struct unload *unload)
{
	if (unload == NULL)
		return;
	removal_done(&unload->removal);
	free(unload);
}
DEFINE_CLEANUP(struct unload, unload_free)

static void unload_work(struct job *job)
{
	struct unload *unload = (struct unload *)(void *)job;

	unload->r = removal_run(&unload->removal, &unload->err);
}

static int append_lease_end(struct unload *unload, struct store_tx *tx, struct error *err)
{
	char object[NAME_RESOURCE_MAX + 1];
	struct store_audit row = {
		.at_ns = clock_realtime_ns(),
		.identity = unload->owner,
		.verb = "lease_end",
		.object = object,
		.outcome = "ok",
		.detail = unload->why,
	};

	resource_format_instance(unload->removal.instance, object);
	return store_audit_append(tx, &row, NULL, err);
}

static int record_outcome(struct unload *unload, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(unload->core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_instance_delete(&tx, unload->removal.instance, err);
	if (r >= 0)
		r = store_op_end(&tx, unload->op, err);
	core_step("unload.commit");
	if (r >= 0 && unload->request != NULL) {
		r = request_commit(unload->request, &tx, NULL, err);
	} else if (r >= 0) {
		r = append_lease_end(unload, &tx, err);
		if (r >= 0)
			r = store_tx_commit(&tx, err);
	}
	core_step("unload.committed");
	return r;
}

/* What failed stays UNLOADING: the intent is in the journal, and the next start or call finishes
 * it. */
static void unload_done(struct job *job)
{
	_cleanup_(unload_freep) struct unload *unload = (struct unload *)(void *)job;
	struct core *core = unload->core;
	struct held_instance *held = held_find(core, unload->removal.instance);
	struct error journal_err = { 0 };
	int r = unload->r;

	if (held != NULL)
		held_remove(core, held);
	if (r >= 0)
		r = record_outcome(unload, &unload->err);
	else if (journal_end(core, unload->op, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed unload");
	busy_leave(core, unload->removal.instance);
	core_notice_ended_instance(core, unload->removal.instance);
	if (unload->request == NULL) {
		if (r < 0)
			log_error(LOG_LEVEL_ERROR, &unload->err, "end a lease");
		core_notice(core);
	} else if (r < 0) {
		request_fail(unload->request, &unload->err);
	} else {
		request_reply(unload->request, NULL);
	}
}

static int record_intent(struct unload *unload, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_op op = {
		.kind = "unload",
		.instance = unload->removal.instance,
		.step = "unload.intent",
		.started_at_ns = clock_realtime_ns(),
		.identity = unload->owner,
		.method = unload->request == NULL ? "" : unload->request->method->name,
		.request_id = unload->request == NULL ? "" : unload->request->request_id,
	};
	int r;

	if (unload->request != NULL)
		op.data = (struct store_bytes){ unload->request->body_hash, STORE_HASH_LEN };
	r = store_tx_begin(unload->core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_op_begin(&tx, &op, &unload->op, err);
	if (r >= 0)
		r = store_instance_set_state(&tx, unload->removal.instance, INSTANCE_UNLOADING,
					     NULL, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* The intent could not be begun: the instance is what its links say, as before. */
static void take_back(struct unload *unload)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct error err = { 0 };
	int r = store_tx_begin(unload->core->store, STORE_TX_RELEASE, &tx, &err);

	if (r >= 0)
		r = store_op_end(&tx, unload->op, &err);
	if (r >= 0)
		r = instance_follow_links(unload->core, &tx, unload->removal.instance, &err);
	if (r >= 0)
		r = store_tx_commit(&tx, &err);
	if (r < 0)
		log_error(LOG_LEVEL_ERROR, &err, "take back the unload of %s",
			  unload->removal.instance);
}

static int begin(struct core *core, struct request *request, const char *id, const char *owner,
		 const char *why, struct error *err)
{
	_cleanup_(unload_freep) struct unload *unload = calloc(1, sizeof(*unload));
	int r;

	if (unload == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "unload an instance");
	unload->core = core;
	unload->request = request;
	(void)snprintf(unload->why, sizeof(unload->why), "%s", why);
	(void)snprintf(unload->owner, sizeof(unload->owner), "%s", owner);
	r = busy_enter(core, id, true, err);
	if (r < 0)
		return r;
	(void)snprintf(unload->removal.instance, sizeof(unload->removal.instance), "%s", id);
	r = record_intent(unload, err);
	core_step("unload.intent");
	if (r >= 0) {
		r = removal_init(core, id, &unload->removal, err);
		if (r < 0)
			take_back(unload);
	}
	if (r < 0) {
		busy_leave(core, id);
		return r;
	}
	unload->job = (struct job){ .work = unload_work, .done = unload_done };
	jobs_submit_urgent(core->jobs, &TAKE_PTR(unload)->job);
	return 0;
}

int serve_unload(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__UnloadRequest *message = (const void *)request->message;
	_cleanup_free_ struct store_instance *instance = NULL;
	int r = request_find_named_instance(request, message->instance, POLICY_VERB_UNLOAD,
					    &instance, err);

	(void)ret_response;
	if (r >= 0)
		r = request_check_deadline(request, err);
	if (r >= 0)
		r = begin(request->core, request, instance->id, session_identity(request->session),
			  "", err);
	return r < 0 ? r : REQUEST_PENDING;
}

void unload_lease(struct core *core, const char *id, const char *why, struct loop_timer *again)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	struct error err = { 0 };
	int r = store_instance_get(core->store, id, &instance, &err);

	if (r >= 0)
		r = begin(core, NULL, id, instance->owner, why, &err);
	if (r >= 0)
		return;
	log_error(LOG_LEVEL_WARNING, &err, "end lease %s; trying again in a second", id);
	loop_set_timer(core->loop, again, clock_monotonic_ns() + NS_PER_SEC);
}
