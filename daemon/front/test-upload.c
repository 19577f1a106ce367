#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/upload.h"

#define KIB UINT64_C(1024)

static const struct upload_limits limits = { .total_bytes = 300 * KIB,
					     .identity_bytes = 200 * KIB,
					     .keep_ns = 600 * NS_PER_SEC };
static const uint8_t digest_a[UPLOAD_DIGEST_LEN] = { 1 };
static const uint8_t digest_b[UPLOAD_DIGEST_LEN] = { 2 };
static uint8_t bytes[UPLOAD_CHUNK_MAX + 1];
static struct uploads *uploads;
static struct error err;

static int setup(void **state)
{
	(void)state;
	memset(&err, 0, sizeof(err));
	memset(bytes, 'x', sizeof(bytes));
	uploads = uploads_new(&limits);
	return uploads != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	uploads_free(uploads);
	return 0;
}

static struct upload_writer *begin(const char *identity, const uint8_t *digest, uint64_t size,
				   uint64_t offset, uint64_t now)
{
	struct upload_writer *writer = NULL;

	assert_int_equal(upload_begin(uploads, identity, digest, size, offset, now, &writer, &err),
			 0);
	return writer;
}

static void a_whole_push_is_sealed_and_reads_back(void **state)
{
	struct upload_writer *writer = begin("uid:1", digest_a, 5, 0, 0);
	char back[8] = { 0 };
	int fd = -1;

	(void)state;
	assert_int_equal(upload_write(writer, (const uint8_t *)"abc", 3, 0, &err), 0);
	assert_int_equal(upload_write(writer, (const uint8_t *)"de", 2, 0, &err), 0);
	assert_int_equal(upload_seal(writer, &fd, &err), 0);
	assert_int_equal(fcntl(fd, F_GET_SEALS),
			 F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	assert_int_equal(pread(fd, back, sizeof(back), 0), 5);
	assert_string_equal(back, "abcde");
	assert_int_equal(write(fd, "z", 1), -1);
	upload_end(writer, UPLOAD_DROP, 0);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 0);
	assert_int_equal(uploads_total(uploads), 0);
	(void)close(fd);
}

