#define _GNU_SOURCE
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/fixture.h"

/* ---- opening */

static void a_new_store_is_made_for_its_owner_alone(void **state)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct fixture *f = *state;
	struct store_meta meta;
	struct stat st;
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
		assert_return_code(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	fixture_ok(f, store_meta_get(f->store, &meta, &f->err));
	assert_int_equal(strlen(meta.uuid), STORE_UUID_LEN);
	assert_int_equal(meta.uuid[14], '4');
	assert_string_equal(meta.node_id, "");
	assert_string_equal(meta.boot_id, "");
	assert_int_equal(meta.revision, 0);
	assert_int_equal(meta.created_at_ns, T0);
}

static void a_mode_that_somebody_widened_is_put_back(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	fixture_close(f);
	assert_return_code(chmod(f->path, 0644), 0);
	fixture_open(f);
	assert_return_code(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void the_database_is_durable_and_strict(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *journal = fixture_sql_text(f, "PRAGMA journal_mode");
	_cleanup_free_ char *loose = fixture_sql_text(
		f, "SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND NOT strict "
		   "AND name NOT LIKE 'sqlite%'");
	_cleanup_free_ char *version = fixture_sql_text(f, "PRAGMA user_version");

	assert_string_equal(journal, "wal");
	assert_string_equal(loose, "0");
	assert_string_equal(version, "1");
}

static void what_was_committed_is_there_after_reopening(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *before = NULL, *after = NULL;

	fixture_populate(f);
	before = fixture_dump(f);
	fixture_close(f);
	fixture_open(f);
	after = fixture_dump(f);
	assert_string_equal(before, after);
	assert_non_null(strstr(after, LINK_A));
	assert_true(store_revision(f->store) > 0);
}

static void a_newer_schema_is_refused(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	fixture_sql(f, "PRAGMA user_version = 2");
	fixture_fails(f, store_open(&f->options, &f->store, &f->err), ERROR_STORE_TOO_NEW);
	assert_null(f->store);
}

static void a_database_of_somebody_else_is_refused_and_not_touched(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *n = NULL;

	fixture_close(f);
	assert_return_code(unlink(f->path), 0);
	{
		_cleanup_close_ int fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

		assert_return_code(fd, 0);
	}
	fixture_sql(f, "CREATE TABLE theirs (x)");
	fixture_fails(f, store_open(&f->options, &f->store, &f->err), ERROR_STORE_CORRUPT);
	n = fixture_sql_text(f, "SELECT count(*) FROM sqlite_schema");
	assert_string_equal(n, "1");
}

static void write_at(const struct fixture *f, off_t offset, const void *bytes, size_t n)
{
	_cleanup_close_ int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_return_code(fd, 0);
	assert_int_equal(pwrite(fd, bytes, n, offset), (ssize_t)n);
}

static void a_file_that_is_no_database_is_corrupt(void **state)
{
	struct fixture *f = *state;
	char junk[4096];

	memset(junk, 'j', sizeof(junk));
	fixture_close(f);
	write_at(f, 0, junk, sizeof(junk));
	fixture_fails(f, store_open(&f->options, &f->store, &f->err), ERROR_STORE_CORRUPT);
}

static void a_damaged_table_of_state_is_found_at_open(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *root = NULL;
	char junk[4096];

	fixture_populate(f);
	fixture_close(f);
	root = fixture_sql_text(f, "SELECT rootpage FROM sqlite_schema WHERE name = 'links'");
	memset(junk, 0xa5, sizeof(junk));
	write_at(f, (strtol(root, NULL, 10) - 1) * 4096, junk, sizeof(junk));
	fixture_fails(f, store_open(&f->options, &f->store, &f->err), ERROR_STORE_CORRUPT);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	struct fixture *f = *state;
	char target[128];

	fixture_close(f);
	(void)snprintf(target, sizeof(target), "%s/real", f->folder);
	assert_return_code(rename(f->path, target), 0);
	assert_return_code(symlink(target, f->path), 0);
	fixture_fails(f, store_open(&f->options, &f->store, &f->err), ERROR_STORE_FAILED);
	assert_return_code(unlink(target), 0);
}

static void a_folder_that_is_missing_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct store_options options = f->options;
	struct store *store = NULL;

	options.path = "/nonexistent/state.db";
	fixture_fails(f, store_open(&options, &store, &f->err), ERROR_STORE_FAILED);
	assert_null(store);
}

/* Whether the section "## TABLE" of the document has a table row that names the column. */
static bool document_has(const char *document, const char *table, const char *column)
{
	char heading[96], cell[96], name[96];
	const char *line, *end;

	(void)snprintf(heading, sizeof(heading), "\n## %s\n", table);
	line = strstr(document, heading);
	if (line == NULL)
		return false;
	end = strstr(line + strlen(heading), "\n## ");
	for (line += strlen(heading); line != NULL && (end == NULL || line < end);
	     line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "| %95[^|]|", cell) != 1)
			continue;
		for (char *at = cell, *rest; sscanf(at, "%95[a-z_0-9]", name) == 1; at = rest) {
			if (strcmp(name, column) == 0)
				return true;
			rest = at + strlen(name);
			rest += strspn(rest, ", ");
		}
	}
	return false;
}

