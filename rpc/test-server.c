#include "rpc/test-server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/arena.h"
#include "rpc/health.h"
#include "rpc/listener.h"
#include "rpc/reflection.h"

#define WAIT_STEP_MS 2
#define WAIT_STEPS 2500

typedef Bpfleet__Rpc__Test__EchoRequest echo_request;
typedef Bpfleet__Rpc__Test__EchoResponse echo_response;

static const char *const service_names[] = { "bpfleet.rpc.test.Echo", "grpc.health.v1.Health" };
static pthread_t server_thread;

static void die(const char *what, const struct error *error)
{
	(void)fprintf(stderr, "%s: %s\n", what, error->message);
	abort();
}

static const echo_request *echo_of(const ProtobufCMessage *message)
{
	return (const void *)message;
}

static struct test_server *begun(void *user)
{
	struct test_server *server = user;

	atomic_fetch_add(&server->n_begun, 1);
	return server;
}

static bool failed_as_told(struct rpc_call *call, const echo_request *request)
{
	struct error error = { 0 };

	if (request->fail_with[0] == '\0')
		return false;
	(void)error_raise_errno(&error, error_code_from_reason(request->fail_with), 5,
				"told to fail");
	error_detail(&error, "kind", "test");
	(void)rpc_call_fail(call, &error);
	return true;
}

/* ---- Unary, Small, Hold */

static void unary_answer(struct rpc_call *call, const echo_request *request)
{
	echo_response response = BPFLEET__RPC__TEST__ECHO_RESPONSE__INIT;
	uint64_t deadline = rpc_call_deadline(call);
	const char *value;
	const uint8_t *bytes;
	size_t n;

	response.payload = request->payload;
	response.n = request->n;
	if (rpc_call_metadata(call, "x-test", &value, &n))
		response.metadata = arena_strndup(rpc_call_arena(call), value, n);
	if (rpc_call_metadata(call, "x-test-bin", &value, &n)) {
		response.metadata_bin.data = (uint8_t *)(uintptr_t)value;
		response.metadata_bin.len = n;
	}
	rpc_call_request_bytes(call, &bytes, &n);
	if (request->n == 1) {
		response.request.data = (uint8_t *)(uintptr_t)bytes;
		response.request.len = n;
	}
	response.left_ms =
		deadline == UINT64_MAX ? UINT64_MAX : (deadline - clock_monotonic_ns()) / NS_PER_MS;
	(void)rpc_call_reply(call, &response.base);
}

struct delayed {
	struct rpc_call *call;
	const echo_request *request;
};

static void delay_over(void *arg)
{
	struct delayed *delayed = arg;
	echo_response late = BPFLEET__RPC__TEST__ECHO_RESPONSE__INIT;

	if (rpc_call_alive(delayed->call))
		unary_answer(delayed->call, delayed->request);
	else
		(void)rpc_call_reply(delayed->call, &late.base);
	rpc_call_unref(delayed->call);
	free(delayed);
}

static void unary(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const echo_request *request = echo_of(message);
	struct test_server *server = begun(user);
	struct delayed *delayed;

	if (failed_as_told(call, request))
		return;
	if (request->delay_ms == 0) {
		unary_answer(call, request);
		return;
	}
	delayed = calloc(1, sizeof(*delayed));
	*delayed = (struct delayed){ rpc_call_ref(call), request };
	(void)rpc_loop_after(server->loop, request->delay_ms, delay_over, delayed);
}

static void hold(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	(void)call;
	(void)message;
	(void)begun(user);
}

static void cancelled(struct rpc_call *call, void *user)
{
	struct test_server *server = user;

	(void)call;
	atomic_fetch_add(&server->n_cancelled, 1);
}

static void done(struct rpc_call *call, void *user)
{
	struct test_server *server = user;

	free(rpc_call_state(call));
	atomic_fetch_add(&server->n_done, 1);
}

/* ---- Collect */

struct collected {
	uint64_t n;
	uint64_t n_bytes;
};

