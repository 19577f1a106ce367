#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/events.h"
#include "daemon/front/reader.h"
#include "daemon/front/ring.h"
#include "daemon/front/test-core.h"
#include "daemon/front/test-events.h"
#include "proto/arena.h"

#define SERVICE (&bpfleet__v1__node_service__descriptor)
#define MAP_NAME "instances/i/maps/m"
#define RING_NAME "instances/i/maps/ring"
#define N_ENTRIES 20000

static struct test_front front;
static struct arena *arena;
static struct rpc_channel *channel;
static int map_fd, ring_fd, counter_fd, producer_fd;

static uint64_t soon(void)
{
	return clock_monotonic_ns() + 20 * NS_PER_SEC;
}

static int setup(void **state)
{
	(void)state;
	arena = arena_new(64 << 20);
	map_fd = test_hash_map(N_ENTRIES);
	ring_fd = test_ring_buffer(256 << 10);
	counter_fd = test_counter_map();
	producer_fd = test_producer(ring_fd, counter_fd);
	if (map_fd < 0 || ring_fd < 0 || counter_fd < 0 || producer_fd < 0)
		return -1;
	for (uint32_t key = 0; key < N_ENTRIES; key++) {
		uint64_t value = key * 3u;

		if (bpf_map_update_elem(map_fd, &key, &value, BPF_ANY) < 0)
			return -1;
	}
	test_front_start(&front, NULL);
	front.core.maps[0] = (struct test_map){ .name = MAP_NAME, .fd = map_fd };
	front.core.maps[1] = (struct test_map){ .name = RING_NAME, .fd = ring_fd, .events = true };
	front.core.n_maps = 2;
	channel = test_connect(&front);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rpc_channel_close(channel);
	test_front_stop(&front);
	(void)close(map_fd);
	(void)close(ring_fd);
	(void)close(counter_fd);
	(void)close(producer_fd);
	arena_free(arena);
	return 0;
}

/* ---- lookups */

static enum error_code lookup(const char *map, uint32_t key, Bpfleet__V1__Encoding encoding,
			      const Bpfleet__V1__MapEntry **ret)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	ProtobufCBinaryData keys = { .len = sizeof(key), .data = (uint8_t *)&key };
	ProtobufCMessage *message = NULL;
	enum error_code code;

	request.map = (char *)(uintptr_t)map;
	request.n_keys = 1;
	request.keys = &keys;
	request.encoding = encoding;
	code = test_call(channel, "LookupMap", &request.base, arena, &message);
	if (code == ERROR_NONE)
		*ret = ((Bpfleet__V1__LookupMapResponse *)message)->entries[0];
	return code;
}

static void a_lookup_asks_core_once_and_reads_the_map_itself(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;
	uint64_t value;

	(void)state;
	for (uint32_t key = 0; key < 100; key++) {
		assert_int_equal(
			lookup(MAP_NAME, key, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			ERROR_NONE);
		assert_true(entry->found);
		assert_int_equal(entry->value.len, 8);
		memcpy(&value, entry->value.data, sizeof(value));
		assert_int_equal(value, key * 3);
	}
	assert_int_equal(front.core.n_grants, 1);
	assert_int_equal(
		lookup(MAP_NAME, N_ENTRIES, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
		ERROR_NONE);
	assert_false(entry->found);
}

static void a_lookup_answers_in_json(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;

	(void)state;
	assert_int_equal(lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_JSON, &entry),
			 ERROR_NONE);
	assert_non_null(strstr(entry->json, "\"key\":"));
	assert_non_null(strstr(entry->json, "\"value\":"));
	assert_int_equal(entry->value.len, 0);
}

static void types_too_large_for_a_grant_are_fetched(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;
	struct btf *btf = btf__new_empty();

	(void)state;
	assert_int_equal(btf__add_int(btf, "unsigned int", 4, 0), 1);
	assert_int_equal(btf__add_int(btf, "unsigned long", 8, 0), 2);
	front.core.btf = btf__raw_data(btf, &front.core.n_btf);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lookup(MAP_NAME, 7, BPFLEET__V1__ENCODING__ENCODING_JSON, &entry),
				 ERROR_NONE);
		assert_string_equal(entry->json, "{\"key\":7,\"value\":21}");
	}
	assert_int_equal(front.core.n_grants, 1);
	btf__free(btf);
}

