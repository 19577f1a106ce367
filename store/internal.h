/* What the sources of the store share: the connection, its statements, and rows as tables of
 * fields. */
#pragma once

#include <errno.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "store/audit.h"
#include "store/bundles.h"
#include "store/instances.h"
#include "store/journal.h"
#include "store/store.h"

#define STORE_APPLICATION_ID "0x62706673" /* "bpfs" */

/* Statements by name; each is prepared at its first use and kept. */
enum sql_id {
#define X(name, sql) SQL_##name,
#include "store/statements.def"
#undef X
	SQL_N,
};

/* What a transaction advances in memory, and a rollback puts back. Written to `meta` at commit. */
struct counters {
	uint64_t revision;
	uint64_t changes_base; /* newest revision that was dropped */
	uint64_t audit_sequence;
	uint64_t audit_base_sequence; /* newest row that was dropped, */
	uint64_t audit_bytes;
	uint8_t audit_hash[STORE_HASH_LEN];
	uint8_t audit_base_hash[STORE_HASH_LEN]; /* and its hash */
	uint64_t n_instances;			 /* counted at the open, not written */
};

struct denial; /* audit-deny.c */

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_N];
	struct store_options options;
	char *path;
	struct store_tx *tx;
	bool doomed;
	bool snapshot; /* a read transaction is open */
	bool relaxed;  /* synchronous is NORMAL: commits do not wait for the disk */
	uint64_t tx_at_ns;
	int log_fd;		 /* of the write-ahead log, -1: blocks cannot be set aside */
	uint64_t log_size_bytes; /* of the log when blocks were set aside behind it */
	uint64_t log_reserved_bytes;
	struct counters now, committed;
	struct denial *denials;
	size_t n_denials;
};

/* ---- sql.c */

/* Raises what a result code of SQLite means. */
int sql_raise(struct store *store, int rc, const char *what, struct error *err);
/* Runs SQL that is not prepared: at open, and for BEGIN, COMMIT. */
int sql_exec(struct store *store, const char *sql, struct error *err) _must_check_;
int sql_read_int(struct store *store, const char *sql, int64_t *ret,
		 struct error *err) _must_check_;
/* Never goes through the fault hook. */
void sql_rollback(struct store *store);

/* A statement being bound (in the order of its parameters) and stepped; the first failure sticks.
 */
struct query {
	struct store *store;
	sqlite3_stmt *stmt;
	int n_bound;
	int rc;
};

void query_start(struct query *q, struct store *store, enum sql_id id);
void query_done(struct query *q);
#define _cleanup_query_ _cleanup_(query_done)

void query_text(struct query *q, const char *text); /* NULL: "" */
void query_text_or_null(struct query *q, const char *text);
void query_bytes(struct query *q, const void *bytes, size_t n);
void query_u64(struct query *q, uint64_t value);
void query_version(struct query *q, const uint32_t version[static 3]);

/* 1: a row, 0: no more, or a negative errno. */
int query_step(struct query *q, struct error *err) _must_check_;

/* The codes that broken constraints stand for; 0: STORE_FAILED (a failed CHECK: INVALID_ARGUMENT).
 */
struct conflicts {
	enum error_code key, unique, foreign;
};
/*
 * Runs a statement that returns no rows. A broken constraint raises its code with the message
 * `what`. ret_n (may be NULL): rows changed.
 */
int query_run(struct query *q, const struct conflicts *conflicts, const char *what, size_t *ret_n,
	      struct error *err) _must_check_;

/* ---- rows.c */

enum field_type {
	FIELD_TEXT,
	FIELD_BYTES, /* struct store_bytes */
	FIELD_U32,
	FIELD_U64,
	FIELD_BOOL,
	FIELD_FIXED,	  /* an array of bytes */
	FIELD_FIXED_OR,	  /* the same, or NULL when the bool `present` is not set */
	FIELD_VERSION,	  /* three columns */
	FIELD_VERSION_OR, /* the same, or three NULLs */
};

