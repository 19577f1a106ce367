#define _GNU_SOURCE
#include "daemon/core/kernel/migrate.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/kernel/migrate-entries.h"
#include "daemon/core/kernel/migrate-program.h"
#include "daemon/mapread/mapread.h"

/* Entries that are written by one call. */
#define BATCH 256

struct kernel_migration {
	char *name;
	const struct map_plan *plan;
	struct mapread_map from, to;
	struct merge_program *program;
	struct migrate_entries copied;	/* of the old map; mark: still there at the end */
	struct migrate_entries changed; /* as they are at the end; mark: nothing to merge */
	uint8_t *value;			/* to.value_bytes, of the new map */
	uint8_t *present;		/* the same, as the new map has it */
	uint64_t began_at;
	uint64_t n_appeared;
};

static bool is_array(const struct mapread_map *map)
{
	return map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static size_t stride(uint32_t value_size)
{
	return ((size_t)value_size + 7) / 8 * 8;
}

static size_t n_values(const struct mapread_map *map)
{
	return map->n_cpus > 0 ? map->n_cpus : 1;
}

static int raise_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold the entries of a map");
}

/* Every CPU's value, from how the old map has it to how the new one has it. */
static void convert(const struct kernel_migration *migration, const uint8_t *from, uint8_t *to)
{
	for (size_t i = 0; i < n_values(&migration->to); i++)
		map_plan_convert(migration->plan, from + i * stride(migration->from.value_size),
				 to + i * stride(migration->to.value_size));
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* ---- begin */

static int read_old(struct kernel_migration *migration, struct error *err)
{
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	const size_t key_size = migration->from.key_size;
	const size_t entry = key_size + migration->from.value_bytes;
	const uint8_t *entries;
	size_t size, at;
	uint32_t n;
	int r;

	r = mapread_dump_new(&migration->from, &dump, err);
	while (r == 0) {
		r = mapread_dump_next(dump, &entries, &size, &n, err);
		if (r < 0 || n == 0)
			break;
		for (size_t i = 0; r == 0 && i < n; i++, entries += entry) {
			/* A key that is deleted and made anew under a walk is met twice. */
			at = migrate_entries_find(&migration->copied, entries);
			if (at != SIZE_MAX)
				memcpy(migrate_entries_value(&migration->copied, at),
				       entries + key_size, migration->from.value_bytes);
			else
				r = migrate_entries_add(&migration->copied, entries,
							entries + key_size, err);
		}
	}
	return r;
}

/* An array's new members keep what its object gave them. */
static void convert_over_present(const struct kernel_migration *migration, const uint8_t *key,
				 const uint8_t *from, uint8_t *to)
{
	if (migration->to.type != BPF_MAP_TYPE_ARRAY ||
	    bpf_map_lookup_elem(migration->to.fd, key, to) < 0)
		convert(migration, from, to);
	else
		map_plan_convert_over(migration->plan, from, to);
}

/* An element that the new version's array does not have. */
static bool is_beyond(const struct mapread_map *map, const uint8_t *key)
{
	uint32_t index;

	if (!is_array(map))
		return false;
	memcpy(&index, key, sizeof(index));
	return index >= map->max_entries;
}

static int raise_beyond(const struct mapread_map *map, const uint8_t *key, struct error *err)
{
	uint32_t index;

	memcpy(&index, key, sizeof(index));
	return error_raise(err, ERROR_MAP_FULL,
			   "element %u is not zero, and the new version's array ends at %u", index,
			   map->max_entries);
}

/* Entries on their way into the new map. */
struct batch {
	uint8_t *keys, *values;
	uint32_t n, capacity;
};

static int batch_flush(struct kernel_migration *migration, struct batch *batch, struct error *err)
{
	uint32_t n = batch->n;

	batch->n = 0;
	if (n == 1)
		return kernel_map_update(&migration->to, batch->keys, batch->values, BPF_ANY, err);
	return n == 0 ? 0
		      : kernel_map_update_batch(&migration->to, batch->keys, batch->values, &n,
						BPF_ANY, err);
}

static int write_entries(struct kernel_migration *migration, struct batch *batch, struct error *err)
{
	const struct migrate_entries *copied = &migration->copied;
	const size_t key_size = copied->key_size, value_bytes = migration->to.value_bytes;
	int r = 0;

	for (size_t i = 0; r == 0 && i < copied->n; i++) {
		const uint8_t *key = migrate_entries_key(copied, i);
		const uint8_t *value = migrate_entries_value(copied, i);

		if (is_beyond(&migration->to, key)) {
			if (!is_zero(value, copied->value_bytes))
				return raise_beyond(&migration->to, key, err);
			continue;
		}
		memcpy(batch->keys + batch->n * key_size, key, key_size);
		convert_over_present(migration, key, value, batch->values + batch->n * value_bytes);
		if (++batch->n == batch->capacity)
			r = batch_flush(migration, batch, err);
	}
	return r < 0 ? r : batch_flush(migration, batch, err);
}

static int write_new(struct kernel_migration *migration, struct error *err)
{
	const size_t key_size = migration->to.key_size, value_bytes = migration->to.value_bytes;
	const bool batches = (migration->to.kind->flags & MAP_WRITES_BATCHES) != 0;
	struct batch batch = { .capacity = batches ? BATCH : 1 };
	_cleanup_free_ uint8_t *memory = calloc(batch.capacity, key_size + value_bytes);

	if (memory == NULL)
		return raise_memory(err);
	if (!is_array(&migration->to) && migration->copied.n > migration->to.max_entries)
		return error_raise(err, ERROR_MAP_FULL,
				   "the old version's map holds %zu entries, the new version's "
				   "takes %u",
				   migration->copied.n, migration->to.max_entries);
	batch.values = memory;
	batch.keys = memory + batch.capacity * value_bytes;
	return write_entries(migration, &batch, err);
}

static int check_shapes(const struct kernel_migration *migration, struct error *err)
{
	const struct mapread_map *from = &migration->from, *to = &migration->to;

	if (migration->plan->verdict != MAP_MIGRATE || from->key_size != to->key_size ||
	    from->value_size != migration->plan->old_value_size ||
	    to->value_size != migration->plan->new_value_size || from->n_cpus != to->n_cpus)
		return error_raise(err, ERROR_INTERNAL, "the plan is for other maps");
	return 0;
}

static int prepare(struct kernel_migration *migration, const struct kernel_migrate_options *options,
		   struct error *err)
{
	int r;

	r = mapread_open(options->old_fd, options->n_possible_cpus, &migration->from, err);
	if (r == 0)
		r = mapread_open(options->new_fd, options->n_possible_cpus, &migration->to, err);
	if (r == 0)
		r = check_shapes(migration, err);
	if (r < 0)
		return r;
	migration->copied = (struct migrate_entries){
		.key_size = migration->from.key_size,
		.value_bytes = migration->from.value_bytes,
		.bytes_max = KERNEL_MIGRATE_BYTES_MAX,
	};
	migration->changed = migration->copied;
	migration->value = calloc(2, migration->to.value_bytes);
	if (migration->value == NULL)
		return raise_memory(err);
	migration->present = migration->value + migration->to.value_bytes;
	return merge_program_new(migration->plan, &migration->to, &migration->program, err);
}

int kernel_migrate_begin(const struct kernel_migrate_options *options,
			 struct kernel_migration **ret, struct error *err)
{
	_cleanup_(kernel_migration_freep) struct kernel_migration *migration =
		calloc(1, sizeof(*migration));
	int r;

	if (migration == NULL)
		return raise_memory(err);
	migration->plan = options->plan;
	migration->name = strdup(options->name);
	if (migration->name == NULL)
		return raise_memory(err);
	r = prepare(migration, options, err);
	if (r == 0) {
		migration->began_at = clock_monotonic_ns();
		r = read_old(migration, err);
	}
	if (r == 0)
		r = write_new(migration, err);
	if (r < 0)
		return error_context(err, r, "map '%s'", migration->name);
	*ret = TAKE_PTR(migration);
	return 0;
}

void kernel_migration_free(struct kernel_migration *migration)
{
	if (migration == NULL)
		return;
	merge_program_free(migration->program);
	migrate_entries_done(&migration->copied);
	migrate_entries_done(&migration->changed);
	free(migration->value);
	free(migration->name);
	free(migration);
}

/* ---- settle */

int kernel_migrate_settle(struct error *err)
{
	_cleanup_close_ int inner = -1, outer = -1;
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	const uint32_t key = 0;

	/*
	 * To replace a map within a map is to wait for every run of a program that may still use
	 * the one before (maybe_wait_bpf_programs() in the kernel's kernel/bpf/syscall.c).
	 * membarrier(MEMBARRIER_CMD_GLOBAL) waits for nothing where one CPU is online, and is
	 * refused with nohz_full.
	 */
	inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bpfleet_settle", sizeof(uint32_t),
			       sizeof(uint32_t), 1, NULL);
	if (inner >= 0) {
		opts.inner_map_fd = (__u32)inner;
		outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "bpfleet_settle",
				       sizeof(uint32_t), sizeof(uint32_t), 1, &opts);
	}
	if (outer < 0 || bpf_map_update_elem(outer, &key, &inner, BPF_ANY) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot wait for the old programs to end");
	return 0;
}