static void keys_that_do_not_fit_are_refused(void **state)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	ProtobufCBinaryData keys[1100];
	char *texts[] = { "0x01000000" };
	ProtobufCMessage *message = NULL;

	(void)state;
	for (size_t i = 0; i < 1100; i++)
		keys[i] = (ProtobufCBinaryData){ .len = 3, .data = (uint8_t *)"abc" };
	request.map = MAP_NAME;
	request.n_keys = 1;
	request.keys = keys;
	assert_int_equal(test_call(channel, "LookupMap", &request.base, arena, NULL),
			 ERROR_INVALID_KEY);
	request.n_keys = 1100;
	assert_int_equal(test_call(channel, "LookupMap", &request.base, arena, NULL),
			 ERROR_REQUEST_TOO_LARGE);
	request.n_keys = 0;
	request.n_key_texts = 1;
	request.key_texts = texts;
	assert_int_equal(test_call(channel, "LookupMap", &request.base, arena, &message),
			 ERROR_NONE);
	assert_true(((Bpfleet__V1__LookupMapResponse *)message)->entries[0]->found);
}

static void a_newer_policy_voids_grants_and_is_asked(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;

	(void)state;
	assert_int_equal(lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			 ERROR_NONE);
	(void)pthread_mutex_lock(&front.core.lock);
	front.core.maps[0].denied = true;
	(void)pthread_mutex_unlock(&front.core.lock);
	/* Core has not said so yet: the grant holds. */
	assert_int_equal(lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			 ERROR_NONE);
	test_core_notice(&front.core, 2, 2, NULL);
	for (int i = 0; i < 1000 && front.core.n_denied == 0; i++) {
		enum error_code code =
			lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry);

		assert_true(code == ERROR_NONE || code == ERROR_PERMISSION_DENIED);
	}
	assert_int_equal(lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			 ERROR_PERMISSION_DENIED);
}

static void the_end_of_an_instance_voids_its_grants(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;
	unsigned int n = 0;

	(void)state;
	assert_int_equal(lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			 ERROR_NONE);
	test_core_notice(&front.core, 2, 1, "instances/i");
	for (int i = 0; i < 1000 && n < 2; i++) {
		assert_int_equal(
			lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			ERROR_NONE);
		n = front.core.n_grants;
	}
	assert_int_equal(n, 2);
}

/* ---- dumps */

static struct rpc_stream *stream_open(const char *method, const ProtobufCMessage *request)
{
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };

	assert_int_equal(rpc_stream_open(channel, SERVICE, method, soon(), &stream, &err), 0);
	assert_int_equal(rpc_stream_send(stream, request, &err), 0);
	assert_int_equal(rpc_stream_half_close(stream, &err), 0);
	return stream;
}

static struct rpc_stream *dump_open(Bpfleet__V1__Encoding encoding)
{
	Bpfleet__V1__DumpMapRequest request = BPFLEET__V1__DUMP_MAP_REQUEST__INIT;

	request.map = MAP_NAME;
	request.encoding = encoding;
	return stream_open("DumpMap", &request.base);
}

static void a_dump_brings_every_entry_once(void **state)
{
	static uint8_t seen[N_ENTRIES];
	struct rpc_stream *stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_PACKED);
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	size_t n = 0;
	int r;

	(void)state;
	memset(seen, 0, sizeof(seen));
	while ((r = rpc_stream_receive(stream, arena, &message, &err)) == 1) {
		const Bpfleet__V1__DumpMapResponse *response =
			(const Bpfleet__V1__DumpMapResponse *)message;

		assert_true(response->entries.len <= 65536);
		assert_int_equal(response->entries.len, 12 * (size_t)response->n_entries);
		for (uint32_t i = 0; i < response->n_entries; i++) {
			uint32_t key;

			memcpy(&key, response->entries.data + 12 * (size_t)i, sizeof(key));
			assert_true(key < N_ENTRIES);
			n += !seen[key];
			seen[key] = 1;
		}
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, N_ENTRIES);
	rpc_stream_free(stream);
}

static void a_dump_in_json_is_cut_into_messages_a_client_takes(void **state)
{
	struct rpc_stream *stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	size_t n = 0;
	int r;

	(void)state;
	while ((r = rpc_stream_receive(stream, arena, &message, &err)) == 1) {
		const Bpfleet__V1__DumpMapResponse *response =
			(const Bpfleet__V1__DumpMapResponse *)message;

		assert_true(protobuf_c_message_get_packed_size(message) < (1u << 20));
		assert_int_equal(response->n_entries, response->n_json);
		n += response->n_json;
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, N_ENTRIES);
	rpc_stream_free(stream);
}

