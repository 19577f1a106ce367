#include "decode/test-fixture.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <bpf/btf.h>

#include "base/error.h"

/* What clang -target bpf makes of `struct shapes` of the fixture, by the same compiler family's
 * rules. */
struct shapes {
	uint8_t u8;
	int8_t s8;
	bool flag;
	char letter;
	uint16_t u16;
	int16_t s16;
	uint32_t u32;
	int32_t s32;
	uint64_t u64;
	int64_t s64;
	uint32_t color;
	int32_t balance;
	unsigned int low : 3;
	int high : 5;
	unsigned int : 8;
	uint64_t wide : 40;
	char name[8];
	char words[2][4];
	struct {
		int16_t x;
		uint8_t y[2];
	} inner, pair[2];
	uint32_t number;
	uint16_t left;
	uint16_t right;
	uint64_t pointer;
	uint32_t qualified;
	float single;
	double twice;
	__int128 big;
};

static struct shapes example_shapes(void)
{
	struct shapes s;

	memset(&s, 0, sizeof(s));
	s.u8 = 255;
	s.s8 = -128;
	s.flag = true;
	s.letter = 'A';
	s.u16 = 65535;
	s.s16 = -2;
	s.u32 = 4000000000u;
	s.s32 = -7;
	s.u64 = UINT64_MAX;
	s.s64 = INT64_MIN;
	s.color = 7;
	s.balance = -1;
	s.low = 5;
	s.high = -3;
	s.wide = 0xabcdef0123;
	memcpy(s.name, "a\"b", 3);
	memcpy(s.words[0], "four", 4);
	memcpy(s.words[1], "ab", 2);
	s.inner.x = -1;
	s.inner.y[0] = 1;
	s.pair[1].x = 9;
	s.number = 0x01020304;
	s.left = 1;
	s.right = 2;
	s.pointer = 0xffff888000001000;
	s.qualified = 3;
	s.single = 0.1f;
	s.twice = -1.5e300;
	s.big = -((__int128)1 << 100);
	return s;
}

static void every_kind_of_type_is_shown_as_json(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "shapes", NULL, 0, NULL);
	struct shapes s = example_shapes();

	assert_int_equal(decoder_size(d, DECODER_VALUE), sizeof(s));
	assert_json(d, DECODER_VALUE, &s, sizeof(s),
		    "{\"u8\":255,\"s8\":-128,\"flag\":true,\"letter\":65,\"u16\":65535,\"s16\":-2,"
		    "\"u32\":4000000000,\"s32\":-7,\"u64\":\"18446744073709551615\","
		    "\"s64\":\"-9223372036854775808\",\"color\":\"green\",\"balance\":\"debit\","
		    "\"low\":5,\"high\":-3,\"wide\":737894400291,\"name\":\"a\\\"b\","
		    "\"words\":[\"four\",\"ab\"],\"inner\":{\"x\":-1,\"y\":[1,0]},"
		    "\"pair\":[{\"x\":0,\"y\":[0,0]},{\"x\":9,\"y\":[0,0]}],"
		    "\"number\":16909060,\"bytes\":[4,3,2,1],\"left\":1,\"right\":2,"
		    "\"pointer\":\"0xffff888000001000\",\"qualified\":3,\"single\":0.1,"
		    "\"twice\":-1.5e+300,\"big\":\"-1267650600228229401496703205376\"}");
	decoder_free(d);
}

