#include <stdarg.h>

#include "store/internal.h"

/* Old changes go by the hundreds, not one at a time. */
#define CHANGES_TRIM_STEP 256

static const struct field change_fields[] = {
	FIELD(U64, store_change, revision), FIELD(U32, store_change, kind),
	FIELD(BOOL, store_change, deleted), FIELD(TEXT, store_change, name),
	FIELD(U64, store_change, at_ns),
};
static const struct row_type change_type =
	ROW_TYPE(store_change, change_fields, ARRAY_SIZE(change_fields));

static int change_trim(struct store *store, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t kept = store->options.changes_kept;
	int r;

	if (store->now.revision < store->now.changes_base + kept + CHANGES_TRIM_STEP)
		return 0;
	query_start(&q, store, SQL_CHANGE_TRIM);
	query_u64(&q, store->now.revision - kept);
	r = query_run(&q, NULL, "dropping old changes", NULL, err);
	if (r == 0)
		store->now.changes_base = store->now.revision - kept;
	return r;
}

int change_append(struct store_tx *tx, enum store_object_kind kind, bool deleted,
		  uint64_t *ret_revision, struct error *err, const char *name_format, ...)
{
	_cleanup_query_ struct query q = {};
	struct store *store = tx->store;
	struct store_change change = { .kind = kind, .deleted = deleted };
	char name[256];
	va_list args;
	int n, r;

	va_start(args, name_format);
	n = vsnprintf(name, sizeof(name), name_format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(name))
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a resource name of %d characters",
				   n);
	change.revision = store->now.revision + 1;
	change.name = name;
	change.at_ns = store->tx_at_ns;
	query_start(&q, store, SQL_CHANGE_INSERT);
	query_row(&q, &change_type, &change);
	r = query_run(&q, NULL, "appending a change", NULL, err);
	if (r < 0)
		return r;
	store->now.revision = change.revision;
	*ret_revision = change.revision;
	return change_trim(store, err);
}

int change_instance(struct store_tx *tx, const char *id, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = change_append(tx, STORE_OBJECT_INSTANCE, false, &revision, err, "instances/%s", id);
	if (r < 0)
		return r;
	query_start(&q, tx->store, SQL_INSTANCE_TOUCH);
	query_u64(&q, revision);
	query_text(&q, id);
	return query_run(&q, NULL, "counting a change of an instance", NULL, err);
}

int change_program(struct store_tx *tx, const char *instance, const char *name, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = change_append(tx, STORE_OBJECT_PROGRAM, false, &revision, err,
			  "instances/%s/programs/%s", instance, name);
	if (r < 0)
		return r;
	query_start(&q, tx->store, SQL_PROGRAM_TOUCH);
	query_u64(&q, revision);
	query_text(&q, instance);
	query_text(&q, name);
	return query_run(&q, NULL, "counting a change of a program", NULL, err);
}

int change_bundle(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
		  struct error *err)
{
	_cleanup_query_ struct query name = {};
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	/* Not store_bundle_get_digest(): that counts instances. */
	query_start(&name, tx->store, SQL_BUNDLE_NAME);
	query_bytes(&name, digest, STORE_DIGEST_LEN);
	r = query_step(&name, err);
	if (r == 0)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle of that digest");
	if (r > 0)
		r = change_append(tx, STORE_OBJECT_BUNDLE, false, &revision, err,
				  "bundles/%s@%u.%u.%u", sqlite3_column_text(name.stmt, 0),
				  (unsigned int)sqlite3_column_int64(name.stmt, 1),
				  (unsigned int)sqlite3_column_int64(name.stmt, 2),
				  (unsigned int)sqlite3_column_int64(name.stmt, 3));
	if (r < 0)
		return r;
	query_start(&q, tx->store, SQL_BUNDLE_TOUCH);
	query_u64(&q, revision);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	return query_run(&q, NULL, "counting a change of a bundle", NULL, err);
}

uint64_t store_revision(const struct store *store)
{
	return store->now.revision;
}

int store_change_list(struct store *store, uint64_t since_revision, size_t limit,
		      struct store_change **ret_rows, size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	if (since_revision < store->now.changes_base || since_revision > store->now.revision)
		return error_raise(err, ERROR_WATCH_EXPIRED,
				   "changes after revision %llu are not kept (kept: %llu to %llu)",
				   (unsigned long long)since_revision,
				   (unsigned long long)store->now.changes_base,
				   (unsigned long long)store->now.revision);
	query_start(&q, store, SQL_CHANGE_LIST);
	query_u64(&q, since_revision);
	query_u64(&q, limit);
	r = query_rows(&q, &change_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