static void a_dump_that_nobody_reads_holds_up_nobody(void **state)
{
	struct rpc_stream *stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	const Bpfleet__V1__MapEntry *entry = NULL;

	(void)state;
	for (int i = 0; i < 50; i++)
		assert_int_equal(
			lookup(MAP_NAME, 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
			ERROR_NONE);
	rpc_stream_free(stream);
}

static void a_dump_under_way_ends_when_the_policy_takes_it_away(void **state)
{
	struct rpc_stream *stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	int r;

	(void)state;
	assert_int_equal(rpc_stream_receive(stream, arena, &message, &err), 1);
	(void)pthread_mutex_lock(&front.core.lock);
	front.core.maps[0].denied = true;
	(void)pthread_mutex_unlock(&front.core.lock);
	test_core_notice(&front.core, 2, 2, NULL);
	do
		r = rpc_stream_receive(stream, arena, &message, &err);
	while (r == 1);
	/* It may have been over before the notice came. */
	assert_true(r == 0 || err.code == ERROR_PERMISSION_DENIED);
	rpc_stream_free(stream);
}

/* ---- stacks and local storages */

static int memory_file(const char *text, size_t n)
{
	const int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* In place of the hash; only programs could put a stack in. */
static int use_stack_map(void)
{
	const int fd = bpf_map_create(BPF_MAP_TYPE_STACK_TRACE, "stacks", 4, 64, 16, NULL);

	assert_true(fd >= 0);
	front.core.maps[0].fd = fd;
	return fd;
}

/* Why there are no symbols, as an answer about a stack that is not there tells. */
static const char *no_symbols(Bpfleet__V1__Encoding encoding)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	ProtobufCBinaryData key = { 4, (uint8_t[4]){ 1 } };
	ProtobufCMessage *message = NULL;

	request.map = MAP_NAME;
	request.n_keys = 1;
	request.keys = &key;
	request.encoding = encoding;
	assert_int_equal(test_call(channel, "LookupMap", &request.base, arena, &message),
			 ERROR_NONE);
	assert_false(((Bpfleet__V1__LookupMapResponse *)message)->entries[0]->found);
	return ((Bpfleet__V1__LookupMapResponse *)message)->no_symbols;
}

static void symbols_are_read_once_for_many_stacks(void **state)
{
	static const char text[] = "ffffffff81000000 T _text\n";
	const int fd = use_stack_map();

	(void)state;
	front.core.symbols_fd = memory_file(text, sizeof(text) - 1);
	assert_string_equal(no_symbols(BPFLEET__V1__ENCODING__ENCODING_PACKED), "");
	assert_int_equal(front.core.n_symbols, 0);
	for (int i = 0; i < 20; i++)
		assert_string_equal(no_symbols(BPFLEET__V1__ENCODING__ENCODING_JSON), "");
	assert_int_equal(front.core.n_symbols, 1);
	(void)close(front.core.symbols_fd);
	(void)close(fd);
}

static void why_there_are_no_symbols_is_told(void **state)
{
	static const char hidden[] = "0000000000000000 T _text\n";
	const int fd = use_stack_map();

	(void)state;
	assert_string_equal(no_symbols(BPFLEET__V1__ENCODING__ENCODING_JSON),
			    "said by the core of clay");
	front.core.symbols_fd = memory_file(hidden, sizeof(hidden) - 1);
	assert_non_null(strstr(no_symbols(BPFLEET__V1__ENCODING__ENCODING_JSON), "kptr_restrict"));
	(void)close(front.core.symbols_fd);
	(void)close(fd);
}

/* The thread that reads them is still at it when front stops. */
static void who_leaves_while_symbols_are_read_is_forgotten(void **state)
{
	static const char line[] = "ffffffff81000000 T _text\n";
	const int fd = use_stack_map();
	char *text = malloc(4 << 20);
	struct rpc_stream *streams[4];

	(void)state;
	for (size_t i = 0; i < (4 << 20); i++)
		text[i] = line[i % (sizeof(line) - 1)];
	front.core.symbols_fd = memory_file(text, 4 << 20);
	for (int i = 0; i < 4; i++)
		streams[i] = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_true(test_await(&front.core.n_symbols, 1) >= 1);
	for (int i = 0; i < 4; i++)
		rpc_stream_free(streams[i]);
	free(text);
	(void)close(front.core.symbols_fd);
	(void)close(fd);
}

/* In place of the hash; the map's own fd, and who frees the types. */
static int use_storage_map(uint32_t type, struct btf **ret_btf)
{
	struct btf *btf = btf__new_empty();
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC, .btf_key_type_id = 1,
		    .btf_value_type_id = 2);
	int fd;

	assert_int_equal(btf__add_int(btf, "int", 4, BTF_INT_SIGNED), 1);
	assert_int_equal(btf__add_int(btf, "unsigned long", 8, 0), 2);
	assert_int_equal(btf__load_into_kernel(btf), 0);
	opts.btf_fd = (uint32_t)btf__fd(btf);
	fd = bpf_map_create(type, "storage", 4, 8, 0, &opts);
	assert_true(fd >= 0);
	front.core.maps[0].fd = fd;
	front.core.btf = btf__raw_data(btf, &front.core.n_btf);
	*ret_btf = btf;
	return fd;
}

