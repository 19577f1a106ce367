/* PushBundle and GetUpload: bytes are gathered in front and reach core as one sealed memfd. */
#pragma once

#include <protobuf-c/protobuf-c.h>

struct rpc_call;

/* Callbacks of the rows (rpc/server.h). */
void push_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void push_on_message(struct rpc_call *call, const ProtobufCMessage *message, void *user);
void push_on_half_close(struct rpc_call *call, void *user);
void push_on_cancelled(struct rpc_call *call, void *user);
void push_on_done(struct rpc_call *call, void *user);
void get_upload_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