/* ---- finish */

/* The first error is what is reported; the others are tried all the same. */
static int keep_first(int r, int now, const struct error *error, struct error *err)
{
	if (r == 0 && now < 0 && err != NULL)
		*err = *error;
	return r < 0 ? r : now;
}

/* An entry that was not there when the others were copied. */
static int add_appeared(struct kernel_migration *migration, const uint8_t *key,
			const uint8_t *value, struct error *err)
{
	struct error error = { 0 };
	bool is_merged;
	int r;

	if (migrate_entries_find(&migration->changed, key) != SIZE_MAX)
		return 0;
	convert(migration, value, migration->value);
	r = kernel_map_update(&migration->to, key, migration->value, BPF_NOEXIST, &error);
	if (r < 0 && error.code != ERROR_ALREADY_EXISTS) {
		*err = error;
		return r;
	}
	is_merged = r == 0;
	migration->n_appeared++;
	r = migrate_entries_add(&migration->changed, key, value, err);
	if (r == 0)
		*migrate_entries_mark(&migration->changed, migration->changed.n - 1) = is_merged;
	return r;
}

static int look_again(struct kernel_migration *migration, const uint8_t *key, const uint8_t *value,
		      struct error *err)
{
	struct migrate_entries *copied = &migration->copied;
	const size_t at = migrate_entries_find(copied, key);

