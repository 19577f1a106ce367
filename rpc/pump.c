#include "rpc/pump.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "rpc/internal.h"
#include "rpc/loop.h"

/* 16 KiB hold at most about a thousand new streams, of some 12 KB each in gRPC. */
#define PORTION_IN_BYTES 16384
#define PORTION_OUT_BYTES ((size_t)256 << 10)
/* What every process may ask for (net.core.wmem_max as it comes); the kernel doubles it. */
#define SEND_BUFFER_BYTES 212992
/* With that much in the pair a message may find no room in it. */
#define FULL_BYTES 65536
/* RFC 9113, 3.4 and 4.1 */
#define PREFACE_BYTES 24
#define FRAME_HEADER_BYTES 9
#define FRAME_TYPE_HEADERS 1
/* Streams that gRPC refuses by itself never become calls; they are forgotten after a while. */
#define FORGET_MS 50

struct rpc_pump {
	struct rpc_loop *loop;
	int client_fd;
	int grpc_fd; /* our end */
	struct rpc_watch *client_watch;
	struct rpc_watch *grpc_watch;
	struct rpc_feed feed;
	bool waits; /* for gRPC to read, or for the backlog */
	/* Where in the client's frames we are: bytes to skip, and what is there of the next header.
	 */
	size_t n_skip;
	uint8_t header[FRAME_HEADER_BYTES];
	size_t n_header;
	/* Streams begun that have not come out of gRPC as calls, and how many there may be. */
	unsigned int n_backlog;
	unsigned int max_backlog;
	struct rpc_timer *forget;
	bool was_full;
	bool room_awaited; /* rpc_pump_has_room() said no */
	/* From gRPC, and not yet taken by the client. */
	uint8_t *rest;
	size_t n_rest;
	size_t rest_offset;
	void (*on_end)(void *arg);
	void (*on_room)(void *arg);
	void *arg;
};

/* The last thing to do with a pump: its owner may close it now. */
static void pump_end(struct rpc_pump *pump)
{
	rpc_timer_cancel(TAKE_PTR(pump->forget));
	rpc_watch_free(TAKE_PTR(pump->client_watch));
	rpc_watch_free(TAKE_PTR(pump->grpc_watch));
	pump->on_end(pump->arg);
}

static void client_watch_update(struct rpc_pump *pump)
{
	rpc_watch_set(pump->client_watch,
		      EPOLLRDHUP | (pump->waits ? 0 : EPOLLIN) | (pump->n_rest > 0 ? EPOLLOUT : 0));
}

/* ---- in; false: it is over */

/* Counts the streams that begin in these bytes. */
static void streams_count(struct rpc_pump *pump, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		size_t step = pump->n_skip < n ? pump->n_skip : n;

		pump->n_skip -= step;
		bytes += step;
		n -= step;
		if (n == 0)
			return;
		pump->header[pump->n_header++] = *bytes++;
		n--;
		if (pump->n_header < FRAME_HEADER_BYTES)
			continue;
		pump->n_header = 0;
		pump->n_skip = (size_t)pump->header[0] << 16 | (size_t)pump->header[1] << 8 |
			       pump->header[2];
		pump->n_backlog += pump->header[3] == FRAME_TYPE_HEADERS;
	}
}

static void pump_resume(struct rpc_pump *pump)
{
	if (!pump->waits || pump->feed.listed || pump->n_backlog > pump->max_backlog)
		return;
	pump->waits = false;
	rpc_timer_cancel(TAKE_PTR(pump->forget));
	client_watch_update(pump);
}

static void feed_empty(struct rpc_feed *feed)
{
	pump_resume(CONTAINER_OF(feed, struct rpc_pump, feed));
}

void rpc_pump_accepted(struct rpc_pump *pump)
{
	if (pump->n_backlog > 0)
		pump->n_backlog--;
	pump_resume(pump);
}

static void backlog_forget(void *arg)
{
	struct rpc_pump *pump = arg;

	pump->forget = NULL;
	pump->n_backlog = 0;
	pump_resume(pump);
}

/* Stops reading from the client until gRPC has caught up. */
static bool pump_wait(struct rpc_pump *pump)
{
	pump->waits = true;
	client_watch_update(pump);
	if (pump->n_backlog > pump->max_backlog && pump->forget == NULL) {
		pump->forget = rpc_loop_after(pump->loop, FORGET_MS, backlog_forget, pump);
		return pump->forget != NULL;
	}
	return true;
}

