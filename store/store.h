/*
 * The durable state of a node: one SQLite file (WAL, synchronous=FULL), written by bpfleet-core
 * alone and used from one thread. What is committed here survives a crash at any instruction.
 * SCHEMA.md explains every table; SQL is nowhere else.
 *
 * Reading. `store_X_get` and `store_X_list` give rows as one heap block each, strings included,
 * that is released with one free(); strings in it are never NULL. Lists are pages: "after this key,
 * at most limit rows"; the key of the last row is where the next page starts. An empty list is
 * *ret_rows = NULL, n = 0. Reading is allowed at any time, inside a transaction too (it then sees
 * the transaction's own writes).
 *
 * Writing. Every function that changes something takes a transaction. A failure of any kind inside
 * a transaction dooms it: commit refuses, and store_tx_done() rolls all of it back; the store goes
 * on working. In rows handed in, strings may be NULL, which is the empty string; nothing handed in
 * is kept.
 *
 * Errors everywhere: STORE_FULL (no space), STORE_CORRUPT (the file is damaged), STORE_FAILED (any
 * other failure of the database), OUT_OF_MEMORY. Times are UTC nanoseconds, at most INT64_MAX.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct store;

#define STORE_ID_LEN 16	    /* ids of instances and links, characters */
#define STORE_DIGEST_LEN 64 /* BLAKE2b-512 of a bundle file */
#define STORE_HASH_LEN 32   /* BLAKE2b-256: audit chain, request bodies, lease tokens */
#define STORE_UUID_LEN 36

/* Bytes that belong to the row they are in. */
struct store_bytes {
	const void *data;
	size_t size;
};

/* BLAKE2b-256 of n bytes; core gives libsodium's crypto_generichash. */
typedef void store_hash_fn(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN]);

struct store_options {
	const char *path;	  /* of the database file; made with mode 0600 when missing */
	store_hash_fn *hash;	  /* for the audit chain */
	uint64_t now_ns;	  /* UTC: created_at_ns of a store that is made now */
	uint64_t audit_max_bytes; /* size cap of the audit log; 0: 64 MiB */
	uint64_t reserve_bytes;	  /* see STORE_TX_RELEASE; 0: 4 MiB */
	uint32_t changes_kept;	  /* how many changes Watch can go back; 0: 10,000 */
	/* For tests: called before each step of SQLite; what it returns, if not 0 (SQLITE_OK), is
	 * taken for the result of the step, which then does not happen. */
	int (*fail_step)(void *data);
	void *fail_data;
};

/*
 * Opens the store, makes it if there is none, brings its schema to the newest version, and writes
 * down what an earlier run left open in the audit log. The tables of state are checked for damage;
 * bundles, map entries and logs are not (a check of everything would take seconds): damage there
 * shows when it is read. The audit chain is not checked either, and never keeps the store from
 * opening: call store_audit_verify_tail().
 *
 * Errors: STORE_TOO_NEW, STORE_CORRUPT (also: not a database of ours), STORE_FULL, STORE_FAILED.
 */
int store_open(const struct store_options *options, struct store **ret,
	       struct error *err) _must_check_;

/* Closes the audit log's open minute if it can, then the database. A transaction under way is
 * rolled back. */
void store_close(struct store *store);
DEFINE_CLEANUP(struct store, store_close)
#define _cleanup_store_ _cleanup_(store_closep)

/* Copies the write-ahead log back as far as readers allow: for idle moments, off the path of
 * requests. */
int store_checkpoint(struct store *store, struct error *err) _must_check_;

/* ---- transactions */

enum store_tx_kind {
	/* Refused with STORE_FULL while the file system has less than reserve_bytes free, or as
	 * many cannot be set aside behind the log. */
	STORE_TX_GROW = 1,
	/* Detach, unload, remove: may use the last of the space, and the blocks set aside. */
	STORE_TX_RELEASE = 2,
	/* The same two for what is worth nothing after a reboot, as the intent of kernel work that
	 * a loss of power undoes, too: a commit that survives the death of the process at any
	 * instruction, and of the machine once a commit of another kind has followed. No fsync. It
	 * may change nothing that has a revision or an audit row (STORE_FAILED): those were told to
	 * others, and must not come back as something else. */
	STORE_TX_GROW_INTENT = 3,
	STORE_TX_RELEASE_INTENT = 4,
};

