#include "daemon/front/forward.h"

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "daemon/front/upload.h"
#include "proto/arena.h"

static void on_reply(void *arg, const struct core_reply *reply)
{
	struct job *job = arg;

	job->asked = 0;
	if (reply->error != NULL)
		job_fail(job, reply->error);
	else
		(void)rpc_call_reply_bytes(job->call, reply->body, reply->body_size);
}

static void forward(struct job *job, core_reply_fn fn)
{
	const uint8_t *bytes = NULL;
	struct error err = { 0 };
	size_t n = 0;

	rpc_call_request_bytes(job->call, &bytes, &n);
	if (job_ask(job, rpc_call_method(job->call)->name, bytes, n, fn, &err) < 0)
		job_fail(job, &err);
}

void forward_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct job *job = job_new(call, sizeof(*job));

	(void)request;
	(void)user;
	if (job != NULL)
		forward(job, on_reply);
}

void forward_on_cancelled(struct rpc_call *call, void *user)
{
	struct job *job = rpc_call_state(call);

	(void)user;
	if (job != NULL)
		job_cancel(job);
}

void forward_on_done(struct rpc_call *call, void *user)
{
	(void)user;
	job_free(rpc_call_state(call));
}

static int tell_calls(struct job *job, const struct core_reply *reply, struct error *err)
{
	Bpfleet__V1__GetStatusResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__get_status_response__descriptor, &message,
				  err);

	if (r < 0)
		return r;
	response = (Bpfleet__V1__GetStatusResponse *)message;
	if (response->may_view)
		r = counts_tell(&job->front->counts, response, reply->arena, err);
	if (r < 0)
		return r;
	(void)rpc_call_reply(job->call, message);
	return 0;
}

static int drop_broken_pushes(struct job *job, const struct core_reply *reply, struct error *err)
{
	Bpfleet__V1__CollectGarbageResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__collect_garbage_response__descriptor,
				  &message, err);

	if (r < 0)
		return r;
	response = (Bpfleet__V1__CollectGarbageResponse *)message;
	response->freed_bytes += uploads_drop_idle(job->front->uploads);
	(void)rpc_call_reply(job->call, message);
	return 0;
}

/* An answer of core to which front adds something of its own. */
static void complete(struct job *job, const struct core_reply *reply,
		     int (*add)(struct job *job, const struct core_reply *reply, struct error *err))
{
	struct error err = { 0 };

	job->asked = 0;
	if (reply->error != NULL)
		job_fail(job, reply->error);
	else if (add(job, reply, &err) < 0)
		job_fail(job, &err);
}

static void on_collected(void *arg, const struct core_reply *reply)
{
	complete(arg, reply, drop_broken_pushes);
}

static void on_status(void *arg, const struct core_reply *reply)
{
	complete(arg, reply, tell_calls);
}

void status_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct job *job = job_new(call, sizeof(*job));

	(void)request;
	(void)user;
	if (job != NULL)
		forward(job, on_status);
}

void garbage_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__CollectGarbageRequest *collect =
		(const Bpfleet__V1__CollectGarbageRequest *)request;
	struct job *job = job_new(call, sizeof(*job));

	(void)user;
	if (job != NULL)
		forward(job, collect->dry_run ? on_reply : on_collected);
}
