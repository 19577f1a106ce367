#include "decode/test-fixture.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

#define SIZE_LIMIT 512

/* Parses a text that must be right; returns the bytes. */
static const uint8_t *parse(const struct decoder *d, enum decoder_part part, const char *text,
			    size_t n)
{
	static uint8_t bytes[SIZE_LIMIT];
	struct error err = { 0 };

	assert_true(n <= sizeof(bytes));
	memset(bytes, 0x5a, sizeof(bytes));
	if (decoder_parse(d, part, text, bytes, n, &err) < 0)
		fail_msg("'%s': %s", text, err.message);
	return bytes;
}

/* A text that must be refused, with an excerpt of the reason. */
static void assert_refused(const struct decoder *d, enum decoder_part part, const char *text,
			   size_t n, const char *excerpt)
{
	uint8_t bytes[SIZE_LIMIT], before[SIZE_LIMIT];
	struct error err = { 0 };

	memset(bytes, 0x5a, sizeof(bytes));
	memcpy(before, bytes, sizeof(bytes));
	if (decoder_parse(d, part, text, bytes, n, &err) != -EINVAL)
		fail_msg("'%s' was not refused", text);
	assert_int_equal(err.code, ERROR_INVALID_KEY);
	if (strstr(err.message, excerpt) == NULL)
		fail_msg("'%s' was refused with: %s", text, err.message);
	assert_memory_equal(bytes, before, sizeof(bytes));
}

static void a_struct_key_is_parsed_from_json_and_from_pairs(void **state)
{
	static const char *const texts[] = {
		"{\"addr\":\"10.0.0.1\",\"port\":80}",
		" { \"port\" : 80 , \"addr\" : \"10.0.0.1\" } ",
		"addr=10.0.0.1 port=80",
		"port=0x50, addr=10.0.0.1",
		"addr: 10.0.0.1, port: 80",
		"{addr=0x0a000001 port=80}",
		"0x0a00000150000000",
	};
	static const struct fixture_display rows[] = {
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "flow", NULL, NULL, 0, rows);
	const uint8_t expected[8] = { 10, 0, 0, 1, 80 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_memory_equal(parse(d, DECODER_KEY, texts[i], 8), expected, 8);
	decoder_free(d);
}

static void a_refused_key_says_what_was_expected(void **state)
{
	static const struct fixture_display rows[] = {
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "flow", NULL, NULL, 0, rows);
	static const char whole[] = "{addr: an IPv4 address, port: a number from 0 to 4294967295}";

	assert_refused(d, DECODER_KEY, "addr=10.0.0.300 port=80", 8,
		       "key.addr must be an IPv4 address, not '10.0.0.300'");
	assert_refused(d, DECODER_KEY, "addr=10.0.0.3 port=80", 7, "has 8 bytes, not 7");
	assert_refused(d, DECODER_KEY, "addr=10.0.0.3", 8, "the key lacks port; it must be");
	assert_refused(d, DECODER_KEY, "addr=10.0.0.3", 8, whole);
	assert_refused(d, DECODER_KEY, "adr=10.0.0.3", 8, whole);
	assert_refused(d, DECODER_KEY, "port=4294967296 addr=1.1.1.1", 8, "not '4294967296'");
	assert_refused(d, DECODER_KEY, "port=-1 addr=1.1.1.1", 8, "not '-1'");
	assert_refused(d, DECODER_KEY, "", 8, "the key lacks addr, port; it must be");
	assert_refused(d, DECODER_KEY, "{\"addr\":\"1.1.1.1\",\"port\":80", 8, whole);
	assert_refused(d, DECODER_KEY, "{\"addr\":\"1.1.1.1\",\"port\":80} x", 8, whole);
	assert_refused(d, DECODER_KEY, "{\"addr\":\"1.1.1.1", 8, "an IPv4 address");
	assert_refused(d, DECODER_KEY, "{\"addr\":\"1\\", 8, "an IPv4 address");
	assert_refused(d, DECODER_KEY, "{\"addr\":\"1\\u12", 8, "an IPv4 address");
	assert_refused(d, DECODER_KEY, "{\"addr\":\"\\ud800\",\"port\":1}", 8, "an IPv4 address");
	assert_refused(d, DECODER_KEY, "0x0a0000015000000", 8, whole);
	assert_refused(d, DECODER_KEY, "[1,2]", 8, whole);
	assert_refused(d, DECODER_KEY, "port=1 addr=[1,2,3,4]", 8, "key.addr");
	assert_refused(d, DECODER_EVENT, "1", 0, "");
	decoder_free(d);
}

static void networks_are_parsed_with_and_without_a_length(void **state)
{
	static const struct fixture_display rows[] = {
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_CIDR },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "cidr4", NULL, NULL, 0, rows);
	const uint8_t net4[8] = { 8, 0, 0, 0, 10 }, host4[8] = { 32, 0, 0, 0, 10, 0, 0, 1 };
	const uint8_t net16[24] = { 152, [4] = 7, [18] = 0xff, 0xff, 10, 1, 2 };
	const uint8_t net6[24] = { 64, [4] = 7, [8] = 0x20, 1, 0x0d, 0xb8 };

	assert_memory_equal(parse(d, DECODER_KEY, "10.0.0.0/8", 8), net4, 8);
	assert_memory_equal(parse(d, DECODER_KEY, "\"10.0.0.0/8\"", 8), net4, 8);
	assert_memory_equal(parse(d, DECODER_KEY, "10.0.0.1", 8), host4, 8);
	assert_memory_equal(parse(d, DECODER_KEY, "0x080000000a000000", 8), net4, 8);
	assert_refused(d, DECODER_KEY, "10.0.0.0/33", 8, "an IPv4 network");
	assert_refused(d, DECODER_KEY, "10.0.0.0/", 8, "an IPv4 network");
	assert_refused(d, DECODER_KEY, "2001:db8::/32", 8, "an IPv4 network");
	decoder_free(d);
	d = fixture_decoder(*state, "cidr16", NULL, NULL, 0, rows);
	assert_memory_equal(parse(d, DECODER_KEY, "zone=green addr=10.1.2.0/24", 24), net16, 24);
	assert_memory_equal(
		parse(d, DECODER_KEY, "{\"zone\":\"green\",\"addr\":\"2001:db8::/32\"}", 24), net6,
		24);
	assert_refused(d, DECODER_KEY, "addr=10.1.2.0/24", 24,
		       "lacks zone; it must be {zone: red|green|blue");
	assert_refused(d, DECODER_KEY, "zone=green", 24, "lacks addr; it must be");
	assert_refused(d, DECODER_KEY, "zone=pink addr=::/0", 24, "not 'pink'");
	decoder_free(d);
}

