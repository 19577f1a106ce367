#include "rpc/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/arena.h"
#include "rpc/pump.h"
#include "rpc/server-internal.h"

#define MAX_OPS 3
/* Smaller ones do not wait for room in the connection's pump. */
#define LARGE_BYTES 16384

struct send_item {
	struct send_item *next;
	grpc_byte_buffer *buffer;
};

struct rpc_call {
	unsigned int n_refs;
	struct rpc_connection *connection; /* NULL from the end on */
	struct rpc_call *next;
	struct rpc_call **link;
	struct rpc_call *next_waiting;
	const struct rpc_method *method;
	const ProtobufCMethodDescriptor *descriptor;
	void *state;
	uint64_t deadline;
	uint64_t came_at;
	int status; /* that it ends with */
	grpc_call *call;
	grpc_metadata_array metadata;

	struct arena *arena;
	const ProtobufCMessage *message;
	grpc_byte_buffer *received;
	grpc_slice bytes;

	struct rpc_event close_event;
	struct rpc_event receive_event;
	struct rpc_event send_event;
	struct rpc_event status_event;
	unsigned int n_events; /* outstanding */
	int cancelled;	       /* written by gRPC before close_event */

	bool served;	  /* counts as one of the connection's calls at one time */
	bool begun;	  /* on_call has run */
	bool finished;	  /* by the handler, or cancelled */
	bool status_sent; /* or on its way */
	bool metadata_sent;
	bool receiving;
	bool half_closed;
	bool sending;
	bool wants_writable;

	struct send_item *queue;
	struct send_item **queue_end;
	unsigned int n_queue;
	grpc_slice status_message;
	grpc_metadata status_details;
};

/* ---- life */

struct rpc_call *rpc_call_ref(struct rpc_call *call)
{
	call->n_refs++;
	return call;
}

void rpc_call_unref(struct rpc_call *call)
{
	if (call != NULL && --call->n_refs == 0)
		free(call);
}

static void queue_drop(struct rpc_call *call)
{
	while (call->queue != NULL) {
		struct send_item *item = call->queue;

		call->queue = item->next;
		grpc_byte_buffer_destroy(item->buffer);
		free(item);
	}
	call->queue_end = &call->queue;
	call->n_queue = 0;
}

static void message_drop(struct rpc_call *call)
{
	call->message = NULL;
	grpc_slice_unref(call->bytes);
	call->bytes = grpc_empty_slice();
	arena_free(TAKE_PTR(call->arena));
}

/* Takes a call out of the list of those that wait for their turn; no harm if it
 * is not in it. */
static void waiting_leave(struct rpc_call *call)
{
	struct rpc_call **link = &call->connection->waiting;

	while (*link != NULL && *link != call)
		link = &(*link)->next_waiting;
	if (*link != NULL)
		*link = call->next_waiting;
}

static void call_serve(struct rpc_call *call);

static void waiting_serve(struct rpc_connection *connection)
{
	struct rpc_call *call = connection->waiting;

	if (call == NULL || connection->n_served >= connection->options.max_calls)
		return;
	connection->waiting = call->next_waiting;
	call_serve(call);
}

/* The last event has come: tells the handler and lets go of everything but the
 * object. */
static void call_end(struct rpc_call *call)
{
	struct rpc_connection *connection = call->connection;

	if (call->begun && call->method->on_done != NULL)
		call->method->on_done(call, call->method->user);
	if (call->method != NULL && connection->options.on_ended != NULL)
		connection->options.on_ended(call->method, call->status,
					     clock_monotonic_ns() - call->came_at,
					     connection->user);
	message_drop(call);
	queue_drop(call);
	if (call->received != NULL)
		grpc_byte_buffer_destroy(call->received);
	grpc_slice_unref(call->status_message);
	grpc_slice_unref(call->status_details.key);
	grpc_slice_unref(call->status_details.value);
	grpc_metadata_array_destroy(&call->metadata);
	grpc_call_unref(TAKE_PTR(call->call));
	*call->link = call->next;
	if (call->next != NULL)
		call->next->link = call->link;
	waiting_leave(call);
	if (call->served)
		connection->n_served--;
	call->connection = NULL;
	rpc_call_unref(call);
	waiting_serve(connection);
	rpc_connection_call_ended(connection);
}

