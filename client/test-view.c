/* What people see: units, tables, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/enums.h"
#include "client/ref.h"
#include "client/sheet.h"
#include "client/units.h"

struct duration {
	const char *text;
	int r;
	uint64_t ns;
};

static void durations_are_parsed_with_units_only(void **state)
{
	static const struct duration rows[] = {
		{ "0", 0, 0 },
		{ "1ns", 0, 1 },
		{ "500ms", 0, 500 * NS_PER_MS },
		{ "1.5s", 0, 1500 * NS_PER_MS },
		{ "1h30m", 0, 5400 * NS_PER_SEC },
		{ "2d", 0, UINT64_C(172800) * NS_PER_SEC },
		{ "0.5d", 0, UINT64_C(43200) * NS_PER_SEC },
		{ "10", -22, 0 },
		{ "", -22, 0 },
		{ "s", -22, 0 },
		{ "1.s", -22, 0 },
		{ "1 s", -22, 0 },
		{ "-1s", -22, 0 },
		{ "1sx", -22, 0 },
		{ "36501d", -34, 0 },
		{ "99999999999999999999999s", -34, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t ns = 0;

		if (units_parse_duration(rows[i].text, &ns) != rows[i].r || ns != rows[i].ns)
			fail_msg("'%s'", rows[i].text);
	}
}

static void times_are_dates_or_ago(void **state)
{
	uint64_t now = UINT64_C(1000000) * NS_PER_SEC, at = 1;

	(void)state;
	assert_int_equal(units_parse_time("10s", now, &at), 0);
	assert_true(at == now - 10 * NS_PER_SEC);
	assert_int_equal(units_parse_time("99d", now, &at), 0);
	assert_true(at == 0);
	assert_int_equal(units_parse_time("1970-01-02", now, &at), 0);
	assert_true(at == 86400 * NS_PER_SEC);
	assert_int_equal(units_parse_time("1970-01-01T01:00:00+01:00", now, &at), 0);
	assert_true(at == 0);
	assert_int_equal(units_parse_time("1970-01-01 00:00:01.25Z", now, &at), 0);
	assert_true(at == NS_PER_SEC + NS_PER_SEC / 4);
	assert_true(units_parse_time("1969-12-31", now, &at) < 0);
	assert_true(units_parse_time("soon", now, &at) < 0);
	assert_true(units_parse_time("1970-01-01T25:00:00Z", now, &at) < 0);
	assert_true(units_parse_time("1970-01-01T01:00:00+1", now, &at) < 0);
}

static void assert_text(struct str *s, const char *expected)
{
	assert_string_equal(s->data, expected);
	str_done(s);
}

static void sizes_and_times_are_short(void **state)
{
	uint64_t now = 100 * NS_PER_SEC;
	struct str s = { 0 };

	(void)state;
	(void)units_append_bytes(&s, 1023);
	assert_text(&s, "1023 B");
	(void)units_append_bytes(&s, 14540);
	assert_text(&s, "14.2 KiB");
	(void)units_append_bytes(&s, (uint64_t)200 << 20);
	assert_text(&s, "200 MiB");
	(void)units_append_duration(&s, 350000);
	assert_text(&s, "350us");
	(void)units_append_duration(&s, 200 * NS_PER_SEC);
	assert_text(&s, "3m 20s");
	(void)units_append_relative(&s, 97 * NS_PER_SEC, now);
	assert_text(&s, "3s ago");
	(void)units_append_relative(&s, 105 * NS_PER_SEC, now);
	assert_text(&s, "in 5s");
	(void)units_append_relative(&s, now, now);
	assert_text(&s, "just now");
	(void)units_append_relative(&s, 0, now);
	assert_text(&s, "-");
	(void)units_append_time(&s, UINT64_C(1795414680) * NS_PER_SEC);
	assert_text(&s, "2026-11-23 06:18:00Z");
}

/* Prints two columns and three rows; the caller frees. */
static char *print(const struct sheet_options *options)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct sheet *sheet = sheet_new(out, options);

	sheet_column(sheet, "NAME", SHEET_CUT);
	sheet_column(sheet, "N", SHEET_RIGHT);
	sheet_column(sheet, "NOTE", SHEET_OPTIONAL);
	sheet_text(sheet, "short");
	sheet_textf(sheet, "%d", 7);
	sheet_text(sheet, "");
	sheet_text(sheet, "a name that is rather long, \x1b[31mred");
	sheet_coloured(sheet, SHEET_BAD, "123");
	sheet_text(sheet, "");
	assert_int_equal(sheet_n_rows(sheet), 2);
	assert_int_equal(sheet_flush(sheet), 0);
	assert_int_equal(sheet_n_rows(sheet), 0);
	sheet_text(sheet, "later");
	sheet_text(sheet, "1");
	sheet_text(sheet, "not shown: the column was left out");
	assert_int_equal(sheet_flush(sheet), 0);
	sheet_free(sheet);
	(void)fclose(out);
	return text;
}