static void a_local_storage_is_dumped_as_core_walks_it(void **state)
{
	static const uint64_t entries[] = { 4711, 70, 815, 80 };
	ProtobufCMessage *message = NULL;
	struct rpc_stream *stream;
	struct error err = { 0 };
	struct btf *btf = NULL;
	const int fd = use_storage_map(BPF_MAP_TYPE_TASK_STORAGE, &btf);

	(void)state;
	front.core.entries_fd = memory_file((const char *)entries, sizeof(entries));
	stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_int_equal(rpc_stream_receive(stream, arena, &message, &err), 1);
	assert_int_equal(((Bpfleet__V1__DumpMapResponse *)message)->n_json, 2);
	assert_string_equal(((Bpfleet__V1__DumpMapResponse *)message)->json[0],
			    "{\"key\":4711,\"value\":70}");
	assert_int_equal(rpc_stream_receive(stream, arena, &message, &err), 0);
	rpc_stream_free(stream);
	stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_PACKED);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_TYPE_UNSUPPORTED);
	rpc_stream_free(stream);
	(void)close(fd);
	(void)close(front.core.entries_fd);
	btf__free(btf);
}

/* A pipe stands for an iterator: as long as nothing is written, the kernel walks. */
static void a_walk_that_takes_long_holds_up_nobody(void **state)
{
	static const uint64_t entries[] = { 4711, 70, 815, 80, 5, 6 };
	const Bpfleet__V1__MapEntry *entry = NULL;
	ProtobufCMessage *message = NULL;
	struct rpc_stream *stream;
	struct error err = { 0 };
	struct btf *btf = NULL;
	const int fd = use_storage_map(BPF_MAP_TYPE_TASK_STORAGE, &btf);
	uint32_t n = 0;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	front.core.entries_fd = fds[0];
	stream = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_true(test_await(&front.core.n_walks, 1) >= 1);
	for (int i = 0; i < 20; i++)
		assert_int_equal(lookup("instances/i/maps/none", 1,
					BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
				 ERROR_NOT_FOUND);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(write(fds[1], &entries[2 * i], 16), 16);
		assert_int_equal(rpc_stream_receive(stream, arena, &message, &err), 1);
		n += ((Bpfleet__V1__DumpMapResponse *)message)->n_entries;
		assert_int_equal(n, i + 1);
	}
	(void)close(fds[1]);
	assert_int_equal(rpc_stream_receive(stream, arena, &message, &err), 0);
	rpc_stream_free(stream);
	(void)close(fds[0]);
	(void)close(fd);
	btf__free(btf);
}

