#define _GNU_SOURCE
#include "daemon/core/session.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/error.h"
#include "daemon/core/loop.h"

#define SESSIONS_MAX 16384
#define BUCKETS 1024u
#define REFUSED_MAX 4
#define ADDRESSES_MAX 2

struct session {
	struct loop_fd source;
	struct session *next; /* in its bucket */
	struct sessions *sessions;
	uint8_t id[SESSION_ID_LEN];
	unsigned int n_refs;
	bool ended;
	struct policy_identity identity;
	char text[SESSION_IDENTITY_MAX];
	gid_t gids[];
};

struct sessions {
	struct loop *loop;
	session_ended_fn *ended;
	void *user;
	size_t n_sessions;
	uid_t refused[REFUSED_MAX];
	size_t n_refused;
	struct sockaddr_un addresses[ADDRESSES_MAX];
	size_t n_addresses;
	struct session *buckets[BUCKETS];
};

int sessions_new(struct loop *loop, session_ended_fn *ended, void *user, struct sessions **ret,
		 struct error *err)
{
	struct sessions *sessions = calloc(1, sizeof(*sessions));

	if (sessions == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "make the table of sessions");
	sessions->loop = loop;
	sessions->ended = ended;
	sessions->user = user;
	*ret = sessions;
	return 0;
}

void sessions_free(struct sessions *sessions)
{
	if (sessions == NULL)
		return;
	sessions_close_all(sessions);
	free(sessions);
}

void sessions_refuse_uid(struct sessions *sessions, uid_t uid)
{
	if (sessions->n_refused < REFUSED_MAX)
		sessions->refused[sessions->n_refused++] = uid;
}

int sessions_add_address(struct sessions *sessions, const char *path, struct error *err)
{
	struct sockaddr_un *address;

	if (sessions->n_addresses >= ADDRESSES_MAX ||
	    strlen(path) >= sizeof(sessions->addresses[0].sun_path))
		return error_raise(err, ERROR_CONFIG_INVALID, "socket path %s is too long", path);
	address = &sessions->addresses[sessions->n_addresses++];
	address->sun_family = AF_UNIX;
	(void)snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
	return 0;
}

/* An accepted socket carries the address of the one it was accepted from; ends of a socketpair and
 * connecting ends have none. */
static int check_connection(const struct sessions *sessions, int fd, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t size = sizeof(address), int_size = sizeof(int);
	int listening = 1;

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &int_size) < 0 || listening)
		return error_raise(err, ERROR_UNAUTHENTICATED, "that is no connection");
	for (size_t i = 0; i < sessions->n_addresses && address.sun_family == AF_UNIX; i++) {
		if (strncmp(address.sun_path, sessions->addresses[i].sun_path,
			    sizeof(address.sun_path)) == 0)
			return 0;
	}
	return error_raise(err, ERROR_UNAUTHENTICATED,
			   "that is no connection to a socket of this daemon");
}

/* The ids are random, so any of their bytes spread well. */
static struct session **bucket(struct sessions *sessions, const uint8_t *id)
{
	return &sessions->buckets[((unsigned int)id[0] << 8 | id[1]) % BUCKETS];
}

static void on_hang_up(struct loop_fd *source, uint32_t epoll_events)
{
	struct session *session = (struct session *)(void *)source;

	if (epoll_events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		session_close(session->sessions, session);
}

/* Reads the groups of the peer behind its primary one. Returns a new session without an fd. */
static int read_peer(int fd, struct session **ret, struct error *err)
{
	struct session *session;
	struct ucred cred;
	socklen_t size = sizeof(cred), groups_size = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 || cred.uid == (uid_t)-1)
		return error_raise(err, ERROR_UNAUTHENTICATED, "the connection has no peer");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &groups_size) < 0 && errno != ERANGE)
		return error_raise_errno(err, ERROR_UNAUTHENTICATED, errno,
					 "read the peer's groups");
	session = calloc(1, sizeof(*session) + sizeof(gid_t) + groups_size);
	if (session == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "open a session");
	session->gids[0] = cred.gid;
	if (groups_size > 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, &session->gids[1], &groups_size) < 0) {
		free(session);
		return error_raise_errno(err, ERROR_UNAUTHENTICATED, errno,
					 "read the peer's groups");
	}
	session->identity = (struct policy_identity){ .uid = cred.uid,
						      .gids = session->gids,
						      .n_gids = 1 + groups_size / sizeof(gid_t) };
	(void)snprintf(session->text, sizeof(session->text), "uid:%u", cred.uid);
	*ret = session;
	return 0;
}

