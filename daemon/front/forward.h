/* Unary methods that core answers: one bounded message there, its answer back. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "bpfleet/v1/node.pb-c.h"

struct rpc_call;

/* Callbacks of a row (rpc/server.h). */
void forward_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void forward_on_cancelled(struct rpc_call *call, void *user);
void forward_on_done(struct rpc_call *call, void *user);

/* Attach: the symbol of a uprobe is resolved first, by bpfleet-resolver. */
void attach_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void attach_on_cancelled(struct rpc_call *call, void *user);
void attach_on_done(struct rpc_call *call, void *user);

/* A link's file is another one now: its symbol is looked up again, and core is told. */
struct front;
void attach_again(struct front *front, const char *link, const Bpfleet__V1__Hook *hook);
/* Forgets those under way. */
void attach_again_end(struct front *front);

/* GetStatus: core's, and the calls that front has counted. */
void status_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);

/* CollectGarbage: core's, and then the broken pushes that front holds. */
void garbage_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
