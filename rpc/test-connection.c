#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "rpc/listener.h"
#include "rpc/test-server.h"

#define ARENA_BYTES (1U << 20)
#define ECHO (&bpfleet__rpc__test__echo__descriptor)
/* What one connection may hold on the heap, whatever its peer does. */
#define CONNECTION_HEAP_MAX (16U * 1024U * 1024U)

#define FRAME_DATA 0
#define FRAME_HEADERS 1
#define FRAME_PRIORITY 2
#define FRAME_RST_STREAM 3
#define FRAME_SETTINGS 4
#define FLAG_END_STREAM 1
#define FLAG_END_HEADERS 4
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

typedef Bpfleet__Rpc__Test__EchoRequest echo_request;

static void nap(unsigned int ms)
{
	const struct timespec time = { .tv_sec = ms / 1000,
				       .tv_nsec = (long)(ms % 1000) * (long)NS_PER_MS };

	(void)nanosleep(&time, NULL);
}

static unsigned int fds_open(void)
{
	unsigned int n = 0;
	DIR *directory = opendir("/proc/self/fd");

	while (readdir(directory) != NULL)
		n++;
	closedir(directory);
	return n;
}

/* 0 under a sanitizer, whose allocator does not count here. */
static size_t heap_bytes(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static int raw_connect(const struct test_server *server)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", test_server_path(server));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* True when the peer closes within five seconds; what it sends before is
 * dropped. */
static bool raw_closed(int fd)
{
	char bytes[4096];
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	uint64_t deadline = test_deadline(5000);

	while (poll(&wait, 1, clock_poll_ms(deadline)) > 0) {
		if (read(fd, bytes, sizeof(bytes)) <= 0)
			return true;
	}
	return false;
}

/* Appends a frame to out; its new length. */
static size_t frame_put(uint8_t *out, uint8_t type, uint8_t flags, uint32_t stream,
			const void *payload, size_t n)
{
	const uint8_t header[9] = { (uint8_t)(n >> 16),
				    (uint8_t)(n >> 8),
				    (uint8_t)n,
				    type,
				    flags,
				    (uint8_t)(stream >> 24),
				    (uint8_t)(stream >> 16),
				    (uint8_t)(stream >> 8),
				    (uint8_t)stream };

	memcpy(out, header, sizeof(header));
	if (n > 0)
		memcpy(out + sizeof(header), payload, n);
	return sizeof(header) + n;
}

/* RFC 7541: POST, http, :path, :authority, content-type, te, and for a
 * compressed one grpc-encoding. */
static size_t headers_put(uint8_t *out, uint32_t stream, const char *path, bool gzip)
{
	char block[256];
	int n = snprintf(block, sizeof(block),
			 "\x83\x86\x04%c%s\x01\x01x\x0f\x10\x10"
			 "application/grpc",
			 (char)strlen(path), path);
	static const char te[] = "\0\2te\10trailers";
	static const char encoding[] = "\0\15grpc-encoding\4gzip";

	memcpy(block + n, te, sizeof(te) - 1);
	n += (int)sizeof(te) - 1;
	if (gzip) {
		memcpy(block + n, encoding, sizeof(encoding) - 1);
		n += (int)sizeof(encoding) - 1;
	}
	return frame_put(out, FRAME_HEADERS, FLAG_END_HEADERS, stream, block, (size_t)n);
}

static size_t preface_put(uint8_t *out)
{
	memcpy(out, PREFACE, strlen(PREFACE));
	return strlen(PREFACE) + frame_put(out + strlen(PREFACE), FRAME_SETTINGS, 0, 0, NULL, 0);
}

/* False when the peer has closed or takes no more within half a second. */
static bool raw_send(int fd, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		struct pollfd wait = { .fd = fd, .events = POLLOUT };
		ssize_t sent;

		if (poll(&wait, 1, 500) <= 0)
			return false;
		sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return false;
		bytes += sent;
		n -= (size_t)sent;
	}
	return true;
}

