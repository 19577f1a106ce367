#define _GNU_SOURCE
#include "rpc/server.h"

#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>

#include "base/error.h"
#include "rpc/pump.h"
#include "rpc/server-internal.h"

#define MAX_CALLS_DEFAULT 64U
#define MAX_METADATA_DEFAULT 8192U
/* Calls that wait for their turn, and ended ones that are not free yet. gRPC
 * holds a client that keeps to the rules at max_calls; one that comes here with
 * more than this on top of twice that many does not. */
#define CALLS_SLACK 16U

/* For GOAWAY and the last answer to reach a client that is being left. */
#define LINGER_MS 200

/* ---- services */

static const ProtobufCMethodDescriptor *descriptor_find(const ProtobufCServiceDescriptor *service,
							const char *name, size_t n)
{
	for (unsigned int i = 0; i < service->n_methods; i++) {
		const char *candidate = service->methods[i].name;

		if (strncmp(candidate, name, n) == 0 && candidate[n] == '\0')
			return &service->methods[i];
	}
	return NULL;
}

static const struct rpc_method *method_find(const struct rpc_service *service, const char *name,
					    size_t n)
{
	for (size_t i = 0; i < service->n_methods; i++) {
		const char *candidate = service->methods[i].name;

		if (strncmp(candidate, name, n) == 0 && candidate[n] == '\0')
			return &service->methods[i];
	}
	return NULL;
}

bool rpc_connection_find(const struct rpc_connection *connection, const char *path, size_t n,
			 const struct rpc_method **ret_method,
			 const ProtobufCMethodDescriptor **ret_descriptor)
{
	const char *slash = n > 1 ? memrchr(path + 1, '/', n - 1) : NULL;
	size_t n_service, n_method;

	if (slash == NULL || path[0] != '/')
		return false;
	n_service = (size_t)(slash - path) - 1;
	n_method = n - n_service - 2;
	for (size_t i = 0; i < connection->n_services; i++) {
		const struct rpc_service *service = connection->services[i];
		const struct rpc_method *method;

		if (strlen(service->descriptor->name) != n_service ||
		    memcmp(service->descriptor->name, path + 1, n_service) != 0)
			continue;
		method = method_find(service, slash + 1, n_method);
		if (method == NULL)
			return false;
		*ret_method = method;
		*ret_descriptor =
			descriptor_find(service->descriptor, method->name, strlen(method->name));
		return true;
	}
	return false;
}

static int services_check(const struct rpc_service *const *services, size_t n_services,
			  size_t *ret_max_message, struct error *err)
{
	size_t max = RPC_MESSAGE_MAX_DEFAULT;

	for (size_t i = 0; i < n_services; i++) {
		for (size_t m = 0; m < services[i]->n_methods; m++) {
			const struct rpc_method *method = &services[i]->methods[m];

			if (descriptor_find(services[i]->descriptor, method->name,
					    strlen(method->name)) == NULL ||
			    method->on_call == NULL)
				return error_raise(err, ERROR_INVALID_ARGUMENT,
						   "no method '%s' in %s, or none to call",
						   method->name, services[i]->descriptor->name);
			if (method->max_message_bytes > max)
				max = method->max_message_bytes;
		}
	}
	*ret_max_message = max;
	return 0;
}

/* ---- the end */

static void connection_check_end(struct rpc_connection *connection)
{
	if (!connection->closed || !connection->shutdown_done || connection->accept.posted ||
	    connection->n_calls > 0)
		return;
	rpc_timer_cancel(TAKE_PTR(connection->linger));
	rpc_loop_leave(connection->loop, &connection->member);
	if (connection->options.on_closed != NULL)
		connection->options.on_closed(connection, connection->user);
	grpc_server_destroy(connection->server);
	grpc_call_details_destroy(&connection->accept.details);
	grpc_metadata_array_destroy(&connection->accept.metadata);
	free(connection);
}

static void shutdown_done(struct rpc_event *event, bool ok)
{
	struct rpc_connection *connection =
		CONTAINER_OF(event, struct rpc_connection, shutdown_event);

	(void)ok;
	connection->shutdown_done = true;
	connection_check_end(connection);
}