static void the_document_explains_every_column(void **state)
{
	struct fixture *f = *state;
	_cleanup_fclose_ FILE *file = fopen("store/SCHEMA.md", "re");
	_cleanup_free_ char *document = calloc(1, 65536), *columns = NULL;
	int n = 0;

	assert_non_null(file);
	assert_non_null(document);
	assert_in_range(fread(document, 1, 65535, file), 1000, 65534);
	columns = fixture_sql_text(
		f, "SELECT group_concat(t.name || ' ' || c.name, ';') FROM sqlite_schema t, "
		   "pragma_table_info(t.name) c WHERE t.type IN ('table', 'view') "
		   "AND t.name NOT LIKE 'sqlite%'");
	for (char *save = NULL, *at = strtok_r(columns, ";", &save); at != NULL;
	     at = strtok_r(NULL, ";", &save)) {
		char table[64], column[64];

		assert_int_equal(sscanf(at, "%63s %63s", table, column), 2);
		if (!document_has(document, table, column))
			fail_msg("SCHEMA.md does not explain %s.%s", table, column);
		n++;
	}
	assert_true(n > 150);
	assert_false(document_has(document, "links", "nothing"));
}

/* ---- meta */

static void facts_of_the_node_are_kept(void **state)
{
	struct fixture *f = *state;
	_cleanup_store_tx_ struct store_tx tx = {};
	struct store_meta meta;
	char long_id[200];

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_meta_set_node_id(&tx, "node-1", &f->err));
	fixture_ok(f, store_meta_set_boot_id(&tx, "52a0c2cc-7bd1-4c0f-9d0e-a1b2c3d4e5f6", &f->err));
	fixture_ok(f, store_meta_set_policy_epoch(&tx, 7, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_close(f);
	fixture_open(f);
	fixture_ok(f, store_meta_get(f->store, &meta, &f->err));
	assert_string_equal(meta.node_id, "node-1");
	assert_string_equal(meta.boot_id, "52a0c2cc-7bd1-4c0f-9d0e-a1b2c3d4e5f6");
	assert_int_equal(meta.policy_epoch, 7);

	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_meta_set_policy_epoch(&tx, 6, &f->err), ERROR_INVALID_ARGUMENT);
	store_tx_done(&tx);
	memset(long_id, 'x', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = '\0';
	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_meta_set_node_id(&tx, long_id, &f->err), ERROR_INVALID_ARGUMENT);
}

