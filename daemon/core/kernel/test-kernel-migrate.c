/* Entries migrated while programs of both versions write them: every packet counts once. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/core/kernel/migrate.h"
#include "daemon/core/kernel/test-fixture.h"
#include "daemon/mapread/mapread.h"

#define ROUNDS 50
/* Ethernet, IPv4, UDP and one byte. */
#define FRAME 43

struct old_value {
	uint64_t packets;
	uint32_t bytes;
	uint32_t lost;
	uint64_t last_seen;
	uint32_t ports[4];
	char tag[8];
};

struct new_value {
	char tag[16];
	uint64_t last_seen;
	uint64_t added;
	uint64_t bytes;
	uint32_t ports[6];
	uint64_t packets;
};

static const char *const types[] = { "array",	    "percpu_array", "hash",
				     "percpu_hash", "lru_hash",	    "lpm_trie" };
#define N_TYPES ARRAY_SIZE(types)

static uint32_t n_cpus;

/* Both versions, loaded. */
struct versions {
	struct fixture fixture;
	struct kernel_object *object;
	struct btf *btf;
	Bpfleet__V1__MergeRule rules[4];
	Bpfleet__V1__MergeRule *list[4];
};

static void versions_load(struct versions *versions)
{
	static const char *const names[] = { "migrate" };
	static const struct {
		const char *path;
		Bpfleet__V1__Merge rule;
	} rules[] = {
		{ "packets", BPFLEET__V1__MERGE__MERGE_SUM },
		{ "bytes", BPFLEET__V1__MERGE__MERGE_SUM },
		{ "ports", BPFLEET__V1__MERGE__MERGE_SUM },
		{ "last_seen", BPFLEET__V1__MERGE__MERGE_MAX },
	};
	struct kernel_load_options options = { 0 };
	struct error err = { 0 };

	fixture_init(&versions->fixture, names, 1);
	fixture_set_hook(&versions->fixture, "count_old", "tc:*:egress");
	fixture_set_hook(&versions->fixture, "count_new", "tc:*:egress");
	options.bundle = &versions->fixture.bundle;
	if (kernel_load(&options, &versions->object, &err) < 0)
		fail_msg("%s", err.message);
	versions->btf =
		btf__new(versions->object->btfs[0].bytes, (uint32_t)versions->object->btfs[0].size);
	assert_non_null(versions->btf);
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		bpfleet__v1__merge_rule__init(&versions->rules[i]);
		versions->rules[i].path = (char *)rules[i].path;
		versions->rules[i].rule = rules[i].rule;
		versions->list[i] = &versions->rules[i];
	}
}

static void versions_done(struct versions *versions)
{
	btf__free(versions->btf);
	kernel_object_free(versions->object);
	fixture_done(&versions->fixture);
}

static struct kernel_map *map_of(const struct versions *versions, const char *version,
				 const char *type)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%s_%s", version, type);
	return object_map(versions->object, name);
}

static struct map_plan *plan_of(struct versions *versions, const struct kernel_map *old,
				const struct kernel_map *new)
{
	const struct map_side before = {
		.spec = fixture_map(&versions->fixture, old->name),
		.btf = versions->btf,
		.key_type_id = old->key_type_id,
		.value_type_id = old->value_type_id,
	};
	Bpfleet__V1__MapSpec *spec = fixture_map(&versions->fixture, new->name);
	const struct map_side after = {
		.spec = spec,
		.btf = versions->btf,
		.key_type_id = new->key_type_id,
		.value_type_id = new->value_type_id,
	};
	struct map_plan *plan = NULL;
	struct error err = { 0 };

	spec->upgrade = BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE;
	spec->merge = versions->list;
	spec->n_merge = ARRAY_SIZE(versions->list);
	if (map_plan_new(&before, &after, &plan, &err) < 0)
		fail_msg("%s", err.message);
	if (plan->verdict != MAP_MIGRATE)
		fail_msg("%s", plan->difference);
	return plan;
}

static int begin(struct versions *versions, const char *from, const char *to,
		 struct map_plan **ret_plan, struct kernel_migration **ret, struct error *err)
{
	const struct kernel_map *old = object_map(versions->object, from);
	const struct kernel_map *new = object_map(versions->object, to);
	struct kernel_migrate_options options = {
		.name = from,
		.old_fd = old->fd,
		.new_fd = new->fd,
		.n_possible_cpus = n_cpus,
	};

