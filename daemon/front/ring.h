/*
 * The consuming end of one BPF ring buffer (kernel: Documentation/bpf/ringbuf.rst, layout in
 * kernel/bpf/ringbuf.c): records are copied out in the packed form of rpc/FORMAT.md. Front has the
 * only consumer of a ring; one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct ring;

/*
 * Maps a ring buffer of max_entries bytes (a power of two). What waits in it now nobody had
 * subscribed to: ring_take() passes over it and counts. Borrows fd until ring_close(). Errors:
 * KERNEL_REFUSED, OUT_OF_MEMORY.
 */
_must_check_ int ring_open(int fd, uint32_t max_entries, struct ring **ret, struct error *err);
void ring_close(struct ring *ring);
DEFINE_CLEANUP(struct ring, ring_close)

struct ring_taken {
	size_t size_bytes;     /* written to out */
	size_t next_bytes;     /* with `more`: what the next record needs */
	uint32_t n_records;    /* in them */
	uint32_t n_too_large;  /* records dropped because they need more than room_max */
	uint32_t n_unobserved; /* records passed over because they were there at the opening */
	bool more;	       /* the next record is complete and did not fit */
};

/*
 * Takes the oldest records, as many as are complete and fit into n bytes: for each a little-endian
 * u32 length, then the record. One that would not fit into room_max either is dropped.
 */
void ring_take(struct ring *ring, uint8_t *out, size_t n, size_t room_max, struct ring_taken *ret);

/* Bytes that wait in it, and how many may, so that a burst still finds room. */
size_t ring_used(const struct ring *ring);
size_t ring_watermark(const struct ring *ring);
