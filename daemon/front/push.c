#include "daemon/front/push.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "daemon/front/upload.h"
#include "proto/arena.h"

#define N_SIGNATURES_MAX 16
#define SIGNATURE_SIZE_MAX 9000
/* Signatures travel beside the memfd of the file, so they have to fit into one frame with room for
 * the rest (daemon/ipc/FORMAT.md). */
#define SIGNATURES_SIZE_MAX 60000
#define REQUEST_ID_MAX 64

struct push {
	struct job job;
	struct arena *arena; /* holds store, since the call's arena is emptied for each chunk */
	Bpfleet__Ipc__StoreBundleRequest *store;
	struct upload_writer *writer;
};

static int check_header(const Bpfleet__V1__PushBundleHeader *header, struct error *err)
{
	size_t total = 0;

	if (header->digest.len != UPLOAD_DIGEST_LEN)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "a digest has %d bytes, this one has %zu", UPLOAD_DIGEST_LEN,
				   header->digest.len);
	if (header->n_signatures > N_SIGNATURES_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE, "%zu signatures; at most %d",
				   header->n_signatures, N_SIGNATURES_MAX);
	for (size_t i = 0; i < header->n_signatures; i++) {
		if (header->signatures[i]->minisig.len > SIGNATURE_SIZE_MAX)
			return error_raise(err, ERROR_REQUEST_TOO_LARGE,
					   "a signature of %zu bytes; at most %d",
					   header->signatures[i]->minisig.len, SIGNATURE_SIZE_MAX);
		total += header->signatures[i]->minisig.len;
	}
	if (total > SIGNATURES_SIZE_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "signatures of %zu bytes together; at most %d", total,
				   SIGNATURES_SIZE_MAX);
	if (strlen(header->request_id) > REQUEST_ID_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "request_id is not a UUID");
	return 0;
}

/* Keeps what StoreBundle will say: a copy, through the wire format. */
static int keep_header(struct push *push, const Bpfleet__V1__PushBundleHeader *header,
		       struct error *err)
{
	Bpfleet__Ipc__StoreBundleRequest store = BPFLEET__IPC__STORE_BUNDLE_REQUEST__INIT;
	ProtobufCMessage *copy = NULL;
	uint8_t *bytes = NULL;
	size_t n = 0;
	int r;

	push->arena = arena_new(4 * CHANNEL_FRAME_MAX);
	if (push->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a push");
	store.digest = header->digest;
	store.n_signatures = header->n_signatures;
	store.signatures = header->signatures;
	store.request_id = header->request_id;
	store.size_bytes = header->size_bytes;
	r = arena_pack(push->arena, &store.base, &bytes, &n, err);
	if (r == 0)
		r = arena_unpack(push->arena, store.base.descriptor, bytes, n, &copy, err);
	if (r == 0)
		push->store = (Bpfleet__Ipc__StoreBundleRequest *)copy;
	return r;
}

static int push_begin(struct push *push, const Bpfleet__V1__PushBundleRequest *request,
		      struct error *err)
{
	const Bpfleet__V1__PushBundleHeader *header = request->header;
	int r;

	if (request->part_case != BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_HEADER)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the first message of a push is its header");
	r = check_header(header, err);
	if (r == 0)
		r = keep_header(push, header, err);
	if (r == 0)
		r = upload_begin(push->job.front->uploads, push->job.session->identity,
				 header->digest.data, header->size_bytes, header->offset_bytes,
				 clock_monotonic_ns(), &push->writer, err);
	return r;
}

static int push_chunk(struct push *push, const Bpfleet__V1__PushBundleRequest *request,
		      struct error *err)
{
	if (request->part_case != BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_CHUNK)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "after the header of a push come chunks");
	return upload_write(push->writer, request->chunk.data, request->chunk.len,
			    clock_monotonic_ns(), err);
}

void push_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	(void)request;
	(void)user;
	if (job_new(call, sizeof(struct push)) != NULL)
		(void)rpc_call_receive(call);
}

void push_on_message(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__PushBundleRequest *request =
		(const Bpfleet__V1__PushBundleRequest *)message;
	struct push *push = rpc_call_state(call);
	struct error err = { 0 };
	int r;

	(void)user;
	if (push == NULL)
		return;
	r = push->writer == NULL ? push_begin(push, request, &err)
				 : push_chunk(push, request, &err);
	if (r < 0)
		job_fail(&push->job, &err);
	else
		(void)rpc_call_receive(call);
}

static void push_end(struct push *push, enum upload_outcome outcome)
{
	upload_end(TAKE_PTR(push->writer), outcome, clock_monotonic_ns());
}

static void on_stored(void *arg, const struct core_reply *reply)
{
	struct push *push = arg;

	push->job.asked = 0;
	if (reply->error == NULL) {
		push_end(push, UPLOAD_DROP);
		(void)rpc_call_reply_bytes(push->job.call, reply->body, reply->body_size);
		return;
	}
	/* Bytes that could be good the next time are kept; others never will be. */
	push_end(push, error_info(reply->error->code)->retryable &&
				       reply->error->code != ERROR_BUNDLE_DIGEST_MISMATCH
			       ? UPLOAD_KEEP
			       : UPLOAD_DROP);
	job_fail(&push->job, reply->error);
}

static int push_store(struct push *push, struct error *err)
{
	struct core_request request = { .method = "StoreBundle" };
	_cleanup_close_ int fd = -1;
	uint8_t *bytes = NULL;
	int r;

	if (push->writer == NULL)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "the push has no header");
	r = upload_seal(push->writer, &fd, err);
	if (r == 0)
		r = arena_pack(push->arena, &push->store->base, &bytes, &request.body_size, err);
	if (r < 0)
		return r;
	request.body = bytes;
	request.fd = fd;
	return job_ask_with(&push->job, &request, on_stored, err);
}

void push_on_half_close(struct rpc_call *call, void *user)
{
	struct push *push = rpc_call_state(call);
	struct error err = { 0 };

	(void)user;
	if (push != NULL && push_store(push, &err) < 0)
		job_fail(&push->job, &err);
}

void push_on_cancelled(struct rpc_call *call, void *user)
{
	struct push *push = rpc_call_state(call);

	(void)user;
	if (push == NULL)
		return;
	job_cancel(&push->job);
	push_end(push, UPLOAD_KEEP);
}

void push_on_done(struct rpc_call *call, void *user)
{
	struct push *push = rpc_call_state(call);

	(void)user;
	if (push == NULL)
		return;
	push_end(push, UPLOAD_KEEP);
	arena_free(push->arena);
	job_free(&push->job);
}

void get_upload_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__GetUploadRequest *get = (const Bpfleet__V1__GetUploadRequest *)request;
	Bpfleet__V1__GetUploadResponse response = BPFLEET__V1__GET_UPLOAD_RESPONSE__INIT;
	struct job *job = job_new(call, sizeof(*job));
	struct error err = { 0 };

	(void)user;
	if (job == NULL)
		return;
	if (get->digest.len != UPLOAD_DIGEST_LEN) {
		(void)error_raise(&err, ERROR_INVALID_ARGUMENT, "a digest has %d bytes",
				  UPLOAD_DIGEST_LEN);
		job_fail(job, &err);
		return;
	}
	response.received_bytes =
		uploads_received(job->front->uploads, job->session->identity, get->digest.data);
	(void)rpc_call_reply(call, &response.base);
}
