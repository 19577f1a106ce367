/* The ring of one CPU, laid out by hand as the kernel does it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <linux/perf_event.h>

#include "daemon/front/perf.h"

#define RING_SIZE 256U

struct fixture {
	struct perf_event_mmap_page page;
	uint8_t data[RING_SIZE];
	struct perf_ring ring;
	uint8_t out[512];
	struct ring_taken taken;
};

static void start(struct fixture *f, uint64_t at)
{
	memset(f, 0, sizeof(*f));
	f->page.data_head = f->page.data_tail = at;
	f->ring = (struct perf_ring){ .page = &f->page, .data = f->data, .size = RING_SIZE };
}

static void put(struct fixture *f, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		f->data[f->page.data_head++ % RING_SIZE] = ((const uint8_t *)bytes)[i];
}

static void put_header(struct fixture *f, uint32_t type, size_t body_size)
{
	const struct perf_event_header header = { .type = type,
						  .size = (uint16_t)(sizeof(header) + body_size) };

	put(f, &header, sizeof(header));
}

/* A sample says how large it is; what follows is filled with a byte. */
static void put_sample(struct fixture *f, uint32_t size, uint8_t byte)
{
	uint8_t body[RING_SIZE];

	memset(body, byte, sizeof(body));
	put_header(f, PERF_RECORD_SAMPLE, sizeof(size) + size);
	put(f, &size, sizeof(size));
	put(f, body, size);
}

static bool take(struct fixture *f, size_t n, size_t room_max)
{
	return perf_take(&f->ring, f->out, n, room_max, &f->taken);
}

static void samples_are_taken_in_order(void **state)
{
	static const uint8_t expected[] = { 4, 0, 0, 0, 1, 1, 1, 1, 4, 0, 0, 0, 2, 2, 2, 2 };
	struct fixture f;

	(void)state;
	start(&f, 0);
	put_sample(&f, 4, 1);
	put_sample(&f, 4, 2);
	assert_false(take(&f, sizeof(f.out), 64));
	assert_int_equal(f.taken.n_records, 2);
	assert_int_equal(f.taken.size_bytes, sizeof(expected));
	assert_memory_equal(f.out, expected, sizeof(expected));
	assert_int_equal(f.page.data_tail, f.page.data_head);
}

static void a_sample_goes_on_at_the_beginning_of_the_ring(void **state)
{
	struct fixture f;

	(void)state;
	for (uint64_t at = RING_SIZE - 48; at <= RING_SIZE; at += 8) {
		start(&f, at);
		put_sample(&f, 36, 7);
		(void)take(&f, sizeof(f.out), 64);
		assert_int_equal(f.taken.n_records, 1);
		assert_int_equal(f.out[0], 36);
		for (size_t i = 4; i < 40; i++)
			assert_int_equal(f.out[i], 7);
	}
}

static void what_does_not_fit_stays_and_what_never_fits_is_counted(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 0);
	put_sample(&f, 4, 1);
	put_sample(&f, 20, 2);
	put_sample(&f, 60, 3);
	put_sample(&f, 4, 4);
	(void)take(&f, 16, 32);
	assert_int_equal(f.taken.n_records, 1);
	assert_true(f.taken.more);
	assert_int_equal(f.taken.next_bytes, 24);
	(void)take(&f, sizeof(f.out), 32);
	assert_int_equal(f.taken.n_records, 2);
	assert_int_equal(f.taken.n_too_large, 1);
	assert_false(f.taken.more);
	assert_int_equal(f.out[28], 4);
}

static void a_loss_is_told_of(void **state)
{
	const uint64_t lost[2] = { 1, 5 };
	struct fixture f;

	(void)state;
	start(&f, 0);
	put_header(&f, PERF_RECORD_LOST, sizeof(lost));
	put(&f, lost, sizeof(lost));
	put_sample(&f, 4, 1);
	assert_true(take(&f, sizeof(f.out), 64));
	assert_int_equal(f.taken.n_records, 1);
	assert_false(take(&f, sizeof(f.out), 64));
}

