/* Two versions of an instance in the store: switched, switched back, forgotten. */
#include <stdlib.h>
#include <string.h>

#include "store/fixture.h"

#define ID "aaaaaaaaaaaaaaaa"
/* What a version consists of, without the revisions. */
#define VERSION_SQL                                                                              \
	"SELECT (SELECT hex(bundle_digest) || generation || coalesce(hex(previous_digest), '-')" \
	" || previous_generation FROM instances)"                                                \
	" || (SELECT group_concat(ordinal || name || value) FROM parameters)"                    \
	" || (SELECT group_concat(ordinal || name || kernel_id) FROM programs)"                  \
	" || (SELECT group_concat(ordinal || name || kernel_id) FROM maps)"                      \
	" || coalesce((SELECT group_concat(map || hex(key) || hex(value)) FROM map_entries), '')"

static const struct store_parameter old_parameters[] = { { "a", "1" }, { "b", "2" } };
static const struct store_parameter new_parameters[] = { { "b", "3" }, { "c", "4" } };

static void put_parts(struct fixture *f, struct store_tx *tx, const char *const *programs,
		      const char *const *maps, uint32_t kernel_id)
{
	for (uint32_t i = 0; programs[i] != NULL; i++) {
		struct store_program row = fixture_program(ID, programs[i], i);

		row.kernel_id = kernel_id + i;
		fixture_ok(f, store_program_put(tx, &row, &f->err));
	}
	for (uint32_t i = 0; maps[i] != NULL; i++) {
		struct store_map row = fixture_map(ID, maps[i], i);

		row.kernel_id = kernel_id + i;
		fixture_ok(f, store_map_put(tx, &row, &f->err));
	}
}

static void put_entry(struct fixture *f, struct store_tx *tx, const char *map, const char *value)
{
	fixture_ok(f, store_entry_put(tx, ID, map, "k", 1, value, strlen(value), &f->err));
}

