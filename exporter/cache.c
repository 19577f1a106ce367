#include "exporter/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

struct cache {
	const struct cache_options *options;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* on the monotonic clock */

	/* Under the lock. */
	bool wanted;
	bool stopping;
	struct bpfleet *node; /* while the thread asks */
	uint64_t n_answers;
	uint64_t asked_at; /* the newest answer */
	struct str texts[METRICS_N_FORMATS];

	/* Of the thread alone. */
	bool was_down;
};

DEFINE_CLEANUP(struct bpfleet, bpfleet_close)

/* What each question gave, to be freed together. */
struct answer {
	struct metrics_snapshot snapshot;
};

static void answer_done(struct answer *answer)
{
	bpfleet_free(answer->snapshot.status);
	bpfleet_free(answer->snapshot.instances);
	bpfleet_free(answer->snapshot.programs);
	bpfleet_free(answer->snapshot.links);
}

static void set_node(struct cache *cache, struct bpfleet *node)
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

/* A connection for each answer: nothing is left of a daemon that was restarted. */
static int ask(struct cache *cache, struct metrics_snapshot *snapshot, struct bpfleet_error *error)
{
	_cleanup_(bpfleet_closep) struct bpfleet *node = NULL;
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	int r;

	options.socket_path = cache->options->socket_path;
	options.timeout_ms = cache->options->timeout_ms;
	r = bpfleet_open(&options, &node, error);
	if (r < 0)
		return r;
	set_node(cache, node);
	if (!is_stopping(cache))
		r = bpfleet_get_status(node, &snapshot->status, error);
	else
		r = -ECANCELED;
	if (r == 0)
		r = bpfleet_list_instances(node, NULL, &snapshot->instances, &snapshot->n_instances,
					   error);
	if (r == 0)
		r = bpfleet_list_programs(node, NULL, &snapshot->programs, &snapshot->n_programs,
					  error);
	if (r == 0)
		r = bpfleet_list_links(node, NULL, &snapshot->links, &snapshot->n_links, error);
	set_node(cache, NULL);
	return r;
}

static void fetch(struct cache *cache, struct str texts[static METRICS_N_FORMATS])
{
	_cleanup_(answer_done) struct answer answer = { 0 };
	struct bpfleet_error error = { 0 };
	int r = ask(cache, &answer.snapshot, &error);

	if (r < 0 && !cache->was_down)
		log_warning("the node does not answer: %s", error.message);
	else if (r == 0 && cache->was_down)
		log_info("the node answers again");
	cache->was_down = r < 0;
	for (size_t i = 0; i < METRICS_N_FORMATS; i++)
		metrics_write(r < 0 ? NULL : &answer.snapshot, (enum metrics_format)i, &texts[i]);
}

static void *run(void *data)
{
	struct cache *cache = data;

	(void)pthread_mutex_lock(&cache->lock);
	while (!cache->stopping) {
		struct str texts[METRICS_N_FORMATS] = { 0 };
		uint64_t asked_at;

		if (!cache->wanted) {
			(void)pthread_cond_wait(&cache->changed, &cache->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&cache->lock);
		asked_at = clock_monotonic_ns();
		fetch(cache, texts);
		(void)pthread_mutex_lock(&cache->lock);
		for (size_t i = 0; i < METRICS_N_FORMATS; i++) {
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
		bpfleet_cancel(cache->node);
	(void)pthread_cond_broadcast(&cache->changed);
	(void)pthread_mutex_unlock(&cache->lock);
	(void)pthread_join(cache->thread, NULL);
	for (size_t i = 0; i < METRICS_N_FORMATS; i++)
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

void cache_get(struct cache *cache, enum metrics_format format, struct str *out)
{
	uint64_t max_age = cache->options->max_age_ms * NS_PER_MS;
	bool answered = true;

	(void)pthread_mutex_lock(&cache->lock);
	if (cache->n_answers == 0 || clock_monotonic_ns() - cache->asked_at > max_age)
		answered = wait_answer(cache, cache->n_answers);
	if (!answered && cache->node != NULL)
		bpfleet_cancel(cache->node);
	if (answered && !cache->texts[format].failed)
		(void)str_append_bytes(out, cache->texts[format].data, cache->texts[format].len);
	else
		metrics_write(NULL, format, out);
	(void)pthread_mutex_unlock(&cache->lock);
}
