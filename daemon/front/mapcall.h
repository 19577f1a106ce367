/* LookupMap and DumpMap: answered in front, through fds that core granted. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of the rows (rpc/server.h). */
void lookup_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void lookup_on_done(struct rpc_call *call, void *user);
void dump_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void dump_on_writable(struct rpc_call *call, void *user);
void dump_on_cancelled(struct rpc_call *call, void *user);
void dump_on_done(struct rpc_call *call, void *user);