/* Version 1: programs x y, maps shared own gone, an entry in each. */
static void populate(struct fixture *f)
{
	struct store_bundle bundles[] = { fixture_bundle(1), fixture_bundle(2) };
	struct store_instance row = fixture_instance(ID, 1);
	struct store_tx tx;

	(void)fixture_begin(f, &tx);
	for (size_t i = 0; i < 2; i++)
		fixture_ok(f,
			   store_bundle_insert(&tx, &bundles[i], NULL, 0, fixture_bytes, &f->err));
	fixture_ok(f, store_instance_insert(&tx, &row, old_parameters, 2, &f->err));
	put_parts(f, &tx, (const char *const[]){ "x", "y", NULL },
		  (const char *const[]){ "shared", "own", "gone", NULL }, 10);
	put_entry(f, &tx, "shared", "s1");
	put_entry(f, &tx, "own", "o1");
	put_entry(f, &tx, "gone", "g1");
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

/* To version 2: programs y z in another order, maps own shared added. */
static void switch_version(struct fixture *f)
{
	struct store_instance row = fixture_instance(ID, 2);
	struct store_tx tx;

	row.generation = 1;
	row.state = INSTANCE_SOAKING;
	row.soak_ends_at_ns = T0 + 5;
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_version_switch(&tx, &row, new_parameters, 2, &f->err));
	put_parts(f, &tx, (const char *const[]){ "y", "z", NULL },
		  (const char *const[]){ "own", "shared", "added", NULL }, 20);
	fixture_ok(f, store_version_part_map(&tx, ID, "own", &f->err));
	fixture_ok(f, store_version_part_map(&tx, ID, "gone", &f->err));
	fixture_ok(f, store_version_sweep(&tx, ID, &f->err));
	put_entry(f, &tx, "own", "o2");
	put_entry(f, &tx, "shared", "s2");
	put_entry(f, &tx, "added", "a2");
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void assert_text(struct fixture *f, const char *sql, const char *expected)
{
	_cleanup_free_ char *text = fixture_sql_text(f, sql);

	assert_string_equal(text, expected);
}

static void a_switch_leaves_the_new_version_and_keeps_the_old_one(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *row = NULL;
	_cleanup_free_ struct store_program *programs = NULL;
	_cleanup_free_ struct store_map *maps = NULL;
	size_t n = 0;
	uint32_t generation = 0;

	populate(f);
	switch_version(f);
	assert_text(f, "SELECT group_concat(ordinal || name || kernel_id) FROM programs",
		    "0y20,1z21");
	assert_text(f, "SELECT group_concat(name || kernel_id) FROM maps",
		    "added22,own20,shared21");
	assert_text(f, "SELECT group_concat(map || value) FROM map_entries",
		    "addeda2,owno2,shareds2");
	assert_text(f, "SELECT group_concat(map || value) FROM previous_entries", "goneg1,owno1");
	assert_text(f, "SELECT group_concat(name || kept) FROM previous_maps",
		    "gone0,own0,shared1");
	assert_text(f, "SELECT group_concat(name || value) FROM parameters", "b3,c4");
	/* What went is a change, too. */
	assert_text(f, "SELECT group_concat(name) FROM changes WHERE deleted",
		    "instances/" ID "/programs/x,instances/" ID "/maps/gone");
	fixture_ok(f, store_instance_get(f->store, ID, &row, &f->err));
	assert_int_equal(row->digest[0], 2);
	assert_true(row->has_previous);
	assert_int_equal(row->previous_digest[0], 1);
	assert_string_equal(row->previous_name, "lb");
	assert_int_equal(row->previous_version[0], 1);
	assert_int_equal(row->previous_generation, 0);
	assert_int_equal(row->soak_ends_at_ns, T0 + 5);
	assert_int_equal(row->state, INSTANCE_SOAKING);
	fixture_ok(f, store_instance_generation(f->store, ID, &generation, &f->err));
	assert_int_equal(generation, 1);
	fixture_ok(f, store_previous_program_list(f->store, ID, 9, &programs, &n, &f->err));
	assert_int_equal(n, 2);
	assert_string_equal(programs[1].name, "y");
	assert_int_equal(programs[1].kernel_id, 11);
	fixture_ok(f, store_previous_map_list(f->store, ID, 9, &maps, &n, &f->err));
	assert_int_equal(n, 3);
	assert_string_equal(maps[2].name, "gone");
}

static void switching_back_brings_everything_as_it_was(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct store_tx tx;

	populate(f);
	before = fixture_sql_text(f, VERSION_SQL);
	switch_version(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_version_switch_back(&tx, ID, &f->err));
	/* A map that both use has what was written to it meanwhile. */
	put_entry(f, &tx, "shared", "s1");
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	after = fixture_sql_text(f, VERSION_SQL);
	assert_string_equal(after, before);
	assert_text(f,
		    "SELECT (SELECT count(*) FROM previous_programs) + (SELECT count(*) FROM "
		    "previous_maps) + (SELECT count(*) FROM previous_entries) + (SELECT count(*) "
		    "FROM previous_parameters)",
		    "0");
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_version_switch_back(&tx, ID, &f->err), ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void the_bundle_of_a_kept_version_is_in_use_until_it_is_forgotten(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_bundle *row = NULL;
	const uint32_t version[] = { 1, 0, 0 };
	struct store_tx tx;

	populate(f);
	switch_version(f);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_delete(&tx, "lb", version, &f->err), ERROR_BUNDLE_IN_USE);
	store_tx_done(&tx);
	fixture_ok(f, store_bundle_get(f->store, "lb", version, &row, &f->err));
	assert_int_equal(row->n_instances, 1);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_version_forget_previous(&tx, ID, &f->err));
	fixture_ok(f, store_bundle_delete(&tx, "lb", version, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	assert_text(f, "SELECT count(*) FROM previous_entries", "0");
}

static void an_instance_takes_the_version_kept_with_it(void **state)
{
	struct fixture *f = *state;
	struct store_tx tx;

	populate(f);
	switch_version(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_delete(&tx, ID, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	assert_text(f, "SELECT count(*) FROM previous_entries", "0");
	assert_text(f, "SELECT count(*) FROM previous_parameters", "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_switch_leaves_the_new_version_and_keeps_the_old_one, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(switching_back_brings_everything_as_it_was,
						fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			the_bundle_of_a_kept_version_is_in_use_until_it_is_forgotten, fixture_setup,
			fixture_teardown),
		cmocka_unit_test_setup_teardown(an_instance_takes_the_version_kept_with_it,
						fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
