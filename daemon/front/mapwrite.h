/*
 * UpdateMap, DeleteMapKeys and PopMap: core writes, and knows bytes alone. What comes as text is
 * parsed here, by the map's types; what goes back as text is made here.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of the rows (rpc/server.h). */
void mapwrite_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void mapwrite_on_done(struct rpc_call *call, void *user);
