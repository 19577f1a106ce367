/* Intents are committed without waiting for the disk; everything else waits. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/fixture.h"

static unsigned int n_syncs;

/* In place of libc's for SQLite, too. */
int fdatasync(int fd)
{
	n_syncs++;
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	n_syncs++;
	return (int)syscall(SYS_fsync, fd);
}

static uint64_t commit_op(struct fixture *f, enum store_tx_kind kind)
{
	const struct store_op op = { .kind = "load", .instance = ID_A, .step = "load.intent" };
	struct store_tx tx;
	uint64_t id;

	fixture_ok(f, store_tx_begin(f->store, kind, &tx, &f->err));
	fixture_ok(f, store_op_begin(&tx, &op, &id, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
	return id;
}

static void an_intent_does_not_wait_for_the_disk_and_what_follows_does(void **state)
{
	struct fixture *f = *state;

	/* The first commit to a new log writes its header, and syncs that. */
	(void)commit_op(f, STORE_TX_GROW);
	n_syncs = 0;
	(void)commit_op(f, STORE_TX_GROW_INTENT);
	(void)commit_op(f, STORE_TX_RELEASE_INTENT);
	assert_int_equal(n_syncs, 0);
	(void)commit_op(f, STORE_TX_RELEASE);
	assert_int_equal(n_syncs, 1);
	(void)commit_op(f, STORE_TX_GROW);
	assert_int_equal(n_syncs, 2);
}

static void an_intent_survives_the_death_of_its_process(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_op *rows = NULL;
	int status;
	size_t n;
	pid_t pid;

	fixture_close(f);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		fixture_open(f);
		(void)commit_op(f, STORE_TX_GROW_INTENT);
		(void)kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	fixture_open(f);
	fixture_ok(f, store_op_list(f->store, 0, 10, &rows, &n, &f->err));
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].instance, ID_A);
}

static void an_intent_changes_nothing_that_others_were_told_of(void **state)
{
	struct fixture *f = *state;
	const struct store_audit row = { .at_ns = T0, .verb = "load" };
	_cleanup_free_ struct store_instance *instance = NULL;
	struct store_tx tx;

	fixture_populate(f);
	fixture_ok(f, store_tx_begin(f->store, STORE_TX_RELEASE_INTENT, &tx, &f->err));
	fixture_ok(f, store_instance_set_state(&tx, ID_A, INSTANCE_UNLOADING, "", &f->err));
	fixture_fails(f, store_tx_commit(&tx, &f->err), ERROR_STORE_FAILED);
	fixture_ok(f, store_tx_begin(f->store, STORE_TX_GROW_INTENT, &tx, &f->err));
	fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
	fixture_fails(f, store_tx_commit(&tx, &f->err), ERROR_STORE_FAILED);
	fixture_ok(f, store_instance_get(f->store, ID_A, &instance, &f->err));
	assert_int_equal(instance->state, INSTANCE_LOADING);
}

static int fail_once(void *data)
{
	int *left = data;

	return (*left)-- == 0 ? SQLITE_IOERR : SQLITE_OK;
}

static void a_failed_switch_leaves_a_store_that_waits_for_the_disk(void **state)
{
	struct fixture *f = *state;
	struct store_tx tx;
	int left = -1;

	fixture_close(f);
	f->options.fail_step = fail_once;
	f->options.fail_data = &left;
	fixture_open(f);
	(void)commit_op(f, STORE_TX_GROW_INTENT);
	left = 0;
	fixture_fails(f, store_tx_begin(f->store, STORE_TX_GROW, &tx, &f->err), ERROR_STORE_FAILED);
	n_syncs = 0;
	(void)commit_op(f, STORE_TX_GROW);
	assert_true(n_syncs >= 1);
	fixture_close(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_intent_does_not_wait_for_the_disk_and_what_follows_does),
		TEST(an_intent_survives_the_death_of_its_process),
		TEST(an_intent_changes_nothing_that_others_were_told_of),
		TEST(a_failed_switch_leaves_a_store_that_waits_for_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
