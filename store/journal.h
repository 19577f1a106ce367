/*
 * What makes a change survive a crash and a repeated call: the journal of operations under way, and
 * the answers to requests that carried a request_id.
 */
#pragma once

#include "store/store.h"

/* ---- operations under way */

struct store_op {
	uint64_t id;	  /* given by store_op_begin, never used twice */
	const char *kind; /* "load", "attach", "detach", "unload" */
	const char *instance;
	const char *link;
	const char *step; /* the last one that was begun */
	uint64_t started_at_ns;
	const char *identity;
	const char *method; /* with request_id: the request that asked for it */
	const char *request_id;
	struct store_bytes data; /* core's own, opaque here */
};

int store_op_begin(struct store_tx *tx, const struct store_op *row, uint64_t *ret_id,
		   struct error *err) _must_check_;
/* NOT_FOUND if it has ended. data may be NULL: stays as it is. */
int store_op_step(struct store_tx *tx, uint64_t id, const char *step,
		  const struct store_bytes *data, struct error *err) _must_check_;
int store_op_end(struct store_tx *tx, uint64_t id, struct error *err) _must_check_;
/* Oldest first. */
int store_op_list(struct store *store, uint64_t after_id, size_t limit, struct store_op **ret_rows,
		  size_t *ret_n, struct error *err) _must_check_;

/* ---- answered requests */

#define STORE_REQUEST_TTL_NS (UINT64_C(24) * 3600 * 1000000000)

struct store_request {
	const char *identity;
	const char *method;
	const char *request_id;
	uint8_t body_hash[STORE_HASH_LEN];
	uint64_t at_ns;
	const char *reason;  /* of base/errors.def; "": success */
	const char *message; /* of the error */
	struct store_bytes response;
};

/* NOT_FOUND: not seen, or purged. Whether body_hash fits (REQUEST_ID_REUSED) is for the caller to
 * judge. */
int store_request_get(struct store *store, const char *identity, const char *method,
		      const char *request_id, struct store_request **ret,
		      struct error *err) _must_check_;
/* ALREADY_EXISTS. */
int store_request_insert(struct store_tx *tx, const struct store_request *row,
			 struct error *err) _must_check_;
/* Deletes at most limit answers older than before_ns, the oldest first. */
int store_request_purge(struct store_tx *tx, uint64_t before_ns, size_t limit, size_t *ret_n,
			struct error *err) _must_check_;
