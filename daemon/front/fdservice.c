#define _GNU_SOURCE
#include "daemon/front/fdservice.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/closer.h"
#include "daemon/front/front.h"
#include "daemon/front/session.h"
#include "rpc/listener.h"
#include "rpc/loop.h"

#define N_CONNECTIONS 64
#define N_CONNECTIONS_PER_UID 16
#define TICKET_LEN 32
#define TICKET_TIMEOUT_MS 5000
/* How long a socket is kept for the call that names its ticket. */
#define DEPOSIT_TIMEOUT_MS 10000
#define TEXT_MAX 1000

struct fdservice {
	struct front *front;
	struct rpc_listener *listener;
	struct closer *closer;
	struct exchange *first;
};

/*
 * One connection: a ticket is awaited, then a session, then core's answer. Or a socket is, and kept
 * until the connection ends. The parcel has all descriptors that came, and the connection: closing
 * that closes what is still in it unread.
 */
struct exchange {
	struct fdservice *service;
	struct exchange *next, **prev;
	int fd;
	bool is_taken; /* a call has used the ticket of the socket that is kept */
	struct parcel *parcel;
	struct rpc_watch *watch;
	struct rpc_timer *timer;
	struct session *session;
	uint64_t asked;
	uint8_t ticket[TICKET_LEN];
};

static void exchange_free(struct exchange *exchange)
{
	struct fdservice *service = exchange->service;

	if (service->front->core != NULL)
		core_cancel(service->front->core, exchange->asked);
	rpc_timer_cancel(exchange->timer);
	rpc_watch_free(exchange->watch);
	session_close(exchange->session);
	*exchange->prev = exchange->next;
	if (exchange->next != NULL)
		exchange->next->prev = exchange->prev;
	parcel_unref(exchange->parcel);
	free(exchange);
}

/* One datagram, with a descriptor if granted_fd >= 0, and the end. */
static void exchange_end(struct exchange *exchange, const void *bytes, size_t n, int granted_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (granted_fd >= 0) {
		message.msg_control = control.space;
		message.msg_controllen = sizeof(control.space);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &granted_fd, sizeof(granted_fd));
	}
	/* The socket is empty and takes one datagram; a client that is gone needs none. */
	(void)sendmsg(exchange->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	exchange_free(exchange);
}

static void exchange_refuse(struct exchange *exchange, const struct error *error)
{
	char answer[TEXT_MAX + 128];
	int n = snprintf(answer, sizeof(answer), "%c%s %.*s", 1, error_info(error->code)->reason,
			 TEXT_MAX, error->message);

	exchange_end(exchange, answer, (size_t)n, -1);
}

static void on_redeemed(void *arg, const struct core_reply *reply)
{
	struct exchange *exchange = arg;
	struct error err = { 0 };
	_cleanup_close_ int fd = -1;

	exchange->asked = 0;
	if (reply->error == NULL)
		fd = TAKE_FD(*reply->fd);
	if (fd >= 0) {
		exchange_end(exchange, "", 1, fd);
		return;
	}
	if (reply->error != NULL)
		err = *reply->error;
	else
		(void)error_raise(&err, ERROR_PROTOCOL, "core granted a ticket without its fd");
	if (err.code == ERROR_NOT_FOUND)
		(void)bucket_take(&exchange->session->peer->refusals, clock_monotonic_ns());
	exchange_refuse(exchange, &err);
}

static int redeem(struct exchange *exchange, struct error *err)
{
	Bpfleet__Ipc__RedeemTicketRequest message = BPFLEET__IPC__REDEEM_TICKET_REQUEST__INIT;
	uint8_t bytes[TICKET_LEN + 16];
	struct core_request request = { .session = exchange->session->id,
					.method = "RedeemTicket",
					.body = bytes,
					.deadline = UINT64_MAX,
					.fd = -1,
					.lane = &exchange->session->lane };

	if (!bucket_has(&exchange->session->peer->refusals, clock_monotonic_ns()))
		return error_raise(err, ERROR_RATE_LIMITED, "too many tickets were refused");
	message.ticket = (ProtobufCBinaryData){ .len = TICKET_LEN, .data = exchange->ticket };
	request.body_size = protobuf_c_message_pack(&message.base, bytes);
	return core_call(exchange->service->front->core, &request, on_redeemed, exchange,
			 &exchange->asked, err);
}

static void on_session(void *arg, struct session *session, const struct error *error)
{
	struct exchange *exchange = arg;
	struct error err = { 0 };

	(void)session;
	if (error != NULL)
		exchange_refuse(exchange, error);
	else if (redeem(exchange, &err) < 0)
		exchange_refuse(exchange, &err);
}

static void on_timeout(void *arg)
{
	struct exchange *exchange = arg;

	exchange->timer = NULL;
	exchange_free(exchange);
}

/* Keeps a socket that came alone, and answers with a ticket for it; the connection stays. */
static int deposit(struct exchange *exchange, size_t n_fds, struct error *err)
{
	struct parcel *parcel = exchange->parcel;
	const int fd = parcel->fds[parcel->n - 1];
	uint8_t answer[1 + TICKET_LEN] = { 0 };
	struct stat st;

	if (n_fds != 1)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "one socket is handed over at a time, not %zu descriptors",
				   n_fds);
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "what was handed over is not a socket");
	rpc_timer_cancel(TAKE_PTR(exchange->timer));
	exchange->timer = rpc_loop_after(exchange->service->front->loop, DEPOSIT_TIMEOUT_MS,
					 on_timeout, exchange);
	if (exchange->timer == NULL || getrandom(exchange->ticket, TICKET_LEN, 0) != TICKET_LEN)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot keep a socket");
	memcpy(answer + 1, exchange->ticket, TICKET_LEN);
	parcel->kept = fd;
	(void)send(exchange->fd, answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
	return 0;
}

