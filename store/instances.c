#include "store/instances.h"

#include "store/internal.h"

static const struct field instance_fields[] = {
	FIELD(TEXT, store_instance, id),
	FIELD(TEXT, store_instance, label),
	FIELD(TEXT, store_instance, owner),
	FIELD(FIXED, store_instance, digest),
	FIELD(U32, store_instance, durability),
	FIELD(U32, store_instance, state),
	FIELD(TEXT, store_instance, reason),
	FIELD(U64, store_instance, created_at_ns),
	FIELD(U64, store_instance, loaded_at_ns),
	FIELD(TEXT, store_instance, boot_id),
	FIELD(U64, store_instance, lease_ends_at_ns),
	FIELD_OR(FIXED_OR, store_instance, lease_token_hash, has_lease_token),
	FIELD(BYTES, store_instance, budget),
	FIELD(BYTES, store_instance, bundle_budgets),
	FIELD(TEXT, store_instance, bundle_name),
	FIELD(VERSION, store_instance, bundle_version),
	FIELD(U32, store_instance, n_programs),
	FIELD(U32, store_instance, n_links),
	FIELD(U32, store_instance, n_parameters),
	FIELD(U32, store_instance, generation),
	FIELD_OR(FIXED_OR, store_instance, previous_digest, has_previous),
	FIELD(U32, store_instance, previous_generation),
	FIELD(U64, store_instance, soak_ends_at_ns),
	FIELD(TEXT, store_instance, previous_name),
	FIELD(VERSION, store_instance, previous_version),
	FIELD(U64, store_instance, revision),
};
static const struct row_type instance_type = ROW_TYPE(store_instance, instance_fields, 13);

/* The fields that an update writes. */
static const struct field update_fields[] = {
	FIELD(U32, store_instance, state),
	FIELD(TEXT, store_instance, reason),
	FIELD(U64, store_instance, loaded_at_ns),
	FIELD(TEXT, store_instance, boot_id),
	FIELD(U64, store_instance, lease_ends_at_ns),
	FIELD_OR(FIXED_OR, store_instance, lease_token_hash, has_lease_token),
};
static const struct row_type update_type = ROW_TYPE(store_instance, update_fields, 6);

static const struct field parameter_fields[] = {
	FIELD(TEXT, store_parameter, name),
	FIELD(TEXT, store_parameter, value),
};
static const struct row_type parameter_type = ROW_TYPE(store_parameter, parameter_fields, 2);

static int instance_insert_row(struct store_tx *tx, const struct store_instance *row,
			       struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = change_append(tx, STORE_OBJECT_INSTANCE, false, &revision, err, "instances/%s",
			  row->id);
	if (r < 0)
		return r;
	query_start(&q, tx->store, SQL_INSTANCE_INSERT);
	query_row(&q, &instance_type, row);
	query_u64(&q, revision);
	r = query_step(&q, NULL);
	if (r >= 0)
		return 0;
	switch (q.rc) {
	case SQLITE_CONSTRAINT_UNIQUE:
		return error_raise(err, ERROR_LABEL_IN_USE,
				   "'%s' has another instance labelled '%s'", row->owner,
				   row->label);
	case SQLITE_CONSTRAINT_PRIMARYKEY:
		return error_raise(err, ERROR_ALREADY_EXISTS, "instance '%s' exists", row->id);
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return error_raise(err, ERROR_NOT_FOUND, "no bundle of that digest");
	case SQLITE_CONSTRAINT_CHECK:
		return error_raise(err, ERROR_INVALID_ARGUMENT, "instance '%s' has a wrong field",
				   row->id);
	default:
		return sql_raise(tx->store, q.rc, "inserting an instance", err);
	}
}

int parameter_insert(struct store_tx *tx, const char *instance, size_t ordinal,
		     const struct store_parameter *parameter, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_PARAMETER_INSERT);
	query_row(&q, &parameter_type, parameter);
	query_text(&q, instance);
	query_u64(&q, ordinal);
	return query_run(&q, &(struct conflicts){ .unique = ERROR_INVALID_PARAMETER },
			 "a parameter is given twice", NULL, err);
}

int store_instance_insert(struct store_tx *tx, const struct store_instance *row,
			  const struct store_parameter *parameters, size_t n_parameters,
			  struct error *err)
{
	int r;

	r = instance_insert_row(tx, row, err);
	for (size_t i = 0; r == 0 && i < n_parameters; i++)
		r = parameter_insert(tx, row->id, i, &parameters[i], err);
	if (r == 0)
		r = change_bundle(tx, row->digest, err);
	if (r == 0)
		tx->store->now.n_instances++;
	return tx_result(tx, r);
}

int instance_write(struct store_tx *tx, struct query *q, const char *id, struct error *err)
{
	uint64_t revision;
	size_t n = 0;
	int r;

	r = change_append(tx, STORE_OBJECT_INSTANCE, false, &revision, err, "instances/%s", id);
	if (r < 0)
		return r;
	query_u64(q, revision);
	query_text(q, id);
	r = query_run(q, NULL, "writing an instance", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_NOT_FOUND, "no instance '%s'", id);
	return r;
}

