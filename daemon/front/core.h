/*
 * Front's end of the channel to core: requests with a callback each, never more outstanding than
 * core gave credits for, the others in a bounded queue. Everything on the loop's thread; a callback
 * never runs from within core_call().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/ipc/channel.h"

struct core;
struct error;
struct parcel;
struct rpc_loop;

#define CORE_QUEUE_MAX 1024
#define CORE_QUEUE_BYTES_MAX ((size_t)16 << 20)

/*
 * What one connection has outstanding at core. A lane may hold at most a quarter of the credits, so
 * that slow work of one client leaves core to the others. Zero it to start.
 */
struct core_lane {
	uint32_t n_outstanding;
};

/* Valid during the callback only. */
struct core_reply {
	const struct error *error; /* NULL: success */
	const uint8_t *body;
	size_t body_size;
	struct arena *arena; /* for unpacking the body; NULL with an error made in front */
	int *fd;	     /* that came along, or -1; keep it with TAKE_FD(*fd) */
};

typedef void (*core_reply_fn)(void *arg, const struct core_reply *reply);

struct core_request {
	const uint8_t *session; /* CHANNEL_SESSION_LEN bytes, NULL for OpenSession */
	const char *method;	/* a literal */
	const uint8_t *body;
	size_t body_size;
	uint64_t deadline; /* CLOCK_MONOTONIC; UINT64_MAX: none */
	int fd;		   /* -1: none; borrowed */
	/* What fd is of, NULL: nothing. It is held until core's reply, so that core, which has
	 * closed fd by then or does soon, is not the one that closes it last and waits. */
	struct parcel *parcel;
	const Bpfleet__Ipc__ResolvedTarget *resolved;
	struct core_lane *lane; /* NULL: not limited */
	bool urgent;		/* goes before all others, and never finds the queue full */
};

struct core_options {
	const char *version;
	/* Core said Hello: requests are served from now on. */
	void (*on_ready)(void *user);
	void (*on_notice)(void *user, const Bpfleet__Ipc__Notice *notice);
	/* The channel is of no more use; every callback has been called with UNAVAILABLE. */
	void (*on_lost)(void *user, const struct error *error);
	void *user;
};

/*
 * Takes fd in any case, sends our Hello, watches on the loop. Callbacks come from the loop. Errors:
 * OUT_OF_MEMORY, UNAVAILABLE, IO.
 */
_must_check_ int core_new(struct rpc_loop *loop, int fd, const struct core_options *options,
			  struct core **ret, struct error *err);
/* What is outstanding is called back with UNAVAILABLE; NULL is fine. */
void core_free(struct core *core);
DEFINE_CLEANUP(struct core, core_free)

/*
 * Sends or queues a request; fn(arg) is called exactly once unless core_cancel() comes first.
 * *ret_id (which may be NULL) names it, and is never 0. Errors: UNAVAILABLE (core is gone, or too
 * many requests wait), OUT_OF_MEMORY, REQUEST_TOO_LARGE.
 */
_must_check_ int core_call(struct core *core, const struct core_request *request, core_reply_fn fn,
			   void *arg, uint64_t *ret_id, struct error *err);

/* The callback will not come. What was sent runs on in core, its reply is dropped. 0 is nothing. */
void core_cancel(struct core *core, uint64_t id);
/* The lane goes away; what it has outstanding is no longer counted. */
void core_forget_lane(struct core *core, struct core_lane *lane);

/* Requests sent and not answered, and requests waiting for credit. */
size_t core_n_outstanding(const struct core *core);
size_t core_n_queued(const struct core *core);

/* ---- replies */

/* Unpacks the body of a successful reply into the reply's arena. Errors: PROTOCOL. */
_must_check_ int core_reply_unpack(const struct core_reply *reply,
				   const ProtobufCMessageDescriptor *descriptor,
				   ProtobufCMessage **ret, struct error *err);
