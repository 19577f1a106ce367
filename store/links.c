#include "store/internal.h"

static const struct field link_fields[] = {
	FIELD(TEXT, store_link, id),
	FIELD(TEXT, store_link, instance),
	FIELD(TEXT, store_link, program),
	FIELD(TEXT, store_link, hook_kind),
	FIELD(TEXT, store_link, hook),
	FIELD(BYTES, store_link, target),
	FIELD(BYTES, store_link, spec),
	FIELD(BYTES, store_link, places),
	FIELD(U32, store_link, state),
	FIELD(TEXT, store_link, reason),
	FIELD(U32, store_link, kernel_id),
	FIELD(U64, store_link, attached_at_ns),
	FIELD(U64, store_link, resolved_offset),
	FIELD(U64, store_link, resolved_dev),
	FIELD(U64, store_link, resolved_inode),
	FIELD(TEXT, store_link, selected_by),
	FIELD(U64, store_link, revision),
};
static const struct row_type link_type = ROW_TYPE(store_link, link_fields, 16);

/* The fields that an update writes: from the places on. */
static const struct row_type update_type = { sizeof(struct store_link), link_fields + 7, 8, 9 };

/* A program and its instance show how many links they have. */
static int link_change_counts(struct store_tx *tx, const struct store_link *row, struct error *err)
{
	int r = change_program(tx, row->instance, row->program, err);

	return r < 0 ? r : change_instance(tx, row->instance, err);
}

int store_link_insert(struct store_tx *tx, const struct store_link *row, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = change_append(tx, STORE_OBJECT_LINK, false, &revision, err, "links/%s", row->id);
	if (r == 0) {
		query_start(&q, tx->store, SQL_LINK_INSERT);
		query_row(&q, &link_type, row);
		query_u64(&q, revision);
		r = query_run(&q,
			      &(struct conflicts){ .key = ERROR_ALREADY_EXISTS,
						   .foreign = ERROR_NOT_FOUND },
			      "a link of that id, or no such program", NULL, err);
	}
	if (r == 0)
		r = link_change_counts(tx, row, err);
	return tx_result(tx, r);
}

/* Runs an update whose last two parameters are the revision and the id. */
static int link_write(struct store_tx *tx, struct query *q, const char *id, struct error *err)
{
	uint64_t revision;
	size_t n = 0;
	int r;

	r = change_append(tx, STORE_OBJECT_LINK, false, &revision, err, "links/%s", id);
	if (r < 0)
		return r;
	query_u64(q, revision);
	query_text(q, id);
	r = query_run(q, NULL, "writing a link", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_NOT_FOUND, "no link '%s'", id);
	return r;
}

int store_link_update(struct store_tx *tx, const struct store_link *row, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_LINK_UPDATE);
	query_row(&q, &update_type, row);
	return tx_result(tx, link_write(tx, &q, row->id, err));
}

int store_link_set_state(struct store_tx *tx, const char *id, enum link_state state,
			 const char *reason, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_LINK_SET_STATE);
	query_u64(&q, state);
	query_text(&q, reason);
	return tx_result(tx, link_write(tx, &q, id, err));
}

int store_link_delete(struct store_tx *tx, const char *id, struct error *err)
{
	_cleanup_free_ struct store_link *row = NULL;
	_cleanup_query_ struct query q = {};
	uint64_t revision;
	int r;

	r = store_link_get(tx->store, id, &row, err);
	if (r == 0)
		r = change_append(tx, STORE_OBJECT_LINK, true, &revision, err, "links/%s", id);
	if (r == 0) {
		query_start(&q, tx->store, SQL_LINK_DELETE);
		query_text(&q, id);
		r = query_run(&q, NULL, "deleting a link", NULL, err);
	}
	if (r == 0)
		r = link_change_counts(tx, row, err);
	return tx_result(tx, r);
}

int store_link_get(struct store *store, const char *id, struct store_link **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_LINK_GET);
	query_text(&q, id);
	r = query_one(&q, &link_type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no link '%s'", id);
	*ret = row;
	return 0;
}

int store_link_list(struct store *store, const struct store_link_filter *filter,
		    const char *after_id, size_t limit, struct store_link **ret_rows, size_t *ret_n,
		    struct error *err)
{
	static const struct store_link_filter all = {};
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	if (filter == NULL)
		filter = &all;
	query_start(&q, store,
		    filter->selected		  ? SQL_LINK_LIST_SELECTED
		    : filter->target.data != NULL ? SQL_LINK_LIST_TARGET
		    : filter->instance != NULL	  ? SQL_LINK_LIST_INSTANCE
						  : SQL_LINK_LIST);
	if (filter->selected) {
		/* No parameter of its own. */
	} else if (filter->target.data != NULL) {
		query_bytes(&q, filter->target.data, filter->target.size);
	} else if (filter->instance != NULL) {
		query_text(&q, filter->instance);
		query_text_or_null(&q, filter->program);
	}
	query_text(&q, after_id);
	query_u64(&q, filter->state);
	query_u64(&q, limit);
	r = query_rows(&q, &link_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
