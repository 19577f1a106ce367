/* Attaching a recorded link again: its target was missing, or it is gone from the kernel. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/request.h"
#include "daemon/core/select.h"

struct reattach {
	struct job job;
	struct core *core;
	struct kernel_pins *pins;
	char instance[NAME_ID_LEN + 1];
	struct link_removal plan; /* hook and attach options; nothing is removed */
	int program_fd;
	int target_fd;
	struct kernel_link link;
	enum link_state waiting; /* the state while it is not attached */
	char reason[600];	 /* the recorded one */
	bool lease;		 /* nothing is pinned */
	struct error err;
	int r;
};

static void reattach_free(struct reattach *reattach)
{
	if (reattach == NULL)
		return;
	kernel_link_close(&reattach->link);
	link_removal_done(&reattach->plan);
	if (reattach->program_fd >= 0)
		(void)close(reattach->program_fd);
	if (reattach->target_fd >= 0)
		(void)close(reattach->target_fd);
	free(reattach);
}
DEFINE_CLEANUP(struct reattach, reattach_free)

static void attach_work(struct job *job)
{
	struct reattach *reattach = (struct reattach *)(void *)job;
	const struct kernel_pin pin = { .instance = reattach->instance,
					.kind = KERNEL_PIN_LINK,
					.link = reattach->plan.id };
	struct error ignored = { 0 };

	reattach->r = kernel_attach(&reattach->plan.attach, &reattach->link, &reattach->err);
	if (reattach->r < 0 || reattach->link.form != KERNEL_LINK_FD || reattach->lease)
		return;
	/* The pin of the link whose target is gone makes room; a link that still runs is never
	 * here. */
	reattach->r = kernel_unpin(reattach->pins, &pin, &reattach->err);
	if (reattach->r >= 0)
		reattach->r = kernel_pin(reattach->pins, &pin, reattach->link.fd, &reattach->err);
	if (reattach->r < 0 && kernel_detach(&reattach->plan.attach, &reattach->link, &ignored) < 0)
		return;
}

/* Whether core recorded that a link's file is another one, on which it asks front for the symbol.
 */
static bool is_of_changed_file(const char *reason)
{
	const char *name = error_info(ERROR_TARGET_CHANGED)->reason;
	const size_t n = strlen(name);

	return strncmp(reason, name, n) == 0 && reason[n] == ':';
}

static bool still_waits(const struct reattach *reattach, const char *reason)
{
	if (reattach->err.code == ERROR_TARGET_CHANGED)
		return is_of_changed_file(reattach->reason);
	return reattach->waiting == LINK_TARGET_GONE || strcmp(reason, reattach->reason) == 0;
}

