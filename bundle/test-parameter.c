#include "bundle/parameter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

#define TYPE(name) BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_##name

static Bpfleet__V1__ParameterSpec spec_of(Bpfleet__V1__ParameterType type, uint32_t size)
{
	static char name[] = "limit";
	Bpfleet__V1__ParameterSpec spec = BPFLEET__V1__PARAMETER_SPEC__INIT;

	spec.name = name;
	spec.type = type;
	spec.size_bytes = size;
	return spec;
}

static char *text(const char *constant)
{
	return (char *)(uintptr_t)constant;
}

static void assert_round_trip(const Bpfleet__V1__ParameterSpec *spec, const char *given,
			      const void *bytes, const char *shown)
{
	uint8_t out[PARAMETER_SIZE_MAX];
	struct error err = { 0 };
	struct str s = { 0 };

	if (parameter_parse(spec, given, out, spec->size_bytes, &err) < 0)
		fail_msg("'%s': %s", given, err.message);
	assert_memory_equal(out, bytes, spec->size_bytes);
	assert_int_equal(parameter_format(spec, out, spec->size_bytes, &s, &err), 0);
	assert_string_equal(s.data, shown);
	str_done(&s);
}

static void assert_refused(const Bpfleet__V1__ParameterSpec *spec, const char *given,
			   const char *expected)
{
	uint8_t out[PARAMETER_SIZE_MAX] = { 0x5a };
	struct error err = { 0 };

	assert_int_equal(parameter_parse(spec, given, out, spec->size_bytes, &err), -EINVAL);
	assert_int_equal(err.code, ERROR_INVALID_PARAMETER);
	assert_non_null(strstr(err.message, "'limit'"));
	if (strstr(err.message, expected) == NULL)
		fail_msg("'%s' was refused with: %s", given, err.message);
	assert_int_equal(out[0], 0x5a);
}

static void every_type_goes_from_text_to_bytes_and_back(void **state)
{
	Bpfleet__V1__ParameterSpec spec;

	(void)state;
	spec = spec_of(TYPE(BOOL), 1);
	assert_round_trip(&spec, "true", "\1", "true");
	assert_round_trip(&spec, "off", "\0", "false");
	spec = spec_of(TYPE(UNSIGNED), 1);
	assert_round_trip(&spec, "255", "\xff", "255");
	spec = spec_of(TYPE(UNSIGNED), 2);
	assert_round_trip(&spec, "0x1234", "\x34\x12", "4660");
	spec = spec_of(TYPE(UNSIGNED), 8);
	assert_round_trip(&spec, "18446744073709551615", "\xff\xff\xff\xff\xff\xff\xff\xff",
			  "18446744073709551615");
	spec = spec_of(TYPE(SIGNED), 1);
	assert_round_trip(&spec, "-128", "\x80", "-128");
	spec = spec_of(TYPE(SIGNED), 4);
	assert_round_trip(&spec, "-2", "\xfe\xff\xff\xff", "-2");
	spec = spec_of(TYPE(SIGNED), 8);
	assert_round_trip(&spec, "-9223372036854775808", "\0\0\0\0\0\0\0\x80",
			  "-9223372036854775808");
	spec = spec_of(TYPE(STRING), 4);
	assert_round_trip(&spec, "abc", "abc", "abc");
	assert_round_trip(&spec, "", "\0\0\0", "");
	spec = spec_of(TYPE(IPV4), 4);
	assert_round_trip(&spec, "10.0.0.1", "\x0a\0\0\1", "10.0.0.1");
	spec = spec_of(TYPE(IPV6), 16);
	assert_round_trip(&spec, "2001:db8:0::1", "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1",
			  "2001:db8::1");
}

