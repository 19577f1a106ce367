/*
 * Blocking gRPC calls for protobuf-c services. A channel may be shared by
 * threads; a stream may be sent to, received from and cancelled by three
 * different threads at once. Errors of the server come back as the struct error
 * that it raised; a daemon that cannot be reached is UNAVAILABLE with a text
 * that says why.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct arena;
struct error;
struct rpc_channel;
struct rpc_stream;

struct rpc_metadata {
	const char *key; /* lower case; with a "-bin" suffix the value may be any bytes */
	const char *value;
	size_t n;
};

struct rpc_channel_options {
	/* Sent with every call; copied. */
	const struct rpc_metadata *metadata;
	size_t n_metadata;
	/* Largest message that the server may send. 0: 16 MiB. */
	size_t max_message_bytes;
};

/*
 * A channel to "unix:/path". Connects at the first call, again after a loss.
 * Options may be NULL. Errors: INVALID_ARGUMENT (the target), OUT_OF_MEMORY.
 */
_must_check_ int rpc_channel_open(const char *target, const struct rpc_channel_options *options,
				  struct rpc_channel **ret, struct error *err);
/* All its streams must be freed before. NULL is fine. */
void rpc_channel_close(struct rpc_channel *channel);
DEFINE_CLEANUP(struct rpc_channel, rpc_channel_close)

/*
 * One call with one answer, which is unpacked into the arena and lives as long.
 * `method` is its name as in the .proto file; deadline is CLOCK_MONOTONIC
 * nanoseconds or UINT64_MAX. Any thread. Errors: those of the server;
 * UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED.
 */
_must_check_ int rpc_unary(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
			   const char *method, const ProtobufCMessage *request, uint64_t deadline,
			   struct arena *arena, ProtobufCMessage **ret_response, struct error *err);

/* Makes the unary calls that are under way end with CANCELLED; not streams. Any thread. */
void rpc_channel_cancel(struct rpc_channel *channel);

/* Opens a streaming call of any kind; free with rpc_stream_free(), which
 * cancels what still runs.
 */
_must_check_ int rpc_stream_open(struct rpc_channel *channel,
				 const ProtobufCServiceDescriptor *service, const char *method,
				 uint64_t deadline, struct rpc_stream **ret, struct error *err);

/*
 * Sends one message; waits while the server does not read. When the call has
 * ended with an error, fails with that; when the server has ended it with
 * success, or has an answer waiting, drops the message and returns 0:
 * rpc_stream_receive() tells.
 */
_must_check_ int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message,
				 struct error *err);

/* No more messages from this side. */
_must_check_ int rpc_stream_half_close(struct rpc_stream *stream, struct error *err);

/*
 * Waits for the next message and unpacks it into the arena. 1: *ret is it; 0:
 * the server ended the call with success; negative: the call's error.
 */
_must_check_ int rpc_stream_receive(struct rpc_stream *stream, struct arena *arena,
				    ProtobufCMessage **ret, struct error *err);

/*
 * The same for who unpacks it: the message as it came, until the next call of this function or the
 * end of the stream.
 */
_must_check_ int rpc_stream_receive_bytes(struct rpc_stream *stream, const uint8_t **ret,
					  size_t *ret_n, struct error *err);

/*
 * From now on a send or receive that takes longer than that ends the call with
 * DEADLINE_EXCEEDED: a limit for streams that may last, but not stand still. 0:
 * none. Before other threads use the stream.
 */
void rpc_stream_set_patience(struct rpc_stream *stream, unsigned int ms);

/* Ends the call soon, whoever waits for it gets CANCELLED. Any thread. */
void rpc_stream_cancel(struct rpc_stream *stream);

/* Waits for the end of the call, dropping messages that still come; 0 or the
 * call's error. */
_must_check_ int rpc_stream_finish(struct rpc_stream *stream, struct error *err);

void rpc_stream_free(struct rpc_stream *stream);
DEFINE_CLEANUP(struct rpc_stream, rpc_stream_free)