	*ret_plan = plan_of(versions, old, new);
	options.plan = *ret_plan;
	return kernel_migrate_begin(&options, ret, err);
}

/* ---- the flood */

struct flood {
	pthread_t thread;
	int fd;
	uint32_t cpu;
	atomic_bool *stop;
	uint64_t n_sent, n_failed;
};

static void *flood(void *context)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(7777),
					.sin_addr.s_addr = htonl(0x0a4d0002) };
	struct flood *flood = context;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(flood->cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	while (!atomic_load(flood->stop)) {
		if (sendto(flood->fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1)
			flood->n_sent++;
		else
			flood->n_failed++;
	}
	return NULL;
}

/* ---- reading */

struct totals {
	uint64_t packets, bytes, ports, last_seen, n_entries;
};

static struct totals totals_of(const struct kernel_map *map)
{
	struct mapread_map shape;
	struct mapread_dump *dump = NULL;
	struct totals totals = { 0 };
	struct error err = { 0 };
	const uint8_t *entries;
	size_t size;
	uint32_t n;

	assert_int_equal(mapread_open(map->fd, n_cpus, &shape, &err), 0);
	assert_int_equal(mapread_dump_new(&shape, &dump, &err), 0);
	while (mapread_dump_next(dump, &entries, &size, &n, &err) == 0 && n > 0) {
		totals.n_entries += n;
		for (uint32_t i = 0; i < n; i++, entries += map->key_size + shape.value_bytes) {
			for (uint32_t cpu = 0; cpu < (map->n_cpus > 0 ? map->n_cpus : 1); cpu++) {
				struct new_value value;

				memcpy(&value, entries + map->key_size + cpu * sizeof(value),
				       sizeof(value));
				totals.packets += value.packets;
				totals.bytes += value.bytes;
				totals.ports += value.ports[1];
				if (value.last_seen > totals.last_seen)
					totals.last_seen = value.last_seen;
				assert_int_equal(value.added, 0);
				assert_int_equal(value.ports[5], 0);
			}
		}
	}
	mapread_dump_free(dump);
	assert_int_equal(err.code, ERROR_NONE);
	return totals;
}

static void wait_for(const uint64_t *n, uint64_t at_least)
{
	while (__atomic_load_n(n, __ATOMIC_RELAXED) < at_least)
		(void)sched_yield();
}

/* One Replace of a program that counts into a map of every type, under a flood from every CPU. */
static void replace_once(uint64_t *total, uint64_t *merged, uint64_t *window_ns)
{
	struct kernel_migration *migrations[N_TYPES] = { NULL };
	struct map_plan *plans[N_TYPES] = { NULL };
	struct kernel_migrate_result result;
	struct versions versions;
	struct error err = { 0 };
	atomic_bool stop = false;
	struct flood floods[2];
	uint64_t n_sent = 0;
	int link;

	versions_load(&versions);
	link = bpf_link_create(object_program(versions.object, "count_old")->fd,
			       (int)if_nametoindex("v0"), BPF_TCX_EGRESS, NULL);
	assert_true(link >= 0);
	for (uint32_t i = 0; i < 2; i++) {
		floods[i] =
			(struct flood){ .fd = place_socket(), .cpu = i % n_cpus, .stop = &stop };
		assert_int_equal(pthread_create(&floods[i].thread, NULL, flood, &floods[i]), 0);
	}
	wait_for(&floods[0].n_sent, 500);
	wait_for(&floods[1].n_sent, 500);
	for (size_t i = 0; i < N_TYPES; i++) {
		char from[32], to[32];

		(void)snprintf(from, sizeof(from), "old_%s", types[i]);
		(void)snprintf(to, sizeof(to), "new_%s", types[i]);
		if (begin(&versions, from, to, &plans[i], &migrations[i], &err) < 0)
			fail_msg("%s", err.message);
	}
	assert_int_equal(
		bpf_link_update(link, object_program(versions.object, "count_new")->fd, NULL), 0);
	if (kernel_migrate_settle(&err) < 0)
		fail_msg("%s", err.message);
	for (size_t i = 0; i < N_TYPES; i++) {
		if (kernel_migrate_finish(migrations[i], &result, &err) < 0)
			fail_msg("%s", err.message);
		assert_int_equal(result.n_remote_cpus, 0);
		*merged += result.n_merged;
		if (result.window_ns > *window_ns)
			*window_ns = result.window_ns;
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(floods[i].thread, NULL), 0);
		n_sent += floods[i].n_sent;
	}
	(void)close(link);
	for (size_t i = 0; i < N_TYPES; i++) {
		const struct totals totals = totals_of(map_of(&versions, "new", types[i]));

		if (totals.packets != n_sent || totals.bytes != n_sent * FRAME ||
		    totals.ports != n_sent * 2)
			fail_msg("%s: sent %llu, counted %llu packets, %llu bytes, %llu ports",
				 types[i], (unsigned long long)n_sent,
				 (unsigned long long)totals.packets,
				 (unsigned long long)totals.bytes,
				 (unsigned long long)totals.ports);
		assert_true(totals.last_seen > 0);
		kernel_migration_free(migrations[i]);
		map_plan_free(plans[i]);
	}
	*total += n_sent;
	versions_done(&versions);
}