static void stream_begin(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	(void)message;
	(void)begun(user);
	rpc_call_set_state(call, calloc(1, sizeof(struct collected)));
	(void)rpc_call_receive(call);
}

static void collect_answer(struct rpc_call *call)
{
	const struct collected *collected = rpc_call_state(call);
	echo_response response = BPFLEET__RPC__TEST__ECHO_RESPONSE__INIT;

	response.n = collected->n;
	response.n_bytes = collected->n_bytes;
	(void)rpc_call_reply(call, &response.base);
}

static void collect_message(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct collected *collected = rpc_call_state(call);

	(void)user;
	if (failed_as_told(call, echo_of(message)))
		return;
	collected->n++;
	collected->n_bytes += echo_of(message)->payload.len;
	if (echo_of(message)->answer)
		collect_answer(call);
	else
		(void)rpc_call_receive(call);
}

static void collect_half_close(struct rpc_call *call, void *user)
{
	struct test_server *server = user;

	atomic_fetch_add(&server->n_half_closed, 1);
	collect_answer(call);
}

/* ---- Feed */

struct feed {
	const echo_request *request;
	uint32_t n;
};

static void feed_more(struct rpc_call *call, void *user)
{
	struct test_server *server = user;
	struct feed *feed = rpc_call_state(call);
	echo_response response = BPFLEET__RPC__TEST__ECHO_RESPONSE__INIT;
	int r = 1;

	response.payload = feed->request->payload;
	while (r == 1 && feed->n < feed->request->n) {
		response.n = feed->n;
		r = rpc_call_send(call, &response.base);
		if (r < 0)
			return;
		feed->n++;
		atomic_fetch_add(&server->n_fed, 1);
		if (rpc_call_send_queue(call) > atomic_load(&server->max_queue))
			atomic_store(&server->max_queue, rpc_call_send_queue(call));
	}
	if (feed->n == feed->request->n && !failed_as_told(call, feed->request))
		(void)rpc_call_finish(call);
}

static void feed(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct feed *state = calloc(1, sizeof(*state));

	(void)begun(user);
	state->request = echo_of(message);
	rpc_call_set_state(call, state);
	feed_more(call, user);
}

/* ---- Chat */

static void chat_message(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	echo_response response = BPFLEET__RPC__TEST__ECHO_RESPONSE__INIT;

	(void)user;
	if (failed_as_told(call, echo_of(message)))
		return;
	response.payload = echo_of(message)->payload;
	response.n = echo_of(message)->n;
	if (rpc_call_send(call, &response.base) == 1)
		(void)rpc_call_receive(call);
}

static void chat_writable(struct rpc_call *call, void *user)
{
	(void)user;
	(void)rpc_call_receive(call);
}

static void chat_half_close(struct rpc_call *call, void *user)
{
	(void)user;
	(void)rpc_call_finish(call);
}

/* ---- life */

static void closed(struct rpc_connection *connection, void *user)
{
	struct test_server *server = user;

	(void)connection;
	atomic_fetch_add(&server->n_closed, 1);
	rpc_listener_release(server->listener);
}

static unsigned int configured_max_calls;

static void accepted(void *user, int fd)
{
	struct test_server *server = user;
	struct rpc_connection_options options = { .max_calls = configured_max_calls,
						  .on_closed = closed };
	struct rpc_connection *connection;
	struct error error = { 0 };

	atomic_fetch_add(&server->n_accepted, 1);
	if (rpc_connection_new(server->loop, fd, server->services, ARRAY_SIZE(server->services),
			       &options, server, &connection, &error) < 0)
		rpc_listener_release(server->listener);
}