static bool pump_in(struct rpc_pump *pump)
{
	uint8_t bytes[PORTION_IN_BYTES];
	ssize_t n;

	if (pump->feed.listed || pump->n_backlog > pump->max_backlog)
		return pump_wait(pump);
	n = recv(pump->client_fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	/* The pair is empty, so a portion always fits. */
	if (n <= 0 || send(pump->grpc_fd, bytes, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n)
		return false;
	streams_count(pump, bytes, (size_t)n);
	rpc_loop_feed(pump->loop, &pump->feed);
	return true;
}

/* ---- out; false: it is over */

static void grpc_ready(void *arg, uint32_t events);

/* Passes bytes on; those that the client does not take are kept, and no more is
 * read from gRPC. */
static bool pump_out(struct rpc_pump *pump, const uint8_t *bytes, size_t n)
{
	ssize_t sent = send(pump->client_fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent < 0)
		sent = 0;
	if ((size_t)sent == n)
		return true;
	pump->rest = malloc(n - (size_t)sent);
	if (pump->rest == NULL)
		return false;
	pump->n_rest = n - (size_t)sent;
	pump->rest_offset = 0;
	memcpy(pump->rest, bytes + sent, pump->n_rest);
	rpc_watch_free(TAKE_PTR(pump->grpc_watch));
	client_watch_update(pump);
	return true;
}

static bool pump_rest(struct rpc_pump *pump)
{
	ssize_t sent = send(pump->client_fd, pump->rest + pump->rest_offset, pump->n_rest,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return errno == EAGAIN || errno == EINTR;
	pump->rest_offset += (size_t)sent;
	pump->n_rest -= (size_t)sent;
	if (pump->n_rest > 0)
		return true;
	free(TAKE_PTR(pump->rest));
	client_watch_update(pump);
	return rpc_loop_watch(pump->loop, pump->grpc_fd, EPOLLIN, grpc_ready, pump,
			      &pump->grpc_watch, NULL) == 0;
}

static void grpc_ready(void *arg, uint32_t events)
{
	struct rpc_pump *pump = arg;
	uint8_t bytes[PORTION_OUT_BYTES];
	ssize_t n = recv(pump->grpc_fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* gRPC waits for room only where there was none. */
	if (n >= FULL_BYTES || pump->was_full)
		rpc_loop_poke(pump->loop);
	pump->was_full = n >= FULL_BYTES;
	if (n <= 0 || !pump_out(pump, bytes, (size_t)n))
		pump_end(pump);
	else if (pump->room_awaited && rpc_pump_has_room(pump))
		pump->on_room(pump->arg);
}

static bool client_serve(struct rpc_pump *pump, uint32_t events)
{
	if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
		return false;
	if ((events & EPOLLOUT) != 0 && pump->n_rest > 0 && !pump_rest(pump))
		return false;
	return (events & EPOLLIN) == 0 || pump_in(pump);
}

static void client_ready(void *arg, uint32_t events)
{
	if (!client_serve(arg, events))
		pump_end(arg);
}

/* ---- life */

static int pump_watch(struct rpc_pump *pump, struct error *err)
{
	int r = rpc_loop_watch(pump->loop, pump->client_fd, EPOLLIN | EPOLLRDHUP, client_ready,
			       pump, &pump->client_watch, err);

	if (r < 0)
		return r;
	return rpc_loop_watch(pump->loop, pump->grpc_fd, EPOLLIN, grpc_ready, pump,
			      &pump->grpc_watch, err);
}

static void buffer_enlarge(int fd)
{
	const int n = SEND_BUFFER_BYTES;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof(n));
}

int rpc_pump_open(struct rpc_loop *loop, int client_fd, unsigned int max_backlog,
		  void (*on_end)(void *arg), void (*on_room)(void *arg), void *arg,
		  struct rpc_pump **ret, int *ret_grpc_fd, struct error *err)
{
	_cleanup_close_ int owned_fd = client_fd;
	_cleanup_close_ int grpc_fd = -1;
	_cleanup_(rpc_pump_closep) struct rpc_pump *pump = NULL;
	int fds[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot serve a connection");
	grpc_fd = fds[1];
	buffer_enlarge(grpc_fd);
	buffer_enlarge(client_fd);
	pump = calloc(1, sizeof(*pump));
	if (pump == NULL) {
		close(fds[0]);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot serve a connection");
	}
	*pump = (struct rpc_pump){
		.loop = loop,
		.client_fd = TAKE_FD(owned_fd),
		.grpc_fd = fds[0],
		.feed = { .fd = fds[0], .on_empty = feed_empty },
		.n_skip = PREFACE_BYTES,
		.max_backlog = max_backlog,
		.on_end = on_end,
		.on_room = on_room,
		.arg = arg,
	};
	r = pump_watch(pump, err);
	if (r < 0)
		return r;
	*ret_grpc_fd = TAKE_FD(grpc_fd);
	*ret = TAKE_PTR(pump);
	return 0;
}

bool rpc_pump_has_room(struct rpc_pump *pump)
{
	int n = 0;

	pump->room_awaited = ioctl(pump->grpc_fd, FIONREAD, &n) == 0 && n >= FULL_BYTES;
	return !pump->room_awaited;
}

bool rpc_pump_is_idle(const struct rpc_pump *pump)
{
	return pump->n_rest == 0;
}

void rpc_pump_close(struct rpc_pump *pump)
{
	if (pump == NULL)
		return;
	rpc_loop_unfeed(pump->loop, &pump->feed);
	rpc_timer_cancel(pump->forget);
	rpc_watch_free(pump->client_watch);
	rpc_watch_free(pump->grpc_watch);
	close(pump->client_fd);
	close(pump->grpc_fd);
	free(pump->rest);
	free(pump);
}