/* Ends an event's handling; the call may be gone afterwards. */
static void event_done(struct rpc_call *call)
{
	if (--call->n_events == 0)
		call_end(call);
}

static bool batch_start(struct rpc_call *call, const grpc_op *ops, size_t n,
			struct rpc_event *event)
{
	RPC_HAND_OVER(event);
	if (grpc_call_start_batch(call->call, ops, n, event, NULL) != GRPC_CALL_OK) {
		(void)grpc_call_cancel(call->call, NULL);
		return false;
	}
	call->n_events++;
	return true;
}

/* ---- sending */

static grpc_op op_metadata(struct rpc_call *call)
{
	call->metadata_sent = true;
	return (grpc_op){ .op = GRPC_OP_SEND_INITIAL_METADATA };
}

static void sent(struct rpc_event *event, bool ok);

static bool has_room_for(struct rpc_call *call, const struct send_item *item)
{
	struct rpc_pump *pump = call->connection->pump;

	return pump == NULL || grpc_byte_buffer_length(item->buffer) < LARGE_BYTES ||
	       rpc_pump_has_room(pump);
}

/* Gives the next message, the status of success, or both to the transport. */
static void send_pump(struct rpc_call *call)
{
	grpc_op ops[MAX_OPS];
	size_t n = 0;
	struct send_item *item = call->queue;

	if (call->sending || call->status_sent)
		return;
	if (item == NULL ? !call->finished : !has_room_for(call, item))
		return;
	if (!call->metadata_sent)
		ops[n++] = op_metadata(call);
	if (item != NULL) {
		call->queue = item->next;
		if (call->queue == NULL)
			call->queue_end = &call->queue;
		call->n_queue--;
		ops[n++] = (grpc_op){ .op = GRPC_OP_SEND_MESSAGE,
				      .data.send_message.send_message = item->buffer };
	}
	if (call->finished && call->queue == NULL) {
		call->status_sent = true;
		ops[n++] = (grpc_op){ .op = GRPC_OP_SEND_STATUS_FROM_SERVER,
				      .data.send_status_from_server.status = GRPC_STATUS_OK };
	}
	call->sending = batch_start(call, ops, n, &call->send_event);
	if (item != NULL)
		grpc_byte_buffer_destroy(item->buffer);
	free(item);
}

static unsigned int queue_max(const struct rpc_call *call)
{
	return call->method->max_send_queue > 0 ? call->method->max_send_queue
						: RPC_SEND_QUEUE_DEFAULT;
}

static void sent(struct rpc_event *event, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, send_event);

	call->sending = false;
	if (!ok)
		queue_drop(call);
	rpc_call_go_on(call);
	event_done(call);
}

void rpc_call_go_on(struct rpc_call *call)
{
	send_pump(call);
	if (call->wants_writable && call->n_queue < queue_max(call)) {
		call->wants_writable = false;
		if (!call->finished && call->method->on_writable != NULL)
			call->method->on_writable(call, call->method->user);
	}
}

struct rpc_call *rpc_call_next(const struct rpc_call *call)
{
	return call->next;
}

/* Takes the slices. */
static int enqueue(struct rpc_call *call, grpc_slice *slices, size_t n)
{
	struct send_item *item = calloc(1, sizeof(*item));

	if (item != NULL)
		item->buffer = grpc_raw_byte_buffer_create(slices, n);
	for (size_t i = 0; i < n; i++)
		grpc_slice_unref(slices[i]);
	if (item == NULL)
		return -ENOMEM;
	*call->queue_end = item;
	call->queue_end = &item->next;
	call->n_queue++;
	return 0;
}

static grpc_slice slice_of_message(const ProtobufCMessage *message)
{
	grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));

	(void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
	return slice;
}

static int send_slices(struct rpc_call *call, grpc_slice *slices, size_t n)
{
	int r = enqueue(call, slices, n);

	if (r < 0)
		return r;
	send_pump(call);
	if (call->n_queue < queue_max(call))
		return 1;
	call->wants_writable = true;
	return 0;
}

static int send_check(const struct rpc_call *call)
{
	if (call->finished)
		return -EPIPE;
	return call->n_queue < queue_max(call) ? 0 : -EAGAIN;
}