static void closed(struct rpc_event *event, bool ok)
{
	struct rpc_connection *connection =
		CONTAINER_OF(event, struct rpc_connection, closed_event);

	(void)ok;
	connection->closed = true;
	connection_check_end(connection);
}

static void connection_linger(struct rpc_connection *connection);

static void lingered(void *arg)
{
	struct rpc_connection *connection = arg;

	connection->linger = NULL;
	if (connection->n_calls > 0 || connection->closing)
		return;
	if (rpc_pump_is_idle(connection->pump))
		rpc_connection_close(connection);
	else
		connection_linger(connection);
}

/*
 * gRPC itself waits for the client to answer, and one that makes no call does not even look.
 * Without memory the end of the drain closes the connection.
 */
static void connection_linger(struct rpc_connection *connection)
{
	if (connection->shutdown_asked && !connection->closing && connection->n_calls == 0 &&
	    connection->linger == NULL)
		connection->linger =
			rpc_loop_after(connection->loop, LINGER_MS, lingered, connection);
}

void rpc_connection_drain(struct rpc_connection *connection)
{
	if (connection->shutdown_asked)
		return;
	connection->shutdown_asked = true;
	RPC_HAND_OVER(&connection->shutdown_event);
	grpc_server_shutdown_and_notify(connection->server, rpc_loop_queue(connection->loop),
					&connection->shutdown_event);
	connection_linger(connection);
}

void rpc_connection_close(struct rpc_connection *connection)
{
	if (connection->closing)
		return;
	connection->closing = true;
	rpc_pump_close(TAKE_PTR(connection->pump));
	rpc_connection_drain(connection);
	grpc_server_cancel_all_calls(connection->server);
	rpc_loop_poke(connection->loop);
	rpc_event_raise(&connection->closed_event);
}

void rpc_connection_call_ended(struct rpc_connection *connection)
{
	connection->n_calls--;
	connection_linger(connection);
	connection_check_end(connection);
}

static void pump_ended(void *arg)
{
	rpc_connection_close(arg);
}

static void pump_has_room(void *arg)
{
	const struct rpc_connection *connection = arg;
	struct rpc_call *next;

	for (struct rpc_call *call = connection->calls; call != NULL; call = next) {
		next = rpc_call_next(call);
		rpc_call_go_on(call);
	}
}

static void member_drain(struct rpc_member *member)
{
	rpc_connection_drain(CONTAINER_OF(member, struct rpc_connection, member));
}

static void member_close(struct rpc_member *member)
{
	rpc_connection_close(CONTAINER_OF(member, struct rpc_connection, member));
}

/* ---- the beginning */

static void accept_post(struct rpc_connection *connection)
{
	struct rpc_accept *accept = &connection->accept;
	grpc_completion_queue *queue = rpc_loop_queue(connection->loop);

	if (connection->shutdown_asked)
		return;
	RPC_HAND_OVER(&accept->event);
	accept->posted = grpc_server_request_call(connection->server, &accept->call,
						  &accept->details, &accept->metadata, queue, queue,
						  &accept->event) == GRPC_CALL_OK;
	if (!accept->posted)
		rpc_connection_close(connection);
}

static void accepted(struct rpc_event *event, bool ok)
{
	struct rpc_accept *accept = CONTAINER_OF(event, struct rpc_accept, event);
	struct rpc_connection *connection = CONTAINER_OF(accept, struct rpc_connection, accept);

	if (ok && connection->n_calls >= 2 * connection->options.max_calls + CALLS_SLACK)
		rpc_connection_close(connection);
	if (ok && connection->pump != NULL)
		rpc_pump_accepted(connection->pump);
	if (ok)
		rpc_call_begin(connection, accept);
	accept->posted = false;
	accept_post(connection);
	connection_check_end(connection);
}