static int echo_call(const struct test_server *server, const char *method, unsigned int delay_ms,
		     unsigned int deadline_ms, struct error *error)
{
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	ProtobufCMessage *message;

	request.delay_ms = delay_ms;
	assert_int_equal(rpc_channel_open(server->target, NULL, &channel, error), 0);
	return rpc_unary(channel, ECHO, method, &request.base, test_deadline(deadline_ms), arena,
			 &message, error);
}

static void assert_serves(const struct test_server *server)
{
	struct error error = { 0 };

	if (echo_call(server, "Unary", 0, 5000, &error) < 0)
		fail_msg("%s", error.message);
}

/* ---- strangers */

static void garbage_closes_its_own_connection_only(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	unsigned int seed = 7;

	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		uint8_t bytes[3000];
		size_t n = i % 2 == 0 ? 0 : preface_put(bytes);
		int fd = raw_connect(server);

		for (; n < sizeof(bytes); n++)
			bytes[n] = (uint8_t)rand_r(&seed);
		(void)raw_send(fd, bytes, sizeof(bytes));
		if (i % 2 == 0)
			assert_true(raw_closed(fd));
		close(fd);
	}
	assert_true(test_wait(&server->n_closed, 40));
	assert_int_equal(server->n_begun, 0);
	assert_serves(server);
	test_server_stop(server, 2000);
}

static void dropped_connections_leave_nothing_behind(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	unsigned int fds = 0;
	size_t heap = 0;

	(void)state;
	for (unsigned int i = 0; i < 600; i++) {
		uint8_t bytes[512];
		size_t n = preface_put(bytes);
		int fd = raw_connect(server);

		if (i == 200) {
			assert_true(test_wait(&server->n_closed, 200));
			fds = fds_open();
			heap = heap_bytes();
		}
		n += headers_put(bytes + n, 1, "/bpfleet.rpc.test.Echo/Chat", false);
		if (i % 3 > 0)
			(void)raw_send(fd, bytes, i % 3 == 1 ? n : n / 2);
		close(fd);
		assert_true(test_wait(&server->n_closed, i > 20 ? i - 20 : 0));
	}
	assert_true(test_wait(&server->n_closed, 600));
	assert_in_range(fds_open(), 0, fds);
	if (heap > 0)
		assert_in_range(heap_bytes(), 0, heap + 100 * 1024);
	assert_serves(server);
	test_server_stop(server, 2000);
}

struct flood {
	int fd;
	bool reset;	 /* each stream at once */
	bool priorities; /* no streams: frames that ask for nothing */
	atomic_bool stop;
	atomic_bool refused; /* the server closed, or took no more */
	size_t most;	     /* bytes on the heap */
};

static size_t flood_put(const struct flood *flood, uint8_t *out, uint32_t stream)
{
	static const uint8_t cancel[4] = { 0, 0, 0, 8 };
	static const uint8_t priority[5] = { 0, 0, 0, 0, 16 };
	size_t n;

	if (flood->priorities)
		return frame_put(out, FRAME_PRIORITY, 0, stream, priority, sizeof(priority));
	n = headers_put(out, stream, "/bpfleet.rpc.test.Echo/Hold", false);
	if (flood->reset)
		n += frame_put(out + n, FRAME_RST_STREAM, 0, stream, cancel, sizeof(cancel));
	return n;
}

/* Sends frames for ever, ignores the server's settings, reads nothing. */
static void *flood_main(void *arg)
{
	struct flood *flood = arg;
	uint8_t bytes[8192];
	size_t n = preface_put(bytes);
	bool sending = true;

	for (uint32_t stream = 1; stream < 2000001 && sending && !flood->stop; stream += 2) {
		n += flood_put(flood, bytes + n, stream);
		if (n > sizeof(bytes) - 512) {
			sending = raw_send(flood->fd, bytes, n);
			n = 0;
			if (heap_bytes() > flood->most)
				flood->most = heap_bytes();
		}
	}
	atomic_store(&flood->refused, !sending);
	return NULL;
}