struct field {
	enum field_type type;
	uint16_t offset;
	uint16_t size;
	uint16_t present;
};

#define FIELD(kind, row, member)                                                                  \
	{                                                                                         \
		FIELD_##kind, offsetof(struct row, member), sizeof(((struct row *)NULL)->member), \
			0                                                                         \
	}
#define FIELD_OR(kind, row, member, present)                                                      \
	{                                                                                         \
		FIELD_##kind, offsetof(struct row, member), sizeof(((struct row *)NULL)->member), \
			offsetof(struct row, present)                                             \
	}

/* A row struct: its first n_written fields are the parameters of its insert, all are its columns.
 */
struct row_type {
	size_t size;
	const struct field *fields;
	size_t n_written, n_fields;
};

#define ROW_TYPE(row, fields, n_written)                                  \
	{                                                                 \
		sizeof(struct row), fields, n_written, ARRAY_SIZE(fields) \
	}

/* Binds fields [0, n_written). */
void query_row(struct query *q, const struct row_type *type, const void *row);
/* Reads the statement's current row into the zeroed row; texts live until the next step. */
int query_borrow(struct query *q, const struct row_type *type, void *row,
		 struct error *err) _must_check_;
/* All rows as one block (free()). */
int query_rows(struct query *q, const struct row_type *type, void **ret_rows, size_t *ret_n,
	       struct error *err) _must_check_;
/* The first row (free()), or *ret = NULL when there is none. */
int query_one(struct query *q, const struct row_type *type, void **ret,
	      struct error *err) _must_check_;

/* ---- store.c */

/* Writes the counters that a transaction has advanced. */
int counters_save(struct store *store, struct error *err) _must_check_;

/* ---- tx.c */

/* Once, at open. */
void tx_open_log(struct store *store);
/* STORE_FULL unless the file system has extra_bytes free beyond the reserve. */
int tx_check_space(struct store *store, uint64_t extra_bytes, struct error *err) _must_check_;
/* Every function that changes something ends with this: a failure dooms the transaction. */
int tx_result(struct store_tx *tx, int r);

/* ---- schema.c */

int schema_apply(struct store *store, struct error *err) _must_check_;

/* ---- instances.c */

int parameter_insert(struct store_tx *tx, const char *instance, size_t ordinal,
		     const struct store_parameter *parameter, struct error *err) _must_check_;
/* Runs an update whose last two parameters are the revision and the id. */
int instance_write(struct store_tx *tx, struct query *q, const char *id,
		   struct error *err) _must_check_;

/* ---- changes.c */

/* Appends a change and gives its revision. */
int change_append(struct store_tx *tx, enum store_object_kind kind, bool deleted,
		  uint64_t *ret_revision, struct error *err, const char *name_format,
		  ...) _must_check_ __attribute__((format(printf, 6, 7)));
/* Objects that show a count which has changed. */
int change_instance(struct store_tx *tx, const char *id, struct error *err) _must_check_;
int change_program(struct store_tx *tx, const char *instance, const char *name,
		   struct error *err) _must_check_;
int change_bundle(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
		  struct error *err) _must_check_;

/* ---- audit.c, audit-deny.c */

/* The row that the newest "audit_trim" row must have as its detail, for the rows dropped so far. */
void audit_trim_detail(const struct counters *counters, char out[static 160]);
extern const struct row_type audit_row_type;
/* Length in bytes of what is hashed for a row. */
size_t audit_encoded_size(const struct store_audit *row);
/* The hash of a row after previous_hash. */
int audit_hash(const struct store *store, const struct store_audit *row,
	       const uint8_t previous_hash[static STORE_HASH_LEN],
	       uint8_t ret_hash[static STORE_HASH_LEN], struct error *err) _must_check_;
/* Closes what an earlier run left open. */
int audit_deny_recover(struct store *store, struct error *err) _must_check_;
void audit_deny_done(struct store *store);
