/* The planner on the BTF of compiled types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <bpf/btf.h>

#include "base/error.h"
#include "bundle/upgrade/map-plan.h"

#define KEEP BPFLEET__V1__UPGRADE__UPGRADE_KEEP
#define RESET BPFLEET__V1__UPGRADE__UPGRADE_RESET
#define MIGRATE BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE
#define SUM BPFLEET__V1__MERGE__MERGE_SUM
#define MAX BPFLEET__V1__MERGE__MERGE_MAX

static struct btf *plan_btf, *next_btf, *other_btf;

static int setup(void **state)
{
	(void)state;
	plan_btf = btf__parse(BPFLEET_FIXTURES "/plan.bpf.o", NULL);
	next_btf = btf__parse(BPFLEET_FIXTURES "/plan_next.bpf.o", NULL);
	other_btf = btf__parse(BPFLEET_FIXTURES "/plan_other.bpf.o", NULL);
	return plan_btf == NULL || next_btf == NULL || other_btf == NULL;
}

static int teardown(void **state)
{
	(void)state;
	btf__free(plan_btf);
	btf__free(next_btf);
	btf__free(other_btf);
	return 0;
}

static uint32_t type_id(const struct btf *btf, const char *name)
{
	const bool is_section = name[0] == '.';
	const int id = btf__find_by_name_kind(btf, strcmp(name, "u32") == 0 ? "unsigned int" : name,
					      is_section		 ? BTF_KIND_DATASEC
					      : strcmp(name, "u32") == 0 ? BTF_KIND_INT
									 : BTF_KIND_STRUCT);

	if (id <= 0)
		fail_msg("the fixture has no %s", name);
	return (uint32_t)id;
}

/* A hash with u32 keys. */
struct side {
	Bpfleet__V1__MapSpec spec;
	struct map_side side;
};

static void side_init(struct side *side, const struct btf *btf, const char *value)
{
	bpfleet__v1__map_spec__init(&side->spec);
	side->spec.name = (char *)"flows";
	side->spec.type = (char *)"hash";
	side->spec.key_size = 4;
	side->spec.max_entries = 16;
	side->spec.access = BPFLEET__V1__ACCESS__ACCESS_WRITE;
	side->side = (struct map_side){ .spec = &side->spec, .btf = btf };
	if (btf == NULL)
		return;
	side->side.key_type_id = type_id(btf, "u32");
	side->side.value_type_id = type_id(btf, value);
	side->spec.value_size = (uint32_t)btf__resolve_size(btf, side->side.value_type_id);
}

static struct map_plan *plan_of(const struct side *old, const struct side *new)
{
	struct map_plan *plan = NULL;
	struct error err = { 0 };

	if (map_plan_new(&old->side, &new->side, &plan, &err) < 0)
		fail_msg("%s", err.message);
	return plan;
}

static struct map_plan *plan_types(const char *old_type, const char *new_type,
				   Bpfleet__V1__Upgrade upgrade)
{
	struct side old, new;

	side_init(&old, plan_btf, old_type);
	side_init(&new, plan_btf, new_type);
	new.spec.upgrade = upgrade;
	return plan_of(&old, &new);
}

static void assert_plan(struct map_plan *plan, enum map_verdict verdict, const char *difference)
{
	if (plan->verdict != verdict)
		fail_msg("verdict %d: %s", plan->verdict, plan->difference);
	assert_string_equal(plan->difference, difference);
	map_plan_free(plan);
}

static void types_that_agree_are_kept(void **state)
{
	(void)state;
	static const Bpfleet__V1__Upgrade upgrades[] = { BPFLEET__V1__UPGRADE__UPGRADE_UNSPECIFIED,
							 KEEP, MIGRATE };
	static const char *const types[] = { "plain",  "nested", "arrays",    "bits",	"enums",
					     "unions", "locked", "unaligned", "padded", "flags" };

	for (size_t i = 0; i < ARRAY_SIZE(upgrades); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(types); k++)
			assert_plan(plan_types(types[k], types[k], upgrades[i]), MAP_KEEP, "");
	}
}

