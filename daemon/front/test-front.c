#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/test-core.h"
#include "daemon/resolver/protocol.h"
#include "proto/arena.h"

#define SERVICE (&bpfleet__v1__node_service__descriptor)
#ifdef __SANITIZE_ADDRESS__
/* Freed memory is kept aside, up to 256 MiB, and shadowed. */
#define GROWTH_MAX ((size_t)640 << 20)
#else
#define GROWTH_MAX ((size_t)32 << 20)
#endif

static struct test_front front;
static struct arena *arena;

static int setup(void **state)
{
	(void)state;
	arena = arena_new(1 << 20);
	return arena != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(TAKE_PTR(arena));
	return 0;
}

static uint64_t soon(void)
{
	return clock_monotonic_ns() + 10 * NS_PER_SEC;
}

static enum error_code get_status(struct rpc_channel *channel)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;

	return test_call(channel, "GetStatus", &request.base, arena, NULL);
}

static void a_call_is_answered_by_core_in_the_name_of_its_session(void **state)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	struct rpc_channel *channel;

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	assert_int_equal(test_call(channel, "GetStatus", &request.base, arena, &message),
			 ERROR_NONE);
	assert_string_equal(((Bpfleet__V1__GetStatusResponse *)message)->caller, "uid:0");
	assert_int_equal(front.core.n_opened, 1);
	assert_int_equal(front.core.n_sessions, 1);
	rpc_channel_close(channel);
	assert_int_equal(test_await(&front.core.n_sessions, 0), 0);
	test_front_stop(&front);
}

static void an_error_of_core_reaches_the_client_with_its_reason(void **state)
{
	Bpfleet__V1__GetInstanceRequest request = BPFLEET__V1__GET_INSTANCE_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	struct rpc_channel *channel;

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	assert_true(rpc_unary(channel, SERVICE, "GetInstance", &request.base, soon(), arena,
			      &response, &err) < 0);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.message, "core of clay"));
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static const Bpfleet__V1__MethodCalls *calls_of(struct rpc_channel *channel, const char *method,
						size_t *ret_n_methods)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	const Bpfleet__V1__GetStatusResponse *status;
	ProtobufCMessage *message = NULL;

	assert_int_equal(test_call(channel, "GetStatus", &request.base, arena, &message),
			 ERROR_NONE);
	status = (const Bpfleet__V1__GetStatusResponse *)message;
	*ret_n_methods = status->n_calls;
	for (size_t i = 0; i < status->n_calls; i++) {
		if (strcmp(status->calls[i]->method, method) == 0)
			return status->calls[i];
	}
	return NULL;
}

