#include "store/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "store/fixture.h"

#define MINUTE UINT64_C(60000000000)

static struct store_audit audit_row(const char *verb, const char *object, uint64_t at_ns)
{
	return (struct store_audit){
		.at_ns = at_ns,
		.identity = "uid:1000",
		.verb = verb,
		.object = object,
		.outcome = "ok",
	};
}

static void append(struct fixture *f, const struct store_audit *row)
{
	_cleanup_store_tx_ struct store_tx tx = {};

	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_audit_append(&tx, row, NULL, &f->err));
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static void append_many(struct fixture *f, int n)
{
	_cleanup_store_tx_ struct store_tx tx = {};
	struct store_audit row = audit_row("load", "instances/x", T0);

	(void)fixture_begin(f, &tx);
	for (int i = 0; i < n; i++) {
		row.at_ns++;
		fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
	}
	fixture_ok(f, store_tx_commit(&tx, &f->err));
}

static struct store_audit_verdict verify(struct fixture *f)
{
	struct store_audit_verdict verdict;

	fixture_ok(f, store_audit_verify(f->store, &verdict, &f->err));
	return verdict;
}

/* The vectors of SCHEMA.md, made with Python's hashlib. */
static void the_chain_has_the_hashes_of_the_document(void **state)
{
	static const char *const expected[] = {
		"03490185815d1643ffd943b10aa249a23330a24081b2c74bfcf1b80b2bfc0bae",
		"428ac7803fd449f897fbe335f5f60ca81681027051412c291a6b80a85b34f92b"
	};
	struct fixture *f = *state;
	_cleanup_free_ struct store_audit *rows = NULL;
	uint8_t digest[STORE_DIGEST_LEN], head[STORE_HASH_LEN];
	struct store_audit row = {
		.at_ns = UINT64_C(1763879400123456789),
		.identity = "uid:1000",
		.claimed_actor = "alice",
		.verb = "load",
		.object = "bundles/packet_count@1.2.3",
		.digest = { digest, sizeof(digest) },
		.signers = "0123456789ABCDEF",
		.outcome = "ok",
		.duration_ns = 1500000,
	};
	char hex[2 * STORE_HASH_LEN + 1];
	uint64_t sequence;
	size_t n;

	for (size_t i = 0; i < sizeof(digest); i++)
		digest[i] = (uint8_t)i;
	append(f, &row);
	append(f, &(struct store_audit){ .at_ns = UINT64_C(1763879401000000000),
					 .identity = "uid:1001",
					 .verb = "attach",
					 .object = "xdp:eth0",
					 .outcome = "denied",
					 .reason = "PERMISSION_DENIED",
					 .detail = "na\xc3\xafve",
					 .count = 3 });
	fixture_ok(f, store_audit_list(f->store, NULL, 0, 10, &rows, &n, &f->err));
	assert_int_equal(n, 2);
	for (size_t i = 0; i < n; i++) {
		str_hex(rows[i].hash, STORE_HASH_LEN, hex);
		assert_string_equal(hex, expected[i]);
	}
	assert_memory_equal(rows[1].previous_hash, rows[0].hash, STORE_HASH_LEN);
	store_audit_head(f->store, &sequence, head);
	assert_int_equal(sequence, 2);
	assert_memory_equal(head, rows[1].hash, STORE_HASH_LEN);
}

static void a_row_comes_back_as_it_was_written(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_audit *rows = NULL;
	struct store_audit row = audit_row("push", "bundles/x@1.0.0", T0);
	size_t n;

	row.claimed_actor = "bob";
	row.digest = (struct store_bytes){ fixture_bytes, STORE_DIGEST_LEN };
	row.signers = "AA,BB";
	row.outcome = "failed";
	row.reason = "STORE_FULL";
	row.detail = "why";
	row.duration_ns = 17;
	append(f, &row);
	fixture_ok(f, store_audit_list(f->store, NULL, 0, 10, &rows, &n, &f->err));
	assert_int_equal(n, 1);
	assert_int_equal(rows[0].at_ns, T0);
	assert_string_equal(rows[0].identity, "uid:1000");
	assert_string_equal(rows[0].claimed_actor, "bob");
	assert_string_equal(rows[0].verb, "push");
	assert_string_equal(rows[0].object, "bundles/x@1.0.0");
	assert_int_equal(rows[0].digest.size, STORE_DIGEST_LEN);
	assert_memory_equal(rows[0].digest.data, fixture_bytes, STORE_DIGEST_LEN);
	assert_string_equal(rows[0].signers, "AA,BB");
	assert_string_equal(rows[0].outcome, "failed");
	assert_string_equal(rows[0].reason, "STORE_FULL");
	assert_string_equal(rows[0].detail, "why");
	assert_int_equal(rows[0].duration_ns, 17);
	assert_int_equal(rows[0].count, 1);
}

