#define _GNU_SOURCE
#include "rpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/error.h"
#include "rpc/internal.h"
#include "rpc/loop.h"

#define BACKLOG 128
#define ACCEPT_BATCH 32
#define PAUSE_MS 100

struct rpc_listener {
	struct rpc_member member;
	struct rpc_loop *loop;
	int fd;
	struct rpc_watch *watch;
	struct rpc_timer *pause;
	rpc_accept_fn on_accept;
	void *user;
	unsigned int max_connections;
	unsigned int n_connections;
	bool closed;
};

static int socket_address(const char *path, struct sockaddr_un *ret, struct error *err)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret->sun_path))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "socket path '%s' is longer than %zu bytes", path,
				   sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path));
	return 0;
}

/* Removes a socket file that is left over from a process that is gone. */
static int stale_remove(const struct sockaddr_un *address, struct error *err)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat info;

	if (lstat(address->sun_path, &info) < 0)
		return 0;
	if (!S_ISSOCK(info.st_mode))
		return error_raise(err, ERROR_ALREADY_EXISTS, "'%s' exists and is not a socket",
				   address->sun_path);
	if (fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot make a socket");
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
	    errno != ECONNREFUSED)
		return error_raise(err, ERROR_ALREADY_EXISTS, "another process listens at '%s'",
				   address->sun_path);
	if (unlink(address->sun_path) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot remove '%s'",
					 address->sun_path);
	return 0;
}

int rpc_listen_unix(const char *path, unsigned int mode, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = socket_address(path, &address, err);
	if (r < 0)
		return r;
	r = stale_remove(&address, err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode is set before listen(): until then nobody can connect. */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    chmod(path, mode) < 0 || listen(fd, BACKLOG) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot listen at '%s'", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void watch_update(struct rpc_listener *listener)
{
	bool open = listener->pause == NULL && listener->n_connections < listener->max_connections;

	rpc_watch_set(listener->watch, open ? EPOLLIN : 0);
}

static void pause_over(void *arg)
{
	struct rpc_listener *listener = arg;

	listener->pause = NULL;
	watch_update(listener);
}

static bool is_transient(int r)
{
	return r == EAGAIN || r == EINTR || r == ECONNABORTED;
}

static void acceptable(void *arg, uint32_t events)
{
	struct rpc_listener *listener = arg;

	(void)events;
	for (unsigned int i = 0; i < ACCEPT_BATCH; i++) {
		int fd;

		if (listener->n_connections >= listener->max_connections)
			break;
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			/* EMFILE and its like leave the connection waiting: without a pause this
			 * would come back at once. */
			if (!is_transient(errno))
				listener->pause = rpc_loop_after(listener->loop, PAUSE_MS,
								 pause_over, listener);
			break;
		}
		listener->n_connections++;
		listener->on_accept(listener->user, fd);
	}
	watch_update(listener);
}

static void listener_shut(struct rpc_listener *listener)
{
	if (listener->closed)
		return;
	listener->closed = true;
	rpc_loop_leave(listener->loop, &listener->member);
	rpc_timer_cancel(TAKE_PTR(listener->pause));
	rpc_watch_free(TAKE_PTR(listener->watch));
	cleanup_closep(&listener->fd);
}

static void member_close(struct rpc_member *member)
{
	listener_shut(CONTAINER_OF(member, struct rpc_listener, member));
}

int rpc_listener_new(struct rpc_loop *loop, int listen_fd, unsigned int max_connections,
		     rpc_accept_fn on_accept, void *user, struct rpc_listener **ret,
		     struct error *err)
{
	_cleanup_close_ int fd = listen_fd;
	_cleanup_free_ struct rpc_listener *listener = calloc(1, sizeof(*listener));
	int flags, r;

	if (listener == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot make a listener");
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot use a listening socket");
	*listener = (struct rpc_listener){
		.member = { .drain = member_close, .close = member_close },
		.loop = loop,
		.fd = fd,
		.on_accept = on_accept,
		.user = user,
		.max_connections = max_connections,
	};
	r = rpc_loop_watch(loop, fd, EPOLLIN, acceptable, listener, &listener->watch, err);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	rpc_loop_join(loop, &listener->member);
	*ret = TAKE_PTR(listener);
	return 0;
}

void rpc_listener_release(struct rpc_listener *listener)
{
	if (listener->n_connections > 0)
		listener->n_connections--;
	if (!listener->closed)
		watch_update(listener);
}

unsigned int rpc_listener_n_connections(const struct rpc_listener *listener)
{
	return listener->n_connections;
}

void rpc_listener_free(struct rpc_listener *listener)
{
	if (listener == NULL)
		return;
	listener_shut(listener);
	free(listener);
}