static void objects_are_counted(void **state)
{
	struct fixture *f = *state;
	struct store_counts counts;

	fixture_populate(f);
	fixture_ok(f, store_counts_get(f->store, &counts, &f->err));
	assert_int_equal(counts.n_bundles, 1);
	assert_int_equal(counts.n_instances, 1);
	assert_int_equal(counts.n_programs, 2);
	assert_int_equal(counts.n_maps, 1);
	assert_int_equal(counts.n_links, 1);
}

static void the_count_of_instances_follows_commits_and_rollbacks(void **state)
{
	struct fixture *f = *state;
	struct store_instance row = fixture_instance(ID_B, 1);
	struct store_tx tx;

	assert_int_equal(store_n_instances(f->store), 0);
	fixture_populate(f);
	assert_int_equal(store_n_instances(f->store), 1);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_insert(&tx, &row, NULL, 0, &f->err));
	assert_int_equal(store_n_instances(f->store), 2);
	store_tx_done(&tx);
	assert_int_equal(store_n_instances(f->store), 1);
	fixture_close(f);
	fixture_open(f);
	assert_int_equal(store_n_instances(f->store), 1);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	assert_int_equal(store_n_instances(f->store), 0);
}

/* ---- transactions */

static void leaving_a_transaction_rolls_it_back(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *before = NULL, *after = NULL;
	uint64_t revision;

	fixture_populate(f);
	before = fixture_dump(f);
	revision = store_revision(f->store);
	{
		_cleanup_store_tx_ struct store_tx tx = {};

		(void)fixture_begin(f, &tx);
		fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
		assert_true(store_revision(f->store) > revision);
	}
	after = fixture_dump(f);
	assert_string_equal(before, after);
	assert_int_equal(store_revision(f->store), revision);
}

static void a_failed_step_dooms_the_transaction(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *before = NULL, *after = NULL;
	struct store_tx tx;

	fixture_populate(f);
	before = fixture_dump(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_READY, NULL, &f->err));
	fixture_fails(f, store_instance_set_state(&tx, ID_B, INSTANCE_READY, NULL, &f->err),
		      ERROR_NOT_FOUND);
	fixture_fails(f, store_tx_commit(&tx, &f->err), ERROR_STORE_FAILED);
	after = fixture_dump(f);
	assert_string_equal(before, after);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_READY, NULL, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void there_is_one_transaction_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct store_tx tx, second;

	(void)fixture_begin(f, &tx);
	fixture_fails(f, store_tx_begin(f->store, STORE_TX_GROW, &second, &f->err),
		      ERROR_STORE_FAILED);
	store_tx_done(&second);
	fixture_ok(f, store_meta_set_node_id(&tx, "n", &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_fails(f, store_tx_commit(&tx, &f->err), ERROR_STORE_FAILED);
	store_tx_done(&tx);
}

static void reading_inside_a_transaction_sees_its_writes(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_instance *row = NULL;
	_cleanup_store_tx_ struct store_tx tx = {};

	fixture_populate(f);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_FAILED, "why", &f->err));
	fixture_ok(f, store_instance_get(f->store, ID_A, &row, &f->err));
	assert_int_equal(row->state, INSTANCE_FAILED);
	assert_string_equal(row->reason, "why");
}

static void state_of_a(struct fixture *f, const char *reason)
{
	_cleanup_free_ struct store_instance *row = NULL;

	fixture_ok(f, store_instance_get(f->store, ID_A, &row, &f->err));
	assert_string_equal(row->reason, reason);
}

static void a_snapshot_shows_one_state_until_it_ends_or_we_write(void **state)
{
	struct fixture *f = *state;
	struct store_tx tx;

	fixture_populate(f);
	store_snapshot_begin(f->store);
	store_snapshot_begin(f->store);
	state_of_a(f, "");
	fixture_sql(f, "UPDATE instances SET reason = 'one'");
	state_of_a(f, "");
	store_snapshot_end(f->store);
	store_snapshot_end(f->store);
	state_of_a(f, "one");
	store_snapshot_begin(f->store);
	state_of_a(f, "one");
	fixture_sql(f, "UPDATE instances SET reason = 'two'");
	(void)fixture_begin(f, &tx);
	store_snapshot_begin(f->store);
	state_of_a(f, "two");
	fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_FAILED, "three", &f->err));
	store_snapshot_end(f->store);
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	state_of_a(f, "three");
}