static void flood_of_streams_costs_bounded_memory(void **state)
{
	struct test_server *server = test_server_start(0, 0);

	(void)state;
	for (unsigned int i = 0; i < 6; i++) {
		struct flood flood = { 0 };
		size_t heap;

		assert_serves(server);
		assert_true(test_wait(&server->n_closed, 2 * i + 1));
		heap = heap_bytes();
		flood.fd = raw_connect(server);
		(void)flood_main(&flood);
		assert_true(flood.refused);
		assert_true(raw_closed(flood.fd));
		close(flood.fd);
		assert_true(test_wait(&server->n_closed, 2 * i + 2));
		if (heap > 0)
			assert_in_range(flood.most, 0, heap + CONNECTION_HEAP_MAX);
	}
	/* What is never sent is never handled: all that was begun are our own calls. */
	assert_int_equal(server->n_begun, 6);
	test_server_stop(server, 2000);
}

static void flood_beside_others(bool reset, bool priorities)
{
	struct test_server *server = test_server_start(0, 0);
	struct flood flood = { .reset = reset, .priorities = priorities };
	pthread_t thread;
	size_t heap;

	assert_serves(server);
	heap = heap_bytes();
	flood.fd = raw_connect(server);
	assert_int_equal(pthread_create(&thread, NULL, flood_main, &flood), 0);
	for (unsigned int i = 0; i < 30; i++)
		assert_serves(server);
	atomic_store(&flood.stop, true);
	pthread_join(thread, NULL);
	close(flood.fd);
	assert_true(test_wait(&server->n_closed, 32));
	if (heap > 0)
		assert_in_range(flood.most, 0, heap + CONNECTION_HEAP_MAX);
	assert_int_equal(server->n_begun, 31);
	test_server_stop(server, 2000);
}

static void flood_of_reset_streams_leaves_others_their_service(void **state)
{
	(void)state;
	flood_beside_others(true, false);
}

static void flood_of_idle_frames_leaves_others_their_service(void **state)
{
	(void)state;
	flood_beside_others(false, true);
}

static void calls_beyond_the_limit_wait_for_their_turn(void **state)
{
	struct test_server *server = test_server_start(2, 0);
	struct rpc_channel *channel;
	struct rpc_stream *streams[3];
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct error error = { 0 };

	(void)state;
	assert_int_equal(rpc_channel_open(server->target, NULL, &channel, &error), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(rpc_stream_open(channel, ECHO, "Chat", test_deadline(10000),
						 &streams[i], &error),
				 0);
		assert_true(test_wait(&server->n_begun, i < 2 ? (unsigned int)i + 1 : 2));
	}
	nap(50);
	assert_int_equal(server->n_begun, 2);
	rpc_stream_free(streams[0]);
	assert_true(test_wait(&server->n_begun, 3));
	assert_int_equal(rpc_stream_send(streams[2], &request.base, &error), 0);
	rpc_stream_free(streams[1]);
	rpc_stream_free(streams[2]);
	rpc_channel_close(channel);
	test_server_stop(server, 2000);
}

/* Its 8 streams are open; the ninth is refused by us, or gRPC ends the
 * connection: never a handler.
 */
static void calls_beyond_the_limit_reach_no_handler_when_the_client_does_not_wait(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	uint8_t bytes[4096];
	size_t n = preface_put(bytes);
	int fd = raw_connect(server);

	(void)state;
	for (uint32_t stream = 1; stream < 2 * (TEST_MAX_CALLS + 6); stream += 2)
		n += headers_put(bytes + n, stream, "/bpfleet.rpc.test.Echo/Chat", false);
	assert_true(raw_send(fd, bytes, n));
	nap(100);
	assert_int_equal(server->n_begun, TEST_MAX_CALLS);
	close(fd);
	assert_true(test_wait(&server->n_closed, 1));
	assert_int_equal(server->n_begun, server->n_done);
	test_server_stop(server, 2000);
}