/* On the stack, zeroed by store_tx_begin; fields are the store's own. */
struct store_tx {
	struct store *store;
	uint64_t start_revision;
};

/*
 *     _cleanup_store_tx_ struct store_tx tx = {};
 *     r = store_tx_begin(store, STORE_TX_GROW, &tx, err);
 *     ... changes ...
 *     return store_tx_commit(&tx, err);
 *
 * One transaction at a time: a second begin is STORE_FAILED. Commit is one fsync, if not of an
 * intent. A commit of nothing costs nothing.
 */
int store_tx_begin(struct store *store, enum store_tx_kind kind, struct store_tx *tx,
		   struct error *err) _must_check_;
int store_tx_commit(struct store_tx *tx, struct error *err) _must_check_;
/* Rolls back what was not committed; harmless on a zeroed or finished transaction. */
void store_tx_done(struct store_tx *tx);
#define _cleanup_store_tx_ _cleanup_(store_tx_done)

/*
 * Until store_snapshot_end() or the next store_tx_begin(), reads see one state of the store, and
 * share the locks that each would take for itself. Optional: where it cannot begin, reads go on one
 * by one. Harmless while there is one already, or a transaction.
 */
void store_snapshot_begin(struct store *store);
void store_snapshot_end(struct store *store);

/* ---- facts about the node */

struct store_meta {
	char uuid[STORE_UUID_LEN + 1];	  /* of this store, random, made with it */
	char node_id[129];		  /* "" until set */
	char boot_id[STORE_UUID_LEN + 1]; /* kernel's boot id last seen, "" at first */
	uint64_t revision;		  /* of the newest committed change */
	uint64_t policy_epoch;
	uint64_t created_at_ns;
};

int store_meta_get(struct store *store, struct store_meta *ret, struct error *err) _must_check_;
int store_meta_set_node_id(struct store_tx *tx, const char *node_id,
			   struct error *err) _must_check_;
int store_meta_set_boot_id(struct store_tx *tx, const char *boot_id,
			   struct error *err) _must_check_;
/* An epoch never goes back: a smaller one is INVALID_ARGUMENT. */
int store_meta_set_policy_epoch(struct store_tx *tx, uint64_t epoch,
				struct error *err) _must_check_;

struct store_counts {
	uint64_t n_bundles, n_instances, n_programs, n_maps, n_links;
};
int store_counts_get(struct store *store, struct store_counts *ret, struct error *err) _must_check_;
/* The same count of instances without looking: it costs as much with a thousand as with none. */
uint64_t store_n_instances(const struct store *store);

/* ---- changes, for Watch */

/*
 * Every function that changes a bundle, instance, program, map or link appends one change for it,
 * with a revision of its own (the counter grows by one for each change, and is also the `revision`
 * of the row), in the same transaction. Where a count that the API shows follows from another row
 * (links of a program and of an instance, instances of a bundle), the object that shows it gets a
 * change as well.
 */
enum store_object_kind {
	STORE_OBJECT_BUNDLE = 1,   /* `bundles/NAME@VERSION` */
	STORE_OBJECT_INSTANCE = 2, /* `instances/ID` */
	STORE_OBJECT_PROGRAM = 3,  /* `instances/ID/programs/NAME` */
	STORE_OBJECT_MAP = 4,	   /* `instances/ID/maps/NAME` */
	STORE_OBJECT_LINK = 5,	   /* `links/ID` */
};

struct store_change {
	uint64_t revision;
	uint32_t kind; /* enum store_object_kind */
	bool deleted;
	const char *name; /* resource name as in the API */
	uint64_t at_ns;
};

/* Revision of the newest change, those of the transaction under way included. Never fails. */
uint64_t store_revision(const struct store *store);

/*
 * Changes after since_revision, oldest first. WATCH_EXPIRED if changes after it were already
 * dropped, or if it lies in the future (a restored store).
 */
int store_change_list(struct store *store, uint64_t since_revision, size_t limit,
		      struct store_change **ret_rows, size_t *ret_n,
		      struct error *err) _must_check_;
