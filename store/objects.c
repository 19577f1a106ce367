/* Programs, maps and the entries of durable maps. */
#include "store/internal.h"

static const struct field program_fields[] = {
	FIELD(TEXT, store_program, instance),	    FIELD(TEXT, store_program, name),
	FIELD(U32, store_program, ordinal),	    FIELD(TEXT, store_program, object),
	FIELD(TEXT, store_program, type),	    FIELD(U32, store_program, kernel_id),
	FIELD(FIXED, store_program, tag),	    FIELD(U32, store_program, verified_insns),
	FIELD(TEXT, store_program, skipped_reason), FIELD(BYTES, store_program, spec),
	FIELD(BYTES, store_program, verifier),	    FIELD(U32, store_program, n_links),
	FIELD(U64, store_program, revision),
};
static const struct row_type program_type = ROW_TYPE(store_program, program_fields, 11);

static const struct field map_fields[] = {
	FIELD(TEXT, store_map, instance),     FIELD(TEXT, store_map, name),
	FIELD(U32, store_map, ordinal),	      FIELD(TEXT, store_map, object),
	FIELD(TEXT, store_map, type),	      FIELD(U32, store_map, key_size),
	FIELD(U32, store_map, value_size),    FIELD(U32, store_map, max_entries),
	FIELD(U32, store_map, flags),	      FIELD(U32, store_map, access),
	FIELD(U32, store_map, contents),      FIELD(U32, store_map, kernel_id),
	FIELD(BOOL, store_map, frozen),	      FIELD(U32, store_map, key_type_id),
	FIELD(U32, store_map, value_type_id), FIELD(U32, store_map, event_type_id),
	FIELD(BYTES, store_map, spec),	      FIELD(U64, store_map, revision),
};
static const struct row_type map_type = ROW_TYPE(store_map, map_fields, 17);

static const struct field entry_fields[] = {
	FIELD(BYTES, store_entry, key),
	FIELD(BYTES, store_entry, value),
};
static const struct row_type entry_type = ROW_TYPE(store_entry, entry_fields, 2);

/* Both kinds of object are the same but for their row type, statements and resource name. */
struct object_kind {
	enum store_object_kind kind;
	const char *word; /* as in the resource name, without its plural s */
	const struct row_type *type;
	enum sql_id put, get, list, list_instance;
};

static const struct object_kind program_kind = {
	STORE_OBJECT_PROGRAM,	   "program",	    &program_type,
	SQL_PROGRAM_PUT,	   SQL_PROGRAM_GET, SQL_PROGRAM_LIST,
	SQL_PROGRAM_LIST_INSTANCE,
};
static const struct object_kind map_kind = {
	STORE_OBJECT_MAP,      "map", &map_type, SQL_MAP_PUT, SQL_MAP_GET, SQL_MAP_LIST,
	SQL_MAP_LIST_INSTANCE,
};

static const struct object_kind previous_program_kind = {
	.type = &program_type,
	.list_instance = SQL_PREVIOUS_PROGRAM_LIST,
};
static const struct object_kind previous_map_kind = {
	.type = &map_type,
	.list_instance = SQL_PREVIOUS_MAP_LIST,
};

static int object_put(struct store_tx *tx, const struct object_kind *kind, const void *row,
		      const char *instance, const char *name, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = change_append(tx, kind->kind, false, &revision, err, "instances/%s/%ss/%s", instance,
			  kind->word, name);
	if (r == 0) {
		query_start(&q, tx->store, kind->put);
		query_row(&q, kind->type, row);
		query_u64(&q, revision);
		r = query_run(&q,
			      &(struct conflicts){ .foreign = ERROR_NOT_FOUND,
						   .unique = ERROR_INVALID_ARGUMENT },
			      "no such instance, or an ordinal that is taken", NULL, err);
	}
	return tx_result(tx, r);
}

static int object_get(struct store *store, const struct object_kind *kind, const char *instance,
		      const char *name, void **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, kind->get);
	query_text(&q, instance);
	query_text(&q, name);
	r = query_one(&q, kind->type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "instance '%s' has no %s '%s'", instance,
				   kind->word, name);
	*ret = row;
	return 0;
}

