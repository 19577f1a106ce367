#include "store/fixture.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

const uint8_t fixture_bytes[5000] = { 1, 2, 3, [4096] = 77, [4999] = 99 };

void fixture_hash(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN])
{
	assert_return_code(crypto_generichash(out, STORE_HASH_LEN, bytes, n, NULL, 0), 0);
}

void fixture_init(struct fixture *f)
{
	*f = (struct fixture){ .folder = "/tmp/bpfleet-store-XXXXXX" };
	assert_non_null(mkdtemp(f->folder));
	(void)snprintf(f->path, sizeof(f->path), "%s/state.db", f->folder);
	f->options = (struct store_options){
		.path = f->path,
		.hash = fixture_hash,
		.now_ns = T0,
		.reserve_bytes = 1 << 20,
	};
}

void fixture_done(struct fixture *f)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	char path[128];

	fixture_close(f);
	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
		(void)unlink(path);
	}
	assert_return_code(rmdir(f->folder), 0);
}

void fixture_open(struct fixture *f)
{
	fixture_ok(f, store_open(&f->options, &f->store, &f->err));
}

void fixture_close(struct fixture *f)
{
	store_close(TAKE_PTR(f->store));
}

int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fixture_init(f);
	fixture_open(f);
	*state = f;
	return 0;
}

int fixture_teardown(void **state)
{
	fixture_done(*state);
	free(*state);
	return 0;
}

static sqlite3 *fixture_connect(const struct fixture *f)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	(void)sqlite3_busy_timeout(db, 5000);
	return db;
}

static void dump_table(sqlite3 *db, const char *table, struct str *out)
{
	sqlite3_stmt *stmt = NULL;
	char sql[128];

	(void)snprintf(sql, sizeof(sql), "SELECT * FROM %s", table);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	(void)str_appendf(out, "%s\n", table);
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(stmt); i++) {
			const void *blob = sqlite3_column_blob(stmt, i);

			(void)str_append(out, " |");
			(void)str_append_escaped(out, blob != NULL ? blob : "",
						 (size_t)sqlite3_column_bytes(stmt, i));
		}
		(void)str_append(out, "\n");
	}
	(void)sqlite3_finalize(stmt);
}

char *fixture_dump(const struct fixture *f)
{
	sqlite3 *db = fixture_connect(f);
	sqlite3_stmt *stmt = NULL;
	struct str out = {};

	assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db,
					    "SELECT name FROM sqlite_schema WHERE type = 'table' "
					    "AND name NOT LIKE 'sqlite%' ORDER BY name",
					    -1, &stmt, NULL),
			 SQLITE_OK);
	while (sqlite3_step(stmt) == SQLITE_ROW)
		dump_table(db, (const char *)sqlite3_column_text(stmt, 0), &out);
	(void)sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return str_take(&out);
}