static void a_broken_push_goes_on_where_it_ended(void **state)
{
	struct upload_writer *writer = begin("uid:1", digest_a, 4, 0, 0);
	int fd = -1;

	(void)state;
	assert_int_equal(upload_write(writer, (const uint8_t *)"ab", 2, 0, &err), 0);
	assert_true(upload_seal(writer, &fd, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	upload_end(writer, UPLOAD_KEEP, 0);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 2);
	assert_int_equal(uploads_received(uploads, "uid:2", digest_a), 0);
	writer = begin("uid:1", digest_a, 4, 2, 0);
	assert_int_equal(upload_write(writer, (const uint8_t *)"cd", 2, 0, &err), 0);
	assert_int_equal(upload_seal(writer, &fd, &err), 0);
	upload_end(writer, UPLOAD_KEEP, 0);
	(void)close(fd);
	/* Delivered in vain: the sealed bytes can be delivered again. */
	writer = begin("uid:1", digest_a, 4, 4, 0);
	assert_int_equal(upload_seal(writer, &fd, &err), 0);
	upload_end(writer, UPLOAD_DROP, 0);
	(void)close(fd);
}

static void an_offset_that_is_not_kept_is_refused(void **state)
{
	struct upload_writer *writer = NULL;

	(void)state;
	assert_true(upload_begin(uploads, "uid:1", digest_a, 4, 2, 0, &writer, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_null(writer);
}

static void sizes_are_bounded(void **state)
{
	struct upload_writer *writer = NULL;

	(void)state;
	assert_true(upload_begin(uploads, "uid:1", digest_a, 0, 0, 0, &writer, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_true(upload_begin(uploads, "uid:1", digest_a, UPLOAD_SIZE_MAX + 1, 0, 0, &writer,
				 &err) < 0);
	assert_int_equal(err.code, ERROR_BUNDLE_TOO_LARGE);
	writer = begin("uid:1", digest_a, 4, 0, 0);
	assert_true(upload_write(writer, bytes, 5, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_true(upload_write(writer, bytes, sizeof(bytes), 0, &err) < 0);
	assert_int_equal(err.code, ERROR_REQUEST_TOO_LARGE);
	upload_end(writer, UPLOAD_DROP, 0);
}

static void the_newer_of_two_pushes_of_one_bundle_takes_over(void **state)
{
	struct upload_writer *old = begin("uid:1", digest_a, 4, 0, 0);
	struct upload_writer *new = begin("uid:1", digest_a, 4, 0, 0);

	(void)state;
	assert_true(upload_write(old, bytes, 1, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_CANCELLED);
	assert_int_equal(upload_write(new, bytes, 4, 0, &err), 0);
	upload_end(old, UPLOAD_DROP, 0);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 4);
	upload_end(new, UPLOAD_DROP, 0);
}

static void room_is_made_by_dropping_what_was_idle_longest(void **state)
{
	struct upload_writer *writer = begin("uid:1", digest_a, 150 * KIB, 0, 1);

	(void)state;
	assert_int_equal(upload_write(writer, bytes, 10, 1, &err), 0);
	upload_end(writer, UPLOAD_KEEP, 1);
	writer = begin("uid:1", digest_b, 150 * KIB, 0, 2);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 0);
	assert_int_equal(uploads_total(uploads), 150 * KIB);
	/* What is under way is not dropped for another. */
	{
		struct upload_writer *other = NULL;

		assert_true(upload_begin(uploads, "uid:1", digest_a, 100 * KIB, 0, 3, &other,
					 &err) < 0);
		assert_int_equal(err.code, ERROR_LIMIT_EXCEEDED);
		assert_true(upload_begin(uploads, "uid:2", digest_a, 180 * KIB, 0, 3, &other,
					 &err) < 0);
		assert_int_equal(err.code, ERROR_LIMIT_EXCEEDED);
	}
	upload_end(writer, UPLOAD_DROP, 3);
}

static void a_broken_push_is_forgotten_after_its_time(void **state)
{
	struct upload_writer *writer = begin("uid:1", digest_a, 4, 0, 0);

	(void)state;
	assert_int_equal(upload_write(writer, bytes, 2, 0, &err), 0);
	uploads_expire(uploads, 700 * NS_PER_SEC);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 2);
	upload_end(writer, UPLOAD_KEEP, 700 * NS_PER_SEC);
	uploads_expire(uploads, 1299 * NS_PER_SEC);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 2);
	uploads_expire(uploads, 1300 * NS_PER_SEC);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_a), 0);
}

static void dropping_the_idle_ones_tells_how_much(void **state)
{
	struct upload_writer *a = begin("uid:1", digest_a, 4, 0, 0);
	struct upload_writer *b = begin("uid:1", digest_b, 4, 0, 0);

	(void)state;
	assert_int_equal(upload_write(a, bytes, 3, 0, &err), 0);
	assert_int_equal(upload_write(b, bytes, 2, 0, &err), 0);
	upload_end(a, UPLOAD_KEEP, 0);
	assert_int_equal(uploads_drop_idle(uploads), 3);
	assert_int_equal(uploads_received(uploads, "uid:1", digest_b), 2);
	upload_end(b, UPLOAD_DROP, 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_whole_push_is_sealed_and_reads_back),
		T(a_broken_push_goes_on_where_it_ended),
		T(an_offset_that_is_not_kept_is_refused),
		T(sizes_are_bounded),
		T(the_newer_of_two_pushes_of_one_bundle_takes_over),
		T(room_is_made_by_dropping_what_was_idle_longest),
		T(a_broken_push_is_forgotten_after_its_time),
		T(dropping_the_idle_ones_tells_how_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
