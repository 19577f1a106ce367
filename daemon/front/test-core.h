/*
 * For tests: a core of clay at the other end of the channel, in a thread of its own, and a front in
 * another. What the core answers, a test decides; what it saw, a test counts.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/front/front.h"
#include "daemon/ipc/channel.h"
#include "rpc/client.h"

#define TEST_MAPS_MAX 4
#define TEST_HELD_MAX 256
#define TEST_CHANGES_MAX 16

/* What core says of every CPU of a perf buffer. */
enum test_perf {
	TEST_PERF_OFFLINE,
	TEST_PERF_STANDS_STILL, /* an event, which counts no time: the CPU has gone */
	TEST_PERF_RUNS,
};

/* An event of a CPU as core opens them; -1: errno says why. */
int test_perf_event(uint32_t cpu, bool disabled);

struct test_map {
	const char *name; /* instances/ID/maps/NAME */
	int fd;
	bool events;
	bool denied;
};

struct test_core {
	struct channel *channel;
	pthread_t thread;
	int wake_fd;
	pthread_mutex_t lock; /* over all below but the atomics */
	bool quit;
	uint32_t credits;
	bool hold_loads;   /* Load is not answered until test_core_release() */
	bool hold_sockets; /* nor Attach with a socket, which stays open as long */
	uint64_t held[TEST_HELD_MAX];
	int held_fds[TEST_HELD_MAX];
	size_t n_held;
	bool release;
	struct test_map maps[TEST_MAPS_MAX];
	size_t n_maps;
	int counter_fd;
	int symbols_fd;	    /* kallsyms; -1: refused, as it begins */
	int entries_fd;	    /* of a run over a local storage */
	const uint8_t *btf; /* of types 1 (key) and 2 (value), given by GetMap alone */
	uint32_t n_btf;
	uint32_t event_type_id;
	uint64_t policy_epoch;
	uint64_t revision;
	uint64_t change_revisions[TEST_CHANGES_MAX];
	size_t n_changes;
	bool watch_expired;
	uint8_t ticket[32];
	uint8_t stored_digest[64];
	uint64_t stored_size;
	uint8_t stored_first, stored_last;
	size_t stored_signatures;
	const char *store_refusal; /* reason, NULL: it is stored */
	bool hide_all;		   /* the callers may view nothing */
	bool refuse_attach;	   /* before anything is resolved */
	bool takes_socket;	   /* Attach succeeds without a target */
	Bpfleet__Ipc__ResolvedTarget resolved;
	uint64_t last_deadline;
	atomic_int perf[TEST_MAPS_MAX];	   /* enum test_perf, by map */
	atomic_uint n_perf[TEST_MAPS_MAX]; /* events asked for, by map */
	atomic_uint n_requests, n_outstanding, max_outstanding;
	atomic_uint n_sessions, n_opened, n_grants, n_counters, n_stores, n_denied,
		n_unknown_sessions, n_sockets;
	atomic_uint n_symbols; /* asked for */
	atomic_uint n_walks;   /* over local storages, asked for */
	atomic_uint n_counted; /* records of the ring buffer that front told of */
};

struct test_front {
	struct test_core core;
	struct front *front;
	pthread_t thread;
	int result;
	char directory[64];
	char path[96], fd_path[96], target[112];
	int n_fds_before;
};

struct test_options {
	uint32_t credits; /* 0: 16 */
	uint32_t n_connections;
	uint32_t n_calls;
	uint32_t refusals_burst;
	uint32_t refusals_per_s;
	const char *resolver;
	bool no_hello;
};

/* Asserts that all of it works. options may be NULL. */
void test_front_start(struct test_front *test, const struct test_options *options);
/* Front stops soon; test_front_stop() may follow. */
void test_front_ask_to_stop(struct test_front *test);
/* Stops front, asserts that it ended well, that every session was closed, and that no fd leaked. */
void test_front_stop(struct test_front *test);

/* All fds of this process. */
int test_count_fds(void);
void test_assert_no_leaked_fds(const struct test_front *test);
struct rpc_channel *test_connect(const struct test_front *test);
/* Wakes the core's thread to send a notice. */
void test_core_notice(struct test_core *core, uint64_t revision, uint64_t policy_epoch,
		      const char *ended_instance);
void test_core_release(struct test_core *core);
/* Waits until the counter has the value, or a second has passed; returns what it is. */
unsigned int test_await(atomic_uint *counter, unsigned int value);

/* A unary call; returns the error's code. ret (which may be NULL) lives in arena. */
enum error_code test_call(struct rpc_channel *channel, const char *method,
			  const ProtobufCMessage *request, struct arena *arena,
			  ProtobufCMessage **ret);
