#include "store/bundles.h"

#include "store/internal.h"

#define BLOB_CHUNK (64 << 10)

static const struct field bundle_fields[] = {
	FIELD(TEXT, store_bundle, name),
	FIELD(VERSION, store_bundle, version),
	FIELD(FIXED, store_bundle, digest),
	FIELD(U64, store_bundle, size_bytes),
	FIELD(TEXT, store_bundle, description),
	FIELD(U64, store_bundle, expires_at_ns),
	FIELD(U64, store_bundle, pushed_at_ns),
	FIELD(TEXT, store_bundle, pushed_by),
	FIELD_OR(VERSION_OR, store_bundle, obsoletes_below, has_obsoletes_below),
	FIELD(BYTES, store_bundle, budgets),
	FIELD(U32, store_bundle, n_instances),
	FIELD(U64, store_bundle, revision),
};
static const struct row_type bundle_type = ROW_TYPE(store_bundle, bundle_fields, 10);

static const struct field signature_fields[] = {
	FIELD(BYTES, store_signature, minisig),
	FIELD(TEXT, store_signature, key_id),
	FIELD(TEXT, store_signature, signer),
	FIELD(TEXT, store_signature, trusted_comment),
};
static const struct row_type signature_type = ROW_TYPE(store_signature, signature_fields, 4);

static const struct field btf_fields[] = {
	{ FIELD_BYTES, 0, sizeof(struct store_bytes), 0 },
};
static const struct row_type btf_type = ROW_TYPE(store_bytes, btf_fields, 1);

/* *ret = NULL when there is none; version NULL: the highest. */
static int bundle_find(struct store *store, const char *name, const uint32_t *version,
		       struct store_bundle **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, version != NULL ? SQL_BUNDLE_GET : SQL_BUNDLE_GET_HIGHEST);
	query_text(&q, name);
	if (version != NULL)
		query_version(&q, version);
	r = query_one(&q, &bundle_type, &row, err);
	if (r == 0)
		*ret = row;
	return r;
}

/* Raises if the name and version is there already. */
static int bundle_check_new(struct store *store, const struct store_bundle *row, struct error *err)
{
	_cleanup_free_ struct store_bundle *there = NULL;
	int r;

	r = bundle_find(store, row->name, row->version, &there, err);
	if (r < 0 || there == NULL)
		return r;
	if (memcmp(there->digest, row->digest, STORE_DIGEST_LEN) != 0)
		return error_raise(err, ERROR_BUNDLE_VERSION_TAKEN,
				   "bundle %s@%u.%u.%u is stored with another digest", row->name,
				   row->version[0], row->version[1], row->version[2]);
	return error_raise(err, ERROR_ALREADY_EXISTS, "bundle %s@%u.%u.%u is stored already",
			   row->name, row->version[0], row->version[1], row->version[2]);
}

/* In pieces: SQLite would otherwise hold a second copy of it all. */
static int bundle_write_bytes(struct store *store, int64_t id, const uint8_t *bytes, size_t size,
			      struct error *err)
{
	_cleanup_query_ struct query q = {};
	sqlite3_blob *blob = NULL;
	int r, rc = SQLITE_OK, close_rc;

	query_start(&q, store, SQL_BUNDLE_BYTES_INSERT);
	query_u64(&q, (uint64_t)id);
	query_u64(&q, size);
	r = query_run(&q, NULL, "storing a bundle", NULL, err);
	if (r < 0)
		return r;
	rc = sqlite3_blob_open(store->db, "main", "bundle_bytes", "bytes", id, 1, &blob);
	for (size_t at = 0; rc == SQLITE_OK && at < size; at += BLOB_CHUNK) {
		size_t n = size - at < BLOB_CHUNK ? size - at : BLOB_CHUNK;

		if (store->options.fail_step != NULL)
			rc = store->options.fail_step(store->options.fail_data);
		if (rc == SQLITE_OK)
			rc = sqlite3_blob_write(blob, bytes + at, (int)n, (int)at);
	}
	close_rc = sqlite3_blob_close(blob);
	if (rc == SQLITE_OK)
		rc = close_rc;
	return rc == SQLITE_OK ? 0 : sql_raise(store, rc, "storing a bundle's bytes", err);
}

