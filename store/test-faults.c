/* What is left of a store when SQLite fails, the disk is full, or the process dies at any moment.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/fixture.h"

/* ---- the n-th step fails */

struct fault {
	int n; /* steps that still succeed; negative: none fails */
	int code;
	bool hit;
};

static int fault_step(void *data)
{
	struct fault *fault = data;

	if (fault->n < 0 || fault->n-- > 0)
		return SQLITE_OK;
	fault->hit = true;
	return fault->code;
}

typedef int change_fn(struct store_tx *tx, struct error *err);

static uint64_t op_id;

#define CHANGE(name) static int name(struct store_tx *tx, struct error *err)

CHANGE(node_id)
{
	return store_meta_set_node_id(tx, "n1", err);
}
CHANGE(boot_id)
{
	return store_meta_set_boot_id(tx, "boot", err);
}
CHANGE(policy_epoch)
{
	return store_meta_set_policy_epoch(tx, 3, err);
}
CHANGE(bundle_insert)
{
	static const struct store_signature signature = { .key_id = "K", .signer = "s" };
	struct store_bundle row = fixture_bundle(5);

	row.has_obsoletes_below = true;
	row.obsoletes_below[0] = 2;
	return store_bundle_insert(tx, &row, &signature, 1, fixture_bytes, err);
}
CHANGE(btf_put)
{
	const struct store_bundle row = fixture_bundle(5);

	return store_btf_put(tx, row.digest, "main", "btf", 3, err);
}
CHANGE(floor_raise)
{
	static const uint32_t version[3] = { 4, 0, 0 };

	return store_floor_raise(tx, "lb", version, err);
}
CHANGE(instance_insert)
{
	static const struct store_parameter parameters[] = { { "a", "1" }, { "b", "2" } };
	struct store_instance row = fixture_instance(ID_B, 5);

	return store_instance_insert(tx, &row, parameters, 2, err);
}
CHANGE(instance_update)
{
	struct store_instance row = fixture_instance(ID_B, 5);

	row.state = INSTANCE_READY;
	return store_instance_update(tx, &row, err);
}
CHANGE(instance_set_state)
{
	return store_instance_set_state(tx, ID_B, INSTANCE_ATTACHED, "", err);
}
CHANGE(program_put)
{
	const struct store_program row = fixture_program(ID_B, "p", 0);

	return store_program_put(tx, &row, err);
}
CHANGE(map_put)
{
	const struct store_map row = fixture_map(ID_B, "m", 0);

	return store_map_put(tx, &row, err);
}
CHANGE(entry_put)
{
	return store_entry_put(tx, ID_B, "m", "k", 1, "v", 1, err);
}
CHANGE(entry_delete)
{
	return store_entry_delete(tx, ID_B, "m", "k", 1, NULL, err);
}
CHANGE(link_insert)
{
	const struct store_link row = fixture_link(LINK_B, ID_B, "p");

	return store_link_insert(tx, &row, err);
}
CHANGE(link_update)
{
	struct store_link row = fixture_link(LINK_B, ID_B, "p");

	row.kernel_id = 5;
	return store_link_update(tx, &row, err);
}
CHANGE(link_set_state)
{
	return store_link_set_state(tx, LINK_B, LINK_DRIFTED, "", err);
}
CHANGE(link_delete)
{
	return store_link_delete(tx, LINK_B, err);
}
CHANGE(op_begin)
{
	const struct store_op row = { .kind = "load", .step = "intent" };

	return store_op_begin(tx, &row, &op_id, err);
}
CHANGE(op_step)
{
	return store_op_step(tx, op_id, "pinned", &(struct store_bytes){ "x", 1 }, err);
}
CHANGE(op_end)
{
	return store_op_end(tx, op_id, err);
}
CHANGE(request_insert)
{
	const struct store_request row = { .identity = "i", .method = "m", .request_id = "r" };

	return store_request_insert(tx, &row, err);
}
CHANGE(request_purge)
{
	size_t n;

	return store_request_purge(tx, T0, 10, &n, err);
}
CHANGE(audit_append)
{
	const struct store_audit row = { .at_ns = T0, .verb = "load" };

	return store_audit_append(tx, &row, NULL, err);
}
CHANGE(audit_append_many)
{
	struct store_audit row = { .at_ns = T0, .verb = "load" };
	int r = 0;

	for (int i = 0; i < 100 && r == 0; i++)
		r = store_audit_append(tx, &row, NULL, err);
	return r;
}
CHANGE(instance_delete)
{
	return store_instance_delete(tx, ID_A, err);
}
CHANGE(bundle_delete)
{
	static const uint32_t version[3] = { 1, 0, 0 };

	return store_bundle_delete(tx, "lb", version, err);
}
/* These two make transactions of their own; tx only names the store. */
CHANGE(deny)
{
	const struct store_audit row = { .at_ns = T0, .verb = "x", .outcome = "denied" };

	return store_audit_deny(tx->store, &row, err);
}
CHANGE(flush)
{
	return store_audit_flush(tx->store, UINT64_MAX, err);
}

