/*
 * A request of front's on its way through core: identity, policy, then the method's own work, and
 * exactly one reply. Methods are rows of one table (methods.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/name.h"
#include "daemon/config/policy.h"
#include "daemon/core/core.h"
#include "daemon/core/jobs.h"
#include "daemon/ipc/channel.h"
#include "store/instances.h"

struct request;

#define REQUEST_SIGNERS_MAX 320 /* 16 key ids of 16 digits, with commas */

/* What a method returns: it has filled the response, or a job will finish the request. */
enum {
	REQUEST_DONE = 0,
	REQUEST_PENDING = 1,
};

#define METHOD_CHANGES 1u    /* audited also when it succeeds; has a request_id */
#define METHOD_NO_SESSION 2u /* OpenSession alone */

struct method {
	const char *name;
	const char *audit_verb; /* of audit rows; reads have one for denials alone */
	const ProtobufCMessageDescriptor *message; /* NULL: no body */
	size_t arena_bytes; /* for the message, the response and all between */
	unsigned int flags;
	size_t request_id_offset; /* of `char *request_id` in the message; 0: none */
	/* Returns REQUEST_DONE with *ret_response (in request->arena; may stay NULL for none),
	 * REQUEST_PENDING, or a negative errno with err. */
	int (*serve)(struct request *request, ProtobufCMessage **ret_response, struct error *err);
};

/* NULL if there is no such method. */
const struct method *method_find(const char *name);

struct request {
	struct job closing; /* of what came along, before the answer; first */
	struct core *core;
	struct request *next; /* in core->requests */
	const struct method *method;
	struct session *session; /* NULL with METHOD_NO_SESSION */
	uint64_t id;		 /* front's */
	struct channel_frame frame;
	struct arena *arena;
	ProtobufCMessage *message;
	uint64_t deadline; /* monotonic; UINT64_MAX: none */
	uint64_t started_ns;
	const char *request_id; /* "" if none */
	uint8_t body_hash[STORE_HASH_LEN];
	int reply_fd; /* goes out with the reply; closed afterwards */
	/* The answer meanwhile. */
	struct error failure; /* ERROR_NONE: it is a success */
	uint8_t *answer;      /* in the arena */
	size_t answer_size;
	/* For the audit row. */
	char object[NAME_RESOURCE_MAX + 1];
	struct digest digest;
	bool has_digest;
	char signers[REQUEST_SIGNERS_MAX];
	char detail[512];
	bool authorized; /* policy said yes to something */
	bool denied;	 /* policy said no, whatever the caller is told */
};

/* Takes a Request frame and serves it. Errors (PROTOCOL): front misbehaves, the channel must end.
 */
_must_check_ int request_receive(struct core *core, struct channel_frame *frame, struct error *err);

/* An initialised response in the request's arena; NULL with OUT_OF_MEMORY in err. */
void *request_response(const struct request *request, const ProtobufCMessageDescriptor *descriptor,
		       struct error *err);

/* Sends the response (NULL: empty) and frees the request. */
void request_reply(struct request *request, const ProtobufCMessage *response);
/* Audits and sends the error, and frees the request. */
void request_fail(struct request *request, const struct error *err);
/* The daemon stops, or front has gone: nobody waits for an answer any more. */
void request_abandon_all(struct core *core);

/*
 * Commits a change: in the caller's transaction adds the audit row and, under its request_id, the
 * response, then commits. The reply is the caller's next step.
 */
_must_check_ int request_commit(struct request *request, struct store_tx *tx,
				const ProtobufCMessage *response, struct error *err);

/* DEADLINE_EXCEEDED or CANCELLED if the caller no longer waits; before the intent is recorded. */
_must_check_ int request_check_deadline(const struct request *request, struct error *err);

/*
 * Whether policy allows the verb. owner: identity text of the instance concerned, NULL if none.
 * Denied: NOT_FOUND (with `what`, the name the caller used) if the caller may not even view it,
 * else PERMISSION_DENIED.
 */
_must_check_ int request_authorize(struct request *request, enum policy_verb verb,
				   const char *bundle, const char *owner, const char *what,
				   struct error *err);
bool request_may(const struct request *request, enum policy_verb verb, const char *bundle,
		 const char *owner);
/* The same without a word: nothing is noted, nothing raised. */
bool request_may(const struct request *request, enum policy_verb verb, const char *bundle,
		 const char *owner);
bool request_may_view(const struct request *request, const char *bundle, const char *owner);

/*
 * Finds what a caller named, for a verb. The rows are new (free()). Errors: INVALID_NAME,
 * NOT_FOUND, PERMISSION_DENIED.
 */
_must_check_ int request_find_instance(struct request *request, const char *id_or_label,
				       enum policy_verb verb, struct store_instance **ret,
				       struct error *err);
_must_check_ int request_find_named_instance(struct request *request, const char *name,
					     enum policy_verb verb, struct store_instance **ret,
					     struct error *err);
_must_check_ int request_find_program(struct request *request, const char *name,
				      enum policy_verb verb, struct store_instance **ret_instance,
				      struct store_program **ret, struct error *err);
_must_check_ int request_find_map(struct request *request, const char *name, enum policy_verb verb,
				  struct store_instance **ret_instance, struct store_map **ret,
				  struct error *err);
_must_check_ int request_find_link(struct request *request, const char *name, enum policy_verb verb,
				   struct store_instance **ret_instance, struct store_link **ret,
				   struct error *err);

/* A change to one instance or link at a time: shared (attach, detach) or alone (unload). Errors:
 * INSTANCE_BUSY. */
struct busy;
_must_check_ int busy_enter(struct core *core, const char *id, bool alone, struct error *err);
void busy_leave(struct core *core, const char *id);
/* Whether a change holds it. */
bool busy_is(const struct core *core, const char *id);