static void a_text_that_is_too_long_is_cut_between_characters(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_audit *rows = NULL;
	char detail[STORE_AUDIT_DETAIL_MAX + 8];
	struct store_audit row = audit_row("load", "x", T0);
	size_t n;

	memset(detail, 'x', sizeof(detail));
	memcpy(detail + STORE_AUDIT_DETAIL_MAX - 1, "\xc3\xa4", 3);
	row.detail = detail;
	append(f, &row);
	fixture_ok(f, store_audit_list(f->store, NULL, 0, 1, &rows, &n, &f->err));
	assert_int_equal(strlen(rows[0].detail), STORE_AUDIT_DETAIL_MAX - 1);
	assert_int_equal(verify(f).broken_sequence, 0);
}

static void a_rolled_back_row_leaves_no_gap(void **state)
{
	struct fixture *f = *state;
	struct store_audit row = audit_row("load", "x", T0);
	struct store_tx tx;
	struct store_audit_verdict verdict;

	append(f, &row);
	(void)fixture_begin(f, &tx);
	fixture_ok(f, store_audit_append(&tx, &row, NULL, &f->err));
	store_tx_done(&tx);
	append(f, &row);
	verdict = verify(f);
	assert_int_equal(verdict.broken_sequence, 0);
	assert_int_equal(verdict.n_rows, 2);
	assert_int_equal(verdict.last_sequence, 2);
}

static void breaks(struct fixture *f, const char *sql, uint64_t sequence)
{
	struct store_audit_verdict verdict;

	append_many(f, 10);
	assert_int_equal(verify(f).broken_sequence, 0);
	fixture_sql(f, sql);
	verdict = verify(f);
	assert_int_equal(verdict.broken_sequence, sequence);
	assert_true(strlen(verdict.what) > 0);
	fixture_close(f);
	fixture_open(f);
	assert_int_equal(verify(f).broken_sequence, sequence);
}

static void verify_names_a_changed_row(void **state)
{
	breaks(*state, "UPDATE audit SET identity = 'uid:0' WHERE sequence = 4", 4);
}

static void verify_names_a_changed_time(void **state)
{
	breaks(*state, "UPDATE audit SET at = at + 1 WHERE sequence = 1", 1);
}

static void verify_names_a_missing_row(void **state)
{
	breaks(*state, "DELETE FROM audit WHERE sequence = 7", 7);
}

static void verify_names_a_missing_start(void **state)
{
	breaks(*state, "DELETE FROM audit WHERE sequence <= 3", 1);
}

static void verify_names_a_start_that_somebody_moved(void **state)
{
	struct fixture *f = *state;

	append_many(f, 10);
	fixture_close(f);
	fixture_sql(f, "UPDATE meta SET audit_base_sequence = 3, audit_base_hash = "
		       "(SELECT hash FROM audit WHERE sequence = 3);"
		       "DELETE FROM audit WHERE sequence <= 3");
	fixture_open(f);
	assert_int_equal(verify(f).broken_sequence, 4);
}

static void verify_names_a_cut_tail(void **state)
{
	breaks(*state, "DELETE FROM audit WHERE sequence >= 9", 9);
}

static void verify_names_swapped_rows(void **state)
{
	breaks(*state,
	       "UPDATE audit SET sequence = -1 WHERE sequence = 5;"
	       "UPDATE audit SET sequence = 5 WHERE sequence = 6;"
	       "UPDATE audit SET sequence = 6 WHERE sequence = -1",
	       5);
}

