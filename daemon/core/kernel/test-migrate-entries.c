/* Entries in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/core/kernel/migrate-entries.h"

static void entries_are_found_by_their_whole_key(void **state)
{
	struct migrate_entries entries = { .key_size = 6, .value_bytes = 4, .bytes_max = 1 << 20 };
	struct error err = { 0 };
	uint8_t key[6] = { 0 };

	(void)state;
	assert_int_equal(migrate_entries_find(&entries, key), SIZE_MAX);
	for (uint32_t i = 0; i < 5000; i++) {
		memcpy(key, &i, sizeof(i));
		assert_int_equal(migrate_entries_add(&entries, key, &i, &err), 0);
	}
	for (uint32_t i = 0; i < 5000; i++) {
		uint32_t value;

		memcpy(key, &i, sizeof(i));
		assert_int_equal(migrate_entries_find(&entries, key), i);
		memcpy(&value, migrate_entries_value(&entries, i), sizeof(value));
		assert_int_equal(value, i);
		assert_int_equal(*migrate_entries_mark(&entries, i), 0);
	}
	key[5] = 1;
	assert_int_equal(migrate_entries_find(&entries, key), SIZE_MAX);
	migrate_entries_done(&entries);
}

static void more_than_the_limit_is_refused(void **state)
{
	struct migrate_entries entries = { .key_size = 4, .value_bytes = 59, .bytes_max = 1 << 16 };
	struct error err = { 0 };
	uint8_t value[59] = { 0 };
	uint32_t n = 0;

	(void)state;
	while (migrate_entries_add(&entries, &n, value, &err) == 0)
		n++;
	assert_int_equal(err.code, ERROR_LIMIT_EXCEEDED);
	assert_int_equal(n, 1024);
	migrate_entries_done(&entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_found_by_their_whole_key),
		cmocka_unit_test(more_than_the_limit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
