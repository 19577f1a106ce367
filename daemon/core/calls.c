/* Programs that run because a client asks: syscall programs, and those of iterators. */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/convert.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"

/* A RunProgram on its way. */
struct call {
	struct job job;
	struct request *request;
	char instance[NAME_ID_LEN + 1]; /* busy: neither unloaded nor replaced meanwhile */
	int program_fd;
	uint8_t *context; /* in the request's arena; the program writes into it */
	size_t context_size;
	uint32_t return_value;
	uint64_t duration_ns;
	int r;
	struct error err;
};

static void call_free(struct call *call)
{
	if (call == NULL)
		return;
	if (call->program_fd >= 0)
		(void)close(call->program_fd);
	free(call);
}
DEFINE_CLEANUP(struct call, call_free)

static void call_work(struct job *job)
{
	struct call *call = (struct call *)(void *)job;
	const uint64_t started = clock_monotonic_ns();

	call->r = kernel_run_program(call->program_fd, call->context, call->context_size,
				     &call->return_value, &call->err);
	call->duration_ns = clock_monotonic_ns() - started;
}

static int record_outcome(struct call *call, Bpfleet__V1__RunProgramResponse **ret,
			  struct error *err)
{
	struct request *request = call->request;
	Bpfleet__V1__RunProgramResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r;

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a call");
	bpfleet__v1__run_program_response__init(response);
	response->return_value = call->return_value;
	response->duration_ns = call->duration_ns;
	response->context = (ProtobufCBinaryData){ call->context_size, call->context };
	r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	*ret = response;
	return r;
}

static void call_done(struct job *job)
{
	_cleanup_(call_freep) struct call *call = (struct call *)(void *)job;
	Bpfleet__V1__RunProgramResponse *response = NULL;
	int r = call->r;

	if (r >= 0) {
		r = record_outcome(call, &response, &call->err);
		if (r < 0)
			(void)error_context(&call->err, r,
					    "the program ran, but that could not be recorded");
	}
	busy_leave(call->request->core, call->instance);
	if (r < 0)
		request_fail(call->request, &call->err);
	else
		request_reply(call->request, &response->base);
}

static int prepare(struct call *call, const struct store_instance *instance,
		   const struct store_program *program, struct error *err)
{
	struct request *request = call->request;
	const Bpfleet__V1__RunProgramRequest *message = (const void *)request->message;

	if (strcmp(program->type, "syscall") != 0)
		return error_raise(err, ERROR_PROGRAM_NOT_CALLABLE,
				   "program '%s' is of type %s: attach it", program->name,
				   program->type);
	if (program->kernel_id == 0)
		return error_raise(err, ERROR_INSTANCE_NOT_READY, "program '%s' is not loaded: %s",
				   program->name, program->skipped_reason);
	if (message->context.len > UINT16_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "a context is at most %u bytes, not %zu", UINT16_MAX,
				   message->context.len);
	call->context_size = message->context.len;
	call->context = arena_alloc(request->arena, call->context_size + 1);
	if (call->context == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "call a program");
	if (call->context_size > 0)
		memcpy(call->context, message->context.data, call->context_size);
	(void)memcpy(call->instance, instance->id, sizeof(call->instance));
	return instance_program_fd(request->core, instance->id, program->ordinal, &call->program_fd,
				   err);
}

int serve_run_program(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__RunProgramRequest *message = (const void *)request->message;
	_cleanup_(call_freep) struct call *call = calloc(1, sizeof(*call));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *program = NULL;
	int r;

	(void)ret_response;
	if (call == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "call a program");
	call->program_fd = -1;
	call->request = request;
	r = request_find_program(request, message->program, POLICY_VERB_RUN, &instance, &program,
				 err);
	if (r >= 0)
		r = prepare(call, instance, program, err);
	if (r >= 0)
		r = request_check_deadline(request, err);
	if (r >= 0)
		r = busy_enter(request->core, call->instance, false, err);
	if (r < 0)
		return r;
	call->job = (struct job){ .work = call_work, .done = call_done };
	jobs_submit(request->core->jobs, &TAKE_PTR(call)->job);
	return REQUEST_PENDING;
}

int serve_grant_iterator(struct request *request, ProtobufCMessage **ret_response,
			 struct error *err)
{
	const Bpfleet__V1__ReadIteratorRequest *message = (const void *)request->message;
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_link *link = NULL;
	_cleanup_close_ int link_fd = -1;
	int r = request_find_link(request, message->link, POLICY_VERB_READ, &instance, &link, err);

	(void)ret_response;
	if (r < 0)
		return r;
	if (strcmp(link->hook_kind, "iter") != 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "link %s is on %.200s; only iterators are read", link->id,
				   link->hook);
	r = instance_link_fd(request->core, instance->id, link->id, &link_fd, err);
	return r < 0 ? r : kernel_open_iterator(link_fd, &request->reply_fd, err);
}
