#define _GNU_SOURCE
/*
 * A client without privilege that hands its sockets to the daemon, through libbpfleet.
 *
 *     socket-client SOCKET filter | reuseport | pair | table | refusals | tickets | strays | flood
 *     socket-client SOCKET stays COMMAND...      filters, runs the command, filters still
 *
 * Checks, and says what was wrong. The instance is `s`.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/bpfleet.h"
#include "client/fd.h"
#include "client/node.h"
#include "proto/arena.h"

#define N_GROUP 3
/* How long what must not arrive is waited for, and what must. */
#define ABSENT_MS 100
#define PRESENT_MS 10000

static const char *socket_path;
static struct bpfleet *node;
static unsigned int n_wrong;

__attribute__((format(printf, 2, 3))) static void check(bool right, const char *format, ...)
{
	va_list arguments;

	if (right)
		return;
	n_wrong++;
	va_start(arguments, format);
	(void)printf("wrong: ");
	(void)vprintf(format, arguments);
	(void)printf("\n");
	va_end(arguments);
}

static void check_error(int r, const struct bpfleet_error *error, const char *reason,
			const char *what)
{
	check(r < 0 && strcmp(error->reason, reason) == 0, "%s: %s %s", what,
	      r < 0 ? error->reason : "(it succeeded)", r < 0 ? error->message : "");
}

static void must(int r, const struct bpfleet_error *error)
{
	if (r < 0)
		errx(1, "%s: %s", error->reason, error->message);
}

static struct sockaddr_in loopback(void)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int bound(int type, struct sockaddr_in *address, bool reuseport)
{
	const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(*address);
	const int on = 1;

	if (fd < 0 ||
	    (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
	    bind(fd, (const struct sockaddr *)address, size) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &size) < 0)
		err(1, "make a socket");
	return fd;
}

/* Both ends of a TCP connection. */
static void connected(int *ret_client, int *ret_server)
{
	struct sockaddr_in address = loopback();
	const int listener = bound(SOCK_STREAM, &address, false);

	*ret_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listen(listener, 1) < 0 || *ret_client < 0 ||
	    connect(*ret_client, (const struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "connect");
	*ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (*ret_server < 0)
		err(1, "accept");
	(void)close(listener);
}

static void send_to(const struct sockaddr_in *address, char byte)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    sendto(fd, &byte, 1, 0, (const struct sockaddr *)address, sizeof(*address)) != 1)
		err(1, "send");
	(void)close(fd);
}

/* The next byte that arrives in time, or 0. */
static char next(int fd, int timeout_ms)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	char byte;

	if (poll(&poller, 1, timeout_ms) != 1 || recv(fd, &byte, 1, MSG_DONTWAIT) != 1)
		return 0;
	return byte;
}

/* Of an x and an a, does only the a arrive? */
static void check_filtered(int fd, const struct sockaddr_in *address, bool filtered,
			   const char *when)
{
	send_to(address, 'x');
	send_to(address, 'a');
	if (!filtered)
		check(next(fd, PRESENT_MS) == 'x', "an x does not arrive %s", when);
	check(next(fd, PRESENT_MS) == 'a', "an a does not arrive, or an x does, %s", when);
}

/* ---- what a client does */

static void filter(void)
{
	struct sockaddr_in address = loopback();
	const int fd = bound(SOCK_DGRAM, &address, false), none = 0;
	struct bpfleet_error error;

	check_filtered(fd, &address, false, "before");
	must(bpfleet_attach_socket(node, "s", "drop_x", "socket_filter:udp", fd, &error), &error);
	check_filtered(fd, &address, true, "with the filter");
	must(bpfleet_attach_socket(node, "s", "drop_x", "socket_filter:udp", fd, &error), &error);
	check_filtered(fd, &address, true, "with the filter attached again");
	if (setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)) < 0)
		err(1, "SO_DETACH_FILTER");
	check_filtered(fd, &address, false, "without it");
}

static void stays(char **command)
{
	struct sockaddr_in address = loopback();
	const int fd = bound(SOCK_DGRAM, &address, false);
	struct bpfleet_error error;
	pid_t pid;
	int status;

	must(bpfleet_attach_socket(node, "s", "drop_x", "socket_filter:udp", fd, &error), &error);
	pid = fork();
	if (pid == 0) {
		(void)execvp(command[0], command);
		_exit(127);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "%s failed", command[0]);
	check_filtered(fd, &address, true, "after it");
}

