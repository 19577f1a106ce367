#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/journal.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/select.h"
#include "daemon/core/session.h"
#include "daemon/core/step.h"

/* A Detach on its way. */
struct detach {
	struct job job;
	struct request *request;
	struct kernel_pins *pins;
	char instance[NAME_ID_LEN + 1];
	struct link_removal removal;
	uint64_t op;
	int r;
	struct error err;
};

static void detach_free(struct detach *detach)
{
	if (detach == NULL)
		return;
	link_removal_done(&detach->removal);
	free(detach);
}
DEFINE_CLEANUP(struct detach, detach_free)

static void detach_work(struct job *job)
{
	struct detach *detach = (struct detach *)(void *)job;

	detach->r =
		link_removal_run(detach->pins, detach->instance, &detach->removal, &detach->err);
	core_step("detach.detached");
}

static int record_outcome(struct detach *detach, struct error *err)
{
	struct request *request = detach->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(request->core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_link_delete(&tx, detach->removal.id, err);
	if (r >= 0)
		r = instance_follow_links(request->core, &tx, detach->instance, err);
	if (r >= 0)
		r = store_op_end(&tx, detach->op, err);
	core_step("detach.commit");
	if (r >= 0)
		r = request_commit(request, &tx, NULL, err);
	core_step("detach.committed");
	return r;
}

/*
 * When the outcome cannot be recorded the journal still holds the intent: the next start finishes
 * it. The kernel no longer has the link, so the caller is told the truth by an error that says so.
 */
static void detach_done(struct job *job)
{
	_cleanup_(detach_freep) struct detach *detach = (struct detach *)(void *)job;
	struct request *request = detach->request;
	struct core *core = request->core;
	struct error journal_err = { 0 };
	int r = detach->r;

	if (r < 0 && journal_end(core, detach->op, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed detach");
	if (r >= 0) {
		r = record_outcome(detach, &detach->err);
		if (r < 0)
			(void)error_context(&detach->err, r,
					    "detached, but that could not be recorded");
	}
	busy_leave(core, detach->removal.id);
	busy_leave(core, detach->instance);
	if (r < 0)
		request_fail(request, &detach->err);
	else if (hook_selector(detach->removal.hook) != NULL)
		select_reply(request, NULL, detach->instance);
	else
		request_reply(request, NULL);
}

static int record_intent(struct detach *detach, struct error *err)
{
	struct request *request = detach->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_op op = {
		.kind = "detach",
		.instance = detach->instance,
		.link = detach->removal.id,
		.step = "detach.intent",
		.started_at_ns = clock_realtime_ns(),
		.identity = session_identity(request->session),
		.method = request->method->name,
		.request_id = request->request_id,
		.data = { request->body_hash, STORE_HASH_LEN },
	};
	int r = request_check_deadline(request, err);

	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_RELEASE_INTENT, &tx, err);
	if (r >= 0)
		r = store_op_begin(&tx, &op, &detach->op, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static int enter(struct core *core, const struct detach *detach, const char *link,
		 struct error *err)
{
	int r = busy_enter(core, detach->instance, false, err);

	if (r < 0)
		return r;
	r = busy_enter(core, link, true, err);
	if (r < 0)
		busy_leave(core, detach->instance);
	return r;
}

int serve_detach(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__DetachRequest *message = (const void *)request->message;
	_cleanup_(detach_freep) struct detach *detach = calloc(1, sizeof(*detach));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_link *row = NULL;
	struct core *core = request->core;
	int r;

	(void)ret_response;
	if (detach == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "detach a link");
	detach->removal.link = KERNEL_LINK_NONE;
	detach->request = request;
	detach->pins = core->pins;
	r = request_find_link(request, message->link, POLICY_VERB_DETACH, &instance, &row, err);
	if (r < 0)
		return r;
	if (row->selected_by[0] != '\0')
		return error_raise(err, ERROR_LINK_SELECTED,
				   "links/%s is there because links/%s selects %s: detach that one",
				   row->id, row->selected_by, row->hook);
	(void)snprintf(detach->instance, sizeof(detach->instance), "%s", instance->id);
	(void)snprintf(detach->removal.id, sizeof(detach->removal.id), "%s", row->id);
	(void)snprintf(request->detail, sizeof(request->detail), "%s", row->hook);
	r = enter(core, detach, row->id, err);
	if (r < 0)
		return r;
	r = record_intent(detach, err);
	core_step("detach.intent");
	if (r >= 0) {
		struct error journal_err = { 0 };

		r = link_removal_init(core, row, &detach->removal, err);
		if (r < 0 && journal_end(core, detach->op, &journal_err) < 0)
			log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a detach");
	}
	if (r < 0) {
		busy_leave(core, row->id);
		busy_leave(core, instance->id);
		return r;
	}
	detach->job = (struct job){ .work = detach_work, .done = detach_done };
	jobs_submit_urgent(core->jobs, &TAKE_PTR(detach)->job);
	return REQUEST_PENDING;
}