static void methods_fill(struct test_server *server)
{
	const struct rpc_method rows[] = {
		{ .name = "Unary", .kind = RPC_UNARY, .on_call = unary },
		{ .name = "Small",
		  .kind = RPC_UNARY,
		  .max_message_bytes = TEST_SMALL_BYTES,
		  .on_call = unary },
		{ .name = "Hold", .kind = RPC_UNARY, .on_call = hold },
		{ .name = "Collect",
		  .kind = RPC_CLIENT_STREAM,
		  .on_call = stream_begin,
		  .on_message = collect_message,
		  .on_half_close = collect_half_close },
		{ .name = "Feed",
		  .kind = RPC_SERVER_STREAM,
		  .max_send_queue = TEST_FEED_QUEUE,
		  .on_call = feed,
		  .on_writable = feed_more },
		{ .name = "Chat",
		  .kind = RPC_BIDI,
		  .on_call = stream_begin,
		  .on_message = chat_message,
		  .on_half_close = chat_half_close,
		  .on_writable = chat_writable },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		server->methods[i] = rows[i];
		server->methods[i].max_arena_bytes = TEST_ARENA_BYTES;
		server->methods[i].on_cancelled = cancelled;
		server->methods[i].on_done = done;
		server->methods[i].user = server;
	}
	server->echo.descriptor = &bpfleet__rpc__test__echo__descriptor;
	server->echo.methods = server->methods;
	server->echo.n_methods = ARRAY_SIZE(rows);
}

static void services_fill(struct test_server *server)
{
	struct error error = { 0 };

	methods_fill(server);
	if (rpc_health_new(&server->health, &error) < 0 ||
	    rpc_health_set(server->health, "", true, &error) < 0 ||
	    rpc_reflection_new(rpc_descriptor_set, rpc_descriptor_set_size, service_names,
			       ARRAY_SIZE(service_names), &server->reflection, &error) < 0)
		die("services", &error);
	server->services[0] = &server->echo;
	server->services[1] = rpc_health_service(server->health);
	server->services[2] = rpc_reflection_v1(server->reflection);
	server->services[3] = rpc_reflection_v1alpha(server->reflection);
}

static void *server_main(void *arg)
{
	struct test_server *server = arg;

	(void)rpc_loop_run(server->loop);
	atomic_store(&server->returned, true);
	return NULL;
}

struct test_server *test_server_start(unsigned int max_calls, unsigned int max_connections)
{
	struct test_server *server = calloc(1, sizeof(*server));
	struct error error = { 0 };
	int fd;

	configured_max_calls = max_calls > 0 ? max_calls : TEST_MAX_CALLS;
	(void)snprintf(server->directory, sizeof(server->directory), "/tmp/bpfleet-rpc-XXXXXX");
	if (mkdtemp(server->directory) == NULL)
		die("mkdtemp", &error);
	(void)snprintf(server->target, sizeof(server->target), "unix:%s/socket", server->directory);
	services_fill(server);
	if (rpc_loop_new(&server->loop, &error) < 0 ||
	    rpc_listen_unix(test_server_path(server), 0600, &fd, &error) < 0 ||
	    rpc_listener_new(server->loop, fd, max_connections > 0 ? max_connections : 256,
			     accepted, server, &server->listener, &error) < 0)
		die("server", &error);
	(void)pthread_create(&server_thread, NULL, server_main, server);
	return server;
}

void test_server_stop(struct test_server *server, unsigned int grace_ms)
{
	rpc_loop_drain(server->loop, grace_ms);
	pthread_join(server_thread, NULL);
	rpc_loop_free(server->loop);
	rpc_listener_free(server->listener);
	rpc_health_free(server->health);
	rpc_reflection_free(server->reflection);
	(void)unlink(test_server_path(server));
	(void)rmdir(server->directory);
	free(server);
}

const char *test_server_path(const struct test_server *server)
{
	return server->target + strlen("unix:");
}

bool test_wait(const atomic_uint *counter, unsigned int n)
{
	const struct timespec step = { .tv_nsec = WAIT_STEP_MS * (long)NS_PER_MS };

	for (unsigned int i = 0; i < WAIT_STEPS; i++) {
		if (atomic_load(counter) >= n)
			return true;
		(void)nanosleep(&step, NULL);
	}
	return false;
}

uint64_t test_deadline(unsigned int ms)
{
	return clock_monotonic_ns() + ms * NS_PER_MS;
}
