#include <sys/statvfs.h>

#include "store/internal.h"

static int tx_check_space(struct store *store, struct error *err)
{
	struct statvfs fs;
	uint64_t free_bytes;

	if (statvfs(store->path, &fs) < 0)
		return error_raise_errno(err, ERROR_STORE_FAILED, errno, "looking at '%s'",
					 store->path);
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes >= store->options.reserve_bytes)
		return 0;
	return error_raise(
		err, ERROR_STORE_FULL,
		"the file system of '%s' has %llu bytes left, and the last %llu are kept for "
		"detaching and removing",
		store->path, (unsigned long long)free_bytes,
		(unsigned long long)store->options.reserve_bytes);
}

static int tx_step(struct store *store, enum sql_id id, const char *what, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, id);
	return query_run(&q, NULL, what, NULL, err);
}

int store_tx_begin(struct store *store, enum store_tx_kind kind, struct store_tx *tx,
		   struct error *err)
{
	int r;

	*tx = (struct store_tx){};
	if (store->tx != NULL)
		return error_raise(err, ERROR_STORE_FAILED, "a transaction is under way already");
	if (kind != STORE_TX_RELEASE) {
		r = tx_check_space(store, err);
		if (r < 0)
			return r;
	}
	r = tx_step(store, SQL_BEGIN, "begin", err);
	if (r < 0) {
		sql_rollback(store);
		return r;
	}
	*tx = (struct store_tx){ .store = store, .start_revision = store->now.revision };
	store->tx = tx;
	store->doomed = false;
	store->tx_at_ns = clock_realtime_ns();
	return 0;
}

int tx_result(struct store_tx *tx, int r)
{
	if (r < 0)
		tx->store->doomed = true;
	return r;
}

int store_tx_commit(struct store_tx *tx, struct error *err)
{
	struct store *store = tx->store;
	int r = 0;

	if (store == NULL || store->tx != tx)
		return error_raise(err, ERROR_STORE_FAILED, "no transaction is under way");
	/* SQLite ends a transaction by itself when the disk fails under it. */
	if (store->doomed || sqlite3_get_autocommit(store->db))
		r = error_raise(err, ERROR_STORE_FAILED,
				"a step of this transaction failed, so it is rolled back");
	if (r == 0 && memcmp(&store->now, &store->committed, sizeof(store->now)) != 0)
		r = counters_save(store, err);
	if (r == 0)
		r = tx_step(store, SQL_COMMIT, "commit", err);
	if (r < 0) {
		store_tx_done(tx);
		return r;
	}
	store->committed = store->now;
	store->tx = NULL;
	tx->store = NULL;
	return 0;
}

void store_tx_done(struct store_tx *tx)
{
	struct store *store = tx->store;

	if (store == NULL)
		return;
	sql_rollback(store);
	store->now = store->committed;
	store->tx = NULL;
	store->doomed = false;
	tx->store = NULL;
}