static void records_of_other_types_are_passed_over(void **state)
{
	const uint64_t body = 0;
	struct fixture f;

	(void)state;
	start(&f, 0);
	put_header(&f, PERF_RECORD_THROTTLE, sizeof(body));
	put(&f, &body, sizeof(body));
	put_sample(&f, 4, 1);
	assert_false(take(&f, sizeof(f.out), 64));
	assert_int_equal(f.taken.n_records, 1);
}

/* Each is one that cannot be told apart from the others: one is counted, and the ring goes on. */
static void what_no_kernel_writes_is_passed_over(void **state)
{
	struct perf_event_header header = { .type = PERF_RECORD_SAMPLE };
	static const uint16_t sizes[] = { 0, 7, 4096, UINT16_MAX };
	const uint32_t lies[] = { 5, UINT32_MAX, UINT32_MAX - 3 };
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		start(&f, 0);
		header.size = sizes[i];
		put(&f, &header, sizeof(header));
		put_sample(&f, 4, 1);
		(void)take(&f, sizeof(f.out), 64);
		assert_int_equal(f.taken.n_too_large, 1);
		assert_int_equal(f.taken.n_records, 0);
		assert_int_equal(f.page.data_tail, f.page.data_head);
		put_sample(&f, 4, 1);
		(void)take(&f, sizeof(f.out), 64);
		assert_int_equal(f.taken.n_records, 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		start(&f, 0);
		put_header(&f, PERF_RECORD_SAMPLE, 8);
		put(&f, &lies[i], sizeof(lies[i]));
		put(&f, &lies[i], sizeof(lies[i]));
		put_sample(&f, 4, 1);
		(void)take(&f, sizeof(f.out), 64);
		assert_int_equal(f.taken.n_too_large, 1);
		assert_int_equal(f.taken.n_records, 1);
	}
	start(&f, 0);
	f.page.data_head = (uint64_t)RING_SIZE * 1000;
	(void)take(&f, sizeof(f.out), 64);
	assert_int_equal(f.taken.n_too_large, 1);
	assert_int_equal(f.page.data_tail, f.page.data_head);
	f.page.data_tail = f.page.data_head + 8;
	(void)take(&f, sizeof(f.out), 64);
	assert_int_equal(f.page.data_tail, f.page.data_head);
}

static void more_than_half_is_full(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, UINT64_MAX - 7);
	f.page.data_head += RING_SIZE / 2;
	assert_false(perf_is_half_full(&f.ring));
	f.page.data_head += 8;
	assert_true(perf_is_half_full(&f.ring));
}

static void what_was_lost_never_becomes_less(void **state)
{
	_Atomic uint64_t total = 0;

	(void)state;
	perf_count_lost(&total, 5);
	assert_int_equal(total, 5);
	perf_count_lost(&total, 3);
	assert_int_equal(total, 5);
	perf_count_lost(&total, 8);
	assert_int_equal(total, 8);
}

enum { N_RAISES = 200000 };

static void *raise_lost(void *arg)
{
	for (uint64_t i = 1; i <= N_RAISES; i++)
		perf_count_lost(arg, i);
	return NULL;
}

static void two_threads_count_what_was_lost(void **state)
{
	_Atomic uint64_t total = 0;
	uint64_t before = 0, now = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, raise_lost, &total), 0);
	for (uint64_t i = 1; i <= N_RAISES; i++) {
		perf_count_lost(&total, i);
		now = total;
		assert_true(now >= before);
		before = now;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(total, N_RAISES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(samples_are_taken_in_order),
		cmocka_unit_test(a_sample_goes_on_at_the_beginning_of_the_ring),
		cmocka_unit_test(what_does_not_fit_stays_and_what_never_fits_is_counted),
		cmocka_unit_test(a_loss_is_told_of),
		cmocka_unit_test(records_of_other_types_are_passed_over),
		cmocka_unit_test(what_no_kernel_writes_is_passed_over),
		cmocka_unit_test(more_than_half_is_full),
		cmocka_unit_test(what_was_lost_never_becomes_less),
		cmocka_unit_test(two_threads_count_what_was_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
