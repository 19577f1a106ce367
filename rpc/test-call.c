#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "rpc/test-server.h"

#define ARENA_BYTES (1U << 20)
#define ECHO (&bpfleet__rpc__test__echo__descriptor)

typedef Bpfleet__Rpc__Test__EchoRequest echo_request;
typedef Bpfleet__Rpc__Test__EchoResponse echo_response;

struct fixture {
	struct test_server *server;
	struct rpc_channel *channel;
	struct arena *arena;
	struct error error;
};

static const char binary[] = { 1, 0, (char)0xff };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct rpc_metadata metadata[] = {
		{ .key = "x-test", .value = "a value", .n = 7 },
		{ .key = "x-test-bin", .value = binary, .n = sizeof(binary) },
	};
	struct rpc_channel_options options = { .metadata = metadata,
					       .n_metadata = ARRAY_SIZE(metadata) };

	f->server = test_server_start(0, 0);
	f->arena = arena_new(ARENA_BYTES);
	*state = f;
	return rpc_channel_open(f->server->target, &options, &f->channel, &f->error);
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

static void payload_set(echo_request *request, char *bytes, size_t n)
{
	request->payload.data = (uint8_t *)bytes;
	request->payload.len = n;
}

static int call(struct fixture *f, const char *method, const echo_request *request,
		uint64_t deadline, echo_response **ret)
{
	ProtobufCMessage *message;
	int r;

	f->error = (struct error){ 0 };
	r = rpc_unary(f->channel, ECHO, method, &request->base, deadline, f->arena, &message,
		      &f->error);
	if (r == 0 && ret != NULL)
		*ret = (echo_response *)(void *)message;
	return r;
}

static struct rpc_stream *stream_open(struct fixture *f, const char *method, uint64_t deadline)
{
	struct rpc_stream *stream;

	f->error = (struct error){ 0 };
	assert_int_equal(rpc_stream_open(f->channel, ECHO, method, deadline, &stream, &f->error),
			 0);
	return stream;
}

static int receive(struct fixture *f, struct rpc_stream *stream, echo_response **ret)
{
	ProtobufCMessage *message;
	int r = rpc_stream_receive(stream, f->arena, &message, &f->error);

	if (r == 1)
		*ret = (echo_response *)(void *)message;
	return r;
}

static void unary_call_brings_back_payload_and_request_bytes(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	echo_response *response;
	uint8_t packed[64];
	size_t n;

	payload_set(&request, "hello", 5);
	request.n = 1;
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), &response), 0);
	assert_int_equal(response->payload.len, 5);
	assert_memory_equal(response->payload.data, "hello", 5);
	n = protobuf_c_message_pack(&request.base, packed);
	assert_int_equal(response->request.len, n);
	assert_memory_equal(response->request.data, packed, n);
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 0);
}

static void unary_call_carries_a_message_of_many_frames(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	size_t n = TEST_ARENA_BYTES - 4096;
	_cleanup_free_ char *bytes = malloc(n);
	echo_response *response;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 31 >> 3);
	payload_set(&request, bytes, n);
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), &response), 0);
	assert_int_equal(response->payload.len, n);
	assert_memory_equal(response->payload.data, bytes, n);
}

static void handler_sees_metadata_and_deadline(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	echo_response *response;

	assert_int_equal(call(f, "Unary", &request, test_deadline(30000), &response), 0);
	assert_string_equal(response->metadata, "a value");
	assert_int_equal(response->metadata_bin.len, sizeof(binary));
	assert_memory_equal(response->metadata_bin.data, binary, sizeof(binary));
	/* gRPC sends a timeout in three digits or so, rounded up. */
	assert_in_range(response->left_ms, 20000, 31000);
	assert_int_equal(call(f, "Unary", &request, UINT64_MAX, &response), 0);
	assert_true(response->left_ms == UINT64_MAX);
}

static void handler_answers_a_call_that_it_kept(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	echo_response *response;
	uint64_t start = clock_monotonic_ns();

	payload_set(&request, "late", 4);
	request.delay_ms = 50;
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), &response), 0);
	assert_memory_equal(response->payload.data, "late", 4);
	assert_true(clock_monotonic_ns() - start >= 49 * NS_PER_MS);
}

