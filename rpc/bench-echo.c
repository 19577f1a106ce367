/*
 * bench-echo [SECONDS]: unary latency one at a time, unary calls a second with
 * 64 outstanding, and messages and bytes a second of a server stream, server
 * and client in one process, as one JSON line.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "rpc/test-server.h"

#define ECHO (&bpfleet__rpc__test__echo__descriptor)
#define MAX_SAMPLES 2000000
#define N_THREADS 64
#define MAX_SECONDS 3600
#define SMALL_BYTES 64
#define LARGE_BYTES 60000

typedef Bpfleet__Rpc__Test__EchoRequest echo_request;

struct bench {
	struct rpc_channel *channel;
	uint64_t end;
	uint64_t n;
};

static void die(const struct error *error)
{
	(void)fprintf(stderr, "bench-echo: %s\n", error->message);
	exit(1);
}

static void unary_once(struct rpc_channel *channel)
{
	static uint8_t payload[SMALL_BYTES];
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct error error = { 0 };
	ProtobufCMessage *message;

	request.payload.data = payload;
	request.payload.len = sizeof(payload);
	if (rpc_unary(channel, ECHO, "Unary", &request.base, UINT64_MAX, arena, &message, &error) <
	    0)
		die(&error);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void bench_latency(struct bench *bench)
{
	_cleanup_free_ uint64_t *samples = calloc(MAX_SAMPLES, sizeof(*samples));
	size_t n = 0;

	if (samples == NULL)
		exit(1);
	while (n < MAX_SAMPLES && clock_monotonic_ns() < bench->end) {
		uint64_t start = clock_monotonic_ns();

		unary_once(bench->channel);
		samples[n++] = clock_monotonic_ns() - start;
	}
	qsort(samples, n, sizeof(*samples), compare);
	(void)printf("{\"unary_p50_us\": %.1f, \"unary_p99_us\": %.1f, \"unary_n\": %zu",
		     (double)samples[n / 2] / 1e3, (double)samples[n * 99 / 100] / 1e3, n);
}

static void *rate_main(void *arg)
{
	struct bench *bench = arg;

	while (clock_monotonic_ns() < bench->end) {
		unary_once(bench->channel);
		bench->n++;
	}
	return NULL;
}

static void bench_rate(struct bench *bench, uint64_t duration)
{
	struct bench threads[N_THREADS];
	pthread_t ids[N_THREADS];
	uint64_t n = 0;

	for (size_t i = 0; i < N_THREADS; i++) {
		threads[i] = (struct bench){ .channel = bench->channel, .end = bench->end };
		if (pthread_create(&ids[i], NULL, rate_main, &threads[i]) != 0)
			exit(1);
	}
	for (size_t i = 0; i < N_THREADS; i++) {
		pthread_join(ids[i], NULL);
		n += threads[i].n;
	}
	(void)printf(", \"unary_64_per_s\": %.0f", (double)n * 1e9 / (double)duration);
}

static void bench_stream(struct bench *bench, const char *name, size_t n_bytes)
{
	_cleanup_(rpc_stream_freep) struct rpc_stream *stream = NULL;
	_cleanup_free_ uint8_t *payload = calloc(1, n_bytes);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	uint64_t start = clock_monotonic_ns(), n = 0, spent;
	struct error error = { 0 };

	request.payload.data = payload;
	request.payload.len = n_bytes;
	request.n = UINT32_MAX;
	if (payload == NULL ||
	    rpc_stream_open(bench->channel, ECHO, "Feed", UINT64_MAX, &stream, &error) < 0 ||
	    rpc_stream_send(stream, &request.base, &error) < 0)
		die(&error);
	while (clock_monotonic_ns() < bench->end) {
		_cleanup_(arena_freep) struct arena *arena = arena_new(n_bytes + 4096);
		ProtobufCMessage *message;

		if (rpc_stream_receive(stream, arena, &message, &error) != 1)
			die(&error);
		n++;
	}
	spent = clock_monotonic_ns() - start;
	(void)printf(", \"stream_%s_messages_per_s\": %.0f, \"stream_%s_mb_per_s\": %.1f", name,
		     (double)n * 1e9 / (double)spent, name,
		     (double)(n * n_bytes) * 1e3 / (double)spent);
}

/* The server, until the parent closes its end. */
static void serve(int fd)
{
	struct test_server *server = test_server_start(2 * N_THREADS, 0);
	char c;

	if (write(fd, server->target, sizeof(server->target)) < 0 || read(fd, &c, 1) < 0)
		perror("bench-echo");
	test_server_stop(server, 1000);
}

static int server_spawn(char *target, size_t n)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		exit(1);
	if (fork() == 0) {
		close(fds[0]);
		serve(fds[1]);
		exit(0);
	}
	close(fds[1]);
	if (read(fds[0], target, n) != (ssize_t)n)
		exit(1);
	return fds[0];
}

int main(int argc, char **argv)
{
	char target[sizeof(((struct test_server *)NULL)->target)];
	struct bench bench = { 0 };
	struct error error = { 0 };
	uint64_t duration = 2;
	int fd;

	if (argc > 1 && (str_to_u64(argv[1], MAX_SECONDS, &duration) < 0 || duration == 0)) {
		(void)fprintf(stderr, "usage: bench-echo [SECONDS]\n");
		return 2;
	}
	duration *= NS_PER_SEC;
	fd = server_spawn(target, sizeof(target));
	if (rpc_channel_open(target, NULL, &bench.channel, &error) < 0)
		die(&error);
	unary_once(bench.channel);
	bench.end = clock_monotonic_ns() + duration;
	bench_latency(&bench);
	bench.end = clock_monotonic_ns() + duration;
	bench_rate(&bench, duration);
	bench.end = clock_monotonic_ns() + duration;
	bench_stream(&bench, "small", SMALL_BYTES);
	bench.end = clock_monotonic_ns() + duration;
	bench_stream(&bench, "large", LARGE_BYTES);
	(void)printf("}\n");
	rpc_channel_close(bench.channel);
	close(fd);
	(void)wait(NULL);
	return 0;
}
