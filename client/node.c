#include "client/node.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define PAGE_SIZE_MAX 1000U
#define RETRIES_MAX 3
#define RETRY_PAUSE_MS 20

#define SERVICE (&bpfleet__v1__node_service__descriptor)

struct open_stream {
	struct rpc_stream *stream;
	struct open_stream *next;
};

struct node {
	struct rpc_channel *channel;
	char *socket_path;
	uint32_t timeout_ms;
	atomic_uint n_cancels;
	pthread_mutex_t lock; /* of streams */
	struct open_stream *streams;
};

int node_open(const char *socket_path, uint32_t timeout_ms, struct node **ret, struct error *err)
{
	_cleanup_(node_closep) struct node *node = NULL;
	char target[sizeof("unix:") + sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int r;

	if (socket_path == NULL)
		socket_path = getenv("BPFLEET_SOCKET");
	if (socket_path == NULL || socket_path[0] == '\0')
		socket_path = NODE_SOCKET_DEFAULT;
	if (strlen(socket_path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the socket path has %zu bytes and a unix socket's at most %zu",
				   strlen(socket_path),
				   sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	node = calloc(1, sizeof(*node));
	if (node == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	(void)pthread_mutex_init(&node->lock, NULL);
	node->timeout_ms = timeout_ms == 0 ? NODE_TIMEOUT_DEFAULT_MS : timeout_ms;
	node->socket_path = strdup(socket_path);
	if (node->socket_path == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	(void)snprintf(target, sizeof(target), "unix:%s", socket_path);
	r = rpc_channel_open(target, NULL, &node->channel, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(node);
	return 0;
}

void node_close(struct node *node)
{
	if (node == NULL)
		return;
	rpc_channel_close(node->channel);
	(void)pthread_mutex_destroy(&node->lock);
	free(node->socket_path);
	free(node);
}

const char *node_socket_path(const struct node *node)
{
	return node->socket_path;
}

/* 0 if something accepts connections at the path, else the errno of connect(2). */
static int probe(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return errno;
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == EAGAIN ? 0 : errno;
	return 0;
}

int node_check(const struct node *node, struct error *err)
{
	int failure = probe(node->socket_path), r;
	struct str path = { 0 };
	const char *shown;

	if (failure == 0)
		return 0;
	(void)str_append_escaped(&path, node->socket_path, SIZE_MAX);
	shown = path.failed ? "" : path.data;
	if (failure == EACCES || failure == EPERM)
		r = error_raise(err, ERROR_PERMISSION_DENIED,
				"you may not open the daemon's socket %s", shown);
	else if (failure == ENOENT || failure == ENOTDIR)
		r = error_raise(err, ERROR_UNAVAILABLE, "there is no socket %s", shown);
	else if (failure == ECONNREFUSED)
		r = error_raise(err, ERROR_UNAVAILABLE, "no daemon answers at the socket %s",
				shown);
	else
		r = error_raise_errno(err, ERROR_UNAVAILABLE, failure,
				      "cannot connect to the socket %s", shown);
	str_done(&path);
	return r;
}

int node_explain(const struct node *node, int r, struct error *err)
{
	struct error reason = { 0 };

	if (r >= 0 || err == NULL || err->code != ERROR_UNAVAILABLE)
		return r;
	if (node_check(node, &reason) == 0)
		return r;
	*err = reason;
	return -error_info(reason.code)->sys_errno;
}

/*
 * Whether the time ran out on our side: gRPC then says so in two words, or that it was still
 * connecting. A daemon that ran out of time says what became of the change, and is not overruled.
 */
static bool is_silence(const struct node *node, const struct error *failure, uint64_t deadline)
{
	if (clock_monotonic_ns() < deadline)
		return false;
	if (failure->code == ERROR_UNAVAILABLE)
		return probe(node->socket_path) == 0;
	return failure->code == ERROR_DEADLINE_EXCEEDED &&
	       strcmp(failure->message, "Deadline Exceeded") == 0;
}

static int cancelled(struct error *err)
{
	return error_raise(err, ERROR_CANCELLED, "the call was cancelled");
}

int node_call(struct node *node, const char *method, const ProtobufCMessage *request,
	      struct arena *arena, ProtobufCMessage **ret_response, struct error *err)
{
	uint64_t deadline = clock_monotonic_ns() + node->timeout_ms * NS_PER_MS;
	unsigned int n_cancels = atomic_load(&node->n_cancels);
	struct error failure = { 0 };
	int r = 0;

	for (unsigned int i = 0; i <= RETRIES_MAX; i++) {
		failure = (struct error){ 0 };
		r = rpc_unary(node->channel, SERVICE, method, request, deadline, arena,
			      ret_response, &failure);
		if (r >= 0)
			return 0;
		/* The second: a lost call of ours is still being carried out. */
		if ((failure.code != ERROR_UNAVAILABLE &&
		     failure.code != ERROR_REQUEST_IN_PROGRESS) ||
		    clock_monotonic_ns() >= deadline || probe(node->socket_path) != 0)
			break;
		(void)poll(NULL, 0, RETRY_PAUSE_MS);
		if (atomic_load(&node->n_cancels) != n_cancels) {
			r = cancelled(&failure);
			break;
		}
	}
	if (is_silence(node, &failure, deadline))
		r = error_raise(&failure, ERROR_DEADLINE_EXCEEDED,
				"the daemon did not answer within %u ms", node->timeout_ms);
	r = node_explain(node, r, &failure);
	if (err != NULL)
		*err = failure;
	return r;
}

static void *field_at(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (uint8_t *)message + field->offset;
}

static const ProtobufCFieldDescriptor *field_named(const ProtobufCMessage *message,
						   const char *name)
{
	return protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
}

static const ProtobufCFieldDescriptor *repeated_field(const ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		if (message->descriptor->fields[i].label == PROTOBUF_C_LABEL_REPEATED)
			return &message->descriptor->fields[i];
	}
	return NULL;
}

struct gathered {
	ProtobufCMessage **items;
	size_t n;
};

static int gather(struct gathered *all, ProtobufCMessage *response, size_t limit, struct error *err)
{
	const ProtobufCFieldDescriptor *field = repeated_field(response);
	ProtobufCMessage **items, **page;
	size_t n;

	if (field == NULL)
		return error_raise(err, ERROR_INTERNAL, "%s is not the answer of a list",
				   response->descriptor->name);
	n = *(size_t *)(void *)((uint8_t *)response + field->quantifier_offset);
	page = *(ProtobufCMessage ***)field_at(response, field);
	if (limit != 0 && n > limit - all->n)
		n = limit - all->n;
	if (n == 0)
		return 0;
	items = reallocarray(all->items, all->n + n, sizeof(void *));
	if (items == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	memcpy(items + all->n, page, n * sizeof(void *));
	all->items = items;
	all->n += n;
	return 0;
}

int node_list(struct node *node, const char *method, ProtobufCMessage *request, size_t limit,
	      struct arena *arena, ProtobufCMessage ***ret_items, size_t *ret_n, struct error *err)
{
	const ProtobufCFieldDescriptor *size = field_named(request, "page_size");
	const ProtobufCFieldDescriptor *token = field_named(request, "page_token");
	unsigned int n_cancels = atomic_load(&node->n_cancels);
	struct gathered all = { 0 };
	_cleanup_free_ ProtobufCMessage **owned = NULL;
	ProtobufCMessage *response = NULL, **items;
	const char *next;
	int r;

	if (size == NULL || token == NULL)
		return error_raise(err, ERROR_INTERNAL, "%s does not list", method);
	do {
		size_t wanted = limit == 0 ? PAGE_SIZE_MAX : limit - all.n;

		*(uint32_t *)field_at(request, size) =
			wanted > PAGE_SIZE_MAX ? PAGE_SIZE_MAX : (uint32_t)wanted;
		r = node_call(node, method, request, arena, &response, err);
		if (r < 0)
			return r;
		r = gather(&all, response, limit, err);
		owned = all.items;
		if (r == 0 && atomic_load(&node->n_cancels) != n_cancels)
			r = cancelled(err);
		if (r < 0)
			return r;
		next = *(char **)field_at(response, field_named(response, "next_page_token"));
		*(const char **)field_at(request, token) = next;
	} while (next[0] != '\0' && (limit == 0 || all.n < limit));
	items = arena_alloc(arena, (all.n + 1) * sizeof(void *));
	if (items == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (all.n > 0)
		memcpy(items, all.items, all.n * sizeof(void *));
	*ret_items = items;
	*ret_n = all.n;
	return 0;
}

int node_stream_open(struct node *node, const char *method, uint64_t deadline,
		     struct rpc_stream **ret, struct error *err)
{
	struct open_stream *entry = calloc(1, sizeof(*entry));
	int r;

	if (entry == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = rpc_stream_open(node->channel, SERVICE, method, deadline, &entry->stream, err);
	if (r < 0) {
		free(entry);
		return node_explain(node, r, err);
	}
	(void)pthread_mutex_lock(&node->lock);
	entry->next = node->streams;
	node->streams = entry;
	(void)pthread_mutex_unlock(&node->lock);
	*ret = entry->stream;
	return 0;
}

void node_stream_limit(const struct node *node, struct rpc_stream *stream)
{
	rpc_stream_set_patience(stream, node->timeout_ms);
}

void node_stream_free(struct node *node, struct rpc_stream *stream)
{
	struct open_stream **at, *entry = NULL;

	if (stream == NULL)
		return;
	(void)pthread_mutex_lock(&node->lock);
	for (at = &node->streams; *at != NULL; at = &(*at)->next) {
		if ((*at)->stream == stream) {
			entry = *at;
			*at = entry->next;
			break;
		}
	}
	(void)pthread_mutex_unlock(&node->lock);
	free(entry);
	rpc_stream_free(stream);
}

int node_subscribe(struct node *node, const char *method, const ProtobufCMessage *request,
		   uint64_t deadline, struct rpc_stream **ret, struct error *err)
{
	struct rpc_stream *stream = NULL;
	int r;

	r = node_stream_open(node, method, deadline, &stream, err);
	if (r < 0)
		return r;
	r = rpc_stream_send(stream, request, err);
	if (r >= 0)
		r = rpc_stream_half_close(stream, err);
	if (r < 0) {
		node_stream_free(node, stream);
		return node_explain(node, r, err);
	}
	*ret = stream;
	return 0;
}

void node_cancel(struct node *node)
{
	atomic_fetch_add(&node->n_cancels, 1);
	rpc_channel_cancel(node->channel);
	(void)pthread_mutex_lock(&node->lock);
	for (struct open_stream *entry = node->streams; entry != NULL; entry = entry->next)
		rpc_stream_cancel(entry->stream);
	(void)pthread_mutex_unlock(&node->lock);
}

int node_request_id(char out[static NODE_REQUEST_ID_LEN + 1], struct error *err)
{
	uint8_t b[16];
	char hex[2 * sizeof(b) + 1];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return error_raise_errno(err, ERROR_INTERNAL, errno, "no random numbers");
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	str_hex(b, sizeof(b), hex);
	(void)snprintf(out, NODE_REQUEST_ID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8,
		       hex + 12, hex + 16, hex + 20);
	return 0;
}