static const struct {
	const char *name;
	change_fn *change;
	bool own_transaction;
} changes[] = {
	{ "node_id", node_id, false },
	{ "boot_id", boot_id, false },
	{ "policy_epoch", policy_epoch, false },
	{ "bundle_insert", bundle_insert, false },
	{ "btf_put", btf_put, false },
	{ "floor_raise", floor_raise, false },
	{ "instance_insert", instance_insert, false },
	{ "instance_update", instance_update, false },
	{ "instance_set_state", instance_set_state, false },
	{ "program_put", program_put, false },
	{ "map_put", map_put, false },
	{ "entry_put", entry_put, false },
	{ "entry_delete", entry_delete, false },
	{ "link_insert", link_insert, false },
	{ "link_update", link_update, false },
	{ "link_set_state", link_set_state, false },
	{ "link_delete", link_delete, false },
	{ "op_begin", op_begin, false },
	{ "op_step", op_step, false },
	{ "op_end", op_end, false },
	{ "request_insert", request_insert, false },
	{ "request_purge", request_purge, false },
	{ "audit_append", audit_append, false },
	{ "audit_append_many (trims)", audit_append_many, false },
	{ "instance_delete", instance_delete, false },
	{ "bundle_delete", bundle_delete, false },
	{ "deny, the first", deny, true },
	{ "deny, a second", deny, true },
	{ "flush", flush, true },
};

static int apply(struct fixture *f, size_t which)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	int r;

	f->err = (struct error){};
	if (changes[which].own_transaction) {
		struct store_tx store_only = { .store = f->store };

		return changes[which].change(&store_only, &f->err);
	}
	r = store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err);
	if (r == 0)
		r = changes[which].change(&tx, &f->err);
	return r < 0 ? r : store_tx_commit(&tx, &f->err);
}

struct numbers {
	uint64_t revision, sequence;
	uint8_t head[STORE_HASH_LEN];
};

static void read_numbers(struct fixture *f, struct numbers *out)
{
	memset(out, 0, sizeof(*out));
	out->revision = store_revision(f->store);
	store_audit_head(f->store, &out->sequence, out->head);
}

/* Fails the change at every step in turn; each time nothing of it may be left. */
static void fail_everywhere(struct fixture *f, struct fault *fault, size_t which,
			    enum error_code expected)
{
	_cleanup_free_ char *before = fixture_dump(f);
	struct numbers was, is;
	int r = -1;

	read_numbers(f, &was);
	for (int n = 0; n < 3000; n++) {
		_cleanup_free_ char *after = NULL;

		fault->n = n;
		fault->hit = false;
		r = apply(f, which);
		fault->n = -1;
		after = fixture_dump(f);
		if (!fault->hit) {
			fixture_ok(f, r);
			assert_true(n > 0);
			assert_string_not_equal(before, after);
			return;
		}
		if (r >= 0 || f->err.code != expected)
			fail_msg("%s, step %d: %d, %s", changes[which].name, n, r, f->err.message);
		if (strcmp(before, after) != 0)
			fail_msg("%s, step %d: something is left", changes[which].name, n);
		read_numbers(f, &is);
		assert_memory_equal(&is, &was, sizeof(is));
	}
	fail_msg("%s never succeeds", changes[which].name);
}

static void fail_all(struct fixture *f, int code, enum error_code expected)
{
	struct fault fault = { .n = -1, .code = code };
	struct store_audit_verdict verdict;

	fixture_close(f);
	f->options.fail_step = fault_step;
	f->options.fail_data = &fault;
	f->options.audit_max_bytes = 8 << 10;
	fixture_open(f);
	fixture_populate(f);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		/* A second denial is only counted when it cannot be written: its step is failed
		 * apart. */
		if (strcmp(changes[i].name, "deny, a second") != 0)
			fail_everywhere(f, &fault, i, expected);
		else
			fixture_ok(f, apply(f, i));
	fixture_ok(f, store_audit_verify(f->store, &verdict, &f->err));
	assert_int_equal(verdict.broken_sequence, 0);
	fixture_close(f);
	fixture_open(f);
	fixture_close(f);
}

