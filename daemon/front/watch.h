/* Watch: what is there, then `synced`, then every change that core tells. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct rpc_call;
struct watchers;

/* NULL when out of memory. */
struct watchers *watchers_new(void);
/* After the last call. NULL is fine. */
void watchers_free(struct watchers *watchers);
DEFINE_CLEANUP(struct watchers, watchers_free)

/* Core's revision, or the policy, is newer than before. */
void watchers_wake(struct watchers *watchers);
/* Front stops: watches end with UNAVAILABLE. */
void watchers_stop(struct watchers *watchers);

/* Callbacks of the row (rpc/server.h). */
void watch_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void watch_on_writable(struct rpc_call *call, void *user);
void watch_on_cancelled(struct rpc_call *call, void *user);
void watch_on_done(struct rpc_call *call, void *user);
