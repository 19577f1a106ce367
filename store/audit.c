#include "store/audit.h"

#include "store/internal.h"

/* A trim drops a sixteenth of the cap, but not more rows than this at once, and never the newest
 * ones. */
#define AUDIT_TRIM_ROWS 512
#define AUDIT_KEEP_ROWS 64

static const struct field audit_fields[] = {
	FIELD(U64, store_audit, sequence),  FIELD(U64, store_audit, at_ns),
	FIELD(TEXT, store_audit, identity), FIELD(TEXT, store_audit, claimed_actor),
	FIELD(TEXT, store_audit, verb),	    FIELD(TEXT, store_audit, object),
	FIELD(BYTES, store_audit, digest),  FIELD(TEXT, store_audit, signers),
	FIELD(TEXT, store_audit, outcome),  FIELD(TEXT, store_audit, reason),
	FIELD(TEXT, store_audit, detail),   FIELD(U64, store_audit, duration_ns),
	FIELD(U32, store_audit, count),	    FIELD(FIXED, store_audit, previous_hash),
	FIELD(FIXED, store_audit, hash),
};
const struct row_type audit_row_type =
	ROW_TYPE(store_audit, audit_fields, ARRAY_SIZE(audit_fields));

/* ---- the chain: layout in SCHEMA.md */

#define CHAIN_TAG "bpfleet.audit.v1"
#define CHAIN_FIXED (16 + STORE_HASH_LEN + 8 + 8 + 8 + 4)
#define CHAIN_TEXTS 9

static void chain_texts(const struct store_audit *row, struct store_bytes out[static CHAIN_TEXTS])
{
	const char *const texts[CHAIN_TEXTS] = {
		row->identity, row->claimed_actor, row->verb,	row->object, NULL,
		row->signers,  row->outcome,	   row->reason, row->detail,
	};

	for (size_t i = 0; i < CHAIN_TEXTS; i++)
		if (texts[i] != NULL)
			out[i] = (struct store_bytes){ texts[i], strlen(texts[i]) };
	out[4] = row->digest;
}

size_t audit_encoded_size(const struct store_audit *row)
{
	struct store_bytes texts[CHAIN_TEXTS] = {};
	size_t size = CHAIN_FIXED;

	chain_texts(row, texts);
	for (size_t i = 0; i < CHAIN_TEXTS; i++)
		size += 4 + texts[i].size;
	return size;
}

static void chain_number(struct str *out, uint64_t value, size_t n)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	(void)str_append_bytes(out, bytes, n);
}

int audit_hash(const struct store *store, const struct store_audit *row,
	       const uint8_t previous_hash[static STORE_HASH_LEN],
	       uint8_t ret_hash[static STORE_HASH_LEN], struct error *err)
{
	_cleanup_(str_done) struct str out = {};
	struct store_bytes texts[CHAIN_TEXTS] = {};

	chain_texts(row, texts);
	(void)str_append(&out, CHAIN_TAG);
	(void)str_append_bytes(&out, previous_hash, STORE_HASH_LEN);
	chain_number(&out, row->sequence, 8);
	chain_number(&out, row->at_ns, 8);
	chain_number(&out, row->duration_ns, 8);
	chain_number(&out, row->count, 4);
	for (size_t i = 0; i < CHAIN_TEXTS; i++) {
		chain_number(&out, texts[i].size, 4);
		(void)str_append_bytes(&out, texts[i].data, texts[i].size);
	}
	if (out.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "hashing an audit row");
	store->options.hash(out.data, out.len, ret_hash);
	return 0;
}

/* ---- appending */

/* A row's texts, cut to what the log holds. */
struct cut_texts {
	char identity[STORE_AUDIT_TEXT_MAX + 1], claimed_actor[STORE_AUDIT_TEXT_MAX + 1];
	char verb[STORE_AUDIT_TEXT_MAX + 1], object[STORE_AUDIT_TEXT_MAX + 1];
	char signers[STORE_AUDIT_TEXT_MAX + 1], outcome[STORE_AUDIT_TEXT_MAX + 1];
	char reason[STORE_AUDIT_TEXT_MAX + 1], detail[STORE_AUDIT_DETAIL_MAX + 1];
};

static const char *text_cut(const char *text, char *out, size_t max)
{
	size_t n = text != NULL ? strnlen(text, max + 1) : 0;

	if (n > max)
		for (n = max; n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80;)
			n--;
	if (n > 0)
		memcpy(out, text, n);
	out[n] = '\0';
	return out;
}

static void audit_cut(const struct store_audit *row, struct cut_texts *cut, struct store_audit *out)
{
	*out = *row;
	out->identity = text_cut(row->identity, cut->identity, STORE_AUDIT_TEXT_MAX);
	out->claimed_actor = text_cut(row->claimed_actor, cut->claimed_actor, STORE_AUDIT_TEXT_MAX);
	out->verb = text_cut(row->verb, cut->verb, STORE_AUDIT_TEXT_MAX);
	out->object = text_cut(row->object, cut->object, STORE_AUDIT_TEXT_MAX);
	out->signers = text_cut(row->signers, cut->signers, STORE_AUDIT_TEXT_MAX);
	out->outcome = text_cut(row->outcome, cut->outcome, STORE_AUDIT_TEXT_MAX);
	out->reason = text_cut(row->reason, cut->reason, STORE_AUDIT_TEXT_MAX);
	out->detail = text_cut(row->detail, cut->detail, STORE_AUDIT_DETAIL_MAX);
	if (out->count == 0)
		out->count = 1;
}