static void every_kind_of_type_is_shown_in_one_line(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "shapes", NULL, 0, NULL);
	struct shapes s = example_shapes();

	s.color = 8;
	assert_text(d, DECODER_VALUE, &s, sizeof(s),
		    "u8=255 s8=-128 flag=true letter=65 u16=65535 s16=-2 u32=4000000000 s32=-7 "
		    "u64=18446744073709551615 s64=-9223372036854775808 color=8 balance=debit low=5 "
		    "high=-3 wide=737894400291 name=\"a\\\"b\" words=[four,ab] inner.x=-1 "
		    "inner.y=[1,0] pair=[{x=0 y=[0,0]},{x=9 y=[0,0]}] number=16909060 "
		    "bytes=[4,3,2,1] left=1 right=2 pointer=0xffff888000001000 qualified=3 "
		    "single=0.1 twice=-1.5e+300 big=-1267650600228229401496703205376");
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
	{ "value.text", BPFLEET__V1__FORMAT__FORMAT_STRING },
	{ "value.list", BPFLEET__V1__FORMAT__FORMAT_STRING_LIST },
	{ "value.hosts", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
	{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
};

/* A `struct formats` of the fixture as bytes. */
static const uint8_t format_bytes[104] = {
	10,	     0,	   0,	 1,				  /* ipv4 */
	192,	     168,  0,	 1,				  /* ipv4_word */
	0x20,	     0x01, 0x0d, 0xb8, [23] = 1,		  /* ipv6 at 8 */
	[24] = 8,    8,	   4,	 4,				  /* ip at 24 */
	[40] = 0xde, 0xad, 0xbe, 0xef, 0,	 1,		  /* mac */
	[46] = 0x1f, 0x90,					  /* port 8080 */
	[48] = 0x1f, 0x02,					  /* flags */
	[52] = 17,						  /* protocol */
	[56] = 0,    1,	   0xfe, 0xff,				  /* id */
	[64] = 0x15, 0xcd, 0x5b, 0x07,				  /* since 123456789 ns */
	[72] = 'h',  'i',  0,	 'x',  'y',			  /* text */
	[80] = 'l',  's',  0,	 '-',  'l',	 0, 0, 'a', 0, 0, /* list */
	[96] = 1,    2,	   3,	 4,    5,	 6, 7, 8,	  /* hosts */
};

static void display_rows_change_how_members_are_shown(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "formats", NULL, 0, format_rows);

	assert_json(
		d, DECODER_VALUE, format_bytes, sizeof(format_bytes),
		"{\"ipv4\":\"10.0.0.1\",\"ipv4_word\":\"192.168.0.1\",\"ipv6\":\"2001:db8::1\","
		"\"ip\":\"8.8.4.4\",\"mac\":\"de:ad:be:ef:00:01\",\"port\":8080,"
		"\"flags\":\"0x21f\",\"protocol\":\"udp\",\"id\":\"0001feff\","
		"\"since\":\"0.123456789s\",\"text\":\"hi\",\"list\":[\"ls\",\"-l\",\"\",\"a\"],"
		"\"hosts\":[\"1.2.3.4\",\"5.6.7.8\"]}");
	assert_text(d, DECODER_VALUE, format_bytes, sizeof(format_bytes),
		    "ipv4=10.0.0.1 ipv4_word=192.168.0.1 ipv6=2001:db8::1 ip=8.8.4.4 "
		    "mac=de:ad:be:ef:00:01 port=8080 flags=0x21f protocol=udp id=0001feff "
		    "since=0.123456789s text=hi list=[ls,-l,\"\",a] hosts=[1.2.3.4,5.6.7.8]");
	decoder_free(d);
}

static void an_lpm_key_of_length_and_address_is_shown_as_a_cidr(void **state)
{
	static const struct fixture_display rows[] = {
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_CIDR },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "cidr4", NULL, NULL, 0, rows);
	const uint8_t key[8] = { 8, 0, 0, 0, 10 };

	assert_json(d, DECODER_KEY, key, sizeof(key), "\"10.0.0.0/8\"");
	assert_text(d, DECODER_KEY, key, sizeof(key), "10.0.0.0/8");
	assert_int_equal(decoder_n_columns(d, DECODER_KEY), 1);
	assert_string_equal(decoder_column_name(d, DECODER_KEY, 0), "key");
	decoder_free(d);
}

static void the_bits_before_an_lpm_address_are_taken_off_its_prefix(void **state)
{
	static const struct fixture_display rows[] = {
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_CIDR },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "cidr16", NULL, NULL, 0, rows);
	uint8_t key[24] = { 32 + 96 + 24, [4] = 7, [18] = 0xff, 0xff, 10, 1, 2 };

	assert_json(d, DECODER_KEY, key, sizeof(key),
		    "{\"zone\":\"green\",\"addr\":\"10.1.2.0/24\"}");
	key[0] = 32 + 64;
	assert_json(d, DECODER_KEY, key, sizeof(key),
		    "{\"zone\":\"green\",\"addr\":\"::ffff:10.1.2.0/64\"}");
	key[0] = 16;
	assert_text(d, DECODER_KEY, key, sizeof(key), "zone=green addr=::ffff:10.1.2.0/-16");
	decoder_free(d);
}