static void tables_align_escape_and_leave_out(void **state)
{
	_cleanup_free_ char *text = print(&(struct sheet_options){ 0 });

	(void)state;
	assert_string_equal(text, "NAME                                       N\n"
				  "short                                      7\n"
				  "a name that is rather long, \\x1b[31mred  123\n"
				  "later                                      1\n");
}

static void tables_are_cut_and_coloured_on_a_terminal_only(void **state)
{
	_cleanup_free_ char *text = print(&(struct sheet_options){ .width = 20, .colour = true });

	(void)state;
	assert_non_null(strstr(text, "a name that is\xe2\x80\xa6  \033[31m123\033[0m\n"));
	assert_null(strstr(text, "red"));
}

static void a_sheet_says_when_its_output_cannot_be_written(void **state)
{
	FILE *full = fopen("/dev/full", "w");
	struct sheet *sheet;

	(void)state;
	assert_non_null(full);
	(void)setvbuf(full, NULL, _IONBF, 0);
	sheet = sheet_new(full, &(struct sheet_options){ 0 });
	sheet_column(sheet, "X", 0);
	sheet_text(sheet, "x");
	assert_true(sheet_flush(sheet) < 0);
	sheet_free(sheet);
	(void)fclose(full);
}

static void short_names_become_resource_names(void **state)
{
	char out[REF_SIZE];

	(void)state;
	assert_int_equal(ref_bundle("a@1.2.3", out, NULL), 0);
	assert_string_equal(out, "bundles/a@1.2.3");
	assert_int_equal(ref_bundle("bundles/a", out, NULL), 0);
	assert_string_equal(out, "bundles/a");
	assert_int_equal(ref_instance("web", out, NULL), 0);
	assert_string_equal(out, "instances/web");
	assert_int_equal(ref_instance("instances/web", out, NULL), 0);
	assert_string_equal(out, "instances/web");
	assert_int_equal(ref_map("web/.bss", out, NULL), 0);
	assert_string_equal(out, "instances/web/maps/.bss");
	assert_int_equal(ref_map("instances/web/maps/m", out, NULL), 0);
	assert_string_equal(out, "instances/web/maps/m");
	assert_int_equal(ref_source("web", out, NULL), 0);
	assert_string_equal(out, "instances/web");
	assert_int_equal(ref_source("web/m", out, NULL), 0);
	assert_string_equal(out, "instances/web/maps/m");
	assert_int_equal(ref_program("web/p", out, NULL), 0);
	assert_string_equal(out, "instances/web/programs/p");
	assert_int_equal(ref_link("links/3abcdefghijklmno", out, NULL), 0);
	assert_string_equal(out, "links/3abcdefghijklmno");
}

static void malformed_names_are_refused_with_what_is_expected(void **state)
{
	char out[REF_SIZE] = "untouched";
	struct error err = { 0 };

	(void)state;
	assert_true(ref_instance("Web", out, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_NAME);
	assert_true(ref_map("web", out, &err) < 0);
	assert_non_null(strstr(err.message, "INSTANCE/MAP is expected"));
	assert_true(ref_map("web/a/b", out, &err) < 0);
	assert_true(ref_map("/m", out, &err) < 0);
	assert_true(ref_map("web/programs/p", out, &err) < 0);
	assert_true(ref_link("web", out, &err) < 0);
	assert_true(ref_bundle("a@1", out, &err) < 0);
	assert_true(ref_program_of("web", "no-dash", out, &err) < 0);
	assert_string_equal(out, "untouched");
}

static void enum_values_lose_what_they_share(void **state)
{
	(void)state;
	assert_string_equal(enum_text(&bpfleet__v1__link_state__descriptor, 3), "target gone");
	assert_string_equal(enum_text(&bpfleet__v1__durability__descriptor, 3), "lease");
	assert_string_equal(enum_text(&bpfleet__v1__access__descriptor, 1), "private");
	assert_string_equal(enum_text(&bpfleet__v1__need__descriptor, 99), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_parsed_with_units_only),
		cmocka_unit_test(times_are_dates_or_ago),
		cmocka_unit_test(sizes_and_times_are_short),
		cmocka_unit_test(tables_align_escape_and_leave_out),
		cmocka_unit_test(tables_are_cut_and_coloured_on_a_terminal_only),
		cmocka_unit_test(a_sheet_says_when_its_output_cannot_be_written),
		cmocka_unit_test(short_names_become_resource_names),
		cmocka_unit_test(malformed_names_are_refused_with_what_is_expected),
		cmocka_unit_test(enum_values_lose_what_they_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
