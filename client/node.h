/*
 * A connection to the node daemon: what libbpfleet and the CLI share. Calls by method name with
 * protobuf-c messages, lists over all their pages, streams that another thread can cancel.
 * Functions may be called from several threads.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct arena;
struct error;
struct node;
struct rpc_stream;

#define NODE_SOCKET_DEFAULT "/run/bpfleet/bpfleet.sock"
#define NODE_TIMEOUT_DEFAULT_MS 30000U
/* What the answers of one operation may take in memory: lists of everything included. */
#define NODE_ARENA_LIMIT ((size_t)512 << 20)

/*
 * Prepares a connection; nothing is sent yet. socket_path NULL: $BPFLEET_SOCKET or the default.
 * timeout_ms 0: the default. Errors: INVALID_ARGUMENT (the path), OUT_OF_MEMORY.
 */
_must_check_ int node_open(const char *socket_path, uint32_t timeout_ms, struct node **ret,
			   struct error *err);
/* All its streams must be freed before. */
void node_close(struct node *node);
DEFINE_CLEANUP(struct node, node_close)

const char *node_socket_path(const struct node *node);

/*
 * One call of NodeService; the answer lives in the arena. A connection lost under way is tried
 * again a few times within the timeout, which is safe because every change carries a request id.
 * Errors: the daemon's; UNAVAILABLE and PERMISSION_DENIED saying what is wrong with the socket.
 */
_must_check_ int node_call(struct node *node, const char *method, const ProtobufCMessage *request,
			   struct arena *arena, ProtobufCMessage **ret_response, struct error *err);

/*
 * All pages of a list method: sets page_size and page_token of the request by itself and gathers
 * the answers' one repeated field. At most `limit` items; 0: all. The array lives in the arena.
 */
_must_check_ int node_list(struct node *node, const char *method, ProtobufCMessage *request,
			   size_t limit, struct arena *arena, ProtobufCMessage ***ret_items,
			   size_t *ret_n, struct error *err);

/*
 * Opens a stream that node_cancel() reaches. deadline is CLOCK_MONOTONIC ns or UINT64_MAX. Free
 * with node_stream_free().
 */
_must_check_ int node_stream_open(struct node *node, const char *method, uint64_t deadline,
				  struct rpc_stream **ret, struct error *err);
void node_stream_free(struct node *node, struct rpc_stream *stream);

/* Limits the stream's standing still to the node's timeout; it may take any time altogether. */
void node_stream_limit(const struct node *node, struct rpc_stream *stream);

/* A server stream: opens it, sends the one request and no more. */
_must_check_ int node_subscribe(struct node *node, const char *method,
				const ProtobufCMessage *request, uint64_t deadline,
				struct rpc_stream **ret, struct error *err);

/* Cancels the calls and streams that are under way. */
void node_cancel(struct node *node);

/* Whether anything accepts connections at the socket: UNAVAILABLE, PERMISSION_DENIED if not. */
_must_check_ int node_check(const struct node *node, struct error *err);

/*
 * After a stream failed with r: if the daemon cannot be reached, replaces the error by one that
 * says what is wrong with the socket. Returns the errno to go on with.
 */
int node_explain(const struct node *node, int r, struct error *err);

#define NODE_REQUEST_ID_LEN 36
/* A fresh UUID (version 4, RFC 9562) for a request. Errors: INTERNAL. */
_must_check_ int node_request_id(char out[static NODE_REQUEST_ID_LEN + 1], struct error *err);
