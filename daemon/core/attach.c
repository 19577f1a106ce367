#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/apply.h"
#include "daemon/core/convert.h"
#include "daemon/core/journal.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/rules.h"
#include "daemon/core/select.h"
#include "daemon/core/session.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/step.h"
#include "proto/arena.h"

/* An Attach on its way. */
struct attach {
	struct job job;
	struct request *request;
	struct kernel_pins *pins;
	char instance[NAME_ID_LEN + 1];
	char program[NAME_SYMBOL_MAX + 1];
	bool lease;
	bool on_socket; /* of the caller's, which target_fd is, the request's; no link is recorded
			 */
	int program_fd;
	int target_fd;
	struct kernel_attach options;
	struct apply_link link;
	uint64_t op;
	int r;
	struct error err;
};

static void attach_free(struct attach *attach)
{
	if (attach == NULL)
		return;
	kernel_link_close(&attach->link.link);
	hook_free(attach->link.hook);
	if (attach->program_fd >= 0)
		(void)close(attach->program_fd);
	if (attach->target_fd >= 0 && !attach->on_socket)
		(void)close(attach->target_fd);
	free(attach);
}
DEFINE_CLEANUP(struct attach, attach_free)

static struct kernel_pin pin_of(const struct attach *attach)
{
	return (struct kernel_pin){ .instance = attach->instance,
				    .kind = KERNEL_PIN_LINK,
				    .link = attach->link.id };
}

static void undo(struct attach *attach)
{
	const struct kernel_pin pin = pin_of(attach);
	struct error ignored = { 0 };
	int r = 0;

	if (!attach->lease)
		r = kernel_unpin(attach->pins, &pin, &ignored);
	r = kernel_detach(&attach->options, &attach->link.link, &ignored);
	/* A pin that stays has no row: it is an orphan, and gc removes it. */
	(void)r;
}

static void attach_work(struct job *job)
{
	struct attach *attach = (struct attach *)(void *)job;
	const struct kernel_pin pin = pin_of(attach);

	attach->r = kernel_attach(&attach->options, &attach->link.link, &attach->err);
	if (attach->r < 0)
		return;
	core_step("attach.attached");
	if (!attach->lease && attach->link.link.form == KERNEL_LINK_FD)
		attach->r = kernel_pin(attach->pins, &pin, attach->link.link.fd, &attach->err);
	core_step("attach.pinned");
	if (attach->r < 0)
		undo(attach);
}

static void undo_work(struct job *job)
{
	undo((struct attach *)(void *)job);
}

static void attach_failed(struct attach *attach)
{
	struct core *core = attach->request->core;
	struct error journal_err = { 0 };

	if (attach->op != 0 && journal_end(core, attach->op, &journal_err) < 0)
		log_error(LOG_LEVEL_WARNING, &journal_err, "end the journal of a failed attach");
	busy_leave(core, attach->instance);
	request_fail(attach->request, &attach->err);
}

static void undo_done(struct job *job)
{
	_cleanup_(attach_freep) struct attach *attach = (struct attach *)(void *)job;

	attach_failed(attach);
}

static int record_link(const struct attach *attach, struct store_tx *tx,
		       const struct store_link *row, struct store_link **ret, struct error *err)
{
	struct core *core = attach->request->core;
	int r = store_link_insert(tx, row, err);

	if (r >= 0)
		r = instance_follow_links(core, tx, attach->instance, err);
	return r < 0 ? r : store_link_get(core->store, attach->link.id, ret, err);
}

static int record_outcome(struct attach *attach, Bpfleet__V1__AttachResponse **ret,
			  struct error *err)
{
	struct request *request = attach->request;
	Bpfleet__V1__AttachResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_link *stored = NULL;
	struct store_link row;
	int r;

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer an attach");
	bpfleet__v1__attach_response__init(response);
	r = apply_link_row(&attach->link, attach->instance, attach->program, request->arena, &row,
			   err);
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = store_op_end(&tx, attach->op, err);
	if (r >= 0 && !attach->on_socket)
		r = record_link(attach, &tx, &row, &stored, err);
	if (r >= 0)
		r = convert_link(request->arena, stored != NULL ? stored : &row, &response->link,
				 err);
	if (r >= 0 && attach->on_socket)
		response->link->name[0] = '\0';
	core_step("attach.commit");
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	core_step("attach.committed");
	*ret = response;
	return r;
}

