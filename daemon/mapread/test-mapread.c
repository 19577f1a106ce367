/* Needs CAP_BPF: makes real maps. */
#include <bpf/bpf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/mapread/mapread.h"

static int n_cpus;

static struct mapread_map make(enum bpf_map_type type, uint32_t key_size, uint32_t value_size,
			       uint32_t max_entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = flags);
	const int fd =
		bpf_map_create(type, "mapread_test", key_size, value_size, max_entries, &opts);
	struct mapread_map map;

	assert_true(fd >= 0);
	assert_int_equal(mapread_open(fd, (uint32_t)n_cpus, &map, NULL), 0);
	assert_int_equal(map.fd, fd);
	assert_int_equal(map.type, type);
	return map;
}

static void fill(const struct mapread_map *map, uint32_t n)
{
	uint8_t value[4096] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		const uint64_t number = i * 3 + 1;

		memcpy(value, &number, sizeof(number));
		assert_int_equal(bpf_map_update_elem(map->fd, &i, value, BPF_ANY), 0);
	}
}

/* Dumps a map of fill(): each of n keys exactly once, with its value. */
static void assert_dump(const struct mapread_map *map, uint32_t n)
{
	const size_t entry = map->key_size + map->value_bytes;
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	_cleanup_free_ uint8_t *seen = calloc(n, 1);
	const uint8_t *entries;
	size_t size, total = 0;
	uint32_t count, key;
	uint64_t number;

	assert_int_equal(mapread_dump_new(map, &dump, NULL), 0);
	for (;;) {
		assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
		if (count == 0)
			break;
		assert_int_equal(size, count * entry);
		assert_true(size <= MAPREAD_CHUNK_MAX || count == 1);
		for (uint32_t i = 0; i < count; i++) {
			memcpy(&key, entries + i * entry, sizeof(key));
			memcpy(&number, entries + i * entry + map->key_size, sizeof(number));
			assert_true(key < n);
			assert_int_equal(seen[key], 0);
			seen[key] = 1;
			assert_int_equal(number, key * 3 + 1);
		}
		total += count;
	}
	assert_int_equal(total, n);
}

static void a_hash_is_dumped_with_every_key_once(void **state)
{
	(void)state;
	for (uint32_t n = 0; n <= 20000; n = n == 0 ? 1 : n * 20000) {
		struct mapread_map map = make(BPF_MAP_TYPE_HASH, 4, 16, 20000, 0);

		fill(&map, n);
		assert_dump(&map, n);
		(void)close(map.fd);
	}
}

static void entries_larger_than_a_chunk_come_one_at_a_time(void **state)
{
	struct mapread_map map = make(BPF_MAP_TYPE_ARRAY, 4, 70000, 3, 0);
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	const uint8_t *entries;
	uint32_t count, total = 0;
	size_t size;

	(void)state;
	assert_int_equal(mapread_dump_new(&map, &dump, NULL), 0);
	do {
		assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
		assert_true(count <= 1);
		total += count;
	} while (count > 0);
	assert_int_equal(total, 3);
	(void)close(map.fd);
}

static void buckets_larger_than_a_batch_are_read(void **state)
{
	/* Two such entries fill a chunk; of 64 buckets with 64 entries some hold three. */
	struct mapread_map map = make(BPF_MAP_TYPE_HASH, 4, 32000, 64, 0);
	uint8_t *value = calloc(1, 32000);

	(void)state;
	for (uint32_t i = 0; i < 64; i++) {
		const uint64_t number = i * 3 + 1;

		memcpy(value, &number, sizeof(number));
		assert_int_equal(bpf_map_update_elem(map.fd, &i, value, BPF_ANY), 0);
	}
	free(value);
	assert_dump(&map, 64);
	(void)close(map.fd);
}

static void percpu_values_are_padded_and_one_for_each_cpu(void **state)
{
	struct mapread_map map = make(BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 100, 0);
	uint64_t values[2 * 512] = { 0 };
	uint32_t key = 7;

	(void)state;
	assert_int_equal(map.n_cpus, n_cpus);
	assert_int_equal(map.value_bytes, (size_t)n_cpus * 16);
	assert_true(map.value_bytes <= sizeof(values));
	for (int i = 0; i < n_cpus; i++)
		values[i * 2] = (uint64_t)i + 22;
	assert_int_equal(bpf_map_update_elem(map.fd, &key, values, BPF_ANY), 0);
	memset(values, 0, sizeof(values));
	assert_int_equal(mapread_lookup(&map, &key, values, NULL), 0);
	for (int i = 0; i < n_cpus; i++)
		assert_int_equal(values[i * 2], i + 22);
	(void)close(map.fd);
}