static int record(struct reattach *reattach, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	const bool attached = reattach->r >= 0;
	char reason[600] = "";
	struct store_link row = {
		.id = reattach->plan.id,
		.state = attached ? LINK_ATTACHED : reattach->waiting,
		.reason = reason,
		.kernel_id = attached ? reattach->link.id : 0,
		.attached_at_ns = attached ? clock_realtime_ns() : 0,
		.places = { reattach->plan.resolved.places,
			    reattach->plan.resolved.n_places * sizeof(struct kernel_place) },
		.resolved_offset = reattach->plan.resolved.offset,
		.resolved_dev = reattach->plan.resolved.dev,
		.resolved_inode = reattach->plan.resolved.inode,
	};
	int r;

	if (!attached)
		(void)snprintf(reason, sizeof(reason), "%s: %.500s",
			       error_info(reattach->err.code)->reason, reattach->err.message);
	/* Still waiting for the same thing is no change. */
	if (!attached && still_waits(reattach, reason))
		return 0;
	r = store_tx_begin(reattach->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = store_link_update(&tx, &row, err);
	if (r >= 0)
		r = instance_follow_links(reattach->core, &tx, reattach->instance, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static void attach_done(struct job *job)
{
	_cleanup_(reattach_freep) struct reattach *reattach = (struct reattach *)(void *)job;
	struct core *core = reattach->core;
	struct held_instance *held = held_find(core, reattach->instance);
	_cleanup_free_ struct held_link *entry = NULL;
	struct error err = { 0 };

	if (reattach->lease && reattach->r >= 0) {
		entry = held_link_new(reattach->plan.id);
		if (held == NULL || entry == NULL)
			reattach->r =
				error_raise(&reattach->err, ERROR_OUT_OF_MEMORY, "hold a link");
		else
			held_add_link(held, TAKE_PTR(entry), &reattach->link);
	}
	if (record(reattach, &err) < 0)
		log_error(LOG_LEVEL_ERROR, &err, "record link %s", reattach->plan.id);
	else if (reattach->r >= 0)
		log_info("link %s of instance %s is attached again", reattach->plan.id,
			 reattach->instance);
	busy_leave(core, reattach->plan.id);
	busy_leave(core, reattach->instance);
	if (reattach->r < 0 && reattach->err.code == ERROR_TARGET_CHANGED)
		core_notice_unresolved(core, reattach->plan.id, reattach->plan.hook);
	core_notice(core);
	select_settled(core, reattach->instance);
}

static int prepare(struct reattach *reattach, const struct store_link *row, struct error *err)
{
	struct core *core = reattach->core;
	_cleanup_free_ struct store_program *program = NULL;
	int r = store_program_get(core->store, row->instance, row->program, &program, err);

	if (r >= 0)
		r = instance_program_fd(core, row->instance, program->ordinal,
					&reattach->program_fd, err);
	if (r >= 0)
		r = link_removal_init(core, row, &reattach->plan, err);
	if (r >= 0)
		r = links_open_map(core, row->instance, reattach->plan.hook, &reattach->target_fd,
				   err);
	if (r < 0)
		return r;
	reattach->waiting = row->state == LINK_TARGET_GONE ? LINK_TARGET_GONE : LINK_PENDING_TARGET;
	(void)snprintf(reattach->reason, sizeof(reattach->reason), "%s", row->reason);
	reattach->plan.attach.link = reattach->plan.id;
	reattach->plan.attach.program_fd = reattach->program_fd;
	reattach->plan.attach.target_fd = reattach->target_fd;
	reattach->plan.attach.program_id = program->kernel_id;
	reattach->plan.attach.resolved = &reattach->plan.resolved;
	return 0;
}

int reattach_begin(struct core *core, const struct store_link *row, struct error *err)
{
	_cleanup_(reattach_freep) struct reattach *reattach = calloc(1, sizeof(*reattach));
	int r;

	if (reattach == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "attach a link again");
	reattach->core = core;
	reattach->pins = core->pins;
	reattach->program_fd = -1;
	reattach->target_fd = -1;
	reattach->plan.link = KERNEL_LINK_NONE;
	reattach->link = KERNEL_LINK_NONE;
	(void)snprintf(reattach->instance, sizeof(reattach->instance), "%s", row->instance);
	reattach->lease = held_find(core, row->instance) != NULL;
	r = busy_enter(core, row->instance, false, err);
	if (r < 0)
		return r;
	r = busy_enter(core, row->id, true, err);
	if (r >= 0) {
		r = prepare(reattach, row, err);
		if (r < 0)
			busy_leave(core, row->id);
	}
	if (r < 0) {
		busy_leave(core, row->instance);
		return r;
	}
	reattach->job = (struct job){ .work = attach_work, .done = attach_done };
	jobs_submit(core->jobs, &TAKE_PTR(reattach)->job);
	return 0;
}

static bool awaits_symbol(const struct store_link *row)
{
	enum hook_kind kind;

	return (row->state == LINK_PENDING_TARGET || row->state == LINK_TARGET_GONE) &&
	       is_of_changed_file(row->reason) && hook_kind_from_name(row->hook_kind, &kind) &&
	       hook_kind_info(kind)->resolved;
}

int serve_resolve_link(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__ResolveLinkRequest *message = (const void *)request->message;
	const Bpfleet__Ipc__ResolvedTarget *target = request->frame.frame->request->resolved;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct kernel_resolved resolved = { 0 };
	_cleanup_free_ struct store_link *row = NULL;
	struct core *core = request->core;
	char reason[600];
	int r = store_link_get(core->store, message->link, &row, err);

	(void)ret_response;
	if (r >= 0 && (core->held_by_owner || core->stopping))
		r = error_raise(err, ERROR_UNAVAILABLE, "nothing is attached at the moment");
	if (r >= 0 && !awaits_symbol(row))
		r = error_raise(err, ERROR_PROTOCOL, "link %s awaits no symbol", row->id);
	if (r >= 0 && target != NULL)
		r = links_take_resolved(target, request->arena, &resolved, err);
	if (r < 0)
		return r;
	(void)snprintf(reason, sizeof(reason), "%s: the file was replaced: %.400s",
		       error_info(ERROR_TARGET_CHANGED)->reason, message->problem);
	if (target == NULL && strcmp(row->reason, reason) == 0)
		return REQUEST_DONE;
	r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0 && target == NULL) {
		r = store_link_set_state(&tx, row->id, LINK_PENDING_TARGET, reason, err);
	} else if (r >= 0) {
		row->places =
			(struct store_bytes){ resolved.places,
					      resolved.n_places * sizeof(struct kernel_place) };
		row->resolved_offset = resolved.offset;
		row->resolved_dev = resolved.dev;
		row->resolved_inode = resolved.inode;
		r = store_link_update(&tx, row, err);
	}
	if (r >= 0)
		r = store_tx_commit(&tx, err);
	return r < 0 || target == NULL ? r : reattach_begin(core, row, err);
}