static void error_comes_back_as_it_was_raised(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;

	for (unsigned int code = 1; code < ERROR_N_CODES; code++) {
		const struct error_info *info = error_info((enum error_code)code);

		request.fail_with = (char *)(uintptr_t)info->reason;
		assert_int_equal(call(f, "Unary", &request, test_deadline(5000), NULL),
				 -info->sys_errno);
		assert_int_equal(f->error.code, code);
		assert_int_equal(f->error.sys_errno, 5);
		assert_non_null(strstr(f->error.message, "told to fail"));
		assert_int_equal(f->error.n_details, 1);
		assert_string_equal(f->error.details[0].key, "kind");
		assert_string_equal(f->error.details[0].value, "test");
	}
}

static void method_without_a_row_is_unimplemented(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;

	assert_int_equal(call(f, "Missing", &request, test_deadline(5000), NULL), -ENOSYS);
	assert_int_equal(f->error.code, ERROR_UNIMPLEMENTED);
	assert_int_equal(f->server->n_begun, 0);
}

static void deadline_ends_the_call_on_both_sides(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;

	assert_int_equal(call(f, "Hold", &request, test_deadline(60), NULL), -ETIMEDOUT);
	assert_int_equal(f->error.code, ERROR_DEADLINE_EXCEEDED);
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 1);
}

static void *cancel_held_call(void *arg)
{
	struct fixture *f = arg;

	if (test_wait(&f->server->n_begun, 1))
		rpc_channel_cancel(f->channel);
	return NULL;
}

static void another_thread_cancels_the_calls_of_a_channel(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, cancel_held_call, f), 0);
	assert_int_equal(call(f, "Hold", &request, test_deadline(5000), NULL), -ECANCELED);
	assert_int_equal(f->error.code, ERROR_CANCELLED);
	pthread_join(thread, NULL);
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 1);
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), NULL), 0);
}

static void answer_to_a_call_that_is_gone_is_harmless(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;

	request.delay_ms = 120;
	assert_int_equal(call(f, "Unary", &request, test_deadline(40), NULL), -ETIMEDOUT);
	assert_true(test_wait(&f->server->n_done, 1));
	request.delay_ms = 150;
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), NULL), 0);
	assert_int_equal(f->server->n_cancelled, 1);
}

static void message_beyond_the_limit_of_its_method_is_refused(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	static char bytes[2 * RPC_MESSAGE_MAX_DEFAULT + 1024];

	payload_set(&request, bytes, TEST_SMALL_BYTES - 3);
	assert_int_equal(call(f, "Small", &request, test_deadline(5000), NULL), 0);
	payload_set(&request, bytes, TEST_SMALL_BYTES);
	assert_int_equal(call(f, "Small", &request, test_deadline(5000), NULL), -E2BIG);
	assert_int_equal(f->error.code, ERROR_REQUEST_TOO_LARGE);
	payload_set(&request, bytes, sizeof(bytes));
	assert_true(call(f, "Small", &request, test_deadline(5000), NULL) < 0);
	assert_int_equal(f->error.code, ERROR_LIMIT_EXCEEDED);
	assert_int_equal(f->server->n_begun, 1);
}

static void message_that_would_outgrow_its_arena_is_refused(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	static ProtobufCBinaryData parts[8000];

	request.parts = parts;
	request.n_parts = ARRAY_SIZE(parts);
	assert_int_equal(call(f, "Unary", &request, test_deadline(5000), NULL), -E2BIG);
	assert_int_equal(f->error.code, ERROR_REQUEST_TOO_LARGE);
	assert_int_equal(f->server->n_begun, 0);
}

static void client_stream_is_counted_to_its_end(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream =
		stream_open(f, "Collect", test_deadline(10000));
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	static char bytes[32768];
	echo_response *response;

	payload_set(&request, bytes, sizeof(bytes));
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
	assert_int_equal(rpc_stream_half_close(stream, &f->error), 0);
	assert_int_equal(receive(f, stream, &response), 1);
	assert_int_equal(response->n, 100);
	assert_int_equal(response->n_bytes, 100 * sizeof(bytes));
	assert_int_equal(receive(f, stream, &response), 0);
	assert_int_equal(rpc_stream_finish(stream, &f->error), 0);
}