static void lpm_and_arrays_and_lru_are_dumped(void **state)
{
	struct mapread_map array = make(BPF_MAP_TYPE_ARRAY, 4, 8, 9000, 0);
	struct mapread_map lru = make(BPF_MAP_TYPE_LRU_HASH, 4, 8, 100, 0);
	struct mapread_map lpm = make(BPF_MAP_TYPE_LPM_TRIE, 8, 8, 16, BPF_F_NO_PREALLOC);
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	const uint32_t keys[3][2] = { { 8, 10 }, { 16, 0x0a0a }, { 32, 0x0100007f } };
	uint32_t count, total = 0;
	const uint8_t *entries;
	size_t size;

	(void)state;
	fill(&array, 9000);
	assert_dump(&array, 9000);
	fill(&lru, 50);
	assert_dump(&lru, 50);
	for (size_t i = 0; i < 3; i++) {
		uint64_t value = i;

		assert_int_equal(bpf_map_update_elem(lpm.fd, keys[i], &value, BPF_ANY), 0);
	}
	assert_int_equal(mapread_dump_new(&lpm, &dump, NULL), 0);
	do {
		assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
		total += count;
	} while (count > 0);
	assert_int_equal(total, 3);
	(void)close(array.fd);
	(void)close(lru.fd);
	(void)close(lpm.fd);
}

static void maps_without_batches_are_walked_key_by_key(void **state)
{
	struct mapread_map map = make(BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 8, 0);
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	uint32_t key = 5, ifindex = 1, count, out[2];
	const uint8_t *entries;
	size_t size;

	(void)state;
	assert_int_equal(bpf_map_update_elem(map.fd, &key, &ifindex, BPF_ANY), 0);
	assert_int_equal(mapread_dump_new(&map, &dump, NULL), 0);
	assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
	assert_int_equal(count, 1);
	memcpy(out, entries, sizeof(out));
	assert_int_equal(out[0], 5);
	assert_int_equal(out[1], 1);
	assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
	assert_int_equal(count, 0);
	(void)close(map.fd);
}

static void keys_deleted_during_a_dump_do_not_stop_it(void **state)
{
	struct mapread_map map = make(BPF_MAP_TYPE_HASH, 4, 16, 20000, 0);
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	const uint8_t *entries;
	uint32_t count, turns = 0;
	size_t size;

	(void)state;
	fill(&map, 20000);
	assert_int_equal(mapread_dump_new(&map, &dump, NULL), 0);
	do {
		assert_int_equal(mapread_dump_next(dump, &entries, &size, &count, NULL), 0);
		for (uint32_t i = 0; i < 20000; i += 2)
			(void)bpf_map_delete_elem(map.fd, &i);
		turns++;
	} while (count > 0 && turns < 1000);
	assert_int_equal(count, 0);
	(void)close(map.fd);
}

static void a_missing_key_and_an_index_past_the_end_are_told_apart(void **state)
{
	struct mapread_map hash = make(BPF_MAP_TYPE_HASH, 4, 8, 4, 0);
	struct mapread_map queue = make(BPF_MAP_TYPE_QUEUE, 0, 8, 4, 0);
	struct mapread_map lpm = make(BPF_MAP_TYPE_LPM_TRIE, 8, 8, 16, BPF_F_NO_PREALLOC);
	struct mapread_dump *dump = NULL;
	uint32_t key[2] = { 77, 0 };
	struct error err = { 0 };
	uint64_t value;

	(void)state;
	assert_int_equal(mapread_lookup(&hash, key, &value, &err), -ENOENT);
	assert_int_equal(err.code, ERROR_KEY_NOT_IN_MAP);
	assert_int_equal(mapread_lookup(&queue, NULL, &value, &err), -ENOENT);
	assert_true(mapread_dump_new(&queue, &dump, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_TYPE_UNSUPPORTED);
	assert_true(mapread_lookup(&lpm, key, &value, &err) < 0);
	(void)close(hash.fd);
	(void)close(queue.fd);
	(void)close(lpm.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hash_is_dumped_with_every_key_once),
		cmocka_unit_test(entries_larger_than_a_chunk_come_one_at_a_time),
		cmocka_unit_test(buckets_larger_than_a_batch_are_read),
		cmocka_unit_test(percpu_values_are_padded_and_one_for_each_cpu),
		cmocka_unit_test(lpm_and_arrays_and_lru_are_dumped),
		cmocka_unit_test(maps_without_batches_are_walked_key_by_key),
		cmocka_unit_test(keys_deleted_during_a_dump_do_not_stop_it),
		cmocka_unit_test(a_missing_key_and_an_index_past_the_end_are_told_apart),
	};
	const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, NULL);

	if (fd < 0) {
		(void)printf("cannot make BPF maps here: %s\n", error_errno_name(errno));
		return 77;
	}
	(void)close(fd);
	n_cpus = mapread_possible_cpus();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