static void compressed_message_is_refused_before_it_is_unpacked(void **state)
{
	/* `head -c 100000 /dev/zero | gzip -9` */
	static const uint8_t message[] = {
		1,    0,    0,	  0,	133, 0x1f, 0x8b, 8, 0, 0,    0,	   0,	 0,
		2,    3,    0xed, 0xc1, 1,   0x0d, 0,	 0, 0, 0xc2, 0xa0, 0xf7, 0x4f,
		0x6d, 0x0e, 0x37, 0xa0, 0,   0,	   0,	 0, 0, 0,    0,	   0,	 0,
	};
	struct test_server *server = test_server_start(0, 0);
	int fd = raw_connect(server);
	uint8_t bytes[1024];
	size_t n = preface_put(bytes);

	(void)state;
	n += headers_put(bytes + n, 1, "/bpfleet.rpc.test.Echo/Unary", true);
	n += frame_put(bytes + n, FRAME_DATA, FLAG_END_STREAM, 1, message, sizeof(message));
	assert_true(raw_send(fd, bytes, n));
	nap(100);
	assert_int_equal(server->n_begun, 0);
	close(fd);
	assert_serves(server);
	test_server_stop(server, 2000);
}

static void large_metadata_is_refused(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	static char value[20000];
	const struct rpc_metadata metadata = { .key = "x-test", .value = value, .n = 20000 };
	const struct rpc_channel_options options = { .metadata = &metadata, .n_metadata = 1 };
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct error error = { 0 };
	ProtobufCMessage *message;

	(void)state;
	memset(value, 'v', sizeof(value));
	assert_int_equal(rpc_channel_open(server->target, &options, &channel, &error), 0);
	assert_true(rpc_unary(channel, ECHO, "Unary", &request.base, test_deadline(5000), arena,
			      &message, &error) < 0);
	assert_int_equal(error.code, ERROR_LIMIT_EXCEEDED);
	assert_int_equal(server->n_begun, 0);
	test_server_stop(server, 2000);
}

/* A gRPC message frame around a request for n answers of n_payload bytes. */
static size_t feed_put(uint8_t *out, uint32_t stream, uint32_t n, size_t n_payload)
{
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	uint8_t payload[4096] = { 0 };
	uint8_t message[sizeof(payload) + 64] = { 0 };
	size_t size;

	request.payload.data = payload;
	request.payload.len = n_payload;
	request.n = n;
	size = protobuf_c_message_pack(&request.base, message + 5);
	message[3] = (uint8_t)(size >> 8);
	message[4] = (uint8_t)size;
	return frame_put(out, FRAME_DATA, FLAG_END_STREAM, stream, message, size + 5);
}

/* Until nothing has been added for 300 ms; at most ten seconds. */
static unsigned int settled(const atomic_uint *counter)
{
	unsigned int before = atomic_load(counter);

	for (unsigned int i = 0; i < 33; i++) {
		nap(300);
		if (atomic_load(counter) == before)
			break;
		before = atomic_load(counter);
	}
	return before;
}

static void client_that_does_not_read_stops_the_sender(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	static uint8_t bytes[TEST_MAX_CALLS * 5000];
	size_t n = preface_put(bytes), heap;
	int fd;

	(void)state;
	assert_serves(server);
	heap = heap_bytes();
	fd = raw_connect(server);
	for (uint32_t stream = 1; stream < 2 * TEST_MAX_CALLS; stream += 2) {
		n += headers_put(bytes + n, stream, "/bpfleet.rpc.test.Echo/Feed", false);
		n += feed_put(bytes + n, stream, 1000000, 4096);
	}
	assert_true(raw_send(fd, bytes, n));
	assert_true(test_wait(&server->n_begun, TEST_MAX_CALLS + 1));
	assert_in_range(settled(&server->n_fed), TEST_MAX_CALLS, 100 * TEST_MAX_CALLS);
	assert_int_equal(server->max_queue, TEST_FEED_QUEUE);
	if (heap > 0)
		assert_in_range(heap_bytes(), 0, heap + CONNECTION_HEAP_MAX / 4);
	assert_int_equal(server->n_done, 1);
	assert_serves(server);
	close(fd);
	assert_true(test_wait(&server->n_done, TEST_MAX_CALLS + 2));
	assert_int_equal(server->n_cancelled, TEST_MAX_CALLS);
	test_server_stop(server, 2000);
}