static void names_of_types_do_not_matter(void **state)
{
	(void)state;
	assert_plan(plan_types("plain", "renamed_types", KEEP), MAP_KEEP, "");
}

static void a_map_is_reset_when_the_manifest_says_so(void **state)
{
	(void)state;
	assert_plan(plan_types("plain", "plain", RESET), MAP_RESET, "");
	assert_plan(plan_types("plain", "narrowed", RESET), MAP_RESET, "");
}

static void program_arrays_and_constants_are_always_fresh(void **state)
{
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "plain");
	old.spec.type = new.spec.type = (char *)"prog_array";
	assert_plan(plan_of(&old, &new), MAP_RESET, "");
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "grown");
	old.spec.name = new.spec.name = (char *)".rodata.str";
	assert_plan(plan_of(&old, &new), MAP_RESET, "");
}

/* What is told when the manifest says keep. */
static void a_difference_is_refused_and_told(void **state)
{
	static const struct {
		const char *old_type, *new_type, *difference;
	} cases[] = {
		{ "plain", "grown", "value.added: u64 at 16 is new" },
		{ "plain", "shrunk",
		  "value.bytes: u32 at 8 is gone; value.port: u32 at 12 is gone" },
		{ "plain", "reordered",
		  "value.port: u32 at 12 became u32 at 0; value.bytes: u32 at 8 became u32 at 4; "
		  "value.packets: u64 at 0 became u64 at 8" },
		{ "plain", "renamed_member",
		  "value.frames: u64 at 0 is new; value.packets: u64 at 0 is gone" },
		{ "plain", "other_class", "value.bytes: u32 at 8 became float32 at 8" },
		{ "signs", "signs_lost", "value.number: s32 at 4 became u32 at 4" },
		{ "nested", "nested_grown",
		  "value.id: u64 at 0 is new; value.one: struct pair at 0 became struct pair_grown "
		  "at 8; value.one.b: u32 at 4 became u32 at 0; value.one.a: u32 at 0 became u32 "
		  "at 4; value.one.c: u32 at 8 is new; value.rows: struct pair[3] at 8 became "
		  "struct pair_grown[4] at 20; value.rows.b: u32 at 4 became u32 at 0; "
		  "value.rows.a: u32 at 0 became u32 at 4; value.rows.c: u32 at 8 is new; "
		  "value.right: u16 at 34 became u16 at 68; value.left: u16 at 32 became u16 at "
		  "70" },
		{ "arrays", "arrays_shrunk",
		  "value.slots: u32[4] at 0 became u32[3] at 0; value.name: s8[8] at 16 became "
		  "s8[8] at 12" },
		{ "bits", "bits_moved",
		  "value.c: s32:7 at 1.0 became s32:9 at 0.0; value.b: u32:5 at 0.3 became u32:6 "
		  "at 1.1; value.a: u32:3 at 0.0 became u32:3 at 1.7" },
		{ "unions", "unions_changed",
		  "value.choice: the union changed, and cannot be converted by name" },
		{ "enums", "enum_to_number",
		  "value.state: enum state of 32 bits at 0 became u32 at 0" },
		{ "padded", "unpadded", "value: 8 bytes became 4" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_plan(plan_types(cases[i].old_type, cases[i].new_type, KEEP), MAP_REFUSE,
			    cases[i].difference);
}

/* And when it says migrate: only what stands in the way. */
static void what_cannot_be_converted_is_refused_and_told(void **state)
{
	static const struct {
		const char *old_type, *new_type, *difference;
	} cases[] = {
		{ "widened", "plain",
		  "value.bytes: u64 at 8 became u32 at 8; value.port: s64 at 16 became u32 at "
		  "12" },
		{ "plain", "narrowed", "value.packets: u64 at 0 became u32 at 0" },
		{ "plain", "other_class", "value.bytes: u32 at 8 became float32 at 8" },
		{ "signs", "signs_lost", "value.number: s32 at 4 became u32 at 4" },
		{ "arrays", "arrays_shrunk", "value.slots: u32[4] at 0 became u32[3] at 0" },
		{ "bits", "bits_narrowed", "value.a: u32:3 at 0.0 became u32:2 at 0.0" },
		{ "unions", "unions_changed",
		  "value.choice: the union changed, and cannot be converted by name" },
		{ "enums", "enum_to_number",
		  "value.state: enum state of 32 bits at 0 became u32 at 0" },
		{ "locked", "locked_grown",
		  "value.lock: holds a lock, a timer or the like, and is not migrated" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_plan(plan_types(cases[i].old_type, cases[i].new_type, MIGRATE), MAP_REFUSE,
			    cases[i].difference);
}

#define N 256

/* Converts a value of one type to another. */
static void convert(const char *old_type, const char *new_type, const void *from, void *to)
{
	struct map_plan *plan = plan_types(old_type, new_type, MIGRATE);

	if (plan->verdict != MAP_MIGRATE)
		fail_msg("%s to %s: verdict %d: %s", old_type, new_type, plan->verdict,
			 plan->difference);
	assert_true(plan->new_value_size <= N);
	memset(to, 0xa5, N);
	map_plan_convert(plan, from, to);
	map_plan_free(plan);
}

struct plain {
	uint64_t packets;
	uint32_t bytes;
	uint32_t port;
};

static const struct plain plain = { UINT64_C(0x123456789abc), 0xfffffff0, 443 };

static void members_are_converted_by_name(void **state)
{
	union {
		uint8_t bytes[N];
		struct {
			struct plain plain;
			uint64_t added;
		} grown;
		struct {
			uint32_t port, bytes;
			uint64_t packets;
		} reordered;
		struct {
			uint64_t frames;
			uint32_t bytes, port;
		} renamed;
		uint64_t packets;
	} to;

	(void)state;
	convert("plain", "grown", &plain, &to);
	assert_memory_equal(&to.grown.plain, &plain, sizeof(plain));
	assert_int_equal(to.grown.added, 0);
	convert("plain", "reordered", &plain, &to);
	assert_int_equal(to.reordered.packets, plain.packets);
	assert_int_equal(to.reordered.bytes, plain.bytes);
	assert_int_equal(to.reordered.port, plain.port);
	convert("plain", "shrunk", &plain, &to);
	assert_int_equal(to.packets, plain.packets);
	convert("plain", "renamed_member", &plain, &to);
	assert_int_equal(to.renamed.frames, 0);
	assert_int_equal(to.renamed.bytes, plain.bytes);
	assert_int_equal(to.renamed.port, plain.port);
}

static void integers_are_widened_with_their_sign(void **state)
{
	static const struct {
		int8_t small;
		int32_t number;
	} signs = { -3, -70000 };
	union {
		uint8_t bytes[N];
		struct {
			uint64_t packets, bytes;
			int64_t port;
		} widened;
		struct {
			int64_t number;
			int16_t small;
		} signs;
	} to;

	(void)state;
	convert("plain", "widened", &plain, &to);
	assert_int_equal(to.widened.packets, plain.packets);
	assert_int_equal(to.widened.bytes, 0xfffffff0);
	assert_int_equal(to.widened.port, 443);
	convert("signs", "signs_widened", &signs, &to);
	assert_int_equal(to.signs.number, -70000);
	assert_int_equal(to.signs.small, -3);
}

static void structs_and_arrays_are_converted_by_element(void **state)
{
	static const struct {
		uint32_t one[2], rows[3][2];
		uint16_t left, right;
	} nested = { { 1, 2 }, { { 3, 4 }, { 5, 6 }, { 7, 8 } }, 9, 10 };
	static const struct {
		uint32_t slots[4];
		char name[8];
	} arrays = { { 1, 2, 3, UINT32_MAX }, "abcdefg" };
	union {
		uint8_t bytes[N];
		struct {
			uint64_t id;
			uint32_t one[3], rows[4][3];
			uint16_t right, left;
		} nested;
		struct {
			char name[16];
			uint64_t slots[6];
		} arrays;
	} to;

	(void)state;
	convert("nested", "nested_grown", &nested, &to);
	assert_int_equal(to.nested.id, 0);
	assert_memory_equal(to.nested.one, ((uint32_t[]){ 2, 1, 0 }), 12);
	assert_memory_equal(to.nested.rows, ((uint32_t[]){ 4, 3, 0, 6, 5, 0, 8, 7, 0, 0, 0, 0 }),
			    48);
	assert_int_equal(to.nested.left, 9);
	assert_int_equal(to.nested.right, 10);
	convert("arrays", "arrays_grown", &arrays, &to);
	assert_memory_equal(to.arrays.name, "abcdefg\0\0\0\0\0\0\0\0", 16);
	assert_memory_equal(to.arrays.slots, ((uint64_t[]){ 1, 2, 3, UINT32_MAX, 0, 0 }), 48);
}

static void bit_fields_unions_and_flags_are_converted(void **state)
{
	static const struct {
		unsigned int a : 3;
		unsigned int b : 5;
		int c : 7;
		unsigned int rest;
	} bits = { 5, 21, -9, 77 };
	static const uint8_t flags[2] = { 1, 200 };
	static const uint32_t unions[2] = { 1, 0xc0a80001 };
	union {
		uint8_t bytes[N];
		struct {
			int c : 9;
			unsigned int b : 6;
			unsigned int a : 3;
			unsigned int rest;
		} bits;
		uint32_t unions[2];
	} to;

	(void)state;
	convert("bits", "bits_moved", &bits, &to);
	assert_int_equal(to.bits.a, 5);
	assert_int_equal(to.bits.b, 21);
	assert_int_equal(to.bits.c, -9);
	assert_int_equal(to.bits.rest, 77);
	convert("flags", "flags_swapped", flags, &to);
	assert_int_equal(to.bytes[0], 200);
	assert_int_equal(to.bytes[1], 1);
	convert("unions", "unions_moved", unions, &to);
	assert_int_equal(to.unions[0], 0xc0a80001);
	assert_int_equal(to.unions[1], 1);
}

static void an_enum_may_grow_but_not_be_renumbered(void **state)
{
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "enums");
	side_init(&new, next_btf, "enums");
	assert_plan(plan_of(&old, &new), MAP_KEEP, "");
	side_init(&new, other_btf, "enums");
	new.spec.upgrade = MIGRATE;
	assert_plan(plan_of(&old, &new), MAP_REFUSE, "value.state: NEW has another value");
}

static void keys_must_agree(void **state)
{
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "plain");
	old.side.key_type_id = type_id(plan_btf, "plain");
	new.side.key_type_id = type_id(plan_btf, "reordered");
	new.spec.upgrade = MIGRATE;
	assert_plan(plan_of(&old, &new), MAP_REFUSE,
		    "key.port: u32 at 12 became u32 at 0; key.bytes: u32 at 8 became u32 at 4; "
		    "key.packets: u64 at 0 became u64 at 8");
	new.side.key_type_id = type_id(plan_btf, "renamed_types");
	assert_plan(plan_of(&old, &new), MAP_KEEP, "");
}

static void type_size_and_flags_of_the_map_are_compared(void **state)
{
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "plain");
	new.spec.max_entries = 1024;
	new.spec.flags = 1;
	assert_plan(plan_of(&old, &new), MAP_REFUSE, "max_entries 16 -> 1024; flags 0x0 -> 0x1");
	new.spec.upgrade = MIGRATE;
	assert_plan(plan_of(&old, &new), MAP_MIGRATE, "max_entries 16 -> 1024; flags 0x0 -> 0x1");
	new.spec.type = (char *)"lru_hash";
	assert_plan(plan_of(&old, &new), MAP_MIGRATE,
		    "type hash -> lru_hash; max_entries 16 -> 1024; flags 0x0 -> 0x1");
	new.spec.type = (char *)"percpu_hash";
	assert_plan(plan_of(&old, &new), MAP_REFUSE, "type hash -> percpu_hash");
	old.spec.type = new.spec.type = (char *)"ringbuf";
	assert_plan(plan_of(&old, &new), MAP_REFUSE, "maps of type ringbuf are not migrated");
}

static void maps_within_a_map_are_compared(void **state)
{
	Bpfleet__V1__InnerMapSpec before = BPFLEET__V1__INNER_MAP_SPEC__INIT, after = before;
	struct side old, new;

	(void)state;
	side_init(&old, NULL, NULL);
	side_init(&new, NULL, NULL);
	old.spec.type = new.spec.type = (char *)"array_of_maps";
	before.type = after.type = (char *)"hash";
	old.spec.inner = &before;
	new.spec.inner = &after;
	assert_plan(plan_of(&old, &new), MAP_KEEP, "");
	after.value_size = 8;
	assert_plan(plan_of(&old, &new), MAP_REFUSE, "the maps within it are of another kind");
}

static void a_frozen_map_is_not_kept_for_a_writer(void **state)
{
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "plain");
	old.spec.access = BPFLEET__V1__ACCESS__ACCESS_READ;
	assert_plan(plan_of(&old, &new), MAP_REFUSE,
		    "access read -> write (a frozen map cannot be written again)");
	assert_plan(plan_of(&new, &old), MAP_REFUSE,
		    "access write -> read (a rollback could not write it again)");
	new.spec.access = BPFLEET__V1__ACCESS__ACCESS_PRIVATE;
	assert_plan(plan_of(&old, &new), MAP_KEEP, "");
	assert_plan(plan_of(&new, &old), MAP_KEEP, "");
}

