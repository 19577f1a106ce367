/*
 * Accepts connections of a unix socket on an event loop. At its limit of
 * connections, and when the process runs out of file descriptors, it stops
 * accepting for a while instead of spinning.
 */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

struct error;
struct rpc_listener;
struct rpc_loop;

/* Takes fd, an accepted stream socket (close-on-exec). */
typedef void (*rpc_accept_fn)(void *user, int fd);

/*
 * A listening unix stream socket at path with the given mode. A socket file
 * that nobody listens at is replaced; one that is in use is an error. The
 * returned fd is the caller's. Errors: ALREADY_EXISTS, INVALID_ARGUMENT (the
 * path is too long), IO.
 */
_must_check_ int rpc_listen_unix(const char *path, unsigned int mode, int *ret_fd,
				 struct error *err);

/*
 * Calls on_accept(user, fd) for every connection of listen_fd, which is taken
 * in any case. At most max_connections at a time: the user says with
 * rpc_listener_release() when one has ended. Loop thread (or before
 * rpc_loop_run()). Errors: OUT_OF_MEMORY, IO.
 */
_must_check_ int rpc_listener_new(struct rpc_loop *loop, int listen_fd,
				  unsigned int max_connections, rpc_accept_fn on_accept, void *user,
				  struct rpc_listener **ret, struct error *err);

/* One of the accepted connections has ended. */
void rpc_listener_release(struct rpc_listener *listener);
unsigned int rpc_listener_n_connections(const struct rpc_listener *listener);

/* Stops accepting, closes and frees. The connections are not touched; no
 * release may follow. Not from within on_accept. */
void rpc_listener_free(struct rpc_listener *listener);
DEFINE_CLEANUP(struct rpc_listener, rpc_listener_free)