static void client_that_goes_away_cancels_its_calls(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	uint8_t bytes[1024];
	size_t n = preface_put(bytes);
	int fd = raw_connect(server);

	(void)state;
	for (uint32_t stream = 1; stream < 7; stream += 2)
		n += headers_put(bytes + n, stream, "/bpfleet.rpc.test.Echo/Chat", false);
	assert_true(raw_send(fd, bytes, n));
	assert_true(test_wait(&server->n_begun, 3));
	assert_int_equal(server->n_cancelled, 0);
	close(fd);
	assert_true(test_wait(&server->n_closed, 1));
	assert_int_equal(server->n_cancelled, 3);
	assert_int_equal(server->n_done, 3);
	assert_int_equal(server->n_half_closed, 0);
	test_server_stop(server, 2000);
}

/* ---- listeners */

static void listener_keeps_to_its_number_of_connections(void **state)
{
	struct test_server *server = test_server_start(0, 3);
	int fds[5];

	(void)state;
	for (size_t i = 0; i < 5; i++)
		fds[i] = raw_connect(server);
	assert_true(test_wait(&server->n_accepted, 3));
	nap(100);
	assert_int_equal(server->n_accepted, 3);
	close(fds[0]);
	assert_true(test_wait(&server->n_accepted, 4));
	close(fds[1]);
	assert_true(test_wait(&server->n_accepted, 5));
	for (size_t i = 2; i < 5; i++)
		close(fds[i]);
	assert_true(test_wait(&server->n_closed, 5));
	test_server_stop(server, 2000);
}

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NS_PER_SEC + (uint64_t)time.tv_nsec;
}