static int send_slice(struct rpc_call *call, grpc_slice slice)
{
	return send_slices(call, &slice, 1);
}

int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message)
{
	int r = send_check(call);

	return r < 0 ? r : send_slice(call, slice_of_message(message));
}

int rpc_call_send_bytes(struct rpc_call *call, const uint8_t *bytes, size_t n)
{
	int r = send_check(call);

	return r < 0 ? r : send_slice(call, grpc_slice_from_copied_buffer((const char *)bytes, n));
}

int rpc_call_send_shared(struct rpc_call *call, const uint8_t *head, size_t n_head,
			 const struct rpc_shared *tail)
{
	int r = send_check(call);
	grpc_slice slices[2];

	if (r < 0) {
		tail->unref(tail->owner);
		return r;
	}
	slices[0] = grpc_slice_from_copied_buffer((const char *)head, n_head);
	slices[1] = grpc_slice_new_with_user_data((void *)(uintptr_t)tail->bytes, tail->n,
						  tail->unref, tail->owner);
	return send_slices(call, slices, 2);
}

unsigned int rpc_call_send_queue(const struct rpc_call *call)
{
	return call->n_queue;
}

/* ---- finishing */

int rpc_call_finish(struct rpc_call *call)
{
	if (call->finished)
		return -EPIPE;
	call->finished = true;
	send_pump(call);
	return 0;
}

static int reply_slice(struct rpc_call *call, grpc_slice slice)
{
	struct error error = { 0 };
	int r = enqueue(call, &slice, 1);

	if (r < 0) {
		(void)error_raise(&error, ERROR_OUT_OF_MEMORY, "out of memory");
		(void)rpc_call_fail(call, &error);
		return r;
	}
	return rpc_call_finish(call);
}

int rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
	return call->finished ? -EPIPE : reply_slice(call, slice_of_message(message));
}

int rpc_call_reply_bytes(struct rpc_call *call, const uint8_t *bytes, size_t n)
{
	return call->finished
		       ? -EPIPE
		       : reply_slice(call, grpc_slice_from_copied_buffer((const char *)bytes, n));
}

static void status_was_sent(struct rpc_event *event, bool ok)
{
	(void)ok;
	event_done(CONTAINER_OF(event, struct rpc_call, status_event));
}

int rpc_call_fail(struct rpc_call *call, const struct error *error)
{
	struct rpc_status status;
	grpc_op ops[MAX_OPS];
	size_t n = 0;

	if (call->finished)
		return -EPIPE;
	call->finished = true;
	call->status_sent = true;
	queue_drop(call);
	rpc_status_from_error(error, &status);
	call->status = status.code;
	call->status_message = grpc_slice_from_copied_string(status.message);
	call->status_details.key = grpc_slice_from_static_string(RPC_STATUS_DETAILS_KEY);
	call->status_details.value =
		grpc_slice_from_copied_buffer((const char *)status.details, status.n_details);
	if (!call->metadata_sent)
		ops[n++] = op_metadata(call);
	ops[n++] = (grpc_op){
		.op = GRPC_OP_SEND_STATUS_FROM_SERVER,
		.data.send_status_from_server = { .status = (grpc_status_code)status.code,
						  .status_details = &call->status_message,
						  .trailing_metadata = &call->status_details,
						  .trailing_metadata_count =
							  status.n_details > 0 ? 1 : 0 },
	};
	(void)batch_start(call, ops, n, &call->status_event);
	return 0;
}

/* ---- receiving */

static bool has_one_request(const struct rpc_call *call)
{
	return call->method->kind == RPC_UNARY || call->method->kind == RPC_SERVER_STREAM;
}

static struct arena *arena_for(const struct rpc_method *method)
{
	return arena_new(method->max_arena_bytes > 0 ? method->max_arena_bytes
						     : RPC_ARENA_MAX_DEFAULT);
}