static bool has_tcx(void)
{
	struct versions versions;
	int link;

	versions_load(&versions);
	link = bpf_link_create(object_program(versions.object, "count_old")->fd,
			       (int)if_nametoindex("v0"), BPF_TCX_EGRESS, NULL);
	if (link >= 0)
		(void)close(link);
	versions_done(&versions);
	return link >= 0;
}

static void every_packet_counts_once_in_maps_of_every_type(void **state)
{
	uint64_t total = 0, merged = 0, window_ns = 0;

	(void)state;
	if (!has_tcx()) {
		print_message("this kernel has no tcx links (Linux 6.6)\n");
		skip();
	}
	for (int i = 0; i < ROUNDS; i++)
		replace_once(&total, &merged, &window_ns);
	print_message("%d replacements under %llu packets: all counted; %llu entries merged, "
		      "longest window %llu us\n",
		      ROUNDS, (unsigned long long)total, (unsigned long long)merged,
		      (unsigned long long)window_ns / 1000);
	assert_true(merged > 0);
}

/* ---- rules, without a flood */

struct old_rules {
	uint32_t sum32;
	int32_t max32;
	uint64_t sum64;
	int64_t max64;
	uint64_t unsigned64;
	uint64_t newest64;
	uint32_t newest32;
	uint16_t newest16;
	uint8_t newest8;
	char name[13];
	uint64_t reset;
	unsigned int bits : 4;
};

struct new_rules {
	unsigned int bits : 6;
	uint64_t reset;
	char name[13];
	uint8_t newest8;
	uint16_t newest16;
	uint32_t newest32;
	uint64_t newest64;
	uint64_t unsigned64;
	int64_t max64;
	uint64_t sum64;
	int32_t max32;
	uint32_t sum32;
};

static void put(const struct versions *versions, const char *map, uint32_t key, const void *value)
{
	assert_int_equal(
		bpf_map_update_elem(object_map(versions->object, map)->fd, &key, value, BPF_ANY),
		0);
}

static bool get(const struct versions *versions, const char *map, uint32_t key, void *value)
{
	return bpf_map_lookup_elem(object_map(versions->object, map)->fd, &key, value) == 0;
}

static void drop(const struct versions *versions, const char *map, uint32_t key)
{
	assert_int_equal(bpf_map_delete_elem(object_map(versions->object, map)->fd, &key), 0);
}

/* Begins from old_rules to new_rules with a rule for each member. */
static void begin_rules(struct versions *versions, struct map_plan **ret_plan,
			struct kernel_migration **ret)
{
	static const struct {
		const char *path;
		Bpfleet__V1__Merge rule;
	} rules[] = {
		{ "sum32", BPFLEET__V1__MERGE__MERGE_SUM },
		{ "sum64", BPFLEET__V1__MERGE__MERGE_SUM },
		{ "max32", BPFLEET__V1__MERGE__MERGE_MAX },
		{ "max64", BPFLEET__V1__MERGE__MERGE_MAX },
		{ "unsigned64", BPFLEET__V1__MERGE__MERGE_MAX },
		{ "reset", BPFLEET__V1__MERGE__MERGE_RESET },
	};
	Bpfleet__V1__MergeRule merges[ARRAY_SIZE(rules)], *list[ARRAY_SIZE(rules)];
	const struct kernel_map *old = object_map(versions->object, "old_rules");
	const struct kernel_map *new = object_map(versions->object, "new_rules");
	struct map_side before = { .spec = fixture_map(&versions->fixture, "old_rules"),
				   .btf = versions->btf,
				   .key_type_id = old->key_type_id,
				   .value_type_id = old->value_type_id };
	Bpfleet__V1__MapSpec spec = *fixture_map(&versions->fixture, "new_rules");
	struct map_side after = { .spec = &spec,
				  .btf = versions->btf,
				  .key_type_id = new->key_type_id,
				  .value_type_id = new->value_type_id };
	struct kernel_migrate_options options = {
		.name = "old_rules", .old_fd = old->fd, .new_fd = new->fd, .n_possible_cpus = n_cpus
	};
	struct error err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		bpfleet__v1__merge_rule__init(&merges[i]);
		merges[i].path = (char *)rules[i].path;
		merges[i].rule = rules[i].rule;
		list[i] = &merges[i];
	}
	spec.upgrade = BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE;
	spec.merge = list;
	spec.n_merge = ARRAY_SIZE(rules);
	if (map_plan_new(&before, &after, ret_plan, &err) < 0)
		fail_msg("%s", err.message);
	options.plan = *ret_plan;
	if (kernel_migrate_begin(&options, ret, &err) < 0)
		fail_msg("%s", err.message);
}

