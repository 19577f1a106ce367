/* A map as a file descriptor: OpenMap, then the ticket is redeemed at the fd socket. */
#pragma once

#include "base/cleanup.h"

struct error;
struct node;

/* map: `instances/ID/maps/NAME`. The fd is close-on-exec. Errors: those of OpenMap, UNAVAILABLE. */
_must_check_ int fd_open_map(struct node *node, const char *map, int *ret_fd, struct error *err);