static void calls_are_counted_by_method_and_status_of_all_clients(void **state)
{
	Bpfleet__V1__GetInstanceRequest request = BPFLEET__V1__GET_INSTANCE_REQUEST__INIT;
	Bpfleet__V1__LoadRequest load = BPFLEET__V1__LOAD_REQUEST__INIT;
	const Bpfleet__V1__MethodCalls *calls = NULL;
	struct rpc_channel *channel, *other;
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	size_t n_methods = 0;

	(void)state;
	test_front_start(&front, NULL);
	front.core.hold_loads = true;
	channel = test_connect(&front);
	other = test_connect(&front);
	for (int i = 0; i < 3; i++)
		assert_int_equal(test_call(other, "GetInstance", &request.base, arena, NULL),
				 ERROR_NOT_FOUND);
	assert_true(rpc_unary(other, SERVICE, "Load", &load.base,
			      clock_monotonic_ns() + 20 * NS_PER_MS, arena, &message, &err) < 0);
	/* The client knows before front does: how often the count is looked at is counted too. */
	for (int i = 0; i < 1000 && calls == NULL; i++)
		calls = calls_of(channel, "Load", &n_methods);
	assert_non_null(calls);
	assert_int_equal(calls->n_ok, 0);
	assert_int_equal(calls->n_failed, 1);
	assert_int_equal(calls->n_failures, 1);
	assert_true(strcmp(calls->failures[0]->status, "DEADLINE_EXCEEDED") == 0 ||
		    strcmp(calls->failures[0]->status, "CANCELLED") == 0);
	assert_true(calls->duration_ns > 10 * NS_PER_MS);
	assert_int_equal(calls->n_within, 6);
	assert_int_equal(calls->within[0], 0);
	calls = calls_of(channel, "GetInstance", &n_methods);
	assert_non_null(calls);
	assert_int_equal(n_methods, 3);
	assert_int_equal(calls->n_failed, 3);
	assert_string_equal(calls->failures[0]->status, "NOT_FOUND");
	assert_int_equal(calls->failures[0]->n, 3);
	assert_true(calls->within[5] == 3 && calls->within[0] <= calls->within[1]);
	calls = calls_of(channel, "GetStatus", &n_methods);
	assert_non_null(calls);
	assert_true(calls->n_ok >= 2 && calls->n_failed == 0 && calls->n_failures == 0);
	front.core.hide_all = true;
	assert_null(calls_of(channel, "GetInstance", &n_methods));
	assert_int_equal(n_methods, 0);
	front.core.hide_all = false;
	test_core_release(&front.core);
	rpc_channel_close(other);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void the_deadline_travels_to_core(void **state)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	uint64_t deadline = clock_monotonic_ns() + 7 * NS_PER_SEC;
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	struct rpc_channel *channel;

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	assert_int_equal(rpc_unary(channel, SERVICE, "GetStatus", &request.base, deadline, arena,
				   &response, &err),
			 0);
	/* gRPC carries a timeout, in milliseconds at this length. */
	assert_true(front.core.last_deadline > deadline - 2 * NS_PER_SEC &&
		    front.core.last_deadline < deadline + 2 * NS_PER_SEC);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void a_call_whose_client_gave_up_ends_and_its_late_answer_is_dropped(void **state)
{
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	struct rpc_channel *channel;

	(void)state;
	test_front_start(&front, NULL);
	front.core.hold_loads = true;
	channel = test_connect(&front);
	assert_true(rpc_unary(channel, SERVICE, "Load", &request.base,
			      clock_monotonic_ns() + 100 * NS_PER_MS, arena, &response, &err) < 0);
	assert_int_equal(err.code, ERROR_DEADLINE_EXCEEDED);
	test_core_release(&front.core);
	assert_int_equal(get_status(channel), ERROR_NONE);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

#define N_CALLS 60

/* Streams of unary methods are what lets one thread have many calls under way. */
static void start_loads(struct rpc_channel *channel, struct rpc_stream **streams, size_t n)
{
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	struct error err = { 0 };

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(
			rpc_stream_open(channel, SERVICE, "Load", soon(), &streams[i], &err), 0);
		assert_int_equal(rpc_stream_send(streams[i], &request.base, &err), 0);
		assert_int_equal(rpc_stream_half_close(streams[i], &err), 0);
	}
}

static void finish_loads(struct rpc_stream **streams, size_t n)
{
	struct error err = { 0 };

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rpc_stream_finish(streams[i], &err), 0);
		rpc_stream_free(streams[i]);
	}
}

static void slow_work_of_one_client_leaves_core_to_the_others(void **state)
{
	struct rpc_stream *streams[N_CALLS];
	struct rpc_channel *hog, *other;

	(void)state;
	test_front_start(&front, NULL);
	front.core.hold_loads = true;
	hog = test_connect(&front);
	other = test_connect(&front);
	start_loads(hog, streams, N_CALLS);
	/* A quarter of sixteen credits. */
	assert_int_equal(test_await(&front.core.n_outstanding, 4), 4);
	for (int i = 0; i < 10; i++)
		assert_int_equal(get_status(other), ERROR_NONE);
	assert_int_equal(front.core.n_outstanding, 4);
	(void)pthread_mutex_lock(&front.core.lock);
	front.core.hold_loads = false;
	(void)pthread_mutex_unlock(&front.core.lock);
	test_core_release(&front.core);
	finish_loads(streams, N_CALLS);
	assert_true(front.core.max_outstanding <= 16);
	rpc_channel_close(hog);
	rpc_channel_close(other);
	test_front_stop(&front);
}