/* One is being read, others wait for it. */
static void who_leaves_while_a_storage_is_walked_is_forgotten(void **state)
{
	enum { N = 70 };
	ProtobufCMessage *message = NULL;
	struct rpc_stream *streams[N];
	struct error err = { 0 };
	struct btf *btf = NULL;
	const int fd = use_storage_map(BPF_MAP_TYPE_TASK_STORAGE, &btf);
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	front.core.entries_fd = fds[0];
	for (int i = 0; i < N; i++)
		streams[i] = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_int_equal(test_await(&front.core.n_walks, N), N);
	/* One more than may wait, and one is read: the last is refused. */
	assert_true(rpc_stream_receive(streams[N - 1], arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_LIMIT_EXCEEDED);
	for (int i = 0; i < N; i++)
		rpc_stream_free(streams[i]);
	streams[0] = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_int_equal(test_await(&front.core.n_walks, N + 1), N + 1);
	(void)close(fds[1]);
	assert_int_equal(rpc_stream_receive(streams[0], arena, &message, &err), 0);
	rpc_stream_free(streams[0]);
	(void)close(fds[0]);
	(void)close(fd);
	btf__free(btf);
}

/* Cgroups without a value, forever. */
static void a_walk_without_an_end_does_not_keep_front_from_stopping(void **state)
{
	const Bpfleet__V1__MapEntry *entry = NULL;
	struct rpc_stream *streams[4];
	struct btf *btf = NULL;
	const int fd = use_storage_map(BPF_MAP_TYPE_CGRP_STORAGE, &btf);

	(void)state;
	front.core.entries_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 4; i++)
		streams[i] = dump_open(BPFLEET__V1__ENCODING__ENCODING_JSON);
	assert_int_equal(test_await(&front.core.n_walks, 4), 4);
	assert_int_equal(
		lookup("instances/i/maps/none", 1, BPFLEET__V1__ENCODING__ENCODING_PACKED, &entry),
		ERROR_NOT_FOUND);
	for (int i = 0; i < 2; i++)
		rpc_stream_free(streams[i]);
	test_front_ask_to_stop(&front);
	for (int i = 2; i < 4; i++)
		rpc_stream_free(streams[i]);
	(void)close(front.core.entries_fd);
	(void)close(fd);
	btf__free(btf);
}

/* ---- events */

static struct rpc_stream *events_request(const Bpfleet__V1__StreamEventsRequest *request)
{
	ProtobufCMessage *message = NULL;
	struct rpc_stream *stream;
	struct error err = { 0 };

	stream = stream_open("StreamEvents", &request->base);
	if (rpc_stream_receive(stream, arena, &message, &err) != 1)
		fail_msg("no sources: %s", err.message);
	assert_int_equal(((Bpfleet__V1__StreamEventsResponse *)message)->sources->n_maps, 1);
	assert_string_equal(((Bpfleet__V1__StreamEventsResponse *)message)->sources->maps[0]->name,
			    RING_NAME);
	return stream;
}

static struct rpc_stream *events_open(const char *source, Bpfleet__V1__Encoding encoding)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;

	request.source = (char *)(uintptr_t)source;
	request.encoding = encoding;
	return events_request(&request);
}

static const Bpfleet__V1__EventBatch *next_batch(struct rpc_stream *stream)
{
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };

	if (rpc_stream_receive(stream, arena, &message, &err) != 1)
		fail_msg("the stream ended: %s", err.message);
	return ((Bpfleet__V1__StreamEventsResponse *)message)->batch;
}

/* Checks the framing of a packed batch of our records; returns the number in the first. */
static uint64_t check_batch(const Bpfleet__V1__EventBatch *batch)
{
	uint64_t first = 0, number;
	uint32_t length;

	assert_int_equal(batch->events.len, 12 * (size_t)batch->n_events);
	for (uint32_t i = 0; i < batch->n_events; i++) {
		memcpy(&length, batch->events.data + 12 * (size_t)i, sizeof(length));
		memcpy(&number, batch->events.data + 12 * (size_t)i + 4, sizeof(number));
		assert_int_equal(length, 8);
		if (i == 0)
			first = number;
		assert_int_equal(number, first + i);
	}
	return first;
}

static void events_come_in_order_and_what_was_before_does_not(void **state)
{
	struct rpc_stream *stream;
	uint64_t n = 0;

	(void)state;
	test_produce(producer_fd, 100);
	stream = events_open("instances/i", BPFLEET__V1__ENCODING__ENCODING_PACKED);
	test_produce(producer_fd, 1000);
	while (n < 1000) {
		const Bpfleet__V1__EventBatch *batch = next_batch(stream);

		assert_true(batch->unobserved_known);
		assert_int_equal(batch->unobserved, 100);
		if (batch->n_events == 0)
			continue;
		assert_int_equal(check_batch(batch), 101 + n);
		assert_int_equal(batch->first_sequence, n);
		assert_int_equal(batch->subscriber_lost, 0);
		assert_false(batch->kernel_lost_known);
		n += batch->n_events;
	}
	rpc_stream_free(stream);
}

