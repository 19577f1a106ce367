#include "store/internal.h"

#define FIELD_AT(row, field) ((char *)(row) + (field)->offset)

static bool field_present(const struct field *field, const void *row)
{
	return *(const bool *)((const char *)row + field->present);
}

static void query_field(struct query *q, const struct field *field, const void *row)
{
	const void *at = (const char *)row + field->offset;
	const struct store_bytes *bytes;

	switch (field->type) {
	case FIELD_TEXT:
		query_text(q, *(const char *const *)at);
		break;
	case FIELD_BYTES:
		bytes = at;
		query_bytes(q, bytes->data, bytes->size);
		break;
	case FIELD_U32:
		query_u64(q, *(const uint32_t *)at);
		break;
	case FIELD_U64:
		query_u64(q, *(const uint64_t *)at);
		break;
	case FIELD_BOOL:
		query_u64(q, *(const bool *)at);
		break;
	case FIELD_FIXED_OR:
		if (!field_present(field, row)) {
			q->n_bound++;
			break;
		}
		query_bytes(q, at, field->size);
		break;
	case FIELD_FIXED:
		query_bytes(q, at, field->size);
		break;
	case FIELD_VERSION_OR:
		if (!field_present(field, row)) {
			q->n_bound += 3;
			break;
		}
		query_version(q, at);
		break;
	case FIELD_VERSION:
		query_version(q, at);
		break;
	}
}

void query_row(struct query *q, const struct row_type *type, const void *row)
{
	for (size_t i = 0; i < type->n_written; i++)
		query_field(q, &type->fields[i], row);
}

/* Reads one field from column *c on; false if the column cannot be its value. */
static bool field_read(sqlite3_stmt *stmt, int *c, const struct field *field, void *row)
{
	void *at = FIELD_AT(row, field);
	struct store_bytes *bytes;
	const void *blob;

	switch (field->type) {
	case FIELD_TEXT:
		*(const char **)at = (const char *)sqlite3_column_text(stmt, (*c)++);
		return *(const char **)at != NULL;
	case FIELD_BYTES:
		bytes = at;
		bytes->data = sqlite3_column_blob(stmt, *c);
		bytes->size = (size_t)sqlite3_column_bytes(stmt, (*c)++);
		return bytes->data != NULL || bytes->size == 0;
	case FIELD_U32:
		*(uint32_t *)at = (uint32_t)sqlite3_column_int64(stmt, (*c)++);
		return true;
	case FIELD_U64:
		*(uint64_t *)at = (uint64_t)sqlite3_column_int64(stmt, (*c)++);
		return true;
	case FIELD_BOOL:
		*(bool *)at = sqlite3_column_int64(stmt, (*c)++) != 0;
		return true;
	case FIELD_FIXED:
	case FIELD_FIXED_OR:
		blob = sqlite3_column_blob(stmt, *c);
		if (field->type == FIELD_FIXED_OR) {
			*(bool *)((char *)row + field->present) = blob != NULL;
			if (blob == NULL)
				return ++*c > 0;
		}
		if (blob == NULL || sqlite3_column_bytes(stmt, (*c)++) != field->size)
			return false;
		memcpy(at, blob, field->size);
		return true;
	case FIELD_VERSION:
	case FIELD_VERSION_OR:
		if (field->type == FIELD_VERSION_OR)
			*(bool *)((char *)row + field->present) =
				sqlite3_column_type(stmt, *c) != SQLITE_NULL;
		for (int i = 0; i < 3; i++)
			((uint32_t *)at)[i] = (uint32_t)sqlite3_column_int64(stmt, (*c)++);
		return true;
	}
	return false;
}

int query_borrow(struct query *q, const struct row_type *type, void *row, struct error *err)
{
	int c = 0;

	for (size_t i = 0; i < type->n_fields; i++) {
		if (field_read(q->stmt, &c, &type->fields[i], row))
			continue;
		if (sqlite3_errcode(q->store->db) == SQLITE_NOMEM)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "row of the state database");
		return error_raise(err, ERROR_STORE_CORRUPT,
				   "state database '%s': column %d of '%s' is not what it must be",
				   q->store->path, c, sqlite3_sql(q->stmt));
	}
	return 0;
}

/* Rows being collected: their texts in `texts`, pointers to them as offsets until the end. */
struct collector {
	struct str rows;
	struct str texts;
	size_t n;
};

static void collector_done(struct collector *c)
{
	str_done(&c->rows);
	str_done(&c->texts);
}

static void collector_keep(struct collector *c, const void **ptr, const void *bytes, size_t n)
{
	uintptr_t offset = c->texts.len;

	(void)str_append_bytes(&c->texts, bytes, n);
	(void)str_append_bytes(&c->texts, "", 1);
	*ptr = (const void *)offset;
}

static int collector_add(struct collector *c, struct query *q, const struct row_type *type,
			 void *row, struct error *err)
{
	int r;

	memset(row, 0, type->size);
	r = query_borrow(q, type, row, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < type->n_fields; i++) {
		const struct field *field = &type->fields[i];
		const void **ptr = (const void **)FIELD_AT(row, field);

		if (field->type == FIELD_TEXT)
			collector_keep(c, ptr, *ptr, strlen(*ptr));
		else if (field->type == FIELD_BYTES)
			collector_keep(c, ptr, *ptr, ((struct store_bytes *)(void *)ptr)->size);
	}
	(void)str_append_bytes(&c->rows, row, type->size);
	if (c->rows.failed || c->texts.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "rows of the state database");
	c->n++;
	return 0;
}

/* One block: the rows, then their texts. */
static void *collector_take(struct collector *c, const struct row_type *type)
{
	size_t rows_size = c->n * type->size;
	char *block = malloc(rows_size + c->texts.len + 1);

	if (block == NULL)
		return NULL;
	memcpy(block, c->rows.data, rows_size);
	if (c->texts.len > 0)
		memcpy(block + rows_size, c->texts.data, c->texts.len);
	for (size_t i = 0; i < c->n * type->n_fields; i++) {
		const struct field *field = &type->fields[i % type->n_fields];
		const char **ptr = (const char **)(void *)FIELD_AT(
			block + i / type->n_fields * type->size, field);

		if (field->type == FIELD_TEXT || field->type == FIELD_BYTES)
			*ptr = block + rows_size + (uintptr_t)*ptr;
	}
	return block;
}

int query_rows(struct query *q, const struct row_type *type, void **ret_rows, size_t *ret_n,
	       struct error *err)
{
	_cleanup_(collector_done) struct collector c = {};
	_cleanup_free_ void *row = malloc(type->size);
	void *block = NULL;
	int r;

	if (row == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "row of the state database");
	while ((r = query_step(q, err)) > 0) {
		r = collector_add(&c, q, type, row, err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (c.n > 0) {
		block = collector_take(&c, type);
		if (block == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "rows of the state database");
	}
	*ret_rows = block;
	*ret_n = c.n;
	return 0;
}

int query_one(struct query *q, const struct row_type *type, void **ret, struct error *err)
{
	_cleanup_(collector_done) struct collector c = {};
	_cleanup_free_ void *row = malloc(type->size);
	void *block = NULL;
	int r;

	if (row == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "row of the state database");
	r = query_step(q, err);
	if (r > 0)
		r = collector_add(&c, q, type, row, err);
	if (r < 0)
		return r;
	if (c.n > 0) {
		block = collector_take(&c, type);
		if (block == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "row of the state database");
	}
	*ret = block;
	return 0;
}