static int audit_append_row(struct store *store, const struct store_audit *row, struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct cut_texts cut;
	struct store_audit full;
	int r;

	audit_cut(row, &cut, &full);
	if (full.digest.size > STORE_DIGEST_LEN)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a digest of %zu bytes",
				   full.digest.size);
	full.sequence = store->now.audit_sequence + 1;
	memcpy(full.previous_hash, store->now.audit_hash, STORE_HASH_LEN);
	r = audit_hash(store, &full, full.previous_hash, full.hash, err);
	if (r < 0)
		return r;
	query_start(&q, store, SQL_AUDIT_INSERT);
	query_row(&q, &audit_row_type, &full);
	r = query_run(&q, NULL, "appending to the audit log", NULL, err);
	if (r < 0)
		return r;
	store->now.audit_sequence = full.sequence;
	store->now.audit_bytes += audit_encoded_size(&full);
	memcpy(store->now.audit_hash, full.hash, STORE_HASH_LEN);
	return 0;
}

void audit_trim_detail(const struct counters *counters, char out[static 160])
{
	char hex[2 * STORE_HASH_LEN + 1];

	str_hex(counters->audit_base_hash, STORE_HASH_LEN, hex);
	(void)snprintf(out, 160, "rows up to %llu dropped; its hash: %s",
		       (unsigned long long)counters->audit_base_sequence, hex);
}

/* Walks from the old end and notes in store->now what will have been dropped. */
static int audit_trim_choose(struct store *store, uint64_t bytes, struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_audit row;
	uint64_t dropped = 0;
	int r;

	query_start(&q, store, SQL_AUDIT_WALK);
	query_u64(&q, 0);
	for (int i = 0; i < AUDIT_TRIM_ROWS && dropped < bytes; i++) {
		size_t size;

		r = query_step(&q, err);
		if (r > 0)
			r = query_borrow(&q, &audit_row_type, &row, err);
		else if (r == 0)
			break;
		if (r < 0)
			return r;
		if (row.sequence + AUDIT_KEEP_ROWS > store->now.audit_sequence)
			break;
		size = audit_encoded_size(&row);
		dropped += size;
		store->now.audit_bytes -=
			size < store->now.audit_bytes ? size : store->now.audit_bytes;
		store->now.audit_base_sequence = row.sequence;
		memcpy(store->now.audit_base_hash, row.hash, STORE_HASH_LEN);
	}
	return 0;
}

static int audit_trim(struct store *store, uint64_t at_ns, struct error *err)
{
	_cleanup_query_ struct query q = {};
	uint64_t base = store->now.audit_base_sequence, cap = store->options.audit_max_bytes;
	struct store_audit row = { .at_ns = at_ns,
				   .identity = "bpfleet",
				   .verb = "audit_trim",
				   .object = "audit",
				   .outcome = "ok" };
	char detail[160];
	int r;

	if (store->now.audit_bytes <= cap)
		return 0;
	r = audit_trim_choose(store, store->now.audit_bytes - cap + cap / 16, err);
	if (r < 0 || store->now.audit_base_sequence == base)
		return r;
	query_start(&q, store, SQL_AUDIT_TRIM);
	query_u64(&q, store->now.audit_base_sequence);
	r = query_run(&q, NULL, "trimming the audit log", NULL, err);
	if (r < 0)
		return r;
	audit_trim_detail(&store->now, detail);
	row.detail = detail;
	return audit_append_row(store, &row, err);
}

int store_audit_append(struct store_tx *tx, const struct store_audit *row, uint64_t *ret_sequence,
		       struct error *err)
{
	uint64_t sequence;
	int r;

	r = audit_append_row(tx->store, row, err);
	sequence = tx->store->now.audit_sequence;
	if (r == 0)
		r = audit_trim(tx->store, row->at_ns, err);
	if (r == 0 && ret_sequence != NULL)
		*ret_sequence = sequence;
	return tx_result(tx, r);
}

void store_audit_head(const struct store *store, uint64_t *ret_sequence,
		      uint8_t ret_hash[static STORE_HASH_LEN])
{
	*ret_sequence = store->now.audit_sequence;
	memcpy(ret_hash, store->now.audit_hash, STORE_HASH_LEN);
}

int store_audit_list(struct store *store, const struct store_audit_filter *filter,
		     uint64_t after_sequence, size_t limit, struct store_audit **ret_rows,
		     size_t *ret_n, struct error *err)
{
	static const struct store_audit_filter all = {};
	_cleanup_query_ struct query q = {};
	void *rows = NULL;
	int r;

	if (filter == NULL)
		filter = &all;
	query_start(&q, store, filter->newest_first ? SQL_AUDIT_LIST_NEWEST : SQL_AUDIT_LIST);
	query_u64(&q, filter->newest_first && after_sequence == 0 ? INT64_MAX : after_sequence);
	query_text_or_null(&q, filter->identity);
	query_text_or_null(&q, filter->verb);
	query_text_or_null(&q, filter->object);
	query_text_or_null(&q, filter->outcome);
	query_u64(&q, filter->since_ns < INT64_MAX ? filter->since_ns : INT64_MAX);
	query_u64(&q, filter->until_ns > 0 && filter->until_ns < INT64_MAX ? filter->until_ns
									   : INT64_MAX);
	query_u64(&q, limit);
	r = query_rows(&q, &audit_row_type, &rows, ret_n, err);
	if (r == 0)
		*ret_rows = rows;
	return r;
}