static void calls_beyond_the_limit_of_a_connection_do_not_reach_core(void **state)
{
	const struct test_options options = { .credits = 128, .n_calls = 4 };
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	struct rpc_stream *streams[4];
	struct rpc_channel *hog, *other;
	struct error err = { 0 };
	unsigned int n_requests;

	(void)state;
	test_front_start(&front, &options);
	front.core.hold_loads = true;
	hog = test_connect(&front);
	other = test_connect(&front);
	start_loads(hog, streams, 4);
	assert_int_equal(get_status(other), ERROR_NONE);
	assert_int_equal(test_await(&front.core.n_outstanding, 4), 4);
	n_requests = front.core.n_requests;
	assert_true(rpc_unary(hog, SERVICE, "GetStatus", &request.base,
			      clock_monotonic_ns() + 200 * NS_PER_MS, arena, &response, &err) < 0);
	assert_int_equal(front.core.n_requests, n_requests);
	test_core_release(&front.core);
	finish_loads(streams, 4);
	assert_int_equal(get_status(hog), ERROR_NONE);
	rpc_channel_close(hog);
	rpc_channel_close(other);
	test_front_stop(&front);
}

static void a_flood_of_refusals_is_stopped_before_core(void **state)
{
	const struct test_options options = { .refusals_burst = 5, .refusals_per_s = 1 };
	Bpfleet__V1__GetInstanceRequest request = BPFLEET__V1__GET_INSTANCE_REQUEST__INIT;
	struct rpc_channel *channel;
	unsigned int n_limited = 0;

	(void)state;
	test_front_start(&front, &options);
	channel = test_connect(&front);
	for (int i = 0; i < 200; i++)
		n_limited += test_call(channel, "GetInstance", &request.base, arena, NULL) ==
			     ERROR_RATE_LIMITED;
	assert_true(n_limited > 100);
	assert_int_equal(front.core.n_denied, 200 - n_limited);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

/* ---- pushes */

static uint8_t digest[64] = { 0xd1 };
static uint8_t chunk[64 << 10];

static void push_header(struct rpc_stream *stream, uint64_t size, uint64_t offset)
{
	Bpfleet__V1__PushBundleRequest request = BPFLEET__V1__PUSH_BUNDLE_REQUEST__INIT;
	Bpfleet__V1__PushBundleHeader header = BPFLEET__V1__PUSH_BUNDLE_HEADER__INIT;
	Bpfleet__V1__Signature signature = BPFLEET__V1__SIGNATURE__INIT;
	Bpfleet__V1__Signature *signatures[] = { &signature };
	struct error err = { 0 };

	signature.minisig = (ProtobufCBinaryData){ .len = 3, .data = (uint8_t *)"sig" };
	header.digest = (ProtobufCBinaryData){ .len = sizeof(digest), .data = digest };
	header.size_bytes = size;
	header.offset_bytes = offset;
	header.n_signatures = 1;
	header.signatures = signatures;
	request.part_case = BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_HEADER;
	request.header = &header;
	assert_int_equal(rpc_stream_send(stream, &request.base, &err), 0);
}

static int push_chunk(struct rpc_stream *stream, size_t n, struct error *err)
{
	Bpfleet__V1__PushBundleRequest request = BPFLEET__V1__PUSH_BUNDLE_REQUEST__INIT;

	request.part_case = BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_CHUNK;
	request.chunk = (ProtobufCBinaryData){ .len = n, .data = chunk };
	return rpc_stream_send(stream, &request.base, err);
}

static struct rpc_stream *push_open(struct rpc_channel *channel)
{
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };

	assert_int_equal(rpc_stream_open(channel, SERVICE, "PushBundle", soon(), &stream, &err), 0);
	return stream;
}

static enum error_code push_finish(struct rpc_stream *stream)
{
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	int r = rpc_stream_half_close(stream, &err);

	if (r == 0)
		r = rpc_stream_receive(stream, arena, &message, &err);
	if (r == 1)
		r = rpc_stream_finish(stream, &err);
	rpc_stream_free(stream);
	return r == 0 ? ERROR_NONE : err.code;
}

static uint64_t received_of_push(struct rpc_channel *channel)
{
	Bpfleet__V1__GetUploadRequest request = BPFLEET__V1__GET_UPLOAD_REQUEST__INIT;
	ProtobufCMessage *message = NULL;

	request.digest = (ProtobufCBinaryData){ .len = sizeof(digest), .data = digest };
	assert_int_equal(test_call(channel, "GetUpload", &request.base, arena, &message),
			 ERROR_NONE);
	return ((Bpfleet__V1__GetUploadResponse *)message)->received_bytes;
}

