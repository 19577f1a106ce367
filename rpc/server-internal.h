/* A connection and its calls, as rpc/connection.c and rpc/call.c see each
 * other. */
#pragma once

#include <grpc/grpc.h>

#include "rpc/internal.h"
#include "rpc/server.h"
#include "rpc/status.h"

struct rpc_pump;

/* The one posted request of a connection: where gRPC puts the next call. */
struct rpc_accept {
	struct rpc_event event;
	bool posted;
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
};

struct rpc_connection {
	struct rpc_member member;
	struct rpc_loop *loop;
	grpc_server *server;
	/* Holds the client's socket, and knows when it ends: gRPC tells nobody. */
	struct rpc_pump *pump;
	const struct rpc_service *const *services;
	size_t n_services;
	struct rpc_connection_options options;
	void *user;
	struct rpc_accept accept;
	struct rpc_event shutdown_event;
	bool shutdown_asked;
	bool shutdown_done;
	struct rpc_timer *linger; /* draining, and no call is left */
	struct rpc_event closed_event;
	bool closing;
	bool closed;
	struct rpc_call *calls;
	unsigned int n_calls;
	/* Of these: handed to handlers, and waiting until one of them ends. */
	unsigned int n_served;
	struct rpc_call *waiting;
};

/* Takes what the posted request was filled with, and serves it. */
void rpc_call_begin(struct rpc_connection *connection, struct rpc_accept *accept);
/* Sends what had to wait for room in the pump. */
void rpc_call_go_on(struct rpc_call *call);
/* In connection->calls. */
struct rpc_call *rpc_call_next(const struct rpc_call *call);
/* A call has ended and left connection->calls. May free the connection. */
void rpc_connection_call_ended(struct rpc_connection *connection);
/* The row and descriptor for a path "/package.Service/Method"; false if there
 * is none. */
bool rpc_connection_find(const struct rpc_connection *connection, const char *path, size_t n,
			 const struct rpc_method **ret_method,
			 const ProtobufCMethodDescriptor **ret_descriptor);
