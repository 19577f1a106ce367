/* Statistics: what core sampled, with what front counted of events. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of the rows (rpc/server.h). */
void get_statistics_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void statistics_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void statistics_on_writable(struct rpc_call *call, void *user);
void statistics_on_cancelled(struct rpc_call *call, void *user);
void statistics_on_done(struct rpc_call *call, void *user);