static void a_full_disk_at_any_step_leaves_nothing_behind(void **state)
{
	fail_all(*state, SQLITE_FULL, ERROR_STORE_FULL);
}

static void a_write_error_at_any_step_leaves_nothing_behind(void **state)
{
	fail_all(*state, SQLITE_READONLY, ERROR_STORE_FAILED);
}

static void damage_at_any_step_leaves_nothing_behind(void **state)
{
	fail_all(*state, SQLITE_CORRUPT, ERROR_STORE_CORRUPT);
}

static void no_memory_at_any_step_leaves_nothing_behind(void **state)
{
	fail_all(*state, SQLITE_NOMEM, ERROR_OUT_OF_MEMORY);
}

static void a_denial_that_cannot_be_written_is_still_counted(void **state)
{
	struct fixture *f = *state;
	struct fault fault = { .n = -1, .code = SQLITE_FULL };
	struct store_audit row = { .at_ns = T0, .verb = "load", .outcome = "denied" };
	_cleanup_free_ char *sum = NULL;

	fixture_close(f);
	f->options.fail_step = fault_step;
	f->options.fail_data = &fault;
	fixture_open(f);
	fixture_ok(f, store_audit_deny(f->store, &row, &f->err));
	fault.n = 0;
	fixture_fails(f, store_audit_deny(f->store, &row, &f->err), ERROR_STORE_FULL);
	fault.n = -1;
	fixture_ok(f, store_audit_deny(f->store, &row, &f->err));
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	sum = fixture_sql_text(f, "SELECT sum(count) FROM audit");
	assert_string_equal(sum, "3");
	fixture_close(f);
}

static void opening_that_fails_at_any_step_can_be_repeated(void **state)
{
	struct fixture *f = *state;
	struct fault fault = { .code = SQLITE_FULL };
	struct store_meta meta;
	int n, r = -1;

	fixture_close(f);
	assert_return_code(unlink(f->path), 0);
	f->options.fail_step = fault_step;
	f->options.fail_data = &fault;
	for (n = 0; n < 1000; n++) {
		fault.n = n;
		fault.hit = false;
		r = store_open(&f->options, &f->store, &f->err);
		if (!fault.hit)
			break;
		fixture_fails(f, r, ERROR_STORE_FULL);
		assert_null(f->store);
	}
	fixture_ok(f, r);
	assert_true(n > 30);
	fault.n = -1;
	fixture_ok(f, store_meta_get(f->store, &meta, &f->err));
	assert_int_equal(strlen(meta.uuid), STORE_UUID_LEN);
	fixture_close(f);
}

/* ---- the process dies */

/* Commits numbered rows and says each number once it is committed, until it is killed. */
static void commit_until_killed(struct fixture *f, int out)
{
	uint64_t sequence;

	if (store_open(&f->options, &f->store, &f->err) < 0)
		_exit(1);
	for (;;) {
		_cleanup_store_tx_ struct store_tx tx = {};
		const struct store_audit row = { .at_ns = T0, .verb = "load" };
		const struct store_op op = { .kind = "load" };
		uint64_t id;

		if (store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err) < 0 ||
		    store_audit_append(&tx, &row, &sequence, &f->err) < 0 ||
		    store_instance_set_state(&tx, ID_A, INSTANCE_READY, "", &f->err) < 0 ||
		    store_op_begin(&tx, &op, &id, &f->err) < 0 ||
		    store_op_end(&tx, id, &f->err) < 0 ||
		    store_instance_set_state(&tx, ID_A, INSTANCE_ATTACHED, "", &f->err) < 0 ||
		    store_tx_commit(&tx, &f->err) < 0)
			_exit(2);
		if (write(out, &sequence, sizeof(sequence)) != sizeof(sequence))
			_exit(3);
	}
}

/* Kills the process after_us microseconds after its start or, with committed, after its first
 * commit. */
