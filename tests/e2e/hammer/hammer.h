/*
 * Clients that change a daemon at random while it is killed, and what each of them was told. A
 * worker knows for sure what was acknowledged, and what it gave up waiting for it marks as
 * doubtful: that must turn out to be all there or not there at all.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpfleet/v1/node.pb-c.h"
#include "client/bpfleet.h"
#include "tests/e2e/hammer/process.h"

struct foreign;
struct rpc_channel;

#define N_WORKERS 8
#define N_BUNDLES (N_WORKERS + 1) /* version 1.0.N of worker N, the last one is everybody's */
#define N_PROGRAMS 6
#define N_MAPS 3
#define INSTANCES_MAX 4
#define LINKS_MAX 12
#define NAME_SIZE 96

enum doubt {
	SURE,
	MAYBE_THERE, /* an unanswered load or attach */
	MAYBE_GONE,  /* an unanswered unload or detach */
};

enum versions {
	ONE_VERSION,
	TWO_VERSIONS, /* replaced, and neither committed nor rolled back */
	EITHER,	      /* an unanswered call */
};

struct model_link {
	char name[NAME_SIZE]; /* "" with MAYBE_THERE */
	char program[32];
	char hook[160];
	enum doubt doubt;
	uint32_t kernel_id; /* as it was seen first */
};

struct model_instance {
	char label[48];
	char name[NAME_SIZE]; /* "" with MAYBE_THERE */
	enum doubt doubt;
	enum bpfleet_durability durability;
	enum versions versions;
	uint8_t token[BPFLEET_LEASE_TOKEN_BYTES];
	bool tokenless; /* its load was never answered */
	/* Lease: lives of core in which it was asked for and answered. */
	unsigned int asked_in, answered_in;
	uint32_t program_ids[N_PROGRAMS]; /* as they were seen first */
	struct model_link links[LINKS_MAX];
	size_t n_links;
	uint64_t setting, setting_maybe; /* entry 1 of the durable map; 0: never written */
};

struct hammer;

struct worker {
	struct hammer *hammer;
	unsigned int number;
	uint64_t random;
	pthread_t thread;
	struct rpc_channel *channel;
	struct bpfleet *node;
	struct model_instance instances[INSTANCES_MAX];
	size_t n_instances;
	bool bundle_there, bundle_doubtful;
	unsigned int n_labels;
	uint64_t n_done, n_refused, n_unknown, n_repeated;
};

struct bundle_file {
	uint8_t *bytes;
	size_t size;
	char *signature;
	size_t signature_size;
	char name[NAME_SIZE];
};

struct hammer {
	const char *socket, *bpffs, *cgroup;
	uid_t core_uid;
	uint64_t seed;
	struct bundle_file bundles[N_BUNDLES];
	struct daemon daemon;
	struct foreign *foreign;
	struct worker workers[N_WORKERS];
	struct bpfleet *node; /* the checker's */
	atomic_bool running;
	atomic_uint life; /* of core: raised just before it is killed, and when another is there */
	atomic_uint n_failures;
	unsigned int round;
};

/* Prints one line about what went wrong, with the round and the seed. Any thread. */
void hammer_fail(struct hammer *hammer, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A number below n, from the worker's own sequence. */
unsigned int worker_random(struct worker *worker, unsigned int n);

/* Stores the bundle that all workers load. */
bool worker_push_common(struct worker *worker);
/* Changes things until hammer->running is false; every call is answered or given up on return. */
void worker_run(struct worker *worker);
/* Binds the leases to this connection again, where it was front alone that was killed. */
void worker_keep_leases(struct worker *worker);
/* Unloads and removes all, however long that takes. */
void worker_clear(struct worker *worker);
void worker_close(struct worker *worker);

/*
 * Compares what was acknowledged with what daemon, kernel and bpffs show, and settles what was
 * doubtful. False: why (at most size bytes) says what is wrong; it may still become right.
 */
bool check_all(struct hammer *hammer, char *why, size_t size);