struct counters {
	uint64_t packets;
	int32_t balance;
	uint64_t last;
	char name[8];
	int16_t x;
	uint8_t y[2];
	double load;
};

static void per_cpu_values_are_listed_and_summed(void **state)
{
	static const struct fixture_display rows[] = {
		{ "value.last", BPFLEET__V1__FORMAT__FORMAT_DURATION },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, "flow", "counters", NULL, 3, rows);
	const struct counters c[3] = {
		{ 1, -5, 2000000000, "web", 1, { 200, 1 }, 0.5 },
		{ UINT32_MAX, 3, 1, "", 2, { 100, 1 }, 0.25 },
		{ 10, 0, 0, "web", -4, { 0, 0 }, 0 },
	};
	const uint8_t key[8] = { 1, 2, 3, 4, 80 };
	struct str s = { 0 };

	assert_int_equal(decoder_size(d, DECODER_VALUE), sizeof(c));
	assert_int_equal(decoder_entry_json(d, key, (const uint8_t *)c, &s), 0);
	assert_string_equal(
		s.data,
		"{\"key\":{\"addr\":[1,2,3,4],\"port\":80},\"value\":{\"cpus\":["
		"{\"packets\":1,\"balance\":-5,\"last\":\"2.000000000s\",\"name\":\"web\","
		"\"inner\":{\"x\":1,\"y\":[200,1]},\"load\":0.5},"
		"{\"packets\":4294967295,\"balance\":3,\"last\":\"0.000000001s\",\"name\":\"\","
		"\"inner\":{\"x\":2,\"y\":[100,1]},\"load\":0.25},"
		"{\"packets\":10,\"balance\":0,\"last\":\"0.000000000s\",\"name\":\"web\","
		"\"inner\":{\"x\":-4,\"y\":[0,0]},\"load\":0}],"
		"\"sum\":{\"packets\":4294967306,\"balance\":-2,\"last\":\"2.000000000s\","
		"\"name\":\"web\",\"inner\":{\"x\":-1,\"y\":[300,2]},\"load\":0.75}}}");
	str_done(&s);
	assert_int_equal(
		decoder_column_text(d, DECODER_VALUE, 0, (const uint8_t *)c, sizeof(c), &s), 0);
	assert_string_equal(s.data, "4294967306");
	str_done(&s);
	decoder_free(d);
}

static void cpus_that_disagree_on_a_text_give_null(void **state)
{
	struct decoder *d = fixture_decoder(*state, NULL, "counters", NULL, 2, NULL);
	const struct counters c[2] = { { .name = "a" }, { .name = "b" } };

	assert_text(d, DECODER_VALUE, c, sizeof(c),
		    "packets=0 balance=0 last=0 name=- inner.x=0 inner.y=[0,0] load=0");
	decoder_free(d);
}

static void columns_are_the_members_of_a_struct(void **state)
{
	struct decoder *d = fixture_decoder(*state, "flow", "counters", NULL, 0, NULL);
	const uint8_t key[8] = { 1, 2, 3, 4, 80 };
	struct str s = { 0 };

	assert_int_equal(decoder_n_columns(d, DECODER_KEY), 2);
	assert_string_equal(decoder_column_name(d, DECODER_KEY, 0), "addr");
	assert_string_equal(decoder_column_name(d, DECODER_KEY, 1), "port");
	assert_false(decoder_column_is_number(d, DECODER_KEY, 0));
	assert_true(decoder_column_is_number(d, DECODER_KEY, 1));
	assert_int_equal(decoder_column_text(d, DECODER_KEY, 1, key, sizeof(key), &s), 0);
	assert_string_equal(s.data, "80");
	s.len = 0;
	assert_int_equal(decoder_column_text(d, DECODER_KEY, 0, key, 3, &s), 0);
	assert_string_equal(s.data, "0x010203");
	s.len = 0;
	assert_int_equal(decoder_column_text(d, DECODER_KEY, 7, key, sizeof(key), &s), 0);
	assert_int_equal(s.len, 0);
	str_done(&s);
	decoder_free(d);
}

