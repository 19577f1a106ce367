/* ReadIterator: one run of an iterator, read from the fd that core makes for it. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of a row (rpc/server.h). */
void iterator_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void iterator_on_writable(struct rpc_call *call, void *user);
void iterator_on_cancelled(struct rpc_call *call, void *user);
void iterator_on_done(struct rpc_call *call, void *user);
