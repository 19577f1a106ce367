/*
 * The audit log: rows chained by hash, so that a change to any of them shows. The byte layout of
 * the chain, with a test vector, is in SCHEMA.md. Above its size cap
 * (store_options.audit_max_bytes) the oldest rows are dropped, and a chained row of verb
 * "audit_trim" vouches for the hash that the rest starts from; an append is never refused for the
 * cap.
 */
#pragma once

#include "store/store.h"

/* Longer texts are cut at these many bytes, whole UTF-8 characters. */
#define STORE_AUDIT_TEXT_MAX 512
#define STORE_AUDIT_DETAIL_MAX 2048

struct store_audit {
	uint64_t sequence; /* read only: 1, 2, ... without gaps */
	uint64_t at_ns;
	const char *identity;
	const char *claimed_actor; /* for whom the identity says it acts; not verified */
	const char *verb;
	const char *object;
	struct store_bytes digest; /* of the bundle, STORE_DIGEST_LEN bytes, or none */
	const char *signers;	   /* key ids, separated by commas */
	const char *outcome;	   /* "ok", "denied", "failed", "unknown" */
	const char *reason;
	const char *detail;
	uint64_t duration_ns;
	uint32_t count;			       /* 0 is taken as 1 */
	uint8_t previous_hash[STORE_HASH_LEN]; /* read only */
	uint8_t hash[STORE_HASH_LEN];	       /* read only */
};

/* Appends one row, in the caller's transaction. ret_sequence may be NULL. */
int store_audit_append(struct store_tx *tx, const struct store_audit *row, uint64_t *ret_sequence,
		       struct error *err) _must_check_;

/*
 * Records a denial in a transaction of its own (there must be none under way). The first of an
 * (identity, verb, object, reason) in a minute is a row at once; further ones are only counted, and
 * written as one row whose `count` is the number of further ones when the minute has ended: the sum
 * of `count` is always the number of denials. An identity with more than 32 different ones in a
 * minute has the others counted together under the object "*". A crash loses less than half of a
 * count that was open (SCHEMA.md).
 */
int store_audit_deny(struct store *store, const struct store_audit *row,
		     struct error *err) _must_check_;

/*
 * Writes the counts of the minutes that have ended by now_ns (UINT64_MAX: all). Call it when
 * store_audit_flush_at has passed.
 */
int store_audit_flush(struct store *store, uint64_t now_ns, struct error *err) _must_check_;
/* UTC when the next open minute ends; UINT64_MAX: none is open. */
uint64_t store_audit_flush_at(const struct store *store);

/* Sequence and hash of the newest row; 0 and zeros when the log is empty. Never fails. */
void store_audit_head(const struct store *store, uint64_t *ret_sequence,
		      uint8_t ret_hash[static STORE_HASH_LEN]);

/* Each field NULL or 0: any. */
struct store_audit_filter {
	const char *identity;
	const char *verb;
	const char *object;
	const char *outcome;
	uint64_t since_ns; /* at_ns >= */
	uint64_t until_ns; /* at_ns < */
	bool newest_first;
};

/* In the order of sequences, or the reverse; after_sequence 0: from the start (or the newest). */
int store_audit_list(struct store *store, const struct store_audit_filter *filter,
		     uint64_t after_sequence, size_t limit, struct store_audit **ret_rows,
		     size_t *ret_n, struct error *err) _must_check_;

/* What a walk along the chain found. */
struct store_audit_verdict {
	uint64_t first_sequence, last_sequence, n_rows;
	uint64_t broken_sequence; /* the first row that does not fit; 0: all do */
	char what[160];		  /* why not */
};

/* Walks the whole kept chain: time and reads in proportion to it, memory constant. */
int store_audit_verify(struct store *store, struct store_audit_verdict *ret,
		       struct error *err) _must_check_;
/* The same for the newest n_rows (at least 1): cheap enough for every start. */
int store_audit_verify_tail(struct store *store, uint64_t n_rows, struct store_audit_verdict *ret,
			    struct error *err) _must_check_;
