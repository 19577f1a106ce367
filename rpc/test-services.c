#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "rpc/health.h"
#include "rpc/reflection.h"
#include "rpc/test-server.h"

#define ARENA_BYTES (4U << 20)
#define HEALTH (&grpc__health__v1__health__descriptor)
#define REFLECTION (&grpc__reflection__v1__server_reflection__descriptor)
#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
#define ASK(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define TOLD(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

struct fixture {
	struct test_server *server;
	struct rpc_channel *channel;
	struct arena *arena;
	struct error error;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->server = test_server_start(0, 0);
	f->arena = arena_new(ARENA_BYTES);
	*state = f;
	return rpc_channel_open(f->server->target, NULL, &f->channel, &f->error);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rpc_channel_close(f->channel);
	test_server_stop(f->server, 2000);
	arena_free(f->arena);
	free(f);
	return 0;
}

/* ---- health */

static int health_check(struct fixture *f, const char *service)
{
	health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	ProtobufCMessage *message;
	int r;

	request.service = (char *)(uintptr_t)service;
	r = rpc_unary(f->channel, HEALTH, "Check", &request.base, test_deadline(5000), f->arena,
		      &message, &f->error);
	return r < 0 ? r : (int)((health_response *)(void *)message)->status;
}

static void health_answers_for_what_was_set(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(health_check(f, ""), STATUS(SERVING));
	assert_int_equal(health_check(f, "stranger"), -ENOENT);
	assert_int_equal(f->error.code, ERROR_NOT_FOUND);
}

struct set {
	struct test_server *server;
	const char *service;
	bool serving;
	atomic_uint done;
};

static void set_run(void *arg)
{
	struct set *set = arg;

	if (rpc_health_set(set->server->health, set->service, set->serving, NULL) == 0)
		atomic_store(&set->done, 1);
}

static void health_set(struct fixture *f, const char *service, bool serving)
{
	struct set set = { .server = f->server, .service = service, .serving = serving };

	assert_int_equal(rpc_loop_post(f->server->loop, set_run, &set), 0);
	assert_true(test_wait(&set.done, 1));
}

static int health_next(struct fixture *f, struct rpc_stream *stream)
{
	ProtobufCMessage *message;

	assert_int_equal(rpc_stream_receive(stream, f->arena, &message, &f->error), 1);
	return (int)((health_response *)(void *)message)->status;
}

static void health_watch_tells_every_change_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = NULL;
	health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;

	request.service = (char *)(uintptr_t) "later";
	assert_int_equal(rpc_stream_open(f->channel, HEALTH, "Watch", test_deadline(10000), &stream,
					 &f->error),
			 0);
	assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
	assert_int_equal(rpc_stream_half_close(stream, &f->error), 0);
	assert_int_equal(health_next(f, stream), STATUS(SERVICE_UNKNOWN));
	health_set(f, "later", true);
	assert_int_equal(health_next(f, stream), STATUS(SERVING));
	health_set(f, "later", true);
	health_set(f, "", false);
	health_set(f, "later", false);
	assert_int_equal(health_next(f, stream), STATUS(NOT_SERVING));
	assert_int_equal(health_check(f, ""), STATUS(NOT_SERVING));
	assert_int_equal(health_check(f, "later"), STATUS(NOT_SERVING));
}

/* ---- reflection */

static struct rpc_stream *reflection_open(struct fixture *f,
					  const ProtobufCServiceDescriptor *service)
{
	struct rpc_stream *stream;

	assert_int_equal(rpc_stream_open(f->channel, service, "ServerReflectionInfo",
					 test_deadline(10000), &stream, &f->error),
			 0);
	return stream;
}

static const reflection_response *reflection_ask(struct fixture *f, struct rpc_stream *stream,
						 const reflection_request *request)
{
	ProtobufCMessage *message;

	assert_int_equal(rpc_stream_send(stream, &request->base, &f->error), 0);
	assert_int_equal(rpc_stream_receive(stream, f->arena, &message, &f->error), 1);
	return (const reflection_response *)(void *)message;
}

static const reflection_response *ask_symbol(struct fixture *f, struct rpc_stream *stream,
					     const char *symbol)
{
	reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;

	request.message_request_case = ASK(FILE_CONTAINING_SYMBOL);
	request.file_containing_symbol = (char *)(uintptr_t)symbol;
	return reflection_ask(f, stream, &request);
}

static void services_listed(struct fixture *f, const ProtobufCServiceDescriptor *service)
{
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = reflection_open(f, service);
	reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	const reflection_response *response;

	request.message_request_case = ASK(LIST_SERVICES);
	request.list_services = (char *)(uintptr_t) "";
	request.host = (char *)(uintptr_t) "host";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->message_response_case, TOLD(LIST_SERVICES_RESPONSE));
	assert_string_equal(response->valid_host, "host");
	assert_string_equal(response->original_request->host, "host");
	assert_int_equal(response->list_services_response->n_service, 2);
	assert_string_equal(response->list_services_response->service[0]->name,
			    "bpfleet.rpc.test.Echo");
	assert_int_equal(rpc_stream_half_close(stream, &f->error), 0);
	assert_int_equal(rpc_stream_finish(stream, &f->error), 0);
}

static void reflection_lists_services_in_both_versions(void **state)
{
	ProtobufCServiceDescriptor v1alpha = *REFLECTION;

	v1alpha.name = "grpc.reflection.v1alpha.ServerReflection";
	services_listed(*state, REFLECTION);
	services_listed(*state, &v1alpha);
}

