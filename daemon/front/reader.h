/*
 * The thread "events": reads every ring buffer and perf buffer that somebody listens to, so that
 * neither a slow client nor a busy loop lets one run full, and hands what it read to the loop in
 * chunks. A chunk goes out when it is full, when the buffer pauses, or after 10 ms, whichever comes
 * first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct chunk;
struct error;
struct reader;
struct reader_buffer;
struct rpc_loop;

/* On the loop's thread. Takes the chunk's reference. */
typedef void (*reader_chunk_fn)(void *arg, struct chunk *chunk);

/* Starts the thread. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int reader_new(struct rpc_loop *loop, struct reader **ret, struct error *err);
/* Ends the thread; every buffer must have been removed. Before the loop is freed. NULL is fine. */
void reader_free(struct reader *reader);
DEFINE_CLEANUP(struct reader, reader_free)

/*
 * Reads a ring buffer of ring_bytes from now on. Takes the fd in any case. Loop thread. Errors:
 * KERNEL_REFUSED, OUT_OF_MEMORY, IO.
 */
_must_check_ int reader_add(struct reader *reader, int fd, uint32_t ring_bytes,
			    reader_chunk_fn on_chunk, void *arg, struct reader_buffer **ret,
			    struct error *err);
/* Reads a perf buffer of so many CPUs, which reader_open_cpu() gives their rings. Loop thread.
 * Errors: OUT_OF_MEMORY. */
_must_check_ int reader_add_perf(struct reader *reader, size_t n_cpus, reader_chunk_fn on_chunk,
				 void *arg, struct reader_buffer **ret, struct error *err);
/* Reads from now on what the perf event of a CPU brings, instead of the one before. Takes the fd in
 * any case. Loop thread. Errors: KERNEL_REFUSED, IO. */
_must_check_ int reader_open_cpu(struct reader_buffer *buffer, size_t cpu, int fd,
				 struct error *err);
/* The CPU is offline: nothing comes from there. Loop thread. */
void reader_close_cpu(struct reader_buffer *buffer, size_t cpu);
/* Whether its event counted time since this was asked last: it does not when the CPU is offline, or
 * was. Loop thread. */
bool reader_cpu_runs(struct reader_buffer *buffer, size_t cpu);
/* Perf buffers: records that found their ring full, as far as the kernel said. Any thread. */
uint64_t reader_kernel_lost(const struct reader_buffer *buffer);
/* Stops reading it and closes it; no chunk of it comes any more. Loop thread. */
void reader_remove(struct reader_buffer *buffer);

/*
 * Leave records where they are while the buffer has room for a burst: nobody is quick enough to
 * take more. Any thread.
 */
void reader_hold(struct reader_buffer *buffer, bool hold);