static grpc_arg arg_integer(const char *key, size_t value)
{
	return (grpc_arg){ .type = GRPC_ARG_INTEGER,
			   .key = (char *)(uintptr_t)key,
			   .value.integer = value < INT32_MAX ? (int)value : INT32_MAX };
}

static void server_start(struct rpc_connection *connection, int fd, size_t max_message)
{
	grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
	grpc_arg list[] = {
		arg_integer(GRPC_ARG_MAX_CONCURRENT_STREAMS, connection->options.max_calls),
		/* Ours is the limit of the row, with a better answer; this one bounds
		   memory. */
		arg_integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, 2 * max_message),
		arg_integer(GRPC_ARG_MAX_METADATA_SIZE, connection->options.max_metadata_bytes),
		/* Windows stay at 64 KiB a stream; they would grow with the peer's
		   appetite. */
		arg_integer(GRPC_ARG_HTTP2_BDP_PROBE, 0),
		arg_integer(GRPC_ARG_ENABLE_CHANNELZ, 0),
		/* Identity alone: a compressed message is a way to make us hold more than
		 * was sent.
		 */
		arg_integer(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
	};
	grpc_channel_args args = { .num_args = ARRAY_SIZE(list), .args = list };

	connection->server = grpc_server_create(&args, NULL);
	grpc_server_register_completion_queue(connection->server, rpc_loop_queue(connection->loop),
					      NULL);
	grpc_server_register_completion_queue(connection->server,
					      rpc_loop_io_queue(connection->loop), NULL);
	grpc_server_start(connection->server);
	grpc_server_add_channel_from_fd(connection->server, fd, credentials);
	grpc_server_credentials_release(credentials);
}

static struct rpc_connection_options options_filled(const struct rpc_connection_options *options)
{
	struct rpc_connection_options filled = { 0 };

	if (options != NULL)
		filled = *options;
	if (filled.max_calls == 0)
		filled.max_calls = MAX_CALLS_DEFAULT;
	if (filled.max_metadata_bytes == 0)
		filled.max_metadata_bytes = MAX_METADATA_DEFAULT;
	return filled;
}

int rpc_connection_new(struct rpc_loop *loop, int fd, const struct rpc_service *const *services,
		       size_t n_services, const struct rpc_connection_options *options, void *user,
		       struct rpc_connection **ret, struct error *err)
{
	_cleanup_close_ int owned_fd = fd;
	_cleanup_free_ struct rpc_connection *connection = NULL;
	size_t max_message = 0;
	int grpc_fd, r;

	if (rpc_loop_draining(loop))
		return error_raise(err, ERROR_UNAVAILABLE, "the server is stopping");
	r = services_check(services, n_services, &max_message, err);
	if (r < 0)
		return r;
	connection = calloc(1, sizeof(*connection));
	if (connection == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot serve a connection");
	*connection = (struct rpc_connection){
		.member = { .drain = member_drain, .close = member_close },
		.loop = loop,
		.services = services,
		.n_services = n_services,
		.options = options_filled(options),
		.user = user,
	};
	r = rpc_pump_open(loop, TAKE_FD(owned_fd), connection->options.max_calls + CALLS_SLACK,
			  pump_ended, pump_has_room, connection, &connection->pump, &grpc_fd, err);
	if (r < 0)
		return r;
	rpc_event_init(&connection->accept.event, loop, accepted);
	rpc_event_init(&connection->shutdown_event, loop, shutdown_done);
	rpc_event_init(&connection->closed_event, loop, closed);
	grpc_call_details_init(&connection->accept.details);
	grpc_metadata_array_init(&connection->accept.metadata);
	server_start(connection, grpc_fd, max_message);
	rpc_loop_join(loop, &connection->member);
	accept_post(connection);
	*ret = TAKE_PTR(connection);
	return 0;
}

void *rpc_connection_user(const struct rpc_connection *connection)
{
	return connection->user;
}

void rpc_connection_set_user(struct rpc_connection *connection, void *user)
{
	connection->user = user;
}

unsigned int rpc_connection_n_calls(const struct rpc_connection *connection)
{
	return connection->n_calls;
}
