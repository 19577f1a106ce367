#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "proto/arena.h"

static void a_message_goes_through_an_arena_unchanged(void **state)
{
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT, *back;
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	struct error err = { 0 };
	ProtobufCMessage *message;
	uint8_t *bytes;
	size_t n;

	(void)state;
	request.bundle = (char *)"bundles/packet_count";
	request.lease_ttl_ns = 42;
	assert_int_equal(arena_pack(arena, &request.base, &bytes, &n, &err), 0);
	assert_int_equal(arena_unpack(arena, &bpfleet__v1__load_request__descriptor, bytes, n,
				      &message, &err),
			 0);
	back = (Bpfleet__V1__LoadRequest *)message;
	assert_string_equal(back->bundle, "bundles/packet_count");
	assert_int_equal(back->lease_ttl_ns, 42);
	assert_int_equal(arena_refuse_unknown(message, &err), 0);
}

/* 64 KiB of empty sub-messages cost protobuf-c sixty times as much. */
static void a_hostile_message_stops_at_the_limit(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	struct error err = { 0 };
	ProtobufCMessage *message = NULL;
	uint8_t bytes[65536];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i += 2) {
		bytes[i] = 2 << 3 | 2;
		bytes[i + 1] = 0;
	}
	assert_true(arena_unpack(arena, &bpfleet__v1__load_request__descriptor, bytes,
				 sizeof(bytes), &message, &err) < 0);
	assert_int_equal(err.code, ERROR_REQUEST_TOO_LARGE);
	assert_null(message);
	assert_true(arena_used(arena) <= 65536);
}

static void bytes_that_are_no_message_are_refused(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	const uint8_t torn[] = { 1 << 3 | 2, 5, 'a' }, latin1[] = { 1 << 3 | 2, 1, 0xe9 };
	struct error err = { 0 };
	ProtobufCMessage *message;

	(void)state;
	assert_true(arena_unpack(arena, &bpfleet__v1__load_request__descriptor, torn, sizeof(torn),
				 &message, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_true(arena_unpack(arena, &bpfleet__v1__load_request__descriptor, latin1,
				 sizeof(latin1), &message, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(err.message, "bundle"));
}

static void unknown_fields_and_enum_values_are_found_at_any_depth(void **state)
{
	/* Bundle { manifest { maps { field 100 = 1 } } } */
	const uint8_t field[] = { 1 << 3 | 2, 5, 6 << 3 | 2, 3, 0xa0, 0x06, 1 };
	/* Bundle { manifest { programs { need = 9 } } } */
	const uint8_t value[] = { 1 << 3 | 2, 4, 5 << 3 | 2, 2, 6 << 3, 9 };
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	struct error err = { 0 };
	ProtobufCMessage *message;

	(void)state;
	assert_int_equal(arena_unpack(arena, &bpfleet__v1__bundle__descriptor, field, sizeof(field),
				      &message, &err),
			 0);
	assert_true(arena_refuse_unknown(message, &err) < 0);
	assert_int_equal(err.code, ERROR_UNKNOWN_FIELD);
	assert_non_null(strstr(err.message, "MapSpec"));
	assert_int_equal(arena_unpack(arena, &bpfleet__v1__bundle__descriptor, value, sizeof(value),
				      &message, &err),
			 0);
	assert_true(arena_refuse_unknown(message, &err) < 0);
	assert_non_null(strstr(err.message, "need"));
}

static void allocations_are_aligned_zeroed_and_bounded(void **state)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(100000);
	static const char zeroes[50000];

	(void)state;
	for (size_t size = 1; size < 2000; size += 333) {
		void *ptr = arena_alloc(arena, size);

		assert_int_equal((uintptr_t)ptr % 16, 0);
		assert_memory_equal(ptr, zeroes, size);
		memset(ptr, 0xff, size);
	}
	assert_memory_equal(arena_alloc(arena, sizeof(zeroes)), zeroes, sizeof(zeroes));
	assert_null(arena_alloc(arena, sizeof(zeroes)));
	assert_string_equal(arena_printf(arena, "%s-%d", "a", 1), "a-1");
	assert_null(arena_alloc(arena, SIZE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_goes_through_an_arena_unchanged),
		cmocka_unit_test(a_hostile_message_stops_at_the_limit),
		cmocka_unit_test(bytes_that_are_no_message_are_refused),
		cmocka_unit_test(unknown_fields_and_enum_values_are_found_at_any_depth),
		cmocka_unit_test(allocations_are_aligned_zeroed_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