int store_instance_update(struct store_tx *tx, const struct store_instance *row, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_INSTANCE_UPDATE);
	query_row(&q, &update_type, row);
	return tx_result(tx, instance_write(tx, &q, row->id, err));
}

int store_instance_set_state(struct store_tx *tx, const char *id, enum instance_state state,
			     const char *reason, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_INSTANCE_SET_STATE);
	query_u64(&q, state);
	query_text(&q, reason);
	return tx_result(tx, instance_write(tx, &q, id, err));
}

/* The changes of everything that goes with an instance. */
static int instance_delete_changes(struct store_tx *tx, const char *id, struct error *err)
{
	_cleanup_free_ struct store_link *links = NULL;
	_cleanup_free_ struct store_map *maps = NULL;
	_cleanup_free_ struct store_program *programs = NULL;
	const struct store_link_filter filter = { .instance = id };
	size_t n_links = 0, n_maps = 0, n_programs = 0;
	uint64_t revision;
	int r;

	r = store_link_list(tx->store, &filter, NULL, INT64_MAX, &links, &n_links, err);
	if (r == 0)
		r = store_map_list(tx->store, id, NULL, INT64_MAX, &maps, &n_maps, err);
	if (r == 0)
		r = store_program_list(tx->store, id, NULL, INT64_MAX, &programs, &n_programs, err);
	for (size_t i = 0; r == 0 && i < n_links; i++)
		r = change_append(tx, STORE_OBJECT_LINK, true, &revision, err, "links/%s",
				  links[i].id);
	for (size_t i = 0; r == 0 && i < n_maps; i++)
		r = change_append(tx, STORE_OBJECT_MAP, true, &revision, err,
				  "instances/%s/maps/%s", id, maps[i].name);
	for (size_t i = 0; r == 0 && i < n_programs; i++)
		r = change_append(tx, STORE_OBJECT_PROGRAM, true, &revision, err,
				  "instances/%s/programs/%s", id, programs[i].name);
	if (r == 0)
		r = change_append(tx, STORE_OBJECT_INSTANCE, true, &revision, err, "instances/%s",
				  id);
	return r;
}

int store_instance_delete(struct store_tx *tx, const char *id, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	_cleanup_query_ struct query q = {};
	int r;

	r = store_instance_get(tx->store, id, &row, err);
	if (r == 0)
		r = instance_delete_changes(tx, id, err);
	if (r < 0)
		return tx_result(tx, r);
	query_start(&q, tx->store, SQL_INSTANCE_DELETE);
	query_text(&q, id);
	r = query_run(&q, NULL, "deleting an instance", NULL, err);
	if (r == 0)
		r = change_bundle(tx, row->digest, err);
	if (r == 0)
		tx->store->now.n_instances--;
	return tx_result(tx, r);
}

int store_instance_get(struct store *store, const char *id, struct store_instance **ret,
		       struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_INSTANCE_GET);
	query_text(&q, id);
	r = query_one(&q, &instance_type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no instance '%s'", id);
	*ret = row;
	return 0;
}

int store_instance_get_label(struct store *store, const char *label, const char *caller,
			     struct store_instance **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	_cleanup_free_ struct store_instance *rows = NULL;
	void *block = NULL;
	size_t n = 0;
	int r;

	query_start(&q, store, SQL_INSTANCE_GET_LABEL);
	query_text(&q, label);
	query_text(&q, caller);
	r = query_rows(&q, &instance_type, &block, &n, err);
	if (r < 0)
		return r;
	rows = block;
	/* The caller's own stands first. */
	if (n == 0 || (n > 1 && strcmp(rows[0].owner, caller) != 0))
		return error_raise(
			err, ERROR_NOT_FOUND,
			n == 0 ? "no instance '%s'"
			       : "several instances are labelled '%s'; name one by its id",
			label);
	*ret = TAKE_PTR(rows);
	return 0;
}

int store_instance_list(struct store *store, const struct store_instance_filter *filter,
			const char *after_id, size_t limit, struct store_instance **ret_rows,
			size_t *ret_n, struct error *err)
{
	static const struct store_instance_filter all = {};
	static const uint32_t zero[3] = {};
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	if (filter == NULL)
		filter = &all;
	query_start(&q, store, SQL_INSTANCE_LIST);
	query_text(&q, after_id);
	query_text_or_null(&q, filter->bundle_name);
	query_u64(&q, filter->bundle_version != NULL);
	query_version(&q, filter->bundle_version != NULL ? filter->bundle_version : zero);
	query_text_or_null(&q, filter->owner);
	query_u64(&q, filter->durability);
	query_u64(&q, filter->state);
	query_u64(&q, limit);
	r = query_rows(&q, &instance_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_parameter_list(struct store *store, const char *instance,
			 struct store_parameter **ret_rows, size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, SQL_PARAMETER_LIST);
	query_text(&q, instance);
	r = query_rows(&q, &parameter_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