static void client_stream_may_be_answered_or_refused_early(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct rpc_stream *stream = stream_open(f, "Collect", test_deadline(10000));
	echo_response *response;
	int r = 0;

	request.answer = 1;
	for (unsigned int i = 0; i < 500 && r == 0; i++)
		r = rpc_stream_send(stream, &request.base, &f->error);
	assert_int_equal(r, 0);
	assert_int_equal(receive(f, stream, &response), 1);
	assert_int_equal(response->n, 1);
	assert_int_equal(rpc_stream_finish(stream, &f->error), 0);
	rpc_stream_free(stream);

	stream = stream_open(f, "Collect", test_deadline(10000));
	request.answer = 0;
	request.fail_with = "BUNDLE_TOO_LARGE";
	for (unsigned int i = 0; i < 100000 && r == 0; i++)
		r = rpc_stream_send(stream, &request.base, &f->error);
	assert_int_equal(r, -EFBIG);
	assert_int_equal(f->error.code, ERROR_BUNDLE_TOO_LARGE);
	rpc_stream_free(stream);
}

static void server_stream_arrives_whole_and_in_order(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream =
		stream_open(f, "Feed", test_deadline(20000));
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	static char bytes[1000];
	echo_response *response;

	payload_set(&request, bytes, sizeof(bytes));
	request.n = 5000;
	assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
	assert_int_equal(rpc_stream_half_close(stream, &f->error), 0);
	for (unsigned int i = 0; i < request.n; i++) {
		_cleanup_(arena_freep) struct arena *arena = arena_new(8192);
		ProtobufCMessage *message;

		assert_int_equal(rpc_stream_receive(stream, arena, &message, &f->error), 1);
		assert_int_equal(((echo_response *)(void *)message)->n, i);
	}
	assert_int_equal(receive(f, stream, &response), 0);
	assert_in_range(f->server->max_queue, 0, TEST_FEED_QUEUE);
}

/* Two streams of one connection, of messages that fill its buffers; one waits for the other to be
 * read first. */
static void large_messages_of_two_streams_arrive_side_by_side(void **state)
{
	enum { N = 100, SIZE = 60000 };
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *one =
		stream_open(f, "Feed", test_deadline(20000));
	_cleanup_(rpc_stream_freep) struct rpc_stream *other =
		stream_open(f, "Feed", test_deadline(20000));
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	_cleanup_free_ char *payload = malloc(SIZE);
	const uint8_t *bytes;
	size_t n;

	for (size_t i = 0; i < SIZE; i++)
		payload[i] = (char)(i * 31);
	payload_set(&request, payload, SIZE);
	request.n = N;
	assert_int_equal(rpc_stream_send(one, &request.base, &f->error), 0);
	assert_int_equal(rpc_stream_send(other, &request.base, &f->error), 0);
	for (unsigned int i = 0; i < 2 * N; i++) {
		assert_int_equal(
			rpc_stream_receive_bytes(i < N ? one : other, &bytes, &n, &f->error), 1);
		assert_true(n > SIZE);
		/* The payload is the first field: a byte of key, three of length. */
		assert_memory_equal(bytes + 4, payload, SIZE);
	}
	assert_int_equal(rpc_stream_receive_bytes(one, &bytes, &n, &f->error), 0);
	assert_int_equal(rpc_stream_receive_bytes(other, &bytes, &n, &f->error), 0);
}

static void server_stream_ends_with_its_error(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream =
		stream_open(f, "Feed", test_deadline(10000));
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	echo_response *response;

	request.fail_with = "WATCH_EXPIRED";
	assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
	assert_int_equal(receive(f, stream, &response), -ERANGE);
	assert_int_equal(f->error.code, ERROR_WATCH_EXPIRED);
	assert_int_equal(rpc_stream_finish(stream, &f->error), -ERANGE);
}

static void bidirectional_stream_answers_each_message(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream =
		stream_open(f, "Chat", test_deadline(10000));
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	echo_response *response;

	for (uint32_t i = 0; i < 200; i++) {
		request.n = i;
		assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
		assert_int_equal(receive(f, stream, &response), 1);
		assert_int_equal(response->n, i);
	}
	assert_int_equal(rpc_stream_half_close(stream, &f->error), 0);
	assert_int_equal(receive(f, stream, &response), 0);
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 0);
}

