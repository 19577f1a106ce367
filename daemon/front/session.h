/*
 * On whose behalf front asks core: one session for each accepted connection, named by core from the
 * connection's own fd. A session is opened before the first byte of its connection is served.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/front/core.h"
#include "daemon/front/upload.h"

struct error;
struct front;
struct grant;
struct peer;
struct rpc_connection;
struct session;

/* error NULL: the session is open; else it is not, and session_close() must follow all the same. */
typedef void (*session_open_fn)(void *arg, struct session *session, const struct error *error);

struct session {
	struct front *front;
	struct peer *peer;
	struct core_lane lane;
	bool open;
	uint8_t id[CHANNEL_SESSION_LEN];
	char identity[UPLOAD_IDENTITY_MAX];
	struct rpc_connection *connection; /* NULL: of the fd socket */
	struct parcel *parcel;		   /* of the fd socket: what its connection is in */
	struct grant *grants;		   /* grant.c */
	size_t n_grants;
	uint64_t opening; /* id of the request at core */
	session_open_fn on_open;
	void *arg;
	struct session *next, **prev;
};

/*
 * Counts the connection for its peer's uid and asks core for a session. fd is borrowed until the
 * callback; parcel, if not NULL, is what it is in. NULL: refused (a limit, core is busy), with err
 * filled.
 */
struct session *session_new(struct front *front, int fd, struct parcel *parcel,
			    session_open_fn on_open, void *arg, struct error *err);

/* Tells core, voids the grants, frees. NULL is fine. */
void session_close(struct session *session);

/* Core ended a session: its connection is closed. */
void session_ended(struct front *front, const uint8_t *id, size_t n);
