/*
 * The newest answer of the node, as text. One thread asks, however many scrape: whoever finds the
 * answer too old waits for the next one.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "exporter/exposition.h"

struct error;
struct cache;

struct cache_options {
	const char *socket_path; /* NULL: $BPFLEET_SOCKET or the default */
	uint32_t max_age_ms;	 /* an answer that was asked for longer ago is not given out */
	uint32_t timeout_ms;	 /* how long a scrape waits before it says that the node is down */
};

/* Starts the thread. Borrows options until cache_free(). Raises OUT_OF_MEMORY. */
int cache_new(const struct cache_options *options, struct cache **ret_cache, struct error *err);

/* Ends a question under way, and the thread. No cache_get() may be under way. Accepts NULL. */
void cache_free(struct cache *cache);
DEFINE_CLEANUP(struct cache, cache_free)

/*
 * Appends the exposition to out: an answer no older than max_age_ms, or one that came while it
 * waited, or after timeout_ms that the node is down. From any thread.
 */
void cache_get(struct cache *cache, enum exposition_format format, struct str *out);