static void a_row_put_behind_the_newest_does_not_stop_appends(void **state)
{
	struct fixture *f = *state;
	struct store_audit row = audit_row("load", "x", T0);

	append_many(f, 3);
	fixture_close(f);
	fixture_sql(
		f, "INSERT INTO audit SELECT 4, at, identity, claimed_actor, verb, object, digest, "
		   "signers, outcome, reason, detail, duration_ns, count, previous_hash, hash "
		   "FROM audit WHERE sequence = 3");
	fixture_open(f);
	append(f, &row);
	assert_int_equal(verify(f).broken_sequence, 4);
}

static void the_tail_is_verified_alone(void **state)
{
	struct fixture *f = *state;
	struct store_audit_verdict verdict;

	append_many(f, 100);
	fixture_sql(f, "UPDATE audit SET verb = 'x' WHERE sequence = 50");
	fixture_ok(f, store_audit_verify_tail(f->store, 50, &verdict, &f->err));
	assert_int_equal(verdict.broken_sequence, 0);
	assert_int_equal(verdict.n_rows, 50);
	fixture_ok(f, store_audit_verify_tail(f->store, 51, &verdict, &f->err));
	assert_int_equal(verdict.broken_sequence, 50);
	fixture_ok(f, store_audit_verify_tail(f->store, 1000, &verdict, &f->err));
	assert_int_equal(verdict.broken_sequence, 50);
	fixture_sql(f, "DELETE FROM audit WHERE sequence >= 90");
	fixture_ok(f, store_audit_verify_tail(f->store, 5, &verdict, &f->err));
	assert_int_equal(verdict.broken_sequence, 95);
}

static void the_size_cap_drops_the_oldest_rows_and_the_chain_still_verifies(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *bytes = NULL, *n_trims = NULL;
	struct store_audit_verdict verdict;

	fixture_close(f);
	f->options.audit_max_bytes = 64 << 10;
	fixture_open(f);
	for (int i = 0; i < 30; i++) {
		append_many(f, 100);
		verdict = verify(f);
		assert_int_equal(verdict.broken_sequence, 0);
	}
	assert_true(verdict.last_sequence > 3000);
	assert_true(verdict.first_sequence > 2000);
	bytes = fixture_sql_text(
		f, "SELECT audit_bytes <= 65536 + 4096 AND audit_bytes > 40000 FROM meta");
	assert_string_equal(bytes, "1");
	n_trims = fixture_sql_text(f, "SELECT count(*) > 0 FROM audit WHERE verb = 'audit_trim'");
	assert_string_equal(n_trims, "1");
	fixture_close(f);
	fixture_open(f);
	assert_int_equal(verify(f).broken_sequence, 0);
	fixture_sql(f, "UPDATE meta SET audit_base_hash = zeroblob(32)");
	fixture_close(f);
	fixture_open(f);
	assert_int_equal(verify(f).broken_sequence, verdict.first_sequence);
}

static void audit_bytes_is_the_sum_of_what_was_hashed(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *same = NULL;

	fixture_close(f);
	f->options.audit_max_bytes = 32 << 10;
	fixture_open(f);
	append_many(f, 1000);
	same = fixture_sql_text(
		f,
		"SELECT audit_bytes = (SELECT sum(76 + 36 + length(CAST(identity AS BLOB)) + "
		"length(claimed_actor) + length(verb) + length(object) + length(digest) + "
		"length(signers) + length(outcome) + length(reason) + length(detail)) FROM audit) "
		"FROM meta");
	assert_string_equal(same, "1");
}

/* ---- queries */

static void queries_filter_and_page_in_both_directions(void **state)
{
	struct fixture *f = *state;
	struct store_audit_filter filter = { .verb = "b" };
	struct store_audit row;
	uint64_t after = 0, seen = 0;
	size_t n;

	for (uint64_t i = 1; i <= 30; i++) {
		row = audit_row(i % 2 == 0 ? "a" : "b", i % 3 == 0 ? "x" : "y", T0 + i);
		row.identity = i <= 15 ? "uid:1" : "uid:2";
		row.outcome = i % 5 == 0 ? "failed" : "ok";
		append(f, &row);
	}
	do {
		_cleanup_free_ struct store_audit *rows = NULL;

		fixture_ok(f, store_audit_list(f->store, &filter, after, 4, &rows, &n, &f->err));
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(rows[i].sequence, 2 * seen++ + 1);
			after = rows[i].sequence;
		}
	} while (n == 4);
	assert_int_equal(seen, 15);

	filter = (struct store_audit_filter){ .newest_first = true,
					      .since_ns = T0 + 10,
					      .until_ns = T0 + 20 };
	after = 0;
	seen = 0;
	do {
		_cleanup_free_ struct store_audit *rows = NULL;

		fixture_ok(f, store_audit_list(f->store, &filter, after, 3, &rows, &n, &f->err));
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(rows[i].sequence, 19 - seen++);
			after = rows[i].sequence;
		}
	} while (n == 3);
	assert_int_equal(seen, 10);
}