static int bundle_insert_row(struct store_tx *tx, const struct store_bundle *row, int64_t *ret_id,
			     struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	query_start(&q, tx->store, SQL_BUNDLE_INSERT);
	if (row->size_bytes == 0 || row->size_bytes > STORE_BUNDLE_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a bundle of %llu bytes",
				   (unsigned long long)row->size_bytes);
	r = bundle_check_new(tx->store, row, err);
	if (r == 0)
		r = change_append(tx, STORE_OBJECT_BUNDLE, false, &revision, err,
				  "bundles/%s@%u.%u.%u", row->name, row->version[0],
				  row->version[1], row->version[2]);
	if (r < 0)
		return r;
	query_row(&q, &bundle_type, row);
	query_u64(&q, revision);
	r = query_run(&q, &(struct conflicts){ .unique = ERROR_ALREADY_EXISTS },
		      "a bundle of this digest is stored under another name", NULL, err);
	if (r == 0)
		*ret_id = sqlite3_last_insert_rowid(tx->store->db);
	return r;
}

static int bundle_insert_signature(struct store *store, int64_t id, size_t ordinal,
				   const struct store_signature *signature, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, SQL_SIGNATURE_INSERT);
	query_row(&q, &signature_type, signature);
	query_u64(&q, (uint64_t)id);
	query_u64(&q, ordinal);
	return query_run(&q, NULL, "storing a signature", NULL, err);
}

int store_bundle_insert(struct store_tx *tx, const struct store_bundle *row,
			const struct store_signature *signatures, size_t n_signatures,
			const void *bytes, struct error *err)
{
	int64_t id = 0;
	int r;

	/* Once in the log, once when the log is copied back. */
	r = tx_check_space(tx->store, 2 * row->size_bytes, err);
	if (r == 0)
		r = bundle_insert_row(tx, row, &id, err);
	if (r == 0)
		r = bundle_write_bytes(tx->store, id, bytes, row->size_bytes, err);
	for (size_t i = 0; r == 0 && i < n_signatures; i++)
		r = bundle_insert_signature(tx->store, id, i, &signatures[i], err);
	if (r == 0 && row->has_obsoletes_below)
		r = store_floor_raise(tx, row->name, row->obsoletes_below, err);
	return tx_result(tx, r);
}

int store_bundle_delete(struct store_tx *tx, const char *name, const uint32_t version[static 3],
			struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	size_t n = 0;
	int r;

	query_start(&q, tx->store, SQL_BUNDLE_DELETE);
	query_text(&q, name);
	query_version(&q, version);
	r = query_run(&q, &(struct conflicts){ .foreign = ERROR_BUNDLE_IN_USE },
		      "instances of this bundle are loaded", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_NOT_FOUND, "no bundle %s@%u.%u.%u", name, version[0],
				version[1], version[2]);
	if (r == 0)
		r = change_append(tx, STORE_OBJECT_BUNDLE, true, &revision, err,
				  "bundles/%s@%u.%u.%u", name, version[0], version[1], version[2]);
	return tx_result(tx, r);
}

int store_bundle_get(struct store *store, const char *name, const uint32_t *version,
		     struct store_bundle **ret, struct error *err)
{
	struct store_bundle *row = NULL;
	int r;

	r = bundle_find(store, name, version, &row, err);
	if (r < 0)
		return r;
	if (row == NULL && version != NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle %s@%u.%u.%u", name, version[0],
				   version[1], version[2]);
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle %s", name);
	*ret = row;
	return 0;
}

int store_bundle_get_digest(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
			    struct store_bundle **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_BUNDLE_GET_DIGEST);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	r = query_one(&q, &bundle_type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle of that digest");
	*ret = row;
	return 0;
}

int store_bundle_list(struct store *store, const char *after_name, const uint32_t *after_version,
		      size_t limit, struct store_bundle **ret_rows, size_t *ret_n,
		      struct error *err)
{
	static const uint32_t zero[3] = {};
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, SQL_BUNDLE_LIST);
	query_text(&q, after_name);
	query_version(&q, after_name != NULL && after_version != NULL ? after_version : zero);
	query_u64(&q, limit);
	r = query_rows(&q, &bundle_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

static int bundle_id(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
		     int64_t *ret_id, uint64_t *ret_size, struct error *err)
{
	_cleanup_query_ struct query q = {};
	int r;

	query_start(&q, store, SQL_BUNDLE_ID);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	r = query_step(&q, err);
	if (r == 0)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle of that digest");
	if (r < 0)
		return r;
	*ret_id = sqlite3_column_int64(q.stmt, 0);
	*ret_size = (uint64_t)sqlite3_column_int64(q.stmt, 1);
	return 0;
}

int store_bundle_read(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN], void *out,
		      size_t size_bytes, struct error *err)
{
	sqlite3_blob *blob = NULL;
	uint64_t size = 0;
	int64_t id = 0;
	int r, rc;

	r = bundle_id(store, digest, &id, &size, err);
	if (r < 0)
		return r;
	if (size != size_bytes)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the bundle has %llu bytes, not %zu", (unsigned long long)size,
				   size_bytes);
	rc = sqlite3_blob_open(store->db, "main", "bundle_bytes", "bytes", id, 0, &blob);
	if (rc == SQLITE_OK && (size_t)sqlite3_blob_bytes(blob) != size_bytes)
		rc = SQLITE_CORRUPT;
	if (rc == SQLITE_OK)
		rc = sqlite3_blob_read(blob, out, (int)size_bytes, 0);
	(void)sqlite3_blob_close(blob);
	return rc == SQLITE_OK ? 0 : sql_raise(store, rc, "reading a bundle's bytes", err);
}

