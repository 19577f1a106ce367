/*
 * The consuming end of the perf ring of one CPU (kernel: include/uapi/linux/perf_event.h, struct
 * perf_event_mmap_page): what programs wrote with bpf_perf_event_output() is copied out in the
 * packed form of rpc/FORMAT.md. One thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/front/ring.h"

struct error;
struct perf_event_mmap_page;

struct perf_ring {
	struct perf_event_mmap_page *page;
	const uint8_t *data;
	size_t size; /* of data, a power of two */
	size_t page_size;
};

/*
 * Maps the ring of a perf event that takes BPF output as raw samples; smaller than usual when the
 * kernel lets this user lock no more memory. fd may be closed. Errors: KERNEL_REFUSED.
 */
_must_check_ int perf_map(int fd, struct perf_ring *ret, struct error *err);
/* A zeroed one is fine. */
void perf_unmap(struct perf_ring *perf);

/*
 * As ring_take(); true: the kernel says between the records that it lost some. It rounds a record
 * up, so that with its length of four bytes it fills eights: up to seven bytes follow what the
 * program wrote. Where the ring holds what no kernel writes, all that waits is passed over and
 * counts as one that is too large.
 */
bool perf_take(struct perf_ring *perf, uint8_t *out, size_t n, size_t room_max,
	       struct ring_taken *ret);

/* Whether it is more than half full, which is where the kernel wakes who polls the fd. */
bool perf_is_half_full(const struct perf_ring *perf);

/* What the kernel counts for one event since it was opened. */
struct perf_counts {
	uint64_t enabled_ns; /* stands still when the CPU went offline, and after */
	uint64_t lost;	     /* records that found the ring full */
};

/* As core opened it (PERF_FORMAT_LOST, Linux 6.0). False: the event is of no more use. */
bool perf_read_counts(int fd, struct perf_counts *ret);

/* Raises the total to what was read; who read it earlier and comes later does not lower it. Any
 * thread. */
void perf_count_lost(_Atomic uint64_t *total, uint64_t lost);
