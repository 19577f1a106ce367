#include "store/store.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "store/internal.h"

#define AUDIT_MAX_BYTES (UINT64_C(64) << 20)
#define RESERVE_BYTES (UINT64_C(4) << 20)
#define CHANGES_KEPT 10000u

/*
 * The cache stays at 1 MiB. Readers beside us (an auditor's sqlite3) hold no lock that a WAL writer
 * waits for, save for moments in which the log is recovered or restarted: 2 s is plenty, and bounds
 * how long core may stand.
 */
static const char open_pragmas[] = "PRAGMA locking_mode = NORMAL;"
				   "PRAGMA journal_mode = WAL;"
				   "PRAGMA synchronous = FULL;"
				   "PRAGMA foreign_keys = ON;"
				   "PRAGMA trusted_schema = OFF;"
				   "PRAGMA cell_size_check = ON;"
				   "PRAGMA cache_size = -1024;"
				   "PRAGMA temp_store = MEMORY;"
				   "PRAGMA wal_autocheckpoint = 512;";

#define BUSY_TIMEOUT_MS 2000

/* What core cannot start without; checked at open. */
static const char *const checked_tables[] = { "meta",	    "floors",	"instances",
					      "parameters", "programs", "maps",
					      "links",	    "ops",	"audit_open" };

/* The file with its mode, before SQLite sees it; SQLite gives the mode to its -wal and -shm. */
static int store_make_file(const char *path, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0) {
		if (fchmod(fd, 0600) < 0 || fsync(fd) < 0)
			return error_raise_errno(err, ERROR_STORE_FAILED, errno, "making '%s'",
						 path);
		return 0;
	}
	if (errno != EEXIST)
		return error_raise_errno(err,
					 errno == ENOSPC || errno == EDQUOT ? ERROR_STORE_FULL
									    : ERROR_STORE_FAILED,
					 errno, "making '%s'", path);
	if (lstat(path, &st) < 0)
		return error_raise_errno(err, ERROR_STORE_FAILED, errno, "looking at '%s'", path);
	if (!S_ISREG(st.st_mode))
		return error_raise(err, ERROR_STORE_FAILED, "'%s' is not a regular file", path);
	if ((st.st_mode & 07777) != 0600 && chmod(path, 0600) < 0)
		return error_raise_errno(err, ERROR_STORE_FAILED, errno, "setting the mode of '%s'",
					 path);
	return 0;
}

/* The directory entry of a new file must be on disk before anything is acknowledged. */
static int store_sync_directory(const char *path, struct error *err)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = -1;
	char *slash;

	if (copy == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "opening '%s'", path);
	slash = strrchr(copy, '/');
	if (slash != NULL)
		slash[slash == copy ? 1 : 0] = '\0';
	fd = open(slash != NULL ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return error_raise_errno(err, ERROR_STORE_FAILED, errno,
					 "syncing the folder of '%s'", path);
	return 0;
}

static int store_connect(struct store *store, struct error *err)
{
	int64_t wal = 0;
	int rc, r;

	rc = sqlite3_open_v2(store->path, &store->db,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
				     SQLITE_OPEN_EXRESCODE,
			     NULL);
	if (rc != SQLITE_OK)
		return sql_raise(store, rc, "open", err);
	(void)sqlite3_busy_timeout(store->db, BUSY_TIMEOUT_MS);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	(void)sqlite3_db_config(store->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	r = sql_exec(store, open_pragmas, err);
	if (r == 0)
		r = sql_read_int(store,
				 "SELECT count(*) FROM pragma_journal_mode "
				 "WHERE journal_mode = 'wal'",
				 &wal, err);
	if (r == 0 && wal != 1)
		return error_raise(err, ERROR_STORE_FAILED,
				   "'%s' is on a file system that cannot hold a WAL database",
				   store->path);
	return r;
}

static int store_check(struct store *store, struct error *err)
{
	char sql[128];
	int64_t n;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(checked_tables); i++) {
		(void)snprintf(sql, sizeof(sql),
			       "SELECT count(*) FROM pragma_quick_check('%s') "
			       "WHERE quick_check <> 'ok'",
			       checked_tables[i]);
		r = sql_read_int(store, sql, &n, err);
		if (r < 0)
			return r;
		if (n != 0)
			return error_raise(err, ERROR_STORE_CORRUPT,
					   "state database '%s': table '%s' is damaged",
					   store->path, checked_tables[i]);
	}
	return 0;
}

