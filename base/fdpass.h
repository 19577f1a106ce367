/* Whole datagrams of a fixed size on local sockets, each with at most one fd (SCM_RIGHTS). */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"

/*
 * Sends at once, or not at all: never blocks, never raises SIGPIPE. fd: goes along, and stays the
 * caller's; -1: none. Returns 0 or a negative errno.
 */
_must_check_ int fdpass_send(int socket, const void *data, size_t size, int fd);

/*
 * Takes one datagram if there is one. ret_fd: the fd that came along, the caller's to close, or -1.
 * Returns 1; 0: there is none yet; -EPROTO: of another size (0 bytes, too: the other end is gone);
 * or another negative errno.
 */
_must_check_ int fdpass_receive(int socket, void *ret, size_t size, int *ret_fd);