static void a_writer_beside_us_is_an_error_and_not_a_hang(void **state)
{
	struct fixture *f = *state;
	struct store_tx tx;
	char command[256];
	FILE *tool;

	if (system("command -v sqlite3 >/dev/null") != 0)
		skip();
	(void)snprintf(command, sizeof(command), "sqlite3 %s", f->path);
	tool = popen(command, "we");
	assert_non_null(tool);
	assert_true(fprintf(tool, "BEGIN IMMEDIATE;\n.system touch %s/held\n", f->folder) > 0);
	assert_int_equal(fflush(tool), 0);
	(void)snprintf(command, sizeof(command), "%s/held", f->folder);
	for (int i = 0; i < 500 && access(command, F_OK) != 0; i++)
		(void)usleep(10000);
	assert_return_code(unlink(command), 0);
	fixture_fails(f, store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err), ERROR_STORE_FAILED);
	assert_int_equal(pclose(tool), 0);
	(void)fixture_begin(f, &tx);
	store_tx_done(&tx);
}

/* ---- changes */

static void every_change_has_a_revision_of_its_own(void **state)
{
	static const struct {
		uint32_t kind;
		const char *name;
	} expected[] = {
		{ STORE_OBJECT_BUNDLE, "bundles/lb@1.0.0" },
		{ STORE_OBJECT_INSTANCE, "instances/" ID_A },
		{ STORE_OBJECT_BUNDLE, "bundles/lb@1.0.0" },
		{ STORE_OBJECT_PROGRAM, "instances/" ID_A "/programs/count" },
		{ STORE_OBJECT_PROGRAM, "instances/" ID_A "/programs/drop" },
		{ STORE_OBJECT_MAP, "instances/" ID_A "/maps/stats" },
		{ STORE_OBJECT_LINK, "links/" LINK_A },
		{ STORE_OBJECT_PROGRAM, "instances/" ID_A "/programs/count" },
		{ STORE_OBJECT_INSTANCE, "instances/" ID_A },
	};
	struct fixture *f = *state;
	_cleanup_free_ struct store_change *rows = NULL;
	size_t n;

	fixture_populate(f);
	fixture_ok(f, store_change_list(f->store, 0, 100, &rows, &n, &f->err));
	assert_int_equal(n, ARRAY_SIZE(expected));
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].revision, i + 1);
		assert_int_equal(rows[i].kind, expected[i].kind);
		assert_string_equal(rows[i].name, expected[i].name);
		assert_false(rows[i].deleted);
	}
	assert_int_equal(store_revision(f->store), n);
}

static void an_unload_tells_of_everything_that_goes(void **state)
{
	static const char *const expected[] = {
		"links/" LINK_A,
		"instances/" ID_A "/maps/stats",
		"instances/" ID_A "/programs/count",
		"instances/" ID_A "/programs/drop",
		"instances/" ID_A,
	};
	struct fixture *f = *state;
	_cleanup_free_ struct store_change *rows = NULL;
	struct store_tx tx;
	uint64_t since;
	size_t n;

	fixture_populate(f);
	since = store_revision(f->store);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	fixture_ok(f, store_change_list(f->store, since, 100, &rows, &n, &f->err));
	assert_int_equal(n, ARRAY_SIZE(expected) + 1);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_true(rows[i].deleted);
		assert_string_equal(rows[i].name, expected[i]);
	}
	assert_string_equal(rows[5].name, "bundles/lb@1.0.0");
	assert_false(rows[5].deleted);
}

