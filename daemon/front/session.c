#define _GNU_SOURCE
#include "daemon/front/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/front/closer.h"
#include "daemon/front/front.h"
#include "daemon/front/grant.h"
#include "rpc/server.h"

static void on_closed_in_core(void *arg, const struct core_reply *reply)
{
	(void)arg;
	(void)reply;
}

/* A session that core made and front does not want (any more). */
static void close_in_core(struct front *front, const struct session *session)
{
	struct core_request request = { .session = session->id,
					.method = "CloseSession",
					.deadline = UINT64_MAX,
					.fd = -1,
					.parcel = session->parcel,
					.urgent = true };
	struct error err = { 0 };

	/* Without memory the session ends with front, in a lost core it has ended already. */
	if (front->core != NULL &&
	    core_call(front->core, &request, on_closed_in_core, NULL, NULL, &err) < 0)
		log_error(LOG_LEVEL_DEBUG, &err, "a session is not closed");
}

static int take_opened(struct session *session, const struct core_reply *reply, struct error *err)
{
	ProtobufCMessage *message = NULL;
	const Bpfleet__Ipc__OpenSessionReply *opened;
	int r = core_reply_unpack(reply, &bpfleet__ipc__open_session_reply__descriptor, &message,
				  err);

	if (r < 0)
		return r;
	opened = (const Bpfleet__Ipc__OpenSessionReply *)message;
	if (opened->session.len != CHANNEL_SESSION_LEN ||
	    strlen(opened->identity) >= sizeof(session->identity))
		return error_raise(err, ERROR_PROTOCOL, "core named a session malformed");
	memcpy(session->id, opened->session.data, CHANNEL_SESSION_LEN);
	strcpy(session->identity, opened->identity);
	session->open = true;
	return 0;
}

static void on_opened(void *arg, const struct core_reply *reply)
{
	struct session *session = arg;
	const struct error *error = reply->error;
	struct error err = { 0 };

	session->opening = 0;
	if (error == NULL && take_opened(session, reply, &err) < 0)
		error = &err;
	if (session->on_open == NULL)
		session_close(session);
	else
		session->on_open(session->arg, session, error);
}

static int peer_uid(int fd, uid_t *ret, struct error *err)
{
	struct ucred credentials;
	socklen_t n = sizeof(credentials);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &n) < 0)
		return error_raise_errno(err, ERROR_UNAUTHENTICATED, errno,
					 "read the peer's credentials");
	*ret = credentials.uid;
	return 0;
}

struct session *session_new(struct front *front, int fd, struct parcel *parcel,
			    session_open_fn on_open, void *arg, struct error *err)
{
	struct session *session = NULL;
	struct core_request request = {
		.method = "OpenSession", .deadline = UINT64_MAX, .fd = fd, .parcel = parcel
	};
	struct peer *peer = NULL;
	uid_t uid = 0;

	if (peer_uid(fd, &uid, err) < 0)
		return NULL;
	peer = peers_enter(front->peers, uid, clock_monotonic_ns());
	if (peer == NULL) {
		(void)error_raise(err, ERROR_LIMIT_EXCEEDED, "too many connections of uid %u", uid);
		return NULL;
	}
	session = calloc(1, sizeof(*session));
	if (session == NULL) {
		peers_leave(front->peers, peer, clock_monotonic_ns());
		(void)error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a session");
		return NULL;
	}
	session->front = front;
	session->peer = peer;
	session->parcel = parcel_ref(parcel);
	session->on_open = on_open;
	session->arg = arg;
	session->next = front->sessions;
	session->prev = &front->sessions;
	if (session->next != NULL)
		session->next->prev = &session->next;
	front->sessions = session;
	if (core_call(front->core, &request, on_opened, session, &session->opening, err) < 0) {
		session_close(session);
		return NULL;
	}
	return session;
}

void session_close(struct session *session)
{
	struct front *front;

	if (session == NULL)
		return;
	front = session->front;
	session->connection = NULL;
	if (session->opening != 0 && front->core != NULL) {
		/* Core may have made it already: its answer says what to close. */
		session->on_open = NULL;
		return;
	}
	grants_drop_session(front->grants, session);
	if (session->open)
		close_in_core(front, session);
	if (front->core != NULL)
		core_forget_lane(front->core, &session->lane);
	peers_leave(front->peers, session->peer, clock_monotonic_ns());
	*session->prev = session->next;
	if (session->next != NULL)
		session->next->prev = session->prev;
	parcel_unref(session->parcel);
	free(session);
}

void session_ended(struct front *front, const uint8_t *id, size_t n)
{
	for (struct session *s = front->sessions; s != NULL; s = s->next) {
		if (!s->open || n != CHANNEL_SESSION_LEN || memcmp(s->id, id, n) != 0)
			continue;
		s->open = false;
		if (s->connection != NULL)
			rpc_connection_close(s->connection);
		return;
	}
}
