#include "rpc/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>

#include "base/clock.h"
#include "base/error.h"
#include "rpc/client-internal.h"
#include "rpc/internal.h"

/*
 * One tag for each kind of operation; gRPC allows one of each to be
 * outstanding. A completion that nobody has plucked keeps its tag busy, hence
 * the flags.
 */
struct rpc_stream {
	struct rpc_channel *channel;
	const ProtobufCMethodDescriptor *descriptor;
	grpc_completion_queue *queue;
	grpc_call *call;
	grpc_metadata_array headers;
	char start_tag, headers_tag, status_tag, send_tag, receive_tag;
	unsigned int patience_ms; /* 0: endless */

	pthread_mutex_t send_lock;
	bool half_closed;

	pthread_mutex_t receive_lock; /* over the next block */
	grpc_byte_buffer *next;	      /* received while looking for the status */
	bool ended;		      /* the outcome is there */
	struct rpc_outcome outcome;
	/* Of rpc_stream_receive_bytes(), kept: messages of a stream are alike, and memory that is
	 * given back and taken again for each costs more than what is done with it. */
	uint8_t *bytes;
	size_t n_room;
};

static bool pluck(struct rpc_stream *stream, void *tag)
{
	const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
	const uint64_t limit = clock_monotonic_ns() + stream->patience_ms * NS_PER_MS;
	grpc_event event;
	char text[80];

	event = grpc_completion_queue_pluck(
		stream->queue, tag, stream->patience_ms == 0 ? never : rpc_time_from_ns(limit),
		NULL);
	if (event.type == GRPC_QUEUE_TIMEOUT) {
		(void)snprintf(text, sizeof(text), "the daemon made no progress for %u ms",
			       stream->patience_ms);
		(void)grpc_call_cancel_with_status(stream->call, GRPC_STATUS_DEADLINE_EXCEEDED,
						   text, NULL);
		event = grpc_completion_queue_pluck(stream->queue, tag, never, NULL);
	}
	return event.success != 0;
}

static bool start(struct rpc_stream *stream, const grpc_op *ops, size_t n, void *tag)
{
	return grpc_call_start_batch(stream->call, ops, n, tag, NULL) == GRPC_CALL_OK;
}

static bool run(struct rpc_stream *stream, const grpc_op *op, void *tag)
{
	return start(stream, op, 1, tag) && pluck(stream, tag);
}

int rpc_stream_open(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
		    const char *method, uint64_t deadline, struct rpc_stream **ret,
		    struct error *err)
{
	_cleanup_free_ struct rpc_stream *stream = calloc(1, sizeof(*stream));
	grpc_op metadata = rpc_channel_metadata_op(channel);
	grpc_op headers = { .op = GRPC_OP_RECV_INITIAL_METADATA };
	grpc_op status;
	int r;

	if (stream == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot open a stream");
	stream->channel = channel;
	r = rpc_channel_call(channel, service, method, deadline, &stream->descriptor,
			     &stream->queue, &stream->call, err);
	if (r < 0)
		return r;
	rpc_outcome_init(&stream->outcome);
	grpc_metadata_array_init(&stream->headers);
	pthread_mutex_init(&stream->send_lock, NULL);
	pthread_mutex_init(&stream->receive_lock, NULL);
	headers.data.recv_initial_metadata.recv_initial_metadata = &stream->headers;
	status = rpc_outcome_op(&stream->outcome);
	/* On a fresh call these cannot be refused; they end with the call, and are
	 * plucked then. */
	(void)start(stream, &metadata, 1, &stream->start_tag);
	(void)start(stream, &headers, 1, &stream->headers_tag);
	(void)start(stream, &status, 1, &stream->status_tag);
	*ret = TAKE_PTR(stream);
	return 0;
}

/* Under receive_lock: the next message, or NULL when the call has ended and its
 * outcome is there.
 */
static grpc_byte_buffer *receive_next(struct rpc_stream *stream)
{
	grpc_byte_buffer *buffer = NULL;
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &buffer };

	if (stream->next != NULL)
		return TAKE_PTR(stream->next);
	if (stream->ended)
		return NULL;
	if (run(stream, &op, &stream->receive_tag) && buffer != NULL)
		return buffer;
	(void)pluck(stream, &stream->status_tag);
	stream->ended = true;
	return NULL;
}

/* The server takes no more: the call's error, or 0 while it still has something
 * to say. */
static int send_failed(struct rpc_stream *stream, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&stream->receive_lock);
	stream->next = receive_next(stream);
	if (stream->ended && stream->next == NULL)
		r = rpc_outcome_error(stream->channel, &stream->outcome, err);
	pthread_mutex_unlock(&stream->receive_lock);
	return r;
}

