/*
 * Stands in for bpfleet-core and bpfleet-front in test-supervisor.c, by the name it is started
 * under. Each writes what happens to it as a line of BPFLEET_TEST_EVENTS. Core asks the supervisor
 * what comes in on its control socket (a struct supervisor_message a datagram) and sends the answer
 * back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/supervisor/protocol.h"

static const char *me;

static void event(const char *text)
{
	int fd = open(getenv("BPFLEET_TEST_EVENTS"), O_WRONLY | O_APPEND | O_CLOEXEC);
	char line[128];

	(void)snprintf(line, sizeof(line), "%s %s %d\n", me, text, getpid());
	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		_exit(3);
	(void)close(fd);
}

static void on_term(int signo)
{
	(void)signo;
	event("term");
	_exit(0);
}

static void tell(enum supervisor_type type)
{
	struct supervisor_message m = { .protocol = SUPERVISOR_PROTOCOL, .type = type };

	if (send(SUPERVISOR_CORE_SUPERVISOR_FD, &m, sizeof(m), 0) < 0)
		_exit(4);
}

static int receive(struct supervisor_message *m)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec data = { m, sizeof(*m) };
	struct msghdr header = { .msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(SUPERVISOR_CORE_SUPERVISOR_FD, &header, MSG_CMSG_CLOEXEC) !=
	    (ssize_t)sizeof(*m)) {
		event("orphan");
		_exit(0);
	}
	if (CMSG_FIRSTHDR(&header) != NULL)
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fd));
	return fd;
}

/* An answer goes back with what could be read from the fd that came, in place of the names. */
static void pass_answer(int control, const struct sockaddr_un *to, struct supervisor_message *m,
			int fd)
{
	memset(m->category, 0, sizeof(m->category));
	memset(m->name, 0, sizeof(m->name));
	if (fd >= 0) {
		m->window_ms = 1;
		(void)!pread(fd, m->category, sizeof(m->category) - 1, 0);
		(void)close(fd);
	}
	(void)sendto(control, m, sizeof(*m), 0, (const struct sockaddr *)to, sizeof(*to));
}

static int open_control(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s",
		       getenv("BPFLEET_TEST_CONTROL"));
	(void)unlink(address.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		_exit(5);
	return fd;
}

static void run_core(void)
{
	int control = open_control(), front = SUPERVISOR_CORE_FRONT_FD;
	struct sockaddr_un asker = { .sun_family = AF_UNIX };
	struct supervisor_message m;
	char hello[16];

	tell(SUPERVISOR_CORE_READY);
	for (;;) {
		struct pollfd fds[] = { { SUPERVISOR_CORE_SUPERVISOR_FD, POLLIN, 0 },
					{ front, POLLIN, 0 },
					{ control, POLLIN, 0 } };
		socklen_t len = sizeof(asker);

		(void)poll(fds, 3, -1);
		if (fds[0].revents != 0) {
			int fd = receive(&m);

			if (m.type == SUPERVISOR_NEW_FRONT) {
				event("new-front");
				front = fd;
			} else if (m.type == SUPERVISOR_SETTINGS) {
				event(fd >= 0 ? "settings" : "no settings");
				(void)close(fd);
			} else {
				pass_answer(control, &asker, &m, fd);
			}
		} else if (fds[1].revents != 0) {
			if (recv(front, hello, sizeof(hello), 0) > 0)
				tell(SUPERVISOR_FRONT_READY);
			else
				front = -1;
		} else if (fds[2].revents != 0) {
			ssize_t n = recvfrom(control, &m, sizeof(m), 0, (struct sockaddr *)&asker,
					     &len);

			if (n > 0)
				(void)send(SUPERVISOR_CORE_SUPERVISOR_FD, &m, (size_t)n, 0);
		}
	}
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = on_term };

	me = strstr(argv[0], "core") != NULL ? "core" : "front";
	if (argc != 9 || getenv("BPFLEET_TEST_DIE") != NULL) {
		event("dies");
		return 1;
	}
	(void)sigaction(SIGTERM, &action, NULL);
	event("start");
	if (strcmp(me, "core") == 0)
		run_core();
	if (send(SUPERVISOR_FRONT_CORE_FD, "hello", 5, 0) < 0)
		return 6;
	/* Does not even notice that core is gone: it must be killed. */
	for (;;)
		(void)pause();
}