	if (at == SIZE_MAX)
		return add_appeared(migration, key, value, err);
	if (*migrate_entries_mark(copied, at) != 0)
		return 0;
	*migrate_entries_mark(copied, at) = 1;
	if (is_beyond(&migration->to, key) && !is_zero(value, copied->value_bytes))
		return raise_beyond(&migration->to, key, err);
	if (memcmp(migrate_entries_value(copied, at), value, copied->value_bytes) == 0)
		return 0;
	return migrate_entries_add(&migration->changed, key, value, err);
}

static int read_old_again(struct kernel_migration *migration, struct error *err)
{
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	const size_t key_size = migration->from.key_size;
	const uint8_t *entries;
	struct error error = { 0 };
	int r, failed = 0;
	size_t size;
	uint32_t n;

	r = mapread_dump_new(&migration->from, &dump, err);
	while (r == 0) {
		r = mapread_dump_next(dump, &entries, &size, &n, err);
		if (r < 0 || n == 0)
			break;
		for (size_t i = 0; i < n; i++, entries += key_size + migration->from.value_bytes)
			failed = keep_first(
				failed, look_again(migration, entries, entries + key_size, &error),
				&error, err);
	}
	return failed < 0 ? failed : r;
}

/* Where this thread runs while it merges the values of CPUs. */
struct affinity {
	cpu_set_t *before, *set;
	size_t size; /* of each, in bytes */
	uint32_t n_remote;
};

/*
 * Where the new programs of that CPU run, none can be in the middle of adding to its value: one
 * instruction of this thread comes before or after a run of theirs.
 */