static size_t count_rows(struct fixture *f, struct store_audit_filter filter)
{
	_cleanup_free_ struct store_audit *rows = NULL;
	size_t n;

	fixture_ok(f, store_audit_list(f->store, &filter, 0, 1000, &rows, &n, &f->err));
	return n;
}

static void each_filter_counts(void **state)
{
	struct fixture *f = *state;
	struct store_audit row = audit_row("load", "x", T0);

	append(f, &row);
	row.identity = "uid:2";
	row.outcome = "failed";
	row.object = "y";
	append(f, &row);
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 2);
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .identity = "uid:2" }), 1);
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .outcome = "ok" }), 1);
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .object = "y" }), 1);
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .object = "z" }), 0);
	assert_int_equal(
		count_rows(f, (struct store_audit_filter){ .identity = "uid:2", .outcome = "ok" }),
		0);
}

/* ---- denials */

static void deny(struct fixture *f, const char *identity, const char *object, uint64_t at_ns)
{
	struct store_audit row = audit_row("load", object, at_ns);

	row.identity = identity;
	row.outcome = "denied";
	row.reason = "PERMISSION_DENIED";
	fixture_ok(f, store_audit_deny(f->store, &row, &f->err));
}

static void denials_of_a_minute_are_two_rows_whose_counts_add_up(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ struct store_audit *rows = NULL;
	size_t n;

	assert_int_equal(store_audit_flush_at(f->store), UINT64_MAX);
	for (uint64_t i = 0; i < 1000; i++)
		deny(f, "uid:7", "x", T0 + i);
	assert_int_equal(store_audit_flush_at(f->store), (T0 / MINUTE + 1) * MINUTE);
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 1);
	fixture_ok(f, store_audit_flush(f->store, T0 + 2000, &f->err));
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 1);
	fixture_ok(f, store_audit_flush(f->store, store_audit_flush_at(f->store), &f->err));
	fixture_ok(f, store_audit_list(f->store, NULL, 0, 10, &rows, &n, &f->err));
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].count, 1);
	assert_int_equal(rows[1].count, 999);
	assert_int_equal(rows[1].at_ns, T0 + 999);
	assert_string_equal(rows[1].object, "x");
	assert_string_equal(rows[1].reason, "PERMISSION_DENIED");
	assert_string_equal(rows[1].outcome, "denied");
	assert_string_equal(rows[1].detail, "further ones after row 1");
	assert_int_equal(verify(f).broken_sequence, 0);
	assert_int_equal(store_audit_flush_at(f->store), UINT64_MAX);
}

static void a_single_denial_is_one_row(void **state)
{
	struct fixture *f = *state;

	deny(f, "uid:7", "x", T0);
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 1);
	deny(f, "uid:7", "x", T0 + MINUTE);
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 2);
}

static void the_next_minute_closes_the_one_before_and_starts_anew(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *counts = NULL;

	deny(f, "uid:7", "x", T0);
	deny(f, "uid:7", "x", T0 + 1);
	deny(f, "uid:7", "x", T0 + MINUTE);
	deny(f, "uid:7", "x", T0 + MINUTE + 1);
	deny(f, "uid:7", "x", T0 + MINUTE + 2);
	deny(f, "uid:7", "x", T0); /* the clock went back */
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	counts = fixture_sql_text(f, "SELECT group_concat(count) FROM audit");
	assert_string_equal(counts, "1,1,1,2,1");
	assert_int_equal(verify(f).broken_sequence, 0);
}

