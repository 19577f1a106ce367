/* The cache against a NodeService of clay. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "client/test-fake.h"
#include "exporter/cache.h"

#define SCRAPERS 16U
#define HOUR_MS 3600000U

static struct fake *fake;

static int set_up(void **state)
{
	(void)state;
	fake_reset(fake);
	return 0;
}

static char *scrape(struct cache *cache)
{
	struct str text = { 0 };

	cache_get(cache, METRICS_OPENMETRICS, &text);
	return str_take(&text);
}

static bool is_up(struct cache *cache)
{
	_cleanup_free_ char *text = scrape(cache);

	return text != NULL && strstr(text, "\nbpfleet_up 1\n") != NULL;
}

static void *scraper(void *cache)
{
	return is_up(cache) ? cache : NULL;
}

static void many_scrapers_cost_one_question(void **state)
{
	const struct cache_options options = { fake->socket, HOUR_MS, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };
	pthread_t threads[SCRAPERS];

	(void)state;
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	for (size_t i = 0; i < SCRAPERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, scraper, cache), 0);
	for (size_t i = 0; i < SCRAPERS; i++) {
		void *up;

		assert_int_equal(pthread_join(threads[i], &up), 0);
		assert_ptr_equal(up, cache);
	}
	/* GetStatus, ListInstances, ListPrograms, ListLinks. */
	assert_int_equal(atomic_load(&fake->n_calls), 4);
}

static void an_old_answer_is_asked_for_again(void **state)
{
	const struct cache_options options = { fake->socket, 0, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_true(is_up(cache));
	assert_true(is_up(cache));
	assert_int_equal(atomic_load(&fake->n_calls), 8);
}

static void a_silent_node_is_down_in_time_and_up_when_it_speaks(void **state)
{
	const struct cache_options options = { fake->socket, 0, 300 };
	const struct cache_options patient = { fake->socket, 0, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL, *other = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->silent, true);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_false(is_up(cache));
	atomic_store(&fake->silent, false);
	assert_int_equal(cache_new(&patient, &other, &err), 0);
	assert_true(is_up(other));
}

static void a_refusal_and_a_missing_socket_are_down(void **state)
{
	const struct cache_options options = { fake->socket, 0, 60000 };
	const struct cache_options nowhere = { "/nonexistent/bpfleet.sock", 0, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL, *other = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->fail_with, ERROR_PERMISSION_DENIED);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_false(is_up(cache));
	atomic_store(&fake->fail_with, ERROR_NONE);
	assert_true(is_up(cache));
	assert_int_equal(cache_new(&nowhere, &other, &err), 0);
	assert_false(is_up(other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(many_scrapers_cost_one_question, set_up),
		cmocka_unit_test_setup(an_old_answer_is_asked_for_again, set_up),
		cmocka_unit_test_setup(a_silent_node_is_down_in_time_and_up_when_it_speaks, set_up),
		cmocka_unit_test_setup(a_refusal_and_a_missing_socket_are_down, set_up),
	};
	int r;

	fake = fake_start();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	fake_stop(fake);
	return r;
}
