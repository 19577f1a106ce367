/* Unary methods that core answers: one bounded message there, its answer back. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of a row (rpc/server.h). */
void forward_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void forward_on_cancelled(struct rpc_call *call, void *user);
void forward_on_done(struct rpc_call *call, void *user);

/* Attach: the symbol of a uprobe is resolved first, by bpfleet-resolver. */
void attach_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void attach_on_cancelled(struct rpc_call *call, void *user);
void attach_on_done(struct rpc_call *call, void *user);

/* GetStatus: core's, and the calls that front has counted. */
void status_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);

/* CollectGarbage: core's, and then the broken pushes that front holds. */
void garbage_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
