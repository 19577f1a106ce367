#include "daemon/front/perf.h"

#include <endian.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

#define LENGTH_SIZE sizeof(uint32_t)
/* A user may lock 516 KiB for each CPU without more ado (kernel.perf_event_mlock_kb). */
#define RING_BYTES ((size_t)256 << 10)
#define RING_BYTES_MIN ((size_t)32 << 10)

void perf_unmap(struct perf_ring *perf)
{
	if (perf->page != NULL)
		(void)munmap(perf->page, perf->page_size + perf->size);
	*perf = (struct perf_ring){ 0 };
}

int perf_map(int fd, struct perf_ring *ret, struct error *err)
{
	const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t size = RING_BYTES; size >= RING_BYTES_MIN; size /= 2) {
		void *mapping =
			mmap(NULL, page_size + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (mapping != MAP_FAILED) {
			*ret = (struct perf_ring){ .page = mapping,
						   .data = (const uint8_t *)mapping + page_size,
						   .size = size,
						   .page_size = page_size };
			return 0;
		}
		if (errno != EPERM && errno != ENOMEM)
			break;
	}
	return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
				 "cannot map a perf buffer; kernel.perf_event_mlock_kb says how "
				 "much memory they may have");
}

static uint64_t ring_head(const struct perf_ring *perf)
{
	return __atomic_load_n(&perf->page->data_head, __ATOMIC_ACQUIRE);
}

bool perf_is_half_full(const struct perf_ring *perf)
{
	return ring_head(perf) - __atomic_load_n(&perf->page->data_tail, __ATOMIC_RELAXED) >
	       perf->size / 2;
}

/* n is at most perf->size. What is copied may go on at the beginning of the ring. */
static void copy_out(const struct perf_ring *perf, uint64_t at, void *out, size_t n)
{
	const size_t offset = (size_t)(at & (perf->size - 1));
	const size_t first = n < perf->size - offset ? n : perf->size - offset;

	memcpy(out, perf->data + offset, first);
	memcpy((uint8_t *)out + first, perf->data, n - first);
}

/* Of one PERF_RECORD_SAMPLE, whose body of body_size is at `at`. False: it does not fit, and stays.
 */
static bool take_sample(const struct perf_ring *perf, uint64_t at, size_t body_size, uint8_t *out,
			size_t n, size_t room_max, struct ring_taken *taken)
{
	uint32_t size = 0, size_le;

	if (body_size >= LENGTH_SIZE)
		copy_out(perf, at, &size, sizeof(size));
	if (body_size < LENGTH_SIZE || size > body_size - LENGTH_SIZE ||
	    LENGTH_SIZE + size > room_max) {
		taken->n_too_large++;
		return true;
	}
	if (LENGTH_SIZE + size > n - taken->size_bytes) {
		taken->more = true;
		taken->next_bytes = LENGTH_SIZE + size;
		return false;
	}
	size_le = htole32(size);
	memcpy(out + taken->size_bytes, &size_le, LENGTH_SIZE);
	copy_out(perf, at + LENGTH_SIZE, out + taken->size_bytes + LENGTH_SIZE, size);
	taken->size_bytes += LENGTH_SIZE + size;
	taken->n_records++;
	return true;
}

bool perf_take(struct perf_ring *perf, uint8_t *out, size_t n, size_t room_max,
	       struct ring_taken *ret)
{
	uint64_t tail = __atomic_load_n(&perf->page->data_tail, __ATOMIC_RELAXED);
	const uint64_t head = ring_head(perf);
	struct ring_taken taken = { 0 };
	bool lost = false;

	while (tail != head) {
		struct perf_event_header header = { 0 };
		const uint64_t left = head - tail;

		if (left >= sizeof(header) && left <= perf->size)
			copy_out(perf, tail, &header, sizeof(header));
		if (header.size < sizeof(header) || header.size > left) {
			taken.n_too_large++;
			tail = head;
			break;
		}
		if (header.type == PERF_RECORD_LOST)
			lost = true;
		else if (header.type == PERF_RECORD_SAMPLE &&
			 !take_sample(perf, tail + sizeof(header), header.size - sizeof(header),
				      out, n, room_max, &taken))
			break;
		tail += header.size;
	}
	__atomic_store_n(&perf->page->data_tail, tail, __ATOMIC_RELEASE);
	*ret = taken;
	return lost;
}

bool perf_read_counts(int fd, struct perf_counts *ret)
{
	struct {
		uint64_t value;
		struct perf_counts counts;
	} event;

	if (read(fd, &event, sizeof(event)) != (ssize_t)sizeof(event))
		return false;
	*ret = event.counts;
	return true;
}

void perf_count_lost(_Atomic uint64_t *total, uint64_t lost)
{
	uint64_t known = atomic_load(total);

	while (known < lost && !atomic_compare_exchange_weak(total, &known, lost))
		;
}