static int object_list(struct store *store, const struct object_kind *kind, const char *instance,
		       const struct store_position *after, size_t limit, void **ret_rows,
		       size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, instance != NULL ? kind->list_instance : kind->list);
	query_text(&q, instance != NULL ? instance : after != NULL ? after->instance : "");
	query_u64(&q, after != NULL ? after->ordinal : UINT64_MAX);
	query_u64(&q, limit);
	return query_rows(&q, kind->type, ret_rows, ret_n, err);
}

int store_program_put(struct store_tx *tx, const struct store_program *row, struct error *err)
{
	return object_put(tx, &program_kind, row, row->instance, row->name, err);
}

int store_program_get(struct store *store, const char *instance, const char *name,
		      struct store_program **ret, struct error *err)
{
	void *row = NULL;
	int r = object_get(store, &program_kind, instance, name, &row, err);

	if (r == 0)
		*ret = row;
	return r;
}

int store_program_of_kernel(struct store *store, uint32_t kernel_id, struct store_program **ret,
			    struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_PROGRAM_OF_KERNEL);
	query_u64(&q, kernel_id);
	r = query_one(&q, &program_type, &row, err);
	if (r == 0 && row == NULL)
		r = error_raise(err, ERROR_NOT_FOUND, "no program has kernel id %u", kernel_id);
	if (r == 0)
		*ret = row;
	return r;
}

int store_program_list(struct store *store, const char *instance,
		       const struct store_position *after, size_t limit,
		       struct store_program **ret_rows, size_t *ret_n, struct error *err)
{
	void *rows = NULL;
	int r = object_list(store, &program_kind, instance, after, limit, &rows, ret_n, err);

	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_map_put(struct store_tx *tx, const struct store_map *row, struct error *err)
{
	return object_put(tx, &map_kind, row, row->instance, row->name, err);
}

int store_map_get(struct store *store, const char *instance, const char *name,
		  struct store_map **ret, struct error *err)
{
	void *row = NULL;
	int r = object_get(store, &map_kind, instance, name, &row, err);

	if (r == 0)
		*ret = row;
	return r;
}

int store_map_list(struct store *store, const char *instance, const struct store_position *after,
		   size_t limit, struct store_map **ret_rows, size_t *ret_n, struct error *err)
{
	void *rows = NULL;
	int r = object_list(store, &map_kind, instance, after, limit, &rows, ret_n, err);

	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_previous_program_list(struct store *store, const char *instance, size_t limit,
				struct store_program **ret_rows, size_t *ret_n, struct error *err)
{
	void *rows = NULL;
	int r = object_list(store, &previous_program_kind, instance, NULL, limit, &rows, ret_n,
			    err);

	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_previous_map_list(struct store *store, const char *instance, size_t limit,
			    struct store_map **ret_rows, size_t *ret_n, struct error *err)
{
	void *rows = NULL;
	int r = object_list(store, &previous_map_kind, instance, NULL, limit, &rows, ret_n, err);

	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_entry_put(struct store_tx *tx, const char *instance, const char *map, const void *key,
		    size_t key_size, const void *value, size_t value_size, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_ENTRY_PUT);
	query_text(&q, instance);
	query_text(&q, map);
	query_bytes(&q, key, key_size);
	query_bytes(&q, value, value_size);
	return tx_result(tx, query_run(&q, &(struct conflicts){ .foreign = ERROR_NOT_FOUND },
				       "no such map", NULL, err));
}

int store_entry_delete(struct store_tx *tx, const char *instance, const char *map, const void *key,
		       size_t key_size, bool *ret_deleted, struct error *err)
{
	_cleanup_query_ struct query q = {};
	size_t n = 0;
	int r;

	query_start(&q, tx->store, SQL_ENTRY_DELETE);
	query_text(&q, instance);
	query_text(&q, map);
	query_bytes(&q, key, key_size);
	r = query_run(&q, NULL, "deleting an entry", &n, err);
	if (r == 0 && ret_deleted != NULL)
		*ret_deleted = n > 0;
	return tx_result(tx, r);
}

int store_entry_list(struct store *store, const char *instance, const char *map,
		     const struct store_bytes *after, size_t limit, struct store_entry **ret_rows,
		     size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, after != NULL ? SQL_ENTRY_LIST_AFTER : SQL_ENTRY_LIST);
	query_text(&q, instance);
	query_text(&q, map);
	if (after != NULL)
		query_bytes(&q, after->data, after->size);
	query_u64(&q, limit);
	r = query_rows(&q, &entry_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