static bool is_refused(const struct sessions *sessions, uid_t uid)
{
	for (size_t i = 0; i < sessions->n_refused; i++) {
		if (sessions->refused[i] == uid)
			return true;
	}
	return false;
}

int session_open(struct sessions *sessions, int fd, struct session **ret, struct error *err)
{
	_cleanup_(session_unrefp) struct session *session = NULL;
	struct session **at;
	int r;

	if (sessions->n_sessions >= SESSIONS_MAX)
		return error_raise(err, ERROR_LIMIT_EXCEEDED, "%d sessions are open", SESSIONS_MAX);
	r = check_connection(sessions, fd, err);
	if (r >= 0)
		r = read_peer(fd, &session, err);
	if (r < 0)
		return r;
	session->n_refs = 1;
	session->source = (struct loop_fd){ .fd = -1, .ready = on_hang_up };
	if (is_refused(sessions, session->identity.uid))
		return error_raise(err, ERROR_UNAUTHENTICATED, "%s is the daemon itself",
				   session->text);
	if (getrandom(session->id, sizeof(session->id), 0) != sizeof(session->id))
		return error_raise_errno(err, ERROR_INTERNAL, errno, "name a session");
	session->source.fd = fd;
	r = loop_watch(sessions->loop, &session->source, EPOLLRDHUP, err);
	if (r < 0)
		return r;
	session->sessions = sessions;
	at = bucket(sessions, session->id);
	session->next = *at;
	*at = session;
	sessions->n_sessions++;
	*ret = TAKE_PTR(session);
	return 0;
}

void session_close(struct sessions *sessions, struct session *session)
{
	if (session->ended)
		return;
	for (struct session **at = bucket(sessions, session->id); *at != NULL; at = &(*at)->next) {
		if (*at == session) {
			*at = session->next;
			break;
		}
	}
	sessions->n_sessions--;
	session->ended = true;
	loop_unwatch(sessions->loop, &session->source);
	(void)close(session->source.fd);
	sessions->ended(sessions->user, session);
	session_unref(session);
}

void sessions_close_all(struct sessions *sessions)
{
	for (unsigned int i = 0; i < BUCKETS; i++) {
		while (sessions->buckets[i] != NULL)
			session_close(sessions, sessions->buckets[i]);
	}
}

struct session *session_find(struct sessions *sessions, const uint8_t *id, size_t n)
{
	if (n != SESSION_ID_LEN)
		return NULL;
	for (struct session *s = *bucket(sessions, id); s != NULL; s = s->next) {
		if (memcmp(s->id, id, SESSION_ID_LEN) == 0)
			return s;
	}
	return NULL;
}

struct session *session_ref(struct session *session)
{
	session->n_refs++;
	return session;
}

void session_unref(struct session *session)
{
	if (session != NULL && --session->n_refs == 0)
		free(session);
}

const uint8_t *session_id(const struct session *session)
{
	return session->id;
}

const char *session_identity(const struct session *session)
{
	return session->text;
}

uid_t session_uid(const struct session *session)
{
	return session->identity.uid;
}

const struct policy_identity *session_policy_identity(const struct session *session)
{
	return &session->identity;
}

bool session_has_ended(const struct session *session)
{
	return session->ended;
}