static void a_push_reaches_core_as_one_sealed_file(void **state)
{
	const size_t size = 10 * sizeof(chunk) + 100;
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	stream = push_open(channel);
	push_header(stream, size, 0);
	memset(chunk, 'a', sizeof(chunk));
	for (int i = 0; i < 10; i++)
		assert_int_equal(push_chunk(stream, sizeof(chunk), &err), 0);
	memset(chunk, 'z', sizeof(chunk));
	assert_int_equal(push_chunk(stream, 100, &err), 0);
	assert_int_equal(push_finish(stream), ERROR_NONE);
	assert_int_equal(front.core.stored_size, size);
	assert_int_equal(front.core.stored_first, 'a');
	assert_int_equal(front.core.stored_last, 'z');
	assert_int_equal(front.core.stored_signatures, 1);
	assert_memory_equal(front.core.stored_digest, digest, sizeof(digest));
	assert_int_equal(received_of_push(channel), 0);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void a_push_that_broke_goes_on_over_another_connection(void **state)
{
	const size_t size = 3 * sizeof(chunk);
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	stream = push_open(channel);
	push_header(stream, size, 0);
	assert_int_equal(push_chunk(stream, sizeof(chunk), &err), 0);
	assert_int_equal(push_chunk(stream, sizeof(chunk), &err), 0);
	for (int i = 0; i < 1000 && received_of_push(channel) < 2 * sizeof(chunk); i++)
		(void)usleep(1000);
	rpc_stream_free(stream);
	rpc_channel_close(channel);

	channel = test_connect(&front);
	assert_int_equal(received_of_push(channel), 2 * sizeof(chunk));
	stream = push_open(channel);
	push_header(stream, size, 2 * sizeof(chunk));
	assert_int_equal(push_chunk(stream, sizeof(chunk), &err), 0);
	assert_int_equal(push_finish(stream), ERROR_NONE);
	assert_int_equal(front.core.stored_size, size);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void a_push_that_core_refuses_for_good_is_dropped(void **state)
{
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, NULL);
	front.core.store_refusal = "SIGNER_UNTRUSTED";
	channel = test_connect(&front);
	stream = push_open(channel);
	push_header(stream, 10, 0);
	assert_int_equal(push_chunk(stream, 10, &err), 0);
	assert_int_equal(push_finish(stream), ERROR_SIGNER_UNTRUSTED);
	assert_int_equal(received_of_push(channel), 0);
	front.core.store_refusal = "STORE_FULL";
	stream = push_open(channel);
	push_header(stream, 10, 0);
	assert_int_equal(push_chunk(stream, 10, &err), 0);
	assert_int_equal(push_finish(stream), ERROR_STORE_FULL);
	assert_int_equal(received_of_push(channel), 10);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void a_push_that_breaks_its_own_rules_never_reaches_core(void **state)
{
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	stream = push_open(channel);
	assert_int_equal(push_chunk(stream, 10, &err), 0);
	assert_int_equal(push_finish(stream), ERROR_INVALID_ARGUMENT);
	stream = push_open(channel);
	push_header(stream, 10, 0);
	assert_int_equal(push_chunk(stream, 9, &err), 0);
	assert_int_equal(push_finish(stream), ERROR_INVALID_ARGUMENT);
	stream = push_open(channel);
	push_header(stream, UINT64_MAX, 0);
	assert_int_equal(push_finish(stream), ERROR_BUNDLE_TOO_LARGE);
	assert_int_equal(push_finish(push_open(channel)), ERROR_INVALID_ARGUMENT);
	assert_int_equal(front.core.n_stores, 0);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

/* ---- watches */

static struct rpc_stream *watch_open(struct rpc_channel *channel, uint64_t since)
{
	Bpfleet__V1__WatchRequest request = BPFLEET__V1__WATCH_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };

	request.since_revision = since;
	assert_int_equal(rpc_stream_open(channel, SERVICE, "Watch", soon(), &stream, &err), 0);
	assert_int_equal(rpc_stream_send(stream, &request.base, &err), 0);
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	return stream;
}

static const Bpfleet__V1__WatchResponse *watch_next(struct rpc_stream *stream)
{
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };

	if (rpc_stream_receive(stream, arena, &message, &err) != 1)
		fail_msg("the watch ended: %s", err.message);
	return (const Bpfleet__V1__WatchResponse *)message;
}

static void a_watch_tells_what_is_there_then_what_changes(void **state)
{
	const Bpfleet__V1__WatchResponse *response;
	struct rpc_channel *channel;
	struct rpc_stream *stream;

	(void)state;
	test_front_start(&front, NULL);
	front.core.maps[0] = (struct test_map){ .name = "instances/i/maps/m", .fd = -1 };
	front.core.n_maps = 1;
	front.core.revision = 7;
	channel = test_connect(&front);
	stream = watch_open(channel, 0);
	response = watch_next(stream);
	assert_int_equal(response->change->kind, BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_PUT);
	assert_int_equal(response->change->object_case, BPFLEET__V1__CHANGE__OBJECT_MAP);
	assert_string_equal(response->change->map->name, "instances/i/maps/m");
	response = watch_next(stream);
	assert_int_equal(response->part_case, BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED);
	assert_int_equal(response->synced->revision, 7);
	(void)pthread_mutex_lock(&front.core.lock);
	front.core.change_revisions[0] = 8;
	front.core.change_revisions[1] = 9;
	front.core.n_changes = 2;
	(void)pthread_mutex_unlock(&front.core.lock);
	test_core_notice(&front.core, 9, 1, NULL);
	assert_int_equal(watch_next(stream)->change->revision, 8);
	assert_int_equal(watch_next(stream)->change->revision, 9);
	rpc_stream_free(stream);
	stream = watch_open(channel, 8);
	assert_int_equal(watch_next(stream)->change->revision, 9);
	rpc_stream_free(stream);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void a_watch_from_too_long_ago_has_expired(void **state)
{
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	struct rpc_channel *channel;
	struct rpc_stream *stream;

	(void)state;
	test_front_start(&front, NULL);
	front.core.watch_expired = true;
	channel = test_connect(&front);
	stream = watch_open(channel, 1);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_WATCH_EXPIRED);
	rpc_stream_free(stream);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void stopping_ends_watches_and_answers_what_is_under_way(void **state)
{
	struct rpc_stream *load[1];
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	struct rpc_channel *channel;
	struct rpc_stream *stream;

	(void)state;
	test_front_start(&front, NULL);
	front.core.hold_loads = true;
	channel = test_connect(&front);
	stream = watch_open(channel, 0);
	assert_int_equal(watch_next(stream)->part_case, BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED);
	start_loads(channel, load, 1);
	assert_int_equal(test_await(&front.core.n_outstanding, 1), 1);
	test_front_ask_to_stop(&front);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	test_core_release(&front.core);
	finish_loads(load, 1);
	rpc_stream_free(stream);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

/* In place of test_front_stop(): front has ended by itself, for the want of a core. */
static void expect_front_gave_up(void)
{
	assert_int_equal(pthread_join(front.thread, NULL), 0);
	assert_true(front.result < 0);
	front_free(front.front);
	assert_int_equal(pthread_join(front.core.thread, NULL), 0);
	channel_free(front.core.channel);
	(void)close(front.core.wake_fd);
	(void)unlink(front.path);
	(void)unlink(front.fd_path);
	(void)rmdir(front.directory);
	test_assert_no_leaked_fds(&front);
}

static void the_end_of_core_ends_front_and_its_calls(void **state)
{
	struct rpc_stream *load[1];
	struct error err = { 0 };
	struct rpc_channel *channel;

	(void)state;
	test_front_start(&front, NULL);
	front.core.hold_loads = true;
	channel = test_connect(&front);
	start_loads(channel, load, 1);
	assert_int_equal(test_await(&front.core.n_outstanding, 1), 1);
	(void)shutdown(channel_fd(front.core.channel), SHUT_RDWR);
	assert_true(rpc_stream_finish(load[0], &err) < 0);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	rpc_stream_free(load[0]);
	rpc_channel_close(channel);
	expect_front_gave_up();
}

static void a_core_of_another_version_is_not_served_with(void **state)
{
	const struct test_options options = { .no_hello = true };
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, &options);
	assert_int_equal(channel_hello(front.core.channel, "another", 16, &err), 0);
	expect_front_gave_up();
}

static void an_answer_to_nothing_ends_front(void **state)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Reply reply = BPFLEET__IPC__REPLY__INIT;
	struct error err = { 0 };

	(void)state;
	test_front_start(&front, NULL);
	reply.id = 77;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REPLY;
	frame.reply = &reply;
	assert_int_equal(channel_send(front.core.channel, &frame, NULL, 0, -1, &err), 0);
	expect_front_gave_up();
}

/* ---- hostile clients */

static int connect_to(const char *path, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

static size_t resident_bytes(void)
{
	unsigned long pages = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_int_equal(fscanf(file, "%lu %lu", &pages, &resident), 2);
	(void)fclose(file);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* True if the other end closes within the time. */
static bool is_closed(int fd, int timeout_ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	char byte[512];
	ssize_t n = 1;

	while (n > 0 && poll(&pollfd, 1, timeout_ms) > 0)
		n = recv(fd, byte, sizeof(byte), MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void connections_are_bounded_whatever_comes(void **state)
{
	enum { KEPT = 300, ATTEMPTS = 10000 };
	static int fds[KEPT];
	unsigned int n_open = 0;
	size_t before;

	(void)state;
	/* One uid gets its share, sixteen of 64. */
	test_front_start(&front, NULL);
	for (int i = 0; i < ATTEMPTS; i++) {
		int *fd = &fds[i % KEPT];

		if (i >= KEPT)
			(void)close(*fd);
		if (i == KEPT)
			before = resident_bytes();
		*fd = connect_to(front.path, SOCK_STREAM);
		assert_true(*fd >= 0);
		(void)send(*fd, "garbage that is not HTTP/2\r\n", 28, MSG_NOSIGNAL);
		assert_true(front.core.n_sessions <= 64);
	}
	assert_true(resident_bytes() < before + GROWTH_MAX);
	for (int i = 0; i < KEPT; i++)
		n_open += !is_closed(fds[i], 100);
	assert_true(n_open <= 16);
	for (int i = 0; i < KEPT; i++)
		(void)close(fds[i]);
	test_front_stop(&front);
}

static void slow_lorises_of_one_uid_do_not_shut_out_what_has_a_connection(void **state)
{
	enum { N = 40 };
	struct rpc_channel *channel;
	int fds[N];

	(void)state;
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	assert_int_equal(get_status(channel), ERROR_NONE);
	for (int i = 0; i < N; i++) {
		fds[i] = connect_to(front.path, SOCK_STREAM);
		(void)send(fds[i], "P", 1, MSG_NOSIGNAL);
	}
	for (int i = 0; i < 20; i++)
		assert_int_equal(get_status(channel), ERROR_NONE);
	assert_true(front.core.n_sessions <= 16);
	for (int i = 0; i < N; i++)
		(void)close(fds[i]);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

/* ---- FdService */

static size_t exchange(const void *ticket, size_t n, char *answer, size_t size, int *ret_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = answer, .iov_len = size - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };
	int fd = connect_to(front.fd_path, SOCK_SEQPACKET);
	ssize_t r;

	*ret_fd = -1;
	assert_int_equal(send(fd, ticket, n, 0), n);
	r = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	assert_true(r >= 0);
	answer[r] = '\0';
	if (control.header.cmsg_type == SCM_RIGHTS && message.msg_controllen > 0)
		memcpy(ret_fd, CMSG_DATA(&control.header), sizeof(int));
	(void)close(fd);
	return (size_t)r;
}

static void a_ticket_is_redeemed_for_a_descriptor(void **state)
{
	uint8_t ticket[32] = { 42 };
	char answer[1200];
	struct stat a, b;
	int fd;

	(void)state;
	test_front_start(&front, NULL);
	front.core.maps[0].fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	memcpy(front.core.ticket, ticket, sizeof(ticket));
	assert_int_equal(exchange(ticket, sizeof(ticket), answer, sizeof(answer), &fd), 1);
	assert_int_equal(answer[0], 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstat(front.core.maps[0].fd, &b), 0);
	assert_int_equal(a.st_rdev, b.st_rdev);
	(void)close(fd);
	ticket[0]++;
	assert_true(exchange(ticket, sizeof(ticket), answer, sizeof(answer), &fd) > 1);
	assert_int_equal(answer[0], 1);
	assert_memory_equal(answer + 1, "NOT_FOUND ", 10);
	assert_int_equal(fd, -1);
	assert_true(exchange(ticket, 31, answer, sizeof(answer), &fd) > 1);
	assert_memory_equal(answer + 1, "INVALID_ARGUMENT ", 17);
	assert_int_equal(test_await(&front.core.n_sessions, 0), 0);
	(void)close(front.core.maps[0].fd);
	test_front_stop(&front);
}

/* Sends a byte with n descriptors; the first byte of the answer, 1 + the ticket's bytes of it. */
static char hand_over(int connection, const int *fds, size_t n, char *answer, size_t size)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(n * sizeof(int)) } };
	struct iovec iov = { .iov_base = (char[]){ 0 }, .iov_len = 1 };
	const struct msghdr message = { .msg_iov = &iov,
					.msg_iovlen = 1,
					.msg_control = n > 0 ? control.space : NULL,
					.msg_controllen = n > 0 ? CMSG_SPACE(n * sizeof(int)) : 0 };
	ssize_t r;

	if (n > 0)
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	assert_int_equal(sendmsg(connection, &message, MSG_NOSIGNAL), 1);
	r = recv(connection, answer, size - 1, 0);
	assert_true(r > 0);
	answer[r] = '\0';
	return answer[0];
}

static void a_socket_is_kept_for_the_one_call_that_names_its_ticket(void **state)
{
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	struct rpc_channel *channel;
	const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char answer[1200];
	int pair[2], fd;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	fd = connect_to(front.fd_path, SOCK_SEQPACKET);
	assert_int_equal(hand_over(fd, pair, 2, answer, sizeof(answer)), 1);
	assert_memory_equal(answer + 1, "INVALID_ARGUMENT ", 17);
	(void)close(fd);
	fd = connect_to(front.fd_path, SOCK_SEQPACKET);
	assert_int_equal(hand_over(fd, pair, 0, answer, sizeof(answer)), 1);
	(void)close(fd);
	fd = connect_to(front.fd_path, SOCK_SEQPACKET);
	assert_int_equal(hand_over(fd, &null, 1, answer, sizeof(answer)), 1);
	(void)close(fd);
	fd = connect_to(front.fd_path, SOCK_SEQPACKET);
	assert_int_equal(hand_over(fd, pair, 1, answer, sizeof(answer)), 0);
	request.socket_ticket = (ProtobufCBinaryData){ 32, (uint8_t *)answer + 1 };
	request.program = "instances/x/programs/p";
	front.core.takes_socket = true;
	assert_int_equal(test_call(channel, "Attach", &request.base, arena, NULL), ERROR_NONE);
	assert_int_equal(atomic_load(&front.core.n_sockets), 1);
	assert_int_equal(test_call(channel, "Attach", &request.base, arena, NULL),
			 ERROR_PERMISSION_DENIED);
	assert_int_equal(atomic_load(&front.core.n_sockets), 1);
	(void)close(fd);
	(void)close(null);
	(void)close(pair[0]);
	(void)close(pair[1]);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

static void silent_connections_to_the_fd_socket_are_bounded_and_closed(void **state)
{
	enum { N = 40 };
	int fds[N];
	unsigned int n_closed = 0;

	(void)state;
	test_front_start(&front, NULL);
	for (int i = 0; i < N; i++)
		fds[i] = connect_to(front.fd_path, SOCK_SEQPACKET);
	for (int i = 0; i < N; i++)
		n_closed += is_closed(fds[i], 200);
	assert_int_equal(n_closed, N - 16);
	assert_true(is_closed(fds[0], 7000));
	for (int i = 0; i < N; i++)
		(void)close(fds[i]);
	assert_int_equal(front.core.n_opened, 0);
	test_front_stop(&front);
}

/* ---- uprobes */

static enum error_code attach_uprobe(struct rpc_channel *channel, const char *path)
{
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	Bpfleet__V1__Hook hook = BPFLEET__V1__HOOK__INIT;
	Bpfleet__V1__HookOption option = BPFLEET__V1__HOOK_OPTION__INIT;
	Bpfleet__V1__HookOption *options[] = { &option };

	option.key = "symbol";
	option.value = (ProtobufCBinaryData){ .len = 4, .data = (uint8_t *)"main" };
	hook.kind = "uprobe";
	hook.target =
		(ProtobufCBinaryData){ .len = strlen(path), .data = (uint8_t *)(uintptr_t)path };
	hook.n_options = 1;
	hook.options = options;
	request.program = "instances/i/programs/p";
	request.hook = &hook;
	return test_call(channel, "Attach", &request.base, arena, NULL);
}

/* A resolver in shell: checks its argument and that fd 0 is open, prints the bytes of a result. */
static void write_resolver(const char *path, uint32_t status, const char *before)
{
	const struct resolver_result result = {
		.protocol = RESOLVER_PROTOCOL, .status = status, .offset = 0x1234, .inode = 77
	};
	const uint8_t *bytes = (const uint8_t *)&result;
	FILE *file = fopen(path, "we");

	fprintf(file,
		"#!/bin/sh\n[ \"$1\" = main ] && [ -e /proc/self/fd/0 ] || exit 2\n%s\nprintf '",
		before);
	for (size_t i = 0; i < sizeof(result); i++)
		fprintf(file, "\\%03o", bytes[i]);
	fprintf(file, "'\n");
	(void)fchmod(fileno(file), 0755);
	(void)fclose(file);
}

static void a_uprobe_is_resolved_for_those_whom_core_lets_attach(void **state)
{
	char resolver[] = "/tmp/test-front-resolver-XXXXXX";
	const struct test_options options = { .resolver = resolver };
	struct rpc_channel *channel;
	uint64_t began;

	(void)state;
	(void)close(mkstemp(resolver));
	write_resolver(resolver, RESOLVER_OK, "");
	test_front_start(&front, &options);
	channel = test_connect(&front);
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_NONE);
	assert_int_equal(front.core.resolved.offset, 0x1234);
	assert_int_equal(front.core.resolved.inode, 77);
	assert_int_equal(attach_uprobe(channel, "/nonexistent"), ERROR_TARGET_NOT_FOUND);
	assert_int_equal(attach_uprobe(channel, "/dev/null"), ERROR_TARGET_NOT_FOUND);
	assert_int_equal(attach_uprobe(channel, "relative"), ERROR_INVALID_HOOK);
	write_resolver(resolver, RESOLVER_SYMBOL_NOT_FOUND, "");
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_SYMBOL_NOT_FOUND);
	write_resolver(resolver, RESOLVER_OK, "exit 0");
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_TARGET_NOT_FOUND);
	/* One that hangs is killed, and holds up nobody meanwhile. */
	write_resolver(resolver, RESOLVER_OK, "exec sleep 60");
	began = clock_monotonic_ns();
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_TARGET_NOT_FOUND);
	assert_true(clock_monotonic_ns() - began < 5 * NS_PER_SEC);
	/* Who may not attach learns nothing about files: the hanging resolver is not even started.
	 */
	front.core.refuse_attach = true;
	began = clock_monotonic_ns();
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_PERMISSION_DENIED);
	assert_int_equal(attach_uprobe(channel, "/nonexistent"), ERROR_PERMISSION_DENIED);
	assert_true(clock_monotonic_ns() - began < NS_PER_SEC);
	front.core.refuse_attach = false;
	(void)unlink(resolver);
	assert_int_equal(attach_uprobe(channel, "/bin/sh"), ERROR_UNAVAILABLE);
	rpc_channel_close(channel);
	test_front_stop(&front);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_call_is_answered_by_core_in_the_name_of_its_session),
		T(an_error_of_core_reaches_the_client_with_its_reason),
		T(calls_are_counted_by_method_and_status_of_all_clients),
		T(the_deadline_travels_to_core),
		T(a_call_whose_client_gave_up_ends_and_its_late_answer_is_dropped),
		T(slow_work_of_one_client_leaves_core_to_the_others),
		T(calls_beyond_the_limit_of_a_connection_do_not_reach_core),
		T(a_flood_of_refusals_is_stopped_before_core),
		T(a_push_reaches_core_as_one_sealed_file),
		T(a_push_that_broke_goes_on_over_another_connection),
		T(a_push_that_core_refuses_for_good_is_dropped),
		T(a_push_that_breaks_its_own_rules_never_reaches_core),
		T(a_watch_tells_what_is_there_then_what_changes),
		T(a_watch_from_too_long_ago_has_expired),
		T(stopping_ends_watches_and_answers_what_is_under_way),
		T(the_end_of_core_ends_front_and_its_calls),
		T(a_core_of_another_version_is_not_served_with),
		T(an_answer_to_nothing_ends_front),
		T(connections_are_bounded_whatever_comes),
		T(slow_lorises_of_one_uid_do_not_shut_out_what_has_a_connection),
		T(a_ticket_is_redeemed_for_a_descriptor),
		T(a_socket_is_kept_for_the_one_call_that_names_its_ticket),
		T(silent_connections_to_the_fd_socket_are_bounded_and_closed),
		T(a_uprobe_is_resolved_for_those_whom_core_lets_attach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
