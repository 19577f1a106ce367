/*
 * What the handlers of all methods have in common: whose call it is, asking core for it, being
 * cancelled, and paying for refusals.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "daemon/front/core.h"
#include "daemon/front/front.h"
#include "daemon/front/session.h"
#include "rpc/server.h"

/* First member of the state of every call that front works on. */
struct job {
	struct front *front;
	struct session *session;
	struct rpc_call *call;
	uint64_t asked; /* id of the request at core, 0: none */
};

/*
 * New zeroed state of `size` bytes for a call, set as the call's state; freed by job_free(), which
 * on_done must call. NULL: the call has been failed (over the rate of refusals, no memory).
 */
void *job_new(struct rpc_call *call, size_t size);
void job_free(struct job *job);

/* Asks core in the name of the call's session and by its deadline. One at a time for each job. */
_must_check_ int job_ask(struct job *job, const char *method, const uint8_t *body, size_t n,
			 core_reply_fn fn, struct error *err);
/* The same with a message, packed into the call's arena. */
_must_check_ int job_ask_message(struct job *job, const char *method,
				 const ProtobufCMessage *message, core_reply_fn fn,
				 struct error *err);
/* The same with the socket that a parcel keeps; NULL: none. */
_must_check_ int job_ask_message_with(struct job *job, const char *method,
				      const ProtobufCMessage *message, struct parcel *parcel,
				      core_reply_fn fn, struct error *err);
/* The same with all there is; lane, session and deadline are filled in. */
_must_check_ int job_ask_with(struct job *job, struct core_request *request, core_reply_fn fn,
			      struct error *err);

/* The socket of a ticket in a request, borrowed (fdservice_take()); an empty ticket: *ret is NULL.
 */
_must_check_ int job_take_socket(struct job *job, const ProtobufCBinaryData *ticket,
				 struct parcel **ret, struct error *err);

/* Fails the call; a refusal is charged to the peer. */
void job_fail(struct job *job, const struct error *error);
/* The client is gone: what core answers is dropped. */
void job_cancel(struct job *job);