static void attach_done(struct job *job)
{
	_cleanup_(attach_freep) struct attach *attach = (struct attach *)(void *)job;
	struct core *core = attach->request->core;
	struct held_instance *held = held_find(core, attach->instance);
	_cleanup_free_ struct held_link *entry = NULL;
	Bpfleet__V1__AttachResponse *response = NULL;
	int r = attach->r;

	if (r < 0) {
		attach_failed(attach);
		return;
	}
	if (attach->lease && !attach->on_socket) {
		entry = held_link_new(attach->link.id);
		if (held == NULL || entry == NULL)
			r = error_raise(&attach->err, ERROR_OUT_OF_MEMORY, "hold a link");
	}
	if (r >= 0)
		r = record_outcome(attach, &response, &attach->err);
	if (r < 0) {
		attach->job = (struct job){ .work = undo_work, .done = undo_done };
		jobs_submit(core->jobs, &TAKE_PTR(attach)->job);
		return;
	}
	if (entry != NULL && attach->link.link.form == KERNEL_LINK_FD)
		held_add_link(held, TAKE_PTR(entry), &attach->link.link);
	busy_leave(core, attach->instance);
	if (hook_selector(attach->link.hook) != NULL)
		select_reply(attach->request, &response->base, attach->instance);
	else
		request_reply(attach->request, &response->base);
}

/* ---- before the intent */

