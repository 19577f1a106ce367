#include "client/interrupt.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/exit.h"

/* timeout(1) and shells send a signal to the process and to its group: that is one wish, not two.
 */
#define IMPATIENCE_NS (NS_PER_SEC / 2)

struct interrupt {
	pthread_t thread;
	int signal_fd;
	int happened_fd; /* readable for ever once a signal came */
	int stop_fd;
	int output_fd; /* borrowed */
	void (*on_signal)(void *user);
	void *user;
};

static sigset_t signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	return set;
}

void interrupt_block(void)
{
	sigset_t set = signals();

	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0;
}

static bool take_signal(const struct interrupt *interrupt)
{
	struct signalfd_siginfo info;

	return read(interrupt->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info);
}

static void *wait_for_signals(void *arg)
{
	struct interrupt *interrupt = arg;
	struct pollfd fds[3] = {
		{ .fd = interrupt->stop_fd, .events = POLLIN },
		{ .fd = interrupt->signal_fd, .events = POLLIN },
		{ .fd = interrupt->output_fd }, /* poll(2) reports POLLERR and POLLHUP unasked */
	};
	uint64_t first = 0;

	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents != 0)
			return NULL;
		if (fds[2].revents != 0)
			fds[2].fd = -1;
		else if (fds[1].revents == 0 || !take_signal(interrupt))
			continue;
		if (!readable(interrupt->happened_fd, 0)) {
			first = clock_monotonic_ns();
			(void)eventfd_write(interrupt->happened_fd, 1);
			interrupt->on_signal(interrupt->user);
		} else if (clock_monotonic_ns() - first >= IMPATIENCE_NS) {
			_exit(EXIT_CODE_INTERRUPTED);
		}
	}
}

static void release(struct interrupt *interrupt)
{
	cleanup_closep(&interrupt->signal_fd);
	cleanup_closep(&interrupt->happened_fd);
	cleanup_closep(&interrupt->stop_fd);
	free(interrupt);
}

int interrupt_new(void (*on_signal)(void *user), void *user, int output_fd, struct interrupt **ret,
		  struct error *err)
{
	struct interrupt *interrupt = calloc(1, sizeof(*interrupt));
	sigset_t set = signals();
	int r;

	if (interrupt == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	interrupt->on_signal = on_signal;
	interrupt->user = user;
	interrupt->output_fd = output_fd;
	interrupt->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	interrupt->happened_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	interrupt->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (interrupt->signal_fd < 0 || interrupt->happened_fd < 0 || interrupt->stop_fd < 0) {
		r = error_raise_errno(err, ERROR_IO, errno, "cannot wait for signals");
		release(interrupt);
		return r;
	}
	r = pthread_create(&interrupt->thread, NULL, wait_for_signals, interrupt);
	if (r != 0) {
		release(interrupt);
		return error_raise_errno(err, ERROR_IO, r, "cannot start a thread");
	}
	*ret = interrupt;
	return 0;
}

void interrupt_free(struct interrupt *interrupt)
{
	if (interrupt == NULL)
		return;
	(void)eventfd_write(interrupt->stop_fd, 1);
	(void)pthread_join(interrupt->thread, NULL);
	release(interrupt);
}

bool interrupt_happened(const struct interrupt *interrupt)
{
	return readable(interrupt->happened_fd, 0);
}

bool interrupt_wait(const struct interrupt *interrupt, unsigned int ms)
{
	return readable(interrupt->happened_fd, (int)ms);
}