static void core_is_told_how_many_events_were_read(void **state)
{
	struct rpc_stream *stream = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	uint64_t n = 0;

	(void)state;
	test_produce(producer_fd, 300);
	while (n < 300)
		n += next_batch(stream)->n_events;
	assert_int_equal(test_await(&front.core.n_counted, 300), 300);
	rpc_stream_free(stream);
}

static void one_event_comes_within_the_latency_promised(void **state)
{
	struct rpc_stream *stream = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_JSON);
	uint64_t began = clock_monotonic_ns();

	(void)state;
	test_produce(producer_fd, 1);
	assert_int_equal(next_batch(stream)->n_json, 1);
	assert_true(clock_monotonic_ns() - began < 500 * NS_PER_MS);
	rpc_stream_free(stream);
}

static void drops_that_the_program_counts_are_told(void **state)
{
	uint64_t counted[2] = { 0, 77 };
	uint32_t key = 0;
	struct rpc_stream *stream;

	(void)state;
	front.core.counter_fd = counter_fd;
	assert_int_equal(bpf_map_update_elem(counter_fd, &key, counted, BPF_ANY), 0);
	stream = events_open("instances/i", BPFLEET__V1__ENCODING__ENCODING_PACKED);
	test_produce(producer_fd, 1);
	{
		const Bpfleet__V1__EventBatch *batch = next_batch(stream);

		assert_true(batch->kernel_lost_known);
		assert_int_equal(batch->kernel_lost, 77);
	}
	rpc_stream_free(stream);
}

static void a_slow_subscriber_loses_and_others_do_not(void **state)
{
	enum { TOTAL = 2000000, STEP = 2000 };
	struct rpc_stream *slow = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	struct rpc_stream *fast = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	const Bpfleet__V1__EventBatch *batch = NULL;
	uint64_t n_fast = 0, n_slow = 0, next = 0;

	(void)state;
	assert_int_equal(front.core.n_counters, 2);
	for (uint64_t produced = 0; produced < TOTAL; produced += STEP) {
		test_produce(producer_fd, STEP);
		while (n_fast < produced + STEP) {
			arena_free(arena);
			arena = arena_new(1 << 20);
			batch = next_batch(fast);
			assert_int_equal(batch->first_sequence, n_fast);
			assert_int_equal(batch->subscriber_lost, 0);
			n_fast += batch->n_events;
		}
	}
	assert_true(events_held_bytes(front.front->events) <= (size_t)9 << 20);
	while (next < TOTAL) {
		arena_free(arena);
		arena = arena_new(1 << 20);
		batch = next_batch(slow);
		(void)check_batch(batch);
		assert_true(batch->first_sequence >= next);
		n_slow += batch->n_events;
		next = batch->first_sequence + batch->n_events;
	}
	assert_true(batch->subscriber_lost > 0);
	assert_int_equal(batch->subscriber_lost + n_slow, TOTAL);
	rpc_stream_free(slow);
	rpc_stream_free(fast);
}

static void arena_empty(void)
{
	arena_free(arena);
	arena = arena_new(4 << 20);
}

/* A ring of 256 KiB has room for 16384 records of 16 bytes with their headers. */
static void a_ring_overrun_without_subscribers_is_counted_exactly(void **state)
{
	enum { TOTAL = 50000 };
	struct rpc_stream *stream;
	const Bpfleet__V1__EventBatch *batch;

	(void)state;
	front.core.counter_fd = counter_fd;
	test_produce(producer_fd, TOTAL);
	stream = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	batch = next_batch(stream);
	assert_int_equal(batch->n_events, 0);
	assert_true(batch->unobserved_known && batch->kernel_lost_known);
	assert_true(batch->unobserved > 0 && batch->kernel_lost > 0);
	assert_int_equal(batch->unobserved + batch->kernel_lost, TOTAL);
	test_produce(producer_fd, 1);
	batch = next_batch(stream);
	assert_int_equal(batch->n_events, 1);
	assert_int_equal(batch->first_sequence, 0);
	assert_int_equal(batch->front_lost + batch->subscriber_lost, 0);
	rpc_stream_free(stream);
}