void fixture_sql(const struct fixture *f, const char *sql)
{
	sqlite3 *db = fixture_connect(f);
	char *message = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

char *fixture_sql_text(const struct fixture *f, const char *sql)
{
	sqlite3 *db = fixture_connect(f);
	sqlite3_stmt *stmt = NULL;
	char *text = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	if (sqlite3_step(stmt) == SQLITE_ROW && sqlite3_column_text(stmt, 0) != NULL)
		text = strdup((const char *)sqlite3_column_text(stmt, 0));
	(void)sqlite3_finalize(stmt);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return text;
}

void fixture_ok(struct fixture *f, int r)
{
	if (r < 0)
		fail_msg("%d: %s", r, f->err.message);
	assert_int_equal(r, 0);
}

void fixture_fails(struct fixture *f, int r, enum error_code code)
{
	if (r >= 0)
		fail_msg("it succeeds, %s was expected", error_info(code)->reason);
	if (f->err.code != code)
		fail_msg("%s instead of %s: %s", error_info(f->err.code)->reason,
			 error_info(code)->reason, f->err.message);
	assert_int_equal(r, -error_info(code)->sys_errno);
	assert_true(strlen(f->err.message) > 0);
	f->err = (struct error){};
}

struct store_tx *fixture_begin(struct fixture *f, struct store_tx *tx)
{
	fixture_ok(f, store_tx_begin(f->store, STORE_TX_GROW, tx, &f->err));
	return tx;
}

struct store_bundle fixture_bundle(uint32_t major)
{
	struct store_bundle row = {
		.name = "lb",
		.version = { major, 0, 0 },
		.size_bytes = sizeof(fixture_bytes),
		.description = "a load balancer",
		.expires_at_ns = T0 + 5,
		.pushed_at_ns = T0,
		.pushed_by = "uid:1000",
	};

	memset(row.digest, (int)major, sizeof(row.digest));
	return row;
}

struct store_instance fixture_instance(const char *id, uint32_t major)
{
	struct store_instance row = {
		.id = id,
		.owner = "uid:1000",
		.durability = 1,
		.state = INSTANCE_LOADING,
		.created_at_ns = T0 + 1,
		.boot_id = "b-1",
	};

	memset(row.digest, (int)major, sizeof(row.digest));
	return row;
}

struct store_program fixture_program(const char *instance, const char *name, uint32_t ordinal)
{
	return (struct store_program){
		.instance = instance,
		.name = name,
		.ordinal = ordinal,
		.object = "main",
		.type = "xdp",
		.kernel_id = 40 + ordinal,
		.tag = { 1, 2, 3, 4, 5, 6, 7, 8 },
		.verified_insns = 123,
		.spec = { "spec\0p", 6 },
		.verifier = { "fig\0", 4 },
	};
}

struct store_map fixture_map(const char *instance, const char *name, uint32_t ordinal)
{
	return (struct store_map){
		.instance = instance,
		.name = name,
		.ordinal = ordinal,
		.object = "main",
		.type = "hash",
		.key_size = 4,
		.value_size = 8,
		.max_entries = 1024,
		.flags = 1,
		.access = 3,
		.contents = 2,
		.kernel_id = 60 + ordinal,
		.frozen = true,
		.key_type_id = 5,
		.value_type_id = 6,
		.event_type_id = 7,
		.spec = { "map", 3 },
	};
}

struct store_link fixture_link(const char *id, const char *instance, const char *program)
{
	return (struct store_link){
		.id = id,
		.instance = instance,
		.program = program,
		.hook_kind = "xdp",
		.hook = "xdp:eth0",
		.target = { "eth0", 4 },
		.spec = { "\x01\x00\x02", 3 },
		.places = { "\x00\x07", 2 },
		.state = LINK_ATTACHED,
		.kernel_id = 81,
		.attached_at_ns = T0 + 2,
		.resolved_offset = 0x4010,
		.resolved_dev = 2049,
		.resolved_inode = UINT64_C(0xfedcba9876543210),
	};
}

void fixture_populate(struct fixture *f)
{
	static const struct store_signature signature = {
		.minisig = { "untrusted comment: x\n", 21 },
		.key_id = "0011223344556677",
		.signer = "release",
		.trusted_comment = "lb 1.0.0",
	};
	static const struct store_parameter parameter = { "port", "8080" };
	struct store_bundle bundle = fixture_bundle(1);
	struct store_instance instance = fixture_instance(ID_A, 1);
	struct store_program count = fixture_program(ID_A, "count", 0);
	struct store_program drop = fixture_program(ID_A, "drop", 1);
	struct store_map map = fixture_map(ID_A, "stats", 0);
	struct store_link link = fixture_link(LINK_A, ID_A, "count");
	struct store_tx tx;

	instance.label = "edge";
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_bundle_insert(&tx, &bundle, &signature, 1, fixture_bytes, &f->err));
	fixture_ok(f, store_instance_insert(&tx, &instance, &parameter, 1, &f->err));
	fixture_ok(f, store_program_put(&tx, &count, &f->err));
	fixture_ok(f, store_program_put(&tx, &drop, &f->err));
	fixture_ok(f, store_map_put(&tx, &map, &f->err));
	fixture_ok(f, store_link_insert(&tx, &link, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}
