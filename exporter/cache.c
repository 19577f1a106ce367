#include "exporter/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "client/node.h"
#include "exporter/maps.h"
#include "exporter/metrics.h"
#include "proto/arena.h"

struct cache {
	const struct cache_options *options;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on the monotonic clock */

	/* Under the lock. */
	bool wanted;
	bool stopping;
	struct node *node; /* while the thread asks */
	uint64_t n_answers;
	uint64_t asked_at; /* the newest answer */
	struct str texts[EXPOSITION_N_FORMATS];

	/* Of the thread alone. */
	bool was_down;
};

/* What each question gave. */
struct answer {
	struct arena *arena;
	struct map_metrics *maps;
	struct metrics_snapshot snapshot;
};

static void answer_done(struct answer *answer)
{
	map_metrics_free(answer->maps);
	arena_free(answer->arena);
}

static void set_node(struct cache *cache, struct node *node)
{
	(void)pthread_mutex_lock(&cache->lock);
	cache->node = node;
	(void)pthread_mutex_unlock(&cache->lock);
}

static bool is_stopping(struct cache *cache)
{
	bool stopping;

	(void)pthread_mutex_lock(&cache->lock);
	stopping = cache->stopping;
	(void)pthread_mutex_unlock(&cache->lock);
	return stopping;
}

static int ask_statistics(struct node *node, struct answer *answer, struct error *err)
{
	Bpfleet__V1__GetStatisticsRequest request = BPFLEET__V1__GET_STATISTICS_REQUEST__INIT;
	ProtobufCMessage *response;
	int r = node_call(node, "GetStatistics", &request.base, answer->arena, &response, err);

	if (r == 0)
		answer->snapshot.statistics =
			((const Bpfleet__V1__GetStatisticsResponse *)response)->statistics;
	return r;
}

static int ask_objects(struct node *node, struct answer *answer, struct map_metrics_source *maps,
		       struct error *err)
{
	Bpfleet__V1__ListInstancesRequest instances = BPFLEET__V1__LIST_INSTANCES_REQUEST__INIT;
	Bpfleet__V1__ListProgramsRequest programs = BPFLEET__V1__LIST_PROGRAMS_REQUEST__INIT;
	Bpfleet__V1__ListLinksRequest links = BPFLEET__V1__LIST_LINKS_REQUEST__INIT;
	Bpfleet__V1__ListMapsRequest all_maps = BPFLEET__V1__LIST_MAPS_REQUEST__INIT;
	struct metrics_snapshot *s = &answer->snapshot;
	const struct {
		const char *method;
		ProtobufCMessage *request;
		void *ret;
		size_t *ret_n;
	} lists[] = {
		{ "ListInstances", &instances.base, &s->instances, &s->n_instances },
		{ "ListPrograms", &programs.base, &s->programs, &s->n_programs },
		{ "ListLinks", &links.base, &s->links, &s->n_links },
		{ "ListMaps", &all_maps.base, &maps->maps, &maps->n_maps },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++) {
		ProtobufCMessage **items;

		r = node_list(node, lists[i].method, lists[i].request, 0, answer->arena, &items,
			      lists[i].ret_n, err);
		if (r == 0)
			memcpy(lists[i].ret, &items, sizeof(items));
	}
	maps->instances = s->instances;
	maps->n_instances = s->n_instances;
	return r;
}

static int ask_all(struct cache *cache, struct node *node, struct answer *answer, struct error *err)
{
	/* Maps may be large and many: what is not read by then is not shown, and says so. */
	const uint64_t deadline = clock_monotonic_ns() + cache->options->timeout_ms / 2 * NS_PER_MS;
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	struct map_metrics_source maps = { 0 };
	ProtobufCMessage *response;
	int r = node_call(node, "GetStatus", &request.base, answer->arena, &response, err);

	if (r == 0)
		r = ask_objects(node, answer, &maps, err);
	if (r == 0)
		r = ask_statistics(node, answer, err);
	if (r == 0)
		r = map_metrics_read(&maps, node, deadline, &answer->maps, err);
	if (r < 0)
		return r;
	answer->snapshot.status = (const Bpfleet__V1__GetStatusResponse *)response;
	answer->snapshot.maps = answer->maps;
	return 0;
}

