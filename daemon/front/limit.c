#include "daemon/front/limit.h"

#include <stdlib.h>

#include "base/clock.h"

/* Accounts kept for uids without a connection: enough that a flood of uids cannot grow the list. */
#define N_ACCOUNTS_MAX 1024

struct peers {
	struct peer_limits limits;
	struct peer *first;
	size_t n_connections;
	size_t n_accounts;
};

void bucket_init(struct bucket *bucket, uint32_t rate_per_s, uint32_t burst, uint64_t now_ns)
{
	*bucket = (struct bucket){ .rate_per_s = rate_per_s,
				   .burst = burst,
				   .level = burst * NS_PER_SEC,
				   .at_ns = now_ns };
}

static void bucket_refill(struct bucket *bucket, uint64_t now_ns)
{
	uint64_t full = bucket->burst * NS_PER_SEC;
	uint64_t passed = now_ns > bucket->at_ns ? now_ns - bucket->at_ns : 0;
	uint64_t missing = full - bucket->level;

	bucket->at_ns = now_ns;
	if (bucket->rate_per_s != 0 && passed >= missing / bucket->rate_per_s + 1)
		bucket->level = full;
	else
		bucket->level += passed * bucket->rate_per_s;
}

bool bucket_has(struct bucket *bucket, uint64_t now_ns)
{
	bucket_refill(bucket, now_ns);
	return bucket->level >= NS_PER_SEC;
}

bool bucket_take(struct bucket *bucket, uint64_t now_ns)
{
	if (!bucket_has(bucket, now_ns))
		return false;
	bucket->level -= NS_PER_SEC;
	return true;
}

bool bucket_full(struct bucket *bucket, uint64_t now_ns)
{
	bucket_refill(bucket, now_ns);
	return bucket->level == bucket->burst * NS_PER_SEC;
}

struct peers *peers_new(const struct peer_limits *limits)
{
	struct peers *peers = calloc(1, sizeof(*peers));

	if (peers != NULL)
		peers->limits = *limits;
	return peers;
}

void peers_free(struct peers *peers)
{
	if (peers == NULL)
		return;
	while (peers->first != NULL) {
		struct peer *peer = peers->first;

		peers->first = peer->next;
		free(peer);
	}
	free(peers);
}

static struct peer *peers_find(const struct peers *peers, uid_t uid)
{
	for (struct peer *peer = peers->first; peer != NULL; peer = peer->next)
		if (peer->uid == uid)
			return peer;
	return NULL;
}

static struct peer *peers_add(struct peers *peers, uid_t uid, uint64_t now_ns)
{
	struct peer *peer = NULL;

	if (peers->n_accounts >= N_ACCOUNTS_MAX)
		peers_sweep(peers, now_ns);
	if (peers->n_accounts >= N_ACCOUNTS_MAX)
		return NULL;
	peer = calloc(1, sizeof(*peer));
	if (peer == NULL)
		return NULL;
	peer->uid = uid;
	bucket_init(&peer->refusals, peers->limits.refusals_per_s, peers->limits.refusals_burst,
		    now_ns);
	peer->next = peers->first;
	peers->first = peer;
	peers->n_accounts++;
	return peer;
}

struct peer *peers_enter(struct peers *peers, uid_t uid, uint64_t now_ns)
{
	struct peer *peer = NULL;

	if (peers->n_connections >= peers->limits.n_connections)
		return NULL;
	peer = peers_find(peers, uid);
	if (peer == NULL)
		peer = peers_add(peers, uid, now_ns);
	if (peer == NULL || peer->n_connections >= peers->limits.n_connections_per_uid)
		return NULL;
	peer->n_connections++;
	peers->n_connections++;
	return peer;
}

void peers_leave(struct peers *peers, struct peer *peer, uint64_t now_ns)
{
	peer->n_connections--;
	peers->n_connections--;
	if (peer->n_connections == 0 && bucket_full(&peer->refusals, now_ns))
		peers_sweep(peers, now_ns);
}

void peers_sweep(struct peers *peers, uint64_t now_ns)
{
	struct peer **at = &peers->first;

	while (*at != NULL) {
		struct peer *peer = *at;

		if (peer->n_connections > 0 || !bucket_full(&peer->refusals, now_ns)) {
			at = &peer->next;
			continue;
		}
		*at = peer->next;
		free(peer);
		peers->n_accounts--;
	}
}

size_t peers_n_connections(const struct peers *peers)
{
	return peers->n_connections;
}

size_t peers_n_accounts(const struct peers *peers)
{
	return peers->n_accounts;
}
