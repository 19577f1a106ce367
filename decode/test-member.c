#include "decode/member.h"

#include "base/error.h"
#include "decode/test-fixture.h"

/* As struct counters of the fixture. */
struct counters {
	uint64_t packets;
	int32_t balance;
	uint64_t last;
	char name[8];
	struct {
		int16_t x;
		uint8_t y[2];
	} inner;
	double load;
};

struct flow {
	uint8_t addr[4];
	uint32_t port;
};

static const struct fixture_display displays[] = {
	{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
	{ "key.port", BPFLEET__V1__FORMAT__FORMAT_BIG_ENDIAN },
	{ "value.last", BPFLEET__V1__FORMAT__FORMAT_DURATION },
	{ NULL, 0 },
};

static struct member found(const struct decoder *decoder, const char *path)
{
	struct error err = { 0 };
	struct member member;

	if (member_find(decoder, path, &member, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	return member;
}

static void assert_member_text(const struct decoder *decoder, const char *path, const void *bytes,
			       const char *expected)
{
	const struct member member = found(decoder, path);
	struct str text = { 0 };

	assert_int_equal(member_text(&member, bytes, &text), 0);
	assert_string_equal(text.data, expected);
	str_done(&text);
}

static uint64_t integer(const struct decoder *decoder, const char *path, const void *bytes,
			size_t index)
{
	const struct member member = found(decoder, path);

	return member_integer(&member, bytes, index);
}

static void members_are_read_at_any_depth(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder =
		fixture_decoder(*state, "flow", "counters", NULL, 0, displays);
	const struct counters value = { .packets = UINT64_MAX,
					.balance = -5,
					.last = 1500000000,
					.name = "a \"b ",
					.inner = { .x = -2, .y = { 7, 9 } } };
	const struct flow key = { .addr = { 10, 0, 0, 1 }, .port = 0x50000000 };

	assert_true(integer(decoder, "value.packets", &value, 0) == UINT64_MAX);
	assert_true((int64_t)integer(decoder, "value.balance", &value, 0) == -5);
	assert_true((int64_t)integer(decoder, "value.inner.x", &value, 0) == -2);
	assert_int_equal(integer(decoder, "value.inner.y", &value, 1), 9);
	assert_int_equal(integer(decoder, "value.last", &value, 0), 1500000000);
	assert_int_equal(integer(decoder, "key.port", &key, 0), 80);
	assert_member_text(decoder, "key.addr", &key, "10.0.0.1");
	assert_member_text(decoder, "key.port", &key, "80");
	assert_member_text(decoder, "key", &key, "addr=10.0.0.1 port=80");
	assert_member_text(decoder, "value.name", &value, "a \"b ");
}

static void values_of_all_cpus_are_added_up(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder =
		fixture_decoder(*state, "flow", "counters", NULL, 3, displays);
	struct counters values[3] = { { .packets = 1, .balance = -5 },
				      { .packets = 2, .balance = 3 },
				      { .packets = 40, .inner = { .y = { 0, 200 } } } };

	values[0].inner.y[1] = 100;
	assert_int_equal(integer(decoder, "value.packets", values, 0), 43);
	assert_true((int64_t)integer(decoder, "value.balance", values, 0) == -2);
	assert_int_equal(integer(decoder, "value.inner.y", values, 1), 300);
	assert_member_text(decoder, "value.packets", values, "43");
}

static void what_is_no_integer_says_so(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder =
		fixture_decoder(*state, "flow", "counters", NULL, 0, displays);
	static const struct {
		const char *path;
		size_t n;
		bool is_signed;
	} cases[] = {
		{ "value.packets", 1, false }, { "value.balance", 1, true },
		{ "value.inner.y", 2, false }, { "value.inner", 0, false },
		{ "value.load", 0, false },    { "value", 0, false },
		{ "value.name", 0, false },    { "key.addr", 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct member member = found(decoder, cases[i].path);

		assert_int_equal(member_n_integers(&member), cases[i].n);
		assert_int_equal(member_is_signed(&member), cases[i].is_signed);
	}
}

static void a_path_that_leads_nowhere_is_refused(void **state)
{
	static const char *const paths[] = {
		"",	  "packets",	    "value.nothing", "value.packets.x",
		"value.", "value..packets", "valuepackets",  "key.addr.0"
	};
	_cleanup_(decoder_freep) struct decoder *decoder =
		fixture_decoder(*state, "flow", "counters", NULL, 0, displays);

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct error err = { 0 };
		struct member member;

		if (member_find(decoder, paths[i], &member, &err) == 0)
			fail_msg("'%s' was found", paths[i]);
		assert_int_equal(err.code, ERROR_MANIFEST_MISMATCH);
	}
}

static void without_types_a_value_is_a_number_by_its_size(void **state)
{
	static const struct decoder_options options = { .key_size = 3, .value_size = 4 };
	_cleanup_(decoder_freep) struct decoder *decoder = NULL;
	struct error err = { 0 };
	struct member key;

	(void)state;
	assert_int_equal(decoder_new(&options, &decoder, &err), 0);
	assert_int_equal(integer(decoder, "value", "\x01\x02\0\0", 0), 513);
	key = found(decoder, "key");
	assert_int_equal(member_n_integers(&key), 0);
	assert_member_text(decoder, "key", "\x01\x02\xff", "0x0102ff");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_read_at_any_depth),
		cmocka_unit_test(values_of_all_cpus_are_added_up),
		cmocka_unit_test(what_is_no_integer_says_so),
		cmocka_unit_test(a_path_that_leads_nowhere_is_refused),
		cmocka_unit_test(without_types_a_value_is_a_number_by_its_size),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