static void without_types_sizes_decide(void **state)
{
	struct side old, new;
	struct map_plan *plan;
	uint8_t to[8];

	(void)state;
	side_init(&old, NULL, NULL);
	side_init(&new, NULL, NULL);
	old.spec.value_size = new.spec.value_size = 8;
	assert_plan(plan_of(&old, &new), MAP_KEEP, "");
	new.spec.max_entries = 32;
	new.spec.upgrade = MIGRATE;
	plan = plan_of(&old, &new);
	assert_int_equal(plan->verdict, MAP_MIGRATE);
	map_plan_convert(plan, (const uint8_t *)"abcdefgh", to);
	assert_memory_equal(to, "abcdefgh", 8);
	map_plan_free(plan);
	new.spec.value_size = 16;
	assert_plan(plan_of(&old, &new), MAP_REFUSE,
		    "value: 8 bytes became 16, and there is no type information");
	side_init(&new, plan_btf, "plain");
	old.spec.value_size = 16;
	assert_plan(plan_of(&old, &new), MAP_REFUSE,
		    "key: the old version has no type information; value: the old version has no "
		    "type information");
}

static Bpfleet__V1__Merge rule_at(const struct map_plan *plan, uint32_t byte)
{
	for (size_t i = 0; i < plan->n_members; i++) {
		if (plan->members[i].new_bit == byte * 8)
			return plan->members[i].rule;
	}
	fail_msg("no member at %u", byte);
	return 0;
}