int fdservice_take(struct fdservice *service, const uint8_t *ticket, size_t n, uid_t uid,
		   struct parcel **ret, struct error *err)
{
	struct exchange *found = NULL;

	for (struct exchange *e = service == NULL ? NULL : service->first; e != NULL; e = e->next) {
		if (e->parcel->kept >= 0 && !e->is_taken && e->parcel->uid == uid &&
		    n == TICKET_LEN && memcmp(e->ticket, ticket, TICKET_LEN) == 0)
			found = e;
	}
	if (found == NULL)
		return error_raise(err, ERROR_PERMISSION_DENIED,
				   "no such ticket; it is good once, for ten seconds, for the one "
				   "who handed the socket over, whose connection must stay");
	found->is_taken = true;
	*ret = found->parcel;
	return 0;
}

/* One datagram; the parcel has room for all the descriptors that can come along. */
static ssize_t receive(int fd, uint8_t *bytes, size_t size, struct parcel *parcel, size_t *ret_n)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE((PARCEL_FDS_MAX - 2) * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = bytes, .iov_len = size };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	const ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&message); c != NULL;
	     c = CMSG_NXTHDR(&message, c)) {
		const size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    n_fds > PARCEL_FDS_MAX - parcel->n)
			continue;
		memcpy(parcel->fds + parcel->n, CMSG_DATA(c), n_fds * sizeof(int));
		parcel->n += n_fds;
		*ret_n += n_fds;
	}
	return n;
}

/* Core is asked for a session only once there is something to redeem. */
static void on_readable(void *arg, uint32_t events)
{
	struct exchange *exchange = arg;
	struct error err = { 0 };
	uint8_t bytes[TICKET_LEN + 1];
	const bool keeps = exchange->parcel->kept >= 0;
	size_t n_fds = 0;
	const ssize_t n = receive(exchange->fd, bytes, sizeof(bytes), exchange->parcel, &n_fds);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1 && bytes[0] == 0 && !keeps) {
		if (deposit(exchange, n_fds, &err) < 0)
			exchange_refuse(exchange, &err);
		return;
	}
	/* Whoever has handed a socket over has only to go. */
	if (n <= 0 || keeps) {
		exchange_free(exchange);
		return;
	}
	rpc_watch_free(TAKE_PTR(exchange->watch));
	rpc_timer_cancel(TAKE_PTR(exchange->timer));
	if (n != TICKET_LEN) {
		(void)error_raise(&err, ERROR_INVALID_ARGUMENT, "a ticket has %d bytes",
				  TICKET_LEN);
		exchange_refuse(exchange, &err);
		return;
	}
	memcpy(exchange->ticket, bytes, TICKET_LEN);
	exchange->session = session_new(exchange->service->front, exchange->fd, exchange->parcel,
					on_session, exchange, &err);
	if (exchange->session == NULL)
		exchange_refuse(exchange, &err);
}

static void on_closed(void *user)
{
	struct fdservice *service = user;

	rpc_listener_release(service->listener);
}

/* The uid of the peer. */
static bool peer_of(int fd, uid_t *ret)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return false;
	*ret = credentials.uid;
	return true;
}

/*
 * A connection counts, of all and of its peer's uid, until all it has brought is closed: who makes
 * that wait has less and less. Those that say nothing last five seconds.
 */
static void on_accept(void *user, int fd)
{
	struct fdservice *service = user;
	uid_t uid = 0;
	const bool admitted =
		peer_of(fd, &uid) && closer_n_of(service->closer, uid) < N_CONNECTIONS_PER_UID;
	struct parcel *parcel = parcel_new(service->closer, uid, fd);
	struct exchange *exchange =
		admitted && parcel != NULL ? calloc(1, sizeof(*exchange)) : NULL;
	struct error err = { 0 };

	if (parcel == NULL) {
		(void)close(fd);
		rpc_listener_release(service->listener);
		return;
	}
	if (exchange == NULL) {
		parcel_unref(parcel);
		return;
	}
	exchange->service = service;
	exchange->fd = fd;
	exchange->parcel = parcel;
	exchange->next = service->first;
	exchange->prev = &service->first;
	if (exchange->next != NULL)
		exchange->next->prev = &exchange->next;
	service->first = exchange;
	exchange->timer =
		rpc_loop_after(service->front->loop, TICKET_TIMEOUT_MS, on_timeout, exchange);
	if (exchange->timer == NULL ||
	    rpc_loop_watch(service->front->loop, fd, EPOLLIN, on_readable, exchange,
			   &exchange->watch, &err) < 0)
		exchange_free(exchange);
}

int fdservice_new(struct front *front, int listen_fd, struct fdservice **ret, struct error *err)
{
	_cleanup_close_ int owned = listen_fd;
	struct fdservice *service = calloc(1, sizeof(*service));
	int r;

	if (service == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for the fd socket");
	service->front = front;
	r = closer_new(front->loop, on_closed, service, &service->closer, err);
	if (r == 0)
		r = rpc_listener_new(front->loop, TAKE_FD(owned), N_CONNECTIONS, on_accept, service,
				     &service->listener, err);
	if (r < 0) {
		closer_free(service->closer);
		free(service);
		return r;
	}
	*ret = service;
	return 0;
}

void fdservice_free(struct fdservice *service)
{
	if (service == NULL)
		return;
	while (service->first != NULL)
		exchange_free(service->first);
	closer_free(service->closer);
	rpc_listener_free(service->listener);
	free(service);
}