static struct kernel_migrate_result finish(struct kernel_migration *migration)
{
	struct kernel_migrate_result result = { 0 };
	struct error err = { 0 };

	if (kernel_migrate_finish(migration, &result, &err) < 0)
		fail_msg("%s", err.message);
	return result;
}

static const struct old_rules first = { .sum32 = 10,
					.max32 = -5,
					.sum64 = 100,
					.max64 = -7,
					.unsigned64 = 1,
					.newest64 = 11,
					.newest32 = 12,
					.newest16 = 13,
					.newest8 = 14,
					.name = "before",
					.reset = 15,
					.bits = 9 };

static void members_that_both_wrote_are_merged_by_their_rules(void **state)
{
	struct kernel_migration *migration = NULL;
	struct map_plan *plan = NULL;
	struct old_rules old = first;
	struct versions versions;
	struct new_rules new;

	(void)state;
	versions_load(&versions);
	put(&versions, "old_rules", 1, &first);
	put(&versions, "old_rules", 2, &first);
	begin_rules(&versions, &plan, &migration);

	/* The old programs write both, the new ones the second. */
	old.sum32 += 5;
	old.sum64 -= 1;
	old.max32 = -2;
	old.max64 = -3;
	old.unsigned64 = UINT64_C(1) << 63;
	old.newest64 = 21;
	old.newest32 = 22;
	old.newest16 = 23;
	old.newest8 = 24;
	(void)strcpy(old.name, "after");
	old.reset = 25;
	old.bits = 3;
	put(&versions, "old_rules", 1, &old);
	put(&versions, "old_rules", 2, &old);
	assert_true(get(&versions, "new_rules", 2, &new));
	assert_int_equal(new.sum32, 10);
	assert_int_equal(new.bits, 9);
	new.sum32 += 1000;
	new.sum64 += 1000;
	new.max32 = -1;
	new.max64 = -4;
	new.unsigned64 = 2;
	new.newest64 = new.newest32 = 77;
	new.newest16 = 78;
	new.newest8 = 79;
	(void)strcpy(new.name, "new");
	new.reset = 80;
	new.bits = 33;
	put(&versions, "new_rules", 2, &new);
	assert_int_equal(finish(migration).n_merged, 2);

	assert_true(get(&versions, "new_rules", 1, &new));
	assert_int_equal(new.sum32, 15);
	assert_int_equal(new.sum64, 99);
	assert_int_equal(new.max32, -2);
	assert_int_equal(new.max64, -3);
	assert_int_equal(new.unsigned64, UINT64_C(1) << 63);
	assert_int_equal(new.newest64, 21);
	assert_int_equal(new.newest32, 22);
	assert_int_equal(new.newest16, 23);
	assert_int_equal(new.newest8, 24);
	assert_string_equal(new.name, "after");
	assert_int_equal(new.reset, 15);
	assert_int_equal(new.bits, 9);
	assert_true(get(&versions, "new_rules", 2, &new));
	assert_int_equal(new.sum32, 1015);
	assert_int_equal(new.sum64, 1099);
	assert_int_equal(new.max32, -1);
	assert_int_equal(new.max64, -3);
	assert_int_equal(new.unsigned64, UINT64_C(1) << 63);
	assert_int_equal(new.newest64, 77);
	assert_int_equal(new.newest32, 77);
	assert_int_equal(new.newest16, 78);
	assert_int_equal(new.newest8, 79);
	assert_string_equal(new.name, "new");
	assert_int_equal(new.reset, 80);
	assert_int_equal(new.bits, 33);
	kernel_migration_free(migration);
	map_plan_free(plan);
	versions_done(&versions);
}