static void rules_go_to_the_members_they_name(void **state)
{
	Bpfleet__V1__MergeRule rules[] = {
		{ PROTOBUF_C_MESSAGE_INIT(&bpfleet__v1__merge_rule__descriptor), (char *)"packets",
		  SUM },
		{ PROTOBUF_C_MESSAGE_INIT(&bpfleet__v1__merge_rule__descriptor), (char *)"port",
		  MAX },
	};
	Bpfleet__V1__MergeRule *list[] = { &rules[0], &rules[1] };
	struct map_plan *plan;
	struct side old, new;

	(void)state;
	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "widened");
	new.spec.upgrade = MIGRATE;
	new.spec.merge = list;
	new.spec.n_merge = 2;
	plan = plan_of(&old, &new);
	assert_int_equal(plan->verdict, MAP_MIGRATE);
	assert_int_equal(rule_at(plan, 0), SUM);
	assert_int_equal(rule_at(plan, 8), BPFLEET__V1__MERGE__MERGE_NEWEST);
	assert_int_equal(rule_at(plan, 16), MAX);
	map_plan_free(plan);

	/* Of a struct or an array: everything in it. */
	rules[0].path = (char *)"rows";
	rules[1].path = (char *)"rows.a";
	side_init(&old, plan_btf, "nested");
	side_init(&new, plan_btf, "nested_grown");
	new.spec.upgrade = MIGRATE;
	new.spec.merge = list;
	new.spec.n_merge = 2;
	plan = plan_of(&old, &new);
	assert_int_equal(rule_at(plan, 8), BPFLEET__V1__MERGE__MERGE_NEWEST);
	assert_int_equal(rule_at(plan, 20 + 12), SUM);
	assert_int_equal(rule_at(plan, 20 + 12 + 4), MAX);
	map_plan_free(plan);

	rules[0].path = (char *)"n";
	side_init(&old, plan_btf, "flags");
	side_init(&new, plan_btf, "flags_swapped");
	new.spec.upgrade = MIGRATE;
	new.spec.merge = list;
	new.spec.n_merge = 1;
	assert_plan(plan_of(&old, &new), MAP_REFUSE,
		    "value.n: only aligned integers of 4 or 8 bytes can be merged by sum or max");
}