/* Makes call->received the current message. */
static int message_take(struct rpc_call *call, struct error *err)
{
	const struct rpc_method *method = call->method;
	size_t max =
		method->max_message_bytes > 0 ? method->max_message_bytes : RPC_MESSAGE_MAX_DEFAULT;
	size_t n = grpc_byte_buffer_length(call->received);
	ProtobufCMessage *message = NULL;
	grpc_byte_buffer_reader reader;
	grpc_slice *first;
	int r;

	message_drop(call);
	if (n > max)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "%s takes messages of at most %zu bytes, not %zu", method->name,
				   max, n);
	if (call->received->data.raw.compression != GRPC_COMPRESS_NONE ||
	    grpc_byte_buffer_reader_init(&reader, call->received) == 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a compressed message");
	if (grpc_byte_buffer_reader_peek(&reader, &first) != 0 && GRPC_SLICE_LENGTH(*first) == n) {
		call->bytes = grpc_slice_ref(*first);
	} else {
		grpc_byte_buffer_reader_destroy(&reader);
		(void)grpc_byte_buffer_reader_init(&reader, call->received);
		call->bytes = grpc_byte_buffer_reader_readall(&reader);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	call->arena = arena_for(method);
	if (call->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot read a request");
	r = arena_unpack(call->arena, call->descriptor->input, GRPC_SLICE_START_PTR(call->bytes),
			 GRPC_SLICE_LENGTH(call->bytes), &message, err);
	if (r < 0)
		return error_context(err, r, "%s", method->name);
	call->message = message;
	return 0;
}

static void message_deliver(struct rpc_call *call)
{
	const struct rpc_method *method = call->method;
	struct error error = { 0 };
	int r = message_take(call, &error);

	grpc_byte_buffer_destroy(TAKE_PTR(call->received));
	if (r < 0) {
		(void)rpc_call_fail(call, &error);
		if (call->begun && method->on_cancelled != NULL)
			method->on_cancelled(call, method->user);
		return;
	}
	if (!call->begun) {
		call->begun = true;
		method->on_call(call, call->message, method->user);
	} else if (method->on_message != NULL) {
		method->on_message(call, call->message, method->user);
	}
}

static void half_closed(struct rpc_call *call)
{
	const struct rpc_method *method = call->method;
	struct error error = { 0 };

	if (has_one_request(call)) {
		(void)error_raise(&error, ERROR_INVALID_ARGUMENT, "%s: the request is missing",
				  method->name);
		(void)rpc_call_fail(call, &error);
	} else if (method->on_half_close != NULL) {
		message_drop(call);
		method->on_half_close(call, method->user);
	}
}

static void received(struct rpc_event *event, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, receive_event);

	call->receiving = false;
	if (ok && call->received != NULL && !call->finished) {
		message_deliver(call);
	} else if (!call->finished) {
		call->half_closed = true;
		/* Nothing came because the call is over, which close_event will tell, or
		 * because the client has no more to say. */
		if (grpc_call_failed_before_recv_message(call->call) == 0)
			half_closed(call);
	}
	event_done(call);
}

static void receive_start(struct rpc_call *call)
{
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE,
		       .data.recv_message.recv_message = &call->received };

	call->receiving = batch_start(call, &op, 1, &call->receive_event);
}

int rpc_call_receive(struct rpc_call *call)
{
	if (call->finished || call->half_closed || has_one_request(call))
		return -EPIPE;
	if (call->receiving)
		return -EALREADY;
	receive_start(call);
	return 0;
}

/* ---- beginning and end */

static void closed(struct rpc_event *event, bool ok)
{
	struct rpc_call *call = CONTAINER_OF(event, struct rpc_call, close_event);

	(void)ok;
	if (!call->finished) {
		call->finished = true;
		call->status_sent = true;
		call->status = clock_monotonic_ns() < call->deadline
				       ? ERROR_STATUS_CANCELLED
				       : ERROR_STATUS_DEADLINE_EXCEEDED;
		queue_drop(call);
		if (call->begun && call->method->on_cancelled != NULL)
			call->method->on_cancelled(call, call->method->user);
	}
	event_done(call);
}

static struct rpc_call *call_new(struct rpc_connection *connection, struct rpc_accept *accept)
{
	struct rpc_call *call = calloc(1, sizeof(*call));

