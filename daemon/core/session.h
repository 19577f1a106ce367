/*
 * Sessions: who is at the other end of a connection that front accepted. Core reads the identity
 * from the socket itself and names the session by 32 random bytes; front can speak for the
 * connections that are open at that moment and for nobody else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "daemon/config/policy.h"

struct error;
struct loop;
struct session;
struct sessions;

#define SESSION_ID_LEN 32
#define SESSION_IDENTITY_MAX 24

/* Called when a session's connection has closed, before the session is released. */
typedef void session_ended_fn(void *user, struct session *session);

_must_check_ int sessions_new(struct loop *loop, session_ended_fn *ended, void *user,
			      struct sessions **ret, struct error *err);
void sessions_free(struct sessions *sessions);
DEFINE_CLEANUP(struct sessions, sessions_free)

/* uids that are never anybody: those of the daemon's own processes. */
void sessions_refuse_uid(struct sessions *sessions, uid_t uid);

/*
 * The address of a socket that clients connect to. A connection is one whose own address is such a
 * path: front holds other sockets whose peer is root (its end of the pair with core, the listening
 * ones), and none of these may become a session. Copies.
 */
_must_check_ int sessions_add_address(struct sessions *sessions, const char *path,
				      struct error *err);

/*
 * Opens a session for an accepted unix connection; takes the fd if it succeeds, and ends the
 * session when the peer has hung up. The session belongs to `sessions`. Errors: UNAUTHENTICATED
 * (also: no connection to one of the addresses), LIMIT_EXCEEDED, OUT_OF_MEMORY, IO.
 */
_must_check_ int session_open(struct sessions *sessions, int fd, struct session **ret,
			      struct error *err);
void session_close(struct sessions *sessions, struct session *session);
/* All of them: front is gone. */
void sessions_close_all(struct sessions *sessions);

/* NULL if there is none of that id. */
struct session *session_find(struct sessions *sessions, const uint8_t *id, size_t n);

/* Requests that are under way keep their session's identity readable after it has ended. */
struct session *session_ref(struct session *session);
void session_unref(struct session *session);
DEFINE_CLEANUP(struct session, session_unref)

const uint8_t *session_id(const struct session *session);
/* "uid:1000" */
const char *session_identity(const struct session *session);
uid_t session_uid(const struct session *session);
/* For policy_decide(); lives as long as the session. */
const struct policy_identity *session_policy_identity(const struct session *session);
bool session_has_ended(const struct session *session);