static void other_identities_and_objects_have_rows_of_their_own(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *sum = NULL;

	for (int i = 0; i < 5; i++) {
		deny(f, "uid:7", "x", T0);
		deny(f, "uid:8", "x", T0);
		deny(f, "uid:8", "y", T0);
	}
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	assert_int_equal(count_rows(f, (struct store_audit_filter){}), 6);
	sum = fixture_sql_text(f, "SELECT sum(count) FROM audit WHERE identity = 'uid:8'");
	assert_string_equal(sum, "10");
}

static void one_identity_cannot_flood_the_log_with_objects(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *sum = NULL;
	char object[32];

	for (int i = 0; i < 2000; i++) {
		(void)snprintf(object, sizeof(object), "instances/%d", i);
		deny(f, "uid:7", object, T0 + (uint64_t)i);
	}
	deny(f, "uid:8", "x", T0);
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .identity = "uid:7" }), 34);
	assert_int_equal(count_rows(f, (struct store_audit_filter){ .identity = "uid:8" }), 1);
	sum = fixture_sql_text(f, "SELECT sum(count) FROM audit WHERE identity = 'uid:7'");
	assert_string_equal(sum, "2000");
}

static void more_identities_than_fit_lose_no_count(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *sum = NULL;
	char identity[32];

	for (int i = 0; i < 2400; i++) {
		(void)snprintf(identity, sizeof(identity), "uid:%d", i % 1200);
		deny(f, identity, "x", T0);
	}
	fixture_ok(f, store_audit_flush(f->store, UINT64_MAX, &f->err));
	sum = fixture_sql_text(f, "SELECT sum(count) FROM audit");
	assert_string_equal(sum, "2400");
	assert_int_equal(verify(f).broken_sequence, 0);
}

static void counts_that_a_crash_left_open_are_written_at_the_next_start(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *count = NULL, *left = NULL;
	char copy[128], command[512];

	for (int i = 0; i < 1 + 100; i++)
		deny(f, "uid:7", "x", T0);
	/* What a killed daemon leaves: the files as they are now. */
	(void)snprintf(copy, sizeof(copy), "%s/copy", f->folder);
	(void)snprintf(command, sizeof(command), "mkdir %s && cp %s %s-wal %s", copy, f->path,
		       f->path, copy);
	assert_int_equal(system(command), 0);
	fixture_close(f);
	(void)snprintf(command, sizeof(command), "mv %s/* %s && rmdir %s", copy, f->folder, copy);
	assert_int_equal(system(command), 0);
	fixture_open(f);
	count = fixture_sql_text(
		f, "SELECT count FROM audit WHERE detail LIKE 'further ones after row 1, "
		   "at least:%'");
	assert_string_equal(count, "64");
	left = fixture_sql_text(f, "SELECT count(*) FROM audit_open");
	assert_string_equal(left, "0");
	assert_int_equal(verify(f).broken_sequence, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(the_chain_has_the_hashes_of_the_document),
		TEST(a_row_comes_back_as_it_was_written),
		TEST(a_text_that_is_too_long_is_cut_between_characters),
		TEST(a_rolled_back_row_leaves_no_gap),
		TEST(verify_names_a_changed_row),
		TEST(verify_names_a_changed_time),
		TEST(verify_names_a_missing_row),
		TEST(verify_names_a_missing_start),
		TEST(verify_names_a_start_that_somebody_moved),
		TEST(verify_names_a_cut_tail),
		TEST(verify_names_swapped_rows),
		TEST(a_row_put_behind_the_newest_does_not_stop_appends),
		TEST(the_tail_is_verified_alone),
		TEST(the_size_cap_drops_the_oldest_rows_and_the_chain_still_verifies),
		TEST(audit_bytes_is_the_sum_of_what_was_hashed),
		TEST(queries_filter_and_page_in_both_directions),
		TEST(each_filter_counts),
		TEST(denials_of_a_minute_are_two_rows_whose_counts_add_up),
		TEST(a_single_denial_is_one_row),
		TEST(the_next_minute_closes_the_one_before_and_starts_anew),
		TEST(other_identities_and_objects_have_rows_of_their_own),
		TEST(one_identity_cannot_flood_the_log_with_objects),
		TEST(more_identities_than_fit_lose_no_count),
		TEST(counts_that_a_crash_left_open_are_written_at_the_next_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
