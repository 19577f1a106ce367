/*
 * Counting denials. While a minute is open, the counts live in memory, and in `audit_open` at each
 * power of two, outside the chain: the chain gets a row at the first denial and another with the
 * number of further ones.
 */
#include "store/internal.h"

#define MINUTE_NS (60 * NS_PER_SEC)
#define DENIALS_MAX 1024	/* open at once; more close all of them early */
#define DENIALS_PER_IDENTITY 32 /* then the rest counts under the object "*" */

struct denial {
	char *identity, *verb, *object, *reason;
	uint64_t minute;
	uint64_t first_sequence;
	uint64_t at_ns; /* of the last */
	uint64_t n_further;
	bool stored; /* has a row in audit_open */
};

static const struct field denial_fields[] = {
	FIELD(TEXT, denial, identity),	    FIELD(TEXT, denial, verb),
	FIELD(TEXT, denial, object),	    FIELD(TEXT, denial, reason),
	FIELD(U64, denial, first_sequence), FIELD(U64, denial, at_ns),
	FIELD(U64, denial, n_further),
};
static const struct row_type denial_type =
	ROW_TYPE(denial, denial_fields, ARRAY_SIZE(denial_fields));

static void denial_done(struct denial *d)
{
	free(d->identity);
	free(d->verb);
	free(d->object);
	free(d->reason);
}

void audit_deny_done(struct store *store)
{
	for (size_t i = 0; i < store->n_denials; i++)
		denial_done(&store->denials[i]);
	free(store->denials);
	store->denials = NULL;
	store->n_denials = 0;
}

static int denial_store(struct store *store, const struct denial *d, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, SQL_DENIAL_PUT);
	query_row(&q, &denial_type, d);
	return query_run(&q, NULL, "noting a count of denials", NULL, err);
}

/* Writes the closing row of an open denial and forgets its count. */
static int denial_close(struct store_tx *tx, const struct denial *d, const char *why,
			struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_audit row = { .at_ns = d->at_ns,
				   .identity = d->identity,
				   .verb = d->verb,
				   .object = d->object,
				   .reason = d->reason,
				   .outcome = "denied" };
	char detail[160];
	int r = 0;

	(void)snprintf(detail, sizeof(detail), "further ones after row %llu%s",
		       (unsigned long long)d->first_sequence, why);
	row.detail = detail;
	row.count = d->n_further < UINT32_MAX ? (uint32_t)d->n_further : UINT32_MAX;
	if (d->n_further > 0)
		r = store_audit_append(tx, &row, NULL, err);
	if (r < 0 || !d->stored)
		return r;
	query_start(&q, tx->store, SQL_DENIAL_DELETE);
	query_text(&q, d->identity);
	query_text(&q, d->verb);
	query_text(&q, d->object);
	query_text(&q, d->reason);
	return tx_result(tx, query_run(&q, NULL, "closing a count of denials", NULL, err));
}

static bool denial_ended(const struct denial *d, uint64_t now_ns)
{
	/* A clock that went back closes the minute too. */
	return now_ns == UINT64_MAX || d->minute != now_ns / MINUTE_NS;
}

int store_audit_flush(struct store *store, uint64_t now_ns, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	size_t n_kept = 0, n_rows = 0;
	int r;

	for (size_t i = 0; i < store->n_denials; i++)
		if (denial_ended(&store->denials[i], now_ns) && store->denials[i].n_further > 0)
			n_rows++;
	if (n_rows > 0) {
		r = store_tx_begin(store, STORE_TX_RELEASE, &tx, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < store->n_denials; i++)
			if (denial_ended(&store->denials[i], now_ns)) {
				r = denial_close(&tx, &store->denials[i], "", err);
				if (r < 0)
					return r;
			}
		r = store_tx_commit(&tx, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < store->n_denials; i++)
		if (denial_ended(&store->denials[i], now_ns))
			denial_done(&store->denials[i]);
		else
			store->denials[n_kept++] = store->denials[i];
	store->n_denials = n_kept;
	return 0;
}

uint64_t store_audit_flush_at(const struct store *store)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < store->n_denials; i++) {
		uint64_t end = (store->denials[i].minute + 1) * MINUTE_NS;

		at = end < at ? end : at;
	}
	return at;
}