static void reuseport(void)
{
	struct sockaddr_in address = loopback();
	struct bpfleet_error error;
	int fds[N_GROUP];

	for (uint32_t i = 0; i < N_GROUP; i++) {
		fds[i] = bound(SOCK_DGRAM, &address, true);
		must(bpfleet_map_put_socket(node, "s/group", &i, sizeof(i), fds[i], &error),
		     &error);
	}
	must(bpfleet_attach_socket(node, "s", "pick", "sk_reuseport:udp", fds[0], &error), &error);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < N_GROUP; i++) {
			send_to(&address, (char)('0' + i));
			check(next(fds[i], PRESENT_MS) == '0' + i, "socket %d was not picked", i);
		}
	}
	send_to(&address, '3');
	for (int i = 0; i < N_GROUP; i++)
		check(next(fds[i], ABSENT_MS) == 0, "what has no socket came to socket %d", i);
}

/* What one connection sends comes out of another. */
static void pair(void)
{
	const uint32_t zero = 0, one = 1;
	int client[2], server[2];
	struct bpfleet_error error;
	uint64_t cookie = 0;

	for (int i = 0; i < 2; i++)
		connected(&client[i], &server[i]);
	must(bpfleet_map_put_socket(node, "s/pair", &zero, sizeof(zero), server[0], &error),
	     &error);
	must(bpfleet_map_put_socket(node, "s/pair", &one, sizeof(one), server[1], &error), &error);
	must(bpfleet_map_lookup(node, "s/pair", &one, sizeof(one), &cookie, sizeof(cookie), &error),
	     &error);
	check(cookie != 0, "the map shows no cookie");
	if (send(client[0], "q", 1, 0) != 1)
		err(1, "send");
	check(next(client[1], PRESENT_MS) == 'q', "it did not come out of the other connection");
	must(bpfleet_map_delete(node, "s/pair", &zero, sizeof(zero), &error), &error);
	if (send(client[0], "r", 1, 0) != 1)
		err(1, "send");
	check(next(server[0], PRESENT_MS) == 'r', "it is still redirected");
	(void)close(server[1]);
	(void)close(client[1]);
	for (int i = 0; i < 1000 && bpfleet_map_lookup(node, "s/pair", &one, sizeof(one), &cookie,
						       sizeof(cookie), &error) == 0;
	     i++)
		(void)usleep(10000);
	check_error(bpfleet_map_lookup(node, "s/pair", &one, sizeof(one), &cookie, sizeof(cookie),
				       &error),
		    &error, "KEY_NOT_IN_MAP", "a closed socket in the map");
}

static void table(void)
{
	const uint64_t key = 7;
	struct bpfleet_error error;
	uint64_t cookie = 0, own = 0;
	socklen_t size = sizeof(own);
	int client, server;

	connected(&client, &server);
	must(bpfleet_map_put_socket(node, "s/table", &key, sizeof(key), client, &error), &error);
	must(bpfleet_map_lookup(node, "s/table", &key, sizeof(key), &cookie, sizeof(cookie),
				&error),
	     &error);
	if (getsockopt(client, SOL_SOCKET, SO_COOKIE, &own, &size) < 0)
		err(1, "SO_COOKIE");
	check(cookie == own, "another socket is in the table");
}

/* ---- what is refused */

