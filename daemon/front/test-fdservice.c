/* Sockets whose last close waits (SO_LINGER, a peer that does not read), given to front. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/test-core.h"
#include "proto/arena.h"
#include "rpc/loop.h"

/* Of one uid (FDSERVICE.md). */
#define N_CONNECTIONS 16
/* Longer than any call here may take. */
#define LINGER_S 60

static struct test_front front;
static struct arena *arena;
static sem_t go_on;

static int setup(void **state)
{
	(void)state;
	arena = arena_new(1 << 20);
	return arena != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	arena_free(TAKE_PTR(arena));
	return 0;
}

static int connect_to_front(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, front.fd_path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* A TCP socket that has sent more than its peer takes; the peer is the second. */
static int lingering(int *ret_peer)
{
	static const struct linger linger = { .l_onoff = 1, .l_linger = LINGER_S };
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static char bytes[1 << 16];
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, size), 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(*ret_peer >= 0);
	(void)close(listener);
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

/* A datagram of n bytes with a descriptor, if it is one; false: front has closed. */
static bool send_fd(int connection, size_t n, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { .iov_base = (char[32]){ 0 }, .iov_len = n };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	return sendmsg(connection, &message, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Whether front takes one more connection of ours: it closes one that is too many. */
static bool is_admitted(void)
{
	struct pollfd pollfd = { .fd = connect_to_front(), .events = POLLIN };
	bool is;

	/* What is no ticket is refused in words. */
	(void)send_fd(pollfd.fd, 3, -1);
	assert_int_equal(poll(&pollfd, 1, 10000), 1);
	is = recv(pollfd.fd, (char[1200]){ 0 }, 1200, 0) > 0;
	(void)close(pollfd.fd);
	return is;
}

static void await_admission(void)
{
	const uint64_t deadline = clock_monotonic_ns() + 10 * NS_PER_SEC;

	while (!is_admitted() && clock_monotonic_ns() < deadline)
		(void)usleep(10000);
	assert_true(is_admitted());
}

static enum error_code get_status(struct rpc_channel *channel)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;

	return test_call(channel, "GetStatus", &request.base, arena, NULL);
}

/* On the loop: until the test has closed its own descriptor, which is then not the last one. */
static void stand_still(void *arg)
{
	while (sem_wait(arg) < 0)
		continue;
}

/* Read, or left unread behind what ends the connection; with as many bytes as a ticket, or fewer.
 */
static void send_and_close(int fd, bool unread, size_t n)
{
	int connection;

	assert_int_equal(rpc_loop_post(front.front->loop, stand_still, &go_on), 0);
	connection = connect_to_front();
	assert_true(!unread || send_fd(connection, 3, -1));
	assert_true(send_fd(connection, n, fd));
	(void)close(connection);
	(void)close(fd);
	(void)sem_post(&go_on);
}

static void no_close_of_what_came_keeps_the_calls_waiting(void **state)
{
	struct rpc_channel *channel;
	int peers[N_CONNECTIONS];

	(void)state;
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	test_front_start(&front, NULL);
	channel = test_connect(&front);
	assert_int_equal(get_status(channel), ERROR_NONE);
	for (int i = 0; i < N_CONNECTIONS; i++) {
		send_and_close(lingering(&peers[i]), i % 2 == 1, i % 3 == 0 ? 32 : 3);
		assert_int_equal(get_status(channel), ERROR_NONE);
	}
	/* All are still being closed, and count. */
	assert_false(is_admitted());
	assert_int_equal(get_status(channel), ERROR_NONE);
	for (int i = 0; i < N_CONNECTIONS; i++)
		(void)close(peers[i]);
	await_admission();
	rpc_channel_close(channel);
	test_front_stop(&front);
	(void)sem_destroy(&go_on);
}

static void *attach(void *arg)
{
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *own = arena_new(1 << 20);
	struct rpc_channel *channel = test_connect(&front);

	request.socket_ticket = (ProtobufCBinaryData){ 32, arg };
	request.program = "instances/x/programs/p";
	assert_int_equal(test_call(channel, "Attach", &request.base, own, NULL), ERROR_NONE);
	rpc_channel_close(channel);
	return NULL;
}

static void core_does_not_close_last_what_its_client_has_let_go(void **state)
{
	uint8_t answer[1200];
	struct rpc_channel *channel;
	pthread_t thread;
	int peer, fd, connection;

	(void)state;
	test_front_start(&front, NULL);
	front.core.takes_socket = true;
	front.core.hold_sockets = true;
	channel = test_connect(&front);
	assert_int_equal(get_status(channel), ERROR_NONE);
	fd = lingering(&peer);
	connection = connect_to_front();
	assert_true(send_fd(connection, 1, fd));
	assert_int_equal(recv(connection, answer, sizeof(answer), 0), 33);
	assert_int_equal(pthread_create(&thread, NULL, attach, answer + 1), 0);
	assert_int_equal(test_await(&front.core.n_sockets, 1), 1);
	(void)close(connection);
	(void)close(fd);
	/* Front has seen that the connection ended by the time it has served another one. */
	await_admission();
	test_core_release(&front.core);
	assert_int_equal(get_status(channel), ERROR_NONE);
	(void)pthread_join(thread, NULL);
	(void)close(peer);
	await_admission();
	rpc_channel_close(channel);
	test_front_stop(&front);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(no_close_of_what_came_keeps_the_calls_waiting),
		T(core_does_not_close_last_what_its_client_has_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
