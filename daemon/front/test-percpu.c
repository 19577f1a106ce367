/* Perf buffers whose CPUs come and go, as a core of clay tells it. */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/chunk.h"
#include "daemon/front/reader.h"
#include "daemon/front/test-core.h"
#include "daemon/front/test-events.h"
#include "proto/arena.h"
#include "rpc/loop.h"

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

/* ---- a CPU that goes while records wait */

struct listener {
	struct rpc_loop *loop;
	struct reader *reader;
	struct reader_buffer *buffer;
	int map_fd, producer_fd;
	uint32_t cpu;
	cpu_set_t own, only;
	uint64_t n_records, n_too_large, n_wanted;
};

static void on_chunk(void *arg, struct chunk *chunk)
{
	struct listener *listener = arg;

	listener->n_records += chunk->n_records;
	listener->n_too_large += chunk->n_too_large;
	chunk_unref(chunk);
	if (listener->n_records >= listener->n_wanted)
		rpc_loop_stop(listener->loop);
}

static void give_up(void *arg)
{
	rpc_loop_stop(arg);
}

static void listener_open(struct listener *listener)
{
	const int n_cpus = libbpf_num_possible_cpus();
	struct error err = { 0 };

	*listener = (struct listener){ 0 };
	assert_int_equal(sched_getaffinity(0, sizeof(listener->own), &listener->own), 0);
	while (!CPU_ISSET(listener->cpu, &listener->own))
		listener->cpu++;
	CPU_SET(listener->cpu, &listener->only);
	listener->map_fd =
		bpf_map_create(BPF_MAP_TYPE_PERF_EVENT_ARRAY, "perf", 4, 4, (uint32_t)n_cpus, NULL);
	listener->producer_fd = test_perf_producer(listener->map_fd);
	assert_true(listener->map_fd >= 0 && listener->producer_fd >= 0);
	assert_int_equal(rpc_loop_new(&listener->loop, &err), 0);
	assert_int_equal(reader_new(listener->loop, &listener->reader, &err), 0);
	assert_int_equal(reader_add_perf(listener->reader, (size_t)n_cpus, on_chunk, listener,
					 &listener->buffer, &err),
			 0);
}

static void listener_open_cpu(struct listener *listener)
{
	const int fd = test_perf_event(listener->cpu, false);
	struct error err = { 0 };

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_update_elem(listener->map_fd, &listener->cpu, &fd, BPF_ANY), 0);
	assert_int_equal(reader_open_cpu(listener->buffer, listener->cpu, fd, &err), 0);
}

static void listener_produce(const struct listener *listener, uint32_t n)
{
	assert_int_equal(sched_setaffinity(0, sizeof(listener->only), &listener->only), 0);
	test_produce(listener->producer_fd, n);
	assert_int_equal(sched_setaffinity(0, sizeof(listener->own), &listener->own), 0);
}

/* Returns when so many have come. */
static void listener_run(struct listener *listener, uint64_t n_wanted)
{
	struct rpc_timer *timer = rpc_loop_after(listener->loop, 60000, give_up, listener->loop);

	listener->n_wanted = n_wanted;
	assert_non_null(timer);
	assert_int_equal(rpc_loop_run(listener->loop), 0);
	assert_int_equal(listener->n_records, n_wanted);
	assert_int_equal(listener->n_too_large, 0);
	rpc_timer_cancel(timer);
}

static void listener_close(struct listener *listener)
{
	reader_remove(listener->buffer);
	reader_free(listener->reader);
	rpc_loop_free(listener->loop);
	(void)close(listener->producer_fd);
	(void)close(listener->map_fd);
}

static void what_waits_is_read_before_a_cpu_goes(void **state)
{
	struct listener listener;

	(void)state;
	listener_open(&listener);
	reader_hold(listener.buffer, true);
	listener_open_cpu(&listener);
	listener_produce(&listener, 1000);
	/* It comes back as another event. */
	listener_open_cpu(&listener);
	listener_produce(&listener, 1500);
	reader_close_cpu(listener.buffer, listener.cpu);
	reader_hold(listener.buffer, false);
	listener_run(&listener, 2500);
	assert_int_equal(reader_kernel_lost(listener.buffer), 0);
	listener_close(&listener);
}

/* Nobody takes the chunks, so that the ring runs full. */
static void what_a_cpu_lost_is_counted_when_it_goes(void **state)
{
	enum { TOTAL = 400000 };
	struct listener listener;
	uint64_t n_lost;

	(void)state;
	listener_open(&listener);
	listener_open_cpu(&listener);
	listener_produce(&listener, TOTAL);
	reader_close_cpu(listener.buffer, listener.cpu);
	n_lost = reader_kernel_lost(listener.buffer);
	assert_true(n_lost > 0 && n_lost < TOTAL);
	listener_run(&listener, TOTAL - n_lost);
	assert_int_equal(reader_kernel_lost(listener.buffer), n_lost);
	listener_close(&listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_cpu_that_is_offline_is_asked_for_until_it_delivers, start, stop),
		cmocka_unit_test_setup_teardown(a_cpu_that_went_offline_is_asked_for_again, start,
						stop),
		cmocka_unit_test(what_waits_is_read_before_a_cpu_goes),
		cmocka_unit_test(what_a_cpu_lost_is_counted_when_it_goes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
