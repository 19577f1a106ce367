#define _GNU_SOURCE
#include "daemon/front/fdservice.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/front.h"
#include "daemon/front/session.h"
#include "rpc/listener.h"
#include "rpc/loop.h"

#define N_CONNECTIONS 64
#define N_CONNECTIONS_PER_UID 16
#define TICKET_LEN 32
#define TICKET_TIMEOUT_MS 5000
#define TEXT_MAX 1000

struct fdservice {
	struct front *front;
	struct rpc_listener *listener;
	struct exchange *first;
};

/* One connection: a ticket is awaited, then a session, then core's answer. */
struct exchange {
	struct fdservice *service;
	struct exchange *next, **prev;
	int fd;
	uid_t uid;
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
	(void)close(exchange->fd);
	*exchange->prev = exchange->next;
	if (exchange->next != NULL)
		exchange->next->prev = exchange->prev;
	if (service->listener != NULL)
		rpc_listener_release(service->listener);
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

/* Core is asked for a session only once there is something to redeem. */
static void on_readable(void *arg, uint32_t events)
{
	struct exchange *exchange = arg;
	struct error err = { 0 };
	uint8_t bytes[TICKET_LEN + 1];
	ssize_t n = recv(exchange->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
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
	exchange->session =
		session_new(exchange->service->front, exchange->fd, on_session, exchange, &err);
	if (exchange->session == NULL)
		exchange_refuse(exchange, &err);
}

static void on_timeout(void *arg)
{
	struct exchange *exchange = arg;

	exchange->timer = NULL;
	exchange_free(exchange);
}

/* Whether the peer's uid may have one more connection; those that say nothing last five seconds. */
static bool admit(const struct fdservice *service, int fd, uid_t *ret_uid)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);
	unsigned int n = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return false;
	for (const struct exchange *e = service->first; e != NULL; e = e->next)
		n += e->uid == credentials.uid;
	*ret_uid = credentials.uid;
	return n < N_CONNECTIONS_PER_UID;
}

static void on_accept(void *user, int fd)
{
	struct fdservice *service = user;
	uid_t uid = 0;
	struct exchange *exchange = admit(service, fd, &uid) ? calloc(1, sizeof(*exchange)) : NULL;
	struct error err = { 0 };

	if (exchange == NULL) {
		(void)close(fd);
		rpc_listener_release(service->listener);
		return;
	}
	exchange->service = service;
	exchange->uid = uid;
	exchange->fd = fd;
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
	struct fdservice *service = calloc(1, sizeof(*service));
	int r;

	if (service == NULL) {
		cleanup_closep(&listen_fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for the fd socket");
	}
	service->front = front;
	r = rpc_listener_new(front->loop, listen_fd, N_CONNECTIONS, on_accept, service,
			     &service->listener, err);
	if (r < 0) {
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
	rpc_listener_free(service->listener);
	free(service);
}
