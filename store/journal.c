#include "store/journal.h"

#include "store/internal.h"

static const struct field op_fields[] = {
	FIELD(U64, store_op, id),	   FIELD(TEXT, store_op, kind),
	FIELD(TEXT, store_op, instance),   FIELD(TEXT, store_op, link),
	FIELD(TEXT, store_op, step),	   FIELD(U64, store_op, started_at_ns),
	FIELD(TEXT, store_op, identity),   FIELD(TEXT, store_op, method),
	FIELD(TEXT, store_op, request_id), FIELD(BYTES, store_op, data),
};
static const struct row_type op_type = ROW_TYPE(store_op, op_fields, 10);
/* All but the id, which the database gives. */
static const struct row_type op_new_type = { sizeof(struct store_op), op_fields + 1, 9, 9 };

static const struct field request_fields[] = {
	FIELD(TEXT, store_request, identity),	FIELD(TEXT, store_request, method),
	FIELD(TEXT, store_request, request_id), FIELD(FIXED, store_request, body_hash),
	FIELD(U64, store_request, at_ns),	FIELD(TEXT, store_request, reason),
	FIELD(TEXT, store_request, message),	FIELD(BYTES, store_request, response),
};
static const struct row_type request_type = ROW_TYPE(store_request, request_fields, 8);

int store_op_begin(struct store_tx *tx, const struct store_op *row, uint64_t *ret_id,
		   struct error *err)
{
	_cleanup_query_ struct query q = {};
	int r;

	query_start(&q, tx->store, SQL_OP_BEGIN);
	query_row(&q, &op_new_type, row);
	r = query_run(&q, NULL, "journaling an operation", NULL, err);
	if (r == 0)
		*ret_id = (uint64_t)sqlite3_last_insert_rowid(tx->store->db);
	return tx_result(tx, r);
}

/* Runs a statement whose last parameter is the id of an operation. */
static int op_write(struct store_tx *tx, struct query *q, uint64_t id, struct error *err)
{
	size_t n = 0;
	int r;

	query_u64(q, id);
	r = query_run(q, NULL, "journaling an operation", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_NOT_FOUND, "operation %llu is not under way",
				(unsigned long long)id);
	return tx_result(tx, r);
}

int store_op_step(struct store_tx *tx, uint64_t id, const char *step,
		  const struct store_bytes *data, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, data != NULL ? SQL_OP_STEP_DATA : SQL_OP_STEP);
	query_text(&q, step);
	if (data != NULL)
		query_bytes(&q, data->data, data->size);
	return op_write(tx, &q, id, err);
}

int store_op_end(struct store_tx *tx, uint64_t id, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_OP_END);
	return op_write(tx, &q, id, err);
}

int store_op_list(struct store *store, uint64_t after_id, size_t limit, struct store_op **ret_rows,
		  size_t *ret_n, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	query_start(&q, store, SQL_OP_LIST);
	query_u64(&q, after_id);
	query_u64(&q, limit);
	r = query_rows(&q, &op_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}

int store_request_get(struct store *store, const char *identity, const char *method,
		      const char *request_id, struct store_request **ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	void *row = NULL;
	int r;

	query_start(&q, store, SQL_REQUEST_GET);
	query_text(&q, identity);
	query_text(&q, method);
	query_text(&q, request_id);
	r = query_one(&q, &request_type, &row, err);
	if (r < 0)
		return r;
	if (row == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "no answer to request '%s' is kept",
				   request_id);
	*ret = row;
	return 0;
}

int store_request_insert(struct store_tx *tx, const struct store_request *row, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, SQL_REQUEST_INSERT);
	query_row(&q, &request_type, row);
	return tx_result(tx, query_run(&q, &(struct conflicts){ .unique = ERROR_ALREADY_EXISTS },
				       "a request of that id was answered already", NULL, err));
}

int store_request_purge(struct store_tx *tx, uint64_t before_ns, size_t limit, size_t *ret_n,
			struct error *err)
{
	_cleanup_query_ struct query q = {};
	size_t n = 0;
	int r;

	query_start(&q, tx->store, SQL_REQUEST_PURGE);
	query_u64(&q, before_ns);
	query_u64(&q, limit);
	r = query_run(&q, NULL, "dropping old answers", &n, err);
	if (r == 0)
		*ret_n = n;
	return tx_result(tx, r);
}
