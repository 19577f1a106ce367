#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "proto/apart.h"
#include "proto/arena.h"

#define EVENTS_FIELD 3
#define BATCH (&bpfleet__v1__event_batch__descriptor)

static void pack(struct arena *arena, uint8_t **bytes, size_t *n)
{
	Bpfleet__V1__EventBatch batch = BPFLEET__V1__EVENT_BATCH__INIT;
	uint32_t offsets[] = { 0, 3, 300 };
	struct error err = { 0 };

	batch.source = 2;
	batch.first_sequence = UINT64_C(1) << 40;
	batch.events = (ProtobufCBinaryData){ .data = (uint8_t *)"records", .len = 7 };
	batch.n_events = 3;
	batch.received_at_ns = 1;
	batch.sequence_offsets = offsets;
	batch.n_sequence_offsets = 3;
	assert_int_equal(arena_pack(arena, &batch.base, bytes, n, &err), 0);
}

static void a_field_stays_where_it_is_and_the_rest_is_unpacked(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	const Bpfleet__V1__EventBatch *batch;
	ProtobufCBinaryData events;
	ProtobufCMessage *message;
	struct error err = { 0 };
	uint8_t *bytes;
	size_t n;

	(void)state;
	pack(arena, &bytes, &n);
	assert_int_equal(
		apart_unpack(arena, BATCH, EVENTS_FIELD, bytes, n, &events, &message, &err), 0);
	batch = (const Bpfleet__V1__EventBatch *)message;
	assert_int_equal(events.len, 7);
	assert_memory_equal(events.data, "records", 7);
	assert_in_range((uintptr_t)events.data, (uintptr_t)bytes, (uintptr_t)(bytes + n));
	assert_int_equal(batch->events.len, 0);
	assert_int_equal(batch->source, 2);
	assert_int_equal(batch->first_sequence, UINT64_C(1) << 40);
	assert_int_equal(batch->n_events, 3);
	assert_int_equal(batch->received_at_ns, 1);
	assert_int_equal(batch->n_sequence_offsets, 3);
	assert_int_equal(batch->sequence_offsets[2], 300);
}

static void of_a_field_that_comes_twice_the_last_counts(void **state)
{
	static const uint8_t bytes[] = { 0x1a, 1, 'a', 0x20, 5, 0x1a, 2, 'b', 'c' };
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	ProtobufCBinaryData events;
	ProtobufCMessage *message;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(apart_unpack(arena, BATCH, EVENTS_FIELD, bytes, sizeof(bytes), &events,
				      &message, &err),
			 0);
	assert_int_equal(events.len, 2);
	assert_memory_equal(events.data, "bc", 2);
	assert_int_equal(((const Bpfleet__V1__EventBatch *)message)->n_events, 5);
}

static void a_message_without_the_field_is_unpacked_as_ever(void **state)
{
	static const uint8_t bytes[] = { 0x20, 5, 0x2a, 2, '{', '}' };
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	const Bpfleet__V1__EventBatch *batch;
	ProtobufCBinaryData events;
	ProtobufCMessage *message;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(apart_unpack(arena, BATCH, EVENTS_FIELD, bytes, sizeof(bytes), &events,
				      &message, &err),
			 0);
	batch = (const Bpfleet__V1__EventBatch *)message;
	assert_null(events.data);
	assert_int_equal(batch->n_events, 5);
	assert_int_equal(batch->n_json, 1);
	assert_string_equal(batch->json[0], "{}");
}

/* Every beginning and every changed byte of a good message: unpacked or refused, and never a field
 * that is not within it. */
static void damaged_messages_are_refused_or_stay_within_their_bytes(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	uint8_t *bytes;
	size_t n, n_refused = 0;

	(void)state;
	pack(arena, &bytes, &n);
	for (size_t i = 0; i < 2 * n; i++) {
		_cleanup_(arena_freep) struct arena *own = arena_new(65536);
		const size_t length = i < n ? i : n;
		ProtobufCBinaryData events = { 0 };
		ProtobufCMessage *message;
		struct error err = { 0 };
		uint8_t *copy = arena_alloc(own, length + 1);

		memcpy(copy, bytes, length);
		if (i >= n)
			copy[i - n] ^= 0xff;
		if (apart_unpack(own, BATCH, EVENTS_FIELD, copy, length, &events, &message, &err) <
		    0) {
			n_refused++;
			continue;
		}
		if (events.data == NULL)
			continue;
		assert_true(events.data >= copy);
		assert_true(events.len <= length - (size_t)(events.data - copy));
	}
	assert_true(n_refused > n / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_field_stays_where_it_is_and_the_rest_is_unpacked),
		cmocka_unit_test(of_a_field_that_comes_twice_the_last_counts),
		cmocka_unit_test(a_message_without_the_field_is_unpacked_as_ever),
		cmocka_unit_test(damaged_messages_are_refused_or_stay_within_their_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
