/* FdService (FDSERVICE.md): tickets in, file descriptors out. Loop thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct error;
struct fdservice;
struct front;
struct parcel;

/* Serves a listening SEQPACKET socket, which it takes in any case. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int fdservice_new(struct front *front, int listen_fd, struct fdservice **ret,
			       struct error *err);
/* Closes what waits. Before the loop is freed. NULL is fine. */
/*
 * The socket that uid handed over for this ticket; each ticket is good once. (*ret)->kept is it;
 * *ret is the connection's, borrowed. Errors: PERMISSION_DENIED.
 */
_must_check_ int fdservice_take(struct fdservice *service, const uint8_t *ticket, size_t n,
				uid_t uid, struct parcel **ret, struct error *err);
void fdservice_free(struct fdservice *service);
DEFINE_CLEANUP(struct fdservice, fdservice_free)
