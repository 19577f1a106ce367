/* Walking the audit chain. */
#include "store/internal.h"

static void verdict_break(struct store_audit_verdict *verdict, uint64_t sequence, const char *what)
{
	verdict->broken_sequence = sequence;
	(void)snprintf(verdict->what, sizeof(verdict->what), "%s", what);
}

/* Whether a row fits behind the one before, whose hash is in `running`; takes its own over. */
static int verify_row(struct store *store, const struct store_audit *row, uint64_t expected,
		      uint8_t running[static STORE_HASH_LEN], struct store_audit_verdict *verdict,
		      struct error *err)
{
	uint8_t hash[STORE_HASH_LEN];
	int r;

	if (row->sequence != expected) {
		verdict_break(verdict, expected, "the row is missing");
		return 0;
	}
	if (memcmp(row->previous_hash, running, STORE_HASH_LEN) != 0) {
		verdict_break(verdict, row->sequence,
			      "its previous_hash is not the hash of the row before");
		return 0;
	}
	r = audit_hash(store, row, running, hash, err);
	if (r < 0)
		return r;
	if (memcmp(hash, row->hash, STORE_HASH_LEN) != 0)
		verdict_break(verdict, row->sequence, "its hash is not that of its contents");
	memcpy(running, hash, STORE_HASH_LEN);
	return 0;
}

/* Rows after `base`, whose hash is `running` at first and the last row's in the end. */
static int verify_walk(struct store *store, uint64_t base, uint8_t running[static STORE_HASH_LEN],
		       struct store_audit_verdict *verdict, struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_audit row;
	int r;

	verdict->last_sequence = base;
	query_start(&q, store, SQL_AUDIT_WALK);
	query_u64(&q, base);
	while ((r = query_step(&q, err)) > 0) {
		r = query_borrow(&q, &audit_row_type, &row, err);
		if (r == 0)
			r = verify_row(store, &row, verdict->last_sequence + 1, running, verdict,
				       err);
		if (r < 0 || verdict->broken_sequence != 0)
			return r;
		if (verdict->n_rows++ == 0)
			verdict->first_sequence = row.sequence;
		verdict->last_sequence = row.sequence;
	}
	return r;
}

/* The hash that the kept rows start from must be the one that the newest trim row names. */
static int verify_base(struct store *store, struct store_audit_verdict *verdict, struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_audit row;
	char detail[160];
	int r;

	query_start(&q, store, SQL_AUDIT_LAST_TRIM);
	r = query_step(&q, err);
	if (r > 0) {
		r = query_borrow(&q, &audit_row_type, &row, err);
		if (r < 0)
			return r;
		audit_trim_detail(&store->now, detail);
		if (strcmp(detail, row.detail) != 0)
			verdict_break(verdict, store->now.audit_base_sequence + 1,
				      "the rows before it were not dropped by the daemon");
	} else if (r == 0 && store->now.audit_base_sequence != 0) {
		verdict_break(verdict, store->now.audit_base_sequence + 1,
			      "no row vouches for those that were dropped before it");
	}
	return r < 0 ? r : 0;
}

static void verify_head(struct store *store, const uint8_t hash[static STORE_HASH_LEN],
			struct store_audit_verdict *verdict)
{
	if (verdict->broken_sequence != 0)
		return;
	if (verdict->last_sequence < store->now.audit_sequence)
		verdict_break(verdict, verdict->last_sequence + 1,
			      "the row is missing: the newest rows were cut off");
	else if (memcmp(hash, store->now.audit_hash, STORE_HASH_LEN) != 0)
		verdict_break(verdict, verdict->last_sequence,
			      "its hash is not the one noted in meta");
}

int store_audit_verify(struct store *store, struct store_audit_verdict *ret, struct error *err)
{
	struct store_audit_verdict verdict = {};
	uint8_t running[STORE_HASH_LEN];
	int r;

	memcpy(running, store->now.audit_base_hash, STORE_HASH_LEN);
	r = verify_walk(store, store->now.audit_base_sequence, running, &verdict, err);
	if (r == 0 && verdict.broken_sequence == 0)
		r = verify_base(store, &verdict, err);
	if (r < 0)
		return r;
	verify_head(store, running, &verdict);
	*ret = verdict;
	return 0;
}

int store_audit_verify_tail(struct store *store, uint64_t n_rows, struct store_audit_verdict *ret,
			    struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_audit_verdict verdict = {};
	uint8_t running[STORE_HASH_LEN];
	struct store_audit row;
	uint64_t base;
	int r;

	if (store->now.audit_sequence - store->now.audit_base_sequence <= n_rows)
		return store_audit_verify(store, ret, err);
	base = store->now.audit_sequence - n_rows;
	query_start(&q, store, SQL_AUDIT_WALK);
	query_u64(&q, base - 1);
	r = query_step(&q, err);
	if (r > 0)
		r = query_borrow(&q, &audit_row_type, &row, err);
	else if (r == 0)
		verdict_break(&verdict, base, "the row is missing");
	if (r < 0)
		return r;
	if (verdict.broken_sequence == 0 && row.sequence != base)
		verdict_break(&verdict, base, "the row is missing");
	if (verdict.broken_sequence == 0) {
		memcpy(running, row.hash, STORE_HASH_LEN);
		query_done(&q);
		r = verify_walk(store, base, running, &verdict, err);
		if (r < 0)
			return r;
		verify_head(store, running, &verdict);
	}
	*ret = verdict;
	return 0;
}