static void entries_that_come_and_go_meanwhile_are_followed(void **state)
{
	enum { STAYS = 1, GOES, GOES_BUT_WRITTEN, NEW_DELETES, COMES, COMES_TO_BOTH };
	struct kernel_migration *migration = NULL;
	struct kernel_migrate_result result;
	struct map_plan *plan = NULL;
	struct old_rules old = first;
	struct versions versions;
	struct new_rules new;

	(void)state;
	versions_load(&versions);
	for (uint32_t key = STAYS; key <= NEW_DELETES; key++)
		put(&versions, "old_rules", key, &first);
	begin_rules(&versions, &plan, &migration);
	drop(&versions, "old_rules", GOES);
	drop(&versions, "old_rules", GOES_BUT_WRITTEN);
	assert_true(get(&versions, "new_rules", GOES_BUT_WRITTEN, &new));
	new.sum32++;
	put(&versions, "new_rules", GOES_BUT_WRITTEN, &new);
	old.sum32 += 5;
	put(&versions, "old_rules", NEW_DELETES, &old);
	drop(&versions, "new_rules", NEW_DELETES);
	put(&versions, "old_rules", COMES, &first);
	put(&versions, "old_rules", COMES_TO_BOTH, &first);
	memset(&new, 0, sizeof(new));
	new.sum32 = 7;
	new.max64 = -9;
	new.newest64 = 70;
	put(&versions, "new_rules", COMES_TO_BOTH, &new);
	result = finish(migration);
	assert_int_equal(result.n_entries, 6);
	assert_true(result.window_ns > 0);

	assert_true(get(&versions, "new_rules", STAYS, &new));
	assert_int_equal(new.sum32, 10);
	assert_false(get(&versions, "new_rules", GOES, &new));
	assert_true(get(&versions, "new_rules", GOES_BUT_WRITTEN, &new));
	assert_int_equal(new.sum32, 11);
	assert_false(get(&versions, "new_rules", NEW_DELETES, &new));
	assert_true(get(&versions, "new_rules", COMES, &new));
	assert_int_equal(new.sum32, 10);
	assert_string_equal(new.name, "before");
	assert_true(get(&versions, "new_rules", COMES_TO_BOTH, &new));
	assert_int_equal(new.sum32, 17);
	assert_int_equal(new.max64, -7);
	assert_int_equal(new.newest64, 70);
	kernel_migration_free(migration);
	map_plan_free(plan);
	versions_done(&versions);
}

/* ---- what cannot be done */

static void fail_to_begin(struct versions *versions, const char *from, const char *to,
			  enum error_code code)
{
	struct kernel_migration *migration = NULL;
	struct map_plan *plan = NULL;
	const size_t n_fds = place_count_fds();
	struct error err = { 0 };

	assert_true(begin(versions, from, to, &plan, &migration, &err) < 0);
	if (err.code != code)
		fail_msg("%s", err.message);
	assert_non_null(strstr(err.message, from));
	assert_null(migration);
	map_plan_free(plan);
	assert_int_equal(place_count_fds(), n_fds);
}

static void entries_that_do_not_fit_are_refused_before_the_switch(void **state)
{
	struct kernel_migration *migration = NULL;
	struct map_plan *plan = NULL;
	struct new_value new = { .packets = 1 };
	struct old_value old = { .packets = 1 };
	struct versions versions;
	struct error err = { 0 };
	uint32_t key = 0;

	(void)state;
	versions_load(&versions);
	for (key = 0; key < 5; key++)
		put(&versions, "old_hash", key, &old);
	fail_to_begin(&versions, "old_hash", "new_small_hash", ERROR_MAP_FULL);
	assert_false(get(&versions, "new_small_hash", 0, &new));

	/* An array may shrink by elements that are zero. */
	assert_int_equal(begin(&versions, "old_array", "new_tiny_array", &plan, &migration, &err),
			 0);
	put(&versions, "old_array", 7, &old);
	(void)finish(migration);
	assert_true(get(&versions, "new_tiny_array", 7, &new));
	assert_int_equal(new.packets, 1);
	kernel_migration_free(migration);
	map_plan_free(plan);
	put(&versions, "old_array", 8, &old);
	fail_to_begin(&versions, "old_array", "new_tiny_array", ERROR_MAP_FULL);
	versions_done(&versions);
}

