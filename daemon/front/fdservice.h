/* FdService (FDSERVICE.md): tickets in, file descriptors out. Loop thread. */
#pragma once

#include "base/cleanup.h"

struct error;
struct fdservice;
struct front;

/* Serves a listening SEQPACKET socket, which it takes in any case. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int fdservice_new(struct front *front, int listen_fd, struct fdservice **ret,
			       struct error *err);
/* Closes what waits. Before the loop is freed. NULL is fine. */
void fdservice_free(struct fdservice *service);
DEFINE_CLEANUP(struct fdservice, fdservice_free)
