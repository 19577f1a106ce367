/* File descriptors from the daemon and to it, over the fd socket (daemon/front/FDSERVICE.md). */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

#define FD_TICKET_LEN 32

struct error;
struct node;

/* map: `instances/ID/maps/NAME`. The fd is close-on-exec. Errors: those of OpenMap, UNAVAILABLE. */
_must_check_ int fd_open_map(struct node *node, const char *map, int *ret_fd, struct error *err);

/*
 * Hands a socket over and returns its ticket, good for one call while *ret_connection stays open.
 * The socket stays the caller's. Errors: INVALID_ARGUMENT (no socket), UNAVAILABLE, those of
 * GetStatus.
 */
_must_check_ int fd_hand_over(struct node *node, int socket, int *ret_connection,
			      uint8_t ticket[static FD_TICKET_LEN], struct error *err);