static void what_is_out_of_range_or_mistyped_is_refused_with_what_was_expected(void **state)
{
	Bpfleet__V1__ParameterSpec spec = spec_of(TYPE(UNSIGNED), 1);

	(void)state;
	assert_refused(&spec, "256", "a number from 0 to 255, not '256'");
	assert_refused(&spec, "-1", "not '-1'");
	assert_refused(&spec, "", "not ''");
	assert_refused(&spec, "1 ", "not '1 '");
	assert_refused(&spec, "18446744073709551616", "not '18446744073709551616'");
	spec.min = text("8");
	spec.max = text("32");
	assert_refused(&spec, "7", "a number from 8 to 32");
	assert_refused(&spec, "33", "a number from 8 to 32");
	spec = spec_of(TYPE(SIGNED), 2);
	assert_refused(&spec, "-32769", "a number from -32768 to 32767");
	assert_refused(&spec, "32768", "a number from -32768 to 32767");
	spec.min = text("-5");
	spec.max = text("-1");
	assert_refused(&spec, "-6", "a number from -5 to -1");
	assert_refused(&spec, "0", "a number from -5 to -1");
	spec = spec_of(TYPE(BOOL), 1);
	assert_refused(&spec, "maybe", "true or false, not 'maybe'");
	spec = spec_of(TYPE(STRING), 4);
	assert_refused(&spec, "abcd", "at most 3 bytes");
	spec = spec_of(TYPE(IPV4), 4);
	assert_refused(&spec, "10.0.0", "an IPv4 address, not '10.0.0'");
	spec = spec_of(TYPE(IPV6), 16);
	assert_refused(&spec, "10.0.0.1", "an IPv6 address");
}

static void a_spec_that_contradicts_itself_is_refused(void **state)
{
	static const struct {
		Bpfleet__V1__ParameterType type;
		uint32_t size;
		const char *min;
		const char *max;
		const char *default_value;
	} wrong[] = {
		{ TYPE(UNSPECIFIED), 1, "", "", "" },
		{ (Bpfleet__V1__ParameterType)99, 1, "", "", "" },
		{ TYPE(UNSIGNED), 3, "", "", "" },
		{ TYPE(UNSIGNED), 0, "", "", "" },
		{ TYPE(SIGNED), 16, "", "", "" },
		{ TYPE(BOOL), 4, "", "", "" },
		{ TYPE(STRING), 0, "", "", "" },
		{ TYPE(STRING), PARAMETER_SIZE_MAX + 1, "", "", "" },
		{ TYPE(IPV4), 16, "", "", "" },
		{ TYPE(IPV6), 4, "", "", "" },
		{ TYPE(UNSIGNED), 1, "5", "4", "" },
		{ TYPE(UNSIGNED), 1, "", "256", "" },
		{ TYPE(UNSIGNED), 1, "-1", "", "" },
		{ TYPE(SIGNED), 1, "x", "", "" },
		{ TYPE(STRING), 8, "1", "", "" },
		{ TYPE(UNSIGNED), 1, "1", "9", "10" },
		{ TYPE(BOOL), 1, "", "", "perhaps" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		Bpfleet__V1__ParameterSpec spec = spec_of(wrong[i].type, wrong[i].size);
		struct error err = { 0 };

		spec.min = text(wrong[i].min);
		spec.max = text(wrong[i].max);
		spec.default_value = text(wrong[i].default_value);
		if (parameter_check(&spec, &err) != -EBADMSG)
			fail_msg("row %zu was accepted", i);
		assert_int_equal(err.code, ERROR_MANIFEST_INVALID);
	}
}

static void a_variable_of_another_size_is_refused(void **state)
{
	Bpfleet__V1__ParameterSpec spec = spec_of(TYPE(UNSIGNED), 4);
	uint8_t out[8];
	struct error err = { 0 };
	struct str s = { 0 };

	(void)state;
	assert_int_equal(parameter_check(&spec, &err), 0);
	assert_int_equal(parameter_parse(&spec, "1", out, sizeof(out), &err), -EBADMSG);
	assert_int_equal(parameter_format(&spec, out, 2, &s, &err), -EINVAL);
	assert_null(s.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_goes_from_text_to_bytes_and_back),
		cmocka_unit_test(
			what_is_out_of_range_or_mistyped_is_refused_with_what_was_expected),
		cmocka_unit_test(a_spec_that_contradicts_itself_is_refused),
		cmocka_unit_test(a_variable_of_another_size_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
