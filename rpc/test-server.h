/* A server of rpc/echo.proto on a thread of its own, with counters, for tests
 * and the benchmark. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "echo.pb-c.h"
#include "rpc/server.h"

struct rpc_health;
struct rpc_listener;
struct rpc_reflection;

#define TEST_MAX_CALLS 8
#define TEST_SMALL_BYTES 1024
#define TEST_ARENA_BYTES 65536
#define TEST_FEED_QUEUE 4

struct test_server {
	struct rpc_loop *loop;
	struct rpc_listener *listener;
	struct rpc_health *health;
	struct rpc_reflection *reflection;
	const struct rpc_service *services[4];
	struct rpc_method methods[6];
	struct rpc_service echo;
	char directory[64];
	char target[96]; /* "unix:/..." */

	atomic_uint n_begun;
	atomic_uint n_cancelled;
	atomic_uint n_done;
	atomic_uint n_half_closed;
	atomic_uint n_accepted;
	atomic_uint n_closed;
	atomic_uint n_fed;
	atomic_uint max_queue;
	atomic_bool returned; /* rpc_loop_run() has */
};

/* Starts it; ends the program when that fails. max_calls and max_connections 0:
 * the tests' defaults. */
struct test_server *test_server_start(unsigned int max_calls, unsigned int max_connections);
/* Drains it with grace_ms, waits for its thread, frees it. */
void test_server_stop(struct test_server *server, unsigned int grace_ms);

/* The path of the socket. */
const char *test_server_path(const struct test_server *server);

/* Waits at most five seconds until counter is at least n. */
bool test_wait(const atomic_uint *counter, unsigned int n);

/* A monotonic deadline in ms milliseconds. */
uint64_t test_deadline(unsigned int ms);
