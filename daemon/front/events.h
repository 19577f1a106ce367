/* StreamEvents: the records of ring buffers, fanned out to any number of clients. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct error;
struct events;
struct front;
struct rpc_call;

/* Starts the reading thread. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int events_new(struct front *front, struct events **ret, struct error *err);
/* After the last call. NULL is fine. */
void events_free(struct events *events);
DEFINE_CLEANUP(struct events, events_free)

/* A newer policy is in force: every stream is asked for again, those refused end. */
void events_new_epoch(struct events *events);
/* `instances/ID` is gone. */
void events_end_instance(struct events *events, const char *instance);
/* Front stops: streams end with UNAVAILABLE. */
void events_stop(struct events *events);

size_t events_n_sources(const struct events *events);
size_t events_held_bytes(const struct events *events);

/* Callbacks of the row (rpc/server.h). */
void events_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user);
void events_on_writable(struct rpc_call *call, void *user);
void events_on_cancelled(struct rpc_call *call, void *user);
void events_on_done(struct rpc_call *call, void *user);
