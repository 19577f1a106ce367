#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/internal.h"

#define RESERVE_STEP (UINT64_C(1) << 20)

/*
 * Opening the log beside SQLite is safe, other than the database itself: no locks are held on it
 * that closing a second fd would drop. While the store is open the log is never replaced.
 */
void tx_open_log(struct store *store)
{
	_cleanup_free_ char *path = NULL;

	if (asprintf(&path, "%s-wal", store->path) < 0) {
		path = NULL;
		return;
	}
	store->log_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

/*
 * Sets blocks aside behind the end of the log, so that what only takes away can still be committed
 * when somebody has filled the disk and the log cannot be copied back. False: there are none.
 */
static bool tx_reserve(struct store *store)
{
	uint64_t want;
	struct stat st;

	if (store->log_fd < 0 || fstat(store->log_fd, &st) < 0)
		return true;
	/* Cutting the log, which SQLite does after a big transaction, gives the blocks back. */
	if ((uint64_t)st.st_size < store->log_size_bytes)
		store->log_reserved_bytes = 0;
	store->log_size_bytes = (uint64_t)st.st_size;
	want = store->log_size_bytes + store->options.reserve_bytes;
	if (want <= store->log_reserved_bytes)
		return true;
	want += RESERVE_STEP;
	if (fallocate(store->log_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want) < 0)
		return errno != ENOSPC && errno != EDQUOT;
	store->log_reserved_bytes = want;
	return true;
}

int tx_check_space(struct store *store, uint64_t extra_bytes, struct error *err)
{
	struct statvfs fs;
	uint64_t free_bytes;

	if (statvfs(store->path, &fs) < 0)
		return error_raise_errno(err, ERROR_STORE_FAILED, errno, "looking at '%s'",
					 store->path);
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (free_bytes >= store->options.reserve_bytes + extra_bytes)
		return 0;
	return error_raise(
		err, ERROR_STORE_FULL,
		"the file system of '%s' has %llu bytes left, %llu are needed, and the last "
		"%llu are kept for detaching and removing",
		store->path, (unsigned long long)free_bytes, (unsigned long long)extra_bytes,
		(unsigned long long)store->options.reserve_bytes);
}

static int tx_step(struct store *store, enum sql_id id, const char *what, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, id);
	return query_run(&q, NULL, what, NULL, err);
}

/* In WAL mode a commit at NORMAL is a write to the log without fsync; the order of the log keeps.
 */
static int tx_relax(struct store *store, bool relaxed, struct error *err)
{
	int r = 0;

	if (store->relaxed != relaxed)
		r = sql_exec(store,
			     relaxed ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
			     err);
	if (r == 0)
		store->relaxed = relaxed;
	return r;
}

void store_snapshot_begin(struct store *store)
{
	if (store->tx == NULL && !store->snapshot)
		store->snapshot = tx_step(store, SQL_SNAPSHOT_BEGIN, "begin", NULL) == 0;
}

void store_snapshot_end(struct store *store)
{
	if (!store->snapshot)
		return;
	store->snapshot = false;
	/* It wrote nothing: rolled back it is over as well. */
	if (tx_step(store, SQL_SNAPSHOT_END, "end", NULL) < 0)
		sql_rollback(store);
}

int store_tx_begin(struct store *store, enum store_tx_kind kind, struct store_tx *tx,
		   struct error *err)
{
	int r;

	*tx = (struct store_tx){};
	if (store->tx != NULL)
		return error_raise(err, ERROR_STORE_FAILED, "a transaction is under way already");
	store_snapshot_end(store);
	if (kind == STORE_TX_GROW || kind == STORE_TX_GROW_INTENT) {
		r = tx_check_space(store, 0, err);
		if (r < 0)
			return r;
		if (!tx_reserve(store))
			return error_raise(err, ERROR_STORE_FULL,
					   "no space to set aside for detaching and removing");
	}
	r = tx_relax(store, kind == STORE_TX_GROW_INTENT || kind == STORE_TX_RELEASE_INTENT, err);
	if (r == 0)
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
	bool counts;
	int r = 0;

	if (store == NULL || store->tx != tx)
		return error_raise(err, ERROR_STORE_FAILED, "no transaction is under way");
	/* SQLite ends a transaction by itself when the disk fails under it. */
	if (store->doomed || sqlite3_get_autocommit(store->db))
		r = error_raise(err, ERROR_STORE_FAILED,
				"a step of this transaction failed, so it is rolled back");
	counts = memcmp(&store->now, &store->committed, sizeof(store->now)) != 0;
	if (r == 0 && counts && store->relaxed)
		r = error_raise(err, ERROR_STORE_FAILED, "an intent changes more than the journal");
	if (r == 0 && counts)
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
	/* Now rather than at the next begin, before others take the space. */
	(void)tx_reserve(store);
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
