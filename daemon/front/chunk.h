/* Records of one event map on their way from the buffer to clients: read once, shared by all who
 * send them. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Packed as in rpc/FORMAT.md. Made with one reference; any thread. */
struct chunk {
	atomic_uint n_refs;
	uint32_t n_records;
	uint32_t n_too_large;	 /* dropped behind them: larger than CHUNK_RECORD_MAX */
	uint32_t n_unobserved;	 /* passed over: they were there before anybody subscribed */
	uint64_t received_at_ns; /* UTC, of the first */
	size_t size_bytes;
	uint8_t bytes[];
};

/* What is usual, and what a single record may take. */
#define CHUNK_BYTES ((size_t)256 << 10)
#define CHUNK_RECORD_MAX ((size_t)1 << 20)

static inline struct chunk *chunk_ref(struct chunk *chunk)
{
	(void)atomic_fetch_add_explicit(&chunk->n_refs, 1, memory_order_relaxed);
	return chunk;
}

/* NULL is fine. Takes any pointer, to be a callback. */
static inline void chunk_unref(void *arg)
{
	struct chunk *chunk = arg;

	if (chunk != NULL &&
	    atomic_fetch_sub_explicit(&chunk->n_refs, 1, memory_order_acq_rel) == 1)
		free(chunk);
}