/* Field 1 of a FileDescriptorProto, which protoc writes first. */
static void assert_file_is(const ProtobufCBinaryData *file, const char *name)
{
	assert_true(file->len > strlen(name) + 2);
	assert_int_equal(file->data[0], 0x0a);
	assert_int_equal(file->data[1], strlen(name));
	assert_memory_equal(file->data + 2, name, strlen(name));
}

static void reflection_finds_the_file_of_every_kind_of_symbol(void **state)
{
	static const char *const symbols[] = {
		"bpfleet.v1.NodeService",	 "bpfleet.v1.NodeService.Load",
		"bpfleet.v1.LoadRequest",	 "bpfleet.v1.LoadRequest.bundle",
		"bpfleet.v1.Encoding",		 "bpfleet.v1.ENCODING_JSON",
		"bpfleet.v1.WatchResponse.part",
	};
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = reflection_open(f, REFLECTION);
	const reflection_response *response;

	for (size_t i = 0; i < ARRAY_SIZE(symbols); i++) {
		const Grpc__Reflection__V1__FileDescriptorResponse *files;

		response = ask_symbol(f, stream, symbols[i]);
		assert_int_equal(response->message_response_case, TOLD(FILE_DESCRIPTOR_RESPONSE));
		files = response->file_descriptor_response;
		assert_int_equal(files->n_file_descriptor_proto, 2);
		assert_file_is(&files->file_descriptor_proto[0], "bpfleet/v1/node.proto");
		assert_file_is(&files->file_descriptor_proto[1], "bpfleet/v1/bundle.proto");
	}
	response = ask_symbol(f, stream, "grpc.health.v1.HealthCheckResponse.ServingStatus");
	assert_file_is(&response->file_descriptor_response->file_descriptor_proto[0],
		       "grpc/health/v1/health.proto");
}

static void reflection_says_not_found_and_goes_on(void **state)
{
	static const char *const strangers[] = { "",
						 "bpfleet",
						 "bpfleet.v1",
						 "bpfleet.v1.",
						 "bpfleet.v1.NoSuch",
						 "bpfleet.v1.LoadRequest.nothing",
						 "bpfleet.v1.LoadReques",
						 "bpfleet.v1.NodeService.Load.x" };
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = reflection_open(f, REFLECTION);
	reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	Grpc__Reflection__V1__ExtensionRequest extension =
		GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
	const reflection_response *response;

	for (size_t i = 0; i < ARRAY_SIZE(strangers); i++) {
		response = ask_symbol(f, stream, strangers[i]);
		assert_int_equal(response->message_response_case, TOLD(ERROR_RESPONSE));
		assert_int_equal(response->error_response->error_code, ERROR_STATUS_NOT_FOUND);
	}
	request.message_request_case = ASK(FILE_BY_FILENAME);
	request.file_by_filename = (char *)(uintptr_t) "../etc/passwd";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->error_response->error_code, ERROR_STATUS_NOT_FOUND);
	request.message_request_case = ASK(FILE_CONTAINING_EXTENSION);
	request.file_containing_extension = &extension;
	extension.containing_type = (char *)(uintptr_t) "bpfleet.v1.LoadRequest";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->error_response->error_code, ERROR_STATUS_NOT_FOUND);
	request.message_request_case = ASK(_NOT_SET);
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->error_response->error_code, ERROR_STATUS_INVALID_ARGUMENT);
}

static void reflection_finds_files_by_name_and_knows_of_no_extension(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = reflection_open(f, REFLECTION);
	reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	const reflection_response *response;

	request.message_request_case = ASK(FILE_BY_FILENAME);
	request.file_by_filename = (char *)(uintptr_t) "google/protobuf/any.proto";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->message_response_case, TOLD(FILE_DESCRIPTOR_RESPONSE));
	assert_int_equal(response->file_descriptor_response->n_file_descriptor_proto, 1);
	request.message_request_case = ASK(ALL_EXTENSION_NUMBERS_OF_TYPE);
	request.all_extension_numbers_of_type = (char *)(uintptr_t) "bpfleet.v1.Map";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->message_response_case, TOLD(ALL_EXTENSION_NUMBERS_RESPONSE));
	assert_string_equal(response->all_extension_numbers_response->base_type_name,
			    "bpfleet.v1.Map");
	assert_int_equal(response->all_extension_numbers_response->n_extension_number, 0);
	request.all_extension_numbers_of_type = (char *)(uintptr_t) "bpfleet.v1.Mop";
	response = reflection_ask(f, stream, &request);
	assert_int_equal(response->error_response->error_code, ERROR_STATUS_NOT_FOUND);
}

static void reflection_refuses_bytes_that_are_no_descriptors(void **state)
{
	static const uint8_t garbage[] = { 0x0a, 0x03, 0x0a, 0x7f, 0x00 };
	struct rpc_reflection *reflection;
	struct error error = { 0 };

	(void)state;
	assert_true(rpc_reflection_new(garbage, sizeof(garbage), NULL, 0, &reflection, &error) < 0);
	assert_int_equal(error.code, ERROR_INVALID_ARGUMENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(health_answers_for_what_was_set),
		TEST(health_watch_tells_every_change_and_nothing_else),
		TEST(reflection_lists_services_in_both_versions),
		TEST(reflection_finds_the_file_of_every_kind_of_symbol),
		TEST(reflection_says_not_found_and_goes_on),
		TEST(reflection_finds_files_by_name_and_knows_of_no_extension),
		cmocka_unit_test(reflection_refuses_bytes_that_are_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