static void members_that_only_the_new_version_has_keep_what_its_object_gave(void **state)
{
	struct kernel_migration *migration = NULL;
	struct map_plan *plan = NULL;
	const struct old_value old = { .packets = 5, .lost = 6 };
	struct new_value new = { .packets = 1, .added = 7 };
	struct versions versions;
	struct error err = { 0 };

	(void)state;
	versions_load(&versions);
	put(&versions, "old_array", 3, &old);
	put(&versions, "new_array", 3, &new);
	if (begin(&versions, "old_array", "new_array", &plan, &migration, &err) < 0)
		fail_msg("%s", err.message);
	(void)finish(migration);
	assert_true(get(&versions, "new_array", 3, &new));
	assert_int_equal(new.packets, 5);
	assert_int_equal(new.added, 7);
	kernel_migration_free(migration);
	map_plan_free(plan);
	versions_done(&versions);
}

static void a_frozen_new_map_is_refused(void **state)
{
	struct old_value old = { .packets = 1 };
	struct versions versions;

	(void)state;
	versions_load(&versions);
	put(&versions, "old_hash", 1, &old);
	assert_int_equal(bpf_map_freeze(object_map(versions.object, "new_hash")->fd), 0);
	fail_to_begin(&versions, "old_hash", "new_hash", ERROR_MAP_READ_ONLY);
	versions_done(&versions);
}

static void entries_that_appear_and_do_not_fit_are_told_and_the_others_merged(void **state)
{
	struct kernel_migration *migration = NULL;
	struct map_plan *plan = NULL;
	struct kernel_migrate_result result;
	struct old_value old = { .packets = 1 };
	struct new_value new;
	struct versions versions;
	struct error err = { 0 };
	uint32_t key;

	(void)state;
	versions_load(&versions);
	for (key = 0; key < 4; key++)
		put(&versions, "old_hash", key, &old);
	assert_int_equal(begin(&versions, "old_hash", "new_small_hash", &plan, &migration, &err),
			 0);
	old.packets = 6;
	for (key = 0; key < 6; key++)
		put(&versions, "old_hash", key, &old);
	assert_true(kernel_migrate_finish(migration, &result, &err) < 0);
	assert_int_equal(err.code, ERROR_MAP_FULL);
	for (key = 0; key < 4; key++) {
		assert_true(get(&versions, "new_small_hash", key, &new));
		assert_int_equal(new.packets, 6);
	}
	kernel_migration_free(migration);
	map_plan_free(plan);
	versions_done(&versions);
}

/* ---- settling */

static void *run_slowly(void *context)
{
	static const uint8_t frame[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	(void)bpf_prog_test_run_opts(*(const int *)context, &opts);
	return NULL;
}

static void a_run_that_is_under_way_has_ended_after_settling(void **state)
{
	struct versions versions;
	struct error err = { 0 };
	pthread_t thread;
	int fd;

	(void)state;
	versions_load(&versions);
	fd = object_program(versions.object, "slow")->fd;
	for (int i = 0; i < 10; i++) {
		uint32_t phase = 0;

		put(&versions, "phase", 0, &phase);
		assert_int_equal(pthread_create(&thread, NULL, run_slowly, &fd), 0);
		while (phase == 0)
			assert_true(get(&versions, "phase", 0, &phase));
		if (kernel_migrate_settle(&err) < 0)
			fail_msg("%s", err.message);
		assert_true(get(&versions, "phase", 0, &phase));
		assert_int_equal(phase, 2);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	versions_done(&versions);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_that_both_wrote_are_merged_by_their_rules),
		cmocka_unit_test(entries_that_come_and_go_meanwhile_are_followed),
		cmocka_unit_test(entries_that_do_not_fit_are_refused_before_the_switch),
		cmocka_unit_test(members_that_only_the_new_version_has_keep_what_its_object_gave),
		cmocka_unit_test(a_frozen_new_map_is_refused),
		cmocka_unit_test(entries_that_appear_and_do_not_fit_are_told_and_the_others_merged),
		cmocka_unit_test(a_run_that_is_under_way_has_ended_after_settling),
		cmocka_unit_test(every_packet_counts_once_in_maps_of_every_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	kernel_init();
	n_cpus = (uint32_t)mapread_possible_cpus();
	return place_run(place_role(argc, argv), run);
}