static void refusals(void)
{
	struct sockaddr_in address = loopback();
	const int udp = bound(SOCK_DGRAM, &address, false);
	const uint32_t zero = 0, far = 77;
	struct bpfleet_error error;
	const struct bpfleet_link *link;
	int pipes[2], client, server, unbound, on = 1;
	uint64_t value = (uint64_t)udp;

	connected(&client, &server);
	if (pipe(pipes) < 0)
		err(1, "pipe");
#define ATTACH(program, hook, fd) \
	bpfleet_attach_socket(node, "s", program, hook, fd, &error), &error
#define PUT(map, key, fd) bpfleet_map_put_socket(node, map, &(key), sizeof(key), fd, &error), &error
	check_error(ATTACH("drop_x", "socket_filter:udp", client), "INVALID_ARGUMENT",
		    "TCP as UDP");
	check_error(ATTACH("drop_x", "socket_filter:udp", pipes[0]), "INVALID_ARGUMENT", "a pipe");
	check_error(ATTACH("drop_x", "socket_filter:udp", 999), "INVALID_ARGUMENT",
		    "no descriptor");
	check_error(ATTACH("drop_x", "socket_filter:tcp", client), "HOOK_NOT_ALLOWED",
		    "what the manifest does not allow");
	check_error(ATTACH("drop_x", "sk_reuseport:udp", udp), "HOOK_NOT_ALLOWED", "another kind");
	check_error(ATTACH("pick", "sk_reuseport:udp", udp), "INVALID_ARGUMENT",
		    "a socket without SO_REUSEPORT");
	check_error(bpfleet_attach(node, "s", "drop_x", "socket_filter:udp", &link, &error), &error,
		    "INVALID_ARGUMENT", "no socket");
	check_error(ATTACH("turn", "sk_skb:pair:stream_verdict", udp), "PERMISSION_DENIED",
		    "a hook that is on no socket");
	if (setsockopt(udp, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)) < 0)
		err(1, "SO_LOCK_FILTER");
	check_error(ATTACH("drop_x", "socket_filter:udp", udp), "HOOK_BUSY", "a locked filter");
	check_error(PUT("s/group", zero, udp), "INVALID_ARGUMENT", "no SO_REUSEPORT");
	check_error(PUT("s/pair", far, client), "INVALID_KEY", "an index past the end");
	check_error(PUT("s/readers_only", zero, client), "MAP_READ_ONLY", "a map without writer");
	check_error(bpfleet_map_update(node, "s/pair", &zero, sizeof(zero), &value, sizeof(value),
				       &error),
		    &error, "INVALID_ARGUMENT", "a number for a socket");
	unbound = socket(AF_INET, SOCK_STREAM, 0);
	check_error(PUT("s/pair", zero, unbound), "INVALID_ARGUMENT",
		    "a TCP socket of no connection");
	(void)shutdown(server, SHUT_RDWR);
	(void)shutdown(client, SHUT_RDWR);
	(void)close(server);
	check_error(PUT("s/pair", zero, client), "INVALID_ARGUMENT", "a connection that has ended");
}

/* Calls of which each names a ticket by itself. */
static const char *attach_with(struct node *raw, const uint8_t *ticket, size_t n)
{
	static struct error error;
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__Hook hook = BPFLEET__V1__HOOK__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;

	error = (struct error){ 0 };
	hook.kind = "socket_filter";
	hook.target = (ProtobufCBinaryData){ 3, (uint8_t *)(uintptr_t) "udp" };
	request.program = "instances/s/programs/drop_x";
	request.hook = &hook;
	request.request_id = request_id;
	request.socket_ticket = (ProtobufCBinaryData){ n, (uint8_t *)(uintptr_t)ticket };
	if (node_request_id(request_id, &error) < 0 ||
	    node_call(raw, "Attach", &request.base, arena, &response, &error) < 0)
		return error_info(error.code)->reason;
	return "OK";
}

static void tickets(void)
{
	struct sockaddr_in address = loopback();
	const int fd = bound(SOCK_DGRAM, &address, false);
	uint8_t ticket[FD_TICKET_LEN];
	struct error error = { 0 };
	int connection;
	struct node *raw;
	const char *got;

	if (node_open(socket_path, 0, &raw, &error) < 0 ||
	    fd_hand_over(raw, fd, &connection, ticket, &error) < 0)
		errx(1, "%s", error.message);
	ticket[5] ^= 1;
	got = attach_with(raw, ticket, sizeof(ticket));
	check(strcmp(got, "PERMISSION_DENIED") == 0, "a made-up ticket: %s", got);
	ticket[5] ^= 1;
	got = attach_with(raw, ticket, 5);
	check(strcmp(got, "PERMISSION_DENIED") == 0, "a part of a ticket: %s", got);
	got = attach_with(raw, ticket, sizeof(ticket));
	check(strcmp(got, "OK") == 0, "the ticket: %s", got);
	check_filtered(fd, &address, true, "with the filter");
	got = attach_with(raw, ticket, sizeof(ticket));
	check(strcmp(got, "PERMISSION_DENIED") == 0, "the ticket again: %s", got);
	(void)close(connection);
	if (fd_hand_over(raw, fd, &connection, ticket, &error) < 0)
		errx(1, "%s", error.message);
	(void)close(connection);
	got = attach_with(raw, ticket, sizeof(ticket));
	check(strcmp(got, "PERMISSION_DENIED") == 0, "after its connection: %s", got);
	/* For somebody else to try, until the input ends. */
	if (fd_hand_over(raw, fd, &connection, ticket, &error) < 0)
		errx(1, "%s", error.message);
	for (size_t i = 0; i < sizeof(ticket); i++)
		(void)printf("%02x", ticket[i]);
	(void)printf("\n");
	(void)fflush(stdout);
	while (getchar() != EOF)
		;
	(void)close(connection);
	node_close(raw);
}

