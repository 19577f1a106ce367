#define _GNU_SOURCE
#include "daemon/front/ring.h"

#include <endian.h>
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

#define LENGTH_SIZE sizeof(uint32_t)
/* Behind a record there is more of the ring, which has a page at least and is mapped twice. */
#define SMALL_BYTES 512
#define BLOCK_BYTES 32
/* More than programs write between two looks of the reader. */
#define BURST_BYTES ((size_t)2 << 20)

struct ring {
	size_t page_size;
	size_t mask;
	unsigned long *consumer; /* position, in a page of its own that only we write */
	const unsigned long *producer;
	const uint8_t *data; /* mapped twice in a row, so that no record wraps */
	size_t producer_mapping_size;
	unsigned long stale_end; /* up to here it was there at the opening */
};

void ring_close(struct ring *ring)
{
	if (ring == NULL)
		return;
	if (ring->consumer != NULL)
		(void)munmap(ring->consumer, ring->page_size);
	if (ring->producer != NULL)
		(void)munmap((void *)(uintptr_t)ring->producer, ring->producer_mapping_size);
	free(ring);
}

static void *map_pages(int fd, size_t size, int protection, size_t offset)
{
	void *mapping = mmap(NULL, size, protection, MAP_SHARED, fd, (off_t)offset);

	return mapping == MAP_FAILED ? NULL : mapping;
}

int ring_open(int fd, uint32_t max_entries, struct ring **ret, struct error *err)
{
	_cleanup_(ring_closep) struct ring *ring = calloc(1, sizeof(*ring));

	if (ring == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a ring buffer");
	if (max_entries == 0 || (max_entries & (max_entries - 1)) != 0)
		return error_raise(err, ERROR_KERNEL_REFUSED, "a ring buffer of %u bytes",
				   max_entries);
	ring->page_size = (size_t)sysconf(_SC_PAGESIZE);
	ring->mask = max_entries - 1;
	ring->producer_mapping_size = ring->page_size + 2 * (size_t)max_entries;
	ring->consumer = map_pages(fd, ring->page_size, PROT_READ | PROT_WRITE, 0);
	if (ring->consumer != NULL)
		ring->producer =
			map_pages(fd, ring->producer_mapping_size, PROT_READ, ring->page_size);
	if (ring->producer == NULL)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot map a ring buffer");
	ring->data = (const uint8_t *)ring->producer + ring->page_size;
	ring->stale_end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	*ret = TAKE_PTR(ring);
	return 0;
}

static size_t round_up_8(size_t n)
{
	return (n + 7) / 8 * 8;
}

size_t ring_used(const struct ring *ring)
{
	return __atomic_load_n(ring->producer, __ATOMIC_RELAXED) -
	       __atomic_load_n(ring->consumer, __ATOMIC_RELAXED);
}

size_t ring_watermark(const struct ring *ring)
{
	const size_t size = ring->mask + 1;

	return size - (size / 2 < BURST_BYTES ? size / 2 : BURST_BYTES);
}

/* Records are small, and there are many: by blocks of a fixed size, where what is behind does not
 * matter, it takes a third of the time. */
static void copy_record(uint8_t *out, size_t room, const uint8_t *record, size_t size)
{
	if (size > SMALL_BYTES || room < SMALL_BYTES + BLOCK_BYTES) {
		memcpy(out, record, size);
		return;
	}
	for (size_t at = 0; at < size; at += BLOCK_BYTES)
		memcpy(out + at, record + at, BLOCK_BYTES);
}

/* False: it does not fit, and stays. */
static bool take_record(const uint8_t *record, uint32_t size, uint8_t *out, size_t n,
			size_t room_max, struct ring_taken *taken)
{
	const uint32_t size_le = htole32(size);

	if (LENGTH_SIZE + size > room_max) {
		taken->n_too_large++;
		return true;
	}
	if (LENGTH_SIZE + size > n - taken->size_bytes) {
		taken->more = true;
		taken->next_bytes = LENGTH_SIZE + size;
		return false;
	}
	memcpy(out + taken->size_bytes, &size_le, LENGTH_SIZE);
	copy_record(out + taken->size_bytes + LENGTH_SIZE, n - taken->size_bytes - LENGTH_SIZE,
		    record, size);
	taken->size_bytes += LENGTH_SIZE + size;
	taken->n_records++;
	return true;
}

void ring_take(struct ring *ring, uint8_t *out, size_t n, size_t room_max, struct ring_taken *ret)
{
	unsigned long consumer = __atomic_load_n(ring->consumer, __ATOMIC_RELAXED);
	unsigned long producer = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	struct ring_taken taken = { 0 };

	while (consumer < producer) {
		const uint8_t *at = ring->data + (consumer & ring->mask);
		uint32_t header =
			__atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE);
		uint32_t size = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		if (header & BPF_RINGBUF_DISCARD_BIT)
			; /* nothing to take */
		else if (consumer < ring->stale_end)
			taken.n_unobserved++;
		else if (!take_record(at + BPF_RINGBUF_HDR_SZ, size, out, n, room_max, &taken))
			break;
		consumer += round_up_8(size + BPF_RINGBUF_HDR_SZ);
	}
	__atomic_store_n(ring->consumer, consumer, __ATOMIC_RELEASE);
	*ret = taken;
}
