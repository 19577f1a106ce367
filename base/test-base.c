#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"

static void every_error_code_has_a_row_that_reads_back(void **state)
{
	(void)state;
	for (unsigned int i = 1; i < ERROR_N_CODES; i++) {
		const struct error_info *info = error_info((enum error_code)i);

		assert_non_null(info->reason);
		assert_int_equal(error_code_from_reason(info->reason), i);
		assert_in_range(info->status, 1, 16);
		assert_int_not_equal(info->sys_errno, 0);
		assert_true(strlen(info->text) > 10);
		assert_string_not_equal(error_status_name((int)info->status), "UNKNOWN");
	}
	assert_int_equal(error_code_from_reason("NO_SUCH_REASON"), ERROR_NONE);
}

static void an_error_is_raised_with_context_and_details(void **state)
{
	struct error err = { 0 };
	int r;

	(void)state;
	r = error_raise_errno(&err, ERROR_KERNEL_REFUSED, ENOSPC, "pin program '%s'", "count");
	assert_int_equal(r, -EIO);
	r = error_context(&err, r, "load %s", "packet_count");
	assert_int_equal(r, -EIO);
	assert_string_equal(err.message, "load packet_count: pin program 'count': ENOSPC");
	assert_int_equal(err.sys_errno, ENOSPC);
	for (int i = 0; i < ERROR_DETAILS_MAX + 2; i++)
		error_detail(&err, "step", "%d", i);
	assert_int_equal(err.n_details, ERROR_DETAILS_MAX);
	assert_string_equal(err.details[1].value, "1");
	assert_int_equal(error_raise(NULL, ERROR_NOT_FOUND, "nobody listens"), -ENOENT);
	assert_string_equal(error_errno_name(524), "ENOTSUPP");
}

static void a_long_message_is_cut_and_terminated(void **state)
{
	struct error err = { 0 };
	char text[2 * ERROR_MESSAGE_MAX];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)error_raise(&err, ERROR_INTERNAL, "%s", text);
	(void)error_context(&err, 0, "%s", text);
	assert_int_equal(strlen(err.message), ERROR_MESSAGE_MAX - 1);
}

static void escaping_keeps_text_and_shows_what_would_not_show(void **state)
{
	struct str s = { 0 };

	(void)state;
	assert_int_equal(str_append_escaped(&s, "a\\b\n\x01\xc3\xa9\xff\xc2\x9b", SIZE_MAX), 0);
	assert_string_equal(s.data, "a\\\\b\\n\\x01\xc3\xa9\\xff\\xc2\\x9b");
	str_done(&s);
	assert_true(str_is_utf8("a\xf0\x9f\x90\x9d", 5));
	assert_false(str_is_utf8("a\xf0\x9f\x90", 4));
	assert_int_equal(str_append_json(&s, "q\"\\\x02\xed\xa0\x80", SIZE_MAX), 0);
	assert_string_equal(s.data, "\"q\\\"\\\\\\u0002\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
	str_done(&s);
}

static void globs_match_whole_texts(void **state)
{
	(void)state;
	assert_true(str_glob("*", ""));
	assert_true(str_glob("veth*", "veth0"));
	assert_true(str_glob("*a*b?", "xxaxbxabc"));
	assert_false(str_glob("veth", "veth0"));
	assert_false(str_glob("*a*b?", "ab"));
}

static void numbers_are_parsed_whole_or_refused(void **state)
{
	uint64_t n = 7;

	(void)state;
	assert_int_equal(str_to_u64("18446744073709551615", UINT64_MAX, &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(str_to_u64("0xff", 255, &n), 0);
	assert_int_equal(n, 255);
	assert_int_equal(str_to_u64("18446744073709551616", UINT64_MAX, &n), -ERANGE);
	assert_int_equal(str_to_u64("256", 255, &n), -ERANGE);
	assert_int_equal(str_to_u64("", 255, &n), -EINVAL);
	assert_int_equal(str_to_u64("12a", 255, &n), -EINVAL);
	assert_int_equal(str_to_u64("-1", 255, &n), -EINVAL);
	assert_int_equal(n, 255);
}

static void hex_goes_there_and_back(void **state)
{
	const uint8_t bytes[] = { 0x00, 0x9f, 0xff };
	uint8_t back[3];
	char hex[7];

	(void)state;
	str_hex(bytes, sizeof(bytes), hex);
	assert_string_equal(hex, "009fff");
	assert_int_equal(str_unhex("009FfF", back, sizeof(back)), 0);
	assert_memory_equal(bytes, back, sizeof(back));
	assert_int_equal(str_unhex("009ff", back, sizeof(back)), -EINVAL);
}

static void distance_counts_edits_and_swaps(void **state)
{
	(void)state;
	assert_int_equal(str_distance("attach", "attach"), 0);
	assert_int_equal(str_distance("atach", "attach"), 1);
	assert_int_equal(str_distance("attahc", "attach"), 1);
	assert_int_equal(str_distance("", "abc"), 3);
}

static void random_ids_have_their_length_and_differ(void **state)
{
	char a[17], b[17];

	(void)state;
	assert_int_equal(str_random_id(a, 16), 0);
	assert_int_equal(str_random_id(b, 16), 0);
	assert_int_equal(strlen(a), 16);
	assert_string_not_equal(a, b);
}

static void times_are_formatted_as_rfc3339(void **state)
{
	char out[CLOCK_RFC3339_LEN];

	(void)state;
	clock_format_rfc3339(UINT64_C(1795414680000000042), out);
	assert_string_equal(out, "2026-11-23T06:18:00.000000042Z");
	assert_int_equal(clock_poll_ms(UINT64_MAX), -1);
	assert_int_equal(clock_poll_ms(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_code_has_a_row_that_reads_back),
		cmocka_unit_test(an_error_is_raised_with_context_and_details),
		cmocka_unit_test(a_long_message_is_cut_and_terminated),
		cmocka_unit_test(escaping_keeps_text_and_shows_what_would_not_show),
		cmocka_unit_test(globs_match_whole_texts),
		cmocka_unit_test(numbers_are_parsed_whole_or_refused),
		cmocka_unit_test(hex_goes_there_and_back),
		cmocka_unit_test(distance_counts_edits_and_swaps),
		cmocka_unit_test(random_ids_have_their_length_and_differ),
		cmocka_unit_test(times_are_formatted_as_rfc3339),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