static void with_foreign_ticket(const char *hex)
{
	uint8_t ticket[FD_TICKET_LEN];
	struct error error = { 0 };
	struct node *raw;
	const char *got;
	unsigned int byte;

	for (size_t i = 0; i < sizeof(ticket); i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			errx(2, "no ticket: %s", hex);
		ticket[i] = (uint8_t)byte;
	}
	if (node_open(socket_path, 0, &raw, &error) < 0)
		errx(1, "%s", error.message);
	got = attach_with(raw, ticket, sizeof(ticket));
	check(strcmp(got, "PERMISSION_DENIED") == 0, "another's ticket: %s", got);
	node_close(raw);
}

/* The socket of the API has no use for descriptors: since Linux 6.16 it takes none. */
static void strays(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(sizeof(int)) } };
	struct iovec iov = { .iov_base = (char[]){ 0 }, .iov_len = 1 };
	const struct msghdr message = { .msg_iov = &iov,
					.msg_iovlen = 1,
					.msg_control = &control,
					.msg_controllen = sizeof(control) };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
	const bool has_passrights = setsockopt(fd, SOL_SOCKET, 83, &off, sizeof(off)) == 0;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "connect");
	check((sendmsg(fd, &message, MSG_NOSIGNAL) < 0 && errno == EPERM) == has_passrights,
	      "the socket of the API takes a descriptor, or refuses without being able to");
	(void)close(fd);
}

/* One uid may have sixteen sockets waiting; who is above is turned away, and the next is served. */
static void flood(void)
{
	enum { N = 40 };
	struct sockaddr_in address = loopback();
	const int fd = bound(SOCK_DGRAM, &address, false);
	int connections[N], n = 0, n_refused = 0;
	struct bpfleet_error served;
	uint8_t ticket[FD_TICKET_LEN];
	struct error error = { 0 };
	struct node *raw;

	if (node_open(socket_path, 0, &raw, &error) < 0)
		errx(1, "%s", error.message);
	for (int i = 0; i < N; i++) {
		if (fd_hand_over(raw, fd, &connections[n], ticket, &error) == 0)
			n++;
		else
			n_refused++;
	}
	check(n == 16, "%d sockets are kept for one uid", n);
	check(n_refused == N - 16, "%d were refused", n_refused);
	for (int i = 0; i < n; i++)
		(void)close(connections[i]);
	for (int i = 0; i < 1000 && bpfleet_attach_socket(node, "s", "drop_x", "socket_filter:udp",
							  fd, &served) < 0;
	     i++)
		(void)usleep(10000);
	check_filtered(fd, &address, true, "after the flood");
	node_close(raw);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} commands[] = { { "filter", filter }, { "reuseport", reuseport }, { "pair", pair },
			 { "table", table },   { "refusals", refusals },   { "tickets", tickets },
			 { "strays", strays }, { "flood", flood } };
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error error;

	if (argc < 3)
		errx(2, "usage: socket-client SOCKET COMMAND");
	socket_path = options.socket_path = argv[1];
	must(bpfleet_open(&options, &node, &error), &error);
	if (strcmp(argv[2], "stays") == 0)
		stays(argv + 3);
	else if (strcmp(argv[2], "with-ticket") == 0 && argc == 4)
		with_foreign_ticket(argv[3]);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[2], commands[i].name) == 0)
			commands[i].run();
	}
	bpfleet_close(node);
	return n_wrong > 0;
}