int store_signature_add(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
			size_t n_present, const struct store_signature *signatures,
			size_t n_signatures, struct error *err)
{
	uint64_t size = 0;
	int64_t id = 0;
	int r = bundle_id(tx->store, digest, &id, &size, err);

	for (size_t i = 0; r == 0 && i < n_signatures; i++)
		r = bundle_insert_signature(tx->store, id, n_present + i, &signatures[i], err);
	if (r == 0 && n_signatures > 0)
		r = change_bundle(tx, digest, err);
	return tx_result(tx, r);
}

int store_signature_list(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
			 struct store_signature **ret_rows, size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, SQL_SIGNATURE_LIST);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	r = query_rows(&q, &signature_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_btf_put(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
		  const char *object, const void *btf, size_t size_bytes, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t size = 0;
	int64_t id = 0;
	int r;

	query_start(&q, tx->store, SQL_BTF_PUT);
	r = bundle_id(tx->store, digest, &id, &size, err);
	if (r == 0) {
		query_u64(&q, (uint64_t)id);
		query_text(&q, object);
		query_bytes(&q, btf, size_bytes);
		r = query_run(&q, NULL, "storing type information", NULL, err);
	}
	return tx_result(tx, r);
}

int store_btf_get(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
		  const char *object, struct store_bytes **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_BTF_GET);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	query_text(&q, object);
	r = query_one(&q, &btf_type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no type information of object '%s'",
				   object);
	*ret = row;
	return 0;
}

int store_floor_raise(struct store_tx *tx, const char *name, const uint32_t version[static 3],
		      struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_FLOOR_RAISE);
	query_text(&q, name);
	query_version(&q, version);
	return tx_result(tx, query_run(&q, NULL, "raising a version floor", NULL, err));
}

int store_floor_get(struct store *store, const char *name, uint32_t ret_version[static 3],
		    struct error *err)
{
	_cleanup_query_ struct query q = {};
	int r;

	query_start(&q, store, SQL_FLOOR_GET);
	query_text(&q, name);
	r = query_step(&q, err);
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		ret_version[i] = r > 0 ? (uint32_t)sqlite3_column_int64(q.stmt, i) : 0;
	return 0;
}

/* ---- quarantine */

static const struct field quarantine_fields[] = {
	FIELD(FIXED, store_quarantine, digest), FIELD(TEXT, store_quarantine, bundle),
	FIELD(U64, store_quarantine, at_ns),	FIELD(TEXT, store_quarantine, reason),
	FIELD(TEXT, store_quarantine, figures), FIELD(TEXT, store_quarantine, instance),
};
static const struct row_type quarantine_type = ROW_TYPE(store_quarantine, quarantine_fields, 6);

int store_quarantine_put(struct store_tx *tx, const struct store_quarantine *row, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_QUARANTINE_PUT);
	query_row(&q, &quarantine_type, row);
	return tx_result(tx, query_run(&q, NULL, "quarantining a bundle", NULL, err));
}

int store_quarantine_delete(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
			    struct error *err)
{
	_cleanup_query_ struct query q = {};
	size_t n = 0;
	int r;

	query_start(&q, tx->store, SQL_QUARANTINE_DELETE);
	query_bytes(&q, digest, STORE_DIGEST_LEN);
	r = query_run(&q, NULL, "releasing a bundle", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_NOT_FOUND, "that bundle is not quarantined");
	return tx_result(tx, r);
}

int store_quarantine_list(struct store *store, const uint8_t *digest, const uint8_t *after,
			  size_t limit, struct store_quarantine **ret_rows, size_t *ret_n,
			  struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, SQL_QUARANTINE_LIST);
	query_bytes(&q, after, after != NULL ? STORE_DIGEST_LEN : 0);
	query_bytes(&q, digest, digest != NULL ? STORE_DIGEST_LEN : 0);
	query_u64(&q, limit);
	r = query_rows(&q, &quarantine_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
