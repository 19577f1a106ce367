#include "client/keys.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <termios.h>

#include "base/error.h"

struct keys {
	pthread_t thread;
	int stop_fd;
	struct termios before;
};

static void *wait_for_keys(void *arg)
{
	const struct keys *keys = arg;
	struct pollfd fds[] = { { .fd = keys->stop_fd, .events = POLLIN },
				{ .fd = STDIN_FILENO, .events = POLLIN } };
	char key;

	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents != 0)
			return NULL;
		if (fds[1].revents == 0)
			continue;
		if (read(STDIN_FILENO, &key, 1) != 1)
			return NULL;
		if (key == 'q' || key == 'Q') {
			(void)kill(getpid(), SIGINT);
			return NULL;
		}
	}
}

int keys_new(struct keys **ret, struct error *err)
{
	_cleanup_free_ struct keys *keys = calloc(1, sizeof(*keys));
	struct termios raw;
	int r;

	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (tcgetattr(STDIN_FILENO, &keys->before) < 0) {
		*ret = NULL;
		return 0;
	}
	keys->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (keys->stop_fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot wait for keys");
	raw = keys->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	r = tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0 ? errno : 0;
	if (r == 0)
		r = pthread_create(&keys->thread, NULL, wait_for_keys, keys);
	if (r != 0) {
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &keys->before);
		(void)close(keys->stop_fd);
		return error_raise_errno(err, ERROR_IO, r, "cannot wait for keys");
	}
	*ret = TAKE_PTR(keys);
	return 0;
}

void keys_free(struct keys *keys)
{
	if (keys == NULL)
		return;
	(void)eventfd_write(keys->stop_fd, 1);
	(void)pthread_join(keys->thread, NULL);
	(void)close(keys->stop_fd);
	(void)tcsetattr(STDIN_FILENO, TCSANOW, &keys->before);
	free(keys);
}