static void a_record_ends_with_what_it_has(void **state)
{
	static const struct fixture_display rows[] = {
		{ "event.args", BPFLEET__V1__FORMAT__FORMAT_STRING_LIST },
		{ NULL, BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
	};
	struct decoder *d = fixture_decoder(*state, NULL, NULL, "event", 0, rows);
	const char record[] = "\x2a\0\0\0sh\0\0\0\0\0\0\x02\0\0\0sh\0-c\0\0tail";

	assert_int_equal(decoder_size(d, DECODER_EVENT), 16);
	assert_json(d, DECODER_EVENT, record, sizeof(record) - 1,
		    "{\"pid\":42,\"comm\":\"sh\",\"n\":2,\"args\":[\"sh\",\"-c\",\"\",\"tail\"]}");
	assert_json(d, DECODER_EVENT, record, 16,
		    "{\"pid\":42,\"comm\":\"sh\",\"n\":2,\"args\":[]}");
	assert_json(d, DECODER_EVENT, record, 3, "\"0x2a0000\"");
	decoder_free(d);
	d = fixture_decoder(*state, NULL, NULL, "numbers", 0, NULL);
	assert_json(d, DECODER_EVENT, "\1\0\0\0\2\0\3\0\4", 9, "{\"n\":1,\"values\":[2,3]}");
	decoder_free(d);
}

static void a_data_section_is_shown_by_its_variables(void **state)
{
	const struct fixture *fixture = *state;
	struct decoder_options options = {
		.btf = fixture->raw,
		.n_btf = fixture->n_raw,
		.value_type_id = fixture_type_id(fixture, ".rodata"),
		.key_size = 4,
		.value_size = fixture_type_size(fixture, ".rodata"),
	};
	struct decoder *d = NULL;
	struct error err = { 0 };

	assert_int_equal(decoder_new(&options, &d, &err), 0);
	assert_json(d, DECODER_KEY, "\0\0\0\0", 4, "0");
	assert_json(d, DECODER_VALUE, "\x05\0\0\0", 4, "{\"limit\":5}");
	decoder_free(d);
}

static void without_type_information_bytes_are_shown_in_hex(void **state)
{
	struct decoder_options options = { .key_size = 4, .value_size = 2, .n_cpus = 2 };
	const uint8_t value[16] = { 1, 2, [8] = 3, 4 };
	struct decoder *d = NULL;
	struct str s = { 0 };

	(void)state;
	assert_int_equal(decoder_new(&options, &d, NULL), 0);
	assert_int_equal(decoder_entry_json(d, (const uint8_t *)"\0\1\2\xff", value, &s), 0);
	assert_string_equal(s.data, "{\"key\":\"0x000102ff\",\"value\":{\"cpus\":[\"0x0102\","
				    "\"0x0304\"],\"sum\":null}}");
	str_done(&s);
	decoder_free(d);
}

static void a_text_key_that_is_no_text_is_shown_in_hex(void **state)
{
	const struct fixture *fixture = *state;
	struct btf *btf = btf__new_empty();
	int element, array;
	struct decoder_options options = { .key_size = 4, .value_size = 4 };
	struct decoder *d = NULL;
	uint32_t n;

	(void)fixture;
	element = btf__add_int(btf, "char", 1, BTF_INT_SIGNED);
	array = btf__add_array(btf, element, element, 4);
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	options.key_type_id = (uint32_t)array;
	options.value_type_id = (uint32_t)array;
	assert_int_equal(decoder_new(&options, &d, NULL), 0);
	assert_json(d, DECODER_KEY, "ab\0\0", 4, "\"ab\"");
	assert_json(d, DECODER_KEY, "ab\0c", 4, "\"0x61620063\"");
	assert_json(d, DECODER_KEY, "\xff\0\0\0", 4, "\"0xff000000\"");
	assert_json(d, DECODER_VALUE, "ab\0c", 4, "\"ab\"");
	assert_text(d, DECODER_KEY, "a b ", 4, "\"a b \"");
	decoder_free(d);
	btf__free(btf);
}

static void enums_of_64_bits_are_shown_by_name(void **state)
{
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { .key_size = 8, .value_size = 8 };
	const uint64_t large = UINT64_C(1) << 40, unknown = 5;
	const int64_t low = -2;
	struct decoder *d = NULL;
	uint32_t n;

	(void)state;
	options.key_type_id = (uint32_t)btf__add_enum64(btf, "big", 8, false);
	assert_int_equal(btf__add_enum64_value(btf, "huge", large), 0);
	assert_int_equal(btf__add_enum64_value(btf, "top", UINT64_MAX), 0);
	options.value_type_id = (uint32_t)btf__add_enum64(btf, "small", 8, true);
	assert_int_equal(btf__add_enum64_value(btf, "minus", (uint64_t)low), 0);
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	assert_int_equal(decoder_new(&options, &d, NULL), 0);
	assert_json(d, DECODER_KEY, &large, 8, "\"huge\"");
	assert_json(d, DECODER_KEY, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, "\"top\"");
	assert_json(d, DECODER_KEY, &unknown, 8, "5");
	assert_json(d, DECODER_VALUE, &low, 8, "\"minus\"");
	decoder_free(d);
	btf__free(btf);
}

/* A struct that holds a struct that holds ... */
static uint32_t add_nested(struct btf *btf, int depth)
{
	int id = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);

	for (int i = 0; i < depth; i++) {
		int above = btf__add_struct(btf, "s", 4);

		assert_true(above > 0);
		assert_int_equal(btf__add_field(btf, "m", id, 0, 0), 0);
		id = above;
	}
	return (uint32_t)id;
}

