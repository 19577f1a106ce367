/* What rpc/channel.c and rpc/stream.c share. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

#include "rpc/client.h"

/* A unary call that is under way, on the stack of its caller. */
struct rpc_under_way {
	grpc_call *call;
	struct rpc_under_way *next, **at;
};

struct rpc_channel {
	grpc_channel *channel;
	char *target;
	grpc_metadata *metadata;
	size_t n_metadata;
	pthread_mutex_t lock; /* of the rest */
	struct rpc_under_way *under_way;
	uint64_t n_cancels;
};

/* What RECV_STATUS_ON_CLIENT fills. */
struct rpc_outcome {
	grpc_status_code code;
	grpc_slice message;
	grpc_metadata_array trailers;
};

void rpc_outcome_init(struct rpc_outcome *outcome);
void rpc_outcome_done(struct rpc_outcome *outcome);
grpc_op rpc_outcome_op(struct rpc_outcome *outcome);
/* 0 for success; else fills err, for an unreachable server with what connecting
 * to it says. */
int rpc_outcome_error(const struct rpc_channel *channel, const struct rpc_outcome *outcome,
		      struct error *err);

/* A call with a completion queue of its own, for plucking. Errors:
 * INVALID_ARGUMENT (the method).
 */
int rpc_channel_call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
		     const char *method, uint64_t deadline,
		     const ProtobufCMethodDescriptor **ret_descriptor,
		     grpc_completion_queue **ret_queue, grpc_call **ret_call, struct error *err);
grpc_op rpc_channel_metadata_op(const struct rpc_channel *channel);

grpc_byte_buffer *rpc_buffer_pack(const ProtobufCMessage *message);
/* Unpacks into the arena and destroys the buffer. */
int rpc_buffer_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *descriptor,
		      struct arena *arena, ProtobufCMessage **ret, struct error *err);