static void one_of_eight_that_stops_slows_nobody(void **state)
{
	enum { N = 8, TOTAL = 1500000, STEP = 2000 };
	struct rpc_stream *streams[N];
	const Bpfleet__V1__EventBatch *batch = NULL;
	uint64_t n_received[N] = { 0 }, next = 0;

	(void)state;
	for (size_t i = 0; i < N; i++)
		streams[i] = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	assert_int_equal(events_n_sources(front.front->events), 1);
	for (uint64_t produced = 0; produced < TOTAL; produced += STEP) {
		test_produce(producer_fd, STEP);
		for (size_t i = 1; i < N; i++) {
			while (n_received[i] < produced + STEP) {
				arena_empty();
				batch = next_batch(streams[i]);
				assert_int_equal(check_batch(batch), n_received[i] + 1);
				assert_int_equal(batch->subscriber_lost, 0);
				n_received[i] += batch->n_events;
			}
		}
	}
	while (next < TOTAL) {
		arena_empty();
		batch = next_batch(streams[0]);
		n_received[0] += batch->n_events;
		next = batch->first_sequence + batch->n_events;
	}
	assert_true(batch->subscriber_lost > 0);
	assert_int_equal(batch->subscriber_lost + n_received[0], TOTAL);
	for (size_t i = 0; i < N; i++)
		rpc_stream_free(streams[i]);
}

/* Records of {u64 number}. */
static struct rpc_stream *events_chosen(Bpfleet__V1__StreamEventsRequest *request,
					struct btf **ret_btf)
{
	struct btf *btf = btf__new_empty();

	(void)btf__add_int(btf, "unsigned int", 4, 0);
	(void)btf__add_int(btf, "unsigned long", 8, 0);
	front.core.event_type_id = (uint32_t)btf__add_struct(btf, "record", 8);
	assert_int_equal(btf__add_field(btf, "number", 2, 0, 0), 0);
	front.core.btf = btf__raw_data(btf, &front.core.n_btf);
	*ret_btf = btf;
	request->source = (char *)(uintptr_t)RING_NAME;
	return events_request(request);
}

static void a_choice_is_made_before_anything_is_sent(void **state)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	const Bpfleet__V1__EventBatch *batch = NULL;
	struct rpc_stream *stream;
	struct btf *btf = NULL;
	uint64_t n = 0;

	(void)state;
	request.filter = (char *)(uintptr_t) "number > 100 && number <= 1100 || number == 5000";
	request.sample_every = 10;
	stream = events_chosen(&request, &btf);
	test_produce(producer_fd, 5000);
	test_produce(producer_fd, 1);
	while (n < 100) {
		arena_empty();
		batch = next_batch(stream);
		assert_int_equal(batch->n_sequence_offsets, batch->n_events);
		for (uint32_t i = 0; i < batch->n_events; i++, n++) {
			uint64_t number;

			memcpy(&number, batch->events.data + 12 * (size_t)i + 4, sizeof(number));
			assert_int_equal(number, 110 + 10 * n);
			/* Numbers count from 1, sequences from 0. */
			assert_int_equal(batch->first_sequence + batch->sequence_offsets[i],
					 number - 1);
		}
	}
	while (batch->filtered_out < 4000) {
		arena_empty();
		test_produce(producer_fd, 1);
		batch = next_batch(stream);
	}
	assert_int_equal(batch->sampled_out, 901);
	assert_int_equal(batch->subscriber_lost + batch->front_lost, 0);
	rpc_stream_free(stream);
	btf__free(btf);
}

static void a_rate_is_held_and_what_is_above_it_counted(void **state)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	const Bpfleet__V1__EventBatch *batch = NULL;
	struct rpc_stream *stream;
	struct btf *btf = NULL;
	uint64_t n = 0;

	(void)state;
	request.max_per_second = 7;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_JSON;
	stream = events_chosen(&request, &btf);
	test_produce(producer_fd, 1000);
	/* A second or more later, when all have been counted. */
	do {
		arena_empty();
		batch = next_batch(stream);
		assert_true(batch->n_json <= 7);
		if (n == 0)
			assert_string_equal(batch->json[0], "{\"number\":1}");
		n += batch->n_json;
		test_produce(producer_fd, 1);
	} while (batch->rate_limited < 900);
	assert_int_equal(batch->filtered_out + batch->sampled_out, 0);
	assert_true(n >= 7 && n < 100);
	rpc_stream_free(stream);
	btf__free(btf);
}

static void a_filter_that_does_not_fit_ends_the_stream(void **state)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	request.source = (char *)(uintptr_t)RING_NAME;
	request.filter = (char *)(uintptr_t) "number == 1";
	stream = stream_open("StreamEvents", &request.base);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_FILTER);
	assert_non_null(strstr(err.message, RING_NAME));
	rpc_stream_free(stream);
}

