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

	cache_get(cache, EXPOSITION_OPENMETRICS, &text);
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
	/* GetStatus, ListInstances, ListPrograms, ListLinks, ListMaps, GetStatistics. */
	assert_int_equal(atomic_load(&fake->n_calls), 6);
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
	assert_int_equal(atomic_load(&fake->n_calls), 12);
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

static void assert_scraped(struct cache *cache, const char *line)
{
	_cleanup_free_ char *text = scrape(cache);

	assert_non_null(text);
	if (strstr(text, line) == NULL)
		fail_msg("no line '%s' in:\n%s", line, text);
}

/* The second one gets the answer to the question that the first one gave up. */
static void every_scraper_of_a_silent_node_is_told_the_same_reason(void **state)
{
	const struct cache_options options = { fake->socket, HOUR_MS, 300 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->silent, true);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	for (int i = 0; i < 2; i++)
		assert_scraped(cache, "\nbpfleet_down_info{reason=\"DEADLINE_EXCEEDED\"} 1\n");
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

static void why_it_is_down_is_told(void **state)
{
	const struct cache_options options = { fake->socket, 0, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->fail_with, ERROR_PERMISSION_DENIED);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_scraped(cache, "\nbpfleet_down_info{reason=\"PERMISSION_DENIED\"} 1\n");
}

#define OF(map) \
	"{instance=\"" FAKE_ID "\",label=\"web\",bundle=\"bundles/sample@1.2.3\",map=\"" map "\""

static void contents_of_maps_are_shown_as_their_manifest_says(void **state)
{
	const struct cache_options options = { fake->socket, HOUR_MS, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->metrics, true);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_scraped(
		cache,
		"\n# TYPE bpfleet_map_hits counter\n# HELP bpfleet_map_hits Hits.\n"
		"bpfleet_map_hits_total" OF(
			"counts") ",key=\"0\"} 100\n"
				  "bpfleet_map_hits_total" OF(
					  "counts") ",key=\"1\"} 101\n"
						    "bpfleet_map_hits_total" OF(
							    "per_cpu") ",key=\"0\"} 300\n"
								       "bpfleet_map_hits_total" OF(
									       "per_cpu") ",key="
											  "\"1\"} "
											  "303\n");
	assert_scraped(cache, "\nbpfleet_exporter_metric_shown" OF(
				      "counts") ",metric=\"hits_total\",reason=\"\"} 1\n");
	assert_scraped(cache, "\nbpfleet_exporter_metric_left_out" OF(
				      "counts") ",metric=\"hits_total\"} 0\n");
}

static void a_map_that_cannot_be_read_hides_nothing_else(void **state)
{
	const struct cache_options options = { fake->socket, HOUR_MS, 60000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->metrics, true);
	atomic_store(&fake->fail_dumps, ERROR_MAP_PRIVATE);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_true(is_up(cache));
	assert_scraped(cache,
		       "\nbpfleet_exporter_metric_shown" OF(
			       "counts") ",metric=\"hits_total\",reason=\"MAP_PRIVATE\"} 0\n");
}

static void maps_that_take_too_long_are_left_out_and_the_rest_is_there(void **state)
{
	const struct cache_options options = { fake->socket, HOUR_MS, 2000 };
	_cleanup_(cache_freep) struct cache *cache = NULL;
	struct error err = { 0 };

	(void)state;
	atomic_store(&fake->metrics, true);
	atomic_store(&fake->silent_streams, true);
	assert_int_equal(cache_new(&options, &cache, &err), 0);
	assert_scraped(cache, ",metric=\"hits_total\",reason=\"DEADLINE_EXCEEDED\"} 0\n");
	assert_scraped(cache, "\nbpfleet_instances{state=\"attached\"} 1\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(many_scrapers_cost_one_question, set_up),
		cmocka_unit_test_setup(an_old_answer_is_asked_for_again, set_up),
		cmocka_unit_test_setup(a_silent_node_is_down_in_time_and_up_when_it_speaks, set_up),
		cmocka_unit_test_setup(every_scraper_of_a_silent_node_is_told_the_same_reason,
				       set_up),
		cmocka_unit_test_setup(a_refusal_and_a_missing_socket_are_down, set_up),
		cmocka_unit_test_setup(why_it_is_down_is_told, set_up),
		cmocka_unit_test_setup(contents_of_maps_are_shown_as_their_manifest_says, set_up),
		cmocka_unit_test_setup(a_map_that_cannot_be_read_hides_nothing_else, set_up),
		cmocka_unit_test_setup(maps_that_take_too_long_are_left_out_and_the_rest_is_there,
				       set_up),
	};
	int r;

	fake = fake_start();
	r = cmocka_run_group_tests(tests, NULL, NULL);
	fake_stop(fake);
	return r;
}
