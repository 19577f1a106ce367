#include "store/internal.h"

/* What a system error number or a result code says about the space left. */
static bool sql_no_space(struct store *store, int rc)
{
	int sys;

	if (rc == SQLITE_IOERR_SHMSIZE)
		return true;
	if ((rc & 0xff) != SQLITE_IOERR && (rc & 0xff) != SQLITE_CANTOPEN)
		return (rc & 0xff) == SQLITE_FULL;
	sys = sqlite3_system_errno(store->db);
	return sys == ENOSPC || sys == EDQUOT || sys == EFBIG;
}

int sql_raise(struct store *store, int rc, const char *what, struct error *err)
{
	enum error_code code = ERROR_STORE_FAILED;

	if ((rc & 0xff) == SQLITE_NOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "state database: %s", what);
	if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
		code = ERROR_STORE_CORRUPT;
	else if (sql_no_space(store, rc))
		code = ERROR_STORE_FULL;
	else if ((rc & 0xff) == SQLITE_BUSY)
		return error_raise(err, code, "state database '%s': another process holds it: %s",
				   store->path, what);
	return error_raise(err, code, "state database '%s': %s (%s, code %d)", store->path, what,
			   sqlite3_errstr(rc), rc);
}

static int sql_step(struct store *store, sqlite3_stmt *stmt)
{
	int rc = 0;

	if (store->options.fail_step != NULL)
		rc = store->options.fail_step(store->options.fail_data);
	return rc != SQLITE_OK ? rc : sqlite3_step(stmt);
}

int sql_exec(struct store *store, const char *sql, struct error *err)
{
	sqlite3_stmt *stmt;
	const char *rest = sql;
	int rc = SQLITE_DONE;

	while (rc == SQLITE_DONE && *rest != '\0') {
		rc = sqlite3_prepare_v2(store->db, rest, -1, &stmt, &rest);
		if (rc == SQLITE_OK && stmt == NULL)
			break;
		while (rc == SQLITE_OK || rc == SQLITE_ROW)
			rc = sql_step(store, stmt);
		sqlite3_finalize(stmt);
		stmt = NULL;
	}
	return rc == SQLITE_DONE || rc == SQLITE_OK ? 0 : sql_raise(store, rc, sql, err);
}

int sql_read_int(struct store *store, const char *sql, int64_t *ret, struct error *err)
{
	sqlite3_stmt *stmt = NULL;
	int64_t value = 0;
	int rc;

	rc = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sql_step(store, stmt);
	if (rc == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	if (rc != SQLITE_ROW)
		return sql_raise(store, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, sql, err);
	*ret = value;
	return 0;
}

void sql_rollback(struct store *store)
{
	if (!sqlite3_get_autocommit(store->db))
		(void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
}

static const char *const sql_texts[SQL_N] = {
#define X(name, sql) [SQL_##name] = sql,
#include "store/statements.def"
#undef X
};

void query_start(struct query *q, struct store *store, enum sql_id id)
{
	*q = (struct query){ .store = store };
	if (store->statements[id] == NULL)
		q->rc = sqlite3_prepare_v3(store->db, sql_texts[id], -1, SQLITE_PREPARE_PERSISTENT,
					   &store->statements[id], NULL);
	q->stmt = store->statements[id];
}

void query_done(struct query *q)
{
	if (q->stmt == NULL)
		return;
	(void)sqlite3_reset(q->stmt);
	(void)sqlite3_clear_bindings(q->stmt);
	q->stmt = NULL;
}

static void query_bound(struct query *q, int rc)
{
	if (q->rc == SQLITE_OK)
		q->rc = rc;
}

void query_text(struct query *q, const char *text)
{
	query_text_or_null(q, text != NULL ? text : "");
}

void query_text_or_null(struct query *q, const char *text)
{
	query_bound(q, sqlite3_bind_text(q->stmt, ++q->n_bound, text, -1, SQLITE_STATIC));
}

void query_bytes(struct query *q, const void *bytes, size_t n)
{
	query_bound(q, sqlite3_bind_blob64(q->stmt, ++q->n_bound, n > 0 ? bytes : "", n,
					   SQLITE_STATIC));
}

void query_u64(struct query *q, uint64_t value)
{
	query_bound(q, sqlite3_bind_int64(q->stmt, ++q->n_bound, (sqlite3_int64)value));
}

void query_version(struct query *q, const uint32_t version[static 3])
{
	for (int i = 0; i < 3; i++)
		query_u64(q, version[i]);
}

int query_step(struct query *q, struct error *err)
{
	if (q->rc == SQLITE_OK)
		q->rc = sql_step(q->store, q->stmt);
	if (q->rc == SQLITE_ROW) {
		q->rc = SQLITE_OK;
		return 1;
	}
	if (q->rc == SQLITE_DONE)
		return 0;
	return sql_raise(q->store, q->rc, q->stmt != NULL ? sqlite3_sql(q->stmt) : "prepare", err);
}

static enum error_code query_conflict(const struct conflicts *conflicts, int rc)
{
	if (rc == SQLITE_CONSTRAINT_CHECK)
		return ERROR_INVALID_ARGUMENT;
	if (conflicts == NULL)
		return ERROR_NONE;
	if (rc == SQLITE_CONSTRAINT_PRIMARYKEY)
		return conflicts->key;
	if (rc == SQLITE_CONSTRAINT_UNIQUE)
		return conflicts->unique;
	return rc == SQLITE_CONSTRAINT_FOREIGNKEY ? conflicts->foreign : ERROR_NONE;
}

int query_run(struct query *q, const struct conflicts *conflicts, const char *what, size_t *ret_n,
	      struct error *err)
{
	enum error_code code;
	int r;

	r = query_step(q, NULL);
	if (r < 0) {
		code = query_conflict(conflicts, q->rc);
		if (code != ERROR_NONE)
			return error_raise(err, code, "%s", what);
		return sql_raise(q->store, q->rc, what, err);
	}
	if (ret_n != NULL)
		*ret_n = (size_t)sqlite3_changes64(q->store->db);
	return 0;
}