static int store_make_uuid(char out[static STORE_UUID_LEN + 1], struct error *err)
{
	uint8_t b[16];
	char hex[33];

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		return error_raise_errno(err, ERROR_INTERNAL, errno, "random bytes");
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	str_hex(b, sizeof(b), hex);
	(void)snprintf(out, STORE_UUID_LEN + 1, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		       hex + 16, hex + 20);
	return 0;
}

static const struct field counter_fields[] = {
	FIELD(U64, counters, revision),		 FIELD(U64, counters, changes_base),
	FIELD(U64, counters, audit_sequence),	 FIELD(U64, counters, audit_base_sequence),
	FIELD(U64, counters, audit_bytes),	 FIELD(FIXED, counters, audit_hash),
	FIELD(FIXED, counters, audit_base_hash),
};
static const struct row_type counter_type =
	ROW_TYPE(counters, counter_fields, ARRAY_SIZE(counter_fields));

int counters_save(struct store *store, struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, store, SQL_COUNTERS_SET);
	query_row(&q, &counter_type, &store->now);
	return query_run(&q, NULL, "writing the counters", NULL, err);
}

static int counters_load(struct store *store, struct error *err)
{
	_cleanup_query_ struct query q = {};
	_cleanup_query_ struct query last = {};
	int64_t n_instances;
	uint64_t sequence;
	int r;

	query_start(&q, store, SQL_COUNTERS_GET);
	query_start(&last, store, SQL_AUDIT_LAST);
	r = query_step(&q, err);
	if (r == 0)
		return error_raise(err, ERROR_STORE_CORRUPT,
				   "state database '%s' has no row in meta", store->path);
	if (r > 0)
		r = query_borrow(&q, &counter_type, &store->now, err);
	if (r == 0)
		r = query_step(&last, err);
	if (r < 0)
		return r;
	/* Rows that somebody put behind the newest must not make every later append collide. */
	sequence = (uint64_t)sqlite3_column_int64(last.stmt, 0);
	if (sequence > store->now.audit_sequence)
		store->now.audit_sequence = sequence;
	r = sql_read_int(store, "SELECT count(*) FROM instances", &n_instances, err);
	if (r < 0)
		return r;
	store->now.n_instances = (uint64_t)n_instances;
	store->committed = store->now;
	return 0;
}

static int store_create_meta(struct store *store, struct error *err)
{
	_cleanup_query_ struct query q = {};
	char uuid[STORE_UUID_LEN + 1];
	int r;

	r = store_make_uuid(uuid, err);
	if (r < 0)
		return r;
	query_start(&q, store, SQL_META_CREATE);
	query_text(&q, uuid);
	query_u64(&q, store->options.now_ns);
	return query_run(&q, NULL, "making the row in meta", NULL, err);
}

static int store_prepare(struct store *store, struct error *err)
{
	int r;

	r = store_make_file(store->path, err);
	if (r == 0)
		r = store_sync_directory(store->path, err);
	if (r == 0)
		r = store_connect(store, err);
	if (r == 0)
		r = schema_apply(store, err);
	if (r == 0)
		r = store_check(store, err);
	if (r == 0)
		r = store_create_meta(store, err);
	if (r == 0)
		r = counters_load(store, err);
	if (r < 0)
		return r;
	tx_open_log(store);
	return audit_deny_recover(store, err);
}

static void store_free(struct store *store)
{
	for (size_t i = 0; i < SQL_N; i++)
		(void)sqlite3_finalize(store->statements[i]);
	if (store->log_fd >= 0)
		(void)close(store->log_fd);
	(void)sqlite3_close(store->db);
	audit_deny_done(store);
	free(store->path);
	free(store);
}

