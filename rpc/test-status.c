#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "rpc/status.h"

#define WIRE_MAX 4096

/* What the three trailers take on the wire: percent-encoded text, base64, and
 * their names. */
static size_t wire_size(const struct rpc_status *status)
{
	size_t n = strlen("grpc-status") + 2 + strlen("grpc-message") +
		   strlen(RPC_STATUS_DETAILS_KEY) + (status->n_details + 2) / 3 * 4;

	for (const unsigned char *p = (const unsigned char *)status->message; *p != '\0'; p++)
		n += *p >= 0x20 && *p <= 0x7e && *p != '%' ? 1 : 3;
	return n;
}

static int there_and_back(const struct error *error, struct error *ret)
{
	struct rpc_status status;

	rpc_status_from_error(error, &status);
	assert_true(wire_size(&status) < WIRE_MAX);
	assert_int_equal(status.code, error_info(error->code)->status);
	return rpc_status_to_error(status.code, status.message, status.details, status.n_details,
				   ret);
}

static void every_error_comes_back_from_the_wire(void **state)
{
	(void)state;
	for (unsigned int code = 1; code < ERROR_N_CODES; code++) {
		const struct error_info *info = error_info((enum error_code)code);
		struct error error = { 0 }, back = { 0 };

		(void)error_raise_errno(&error, (enum error_code)code, 16, "step %u", code);
		error_detail(&error, "instance", "instances/%u", code);
		error_detail(&error, "map", "counts");
		assert_int_equal(there_and_back(&error, &back), -info->sys_errno);
		assert_int_equal(back.code, code);
		assert_int_equal(back.sys_errno, 16);
		assert_string_equal(back.message, error.message);
		assert_int_equal(back.n_details, 2);
		assert_memory_equal(back.details, error.details, 2 * sizeof(back.details[0]));
	}
}

static void error_fill(struct error *error, const char *unit)
{
	size_t n = strlen(unit);

	*error = (struct error){ .code = ERROR_HOOK_BUSY, .sys_errno = 22 };
	for (size_t i = 0; i + n < sizeof(error->message); i += n)
		memcpy(error->message + i, unit, n);
	error->n_details = ERROR_DETAILS_MAX;
	for (size_t d = 0; d < ERROR_DETAILS_MAX; d++) {
		memset(error->details[d].key, 'k', sizeof(error->details[d].key) - 1);
		for (size_t i = 0; i + n < sizeof(error->details[d].value); i += n)
			memcpy(error->details[d].value + i, unit, n);
	}
}

static void largest_error_stays_small_on_the_wire(void **state)
{
	static const char *const units[] = { "x",  "\xc3\xa4",	   "%",
					     "\n", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		struct error error, back = { 0 };
		size_t n;

		error_fill(&error, units[i]);
		(void)there_and_back(&error, &back);
		assert_int_equal(back.code, ERROR_HOOK_BUSY);
		assert_int_equal(back.n_details, ERROR_DETAILS_MAX);
		assert_string_equal(back.details[5].value, error.details[5].value);
		n = strlen(back.message);
		assert_in_range(n, 500, sizeof(back.message));
		assert_int_equal(n % strlen(units[i]), 0);
		assert_memory_equal(back.message, error.message, n);
	}
}

static void bytes_that_are_not_utf8_become_question_marks(void **state)
{
	static const char *const bad[] = { "\xff",     "\xc0\x80",	   "\xed\xa0\x80",
					   "\xe2\x82", "\xf4\x90\x80\x80", "\x80" };
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error error = { .code = ERROR_INTERNAL }, back = { 0 };
		char expected[16] = "a";

		(void)snprintf(error.message, sizeof(error.message), "a%sz", bad[i]);
		for (size_t k = 0; k < strlen(bad[i]); k++)
			strcat(expected, "?");
		strcat(expected, "z");
		(void)there_and_back(&error, &back);
		assert_string_equal(back.message, expected);
	}
}

static void success_has_no_details(void **state)
{
	struct error none = { 0 };
	struct rpc_status status;

	(void)state;
	rpc_status_from_error(&none, &status);
	assert_int_equal(status.code, 0);
	assert_int_equal(status.n_details, 0);
}

static void status_without_details_gets_the_closest_code(void **state)
{
	struct error error = { 0 };

	(void)state;
	(void)rpc_status_to_error(5, "nothing", NULL, 0, &error);
	assert_int_equal(error.code, ERROR_NOT_FOUND);
	assert_string_equal(error.message, "nothing");
	(void)rpc_status_to_error(2, "", NULL, 0, &error);
	assert_int_equal(error.code, ERROR_INTERNAL);
	assert_string_equal(error.message, "UNKNOWN");
	(void)rpc_status_to_error(-7, NULL, NULL, 0, &error);
	assert_int_equal(error.code, ERROR_INTERNAL);
}

static void damaged_details_are_ignored(void **state)
{
	struct error error = { .code = ERROR_MAP_FULL, .message = "full" };
	struct rpc_status status;

	(void)state;
	rpc_status_from_error(&error, &status);
	for (size_t n = 0; n < status.n_details; n++) {
		struct error back = { 0 };

		(void)rpc_status_to_error(status.code, status.message, status.details, n, &back);
		assert_true(back.code == ERROR_MAP_FULL || back.code == ERROR_LIMIT_EXCEEDED);
	}
	for (size_t i = 0; i < status.n_details * 8; i++) {
		struct rpc_status damaged = status;
		struct error back = { 0 };

		damaged.details[i / 8] ^= (uint8_t)(1U << i % 8);
		(void)rpc_status_to_error(damaged.code, damaged.message, damaged.details,
					  damaged.n_details, &back);
		assert_int_not_equal(back.code, ERROR_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_comes_back_from_the_wire),
		cmocka_unit_test(largest_error_stays_small_on_the_wire),
		cmocka_unit_test(bytes_that_are_not_utf8_become_question_marks),
		cmocka_unit_test(success_has_no_details),
		cmocka_unit_test(status_without_details_gets_the_closest_code),
		cmocka_unit_test(damaged_details_are_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