static int new_for_type(struct btf *btf, uint32_t type_id, uint32_t size, struct decoder **ret,
			struct error *err)
{
	struct decoder_options options = { .key_type_id = type_id, .key_size = size };
	uint32_t n;

	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	return decoder_new(&options, ret, err);
}

static void types_that_contradict_themselves_are_refused(void **state)
{
	struct btf *btf = btf__new_empty();
	struct decoder *d = NULL;
	struct error err = { 0 };
	uint32_t id;

	(void)state;
	id = add_nested(btf, 40);
	assert_int_equal(new_for_type(btf, id, 4, &d, &err), -ENOEXEC);
	assert_int_equal(err.code, ERROR_OBJECT_MALFORMED);
	assert_non_null(strstr(err.message, "nested too deeply"));

	id = (uint32_t)btf__add_struct(btf, "outside", 4);
	assert_int_equal(btf__add_field(btf, "m", 1, 64, 0), 0);
	assert_int_equal(new_for_type(btf, id, 4, &d, &err), -ENOEXEC);
	assert_non_null(strstr(err.message, "outside its struct"));

	id = (uint32_t)btf__add_struct(btf, "itself", 4);
	assert_int_equal(btf__add_field(btf, "m", (int)id, 0, 0), 0);
	assert_int_equal(new_for_type(btf, id, 4, &d, &err), -ENOEXEC);

	id = (uint32_t)btf__add_array(btf, 1, 1, UINT32_MAX);
	assert_int_equal(new_for_type(btf, id, 4, &d, &err), -ENOEXEC);

	assert_int_equal(new_for_type(btf, 1, 8, &d, &err), -EBADMSG);
	assert_int_equal(err.code, ERROR_MANIFEST_MISMATCH);
	assert_int_equal(new_for_type(btf, 100000, 4, &d, &err), -EBADMSG);
	assert_null(d);
	btf__free(btf);
}

