#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/front/limit.h"

static const struct peer_limits limits = {
	.n_connections = 4, .n_connections_per_uid = 2, .refusals_per_s = 10, .refusals_burst = 3
};

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
	struct bucket bucket;
	uint64_t now = 5 * NS_PER_SEC;

	(void)state;
	bucket_init(&bucket, 10, 3, now);
	for (int i = 0; i < 3; i++)
		assert_true(bucket_take(&bucket, now));
	assert_false(bucket_take(&bucket, now));
	assert_false(bucket_take(&bucket, now + 99 * NS_PER_MS));
	assert_true(bucket_take(&bucket, now + 100 * NS_PER_MS));
	assert_false(bucket_take(&bucket, now + 100 * NS_PER_MS));
	assert_false(bucket_full(&bucket, now + 300 * NS_PER_MS));
	assert_true(bucket_full(&bucket, now + 1000 * NS_PER_SEC));
	for (int i = 0; i < 3; i++)
		assert_true(bucket_take(&bucket, now + 1000 * NS_PER_SEC));
	assert_false(bucket_has(&bucket, now + 1000 * NS_PER_SEC));
}

static void a_uid_gets_no_more_connections_than_its_share(void **state)
{
	struct peers *peers = peers_new(&limits);
	struct peer *first = peers_enter(peers, 1000, 0);

	(void)state;
	assert_non_null(first);
	assert_ptr_equal(peers_enter(peers, 1000, 0), first);
	assert_null(peers_enter(peers, 1000, 0));
	assert_non_null(peers_enter(peers, 1001, 0));
	assert_non_null(peers_enter(peers, 1002, 0));
	assert_null(peers_enter(peers, 1003, 0));
	assert_int_equal(peers_n_connections(peers), 4);
	peers_leave(peers, first, 0);
	assert_non_null(peers_enter(peers, 1000, 0));
	peers_free(peers);
}

static void reconnecting_does_not_refill_the_bucket(void **state)
{
	struct peers *peers = peers_new(&limits);
	struct peer *peer = peers_enter(peers, 1000, 0);

	(void)state;
	while (bucket_take(&peer->refusals, 0))
		continue;
	peers_leave(peers, peer, 0);
	assert_int_equal(peers_n_accounts(peers), 1);
	peer = peers_enter(peers, 1000, 0);
	assert_false(bucket_has(&peer->refusals, 0));
	peers_leave(peers, peer, NS_PER_SEC);
	assert_int_equal(peers_n_accounts(peers), 0);
	peers_free(peers);
}

static void accounts_are_bounded_however_many_uids_come(void **state)
{
	struct peers *peers = peers_new(&limits);

	(void)state;
	for (uid_t uid = 0; uid < 5000; uid++) {
		struct peer *peer = peers_enter(peers, uid, 0);

		if (peer == NULL)
			continue;
		(void)bucket_take(&peer->refusals, 0);
		peers_leave(peers, peer, 0);
	}
	assert_true(peers_n_accounts(peers) <= 1024);
	peers_sweep(peers, NS_PER_SEC);
	assert_int_equal(peers_n_accounts(peers), 0);
	peers_free(peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
		cmocka_unit_test(a_uid_gets_no_more_connections_than_its_share),
		cmocka_unit_test(reconnecting_does_not_refill_the_bucket),
		cmocka_unit_test(accounts_are_bounded_however_many_uids_come),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
