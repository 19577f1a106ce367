#include "rpc/client.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/arena.h"
#include "rpc/client-internal.h"
#include "rpc/internal.h"
#include "rpc/status.h"

#define MAX_MESSAGE_DEFAULT ((size_t)16 << 20)
#define MAX_METADATA_BYTES ((size_t)16 << 10)
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 2000
/* A server that restarts lets connections wait in its socket: an attempt is not given up early. */
#define CONNECT_TIMEOUT_MS 5000
#define SETTLE_NS (250 * NS_PER_MS)
#define PATH_BYTES 512

/* ---- channels */

static grpc_arg arg_integer(const char *key, size_t value)
{
	return (grpc_arg){ .type = GRPC_ARG_INTEGER,
			   .key = (char *)(uintptr_t)key,
			   .value.integer = value < INT32_MAX ? (int)value : INT32_MAX };
}

static grpc_channel *channel_create(const char *target, size_t max_message_bytes)
{
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	grpc_arg list[] = {
		arg_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
			    max_message_bytes > 0 ? max_message_bytes : MAX_MESSAGE_DEFAULT),
		arg_integer(GRPC_ARG_MAX_METADATA_SIZE, MAX_METADATA_BYTES),
		/* A connection is an identity and keeps leases: channels do not share
		   one. */
		arg_integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
		arg_integer(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, RECONNECT_MIN_MS),
		arg_integer(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_TIMEOUT_MS),
		arg_integer(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MAX_MS),
		arg_integer(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, INT32_MAX),
		/* A call may have been done when its connection broke; only the caller
		   knows. */
		arg_integer(GRPC_ARG_ENABLE_RETRIES, 0),
		arg_integer(GRPC_ARG_ENABLE_CHANNELZ, 0),
		{ .type = GRPC_ARG_STRING,
		  .key = (char *)(uintptr_t)GRPC_ARG_DEFAULT_AUTHORITY,
		  .value.string = (char *)(uintptr_t) "localhost" },
	};
	grpc_channel_args args = { .num_args = ARRAY_SIZE(list), .args = list };
	grpc_channel *channel = grpc_channel_create(target, credentials, &args);

	grpc_channel_credentials_release(credentials);
	return channel;
}

static int metadata_copy(struct rpc_channel *channel, const struct rpc_channel_options *options,
			 struct error *err)
{
	if (options == NULL || options->n_metadata == 0)
		return 0;
	channel->metadata = calloc(options->n_metadata, sizeof(*channel->metadata));
	if (channel->metadata == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot open a channel");
	for (size_t i = 0; i < options->n_metadata; i++) {
		const struct rpc_metadata *from = &options->metadata[i];
		grpc_slice key = grpc_slice_from_copied_string(from->key);
		grpc_slice value = grpc_slice_from_copied_buffer(from->value, from->n);

		channel->metadata[channel->n_metadata++] =
			(grpc_metadata){ .key = key, .value = value };
		if (!grpc_header_key_is_legal(key) ||
		    (!grpc_is_binary_header(key) && !grpc_header_nonbin_value_is_legal(value)))
			return error_raise(err, ERROR_INVALID_ARGUMENT,
					   "'%s' cannot be sent as metadata", from->key);
	}
	return 0;
}

int rpc_channel_open(const char *target, const struct rpc_channel_options *options,
		     struct rpc_channel **ret, struct error *err)
{
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	struct sockaddr_un address;
	int r;