	if (call == NULL)
		return NULL;
	*call = (struct rpc_call){
		.n_refs = 1,
		.connection = connection,
		.deadline = rpc_time_to_ns(accept->details.deadline),
		.came_at = clock_monotonic_ns(),
		.call = TAKE_PTR(accept->call),
		.metadata = accept->metadata,
		.bytes = grpc_empty_slice(),
		.status_message = grpc_empty_slice(),
		.status_details = { .key = grpc_empty_slice(), .value = grpc_empty_slice() },
	};
	rpc_event_init(&call->close_event, connection->loop, closed);
	rpc_event_init(&call->receive_event, connection->loop, received);
	rpc_event_init(&call->send_event, connection->loop, sent);
	rpc_event_init(&call->status_event, connection->loop, status_was_sent);
	grpc_metadata_array_init(&accept->metadata);
	call->queue_end = &call->queue;
	call->next = connection->calls;
	call->link = &connection->calls;
	if (call->next != NULL)
		call->next->link = &call->next;
	connection->calls = call;
	connection->n_calls++;
	return call;
}

static void call_serve(struct rpc_call *call)
{
	call->served = true;
	call->connection->n_served++;
	if (call->finished) {
		return;
	} else if (has_one_request(call)) {
		receive_start(call);
	} else {
		call->begun = true;
		call->method->on_call(call, NULL, call->method->user);
	}
}

/* Oldest first. */
static void call_wait(struct rpc_call *call)
{
	struct rpc_call **link = &call->connection->waiting;

	while (*link != NULL)
		link = &(*link)->next_waiting;
	*link = call;
}

static void call_refuse(struct rpc_call *call, grpc_slice path)
{
	struct error error = { 0 };

	(void)error_raise(&error, ERROR_UNIMPLEMENTED, "this server has no method '%.*s'",
			  (int)GRPC_SLICE_LENGTH(path), (const char *)GRPC_SLICE_START_PTR(path));
	(void)rpc_call_fail(call, &error);
}

static void call_begin(struct rpc_call *call, grpc_slice path)
{
	struct rpc_connection *connection = call->connection;
	grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER,
		       .data.recv_close_on_server.cancelled = &call->cancelled };

	call->n_events = 1;
	(void)batch_start(call, &op, 1, &call->close_event);
	if (!rpc_connection_find(connection, (const char *)GRPC_SLICE_START_PTR(path),
				 GRPC_SLICE_LENGTH(path), &call->method, &call->descriptor))
		call_refuse(call, path);
	else if (connection->n_served >= connection->options.max_calls)
		call_wait(call);
	else
		call_serve(call);
	event_done(call);
}

void rpc_call_begin(struct rpc_connection *connection, struct rpc_accept *accept)
{
	struct rpc_call *call = call_new(connection, accept);

	if (call == NULL)
		grpc_call_unref(TAKE_PTR(accept->call));
	else
		call_begin(call, accept->details.method);
	grpc_call_details_destroy(&accept->details);
	grpc_call_details_init(&accept->details);
}

/* ---- what a handler may ask */

struct rpc_connection *rpc_call_connection(const struct rpc_call *call)
{
	return call->connection;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
	return call->method;
}

const ProtobufCMethodDescriptor *rpc_call_descriptor(const struct rpc_call *call)
{
	return call->descriptor;
}

void rpc_call_set_state(struct rpc_call *call, void *state)
{
	call->state = state;
}

void *rpc_call_state(const struct rpc_call *call)
{
	return call->state;
}

uint64_t rpc_call_deadline(const struct rpc_call *call)
{
	return call->deadline;
}

bool rpc_call_alive(const struct rpc_call *call)
{
	return !call->finished;
}

bool rpc_call_metadata(const struct rpc_call *call, const char *key, const char **ret_value,
		       size_t *ret_n)
{
	if (call->connection == NULL)
		return false;
	for (size_t i = 0; i < call->metadata.count; i++) {
		const grpc_metadata *entry = &call->metadata.metadata[i];

		if (grpc_slice_str_cmp(entry->key, key) != 0)
			continue;
		*ret_value = (const char *)GRPC_SLICE_START_PTR(entry->value);
		*ret_n = GRPC_SLICE_LENGTH(entry->value);
		return true;
	}
	return false;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
	if (call->arena == NULL && call->connection != NULL)
		call->arena = arena_for(call->method);
	return call->arena;
}

void rpc_call_request_bytes(const struct rpc_call *call, const uint8_t **ret_bytes, size_t *ret_n)
{
	*ret_bytes = GRPC_SLICE_START_PTR(call->bytes);
	*ret_n = GRPC_SLICE_LENGTH(call->bytes);
}