static void events_of_an_unloaded_instance_end_after_the_last_one(void **state)
{
	struct rpc_stream *stream =
		events_open("instances/i", BPFLEET__V1__ENCODING__ENCODING_PACKED);
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };
	uint64_t n = 0;
	int r;

	(void)state;
	test_produce(producer_fd, 500);
	test_core_notice(&front.core, 2, 1, "instances/i");
	while ((r = rpc_stream_receive(stream, arena, &message, &err)) == 1)
		n += ((Bpfleet__V1__StreamEventsResponse *)message)->batch->n_events;
	assert_int_equal(n, 500);
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.message, "unloaded"));
	rpc_stream_free(stream);
}

static void events_end_when_the_policy_takes_them_away(void **state)
{
	struct rpc_stream *stream = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };

	(void)state;
	test_core_notice(&front.core, 2, 2, NULL);
	test_produce(producer_fd, 1);
	assert_int_equal(next_batch(stream)->n_events, 1);
	(void)pthread_mutex_lock(&front.core.lock);
	front.core.maps[1].denied = true;
	(void)pthread_mutex_unlock(&front.core.lock);
	test_core_notice(&front.core, 3, 3, NULL);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_PERMISSION_DENIED);
	rpc_stream_free(stream);
}

static void a_map_that_is_no_ring_buffer_has_no_events(void **state)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	struct rpc_stream *stream;
	struct error err = { 0 };

	(void)state;
	request.source = MAP_NAME;
	stream = stream_open("StreamEvents", &request.base);
	assert_true(rpc_stream_receive(stream, arena, &message, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_TYPE_UNSUPPORTED);
	rpc_stream_free(stream);
}

static void an_open_ring_is_closed_with_its_last_subscriber(void **state)
{
	struct rpc_stream *a = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	struct rpc_stream *b = events_open(RING_NAME, BPFLEET__V1__ENCODING__ENCODING_PACKED);
	uint64_t deadline = soon();

	(void)state;
	assert_int_equal(events_n_sources(front.front->events), 1);
	rpc_stream_free(a);
	test_produce(producer_fd, 1);
	assert_int_equal(next_batch(b)->n_events, 1);
	rpc_stream_free(b);
	while (events_n_sources(front.front->events) > 0 && clock_monotonic_ns() < deadline)
		continue;
	assert_int_equal(events_n_sources(front.front->events), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_lookup_asks_core_once_and_reads_the_map_itself),
		T(a_lookup_answers_in_json),
		T(types_too_large_for_a_grant_are_fetched),
		T(keys_that_do_not_fit_are_refused),
		T(a_newer_policy_voids_grants_and_is_asked),
		T(the_end_of_an_instance_voids_its_grants),
		T(a_dump_brings_every_entry_once),
		T(a_dump_in_json_is_cut_into_messages_a_client_takes),
		T(a_dump_that_nobody_reads_holds_up_nobody),
		T(a_dump_under_way_ends_when_the_policy_takes_it_away),
		T(symbols_are_read_once_for_many_stacks),
		T(why_there_are_no_symbols_is_told),
		T(who_leaves_while_symbols_are_read_is_forgotten),
		T(a_local_storage_is_dumped_as_core_walks_it),
		T(a_walk_that_takes_long_holds_up_nobody),
		T(who_leaves_while_a_storage_is_walked_is_forgotten),
		T(a_walk_without_an_end_does_not_keep_front_from_stopping),
		T(events_come_in_order_and_what_was_before_does_not),
		T(one_event_comes_within_the_latency_promised),
		T(drops_that_the_program_counts_are_told),
		T(a_slow_subscriber_loses_and_others_do_not),
		T(a_ring_overrun_without_subscribers_is_counted_exactly),
		T(one_of_eight_that_stops_slows_nobody),
		T(a_choice_is_made_before_anything_is_sent),
		T(a_rate_is_held_and_what_is_above_it_counted),
		T(a_filter_that_does_not_fit_ends_the_stream),
		T(core_is_told_how_many_events_were_read),
		T(events_of_an_unloaded_instance_end_after_the_last_one),
		T(events_end_when_the_policy_takes_them_away),
		T(a_map_that_is_no_ring_buffer_has_no_events),
		T(an_open_ring_is_closed_with_its_last_subscriber),
	};
	int fd = test_ring_buffer(4096);

	if (fd < 0) {
		printf("cannot create BPF maps: %s; run as root\n", strerror(-fd));
		return 77;
	}
	(void)close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