static void *cancel_soon(void *arg)
{
	const struct timespec delay = { .tv_nsec = 50 * (long)NS_PER_MS };

	(void)nanosleep(&delay, NULL);
	rpc_stream_cancel(arg);
	return NULL;
}

static void another_thread_cancels_a_stream_that_waits(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = stream_open(f, "Chat", UINT64_MAX);
	echo_response *response;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, stream), 0);
	assert_int_equal(receive(f, stream, &response), -ECANCELED);
	assert_int_equal(f->error.code, ERROR_CANCELLED);
	pthread_join(thread, NULL);
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 1);
}

static void a_stream_that_stands_still_ends_when_patience_does(void **state)
{
	struct fixture *f = *state;
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = stream_open(f, "Chat", UINT64_MAX);
	echo_response *response;

	rpc_stream_set_patience(stream, 60);
	assert_int_equal(receive(f, stream, &response), -ETIMEDOUT);
	assert_int_equal(f->error.code, ERROR_DEADLINE_EXCEEDED);
	assert_non_null(strstr(f->error.message, "no progress for 60 ms"));
	assert_true(test_wait(&f->server->n_done, 1));
	assert_int_equal(f->server->n_cancelled, 1);
}

static void cancelled_client_stream_is_never_taken_for_complete(void **state)
{
	struct fixture *f = *state;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	const unsigned int n = 300;

	for (unsigned int i = 0; i < n; i++) {
		struct rpc_stream *stream = stream_open(f, "Collect", UINT64_MAX);

		assert_int_equal(rpc_stream_send(stream, &request.base, &f->error), 0);
		assert_true(test_wait(&f->server->n_begun, i + 1));
		rpc_stream_free(stream);
	}
	assert_true(test_wait(&f->server->n_done, n));
	assert_int_equal(f->server->n_cancelled, n);
	assert_int_equal(f->server->n_half_closed, 0);
}

static void *many_calls(void *arg)
{
	struct fixture *f = arg;
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	uintptr_t n_failed = 0;

	payload_set(&request, "x", 1);
	for (unsigned int i = 0; i < 200; i++) {
		_cleanup_(arena_freep) struct arena *arena = arena_new(8192);
		ProtobufCMessage *message;

		n_failed += rpc_unary(f->channel, ECHO, "Unary", &request.base,
				      test_deadline(20000), arena, &message, NULL) != 0;
	}
	return (void *)n_failed;
}

static void channel_serves_several_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[4];
	void *n_failed;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, many_calls, f), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], &n_failed);
		assert_null(n_failed);
	}
	assert_true(test_wait(&f->server->n_done, 800));
	assert_int_equal(f->server->n_accepted, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unary_call_brings_back_payload_and_request_bytes),
		TEST(unary_call_carries_a_message_of_many_frames),
		TEST(handler_sees_metadata_and_deadline),
		TEST(handler_answers_a_call_that_it_kept),
		TEST(error_comes_back_as_it_was_raised),
		TEST(method_without_a_row_is_unimplemented),
		TEST(deadline_ends_the_call_on_both_sides),
		TEST(another_thread_cancels_the_calls_of_a_channel),
		TEST(answer_to_a_call_that_is_gone_is_harmless),
		TEST(message_beyond_the_limit_of_its_method_is_refused),
		TEST(message_that_would_outgrow_its_arena_is_refused),
		TEST(client_stream_is_counted_to_its_end),
		TEST(client_stream_may_be_answered_or_refused_early),
		TEST(server_stream_arrives_whole_and_in_order),
		TEST(large_messages_of_two_streams_arrive_side_by_side),
		TEST(server_stream_ends_with_its_error),
		TEST(bidirectional_stream_answers_each_message),
		TEST(another_thread_cancels_a_stream_that_waits),
		TEST(a_stream_that_stands_still_ends_when_patience_does),
		TEST(cancelled_client_stream_is_never_taken_for_complete),
		TEST(channel_serves_several_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