	if (strncmp(target, "unix:/", 6) != 0 || strlen(target + 5) >= sizeof(address.sun_path))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "'%s' is not unix:/ with a path of at most %zu bytes", target,
				   sizeof(address.sun_path) - 1);
	channel = calloc(1, sizeof(*channel));
	if (channel == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot open a channel");
	rpc_library_init();
	(void)pthread_mutex_init(&channel->lock, NULL);
	channel->target = strdup(target);
	if (channel->target == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot open a channel");
	r = metadata_copy(channel, options, err);
	if (r < 0)
		return r;
	channel->channel = channel_create(target, options != NULL ? options->max_message_bytes : 0);
	*ret = TAKE_PTR(channel);
	return 0;
}

void rpc_channel_close(struct rpc_channel *channel)
{
	if (channel == NULL)
		return;
	if (channel->channel != NULL)
		grpc_channel_destroy(channel->channel);
	for (size_t i = 0; i < channel->n_metadata; i++) {
		grpc_slice_unref(channel->metadata[i].key);
		grpc_slice_unref(channel->metadata[i].value);
	}
	(void)pthread_mutex_destroy(&channel->lock);
	free(channel->metadata);
	free(channel->target);
	free(channel);
	grpc_shutdown();
}

/* ---- outcomes */

void rpc_outcome_init(struct rpc_outcome *outcome)
{
	*outcome =
		(struct rpc_outcome){ .code = GRPC_STATUS_UNKNOWN, .message = grpc_empty_slice() };
	grpc_metadata_array_init(&outcome->trailers);
}

void rpc_outcome_done(struct rpc_outcome *outcome)
{
	grpc_slice_unref(outcome->message);
	grpc_metadata_array_destroy(&outcome->trailers);
}

grpc_op rpc_outcome_op(struct rpc_outcome *outcome)
{
	return (grpc_op){ .op = GRPC_OP_RECV_STATUS_ON_CLIENT,
			  .data.recv_status_on_client = {
				  .trailing_metadata = &outcome->trailers,
				  .status = &outcome->code,
				  .status_details = &outcome->message,
			  } };
}

static const grpc_slice *details_find(const struct rpc_outcome *outcome)
{
	for (size_t i = 0; i < outcome->trailers.count; i++) {
		if (grpc_slice_str_cmp(outcome->trailers.metadata[i].key, RPC_STATUS_DETAILS_KEY) ==
		    0)
			return &outcome->trailers.metadata[i].value;
	}
	return NULL;
}

/* Says why the socket cannot be connected to; 0 if it can. */
static int probe(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (fd < 0)
		return errno;
	memcpy(address.sun_path, path, strlen(path));
	return connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? errno : 0;
}

static int unreachable(const char *path, const char *message, struct error *err)
{
	int sys_errno = probe(path);

	switch (sys_errno) {
	case 0:
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the daemon at %s closed the connection (%s); retry", path,
				   message);
	case ENOENT:
	case ENOTDIR:
		return error_raise(err, ERROR_UNAVAILABLE,
				   "cannot reach the daemon at %s: there is no such socket; is "
				   "bpfleetd running?",
				   path);
	case ECONNREFUSED:
		return error_raise(err, ERROR_UNAVAILABLE,
				   "cannot reach the daemon at %s: nobody listens there; is "
				   "bpfleetd running?",
				   path);
	case EACCES:
	case EPERM:
		return error_raise_errno(err, ERROR_UNAVAILABLE, sys_errno,
					 "cannot reach the daemon at %s: you may not connect to it",
					 path);
	case EAGAIN:
		return error_raise(err, ERROR_UNAVAILABLE,
				   "cannot reach the daemon at %s: it has too many connections "
				   "waiting; retry",
				   path);
	default:
		return error_raise_errno(err, ERROR_UNAVAILABLE, sys_errno,
					 "cannot reach the daemon at %s", path);
	}
}

int rpc_outcome_error(const struct rpc_channel *channel, const struct rpc_outcome *outcome,
		      struct error *err)
{
	const grpc_slice *details = details_find(outcome);
	char text[PATH_BYTES];
	size_t n = GRPC_SLICE_LENGTH(outcome->message);

