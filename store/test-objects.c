#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/fixture.h"

/* ---- bundles */

static void a_bundle_comes_back_whole(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_bundle *row = NULL;
	_cleanup_free_ struct store_signature *signatures = NULL;
	struct store_bundle bundle = fixture_bundle(1);
	uint8_t bytes[sizeof(fixture_bytes)];
	size_t n;

	fixture_populate(f);
	fixture_ok(f, store_bundle_get(f->store, "lb", bundle.version, &row, &f->err));
	assert_string_equal(row->name, "lb");
	assert_memory_equal(row->version, bundle.version, sizeof(bundle.version));
	assert_memory_equal(row->digest, bundle.digest, STORE_DIGEST_LEN);
	assert_int_equal(row->size_bytes, sizeof(fixture_bytes));
	assert_string_equal(row->description, bundle.description);
	assert_int_equal(row->expires_at_ns, bundle.expires_at_ns);
	assert_int_equal(row->pushed_at_ns, bundle.pushed_at_ns);
	assert_string_equal(row->pushed_by, bundle.pushed_by);
	assert_false(row->has_obsoletes_below);
	assert_int_equal(row->n_instances, 1);
	fixture_ok(f, store_bundle_read(f->store, row->digest, bytes, sizeof(bytes), &f->err));
	assert_memory_equal(bytes, fixture_bytes, sizeof(bytes));
	fixture_fails(f, store_bundle_read(f->store, row->digest, bytes, 10, &f->err),
		      ERROR_INVALID_ARGUMENT);
	fixture_ok(f, store_signature_list(f->store, row->digest, &signatures, &n, &f->err));
	assert_int_equal(n, 1);
	assert_int_equal(signatures[0].minisig.size, 21);
	assert_memory_equal(signatures[0].minisig.data, "untrusted comment: x\n", 21);
	assert_string_equal(signatures[0].key_id, "0011223344556677");
	assert_string_equal(signatures[0].signer, "release");
	assert_string_equal(signatures[0].trusted_comment, "lb 1.0.0");
}

static void insert_bundle(struct fixture *f, const struct store_bundle *row, const void *bytes)
{
	struct store_tx tx;

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_bundle_insert(&tx, row, NULL, 0, bytes, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void a_bundle_of_sixteen_mib_fits_and_a_byte_more_does_not(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ uint8_t *bytes = malloc(STORE_BUNDLE_MAX), *back = malloc(STORE_BUNDLE_MAX);
	struct store_bundle row = fixture_bundle(9);
	_cleanup_store_tx_ struct store_tx tx = {};

	assert_true(bytes != NULL && back != NULL);
	for (size_t i = 0; i < STORE_BUNDLE_MAX; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	row.size_bytes = STORE_BUNDLE_MAX;
	insert_bundle(f, &row, bytes);
	fixture_ok(f, store_bundle_read(f->store, row.digest, back, STORE_BUNDLE_MAX, &f->err));
	assert_int_equal(memcmp(bytes, back, STORE_BUNDLE_MAX), 0);
	row = fixture_bundle(10);
	row.size_bytes = STORE_BUNDLE_MAX + 1;
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_insert(&tx, &row, NULL, 0, bytes, &f->err),
		      ERROR_INVALID_ARGUMENT);
}

static void a_version_is_taken_by_its_first_digest(void **state)
{
	struct fixture *f = *state;
	struct store_bundle row = fixture_bundle(1);
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_insert(&tx, &row, NULL, 0, fixture_bytes, &f->err),
		      ERROR_ALREADY_EXISTS);
	store_tx_done(&tx);
	row.digest[0] = 99;
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_insert(&tx, &row, NULL, 0, fixture_bytes, &f->err),
		      ERROR_BUNDLE_VERSION_TAKEN);
	store_tx_done(&tx);
}

