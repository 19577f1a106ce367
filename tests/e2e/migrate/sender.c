/*
 * Sends UDP packets of one byte until SIGTERM, then prints how many the kernel took.
 * Usage: flood ADDRESS PORT CPU
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BURST 64

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct iovec byte = { .iov_base = (void *)"x", .iov_len = 1 };
	struct mmsghdr burst[BURST] = { 0 };
	uint64_t n_sent = 0;
	cpu_set_t set;
	int fd, n;

	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		(void)fprintf(stderr, "usage: flood ADDRESS PORT CPU\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	CPU_ZERO(&set);
	CPU_SET((size_t)atoi(argv[3]), &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
	(void)signal(SIGTERM, on_signal);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		perror("flood");
		return 1;
	}
	for (int i = 0; i < BURST; i++) {
		burst[i].msg_hdr.msg_iov = &byte;
		burst[i].msg_hdr.msg_iovlen = 1;
	}
	while (!stop) {
		n = sendmmsg(fd, burst, BURST, 0);
		if (n > 0)
			n_sent += (uint64_t)n;
	}
	(void)printf("%" PRIu64 "\n", n_sent);
	return 0;
}