/* A data section: its variables are members. */
static void global_variables_are_converted_by_name(void **state)
{
	struct side old, new;
	struct map_plan *plan;

	(void)state;
	side_init(&old, plan_btf, ".bss");
	side_init(&new, next_btf, ".bss");
	old.spec.type = new.spec.type = (char *)"array";
	old.spec.name = new.spec.name = (char *)".bss";
	new.spec.upgrade = MIGRATE;
	plan = plan_of(&old, &new);
	assert_int_equal(plan->verdict, MAP_MIGRATE);
	assert_int_equal(plan->n_members, 2);
	assert_int_equal(plan->members[0].new_bit, 0);
	assert_non_null(strstr(plan->difference, "value.unused_grown: struct grown at"));
	assert_non_null(strstr(plan->difference, "; and more"));
	map_plan_free(plan);
}

static void variables_are_converted_where_the_manifest_says_nothing(void **state)
{
	static const char *const names[] = { ".bss", ".data", ".data.hot", "counters" };
	struct side old, new;
	struct map_plan *plan;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		side_init(&old, plan_btf, ".bss");
		side_init(&new, next_btf, ".bss");
		old.spec.type = new.spec.type = (char *)"array";
		old.spec.name = new.spec.name = (char *)(uintptr_t)names[i];
		plan = plan_of(&old, &new);
		assert_int_equal(plan->verdict, names[i][0] == '.' ? MAP_MIGRATE : MAP_REFUSE);
		map_plan_free(plan);
		new.spec.upgrade = BPFLEET__V1__UPGRADE__UPGRADE_KEEP;
		plan = plan_of(&old, &new);
		assert_int_equal(plan->verdict, MAP_REFUSE);
		map_plan_free(plan);
	}
}

