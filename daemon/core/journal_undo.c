/* At the start: every change that the journal shows under way is finished or undone. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/links.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/replace.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/unload.h"
#include "proto/arena.h"
#include "store/audit.h"
#include "store/journal.h"

#define OPS_MAX 65536

int reconcile_audit(struct store_tx *tx, const char *identity, const char *verb, const char *object,
		    const char *detail, struct error *err)
{
	const struct store_audit row = {
		.at_ns = clock_realtime_ns(),
		.identity = identity,
		.verb = verb,
		.object = object,
		.outcome = "ok",
		.detail = detail,
	};

	return store_audit_append(tx, &row, NULL, err);
}

/* A link that the change had planned: there may be a pin, a filter, or nothing. */
static int undo_link(struct core *core, const char *instance,
		     const Bpfleet__State__PlannedLink *link, struct arena *arena,
		     struct error *err)
{
	struct link_removal removal;
	struct store_link row = { .id = link->id, .instance = instance };
	uint8_t *bytes;
	size_t n;
	int r = link->hook == NULL ? 0 : arena_pack(arena, &link->hook->base, &bytes, &n, err);

	if (r < 0 || link->hook == NULL)
		return r;
	row.spec = (struct store_bytes){ bytes, n };
	r = link_removal_init(core, &row, &removal, err);
	if (r >= 0)
		r = link_removal_run(core->pins, instance, &removal, err);
	link_removal_done(&removal);
	return r;
}

static int undo_links(struct core *core, const struct store_op *op, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)4 << 20);
	const Bpfleet__State__Plan *plan;
	ProtobufCMessage *message;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read the journal");
	r = arena_unpack(arena, &bpfleet__state__plan__descriptor, op->data.data, op->data.size,
			 &message, err);
	if (r < 0)
		return r;
	plan = (const Bpfleet__State__Plan *)message;
	for (size_t i = 0; r >= 0 && i < plan->n_links; i++)
		r = undo_link(core, op->instance, plan->links[i], arena, err);
	return r;
}

static int finish_detach(struct core *core, const struct store_op *op, struct store_tx *tx,
			 struct error *err)
{
	_cleanup_free_ struct store_link *row = NULL;
	struct link_removal removal;
	char object[64];
	int r = store_link_get(core->store, op->link, &row, err);

	if (r < 0)
		return err->code == ERROR_NOT_FOUND ? 0 : r;
	r = link_removal_init(core, row, &removal, err);
	if (r >= 0)
		r = link_removal_run(core->pins, op->instance, &removal, err);
	link_removal_done(&removal);
	if (r >= 0)
		r = store_link_delete(tx, op->link, err);
	if (r >= 0)
		r = instance_follow_links(core, tx, op->instance, err);
	(void)snprintf(object, sizeof(object), "links/%s", op->link);
	if (r >= 0)
		r = reconcile_audit(tx, op->identity, "detach", object, "finished after a restart",
				    err);
	return r;
}

int reconcile_remove_instance(struct core *core, const char *id, const char *identity,
			      const char *verb, const char *detail, struct store_tx *tx,
			      struct error *err)
{
	struct removal removal;
	char object[64];
	int r = removal_init(core, id, &removal, err);

	if (r >= 0)
		r = removal_run(&removal, err);
	removal_done(&removal);
	if (r >= 0)
		r = store_instance_delete(tx, id, err);
	(void)snprintf(object, sizeof(object), "instances/%s", id);
	if (r >= 0)
		r = reconcile_audit(tx, identity, verb, object, detail, err);
	return r;
}

/* Nobody knows any more whether the program is on the socket: its owner was not answered. */
static int tell_socket(const struct store_op *op, struct store_tx *tx, struct error *err)
{
	char object[64], detail[640];
	const struct store_audit row = {
		.at_ns = clock_realtime_ns(),
		.identity = op->identity,
		.verb = "attach",
		.object = object,
		.outcome = "unknown",
		.detail = detail,
	};

	(void)snprintf(object, sizeof(object), "instances/%s", op->instance);
	(void)snprintf(detail, sizeof(detail),
		       "%.*s: the daemon ended meanwhile; the program may be on the socket",
		       (int)op->data.size, (const char *)op->data.data);
	return store_audit_append(tx, &row, NULL, err);
}

/* What was finished here was not answered: whoever repeats the call reads that it is done. */
static int answer(const struct store_op *op, struct store_tx *tx, struct error *err)
{
	struct store_request row = {
		.identity = op->identity,
		.method = op->method,
		.request_id = op->request_id,
		.at_ns = clock_realtime_ns(),
		.reason = "",
		.message = "",
	};

	if (op->request_id[0] == '\0' || op->data.size != sizeof(row.body_hash))
		return 0;
	memcpy(row.body_hash, op->data.data, sizeof(row.body_hash));
	return store_request_insert(tx, &row, err);
}

static int settle(struct core *core, const struct store_op *op, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_instance *row = NULL;
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r < 0)
		return r;
	if (strcmp(op->kind, "load") == 0) {
		r = undo_links(core, op, err);
		if (r >= 0)
			r = kernel_pins_remove_instance(core->pins, op->instance, err);
	} else if (strcmp(op->kind, "attach") == 0) {
		r = undo_links(core, op, err);
	} else if (strcmp(op->kind, "attach_socket") == 0) {
		r = tell_socket(op, &tx, err);
	} else if (strcmp(op->kind, "detach") == 0) {
		r = finish_detach(core, op, &tx, err);
		if (r >= 0)
			r = answer(op, &tx, err);
	} else if (strcmp(op->kind, "replace") == 0 || strcmp(op->kind, "rollback") == 0 ||
		   strcmp(op->kind, "commit") == 0) {
		r = version_settle(core, op, &tx, err);
	} else if (strcmp(op->kind, "unload") == 0) {
		r = store_instance_get(core->store, op->instance, &row, err);
		if (r >= 0)
			r = reconcile_remove_instance(core, op->instance, op->identity, "unload",
						      "finished after a restart", &tx, err);
		else if (err->code == ERROR_NOT_FOUND)
			r = 0;
		if (r >= 0)
			r = answer(op, &tx, err);
	}
	if (r >= 0)
		r = store_op_end(&tx, op->id, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

int reconcile_journal(struct core *core, struct error *err)
{
	_cleanup_free_ struct store_op *ops = NULL;
	size_t n = 0;
	int r = store_op_list(core->store, 0, OPS_MAX, &ops, &n, err);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct error cause = { 0 };

		log_info("the last run ended during %s of %s (%s)", ops[i].kind, ops[i].instance,
			 ops[i].step);
		/* One that cannot be settled stays in the journal; the others do not wait for it.
		 */
		if (settle(core, &ops[i], &cause) < 0)
			log_error(LOG_LEVEL_ERROR, &cause, "settle %s of %s", ops[i].kind,
				  ops[i].instance);
	}
	return r;
}
