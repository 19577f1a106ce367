#include "store/internal.h"

/* Made by the build from schema-1.sql. */
static const char schema_1[] =
#include "schema-1.h"
	;

/* migrations[n] leads from version n to n + 1. A row is never changed once it was released. */
static const char *const migrations[] = { schema_1 };

#define SCHEMA_VERSION ((int64_t)ARRAY_SIZE(migrations))

static int schema_migrate(struct store *store, int64_t version, struct error *err)
{
	char sql[64];
	int r;

	r = sql_exec(store, "BEGIN IMMEDIATE", err);
	for (int64_t v = version; r == 0 && v < SCHEMA_VERSION; v++)
		r = sql_exec(store, migrations[v], err);
	if (r == 0) {
		(void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %lld",
			       (long long)SCHEMA_VERSION);
		r = sql_exec(store, sql, err);
	}
	if (r == 0)
		r = sql_exec(store, "COMMIT", err);
	if (r < 0)
		sql_rollback(store);
	return r;
}

int schema_apply(struct store *store, struct error *err)
{
	int64_t application_id, version, n_tables;
	int r;

	r = sql_read_int(store, "PRAGMA application_id", &application_id, err);
	if (r == 0)
		r = sql_read_int(store, "PRAGMA user_version", &version, err);
	if (r == 0)
		r = sql_read_int(store, "SELECT count(*) FROM sqlite_schema", &n_tables, err);
	if (r < 0)
		return r;
	if (n_tables == 0 && version == 0) {
		r = sql_exec(store, "PRAGMA application_id = " STORE_APPLICATION_ID, err);
		if (r < 0)
			return r;
	} else if (application_id != strtoll(STORE_APPLICATION_ID, NULL, 0)) {
		return error_raise(err, ERROR_STORE_CORRUPT,
				   "'%s' is a database, but not one of bpfleet", store->path);
	}
	if (version > SCHEMA_VERSION)
		return error_raise(err, ERROR_STORE_TOO_NEW,
				   "'%s' has schema version %lld, this bpfleet knows up to %lld",
				   store->path, (long long)version, (long long)SCHEMA_VERSION);
	if (version < 0)
		return error_raise(err, ERROR_STORE_CORRUPT, "'%s' has schema version %lld",
				   store->path, (long long)version);
	return version == SCHEMA_VERSION ? 0 : schema_migrate(store, version, err);
}