static bool agree(Bpfleet__V1__EventSpec *old_events, Bpfleet__V1__EventSpec *new_events,
		  const struct btf *new_btf)
{
	struct error err = { 0 };
	struct side old, new;
	bool same = false;

	side_init(&old, plan_btf, "plain");
	side_init(&new, plan_btf, "plain");
	old.spec.events = old_events;
	new.spec.events = new_events;
	new.side.btf = new_btf;
	assert_int_equal(map_records_agree(&old.side, &new.side, &same, &err), 0);
	return same;
}

static void records_are_the_same_member_for_member(void **state)
{
	Bpfleet__V1__EventSpec old = BPFLEET__V1__EVENT_SPEC__INIT, new = old;
	Bpfleet__V1__EventVariant one = BPFLEET__V1__EVENT_VARIANT__INIT, two = one, other;
	Bpfleet__V1__EventVariant *all[] = { &one, &two }, *turned[] = { &two, &one },
				  *changed[] = { &other, &one };
	static const char *const different[] = { "grown", "reordered", "renamed_member",
						 "no_such" };

	(void)state;
	old.record_type = new.record_type = (char *)"plain";
	assert_true(agree(NULL, NULL, plan_btf));
	assert_true(agree(NULL, NULL, NULL));
	assert_true(agree(&old, &new, plan_btf));
	assert_false(agree(&old, &new, NULL));
	assert_false(agree(&old, NULL, plan_btf));
	assert_false(agree(NULL, &new, plan_btf));
	new.record_type = (char *)"renamed_types";
	assert_true(agree(&old, &new, plan_btf));
	for (size_t i = 0; i < ARRAY_SIZE(different); i++) {
		new.record_type = (char *)(uintptr_t)different[i];
		assert_false(agree(&old, &new, plan_btf));
	}

	one.tag = 1;
	one.record_type = (char *)"plain";
	two.tag = 2;
	two.record_type = (char *)"nested";
	other = two;
	old = new = (Bpfleet__V1__EventSpec)BPFLEET__V1__EVENT_SPEC__INIT;
	old.tag = new.tag = (char *)"packets";
	old.n_variants = new.n_variants = 2;
	old.variants = all;
	new.variants = turned;
	assert_true(agree(&old, &new, plan_btf));
	new.variants = changed;
	other.record_type = (char *)"nested_grown";
	assert_false(agree(&old, &new, plan_btf));
	other.record_type = two.record_type;
	other.tag = 3;
	assert_false(agree(&old, &new, plan_btf));
	other.tag = 2;
	assert_true(agree(&old, &new, plan_btf));
	new.tag = (char *)"bytes";
	assert_false(agree(&old, &new, plan_btf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types_that_agree_are_kept),
		cmocka_unit_test(names_of_types_do_not_matter),
		cmocka_unit_test(a_map_is_reset_when_the_manifest_says_so),
		cmocka_unit_test(program_arrays_and_constants_are_always_fresh),
		cmocka_unit_test(a_difference_is_refused_and_told),
		cmocka_unit_test(what_cannot_be_converted_is_refused_and_told),
		cmocka_unit_test(members_are_converted_by_name),
		cmocka_unit_test(integers_are_widened_with_their_sign),
		cmocka_unit_test(structs_and_arrays_are_converted_by_element),
		cmocka_unit_test(bit_fields_unions_and_flags_are_converted),
		cmocka_unit_test(an_enum_may_grow_but_not_be_renumbered),
		cmocka_unit_test(keys_must_agree),
		cmocka_unit_test(type_size_and_flags_of_the_map_are_compared),
		cmocka_unit_test(maps_within_a_map_are_compared),
		cmocka_unit_test(a_frozen_map_is_not_kept_for_a_writer),
		cmocka_unit_test(without_types_sizes_decide),
		cmocka_unit_test(rules_go_to_the_members_they_name),
		cmocka_unit_test(global_variables_are_converted_by_name),
		cmocka_unit_test(variables_are_converted_where_the_manifest_says_nothing),
		cmocka_unit_test(records_are_the_same_member_for_member),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