static void bundles_are_listed_by_name_and_version_as_numbers(void **state)
{
	static const uint32_t majors[] = { 10, 2, 1 };
	struct fixture *f = *state;
	_cleanup_free_ struct store_bundle *highest = NULL, *first = NULL, *second = NULL;
	struct store_bundle row;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(majors); i++) {
		row = fixture_bundle(majors[i]);
		insert_bundle(f, &row, fixture_bytes);
	}
	row = fixture_bundle(77);
	row.name = "aa";
	insert_bundle(f, &row, fixture_bytes);
	fixture_ok(f, store_bundle_get(f->store, "lb", NULL, &highest, &f->err));
	assert_int_equal(highest->version[0], 10);
	fixture_ok(f, store_bundle_list(f->store, NULL, NULL, 2, &first, &n, &f->err));
	assert_int_equal(n, 2);
	assert_string_equal(first[0].name, "aa");
	assert_int_equal(first[1].version[0], 1);
	fixture_ok(f, store_bundle_list(f->store, first[1].name, first[1].version, 100, &second, &n,
					&f->err));
	assert_int_equal(n, 2);
	assert_int_equal(second[0].version[0], 2);
	assert_int_equal(second[1].version[0], 10);
}

static void a_bundle_in_use_stays(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_bundle *row = NULL;
	struct store_bundle bundle = fixture_bundle(1);
	_cleanup_free_ char *n_left = NULL;
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_delete(&tx, "lb", bundle.version, &f->err),
		      ERROR_BUNDLE_IN_USE);
	store_tx_done(&tx);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_btf_put(&tx, bundle.digest, "main", "btf", 3, &f->err));
	fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
	fixture_ok(f, store_bundle_delete(&tx, "lb", bundle.version, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_fails(f, store_bundle_get(f->store, "lb", NULL, &row, &f->err), ERROR_NOT_FOUND);
	fixture_fails(f, store_bundle_get_digest(f->store, bundle.digest, &row, &f->err),
		      ERROR_NOT_FOUND);
	n_left = fixture_sql_text(f, "SELECT (SELECT count(*) FROM bundle_bytes) + "
				     "(SELECT count(*) FROM bundle_signatures) + "
				     "(SELECT count(*) FROM bundle_btf)");
	assert_string_equal(n_left, "0");
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_bundle_delete(&tx, "lb", bundle.version, &f->err), ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void type_information_goes_with_its_bundle(void **state)
{
	struct fixture *f = *state;
	struct store_bundle bundle = fixture_bundle(1);
	_cleanup_free_ struct store_bytes *btf = NULL;
	struct store_bytes *none = NULL;
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_btf_put(&tx, bundle.digest, "main", "a\0b", 3, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_btf_get(f->store, bundle.digest, "main", &btf, &f->err));
	assert_int_equal(btf->size, 3);
	assert_memory_equal(btf->data, "a\0b", 3);
	fixture_fails(f, store_btf_get(f->store, bundle.digest, "other", &none, &f->err),
		      ERROR_NOT_FOUND);
	bundle.digest[0] = 200;
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_btf_put(&tx, bundle.digest, "main", "x", 1, &f->err),
		      ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void a_version_floor_only_rises(void **state)
{
	static const uint32_t low[3] = { 1, 2, 3 }, high[3] = { 1, 10, 0 };
	struct fixture *f = *state;
	struct store_bundle row = fixture_bundle(3);
	struct store_tx tx;
	uint32_t floor[3];

	fixture_ok(f, store_floor_get(f->store, "lb", floor, &f->err));
	assert_int_equal(floor[0] + floor[1] + floor[2], 0);
	row.has_obsoletes_below = true;
	memcpy(row.obsoletes_below, high, sizeof(high));
	insert_bundle(f, &row, fixture_bytes);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_floor_raise(&tx, "lb", low, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_floor_get(f->store, "lb", floor, &f->err));
	assert_memory_equal(floor, high, sizeof(high));
}

/* ---- instances */

static void an_instance_comes_back_as_it_was_written(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *row = NULL;
	_cleanup_free_ struct store_parameter *parameters = NULL;
	size_t n;

	fixture_populate(f);
	fixture_ok(f, store_instance_get(f->store, ID_A, &row, &f->err));
	assert_string_equal(row->id, ID_A);
	assert_string_equal(row->label, "edge");
	assert_string_equal(row->owner, "uid:1000");
	assert_string_equal(row->bundle_name, "lb");
	assert_int_equal(row->bundle_version[0], 1);
	assert_int_equal(row->durability, 1);
	assert_int_equal(row->state, INSTANCE_LOADING);
	assert_string_equal(row->reason, "");
	assert_int_equal(row->created_at_ns, T0 + 1);
	assert_int_equal(row->loaded_at_ns, 0);
	assert_string_equal(row->boot_id, "b-1");
	assert_false(row->has_lease_token);
	assert_int_equal(row->n_programs, 2);
	assert_int_equal(row->n_links, 1);
	assert_int_equal(row->n_parameters, 1);
	assert_int_equal(row->revision, store_revision(f->store));
	fixture_ok(f, store_parameter_list(f->store, ID_A, &parameters, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(parameters[0].name, "port");
	assert_string_equal(parameters[0].value, "8080");
}

static void an_update_writes_what_changes_in_an_instance(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *row = NULL;
	struct store_instance update = fixture_instance(ID_A, 1);
	struct store_tx tx;

	fixture_populate(f);
	update.state = INSTANCE_DEGRADED;
	update.reason = "TARGET_NOT_FOUND";
	update.loaded_at_ns = T0 + 50;
	update.boot_id = "b-2";
	update.lease_ends_at_ns = T0 + 99;
	update.has_lease_token = true;
	memset(update.lease_token_hash, 5, sizeof(update.lease_token_hash));
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_update(&tx, &update, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_instance_get(f->store, ID_A, &row, &f->err));
	assert_int_equal(row->state, INSTANCE_DEGRADED);
	assert_string_equal(row->reason, "TARGET_NOT_FOUND");
	assert_int_equal(row->loaded_at_ns, T0 + 50);
	assert_string_equal(row->boot_id, "b-2");
	assert_int_equal(row->lease_ends_at_ns, T0 + 99);
	assert_true(row->has_lease_token);
	assert_memory_equal(row->lease_token_hash, update.lease_token_hash, STORE_HASH_LEN);
	assert_string_equal(row->label, "edge");
}

/* Inserts an instance alone in a transaction that is committed if that works. */
static int insert_instance(struct fixture *f, const struct store_instance *row)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	int r;

	(void)fixture_begin(f, &tx);
	r = store_instance_insert(&tx, row, NULL, 0, &f->err);
	return r < 0 ? r : store_tx_commit(&tx, &f->err);
}

static void a_label_is_unique_for_its_owner(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *own = NULL, *other = NULL;
	struct store_instance row = fixture_instance(ID_B, 1);
	struct store_instance *none = NULL;

	fixture_populate(f);
	row.label = "edge";
	fixture_fails(f, insert_instance(f, &row), ERROR_LABEL_IN_USE);
	fixture_ok(f, store_instance_get_label(f->store, "edge", "uid:9", &other, &f->err));
	assert_string_equal(other->id, ID_A);
	row.owner = "uid:2000";
	fixture_ok(f, insert_instance(f, &row));
	fixture_ok(f, store_instance_get_label(f->store, "edge", "uid:2000", &own, &f->err));
	assert_string_equal(own->id, ID_B);
	fixture_fails(f, store_instance_get_label(f->store, "edge", "uid:9", &none, &f->err),
		      ERROR_NOT_FOUND);
	fixture_fails(f, store_instance_get_label(f->store, "", "uid:9", &none, &f->err),
		      ERROR_NOT_FOUND);
}

static void instances_without_a_label_do_not_collide(void **state)
{
	struct fixture *f = *state;
	struct store_instance row = fixture_instance(ID_B, 1);

	fixture_populate(f);
	fixture_ok(f, insert_instance(f, &row));
	row.id = ID_C;
	fixture_ok(f, insert_instance(f, &row));
}

static void an_instance_that_cannot_be_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_instance row = fixture_instance(ID_A, 1);
	struct store_instance none = fixture_instance(ID_B, 2);
	const struct store_parameter twice[] = { { "a", "1" }, { "a", "2" } };
	_cleanup_store_tx_ struct store_tx tx = {};

	fixture_populate(f);
	fixture_fails(f, insert_instance(f, &row), ERROR_ALREADY_EXISTS);
	fixture_fails(f, insert_instance(f, &none), ERROR_NOT_FOUND);
	row.id = "short";
	fixture_fails(f, insert_instance(f, &row), ERROR_INVALID_ARGUMENT);
	row.id = ID_B;
	row.state = 10;
	fixture_fails(f, insert_instance(f, &row), ERROR_INVALID_ARGUMENT);
	row.state = 1;
	row.created_at_ns = UINT64_MAX;
	fixture_fails(f, insert_instance(f, &row), ERROR_INVALID_ARGUMENT);
	row.created_at_ns = T0;
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_instance_insert(&tx, &row, twice, 2, &f->err),
		      ERROR_INVALID_PARAMETER);
}

static size_t count_instances(struct fixture *f, const struct store_instance_filter *filter)
{
	_cleanup_free_ struct store_instance *rows = NULL;
	size_t n;

	fixture_ok(f, store_instance_list(f->store, filter, NULL, 100, &rows, &n, &f->err));
	return n;
}

static void instances_are_listed_in_pages_and_by_filter(void **state)
{
	static const uint32_t v1[3] = { 1, 0, 0 }, v2[3] = { 2, 0, 0 };
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *page = NULL, *rest = NULL;
	struct store_bundle two = fixture_bundle(2);
	struct store_instance b = fixture_instance(ID_B, 2), c = fixture_instance(ID_C, 1);
	size_t n;

	fixture_populate(f);
	insert_bundle(f, &two, fixture_bytes);
	b.owner = "uid:2";
	b.durability = 3;
	c.state = INSTANCE_FAILED;
	fixture_ok(f, insert_instance(f, &b));
	fixture_ok(f, insert_instance(f, &c));
	fixture_ok(f, store_instance_list(f->store, NULL, NULL, 2, &page, &n, &f->err));
	assert_int_equal(n, 2);
	assert_string_equal(page[0].id, ID_A);
	assert_string_equal(page[1].id, ID_B);
	fixture_ok(f, store_instance_list(f->store, NULL, ID_B, 2, &rest, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(rest[0].id, ID_C);

	assert_int_equal(count_instances(f, &(struct store_instance_filter){ .bundle_name = "lb" }),
			 3);
	assert_int_equal(count_instances(f, &(struct store_instance_filter){ .bundle_name = "x" }),
			 0);
	assert_int_equal(
		count_instances(f, &(struct store_instance_filter){ "lb", v1, NULL, 0, 0 }), 2);
	assert_int_equal(
		count_instances(f, &(struct store_instance_filter){ "lb", v2, NULL, 0, 0 }), 1);
	assert_int_equal(count_instances(f, &(struct store_instance_filter){ .owner = "uid:2" }),
			 1);
	assert_int_equal(count_instances(f, &(struct store_instance_filter){ .durability = 3 }), 1);
	assert_int_equal(
		count_instances(f, &(struct store_instance_filter){ .state = INSTANCE_FAILED }), 1);
}

/* ---- programs, maps, entries */

static void programs_and_maps_come_back_as_they_were_written(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	struct store_map want = fixture_map(ID_A, "stats", 0);

	fixture_populate(f);
	fixture_ok(f, store_program_get(f->store, ID_A, "count", &program, &f->err));
	assert_string_equal(program->object, "main");
	assert_string_equal(program->type, "xdp");
	assert_int_equal(program->kernel_id, 40);
	assert_int_equal(program->tag[7], 8);
	assert_int_equal(program->verified_insns, 123);
	assert_int_equal(program->spec.size, 6);
	assert_memory_equal(program->spec.data, "spec\0p", 6);
	assert_int_equal(program->verifier.size, 4);
	assert_memory_equal(program->verifier.data, "fig\0", 4);
	assert_int_equal(program->n_links, 1);
	fixture_ok(f, store_map_get(f->store, ID_A, "stats", &map, &f->err));
	assert_string_equal(map->type, "hash");
	assert_int_equal(map->key_size, want.key_size);
	assert_int_equal(map->value_size, want.value_size);
	assert_int_equal(map->max_entries, want.max_entries);
	assert_int_equal(map->flags, want.flags);
	assert_int_equal(map->access, want.access);
	assert_int_equal(map->contents, want.contents);
	assert_int_equal(map->kernel_id, want.kernel_id);
	assert_true(map->frozen);
	assert_int_equal(map->key_type_id, 5);
	assert_int_equal(map->value_type_id, 6);
	assert_int_equal(map->event_type_id, 7);
	assert_memory_equal(map->spec.data, "map", 3);
	fixture_fails(f, store_map_get(f->store, ID_A, "none", &map, &f->err), ERROR_NOT_FOUND);
	fixture_fails(f, store_program_get(f->store, ID_B, "count", &program, &f->err),
		      ERROR_NOT_FOUND);
}

static void a_load_after_a_reboot_replaces_programs_and_keeps_links_and_entries(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_program *back = NULL;
	_cleanup_free_ struct store_entry *entries = NULL;
	struct store_program program = fixture_program(ID_A, "count", 0);
	struct store_map map = fixture_map(ID_A, "stats", 0);
	struct store_counts counts;
	struct store_tx tx;
	size_t n;

	fixture_populate(f);
	program.kernel_id = 999;
	map.kernel_id = 998;
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_entry_put(&tx, ID_A, "stats", "k", 1, "v", 1, &f->err));
	fixture_ok(f, store_program_put(&tx, &program, &f->err));
	fixture_ok(f, store_map_put(&tx, &map, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_program_get(f->store, ID_A, "count", &back, &f->err));
	assert_int_equal(back->kernel_id, 999);
	assert_int_equal(back->n_links, 1);
	fixture_ok(f, store_entry_list(f->store, ID_A, "stats", NULL, 10, &entries, &n, &f->err));
	assert_int_equal(n, 1);
	fixture_ok(f, store_counts_get(f->store, &counts, &f->err));
	assert_int_equal(counts.n_programs, 2);
	assert_int_equal(counts.n_maps, 1);
}

static void programs_are_listed_by_instance_and_ordinal(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_program *all = NULL, *rest = NULL, *of_b = NULL, *after = NULL;
	struct store_instance b = fixture_instance(ID_B, 1);
	struct store_program first = fixture_program(ID_B, "zz", 0);
	struct store_program second = fixture_program(ID_B, "aa", 1);
	struct store_tx tx;
	size_t n;

	fixture_populate(f);
	fixture_ok(f, insert_instance(f, &b));
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_program_put(&tx, &second, &f->err));
	fixture_ok(f, store_program_put(&tx, &first, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_program_list(f->store, NULL, NULL, 3, &all, &n, &f->err));
	assert_int_equal(n, 3);
	assert_string_equal(all[0].name, "count");
	assert_string_equal(all[1].name, "drop");
	assert_string_equal(all[2].name, "zz");
	fixture_ok(f, store_program_list(f->store, NULL, &(struct store_position){ ID_B, 0 }, 10,
					 &rest, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(rest[0].name, "aa");
	fixture_ok(f, store_program_list(f->store, ID_B, NULL, 10, &of_b, &n, &f->err));
	assert_int_equal(n, 2);
	fixture_ok(f, store_program_list(f->store, ID_B, &(struct store_position){ ID_B, 0 }, 10,
					 &after, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(after[0].name, "aa");
}

static void a_program_of_no_instance_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_program program = fixture_program(ID_B, "x", 0);
	_cleanup_store_tx_ struct store_tx tx = {};

	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_program_put(&tx, &program, &f->err), ERROR_NOT_FOUND);
}

static void entries_of_durable_maps_page_in_the_order_of_their_keys(void **state)
{
	struct fixture *f = *state;
	struct store_bytes after = {};
	uint8_t key[2], last[2] = {};
	struct store_tx tx;
	size_t n, n_seen = 0;
	bool deleted;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	for (unsigned int i = 0; i < 600; i++) {
		key[0] = (uint8_t)(i >> 8);
		key[1] = (uint8_t)i;
		fixture_ok(f, store_entry_put(&tx, ID_A, "stats", key, 2, "old", 3, &f->err));
	}
	fixture_ok(f, store_entry_put(&tx, ID_A, "stats", key, 2, "new", 3, &f->err));
	fixture_ok(f, store_entry_delete(&tx, ID_A, "stats", "\0\0", 2, &deleted, &f->err));
	assert_true(deleted);
	fixture_ok(f, store_entry_delete(&tx, ID_A, "stats", "\0\0", 2, &deleted, &f->err));
	assert_false(deleted);
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	do {
		_cleanup_free_ struct store_entry *rows = NULL;

		fixture_ok(f, store_entry_list(f->store, ID_A, "stats", n_seen > 0 ? &after : NULL,
					       64, &rows, &n, &f->err));
		for (size_t i = 0; i < n; i++) {
			const uint8_t *k = rows[i].key.data;

			n_seen++;
			assert_int_equal(k[0] << 8 | k[1], n_seen);
			assert_memory_equal(rows[i].value.data, n_seen == 599 ? "new" : "old", 3);
			memcpy(last, k, 2);
			after = (struct store_bytes){ last, 2 };
		}
	} while (n > 0);
	assert_int_equal(n_seen, 599);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_entry_put(&tx, ID_A, "none", "k", 1, "v", 1, &f->err),
		      ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void an_empty_key_and_value_are_kept(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_entry *rows = NULL;
	struct store_tx tx;
	size_t n;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_entry_put(&tx, ID_A, "stats", NULL, 0, NULL, 0, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_entry_list(f->store, ID_A, "stats", NULL, 10, &rows, &n, &f->err));
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].key.size, 0);
	assert_non_null(rows[0].key.data);
}

/* ---- links */

static void a_link_comes_back_as_it_was_written(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_link *row = NULL;

	fixture_populate(f);
	fixture_ok(f, store_link_get(f->store, LINK_A, &row, &f->err));
	assert_string_equal(row->instance, ID_A);
	assert_string_equal(row->program, "count");
	assert_string_equal(row->hook_kind, "xdp");
	assert_string_equal(row->hook, "xdp:eth0");
	assert_memory_equal(row->target.data, "eth0", 4);
	assert_int_equal(row->target.size, 4);
	assert_memory_equal(row->spec.data, "\x01\x00\x02", 3);
	assert_int_equal(row->places.size, 2);
	assert_memory_equal(row->places.data, "\x00\x07", 2);
	assert_int_equal(row->state, LINK_ATTACHED);
	assert_int_equal(row->kernel_id, 81);
	assert_int_equal(row->attached_at_ns, T0 + 2);
	assert_int_equal(row->resolved_offset, 0x4010);
	assert_int_equal(row->resolved_dev, 2049);
	assert_true(row->resolved_inode == UINT64_C(0xfedcba9876543210));
}

static void links_change_are_listed_and_go(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_link *all = NULL, *of_program = NULL, *pending = NULL;
	struct store_link link = fixture_link(LINK_B, ID_A, "drop");
	struct store_link *none = NULL;
	struct store_tx tx;
	size_t n;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_link_insert(&tx, &link, &f->err));
	link.kernel_id = 0;
	link.resolved_offset = 7;
	link.places = (struct store_bytes){ "abc", 3 };
	fixture_ok(f, store_link_update(&tx, &link, &f->err));
	fixture_ok(f, store_link_set_state(&tx, LINK_B, LINK_PENDING_TARGET, "TARGET_NOT_FOUND",
					   &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_link_list(f->store, NULL, NULL, 10, &all, &n, &f->err));
	assert_int_equal(n, 2);
	assert_string_equal(all[1].reason, "TARGET_NOT_FOUND");
	assert_int_equal(all[1].kernel_id, 0);
	assert_int_equal(all[1].resolved_offset, 7);
	assert_memory_equal(all[1].places.data, "abc", all[1].places.size);
	assert_int_equal(all[1].places.size, 3);
	fixture_ok(f, store_link_list(
			      f->store,
			      &(struct store_link_filter){ .instance = ID_A, .program = "drop" },
			      NULL, 10, &of_program, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(of_program[0].id, LINK_B);
	fixture_ok(f, store_link_list(f->store,
				      &(struct store_link_filter){ .state = LINK_PENDING_TARGET },
				      NULL, 10, &pending, &n, &f->err));
	assert_int_equal(n, 1);
	fixture_ok(f, store_link_list(f->store, &(struct store_link_filter){ .instance = ID_A },
				      LINK_B, 10, &none, &n, &f->err));
	assert_int_equal(n, 0);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_link_delete(&tx, LINK_B, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_fails(f, store_link_get(f->store, LINK_B, &none, &f->err), ERROR_NOT_FOUND);
}

static void a_link_that_cannot_be_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store_link link = fixture_link(LINK_A, ID_A, "drop");
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_link_insert(&tx, &link, &f->err), ERROR_ALREADY_EXISTS);
	store_tx_done(&tx);
	link.id = LINK_B;
	link.program = "none";
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_link_insert(&tx, &link, &f->err), ERROR_NOT_FOUND);
	store_tx_done(&tx);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_link_delete(&tx, LINK_B, &f->err), ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void nothing_is_left_of_an_instance_that_is_deleted(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *left = NULL;
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_entry_put(&tx, ID_A, "stats", "k", 1, "v", 1, &f->err));
	fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	left = fixture_sql_text(f,
				"SELECT (SELECT count(*) FROM instances) + "
				"(SELECT count(*) FROM parameters) + "
				"(SELECT count(*) FROM programs) + (SELECT count(*) FROM maps) + "
				"(SELECT count(*) FROM links) + "
				"(SELECT count(*) FROM map_entries)");
	assert_string_equal(left, "0");
}

/* ---- journal */

static void operations_are_journaled_step_by_step(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_op *rows = NULL;
	const struct store_op op = { .kind = "attach",
				     .instance = ID_A,
				     .link = LINK_A,
				     .step = "intent",
				     .started_at_ns = T0,
				     .identity = "uid:1",
				     .method = "Attach",
				     .request_id = "r-1",
				     .data = { "d\0d", 3 } };
	const struct store_bytes data = { "pins", 4 };
	uint64_t first, second;
	struct store_tx tx;
	size_t n;

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_op_begin(&tx, &op, &first, &f->err));
	fixture_ok(f, store_op_begin(&tx, &op, &second, &f->err));
	fixture_ok(f, store_op_step(&tx, first, "kernel", NULL, &f->err));
	fixture_ok(f, store_op_step(&tx, second, "pinned", &data, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_op_list(f->store, 0, 10, &rows, &n, &f->err));
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].id, first);
	assert_string_equal(rows[0].kind, "attach");
	assert_string_equal(rows[0].instance, ID_A);
	assert_string_equal(rows[0].link, LINK_A);
	assert_string_equal(rows[0].step, "kernel");
	assert_int_equal(rows[0].started_at_ns, T0);
	assert_string_equal(rows[0].identity, "uid:1");
	assert_string_equal(rows[0].method, "Attach");
	assert_string_equal(rows[0].request_id, "r-1");
	assert_memory_equal(rows[0].data.data, "d\0d", 3);
	assert_string_equal(rows[1].step, "pinned");
	assert_memory_equal(rows[1].data.data, "pins", 4);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_op_end(&tx, second, &f->err));
	fixture_ok(f, store_op_end(&tx, first, &f->err));
	fixture_ok(f, store_op_begin(&tx, &op, &first, &f->err));
	assert_true(first > second);
	fixture_fails(f, store_op_end(&tx, second, &f->err), ERROR_NOT_FOUND);
	store_tx_done(&tx);
}

static void answers_are_found_again_until_they_are_purged(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_request *row = NULL;
	struct store_request request = { .identity = "uid:1",
					 .method = "Load",
					 .request_id = "r-1",
					 .at_ns = T0,
					 .body_hash = { 1, 2 },
					 .reason = "NOT_FOUND",
					 .message = "no bundle",
					 .response = { "\x08\x01", 2 } };
	struct store_request *none = NULL;
	struct store_tx tx;
	size_t n;

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_request_insert(&tx, &request, &f->err));
	request.method = "Attach";
	request.at_ns = T0 + 10;
	fixture_ok(f, store_request_insert(&tx, &request, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_request_get(f->store, "uid:1", "Load", "r-1", &row, &f->err));
	assert_int_equal(row->body_hash[1], 2);
	assert_string_equal(row->reason, "NOT_FOUND");
	assert_string_equal(row->message, "no bundle");
	assert_memory_equal(row->response.data, "\x08\x01", 2);
	fixture_fails(f, store_request_get(f->store, "uid:2", "Load", "r-1", &none, &f->err),
		      ERROR_NOT_FOUND);
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_request_insert(&tx, &request, &f->err), ERROR_ALREADY_EXISTS);
	store_tx_done(&tx);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_request_purge(&tx, T0 + 10, 100, &n, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	assert_int_equal(n, 1);
	fixture_fails(f, store_request_get(f->store, "uid:1", "Load", "r-1", &none, &f->err),
		      ERROR_NOT_FOUND);
	free(TAKE_PTR(row));
	fixture_ok(f, store_request_get(f->store, "uid:1", "Attach", "r-1", &row, &f->err));
}

/* ---- views */

static void views_answer_who_loaded_what(void **state)
{
	static const struct {
		const char *sql, *answer;
	} questions[] = {
		{ "SELECT owner || ' ' || bundle || ' ' || signed_by || ' ' || program || ' ' || "
		  "state "
		  "|| ' ' || created_at FROM loaded_programs ORDER BY program LIMIT 1",
		  "uid:1000 lb@1.0.0 0011223344556677 release count LOADING "
		  "2025-11-23T06:30:00.000000001Z" },
		{ "SELECT loaded_at = '' AND durability = 'persistent' AND tag = "
		  "'0102030405060708' "
		  "FROM loaded_programs",
		  "1" },
		{ "SELECT hook || ' ' || state || ' ' || attached_at || ' ' || label FROM "
		  "attachments",
		  "xdp:eth0 ATTACHED 2025-11-23T06:30:00.000000002Z edge" },
		{ "SELECT bundle || ' ' || key_id || ' ' || signer || ' ' || trusted_comment || ' "
		  "' || "
		  "pushed_at FROM bundle_signers",
		  "lb@1.0.0 0011223344556677 release lb 1.0.0 2025-11-23T06:30:00.000000000Z" },
		{ "SELECT at || ' ' || verb || ' ' || duration_ms FROM audit_log",
		  "2025-11-23T06:30:00.000000000Z load 1.5" },
	};
	struct fixture *f = *state;
	const struct store_audit row = { .at_ns = T0, .verb = "load", .duration_ns = 1500000 };
	struct store_tx tx;

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	for (size_t i = 0; i < ARRAY_SIZE(questions); i++) {
		_cleanup_free_ char *answer = fixture_sql_text(f, questions[i].sql);

		assert_string_equal(answer, questions[i].answer);
	}
}

static void a_program_that_was_skipped_is_no_loaded_program(void **state)
{
	static const char names[] = "SELECT group_concat(program) FROM loaded_programs";
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct fixture *f = *state;

	fixture_populate(f);
	before = fixture_sql_text(f, names);
	assert_string_equal(before, "count,drop");
	fixture_sql(f, "UPDATE programs SET skipped_reason = 'KERNEL_UNSUPPORTED' "
		       "WHERE name = 'count'");
	after = fixture_sql_text(f, names);
	assert_string_equal(after, "drop");
}

static void views_name_states_as_the_table_does(void **state)
{
	struct fixture *f = *state;

	fixture_populate(f);
	for (unsigned int s = 1; s < INSTANCE_N_STATES; s++) {
		_cleanup_free_ char *name = NULL;
		struct store_tx tx;

		(void)fixture_begin(f, &tx);
		fixture_ok(f, store_instance_set_state(&tx, ID_A, (enum instance_state)s, NULL,
						       &f->err));
		if (s < LINK_N_STATES)
			fixture_ok(f, store_link_set_state(&tx, LINK_A, (enum link_state)s, NULL,
							   &f->err));
		fixture_ok(f, store_tx_commit(&tx, &f->err));
		name = fixture_sql_text(f, "SELECT state FROM loaded_programs");
		assert_string_equal(name, instance_state_name((enum instance_state)s));
		if (s < LINK_N_STATES) {
			free(name);
			name = fixture_sql_text(f, "SELECT state FROM attachments");
			assert_string_equal(name, link_state_name((enum link_state)s));
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_bundle_comes_back_whole),
		TEST(a_bundle_of_sixteen_mib_fits_and_a_byte_more_does_not),
		TEST(a_version_is_taken_by_its_first_digest),
		TEST(bundles_are_listed_by_name_and_version_as_numbers),
		TEST(a_bundle_in_use_stays),
		TEST(type_information_goes_with_its_bundle),
		TEST(a_version_floor_only_rises),
		TEST(an_instance_comes_back_as_it_was_written),
		TEST(an_update_writes_what_changes_in_an_instance),
		TEST(a_label_is_unique_for_its_owner),
		TEST(instances_without_a_label_do_not_collide),
		TEST(an_instance_that_cannot_be_is_refused),
		TEST(instances_are_listed_in_pages_and_by_filter),
		TEST(programs_and_maps_come_back_as_they_were_written),
		TEST(a_load_after_a_reboot_replaces_programs_and_keeps_links_and_entries),
		TEST(programs_are_listed_by_instance_and_ordinal),
		TEST(a_program_of_no_instance_is_refused),
		TEST(entries_of_durable_maps_page_in_the_order_of_their_keys),
		TEST(an_empty_key_and_value_are_kept),
		TEST(a_link_comes_back_as_it_was_written),
		TEST(links_change_are_listed_and_go),
		TEST(a_link_that_cannot_be_is_refused),
		TEST(nothing_is_left_of_an_instance_that_is_deleted),
		TEST(operations_are_journaled_step_by_step),
		TEST(answers_are_found_again_until_they_are_purged),
		TEST(views_answer_who_loaded_what),
		TEST(a_program_that_was_skipped_is_no_loaded_program),
		TEST(views_name_states_as_the_table_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