	if (outcome->code == GRPC_STATUS_OK)
		return 0;
	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	memcpy(text, GRPC_SLICE_START_PTR(outcome->message), n);
	text[n] = '\0';
	if (details == NULL && outcome->code == GRPC_STATUS_UNAVAILABLE)
		return unreachable(channel->target + strlen("unix:"), text, err);
	return rpc_status_to_error((int)outcome->code, text,
				   details != NULL ? GRPC_SLICE_START_PTR(*details) : NULL,
				   details != NULL ? GRPC_SLICE_LENGTH(*details) : 0, err);
}

/* ---- calls */

/*
 * After a lost connection gRPC fails calls at once until it has another, and makes no way with that
 * while no call waits for it: a call that comes then gives it some time.
 */
static void channel_settle(struct rpc_channel *channel, uint64_t deadline)
{
	const uint64_t limit = clock_monotonic_ns() + SETTLE_NS;
	const gpr_timespec until = rpc_time_from_ns(deadline < limit ? deadline : limit);
	grpc_connectivity_state state;
	grpc_completion_queue *queue;

	state = grpc_channel_check_connectivity_state(channel->channel, 1);
	if (state != GRPC_CHANNEL_TRANSIENT_FAILURE)
		return;
	queue = grpc_completion_queue_create_for_pluck(NULL);
	while (state != GRPC_CHANNEL_READY && clock_monotonic_ns() < limit) {
		grpc_channel_watch_connectivity_state(channel->channel, state, until, queue, NULL);
		if (!grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC),
						 NULL)
			     .success)
			break;
		state = grpc_channel_check_connectivity_state(channel->channel, 1);
	}
	grpc_completion_queue_destroy(queue);
}

int rpc_channel_call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
		     const char *method, uint64_t deadline,
		     const ProtobufCMethodDescriptor **ret_descriptor,
		     grpc_completion_queue **ret_queue, grpc_call **ret_call, struct error *err)
{
	const ProtobufCMethodDescriptor *descriptor =
		protobuf_c_service_descriptor_get_method_by_name(service, method);
	char path[PATH_BYTES];
	grpc_slice slice;

	if (descriptor == NULL || strlen(service->name) + strlen(method) + 3 > sizeof(path))
		return error_raise(err, ERROR_INVALID_ARGUMENT, "%s has no method '%s'",
				   service->name, method);
	(void)snprintf(path, sizeof(path), "/%s/%s", service->name, method);
	channel_settle(channel, deadline);
	slice = grpc_slice_from_copied_string(path);
	*ret_queue = grpc_completion_queue_create_for_pluck(NULL);
	*ret_call =
		grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
					 *ret_queue, slice, NULL, rpc_time_from_ns(deadline), NULL);
	*ret_descriptor = descriptor;
	grpc_slice_unref(slice);
	return 0;
}

grpc_op rpc_channel_metadata_op(const struct rpc_channel *channel)
{
	return (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA,
			  .data.send_initial_metadata = { .count = channel->n_metadata,
							  .metadata = channel->metadata } };
}

grpc_byte_buffer *rpc_buffer_pack(const ProtobufCMessage *message)
{
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
	grpc_byte_buffer *buffer;

	(void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
	buffer = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return buffer;
}

int rpc_buffer_unpack(grpc_byte_buffer *buffer, const ProtobufCMessageDescriptor *descriptor,
		      struct arena *arena, ProtobufCMessage **ret, struct error *err)
{
	grpc_byte_buffer_reader reader;
	grpc_slice slice;
	int r;

	if (grpc_byte_buffer_reader_init(&reader, buffer) == 0) {
		grpc_byte_buffer_destroy(buffer);
		return error_raise(err, ERROR_PROTOCOL, "the daemon's answer cannot be read");
	}
	slice = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	grpc_byte_buffer_destroy(buffer);
	r = arena_unpack(arena, descriptor, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice),
			 ret, err);
	grpc_slice_unref(slice);
	return r < 0 ? error_context(err, r, "the daemon's answer") : 0;
}

