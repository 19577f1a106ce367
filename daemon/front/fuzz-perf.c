/* Fuzzes what a perf ring may hold: two bytes where it begins, one how much of it is new, one how
 * much room there is, then the ring. Whatever is in there, a reader comes to the end of it. */
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/front/perf.h"

#define RING_SIZE 1024U
#define HEAD_SIZE 4U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *out, const struct ring_taken *taken, size_t room)
{
	size_t at = 0;

	if (taken->size_bytes > room)
		abort();
	for (uint32_t i = 0; i < taken->n_records; i++) {
		uint32_t n;

		if (taken->size_bytes - at < sizeof(n))
			abort();
		memcpy(&n, out + at, sizeof(n));
		if (n > taken->size_bytes - at - sizeof(n))
			abort();
		at += sizeof(n) + n;
	}
	if (at != taken->size_bytes)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct perf_event_mmap_page page = { 0 };
	/* Of their exact sizes, so that a sanitizer sees what is touched beyond them. */
	uint8_t *ring = calloc(1, RING_SIZE), *out;
	const size_t room = size < HEAD_SIZE ? 0 : 4U * data[3];
	struct perf_ring perf = { .page = &page, .data = ring, .size = RING_SIZE };
	uint64_t before;

	out = malloc(room);
	if (size >= HEAD_SIZE && ring != NULL && (out != NULL || room == 0)) {
		memcpy(ring, data + HEAD_SIZE,
		       size - HEAD_SIZE < RING_SIZE ? size - HEAD_SIZE : RING_SIZE);
		page.data_tail = data[0] + 256U * data[1];
		page.data_head = page.data_tail + 8U * data[2];
		do {
			struct ring_taken taken;

			before = page.data_tail;
			(void)perf_take(&perf, out, room, room, &taken);
			check(out, &taken, room);
			if (page.data_tail - before > page.data_head - before)
				abort();
		} while (page.data_tail != page.data_head && page.data_tail != before);
		if (page.data_tail != page.data_head)
			abort();
	}
	free(out);
	free(ring);
	return 0;
}