static void listener_without_descriptors_waits_and_does_not_spin(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	struct rlimit old, few;
	uint64_t cpu;
	int fds[3], spare;

	(void)state;
	assert_serves(server);
	for (size_t i = 0; i < 3; i++)
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(test_wait(&server->n_closed, 1));
	spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)spare;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (size_t i = 0; i < 3; i++) {
		struct sockaddr_un address = { .sun_family = AF_UNIX };

		(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
			       test_server_path(server));
		assert_int_equal(connect(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
	}
	cpu = cpu_ns();
	nap(500);
	cpu = cpu_ns() - cpu;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(cpu < 250 * NS_PER_MS);
	assert_true(test_wait(&server->n_accepted, 4));
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
	close(spare);
	assert_true(test_wait(&server->n_closed, 2));
	assert_serves(server);
	test_server_stop(server, 2000);
}

static void listening_replaces_a_dead_socket_and_no_other_file(void **state)
{
	struct error error = { 0 };
	char directory[] = "/tmp/bpfleet-rpc-XXXXXX";
	char path[64], file[64];
	struct stat info;
	int first, second, fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/socket", directory);
	(void)snprintf(file, sizeof(file), "%s/file", directory);
	assert_int_equal(rpc_listen_unix(path, 0660, &first, &error), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0660);
	assert_int_equal(rpc_listen_unix(path, 0660, &second, &error), -EEXIST);
	close(first);
	assert_int_equal(rpc_listen_unix(path, 0600, &second, &error), 0);
	close(second);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(rpc_listen_unix(file, 0600, &second, &error), -EEXIST);
	assert_int_equal(stat(file, &info), 0);
	(void)unlink(path);
	(void)unlink(file);
	(void)rmdir(directory);
}

/* ---- the end */

struct late_call {
	struct test_server *server;
	const char *method;
	unsigned int delay_ms;
	struct error error;
	int r;
};

static void *late_call_main(void *arg)
{
	struct late_call *late = arg;

	late->r = echo_call(late->server, late->method, late->delay_ms, 20000, &late->error);
	return NULL;
}

static void drain_lets_calls_finish_and_takes_no_more(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	struct late_call late = { .server = server, .method = "Unary", .delay_ms = 300 };
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct error error = { 0 };
	ProtobufCMessage *message;
	pthread_t thread;

	(void)state;
	assert_int_equal(rpc_channel_open(server->target, NULL, &channel, &error), 0);
	assert_int_equal(rpc_unary(channel, ECHO, "Unary", &request.base, test_deadline(5000),
				   arena, &message, &error),
			 0);
	assert_int_equal(pthread_create(&thread, NULL, late_call_main, &late), 0);
	assert_true(test_wait(&server->n_begun, 2));
	rpc_loop_drain(server->loop, 5000);
	nap(100);
	assert_int_equal(rpc_unary(channel, ECHO, "Unary", &request.base, test_deadline(5000),
				   arena, &message, &error),
			 -ENOTCONN);
	assert_int_equal(error.code, ERROR_UNAVAILABLE);
	pthread_join(thread, NULL);
	assert_int_equal(late.r, 0);
	assert_int_equal(server->n_cancelled, 0);
	for (unsigned int i = 0; i < 100 && !server->returned; i++)
		nap(20);
	assert_true(server->returned);
	assert_int_equal(server->n_closed, server->n_accepted);
	test_server_stop(server, 0);
}

static void drain_cancels_what_is_left_when_its_time_is_over(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	struct late_call late = { .server = server, .method = "Hold" };
	uint64_t start;
	pthread_t thread;
	int silent = raw_connect(server);

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, late_call_main, &late), 0);
	assert_true(test_wait(&server->n_begun, 1));
	start = clock_monotonic_ns();
	rpc_loop_drain(server->loop, 150);
	pthread_join(thread, NULL);
	assert_true(late.r < 0);
	assert_true(raw_closed(silent));
	for (unsigned int i = 0; i < 200 && !server->returned; i++)
		nap(10);
	assert_true(server->returned);
	assert_in_range(clock_monotonic_ns() - start, 100 * NS_PER_MS, 3000 * NS_PER_MS);
	assert_int_equal(server->n_cancelled, 1);
	assert_int_equal(server->n_done, 1);
	assert_int_equal(server->n_closed, 2);
	close(silent);
	test_server_stop(server, 0);
}

static void drain_does_not_wait_for_clients_without_calls(void **state)
{
	struct test_server *server = test_server_start(0, 0);
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	struct error error = { 0 };
	ProtobufCMessage *message;
	int silent = raw_connect(server);
	uint64_t start;

	(void)state;
	assert_int_equal(rpc_channel_open(server->target, NULL, &channel, &error), 0);
	assert_int_equal(rpc_unary(channel, ECHO, "Unary", &request.base, test_deadline(5000),
				   arena, &message, &error),
			 0);
	start = clock_monotonic_ns();
	rpc_loop_drain(server->loop, 20000);
	for (unsigned int i = 0; i < 500 && !server->returned; i++)
		nap(10);
	assert_true(server->returned);
	assert_in_range(clock_monotonic_ns() - start, 0, 3000 * NS_PER_MS);
	assert_int_equal(server->n_closed, server->n_accepted);
	close(silent);
	test_server_stop(server, 0);
}

/* ---- what the client says about a server that is not there */

static void reach(const char *target, struct error *error)
{
	struct test_server nowhere = { 0 };

	(void)snprintf(nowhere.target, sizeof(nowhere.target), "%s", target);
	assert_int_equal(echo_call(&nowhere, "Unary", 0, 5000, error), -ENOTCONN);
	assert_int_equal(error->code, ERROR_UNAVAILABLE);
}