static void set_state_often(struct fixture *f, int n)
{
	struct store_tx tx;

	(void)fixture_begin(f, &tx);
	for (int i = 0; i < n; i++)
		fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_READY, "", &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void a_watcher_pages_through_changes_and_misses_none(void **state)
{
	struct fixture *f = *state;
	uint64_t since = 0;
	size_t n;

	fixture_populate(f);
	set_state_often(f, 500);
	do {
		_cleanup_free_ struct store_change *rows = NULL;

		fixture_ok(f, store_change_list(f->store, since, 7, &rows, &n, &f->err));
		for (size_t i = 0; i < n; i++)
			assert_int_equal(rows[i].revision, ++since);
	} while (n > 0);
	assert_int_equal(since, store_revision(f->store));
}

static void a_revision_no_longer_kept_is_expired(void **state)
{
	struct fixture *f = *state;
	struct store_change *rows = NULL;
	uint64_t now;
	size_t n;

	fixture_close(f);
	f->options.changes_kept = 50;
	fixture_open(f);
	fixture_populate(f);
	for (int i = 0; i < 10; i++)
		set_state_often(f, 100);
	now = store_revision(f->store);
	fixture_fails(f, store_change_list(f->store, 1, 10, &rows, &n, &f->err),
		      ERROR_WATCH_EXPIRED);
	fixture_fails(f, store_change_list(f->store, now + 1, 10, &rows, &n, &f->err),
		      ERROR_WATCH_EXPIRED);
	fixture_ok(f, store_change_list(f->store, now - 50, 100, &rows, &n, &f->err));
	assert_int_equal(n, 50);
	free(TAKE_PTR(rows));
	fixture_ok(f, store_change_list(f->store, now, 100, &rows, &n, &f->err));
	assert_int_equal(n, 0);
	assert_null(rows);
	fixture_close(f);
	fixture_open(f);
	fixture_fails(f, store_change_list(f->store, 1, 10, &rows, &n, &f->err),
		      ERROR_WATCH_EXPIRED);
}

static void a_checkpoint_brings_the_log_back(void **state)
{
	struct fixture *f = *state;

	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ char *contents = calloc(1, 1 << 20);
	size_t n;

	fixture_populate(f);
	fixture_ok(f, store_checkpoint(f->store, &f->err));
	/* The main file alone now holds the row. */
	file = fopen(f->path, "re");
	assert_non_null(file);
	assert_non_null(contents);
	n = fread(contents, 1, 1 << 20, file);
	for (size_t at = 0;; at = at + 4096) {
		assert_true(at + 4096 <= n);
		if (memmem(contents + at, 4096, LINK_A, STORE_ID_LEN) != NULL)
			break;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_new_store_is_made_for_its_owner_alone),
		TEST(a_mode_that_somebody_widened_is_put_back),
		TEST(the_database_is_durable_and_strict),
		TEST(what_was_committed_is_there_after_reopening),
		TEST(a_newer_schema_is_refused),
		TEST(a_database_of_somebody_else_is_refused_and_not_touched),
		TEST(a_file_that_is_no_database_is_corrupt),
		TEST(a_damaged_table_of_state_is_found_at_open),
		TEST(a_symbolic_link_is_not_followed),
		TEST(a_folder_that_is_missing_is_an_error),
		TEST(the_document_explains_every_column),
		TEST(facts_of_the_node_are_kept),
		TEST(objects_are_counted),
		TEST(the_count_of_instances_follows_commits_and_rollbacks),
		TEST(leaving_a_transaction_rolls_it_back),
		TEST(a_failed_step_dooms_the_transaction),
		TEST(there_is_one_transaction_at_a_time),
		TEST(reading_inside_a_transaction_sees_its_writes),
		TEST(a_snapshot_shows_one_state_until_it_ends_or_we_write),
		TEST(a_writer_beside_us_is_an_error_and_not_a_hang),
		TEST(every_change_has_a_revision_of_its_own),
		TEST(an_unload_tells_of_everything_that_goes),
		TEST(a_watcher_pages_through_changes_and_misses_none),
		TEST(a_revision_no_longer_kept_is_expired),
		TEST(a_checkpoint_brings_the_log_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
