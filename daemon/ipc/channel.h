/*
 * One end of the socketpair between front and core (FORMAT.md): frames in, frames out, at most one
 * fd with each, large bodies in sealed memfds, a bounded queue for what the socket does not take at
 * once.
 *
 * A channel may be sent on by several threads; received from by one. It knows frames, not methods.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/ipc/ipc.pb-c.h"
#include "proto/arena.h"

struct error;
struct channel;

#define CHANNEL_PROTOCOL 1u
#define CHANNEL_FRAME_MAX ((size_t)65536)
#define CHANNEL_BODY_MAX ((size_t)32 << 20)
#define CHANNEL_ARENA_BYTES ((size_t)1 << 20)
#define CHANNEL_SESSION_LEN 32

/* A received frame: the message and what came with it. Free with channel_frame_done(). */
struct channel_frame {
	struct arena *arena; /* holds the message; free for the receiver's own use too */
	Bpfleet__Ipc__Frame *frame;
	/* Of a Request or a Reply: its body, wherever it travelled. Borrowed from this struct. */
	const uint8_t *body;
	size_t body_size;
	/* An fd that came with it and is not a body, or -1. Take it with TAKE_FD. */
	int fd;
	void *mapping;
};

/*
 * Wraps one end of the pair, whose fd it owns from then on, and makes it non-blocking. max_queued
 * bounds the frames that wait when the socket is full. NULL when out of memory; the fd is then
 * still the caller's.
 */
struct channel *channel_new(int fd, size_t max_queued);
void channel_free(struct channel *channel);
DEFINE_CLEANUP(struct channel, channel_free)

/* For epoll: EPOLLIN always, EPOLLOUT while channel_wants_write(). */
int channel_fd(const struct channel *channel);
bool channel_wants_write(struct channel *channel);

/*
 * Sends a frame, or queues it. The body is given apart from the frame, so that it can travel in a
 * memfd; the frame's own `body` must be empty. fd (-1: none) is borrowed. Errors: SLOW_CONSUMER
 * (queue full), UNAVAILABLE (the other end is gone), REQUEST_TOO_LARGE, OUT_OF_MEMORY, PROTOCOL (fd
 * and large body).
 */
_must_check_ int channel_send(struct channel *channel, Bpfleet__Ipc__Frame *frame,
			      const uint8_t *body, size_t body_size, int fd, struct error *err);

/* Sends what is queued, as far as the socket takes it. Errors: UNAVAILABLE. */
_must_check_ int channel_flush(struct channel *channel, struct error *err);

/*
 * Receives one frame. Returns 1 with *ret filled (channel_frame_done() it), 0 when nothing is
 * there, and an error after which the channel is of no more use: UNAVAILABLE (closed by the other
 * end), PROTOCOL.
 */
_must_check_ int channel_receive(struct channel *channel, struct channel_frame *ret,
				 struct error *err);
void channel_frame_done(struct channel_frame *frame);

/* Decodes the bytes of a datagram into frame->arena and checks what FORMAT.md asks of it; for
 * fuzzing. */
_must_check_ int channel_decode(const uint8_t *bytes, size_t n, struct channel_frame *ret,
				struct error *err);

/* Sends this end's Hello (credits: 0 from front). */
_must_check_ int channel_hello(struct channel *channel, const char *version, uint32_t credits,
			       struct error *err);
/* Checks that a frame is the other end's Hello, of our protocol and version. Errors: PROTOCOL. */
_must_check_ int channel_check_hello(const struct channel_frame *frame, const char *version,
				     uint32_t *ret_credits, struct error *err);

/* A sealed memfd that holds the bytes. Returns it, or a negative errno with err filled. */
_must_check_ int channel_memfd(const uint8_t *bytes, size_t n, struct error *err);
/* Maps a sealed memfd of exactly `size` bytes read-only. Errors: PROTOCOL (not sealed, wrong size),
 * IO. */
_must_check_ int channel_map_sealed(int fd, uint64_t size, void **ret, struct error *err);
