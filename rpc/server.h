/*
 * A gRPC server for protobuf-c services. Services are tables of methods; every
 * connection is a gRPC server object of its own, so that a call knows its
 * connection for certain (a peer name such as "fd:8" is used again by the next
 * connection) and what one client can make us hold is bounded. All functions
 * and callbacks: the loop's thread. A handler need not answer before it
 * returns: it may keep the call with rpc_call_ref() and answer later.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "rpc/loop.h"

struct arena;
struct error;
struct rpc_call;
struct rpc_connection;

/* ---- services */

/* Which side sends more than one message; protobuf-c's descriptors do not say.
 */
enum rpc_kind {
	RPC_UNARY,
	RPC_CLIENT_STREAM,
	RPC_SERVER_STREAM,
	RPC_BIDI,
};

#define RPC_MESSAGE_MAX_DEFAULT (256U * 1024U)
#define RPC_ARENA_MAX_DEFAULT (4U * 1024U * 1024U)
#define RPC_SEND_QUEUE_DEFAULT 4U

/*
 * One method. Of the callbacks on_call is required. Messages are borrowed until
 * the callback returns, or for the calls with one request (unary, server
 * stream) until the call ends.
 */
struct rpc_method {
	/* As in the .proto file ("LookupMap"). */
	const char *name;
	enum rpc_kind kind;
	/* Largest message the client may send, as bytes on the wire. 0:
	 * RPC_MESSAGE_MAX_DEFAULT. */
	size_t max_message_bytes;
	/* Limit of the call's arena, which is emptied before each message of a client
	 * stream. 0: RPC_ARENA_MAX_DEFAULT. */
	size_t max_arena_bytes;
	/* Messages that rpc_call_send() keeps while the client does not read. 0:
	 * RPC_SEND_QUEUE_DEFAULT. */
	unsigned int max_send_queue;

	/* The call began. `request` is NULL for RPC_CLIENT_STREAM and RPC_BIDI:
	 * there, ask for the first message with rpc_call_receive(). */
	void (*on_call)(struct rpc_call *call, const ProtobufCMessage *request, void *user);
	/* A message asked for with rpc_call_receive() has come. */
	void (*on_message)(struct rpc_call *call, const ProtobufCMessage *message, void *user);
	/* rpc_call_receive() found that the client has sent its last message. */
	void (*on_half_close)(struct rpc_call *call, void *user);
	/* After rpc_call_send() returned 0 with a full queue: there is room again. */
	void (*on_writable)(struct rpc_call *call, void *user);
	/* The call ended before the handler finished it: the client went away or
	 * cancelled, the deadline passed, a message of a stream was refused. At most
	 * once; the handler need not finish the call any more. */
	void (*on_cancelled)(struct rpc_call *call, void *user);
	/* The last callback of every call that on_call saw, exactly once: release
	 * what belongs to it. */
	void (*on_done)(struct rpc_call *call, void *user);
	/* Handed to the callbacks. */
	void *user;
};

/* Methods of one service; those of the descriptor without a row are answered
 * UNIMPLEMENTED. */
struct rpc_service {
	const ProtobufCServiceDescriptor *descriptor;
	const struct rpc_method *methods;
	size_t n_methods;
};

/* ---- connections */

struct rpc_connection_options {
	/* Calls at one time; more wait for their turn, far more close the connection.
	 * 0: 64. */
	unsigned int max_calls;
	/* Request metadata of one call, in bytes. 0: 8192. */
	size_t max_metadata_bytes;
	/* The connection has ended and all its calls are done; exactly once, also
	 * after rpc_connection_close(). The connection is freed afterwards. May be
	 * NULL. */
	void (*on_closed)(struct rpc_connection *connection, void *user);
	/* A call of a known method has ended, with gRPC's status number, that long after it came.
	 * May be NULL. */
	void (*on_ended)(const struct rpc_method *method, int status, uint64_t duration_ns,
			 void *user);
};

/*
 * Serves an accepted stream socket. Takes fd in any case. Borrows services (an
 * array of pointers to tables, with all they point to) until on_closed. On
 * failure on_closed is not called. Errors: OUT_OF_MEMORY, IO, INVALID_ARGUMENT
 * (a row that names no method of its descriptor).
 */