int store_open(const struct store_options *options, struct store **ret, struct error *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int r;

	if (store == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "opening '%s'", options->path);
	store->log_fd = -1;
	store->options = *options;
	if (store->options.audit_max_bytes == 0)
		store->options.audit_max_bytes = AUDIT_MAX_BYTES;
	if (store->options.reserve_bytes == 0)
		store->options.reserve_bytes = RESERVE_BYTES;
	if (store->options.changes_kept == 0)
		store->options.changes_kept = CHANGES_KEPT;
	store->path = strdup(options->path);
	store->options.path = store->path;
	if (store->path == NULL)
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "opening '%s'", options->path);
	else
		r = store_prepare(store, err);
	if (r < 0) {
		store_free(store);
		return r;
	}
	*ret = store;
	return 0;
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	if (store->tx != NULL)
		store_tx_done(store->tx);
	/* What cannot be written stays in audit_open, for the next open. */
	(void)!store_audit_flush(store, UINT64_MAX, NULL);
	store_free(store);
}

int store_checkpoint(struct store *store, struct error *err)
{
	int rc;

	rc = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	/* A reader or nothing to do: the log is copied back another time. */
	if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED)
		return 0;
	return sql_raise(store, rc, "checkpoint", err);
}

int store_meta_get(struct store *store, struct store_meta *ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	struct store_meta meta = { .revision = store->now.revision };
	int r;

	query_start(&q, store, SQL_META_GET);
	r = query_step(&q, err);
	if (r <= 0)
		return r < 0 ? r
			     : error_raise(err, ERROR_STORE_CORRUPT,
					   "state database '%s' has no row in meta", store->path);
	(void)snprintf(meta.uuid, sizeof(meta.uuid), "%s", sqlite3_column_text(q.stmt, 0));
	(void)snprintf(meta.node_id, sizeof(meta.node_id), "%s", sqlite3_column_text(q.stmt, 1));
	(void)snprintf(meta.boot_id, sizeof(meta.boot_id), "%s", sqlite3_column_text(q.stmt, 2));
	meta.created_at_ns = (uint64_t)sqlite3_column_int64(q.stmt, 3);
	meta.policy_epoch = (uint64_t)sqlite3_column_int64(q.stmt, 4);
	*ret = meta;
	return 0;
}

static int meta_set_text(struct store_tx *tx, enum sql_id id, const char *text, size_t max,
			 struct error *err)
{
	_cleanup_query_ struct query q = {};

	query_start(&q, tx->store, id);
	if (strlen(text) > max)
		return tx_result(tx, error_raise(err, ERROR_INVALID_ARGUMENT,
						 "an id of more than %zu characters", max));
	query_text(&q, text);
	return tx_result(tx, query_run(&q, NULL, "writing meta", NULL, err));
}

int store_meta_set_node_id(struct store_tx *tx, const char *node_id, struct error *err)
{
	return meta_set_text(tx, SQL_META_NODE_ID, node_id,
			     sizeof(((struct store_meta *)NULL)->node_id) - 1, err);
}

int store_meta_set_boot_id(struct store_tx *tx, const char *boot_id, struct error *err)
{
	return meta_set_text(tx, SQL_META_BOOT_ID, boot_id, STORE_UUID_LEN, err);
}

int store_meta_set_policy_epoch(struct store_tx *tx, uint64_t epoch, struct error *err)
{
	_cleanup_query_ struct query q = {};
	size_t n = 0;
	int r;

	query_start(&q, tx->store, SQL_META_POLICY_EPOCH);
	query_u64(&q, epoch);
	r = query_run(&q, NULL, "writing the policy epoch", &n, err);
	if (r == 0 && n == 0)
		r = error_raise(err, ERROR_INVALID_ARGUMENT,
				"the policy epoch cannot go back to %llu",
				(unsigned long long)epoch);
	return tx_result(tx, r);
}

uint64_t store_n_instances(const struct store *store)
{
	return store->now.n_instances;
}

int store_counts_get(struct store *store, struct store_counts *ret, struct error *err)
{
	_cleanup_query_ struct query q = {};
	int r;

	query_start(&q, store, SQL_COUNTS);
	r = query_step(&q, err);
	if (r < 0)
		return r;
	*ret = (struct store_counts){
		.n_bundles = (uint64_t)sqlite3_column_int64(q.stmt, 0),
		.n_instances = (uint64_t)sqlite3_column_int64(q.stmt, 1),
		.n_programs = (uint64_t)sqlite3_column_int64(q.stmt, 2),
		.n_maps = (uint64_t)sqlite3_column_int64(q.stmt, 3),
		.n_links = (uint64_t)sqlite3_column_int64(q.stmt, 4),
	};
	return 0;
}