/* A connection for each answer: nothing is left of a daemon that was restarted. */
static int ask(struct cache *cache, struct answer *answer, struct error *err)
{
	_cleanup_(node_closep) struct node *node = NULL;
	int r;

	answer->arena = arena_new(NODE_ARENA_LIMIT);
	if (answer->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = node_open(cache->options->socket_path, cache->options->timeout_ms, &node, err);
	if (r < 0)
		return r;
	set_node(cache, node);
	if (is_stopping(cache))
		r = error_raise(err, ERROR_CANCELLED, "told to end");
	else
		r = ask_all(cache, node, answer, err);
	set_node(cache, NULL);
	return r;
}

static void fetch(struct cache *cache, struct str texts[static EXPOSITION_N_FORMATS])
{
	_cleanup_(answer_done) struct answer answer = { 0 };
	struct error err = { 0 };
	int r = ask(cache, &answer, &err);

	/* By a scrape that waited for too long, others may go on to wait. */
	if (r < 0 && err.code == ERROR_CANCELLED)
		r = error_raise(&err, ERROR_DEADLINE_EXCEEDED, "it took longer than %u ms",
				cache->options->timeout_ms);
	if (r < 0 && !cache->was_down)
		log_error(LOG_LEVEL_WARNING, &err, "the node does not answer");
	else if (r == 0 && cache->was_down)
		log_info("the node answers again");
	cache->was_down = r < 0;
	if (r < 0)
		answer.snapshot.down = error_info(err.code)->reason;
	for (size_t i = 0; i < EXPOSITION_N_FORMATS; i++)
		metrics_write(&answer.snapshot, (enum exposition_format)i, &texts[i]);
}

static void *run(void *data)
{
	struct cache *cache = data;

	(void)pthread_mutex_lock(&cache->lock);
	while (!cache->stopping) {
		struct str texts[EXPOSITION_N_FORMATS] = { 0 };
		uint64_t asked_at;

		if (!cache->wanted) {
			(void)pthread_cond_wait(&cache->changed, &cache->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&cache->lock);
		asked_at = clock_monotonic_ns();
		fetch(cache, texts);
		(void)pthread_mutex_lock(&cache->lock);
		for (size_t i = 0; i < EXPOSITION_N_FORMATS; i++) {
			str_done(&cache->texts[i]);
			cache->texts[i] = texts[i];
		}
		cache->asked_at = asked_at;
		cache->n_answers++;
		cache->wanted = false;
		(void)pthread_cond_broadcast(&cache->changed);
	}
	(void)pthread_mutex_unlock(&cache->lock);
	return NULL;
}

int cache_new(const struct cache_options *options, struct cache **ret_cache, struct error *err)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	pthread_condattr_t attributes;
	int r;

	if (cache == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	cache->options = options;
	(void)pthread_mutex_init(&cache->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&cache->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	r = pthread_create(&cache->thread, NULL, run, cache);
	if (r != 0) {
		(void)pthread_cond_destroy(&cache->changed);
		(void)pthread_mutex_destroy(&cache->lock);
		free(cache);
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, r, "cannot start a thread");
	}
	*ret_cache = cache;
	return 0;
}

void cache_free(struct cache *cache)
{
	if (cache == NULL)
		return;
	(void)pthread_mutex_lock(&cache->lock);
	cache->stopping = true;
	if (cache->node != NULL)
		node_cancel(cache->node);
	(void)pthread_cond_broadcast(&cache->changed);
	(void)pthread_mutex_unlock(&cache->lock);
	(void)pthread_join(cache->thread, NULL);
	for (size_t i = 0; i < EXPOSITION_N_FORMATS; i++)
		str_done(&cache->texts[i]);
	(void)pthread_cond_destroy(&cache->changed);
	(void)pthread_mutex_destroy(&cache->lock);
	free(cache);
}

/* Waits for an answer other than number `seen`; false: none came in time. Under the lock. */
static bool wait_answer(struct cache *cache, uint64_t seen)
{
	uint64_t deadline = clock_monotonic_ns() + cache->options->timeout_ms * NS_PER_MS;
	const struct timespec until = { .tv_sec = (time_t)(deadline / NS_PER_SEC),
					.tv_nsec = (long)(deadline % NS_PER_SEC) };

	cache->wanted = true;
	(void)pthread_cond_broadcast(&cache->changed);
	while (cache->n_answers == seen) {
		if (pthread_cond_timedwait(&cache->changed, &cache->lock, &until) == ETIMEDOUT)
			return cache->n_answers != seen;
	}
	return true;
}

void cache_get(struct cache *cache, enum exposition_format format, struct str *out)
{
	const struct metrics_snapshot late = {
		.down = error_info(ERROR_DEADLINE_EXCEEDED)->reason
	};
	uint64_t max_age = cache->options->max_age_ms * NS_PER_MS;
	bool answered = true;

	(void)pthread_mutex_lock(&cache->lock);
	if (cache->n_answers == 0 || clock_monotonic_ns() - cache->asked_at > max_age)
		answered = wait_answer(cache, cache->n_answers);
	if (!answered && cache->node != NULL)
		node_cancel(cache->node);
	if (answered && !cache->texts[format].failed)
		(void)str_append_bytes(out, cache->texts[format].data, cache->texts[format].len);
	else
		metrics_write(&late, format, out);
	(void)pthread_mutex_unlock(&cache->lock);
}
