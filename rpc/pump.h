/*
 * Between a client's socket and gRPC, which gets one end of a socketpair
 * instead: bytes go in by measured portions, the next one when gRPC has read
 * the one before, so that what a client sends never keeps gRPC busy for longer
 * than a portion takes. What comes out is passed on as fast as the client
 * reads, and kept back in gRPC when it does not. Loop thread.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct error;
struct rpc_loop;
struct rpc_pump;

/*
 * Takes client_fd in any case; *ret_grpc_fd is for gRPC. Of the streams a client opens, about
 * max_backlog may be inside gRPC before they have come out as calls (rpc_pump_accepted()).
 * on_end(arg) comes at most once, when either side has ended and what gRPC had to say has been
 * passed on. Errors: OUT_OF_MEMORY, IO.
 */
_must_check_ int rpc_pump_open(struct rpc_loop *loop, int client_fd, unsigned int max_backlog,
			       void (*on_end)(void *arg), void (*on_room)(void *arg), void *arg,
			       struct rpc_pump **ret, int *ret_grpc_fd, struct error *err);
/*
 * Whether gRPC can write a large message at once. If not, on_room(arg) comes when it can. One that
 * finds no room makes gRPC start a thread that waits for it, beside the loop, which costs several
 * times as much as the message.
 */
bool rpc_pump_has_room(struct rpc_pump *pump);
/* gRPC has reported one more call. */
void rpc_pump_accepted(struct rpc_pump *pump);
/* The client has taken all that gRPC had to say. */
bool rpc_pump_is_idle(const struct rpc_pump *pump);
/* Closes both sides at once. NULL is fine. */
void rpc_pump_close(struct rpc_pump *pump);
DEFINE_CLEANUP(struct rpc_pump, rpc_pump_close)
