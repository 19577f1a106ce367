/* Where a symbol is, as front says it of links whose file was replaced, and of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/request.h"
#include "proto/arena.h"
#include "store/fixture.h"

#define CHANGED "TARGET_CHANGED: /bin/x is not the file in which the symbol was found"
#define OFFSET 0x4010 /* of fixture_link() */
#define FOUND 0x777

static struct core core;

static int start(void **state)
{
	struct fixture *f;
	struct error err = { 0 };

	if (fixture_setup(state) < 0)
		return -1;
	f = *state;
	fixture_populate(f);
	core = (struct core){ .store = f->store };
	/* A link that may be attached again is found busy, instead of being attached. */
	return busy_enter(&core, ID_A, true, &err);
}

static int stop(void **state)
{
	busy_leave(&core, ID_A);
	return fixture_teardown(state);
}

static void put_link(struct fixture *f, const char *kind, enum link_state link_state,
		     const char *reason)
{
	struct store_link row = fixture_link(LINK_B, ID_A, "count");
	struct store_tx tx;

	row.hook_kind = kind;
	row.state = link_state;
	row.reason = reason;
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_link_insert(&tx, &row, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

/* As front does it; problem NULL: it was found. */
static enum error_code resolve(const char *problem)
{
	Bpfleet__Ipc__ResolveLinkRequest message = BPFLEET__IPC__RESOLVE_LINK_REQUEST__INIT;
	Bpfleet__Ipc__ResolvedTarget target = BPFLEET__IPC__RESOLVED_TARGET__INIT;
	Bpfleet__Ipc__Request wire = BPFLEET__IPC__REQUEST__INIT;
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	struct request request = { .core = &core,
				   .frame = { .frame = &frame },
				   .message = &message.base };
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	int r;

	target.offset = FOUND;
	target.dev = 1;
	target.inode = 2;
	message.link = (char *)(uintptr_t)LINK_B;
	if (problem != NULL)
		message.problem = (char *)(uintptr_t)problem;
	else
		wire.resolved = &target;
	frame.request = &wire;
	request.arena = arena_new(65536);
	assert_non_null(request.arena);
	r = serve_resolve_link(&request, &response, &err);
	arena_free(request.arena);
	assert_true((r < 0) == (err.code != ERROR_NONE));
	return err.code;
}

static void assert_link(struct fixture *f, uint64_t offset, enum link_state link_state,
			const char *reason)
{
	_cleanup_free_ struct store_link *row = NULL;

	fixture_ok(f, store_link_get(f->store, LINK_B, &row, &f->err));
	assert_int_equal(row->resolved_offset, offset);
	assert_int_equal(row->state, link_state);
	assert_string_equal(row->reason, reason);
}

static void drop_link(struct fixture *f)
{
	struct store_tx tx;

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_link_delete(&tx, LINK_B, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void a_symbol_that_nobody_asked_for_is_refused(void **state)
{
	static const struct {
		const char *kind;
		enum link_state state;
		const char *reason;
	} rows[] = {
		{ "uprobe", LINK_PENDING_TARGET, "TARGET_NOT_FOUND: cannot open /bin/x" },
		{ "uprobe", LINK_PENDING_TARGET, "TARGET_CHANGED" },
		{ "uprobe", LINK_PENDING_TARGET, "" },
		{ "usdt", LINK_TARGET_GONE, "the file /bin/x was removed" },
		{ "uprobe", LINK_ATTACHED, CHANGED },
		{ "uprobe", LINK_DETACHED, CHANGED },
		{ "xdp", LINK_PENDING_TARGET, CHANGED },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		put_link(f, rows[i].kind, rows[i].state, rows[i].reason);
		assert_int_equal(resolve(NULL), ERROR_PROTOCOL);
		assert_int_equal(resolve("it has none"), ERROR_PROTOCOL);
		assert_link(f, OFFSET, rows[i].state, rows[i].reason);
		drop_link(f);
	}
	assert_int_equal(resolve(NULL), ERROR_NOT_FOUND);
}

static void nothing_is_resolved_while_held_or_stopping(void **state)
{
	struct fixture *f = *state;

	put_link(f, "uprobe", LINK_PENDING_TARGET, CHANGED);
	core.held_by_owner = true;
	assert_int_equal(resolve(NULL), ERROR_UNAVAILABLE);
	core.held_by_owner = false;
	core.stopping = true;
	assert_int_equal(resolve(NULL), ERROR_UNAVAILABLE);
	assert_link(f, OFFSET, LINK_PENDING_TARGET, CHANGED);
}

static void a_symbol_of_a_replaced_file_is_taken(void **state)
{
	struct fixture *f = *state;

	put_link(f, "uprobe", LINK_PENDING_TARGET, CHANGED);
	assert_int_equal(resolve(NULL), ERROR_INSTANCE_BUSY);
	assert_link(f, FOUND, LINK_PENDING_TARGET, CHANGED);
	drop_link(f);
	put_link(f, "usdt", LINK_TARGET_GONE, CHANGED);
	assert_int_equal(resolve(NULL), ERROR_INSTANCE_BUSY);
	assert_link(f, FOUND, LINK_TARGET_GONE, CHANGED);
}

static void what_is_wrong_is_recorded_and_may_be_resolved_later(void **state)
{
	struct fixture *f = *state;

	put_link(f, "uprobe", LINK_TARGET_GONE, CHANGED);
	assert_int_equal(resolve("it has none"), ERROR_NONE);
	assert_link(f, OFFSET, LINK_PENDING_TARGET,
		    "TARGET_CHANGED: the file was replaced: it has none");
	assert_int_equal(resolve(NULL), ERROR_INSTANCE_BUSY);
	assert_link(f, FOUND, LINK_PENDING_TARGET,
		    "TARGET_CHANGED: the file was replaced: it has none");
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_symbol_that_nobody_asked_for_is_refused),
		T(nothing_is_resolved_while_held_or_stopping),
		T(a_symbol_of_a_replaced_file_is_taken),
		T(what_is_wrong_is_recorded_and_may_be_resolved_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
