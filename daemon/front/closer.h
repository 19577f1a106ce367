/*
 * Closing what clients handed over. close(2) of a stranger's descriptor may wait for as long as the
 * stranger likes: a socket with SO_LINGER for its peer, a file of a FUSE file system for the
 * client's own server. Such descriptors are therefore closed on threads that do nothing else, as
 * many as are stuck. Loop thread.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct closer;
struct error;
struct parcel;
struct rpc_loop;

/* The connection, a descriptor kept, and SCM_MAX_FD that may come with the next datagram. */
#define PARCEL_FDS_MAX 255

/* All that one connection has brought, and the connection. */
struct parcel {
	struct closer *closer;
	struct parcel *next, **prev; /* of all that the closer has */
	struct parcel *queued;	     /* behind this one, to be closed or to be forgotten */
	unsigned int n_refs;
	uid_t uid;
	int kept; /* of fds, the socket that a call may take to core; -1: none */
	size_t n;
	int fds[PARCEL_FDS_MAX];
};

/* on_closed(user) is called on the loop for each parcel that is closed. Errors: OUT_OF_MEMORY. */
_must_check_ int closer_new(struct rpc_loop *loop, void (*on_closed)(void *user), void *user,
			    struct closer **ret, struct error *err);
/* on_closed is not called any more; parcels may outlive it. After the loop has run. NULL is fine.
 */
void closer_free(struct closer *closer);
/* Parcels of uid that are not closed yet, those that somebody holds as well. */
unsigned int closer_n_of(const struct closer *closer, uid_t uid);

/* With fd, taken, as the first of its descriptors. NULL: no memory, fd stays the caller's. */
struct parcel *parcel_new(struct closer *closer, uid_t uid, int fd);
/* NULL is fine, and is returned. */
struct parcel *parcel_ref(struct parcel *parcel);
/* With the last reference its descriptors are closed, some time. NULL is fine. */
void parcel_unref(struct parcel *parcel);
DEFINE_CLEANUP(struct parcel, parcel_unref)