int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message, struct error *err)
{
	grpc_byte_buffer *buffer = rpc_buffer_pack(message);
	grpc_op op = { .op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer };
	bool usable, ok;

	pthread_mutex_lock(&stream->send_lock);
	usable = !stream->half_closed;
	ok = usable && run(stream, &op, &stream->send_tag);
	pthread_mutex_unlock(&stream->send_lock);
	grpc_byte_buffer_destroy(buffer);
	if (!usable)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "the stream is closed for sending");
	return ok ? 0 : send_failed(stream, err);
}

int rpc_stream_half_close(struct rpc_stream *stream, struct error *err)
{
	grpc_op op = { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };
	bool ok;

	pthread_mutex_lock(&stream->send_lock);
	ok = stream->half_closed || run(stream, &op, &stream->send_tag);
	stream->half_closed = true;
	pthread_mutex_unlock(&stream->send_lock);
	return ok ? 0 : send_failed(stream, err);
}

int rpc_stream_receive(struct rpc_stream *stream, struct arena *arena, ProtobufCMessage **ret,
		       struct error *err)
{
	grpc_byte_buffer *buffer;
	int r;

	pthread_mutex_lock(&stream->receive_lock);
	buffer = receive_next(stream);
	r = buffer != NULL ? 1 : rpc_outcome_error(stream->channel, &stream->outcome, err);
	pthread_mutex_unlock(&stream->receive_lock);
	if (buffer == NULL)
		return r;
	r = rpc_buffer_unpack(buffer, stream->descriptor->output, arena, ret, err);
	return r < 0 ? r : 1;
}

static int bytes_keep(struct rpc_stream *stream, grpc_byte_buffer *buffer, size_t *ret_n,
		      struct error *err)
{
	const size_t n = grpc_byte_buffer_length(buffer);
	grpc_byte_buffer_reader reader;
	grpc_slice *slice;
	size_t at = 0;

	if (n > stream->n_room) {
		free(stream->bytes);
		stream->n_room = 0;
		stream->bytes = malloc(n);
		if (stream->bytes == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a message");
		stream->n_room = n;
	}
	if (grpc_byte_buffer_reader_init(&reader, buffer) == 0)
		return error_raise(err, ERROR_PROTOCOL, "the daemon's answer cannot be read");
	while (grpc_byte_buffer_reader_peek(&reader, &slice) != 0) {
		memcpy(stream->bytes + at, GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
		at += GRPC_SLICE_LENGTH(*slice);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	*ret_n = n;
	return 0;
}

int rpc_stream_receive_bytes(struct rpc_stream *stream, const uint8_t **ret, size_t *ret_n,
			     struct error *err)
{
	grpc_byte_buffer *buffer;
	int r;

	pthread_mutex_lock(&stream->receive_lock);
	buffer = receive_next(stream);
	if (buffer == NULL) {
		r = rpc_outcome_error(stream->channel, &stream->outcome, err);
	} else {
		r = bytes_keep(stream, buffer, ret_n, err);
		grpc_byte_buffer_destroy(buffer);
	}
	pthread_mutex_unlock(&stream->receive_lock);
	if (buffer == NULL || r < 0)
		return r;
	*ret = stream->bytes;
	return 1;
}

void rpc_stream_set_patience(struct rpc_stream *stream, unsigned int ms)
{
	stream->patience_ms = ms;
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
	(void)grpc_call_cancel(stream->call, NULL);
}

static void receive_rest(struct rpc_stream *stream)
{
	grpc_byte_buffer *buffer;

	while ((buffer = receive_next(stream)) != NULL)
		grpc_byte_buffer_destroy(buffer);
}

int rpc_stream_finish(struct rpc_stream *stream, struct error *err)
{
	int r;

	pthread_mutex_lock(&stream->receive_lock);
	receive_rest(stream);
	r = rpc_outcome_error(stream->channel, &stream->outcome, err);
	pthread_mutex_unlock(&stream->receive_lock);
	return r;
}

void rpc_stream_free(struct rpc_stream *stream)
{
	if (stream == NULL)
		return;
	rpc_stream_cancel(stream);
	receive_rest(stream);
	(void)pluck(stream, &stream->start_tag);
	(void)pluck(stream, &stream->headers_tag);
	grpc_call_unref(stream->call);
	grpc_completion_queue_destroy(stream->queue);
	rpc_outcome_done(&stream->outcome);
	grpc_metadata_array_destroy(&stream->headers);
	pthread_mutex_destroy(&stream->send_lock);
	pthread_mutex_destroy(&stream->receive_lock);
	free(stream->bytes);
	free(stream);
}