static void client_says_why_the_daemon_is_out_of_reach(void **state)
{
	char directory[] = "/tmp/bpfleet-rpc-XXXXXX";
	char path[64], target[80];
	struct error error = { 0 };
	uint64_t start = clock_monotonic_ns();
	struct rpc_channel *channel;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/socket", directory);
	(void)snprintf(target, sizeof(target), "unix:%s", path);
	reach(target, &error);
	assert_non_null(strstr(error.message, "no such socket; is bpfleetd running?"));
	assert_non_null(strstr(error.message, path));
	assert_int_equal(rpc_listen_unix(path, 0600, &fd, &error), 0);
	close(fd);
	reach(target, &error);
	assert_non_null(strstr(error.message, "nobody listens there"));
	(void)unlink(path);
	(void)rmdir(directory);
	assert_true(clock_monotonic_ns() - start < 3000 * NS_PER_MS);
	assert_int_equal(rpc_channel_open("tcp:1", NULL, &channel, &error), -EINVAL);
}

static int unary_on(struct rpc_channel *channel, struct error *error)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	echo_request request = BPFLEET__RPC__TEST__ECHO_REQUEST__INIT;
	ProtobufCMessage *message;

	return rpc_unary(channel, ECHO, "Unary", &request.base, test_deadline(5000), arena,
			 &message, error);
}

static void channel_finds_the_server_again_after_a_restart(void **state)
{
	char directory[] = "/tmp/bpfleet-rpc-XXXXXX";
	char path[64], target[80];
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	struct error error = { 0 };
	int r = -1;

	(void)state;
	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/link", directory);
	(void)snprintf(target, sizeof(target), "unix:%s", path);
	assert_int_equal(rpc_channel_open(target, NULL, &channel, &error), 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct test_server *server = test_server_start(0, 0);
		uint64_t start = clock_monotonic_ns();

		assert_int_equal(symlink(test_server_path(server), path), 0);
		for (unsigned int k = 0; k < 100 && (r = unary_on(channel, &error)) < 0; k++)
			nap(30);
		assert_int_equal(r, 0);
		/* gRPC alone looks again every five seconds when nobody waits. */
		assert_true(clock_monotonic_ns() - start < 2000 * NS_PER_MS);
		test_server_stop(server, 100);
		assert_int_equal(unary_on(channel, &error), -ENOTCONN);
		assert_int_equal(unlink(path), 0);
	}
	(void)rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(garbage_closes_its_own_connection_only),
		cmocka_unit_test(dropped_connections_leave_nothing_behind),
		cmocka_unit_test(flood_of_streams_costs_bounded_memory),
		cmocka_unit_test(flood_of_reset_streams_leaves_others_their_service),
		cmocka_unit_test(flood_of_idle_frames_leaves_others_their_service),
		cmocka_unit_test(calls_beyond_the_limit_wait_for_their_turn),
		cmocka_unit_test(
			calls_beyond_the_limit_reach_no_handler_when_the_client_does_not_wait),
		cmocka_unit_test(compressed_message_is_refused_before_it_is_unpacked),
		cmocka_unit_test(large_metadata_is_refused),
		cmocka_unit_test(client_that_does_not_read_stops_the_sender),
		cmocka_unit_test(client_that_goes_away_cancels_its_calls),
		cmocka_unit_test(listener_keeps_to_its_number_of_connections),
		cmocka_unit_test(listener_without_descriptors_waits_and_does_not_spin),
		cmocka_unit_test(listening_replaces_a_dead_socket_and_no_other_file),
		cmocka_unit_test(drain_lets_calls_finish_and_takes_no_more),
		cmocka_unit_test(drain_cancels_what_is_left_when_its_time_is_over),
		cmocka_unit_test(drain_does_not_wait_for_clients_without_calls),
		cmocka_unit_test(client_says_why_the_daemon_is_out_of_reach),
		cmocka_unit_test(channel_finds_the_server_again_after_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