static int record_intent(struct attach *attach, struct error *err)
{
	struct request *request = attach->request;
	Bpfleet__State__Plan plan = BPFLEET__STATE__PLAN__INIT;
	Bpfleet__State__PlannedLink link = BPFLEET__STATE__PLANNED_LINK__INIT, *links = &link;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_op op = {
		.kind = attach->on_socket ? "attach_socket" : "attach",
		.instance = attach->instance,
		.link = attach->link.id,
		.step = "attach.intent",
		.started_at_ns = clock_realtime_ns(),
		.identity = session_identity(request->session),
		.method = request->method->name,
		.request_id = request->request_id,
	};
	uint8_t *bytes;
	size_t size;
	int r = request_check_deadline(request, err);

	link.id = attach->link.id;
	link.program = attach->program;
	plan.n_links = 1;
	plan.links = &links;
	if (r >= 0)
		r = hook_to_message(attach->link.hook, request->arena, &link.hook, err);
	if (r >= 0)
		r = arena_pack(request->arena, &plan.base, &bytes, &size, err);
	if (r >= 0) {
		/* Of what is on a socket nothing can be undone afterwards; it is told. */
		op.data = attach->on_socket
				  ? (struct store_bytes){ request->detail, strlen(request->detail) }
				  : (struct store_bytes){ bytes, size };
		r = store_tx_begin(request->core->store, STORE_TX_GROW_INTENT, &tx, err);
	}
	if (r >= 0)
		r = store_op_begin(&tx, &op, &attach->op, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

int links_check_program(const struct store_program *program, const struct hook *hook,
			struct arena *arena, struct error *err)
{
	ProtobufCMessage *spec;
	int r;

	if (program->kernel_id == 0)
		return error_raise(err, ERROR_INSTANCE_NOT_READY, "program '%s' is not loaded: %s",
				   program->name, program->skipped_reason);
	r = arena_unpack(arena, &bpfleet__v1__program_spec__descriptor, program->spec.data,
			 program->spec.size, &spec, err);
	if (r < 0)
		return r;
	return rules_check_hook((const Bpfleet__V1__ProgramSpec *)spec, hook, err);
}

static int prepare(struct attach *attach, const struct store_instance *instance,
		   const struct store_program *program,
		   const Bpfleet__Ipc__ResolvedTarget *resolved, struct error *err)
{
	struct core *core = attach->request->core;
	struct kernel_program_info info;
	int r = name_new_id(attach->link.id, err);

	if (r < 0)
		return r;
	if (instance->state == INSTANCE_REPLACING)
		return error_raise(err, ERROR_INSTANCE_BUSY, "%s is being replaced", instance->id);
	if (!instance_state_is_loaded(instance->state))
		return error_raise(err, ERROR_INSTANCE_NOT_READY, "instance %s is %s%s%.300s",
				   instance->id,
				   instance_state_name((enum instance_state)instance->state),
				   instance->reason[0] == '\0' ? "" : ": ", instance->reason);
	(void)snprintf(attach->instance, sizeof(attach->instance), "%s", instance->id);
	(void)snprintf(attach->program, sizeof(attach->program), "%s", program->name);
	attach->lease = held_find(core, instance->id) != NULL;
	if (hook_kind_info(hook_kind(attach->link.hook))->resolved) {
		if (resolved == NULL)
			return error_raise(err, ERROR_TARGET_UNRESOLVED, "%.300s",
					   hook_text(attach->link.hook));
		r = links_take_resolved(resolved, attach->request->arena, &attach->link.resolved,
					err);
		if (r < 0)
			return r;
		attach->link.has_resolved = true;
	}
	r = instance_program_fd(core, instance->id, program->ordinal, &attach->program_fd, err);
	if (r >= 0)
		r = kernel_program_info(attach->program_fd, &info, err);
	if (r >= 0)
		r = kernel_hook_check(attach->link.hook, info.type, err);
	if (r >= 0 && attach->on_socket)
		attach->target_fd = attach->request->frame.fd;
	else if (r >= 0)
		r = links_open_map(core, instance->id, attach->link.hook, &attach->target_fd, err);
	if (r < 0)
		return r;
	attach->options = (struct kernel_attach){
		.context = &core->kernel,
		.hook = attach->link.hook,
		.link = attach->link.id,
		.program_fd = attach->program_fd,
		.target_fd = attach->target_fd,
		.program_id = info.id,
		.resolved = attach->link.has_resolved ? &attach->link.resolved : NULL,
	};
	return 0;
}

int serve_attach(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__AttachRequest *message = (const void *)request->message;
	_cleanup_(attach_freep) struct attach *attach = calloc(1, sizeof(*attach));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *program = NULL;
	int r;

	(void)ret_response;
	if (attach == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "attach a program");
	attach->request = request;
	attach->pins = request->core->pins;
	attach->program_fd = -1;
	attach->target_fd = -1;
	attach->link.link = KERNEL_LINK_NONE;
	if (request->core->held_by_owner)
		return error_raise(err, ERROR_HOST_HELD, "nothing is attached on this host now");
	if (message->hook == NULL)
		return error_raise(err, ERROR_INVALID_HOOK, "no hook was given");
	r = hook_from_message(message->hook, &attach->link.hook, err);
	if (r < 0)
		return r;
	attach->on_socket = hook_kind_info(hook_kind(attach->link.hook))->socket;
	r = request_find_program(request, message->program,
				 attach->on_socket ? POLICY_VERB_SOCKET : POLICY_VERB_ATTACH,
				 &instance, &program, err);
	if (r >= 0 && attach->on_socket != (request->frame.fd >= 0))
		r = error_raise(err, ERROR_INVALID_ARGUMENT,
				attach->on_socket ? "a hook on a socket needs the socket: hand it "
						    "over at the fd socket, give its ticket"
						  : "only hooks on sockets take a socket");
	if (r >= 0) {
		(void)snprintf(request->detail, sizeof(request->detail), "%s",
			       hook_text(attach->link.hook));
		r = links_check_program(program, attach->link.hook, request->arena, err);
	}
	if (r >= 0 && hook_netns(attach->link.hook) != NULL)
		r = request_authorize(request, POLICY_VERB_NETNS, instance->bundle_name,
				      instance->owner, hook_netns(attach->link.hook), err);
	if (r >= 0)
		r = prepare(attach, instance, program, request->frame.frame->request->resolved,
			    err);
	if (r >= 0)
		r = busy_enter(request->core, attach->instance, false, err);
	if (r < 0)
		return r;
	r = record_intent(attach, err);
	core_step("attach.intent");
	if (r < 0) {
		busy_leave(request->core, attach->instance);
		return r;
	}
	attach->job = (struct job){ .work = attach_work, .done = attach_done };
	jobs_submit(request->core->jobs, &TAKE_PTR(attach)->job);
	return REQUEST_PENDING;
}
