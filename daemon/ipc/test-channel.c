#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/ipc/channel.h"

struct pair {
	struct channel *a, *b;
};

static int pair_setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	pair->a = channel_new(fds[0], 8);
	pair->b = channel_new(fds[1], 8);
	*state = pair;
	return 0;
}

static int pair_teardown(void **state)
{
	struct pair *pair = *state;

	channel_free(pair->a);
	channel_free(pair->b);
	free(pair);
	return 0;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

static int send_request(struct channel *channel, const uint8_t *body, size_t size, int fd,
			struct error *err)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Request request = BPFLEET__IPC__REQUEST__INIT;

	request.id = 7;
	request.method = (char *)"Load";
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REQUEST;
	frame.request = &request;
	return channel_send(channel, &frame, body, size, fd, err);
}

static void a_request_arrives_with_its_body(void **state)
{
	struct pair *pair = *state;
	struct channel_frame frame;
	struct error err = { 0 };

	assert_int_equal(channel_receive(pair->b, &frame, &err), 0);
	assert_int_equal(send_request(pair->a, (const uint8_t *)"body", 4, -1, &err), 0);
	assert_int_equal(channel_receive(pair->b, &frame, &err), 1);
	assert_int_equal(frame.frame->kind_case, BPFLEET__IPC__FRAME__KIND_REQUEST);
	assert_string_equal(frame.frame->request->method, "Load");
	assert_int_equal(frame.body_size, 4);
	assert_memory_equal(frame.body, "body", 4);
	assert_int_equal(frame.fd, -1);
	channel_frame_done(&frame);
}

static void a_large_body_travels_in_a_sealed_memfd(void **state)
{
	struct pair *pair = *state;
	size_t size = 3 << 20;
	uint8_t *body = malloc(size);
	struct channel_frame frame;
	struct error err = { 0 };
	int fds = count_fds();

	memset(body, 0x5a, size);
	assert_int_equal(send_request(pair->a, body, size, -1, &err), 0);
	assert_int_equal(channel_receive(pair->b, &frame, &err), 1);
	assert_int_equal(frame.body_size, size);
	assert_memory_equal(frame.body, body, size);
	channel_frame_done(&frame);
	free(body);
	assert_int_equal(count_fds(), fds);
}

static void an_fd_arrives_and_two_are_refused(void **state)
{
	struct pair *pair = *state;
	struct channel_frame frame;
	struct error err = { 0 };
	int fds = count_fds(), pipe_fds[2];
	char byte;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.space,
				  .msg_controllen = sizeof(control.space) };

	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(send_request(pair->a, NULL, 0, pipe_fds[1], &err), 0);
	assert_int_equal(channel_receive(pair->b, &frame, &err), 1);
	assert_true(frame.fd >= 0);
	assert_true(fcntl(frame.fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(frame.fd, "!", 1), 1);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	channel_frame_done(&frame);

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(&control.header), pipe_fds, sizeof(pipe_fds));
	assert_int_equal(sendmsg(channel_fd(pair->a), &message, 0), 1);
	assert_true(channel_receive(pair->b, &frame, &err) < 0);
	assert_int_equal(err.code, ERROR_PROTOCOL);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	assert_int_equal(count_fds(), fds);
}

static void a_memfd_that_could_still_change_is_refused(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct error err = { 0 };
	void *mapping = NULL;

	(void)state;
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_true(channel_map_sealed(fd, 100, &mapping, &err) < 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	assert_true(channel_map_sealed(fd, 100, &mapping, &err) < 0);
	assert_int_equal(err.code, ERROR_PROTOCOL);
	(void)close(fd);
	fd = channel_memfd((const uint8_t *)"abc", 3, &err);
	assert_true(fd >= 0);
	assert_true(channel_map_sealed(fd, 4, &mapping, &err) < 0);
	assert_null(mapping);
	(void)close(fd);
}

static void what_the_socket_does_not_take_waits_in_a_bounded_queue(void **state)
{
	struct pair *pair = *state;
	static uint8_t body[60000];
	struct channel_frame frame;
	struct error err = { 0 };
	int sent = 0, received = 0, r;

	while (send_request(pair->a, body, sizeof(body), -1, &err) == 0)
		assert_true(++sent < 10000);
	assert_int_equal(err.code, ERROR_SLOW_CONSUMER);
	assert_true(channel_wants_write(pair->a));
	while (received < sent) {
		r = channel_receive(pair->b, &frame, &err);
		assert_true(r >= 0);
		if (r == 0) {
			assert_int_equal(channel_flush(pair->a, &err), 0);
			continue;
		}
		received++;
		channel_frame_done(&frame);
	}
	assert_false(channel_wants_write(pair->a));
}

static void another_version_is_refused_at_the_handshake(void **state)
{
	struct pair *pair = *state;
	struct channel_frame frame;
	struct error err = { 0 };
	uint32_t credits = 0;

	assert_int_equal(channel_hello(pair->a, "0.1.0", 64, &err), 0);
	assert_int_equal(channel_receive(pair->b, &frame, &err), 1);
	assert_int_equal(channel_check_hello(&frame, "0.1.0", &credits, &err), 0);
	assert_int_equal(credits, 64);
	assert_true(channel_check_hello(&frame, "0.2.0", &credits, &err) < 0);
	assert_int_equal(err.code, ERROR_PROTOCOL);
	channel_frame_done(&frame);
}

static void garbage_and_a_closed_end_are_told_apart(void **state)
{
	struct pair *pair = *state;
	struct channel_frame frame;
	struct error err = { 0 };

	assert_int_equal(send(channel_fd(pair->a), "\xff\xff", 2, 0), 2);
	assert_true(channel_receive(pair->b, &frame, &err) < 0);
	assert_int_equal(err.code, ERROR_PROTOCOL);
	channel_free(pair->a);
	pair->a = NULL;
	assert_true(channel_receive(pair->b, &frame, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_true(send_request(pair->b, NULL, 0, -1, &err) < 0);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_request_arrives_with_its_body),
		T(a_large_body_travels_in_a_sealed_memfd),
		T(an_fd_arrives_and_two_are_refused),
		T(a_memfd_that_could_still_change_is_refused),
		T(what_the_socket_does_not_take_waits_in_a_bounded_queue),
		T(another_version_is_refused_at_the_handshake),
		T(garbage_and_a_closed_end_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