static struct denial *denial_find(struct store *store, const struct store_audit *row,
				  const char *object)
{
	for (size_t i = 0; i < store->n_denials; i++) {
		struct denial *d = &store->denials[i];

		if (strcmp(d->identity, row->identity) == 0 && strcmp(d->verb, row->verb) == 0 &&
		    strcmp(d->object, object) == 0 && strcmp(d->reason, row->reason) == 0)
			return d;
	}
	return NULL;
}

static size_t denials_of(const struct store *store, const char *identity)
{
	size_t n = 0;

	for (size_t i = 0; i < store->n_denials; i++)
		n += strcmp(store->denials[i].identity, identity) == 0;
	return n;
}

/* One more of a denial that is open. */
static int denial_count(struct store *store, struct denial *d, uint64_t at_ns, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	int r;

	d->n_further++;
	d->at_ns = at_ns;
	if ((d->n_further & (d->n_further - 1)) != 0)
		return 0;
	r = store_tx_begin(store, STORE_TX_RELEASE, &tx, err);
	if (r == 0)
		r = denial_store(store, d, err);
	if (r == 0)
		r = store_tx_commit(&tx, err);
	if (r == 0)
		d->stored = true;
	return r;
}

static int denial_new(const struct store_audit *row, const char *object, struct denial *ret,
		      struct error *err)
{
	struct denial d = {
		.identity = strdup(row->identity),
		.verb = strdup(row->verb),
		.object = strdup(object),
		.reason = strdup(row->reason),
		.minute = row->at_ns / MINUTE_NS,
		.at_ns = row->at_ns,
	};

	if (d.identity == NULL || d.verb == NULL || d.object == NULL || d.reason == NULL) {
		denial_done(&d);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "counting a denial");
	}
	*ret = d;
	return 0;
}

/* The first of its kind in a minute: a row at once. */
static int denial_open(struct store *store, const struct store_audit *row, const char *object,
		       struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	struct store_audit first = *row;
	struct denial d;
	int r;

	if (store->denials == NULL)
		store->denials = calloc(DENIALS_MAX, sizeof(*store->denials));
	if (store->denials == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "counting a denial");
	r = store->n_denials < DENIALS_MAX ? 0 : store_audit_flush(store, UINT64_MAX, err);
	if (r == 0)
		r = denial_new(row, object, &d, err);
	if (r < 0)
		return r;
	first.object = object;
	first.count = 1;
	r = store_tx_begin(store, STORE_TX_RELEASE, &tx, err);
	if (r == 0)
		r = store_audit_append(&tx, &first, &d.first_sequence, err);
	if (r == 0)
		r = store_tx_commit(&tx, err);
	if (r < 0) {
		denial_done(&d);
		return r;
	}
	store->denials[store->n_denials++] = d;
	return 0;
}

int store_audit_deny(struct store *store, const struct store_audit *row, struct error *err)
{
	struct store_audit full = *row;
	const char *object;
	struct denial *d;
	int r;

	full.identity = row->identity != NULL ? row->identity : "";
	full.verb = row->verb != NULL ? row->verb : "";
	full.reason = row->reason != NULL ? row->reason : "";
	object = row->object != NULL ? row->object : "";
	r = store_audit_flush(store, row->at_ns, err);
	if (r < 0)
		return r;
	d = denial_find(store, &full, object);
	if (d == NULL && denials_of(store, full.identity) >= DENIALS_PER_IDENTITY) {
		object = "*";
		d = denial_find(store, &full, object);
	}
	return d != NULL ? denial_count(store, d, row->at_ns, err)
			 : denial_open(store, &full, object, err);
}

int audit_deny_recover(struct store *store, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	_cleanup_query_ struct query q = {};
	_cleanup_free_ struct denial *open = NULL;
	void *rows = NULL;
	size_t n = 0;
	int r;

	query_start(&q, store, SQL_DENIAL_LIST);
	query_u64(&q, DENIALS_MAX);
	r = query_rows(&q, &denial_type, &rows, &n, err);
	open = rows;
	query_done(&q);
	if (r < 0 || n == 0)
		return r;
	r = store_tx_begin(store, STORE_TX_RELEASE, &tx, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		open[i].stored = true;
		r = denial_close(&tx, &open[i], ", at least: the daemon ended within the minute",
				 err);
	}
	if (r == 0)
		r = store_tx_commit(&tx, err);
	/* On a full disk the counts wait: the store must open, so that things can be taken away. */
	if (r == -ENOSPC) {
		*err = (struct error){};
		r = 0;
	}
	return r;
}
