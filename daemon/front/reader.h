/*
 * The thread "events": reads every ring buffer somebody listens to, so that neither a slow client
 * nor a busy loop lets one run full, and hands what it read to the loop in chunks. A chunk goes out
 * when it is full, when the ring pauses, or after 10 ms, whichever comes first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct reader;
struct reader_ring;
struct rpc_loop;

#define READER_CHUNK_SIZE ((size_t)64 << 10)

/* Records of one ring, packed as ring_take() does it. Owned by who gets it; free(). */
struct chunk {
	struct chunk *next;	 /* for the holder */
	uint64_t received_at_ns; /* UTC, of the first */
	size_t size_bytes;
	uint32_t n_records;
	uint32_t n_too_large; /* lost behind them: larger than a chunk */
	uint8_t bytes[];
};

/* On the loop's thread. Takes the chunk. */
typedef void (*reader_chunk_fn)(void *arg, struct chunk *chunk);

/* Starts the thread. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int reader_new(struct rpc_loop *loop, struct reader **ret, struct error *err);
/* Ends the thread; every ring must have been removed. Before the loop is freed. NULL is fine. */
void reader_free(struct reader *reader);
DEFINE_CLEANUP(struct reader, reader_free)

/*
 * Reads a ring buffer from now on. Takes fd in any case. Loop thread. Errors: KERNEL_REFUSED,
 * OUT_OF_MEMORY, IO.
 */
_must_check_ int reader_add(struct reader *reader, int fd, uint32_t max_entries,
			    reader_chunk_fn on_chunk, void *arg, struct reader_ring **ret,
			    struct error *err);
/* Stops reading it and closes it; no chunk of it comes any more. Loop thread. */
void reader_remove(struct reader_ring *ring);