static const struct fixture_display format_rows[] = {
	{ "value.ipv4", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
	{ "value.ipv4_word", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
	{ "value.ipv6", BPFLEET__V1__FORMAT__FORMAT_IPV6 },
	{ "value.ip", BPFLEET__V1__FORMAT__FORMAT_IP },
	{ "value.mac", BPFLEET__V1__FORMAT__FORMAT_MAC },
	{ "value.port", BPFLEET__V1__FORMAT__FORMAT_BIG_ENDIAN },
	{ "value.flags", BPFLEET__V1__FORMAT__FORMAT_HEX },
	{ "value.protocol", BPFLEET__V1__FORMAT__FORMAT_IP_PROTOCOL },
	{ "value.id", BPFLEET__V1__FORMAT__FORMAT_BYTES },
	{ "value.since", BPFLEET__V1__FORMAT__FORMAT_DURATION },
	{ "value.list", BPFLEET__V1__FORMAT__FORMAT_STRING_LIST },
	{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
};

static void every_format_is_parsed(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "formats", NULL, 0, format_rows);
	const uint8_t *p;

	p = parse(d, DECODER_VALUE,
		  "ipv4=1.2.3.4 ipv4_word=5.6.7.8 ipv6=2001:db8::1 ip=9.9.9.9 "
		  "mac=de:ad:be:ef:00:01 port=8080 flags=0x21f protocol=TCP id=0001feff since=1.5s "
		  "text=\"a b\" list=[ls,\"-l a\",\"\"] hosts=[7,8]",
		  104);
	assert_memory_equal(p, "\1\2\3\4\5\6\7\x8", 8);
	assert_memory_equal(p + 8, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	assert_memory_equal(p + 24, "\x9\x9\x9\x9\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_memory_equal(p + 40, "\xde\xad\xbe\xef\0\1\x1f\x90\x1f\2\0\0\6\0\0\0", 16);
	assert_memory_equal(p + 56, "\0\1\xfe\xff\0\0\0\0\0\x2f\x68\x59\0\0\0\0", 16);
	assert_memory_equal(p + 72, "a b\0\0\0\0\0ls\0-l a\0\0\0\0\0\0\0\0", 24);
	assert_memory_equal(p + 96, "\7\0\0\0\x8\0\0\0", 8);
	assert_refused(d, DECODER_VALUE, "mac=de:ad:be:ef:00", 104, "a MAC address");
	assert_refused(d, DECODER_VALUE, "protocol=nosuch", 104, "an IP protocol");
	assert_refused(d, DECODER_VALUE, "since=1.5", 104, "seconds since boot");
	assert_refused(d, DECODER_VALUE, "since=18446744074s", 104, "seconds since boot");
	assert_refused(d, DECODER_VALUE, "port=65536", 104, "0 to 65535");
	assert_refused(d, DECODER_VALUE, "text=123456789", 104, "at most 8 bytes");
	assert_refused(d, DECODER_VALUE, "list=[\"12345678\",\"12345678\"]", 104, "list of texts");
	assert_refused(d, DECODER_VALUE, "hosts=[1,2,3]", 104, "2 times");
	assert_refused(d, DECODER_VALUE, "id=0001fe", 104, "8 hex digits");
	decoder_free(d);
}

static void a_value_must_have_all_its_members(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "counters", NULL, 4, NULL);

	assert_refused(d, DECODER_VALUE, "packets=5 inner.y=[7]", 48, "the value lacks ");
	assert_refused(d, DECODER_VALUE, "packets=5 inner.y=[7]", 48, "inner.y[]");
	assert_refused(d, DECODER_VALUE, "{}", 48, "the value lacks packets, ");
	decoder_free(d);
}

static void a_number_beyond_a_double_is_a_string_in_json(void **state)
{
	static const struct {
		uint64_t value;
		const char *json;
	} rows[] = {
		{ 9007199254740991, "9007199254740991" },
		{ 9007199254740992, "\"9007199254740992\"" },
		{ UINT64_MAX, "\"18446744073709551615\"" },
	};
	struct decoder *d = fixture_decoder(*state, NULL, "__u64", NULL, 0, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_json(d, DECODER_VALUE, (const uint8_t *)&rows[i].value, 8, rows[i].json);
		assert_memory_equal(parse(d, DECODER_VALUE, rows[i].json, 8), &rows[i].value, 8);
	}
	decoder_free(d);
}

static void what_is_shown_parses_back_to_the_same_bytes(void **state)
{
	const struct fixture *fixture = *state;
	uint32_t size = fixture_type_size(fixture, "shapes");
	struct decoder *d = fixture_decoder(fixture, "shapes", "shapes", NULL, 0, NULL);
	uint32_t random = 12345;

	for (int round = 0; round < 300; round++) {
		uint8_t bytes[SIZE_LIMIT];
		struct str json = { 0 }, text = { 0 };

		for (size_t i = 0; i < size; i++) {
			random = random * 1664525 + 1013904223;
			bytes[i] = round == 0 ? 0 : (uint8_t)(random >> 24);
		}
		/* bools and what lies between members have one form only */
		bytes[2] &= 1;
		assert_int_equal(decoder_json(d, DECODER_KEY, bytes, size, &json), 0);
		assert_int_equal(decoder_text(d, DECODER_KEY, bytes, size, &text), 0);
		assert_json(d, DECODER_KEY, parse(d, DECODER_KEY, json.data, size), size,
			    json.data);
		assert_text(d, DECODER_KEY, parse(d, DECODER_KEY, text.data, size), size,
			    text.data);
		str_done(&json);
		str_done(&text);
	}
	decoder_free(d);
}

static void a_plain_key_is_a_bare_word(void **state)
{
	const struct fixture *fixture = *state;
	struct decoder_options options = { .btf = fixture->raw,
					   .n_btf = fixture->n_raw,
					   .key_type_id = fixture_type_id(fixture, "color"),
					   .key_size = 4 };
	struct decoder *d = NULL;
	struct str s = { 0 };

	assert_int_equal(decoder_new(&options, &d, NULL), 0);
	assert_memory_equal(parse(d, DECODER_KEY, "blue", 4), "\xe8\3\0\0", 4);
	assert_memory_equal(parse(d, DECODER_KEY, "\"blue\"", 4), "\xe8\3\0\0", 4);
	assert_memory_equal(parse(d, DECODER_KEY, "0x10", 4), "\x10\0\0\0", 4);
	assert_refused(d, DECODER_KEY, "bleu", 4, "the key must be red|green|blue, not 'bleu'");
	assert_int_equal(decoder_describe(d, DECODER_KEY, &s), 0);
	assert_string_equal(s.data, "red|green|blue");
	str_done(&s);
	decoder_free(d);
}

static void a_key_without_a_type_is_parsed_from_hex_only(void **state)
{
	struct decoder_options options = { .key_size = 4 };
	struct decoder *d = NULL;

	(void)state;
	assert_int_equal(decoder_new(&options, &d, NULL), 0);
	assert_memory_equal(parse(d, DECODER_KEY, "0x0001feFF", 4), "\0\1\xfe\xff", 4);
	assert_refused(d, DECODER_KEY, "0x0001fe", 4, "4 bytes as 8 hex digits");
	assert_refused(d, DECODER_KEY, "17", 4, "4 bytes as 8 hex digits");
	decoder_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_struct_key_is_parsed_from_json_and_from_pairs),
		cmocka_unit_test(a_refused_key_says_what_was_expected),
		cmocka_unit_test(networks_are_parsed_with_and_without_a_length),
		cmocka_unit_test(every_format_is_parsed),
		cmocka_unit_test(a_value_must_have_all_its_members),
		cmocka_unit_test(a_number_beyond_a_double_is_a_string_in_json),
		cmocka_unit_test(what_is_shown_parses_back_to_the_same_bytes),
		cmocka_unit_test(a_plain_key_is_a_bare_word),
		cmocka_unit_test(a_key_without_a_type_is_parsed_from_hex_only),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