_must_check_ int rpc_connection_new(struct rpc_loop *loop, int fd,
				    const struct rpc_service *const *services, size_t n_services,
				    const struct rpc_connection_options *options, void *user,
				    struct rpc_connection **ret, struct error *err);

/* Cancels its calls and closes it; on_closed follows later, never from within
 * this function. */
void rpc_connection_close(struct rpc_connection *connection);

/* Takes no further call, closes after those under way have finished. */
void rpc_connection_drain(struct rpc_connection *connection);

void *rpc_connection_user(const struct rpc_connection *connection);
/* For sessions that are known only later, and to forget the user before
 * on_closed. */
void rpc_connection_set_user(struct rpc_connection *connection, void *user);
unsigned int rpc_connection_n_calls(const struct rpc_connection *connection);

/* ---- calls */

/* Keeps the call object while an answer is computed elsewhere. Functions on a
 * call that has ended are harmless and say so by their return value. */
struct rpc_call *rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);
DEFINE_CLEANUP(struct rpc_call, rpc_call_unref)

/* NULL once the connection is gone. */
struct rpc_connection *rpc_call_connection(const struct rpc_call *call);
const struct rpc_method *rpc_call_method(const struct rpc_call *call);
const ProtobufCMethodDescriptor *rpc_call_descriptor(const struct rpc_call *call);

/* State of the handler for this call. */
void rpc_call_set_state(struct rpc_call *call, void *state);
void *rpc_call_state(const struct rpc_call *call);

/* CLOCK_MONOTONIC nanoseconds; UINT64_MAX: the client gave none. */
uint64_t rpc_call_deadline(const struct rpc_call *call);

/* True until the handler finished it, or it was cancelled. */
bool rpc_call_alive(const struct rpc_call *call);

/*
 * Request metadata by its lower-case key; "-bin" values are decoded. False if
 * there is none. Borrowed as long as the call.
 */
bool rpc_call_metadata(const struct rpc_call *call, const char *key, const char **ret_value,
		       size_t *ret_n);

/* The arena that holds the current message, for the handler's own use too; NULL
 * when out of memory or after the end. */
struct arena *rpc_call_arena(struct rpc_call *call);

/* The current message as the bytes that came, for passing on; borrowed as long
 * as the message. */
void rpc_call_request_bytes(const struct rpc_call *call, const uint8_t **ret_bytes, size_t *ret_n);

/* Client streams: asks for one more message (on_message or on_half_close).
 * -EALREADY while one is asked for, -EPIPE after the half-close or the end. */
int rpc_call_receive(struct rpc_call *call);

/*
 * Server streams: sends or queues one message. 1: there is room for more; 0:
 * taken, and the queue is full, wait for on_writable. Errors: -EAGAIN (the
 * queue was full, nothing was taken), -EPIPE (the call has ended), -ENOMEM.
 */
_must_check_ int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message);
/* The same for a message that is packed already. */
_must_check_ int rpc_call_send_bytes(struct rpc_call *call, const uint8_t *bytes, size_t n);
/* Bytes that a message shares with others; unref(owner) on any thread, when they are sent. */
struct rpc_shared {
	const uint8_t *bytes;
	size_t n;
	void (*unref)(void *owner);
	void *owner;
};
/* The same for a packed message of which the tail is not copied; takes the reference in any case.
 */
_must_check_ int rpc_call_send_shared(struct rpc_call *call, const uint8_t *head, size_t n_head,
				      const struct rpc_shared *tail);
/* Messages accepted and not yet given to the transport. */
unsigned int rpc_call_send_queue(const struct rpc_call *call);

/*
 * Ends the call with success: with its one answer (unary, client stream), or
 * with none after what was sent (server streams). 0, -EPIPE when the call has
 * ended, -ENOMEM (the call then fails).
 */
int rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *message);
int rpc_call_reply_bytes(struct rpc_call *call, const uint8_t *bytes, size_t n);
int rpc_call_finish(struct rpc_call *call);

/* Ends the call with an error (rpc/status.h); messages still queued are
 * dropped. */
int rpc_call_fail(struct rpc_call *call, const struct error *error);
