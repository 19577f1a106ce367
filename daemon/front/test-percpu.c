/* Perf buffers whose CPUs come and go, as a core of clay tells it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/test-core.h"
#include "proto/arena.h"

static const char *const names[] = { "instances/i/maps/one", "instances/i/maps/other" };

static struct test_front front;
static struct arena *arena;
static struct rpc_channel *channel;
static int map_fds[2];

static int setup(void **state)
{
	(void)state;
	arena = arena_new(1 << 20);
	for (size_t i = 0; i < 2; i++) {
		map_fds[i] = bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "perf", 4, 4, 1, NULL);
		if (map_fds[i] < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(arena);
	(void)close(map_fds[0]);
	(void)close(map_fds[1]);
	return 0;
}

static int start(void **state)
{
	(void)state;
	test_front_start(&front, NULL);
	for (size_t i = 0; i < 2; i++)
		front.core.maps[i] =
			(struct test_map){ .name = names[i], .fd = map_fds[i], .events = true };
	front.core.n_maps = 2;
	channel = test_connect(&front);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	rpc_channel_close(channel);
	test_front_stop(&front);
	return 0;
}

/* Returns when the subscription stands. */
static struct rpc_stream *listen_to(size_t map)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };

	request.source = (char *)(uintptr_t)names[map];
	if (rpc_stream_open(channel, &bpfleet__v1__node_service__descriptor, "StreamEvents",
			    clock_monotonic_ns() + 60 * NS_PER_SEC, &stream, &err) < 0 ||
	    rpc_stream_send(stream, &request.base, &err) < 0 ||
	    rpc_stream_half_close(stream, &err) < 0 ||
	    rpc_stream_receive(stream, arena, &message, &err) != 1)
		fail_msg("no sources: %s", err.message);
	assert_non_null(((Bpfleet__V1__StreamEventsResponse *)message)->sources);
	return stream;
}

/* Front asks once a second for an event that stands still, every ten for a CPU that is offline. */
static void await_asked(size_t map, unsigned int n)
{
	for (int i = 0; i < 20 && atomic_load(&front.core.n_perf[map]) < n; i++)
		(void)test_await(&front.core.n_perf[map], n);
	assert_true(atomic_load(&front.core.n_perf[map]) >= n);
}

static void a_cpu_that_is_offline_is_asked_for_until_it_delivers(void **state)
{
	struct rpc_stream *one, *other;
	unsigned int n;

	(void)state;
	atomic_store(&front.core.perf[0], TEST_PERF_OFFLINE);
	atomic_store(&front.core.perf[1], TEST_PERF_STANDS_STILL);
	one = listen_to(0);
	other = listen_to(1);
	await_asked(0, 2);
	assert_true(atomic_load(&front.core.n_perf[1]) > 2);
	/* It comes online: one answer more, which may have been under way, and then none. */
	atomic_store(&front.core.perf[0], TEST_PERF_RUNS);
	await_asked(0, atomic_load(&front.core.n_perf[0]) + 1);
	n = atomic_load(&front.core.n_perf[0]);
	await_asked(1, atomic_load(&front.core.n_perf[1]) + 3);
	assert_true(atomic_load(&front.core.n_perf[0]) <= n + 1);
	rpc_stream_free(one);
	rpc_stream_free(other);
}

static void a_cpu_that_went_offline_is_asked_for_again(void **state)
{
	struct rpc_stream *stream;

	(void)state;
	atomic_store(&front.core.perf[0], TEST_PERF_STANDS_STILL);
	stream = listen_to(0);
	await_asked(0, 3);
	rpc_stream_free(stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_cpu_that_is_offline_is_asked_for_until_it_delivers, start, stop),
		cmocka_unit_test_setup_teardown(a_cpu_that_went_offline_is_asked_for_again, start,
						stop),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