static void a_type_with_too_much_to_show_is_shown_in_hex(void **state)
{
	struct btf *btf = btf__new_empty();
	struct decoder *d = NULL;
	int empty, many;
	uint32_t id;

	(void)state;
	empty = btf__add_struct(btf, "empty", 0);
	many = btf__add_array(btf, empty, empty, UINT32_MAX);
	id = (uint32_t)btf__add_struct(btf, "s", 2);
	assert_int_equal(btf__add_field(btf, "m", many, 0, 0), 0);
	assert_int_equal(new_for_type(btf, id, 2, &d, NULL), 0);
	assert_json(d, DECODER_KEY, "\1\2", 2, "{\"m\":\"0x\"}");
	decoder_free(d);
	btf__free(btf);
}

static void garbage_instead_of_btf_is_refused(void **state)
{
	const struct fixture *fixture = *state;
	struct decoder_options options = { .btf = (const uint8_t *)"garbage, not BTF",
					   .n_btf = 16,
					   .key_type_id = 1,
					   .key_size = 4 };
	struct decoder *d = NULL;
	struct error err = { 0 };

	assert_int_equal(decoder_new(&options, &d, &err), -ENOEXEC);
	assert_int_equal(err.code, ERROR_OBJECT_MALFORMED);
	options.btf = fixture->raw;
	for (options.n_btf = 1; options.n_btf < fixture->n_raw; options.n_btf += 97)
		assert_int_equal(decoder_new(&options, &d, &err), -ENOEXEC);
	assert_null(d);
}

static void display_rows_that_do_not_fit_are_refused_or_passed_over(void **state)
{
	static const struct {
		const char *path;
		Bpfleet__V1__Format format;
	} wrong[] = {
		{ "key.adr", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
		{ "key.port.x", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
		{ "keys", BPFLEET__V1__FORMAT__FORMAT_IPV4 },
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_IPV6 },
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_CIDR },
		{ "key.addr", BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED },
		{ "key.port", BPFLEET__V1__FORMAT__FORMAT_STRING },
	};
	const struct fixture *fixture = *state;
	Bpfleet__V1__Display row = BPFLEET__V1__DISPLAY__INIT, *rows[] = { &row };
	struct decoder_options options = { .btf = fixture->raw,
					   .n_btf = fixture->n_raw,
					   .key_type_id = fixture_type_id(fixture, "flow"),
					   .key_size = 8,
					   .display = rows,
					   .n_display = 1 };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct decoder *d = NULL;
		struct error err = { 0 };

		row.path = (char *)(uintptr_t)wrong[i].path;
		row.format = wrong[i].format;
		options.strict = true;
		assert_int_equal(decoder_new(&options, &d, &err), -EBADMSG);
		assert_int_equal(err.code, ERROR_MANIFEST_INVALID);
		assert_non_null(strstr(err.message, wrong[i].path));
		options.strict = false;
		assert_int_equal(decoder_new(&options, &d, NULL), 0);
		assert_json(d, DECODER_KEY, "\1\2\3\4\5\0\0\0", 8,
			    "{\"addr\":[1,2,3,4],\"port\":5}");
		decoder_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_type_is_shown_as_json),
		cmocka_unit_test(every_kind_of_type_is_shown_in_one_line),
		cmocka_unit_test(display_rows_change_how_members_are_shown),
		cmocka_unit_test(an_lpm_key_of_length_and_address_is_shown_as_a_cidr),
		cmocka_unit_test(the_bits_before_an_lpm_address_are_taken_off_its_prefix),
		cmocka_unit_test(per_cpu_values_are_listed_and_summed),
		cmocka_unit_test(cpus_that_disagree_on_a_text_give_null),
		cmocka_unit_test(columns_are_the_members_of_a_struct),
		cmocka_unit_test(a_record_ends_with_what_it_has),
		cmocka_unit_test(a_data_section_is_shown_by_its_variables),
		cmocka_unit_test(without_type_information_bytes_are_shown_in_hex),
		cmocka_unit_test(a_text_key_that_is_no_text_is_shown_in_hex),
		cmocka_unit_test(enums_of_64_bits_are_shown_by_name),
		cmocka_unit_test(types_that_contradict_themselves_are_refused),
		cmocka_unit_test(a_type_with_too_much_to_show_is_shown_in_hex),
		cmocka_unit_test(garbage_instead_of_btf_is_refused),
		cmocka_unit_test(display_rows_that_do_not_fit_are_refused_or_passed_over),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
