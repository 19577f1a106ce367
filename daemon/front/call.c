#include "daemon/front/call.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/closer.h"
#include "daemon/front/fdservice.h"
#include "proto/arena.h"

void *job_new(struct rpc_call *call, size_t size)
{
	struct session *session = rpc_connection_user(rpc_call_connection(call));
	struct error err = { 0 };
	struct job *job = NULL;

	if (!bucket_has(&session->peer->refusals, clock_monotonic_ns()))
		(void)error_raise(&err, ERROR_RATE_LIMITED,
				  "too many calls of uid %u were refused; wait and retry",
				  session->peer->uid);
	else if (session->front->stopping)
		(void)error_raise(&err, ERROR_UNAVAILABLE, "the daemon is stopping");
	else
		job = calloc(1, size);
	if (job == NULL) {
		if (err.code == ERROR_NONE)
			(void)error_raise(&err, ERROR_OUT_OF_MEMORY, "no memory for a call");
		rpc_call_fail(call, &err);
		return NULL;
	}
	job->front = session->front;
	job->session = session;
	job->call = call;
	rpc_call_set_state(call, job);
	return job;
}

void job_free(struct job *job)
{
	if (job == NULL)
		return;
	job_cancel(job);
	free(job);
}

int job_ask_with(struct job *job, struct core_request *request, core_reply_fn fn, struct error *err)
{
	if (job->front->core == NULL)
		return error_raise(err, ERROR_UNAVAILABLE, "the daemon is stopping");
	request->session = job->session->id;
	request->lane = &job->session->lane;
	request->deadline = rpc_call_deadline(job->call);
	return core_call(job->front->core, request, fn, job, &job->asked, err);
}

int job_ask(struct job *job, const char *method, const uint8_t *body, size_t n, core_reply_fn fn,
	    struct error *err)
{
	struct core_request request = { .method = method, .body = body, .body_size = n, .fd = -1 };

	return job_ask_with(job, &request, fn, err);
}

int job_ask_message(struct job *job, const char *method, const ProtobufCMessage *message,
		    core_reply_fn fn, struct error *err)
{
	return job_ask_message_with(job, method, message, NULL, fn, err);
}

int job_ask_message_with(struct job *job, const char *method, const ProtobufCMessage *message,
			 struct parcel *parcel, core_reply_fn fn, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(CHANNEL_ARENA_BYTES);
	struct core_request request = { .method = method,
					.fd = parcel == NULL ? -1 : parcel->kept,
					.parcel = parcel };
	uint8_t *bytes = NULL;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a request");
	r = arena_pack(arena, message, &bytes, &request.body_size, err);
	request.body = bytes;
	return r < 0 ? r : job_ask_with(job, &request, fn, err);
}

int job_take_socket(struct job *job, const ProtobufCBinaryData *ticket, struct parcel **ret,
		    struct error *err)
{
	*ret = NULL;
	if (ticket->len == 0)
		return 0;
	return fdservice_take(job->front->fdservice, ticket->data, ticket->len,
			      job->session->peer->uid, ret, err);
}

static bool is_refusal(enum error_code code)
{
	enum error_status status = error_info(code)->status;

	return code != ERROR_KEY_NOT_IN_MAP &&
	       (status == ERROR_STATUS_INVALID_ARGUMENT || status == ERROR_STATUS_NOT_FOUND ||
		status == ERROR_STATUS_PERMISSION_DENIED || status == ERROR_STATUS_UNAUTHENTICATED);
}

void job_fail(struct job *job, const struct error *error)
{
	if (is_refusal(error->code))
		(void)bucket_take(&job->session->peer->refusals, clock_monotonic_ns());
	rpc_call_fail(job->call, error);
}

void job_cancel(struct job *job)
{
	if (job->front->core != NULL)
		core_cancel(job->front->core, job->asked);
	job->asked = 0;
}