static void pluck(grpc_completion_queue *queue, void *tag)
{
	(void)grpc_completion_queue_pluck(queue, tag, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static uint64_t cancels(struct rpc_channel *channel)
{
	uint64_t n;

	(void)pthread_mutex_lock(&channel->lock);
	n = channel->n_cancels;
	(void)pthread_mutex_unlock(&channel->lock);
	return n;
}

/* From now on rpc_channel_cancel() reaches the call; a cancel since n_cancels holds for it, too. */
static void enter(struct rpc_channel *channel, struct rpc_under_way *entry, uint64_t n_cancels)
{
	(void)pthread_mutex_lock(&channel->lock);
	entry->next = channel->under_way;
	entry->at = &channel->under_way;
	if (entry->next != NULL)
		entry->next->at = &entry->next;
	channel->under_way = entry;
	if (channel->n_cancels != n_cancels)
		(void)grpc_call_cancel(entry->call, NULL);
	(void)pthread_mutex_unlock(&channel->lock);
}

static void leave(struct rpc_channel *channel, struct rpc_under_way *entry)
{
	(void)pthread_mutex_lock(&channel->lock);
	*entry->at = entry->next;
	if (entry->next != NULL)
		entry->next->at = entry->at;
	(void)pthread_mutex_unlock(&channel->lock);
}

void rpc_channel_cancel(struct rpc_channel *channel)
{
	(void)pthread_mutex_lock(&channel->lock);
	channel->n_cancels++;
	for (struct rpc_under_way *entry = channel->under_way; entry != NULL; entry = entry->next)
		(void)grpc_call_cancel(entry->call, NULL);
	(void)pthread_mutex_unlock(&channel->lock);
}

int rpc_unary(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
	      const char *method, const ProtobufCMessage *request, uint64_t deadline,
	      struct arena *arena, ProtobufCMessage **ret_response, struct error *err)
{
	const ProtobufCMethodDescriptor *descriptor;
	grpc_completion_queue *queue;
	grpc_call *call;
	grpc_byte_buffer *send, *received = NULL;
	grpc_metadata_array headers;
	struct rpc_outcome outcome;
	const uint64_t n_cancels = cancels(channel);
	struct rpc_under_way entry;
	int r;

	r = rpc_channel_call(channel, service, method, deadline, &descriptor, &queue, &call, err);
	if (r < 0)
		return r;
	entry.call = call;
	enter(channel, &entry, n_cancels);
	rpc_outcome_init(&outcome);
	grpc_metadata_array_init(&headers);
	send = rpc_buffer_pack(request);
	grpc_op ops[] = {
		rpc_channel_metadata_op(channel),
		{ .op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = send },
		{ .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT },
		{ .op = GRPC_OP_RECV_INITIAL_METADATA,
		  .data.recv_initial_metadata.recv_initial_metadata = &headers },
		{ .op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &received },
		rpc_outcome_op(&outcome),
	};
	if (grpc_call_start_batch(call, ops, ARRAY_SIZE(ops), ops, NULL) == GRPC_CALL_OK) {
		pluck(queue, ops);
		r = rpc_outcome_error(channel, &outcome, err);
	} else {
		r = error_raise(err, ERROR_INTERNAL, "gRPC refused to start a call of %s", method);
	}
	if (r == 0 && received == NULL)
		r = error_raise(err, ERROR_PROTOCOL, "the daemon answered %s with nothing", method);
	if (r == 0)
		r = rpc_buffer_unpack(TAKE_PTR(received), descriptor->output, arena, ret_response,
				      err);
	if (received != NULL)
		grpc_byte_buffer_destroy(received);
	grpc_byte_buffer_destroy(send);
	grpc_metadata_array_destroy(&headers);
	rpc_outcome_done(&outcome);
	leave(channel, &entry);
	grpc_call_unref(call);
	grpc_completion_queue_destroy(queue);
	return r;
}
