/*
 * What one peer may make front hold or do: a token bucket, and per-uid accounts that outlive single
 * connections, so that reconnecting does not refill them. Plain data; the caller gives the time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* Tokens come back at rate_per_s up to burst. */
struct bucket {
	uint32_t rate_per_s;
	uint32_t burst;
	uint64_t level; /* in billionths of a token */
	uint64_t at_ns; /* monotonic, when level was true */
};

void bucket_init(struct bucket *bucket, uint32_t rate_per_s, uint32_t burst, uint64_t now_ns);
/* Takes one token if there is one. */
bool bucket_take(struct bucket *bucket, uint64_t now_ns);
/* Whether a token could be taken; takes none. */
bool bucket_has(struct bucket *bucket, uint64_t now_ns);
bool bucket_full(struct bucket *bucket, uint64_t now_ns);

struct peer_limits {
	size_t n_connections; /* in all */
	size_t n_connections_per_uid;
	uint32_t refusals_per_s; /* calls refused by core, per uid */
	uint32_t refusals_burst;
};

struct peers;

/* The account of one uid; borrowed, valid while one of its connections is counted. */
struct peer {
	uid_t uid;
	size_t n_connections;
	struct bucket refusals;
	struct peer *next;
};

/* NULL when out of memory. */
struct peers *peers_new(const struct peer_limits *limits);
void peers_free(struct peers *peers);
DEFINE_CLEANUP(struct peers, peers_free)

/* Counts one connection of uid; NULL: over a limit, or out of memory. */
struct peer *peers_enter(struct peers *peers, uid_t uid, uint64_t now_ns);
/* Takes the connection off again. The account goes once its bucket is full. */
void peers_leave(struct peers *peers, struct peer *peer, uint64_t now_ns);
/* Drops accounts without connections whose bucket has filled up. */
void peers_sweep(struct peers *peers, uint64_t now_ns);
size_t peers_n_connections(const struct peers *peers);
size_t peers_n_accounts(const struct peers *peers);
