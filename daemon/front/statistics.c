#include "daemon/front/statistics.h"

#include <errno.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "daemon/front/forward.h"
#include "daemon/front/tally.h"
#include "proto/arena.h"

/* ---- the last window */

static int reply_window(struct job *job, const struct core_reply *reply, struct error *err)
{
	Bpfleet__V1__GetStatisticsResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__get_statistics_response__descriptor,
				  &message, err);

	if (r < 0)
		return r;
	response = (Bpfleet__V1__GetStatisticsResponse *)message;
	if (response->statistics != NULL)
		r = tallies_tell(job->front->tallies, response->statistics, reply->arena, err);
	if (r < 0)
		return r;
	(void)rpc_call_reply(job->call, message);
	return 0;
}

static void on_last(void *arg, const struct core_reply *reply)
{
	struct job *job = arg;
	struct error err = { 0 };

	job->asked = 0;
	if (reply->error != NULL)
		job_fail(job, reply->error);
	else if (reply_window(job, reply, &err) < 0)
		job_fail(job, &err);
}

void get_statistics_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct job *job = job_new(call, sizeof(*job));
	struct error err = { 0 };

	(void)user;
	if (job != NULL && job_ask_message(job, "GetStatistics", request, on_last, &err) < 0)
		job_fail(job, &err);
}

/* ---- one window after the other */

static void on_window(void *arg, const struct core_reply *reply);

/* Asks for the next window, which core begins when the last one ended. */
static int ask(struct job *job, struct error *err)
{
	const uint8_t *bytes = NULL;
	size_t n = 0;

	if (job->asked != 0 || !rpc_call_alive(job->call))
		return 0;
	rpc_call_request_bytes(job->call, &bytes, &n);
	return job_ask(job, "StreamStatistics", bytes, n, on_window, err);
}

static int send_window(struct job *job, const struct core_reply *reply, struct error *err)
{
	Bpfleet__V1__StreamStatisticsResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__stream_statistics_response__descriptor,
				  &message, err);

	if (r < 0)
		return r;
	response = (Bpfleet__V1__StreamStatisticsResponse *)message;
	if (response->statistics != NULL)
		r = tallies_tell(job->front->tallies, response->statistics, reply->arena, err);
	if (r < 0)
		return r;
	r = rpc_call_send(job->call, message);
	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for statistics");
	/* A client that does not read is asked for nothing more until it does. */
	return r > 0 ? ask(job, err) : 0;
}

static void on_window(void *arg, const struct core_reply *reply)
{
	struct job *job = arg;
	struct error err = { 0 };

	job->asked = 0;
	if (reply->error != NULL)
		job_fail(job, reply->error);
	else if (send_window(job, reply, &err) < 0)
		job_fail(job, &err);
}

void statistics_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct job *job = job_new(call, sizeof(*job));

	(void)request;
	if (job != NULL)
		statistics_on_writable(call, user);
}

void statistics_on_writable(struct rpc_call *call, void *user)
{
	struct job *job = rpc_call_state(call);
	struct error err = { 0 };

	(void)user;
	if (job != NULL && ask(job, &err) < 0)
		job_fail(job, &err);
}

void statistics_on_cancelled(struct rpc_call *call, void *user)
{
	forward_on_cancelled(call, user);
}

void statistics_on_done(struct rpc_call *call, void *user)
{
	forward_on_done(call, user);
}