static uint64_t run_and_kill(struct fixture *f, useconds_t after_us, bool committed)
{
	uint64_t acknowledged = 0, sequence;
	int pipe_fds[2], status;
	pid_t pid;

	assert_return_code(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid = fork();
	assert_return_code(pid, 0);
	if (pid == 0)
		commit_until_killed(f, pipe_fds[1]);
	assert_return_code(close(pipe_fds[1]), 0);
	if (committed)
		assert_int_equal(read(pipe_fds[0], &acknowledged, sizeof(acknowledged)),
				 sizeof(acknowledged));
	(void)usleep(after_us);
	assert_return_code(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	while (read(pipe_fds[0], &sequence, sizeof(sequence)) == sizeof(sequence))
		acknowledged = sequence;
	assert_return_code(close(pipe_fds[0]), 0);
	return acknowledged;
}

static void no_acknowledged_commit_is_lost_by_a_hundred_kills(void **state)
{
	struct fixture *f = *state;
	struct store_audit_verdict verdict;
	uint64_t acknowledged, total = 0, sequence, revision = 0;
	uint8_t head[STORE_HASH_LEN];

	fixture_populate(f);
	for (useconds_t round = 0; round < 100; round++) {
		_cleanup_free_ struct store_op *ops = NULL;
		_cleanup_free_ struct store_instance *instance = NULL;
		size_t n_ops;

		fixture_close(f);
		/* Spread over opening (the first milliseconds) and committing. */
		acknowledged = run_and_kill(f, 1000 + round * 7919 % 24000, round % 2 == 1);
		fixture_open(f);
		store_audit_head(f->store, &sequence, head);
		assert_true(sequence >= acknowledged && sequence >= total);
		/* At most one was committed without the chance to say so. */
		assert_true(sequence <= (acknowledged > total ? acknowledged : total) + 1);
		total = sequence;
		fixture_ok(f, store_audit_verify_tail(f->store, 2000, &verdict, &f->err));
		assert_int_equal(verdict.broken_sequence, 0);
		/* Each transaction is whole: both changes of it, no operation under way. */
		assert_int_equal(store_revision(f->store), 9 + 2 * sequence);
		assert_true(store_revision(f->store) >= revision);
		revision = store_revision(f->store);
		fixture_ok(f, store_op_list(f->store, 0, 10, &ops, &n_ops, &f->err));
		assert_int_equal(n_ops, 0);
		fixture_ok(f, store_instance_get(f->store, ID_A, &instance, &f->err));
		assert_int_equal(instance->state, total > 0 ? INSTANCE_ATTACHED : INSTANCE_LOADING);
	}
	assert_true(total >= 50);
}

/* ---- the disk is full */

static void insert_until_full(struct fixture *f, uint32_t *ret_n)
{
	_cleanup_free_ uint8_t *bytes = calloc(1, 300000);
	int r = 0;

	assert_non_null(bytes);
	for (*ret_n = 0; *ret_n < 200; (*ret_n)++) {
		struct store_bundle row = fixture_bundle(2 + *ret_n);
		_cleanup_store_tx_ struct store_tx tx = {};

		row.size_bytes = 300000;
		r = store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err);
		if (r == 0)
			r = store_bundle_insert(&tx, &row, NULL, 0, bytes, &f->err);
		if (r == 0)
			r = store_tx_commit(&tx, &f->err);
		if (r < 0)
			break;
	}
	fixture_fails(f, r, ERROR_STORE_FULL);
}

static void on_a_full_disk(struct fixture *f)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	const struct store_audit row = { .at_ns = T0, .verb = "detach" };
	struct store_counts counts;
	struct store_bundle *none = NULL;
	char path[128];
	uint32_t n;

	fixture_open(f);
	fixture_populate(f);
	insert_until_full(f, &n);
	assert_true(n >= 3);
	/* Somebody else takes even the last block. */
	(void)snprintf(path, sizeof(path), "%s/filler", f->folder);
	{
		_cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		char block[4096] = { 1 };

		assert_return_code(fd, 0);
		while (write(fd, block, sizeof(block)) > 0)
			;
	}
	fixture_fails(f, store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err), ERROR_STORE_FULL);
	for (int i = 0; i < 20; i++) {
		fixture_ok(f, store_tx_begin(f->store, STORE_TX_RELEASE, &tx, &f->err));
		fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
		fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_UNLOADING, "", &f->err));
		fixture_ok(f, store_tx_commit(&tx, &f->err));
	}
	fixture_ok(f, store_tx_begin(f->store, STORE_TX_RELEASE, &tx, &f->err));
	fixture_ok(f, store_link_delete(&tx, LINK_A, &f->err));
	fixture_ok(f, store_instance_delete(&tx, ID_A, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	assert_return_code(unlink(path), 0);
	fixture_ok(f, store_counts_get(f->store, &counts, &f->err));
	assert_int_equal(counts.n_bundles, n + 1);
	assert_int_equal(counts.n_instances, 0);
	fixture_fails(
		f,
		store_bundle_get(f->store, "lb", (const uint32_t[]){ 2 + n, 0, 0 }, &none, &f->err),
		ERROR_NOT_FOUND);
	fixture_close(f);
	fixture_open(f);
	fixture_ok(f, store_counts_get(f->store, &counts, &f->err));
	assert_int_equal(counts.n_links, 0);
	fixture_close(f);
}

static void on_a_full_disk_what_takes_away_is_still_recorded(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	fixture_close(f);
	assert_return_code(unlink(f->path), 0);
	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_return_code(pid, 0);
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("tmpfs", f->folder, "tmpfs", MS_NOSUID, "size=8m,mode=700") < 0)
			_exit(77);
		on_a_full_disk(f);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void a_file_size_limit_is_a_full_disk(void **state)
{
	struct fixture *f = *state;
	struct rlimit was, limit;
	struct store_counts counts;
	uint32_t n;

	fixture_populate(f);
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_return_code(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = (struct rlimit){ 3 << 20, was.rlim_max };
	assert_return_code(setrlimit(RLIMIT_FSIZE, &limit), 0);
	insert_until_full(f, &n);
	assert_return_code(setrlimit(RLIMIT_FSIZE, &was), 0);
	fixture_ok(f, store_counts_get(f->store, &counts, &f->err));
	assert_int_equal(counts.n_bundles, n + 1);
	f->err = (struct error){};
	{
		struct store_bundle row = fixture_bundle(2 + n);
		struct store_tx tx;

		(void)fixture_begin(f, &tx);
		fixture_ok(f, store_bundle_insert(&tx, &row, NULL, 0, fixture_bytes, &f->err));
		fixture_ok(f, store_tx_commit(&tx, &f->err));
	}
}

/* ---- somebody reads */

static void an_auditor_reads_a_snapshot_while_commits_go_on(void **state)
{
	struct fixture *f = *state;
	const struct store_audit row = { .at_ns = T0, .verb = "load" };
	_cleanup_free_ char *answer = NULL;
	char command[256], path[128];
	struct store_tx tx;
	size_t size = 0;
	FILE *tool, *out;

	if (system("command -v sqlite3 >/dev/null") != 0)
		skip();
	(void)snprintf(path, sizeof(path), "%s/answer", f->folder);
	(void)snprintf(command, sizeof(command), "sqlite3 -readonly %s > %s", f->path, path);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	tool = popen(command, "we");
	assert_non_null(tool);
	assert_true(fputs("BEGIN;\nSELECT count(*) FROM audit_log;\n.system sync\n", tool) >= 0);
	assert_int_equal(fflush(tool), 0);
	(void)usleep(200000);
	/* More than the log holds before it is copied back. */
	for (int i = 0; i < 1000; i++) {
		(void)fixture_begin(f, &tx);
		fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
		fixture_ok(f, store_tx_commit(&tx, &f->err));
	}
	fixture_ok(f, store_checkpoint(f->store, &f->err));
	assert_true(fputs("SELECT count(*) FROM audit_log;\nCOMMIT;\n"
			  "SELECT count(*) FROM audit_log;\n",
			  tool) >= 0);
	assert_int_equal(pclose(tool), 0);
	out = fopen(path, "re");
	assert_non_null(out);
	assert_true(getdelim(&answer, &size, '\0', out) > 0);
	assert_string_equal(answer, "1\n1\n1001\n");
	(void)fclose(out);
	assert_return_code(unlink(path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_full_disk_at_any_step_leaves_nothing_behind),
		TEST(a_write_error_at_any_step_leaves_nothing_behind),
		TEST(damage_at_any_step_leaves_nothing_behind),
		TEST(no_memory_at_any_step_leaves_nothing_behind),
		TEST(a_denial_that_cannot_be_written_is_still_counted),
		TEST(opening_that_fails_at_any_step_can_be_repeated),
		TEST(no_acknowledged_commit_is_lost_by_a_hundred_kills),
		TEST(on_a_full_disk_what_takes_away_is_still_recorded),
		TEST(a_file_size_limit_is_a_full_disk),
		TEST(an_auditor_reads_a_snapshot_while_commits_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
