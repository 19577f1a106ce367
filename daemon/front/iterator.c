#include "daemon/front/iterator.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"

#define CHUNK_SIZE 65536
/* The kernel pauses a run every million objects that print nothing; this many are let pass. */
#define N_PAUSES_MAX 4096

struct iterator {
	struct job job;
	int fd; /* -1: not granted yet */
	unsigned int n_pauses;
	bool ended;
	uint8_t chunk[CHUNK_SIZE];
};

/* One read. 1: there is room for another, 0: not now, or the end. */
static int iterator_step(struct iterator *iterator, struct error *err)
{
	Bpfleet__V1__ReadIteratorResponse response = BPFLEET__V1__READ_ITERATOR_RESPONSE__INIT;
	const ssize_t n = read(iterator->fd, iterator->chunk, sizeof(iterator->chunk));
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR) && iterator->n_pauses++ < N_PAUSES_MAX)
		return 1;
	if (n < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "the iterator broke off");
	if (n == 0) {
		iterator->ended = true;
		(void)rpc_call_finish(iterator->job.call);
		return 0;
	}
	response.data = (ProtobufCBinaryData){ (size_t)n, iterator->chunk };
	r = rpc_call_send(iterator->job.call, &response.base);
	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	return r < 0 ? 0 : r;
}

static void iterator_pump(struct iterator *iterator)
{
	struct error err = { 0 };
	int r = 1;

	while (r > 0 && !iterator->ended && rpc_call_alive(iterator->job.call))
		r = iterator_step(iterator, &err);
	if (r < 0)
		job_fail(&iterator->job, &err);
}

static void on_granted(void *arg, const struct core_reply *reply)
{
	struct iterator *iterator = arg;
	struct error err = { 0 };

	iterator->job.asked = 0;
	if (reply->error == NULL && *reply->fd >= 0) {
		iterator->fd = TAKE_FD(*reply->fd);
		iterator_pump(iterator);
		return;
	}
	if (reply->error == NULL)
		(void)error_raise(&err, ERROR_PROTOCOL, "an iterator was granted without its fd");
	job_fail(&iterator->job, reply->error != NULL ? reply->error : &err);
}

void iterator_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct iterator *iterator = job_new(call, sizeof(*iterator));
	struct error err = { 0 };

	(void)user;
	if (iterator == NULL)
		return;
	iterator->fd = -1;
	if (job_ask_message(&iterator->job, "GrantIterator", request, on_granted, &err) < 0)
		job_fail(&iterator->job, &err);
}

void iterator_on_writable(struct rpc_call *call, void *user)
{
	struct iterator *iterator = rpc_call_state(call);

	(void)user;
	if (iterator != NULL && iterator->fd >= 0)
		iterator_pump(iterator);
}

void iterator_on_cancelled(struct rpc_call *call, void *user)
{
	struct iterator *iterator = rpc_call_state(call);

	(void)user;
	if (iterator != NULL)
		job_cancel(&iterator->job);
}

void iterator_on_done(struct rpc_call *call, void *user)
{
	struct iterator *iterator = rpc_call_state(call);

	(void)user;
	if (iterator == NULL)
		return;
	if (iterator->fd >= 0)
		(void)close(iterator->fd);
	job_free(&iterator->job);
}