static void move_to(struct affinity *affinity, uint32_t cpu)
{
	CPU_ZERO_S(affinity->size, affinity->set);
	CPU_SET_S(cpu, affinity->size, affinity->set);
	if (sched_setaffinity(0, affinity->size, affinity->set) < 0)
		affinity->n_remote++;
}

/* Merges what one CPU's old programs changed; in a map without CPUs (affinity NULL) all of it. */
static int merge_values(struct kernel_migration *migration, struct affinity *affinity, uint32_t cpu,
			struct error *err)
{
	const struct migrate_entries *copied = &migration->copied, *changed = &migration->changed;
	const uint32_t size = migration->from.value_size;
	const size_t offset = cpu * stride(size);
	struct error error = { 0 };
	bool has_moved = affinity == NULL, found;
	int r = 0;

	for (size_t i = 0; i < changed->n; i++) {
		const uint8_t *key = migrate_entries_key(changed, i);
		const uint8_t *now = migrate_entries_value(changed, i) + offset;
		const size_t at = migrate_entries_find(copied, key);
		const uint8_t *was =
			at != SIZE_MAX ? migrate_entries_value(copied, at) + offset : NULL;

		if (*migrate_entries_mark(changed, i) != 0 ||
		    (was != NULL ? memcmp(was, now, size) == 0 : is_zero(now, size)))
			continue;
		if (!has_moved)
			move_to(affinity, cpu);
		has_moved = true;
		/* An entry that a new program deleted, or an LRU map evicted, stays away. */
		r = keep_first(
			r,
			merge_program_run(migration->program, key, cpu, was, now, &found, &error),
			&error, err);
	}
	return r;
}

static int merge(struct kernel_migration *migration, uint32_t *ret_n_remote, struct error *err)
{
	const uint32_t n_cpus = migration->to.n_cpus;
	_cleanup_free_ cpu_set_t *sets = NULL;
	struct affinity affinity = { .size = CPU_ALLOC_SIZE(n_cpus) };
	struct error error = { 0 };
	int r = 0;

	*ret_n_remote = 0;
	if (n_cpus == 0)
		return merge_values(migration, NULL, 0, err);
	sets = calloc(2, affinity.size);
	if (sets == NULL)
		return raise_memory(err);
	affinity.before = sets;
	affinity.set = (cpu_set_t *)((uint8_t *)sets + affinity.size);
	if (sched_getaffinity(0, affinity.size, affinity.before) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot tell on which CPUs to run");
	for (uint32_t cpu = 0; cpu < n_cpus; cpu++)
		r = keep_first(r, merge_values(migration, &affinity, cpu, &error), &error, err);
	/* Where a cpuset shrank meanwhile, it has the last word. */
	(void)sched_setaffinity(0, affinity.size, affinity.before);
	*ret_n_remote = affinity.n_remote;
	return r;
}

/* Entries that the old programs deleted go, unless a new program has written them since. */
static void delete_gone(struct kernel_migration *migration)
{
	const struct migrate_entries *copied = &migration->copied;

	for (size_t i = 0; i < copied->n && !is_array(&migration->to); i++) {
		const uint8_t *key = migrate_entries_key(copied, i);

		if (*migrate_entries_mark(copied, i) != 0 ||
		    bpf_map_lookup_elem(migration->to.fd, key, migration->present) < 0)
			continue;
		convert(migration, migrate_entries_value(copied, i), migration->value);
		if (memcmp(migration->present, migration->value, migration->to.value_bytes) == 0)
			(void)bpf_map_delete_elem(migration->to.fd, key);
	}
}

int kernel_migrate_finish(struct kernel_migration *migration, struct kernel_migrate_result *ret,
			  struct error *err)
{
	struct error error = { 0 };
	uint32_t n_remote = 0;
	int r;

	r = read_old_again(migration, err);
	r = keep_first(r, merge(migration, &n_remote, &error), &error, err);
	if (r < 0)
		return error_context(err, r, "map '%s'", migration->name);
	delete_gone(migration);
	*ret = (struct kernel_migrate_result){
		.n_entries = migration->copied.n + migration->n_appeared,
		.n_merged = migration->changed.n,
		.window_ns = clock_monotonic_ns() - migration->began_at,
		.n_remote_cpus = n_remote,
	};
	return 0;
}
