#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "decode/entry.h"
#include "decode/test-fixture.h"

/* struct counter { u64 packets; u32 bytes; } as value, u32 as key */
static struct decoder *counters(uint32_t n_cpus)
{
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { .key_size = 4, .value_size = 16, .n_cpus = n_cpus };
	struct decoder *decoder = NULL;
	uint32_t size;

	options.key_type_id = (uint32_t)btf__add_int(btf, "u32", 4, 0);
	assert_int_equal(btf__add_int(btf, "u64", 8, 0), 2);
	options.value_type_id = (uint32_t)btf__add_struct(btf, "counter", 16);
	assert_int_equal(btf__add_field(btf, "packets", 2, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "bytes", 1, 64, 0), 0);
	options.btf = btf__raw_data(btf, &size);
	options.n_btf = size;
	assert_int_equal(decoder_new(&options, &decoder, NULL), 0);
	btf__free(btf);
	return decoder;
}

/* struct guarded { struct bpf_spin_lock lock; u32 n; struct task *__kptr owner; struct bpf_timer t;
 * } */
static struct decoder *guarded(void)
{
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { .key_size = 4, .value_size = 32 };
	struct decoder *decoder = NULL;
	uint32_t size;

	options.key_type_id = (uint32_t)btf__add_int(btf, "u32", 4, 0);
	assert_int_equal(btf__add_struct(btf, "bpf_spin_lock", 4), 2);
	assert_int_equal(btf__add_field(btf, "val", 1, 0, 0), 0);
	assert_int_equal(btf__add_struct(btf, "bpf_timer", 16), 3);
	assert_int_equal(btf__add_type_tag(btf, "kptr", 1), 4);
	assert_int_equal(btf__add_ptr(btf, 4), 5);
	options.value_type_id = (uint32_t)btf__add_struct(btf, "guarded", 32);
	assert_int_equal(btf__add_field(btf, "lock", 2, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "n", 1, 32, 0), 0);
	assert_int_equal(btf__add_field(btf, "owner", 5, 64, 0), 0);
	assert_int_equal(btf__add_field(btf, "t", 3, 128, 0), 0);
	options.btf = btf__raw_data(btf, &size);
	options.n_btf = size;
	assert_int_equal(decoder_new(&options, &decoder, NULL), 0);
	btf__free(btf);
	return decoder;
}

static struct decoder *section(void)
{
	struct btf *btf = btf__new_empty();
	struct decoder_options options = { .key_size = 4, .value_size = 12 };
	struct decoder *decoder = NULL;
	uint32_t size;

	assert_int_equal(btf__add_int(btf, "u64", 8, 0), 1);
	assert_int_equal(btf__add_int(btf, "int", 4, BTF_INT_SIGNED), 2);
	assert_int_equal(btf__add_var(btf, "total", BTF_VAR_GLOBAL_ALLOCATED, 1), 3);
	assert_int_equal(btf__add_var(btf, "level", BTF_VAR_GLOBAL_ALLOCATED, 2), 4);
	options.value_type_id = (uint32_t)btf__add_datasec(btf, ".data", 12);
	assert_int_equal(btf__add_datasec_var_info(btf, 3, 0, 8), 0);
	assert_int_equal(btf__add_datasec_var_info(btf, 4, 8, 4), 0);
	options.btf = btf__raw_data(btf, &size);
	options.n_btf = size;
	assert_int_equal(decoder_new(&options, &decoder, NULL), 0);
	btf__free(btf);
	return decoder;
}

static char *member(const char *object, const char *name, int expected)
{
	char *found = NULL;

	assert_int_equal(entry_member(object, name, &found, NULL), expected);
	return found;
}

static void assert_member(const char *object, const char *name, const char *expected)
{
	char *found = member(object, name, 0);

	if (expected == NULL)
		assert_null(found);
	else
		assert_string_equal(found, expected);
	free(found);
}

static void members_are_found_whatever_lies_between(void **state)
{
	const char *line = " {\"key\" : {\"a\":[1,{\"b\":\"}\\\"]\"}],\"key\":2} ,\"value\":null, "
			   "\"\\u006fther\":\"x\" } ";

	(void)state;
	assert_member(line, "key", "{\"a\":[1,{\"b\":\"}\\\"]\"}],\"key\":2}");
	assert_member(line, "value", "null");
	assert_member(line, "other", "\"x\"");
	assert_member(line, "none", NULL);
	assert_member("{}", "key", NULL);
}

static void what_is_no_object_is_refused(void **state)
{
	static const char *const broken[] = {
		"",
		"7",
		"[1]",
		"{",
		"{\"key\"",
		"{\"key\":",
		"{\"key\":[1}",
		"{key:1}",
		"{\"a\":1 \"b\":2}",
		"{\"a\":\"x",
		"{\"a\":}",
		"{,}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		assert_null(member(broken[i], "b", -EINVAL));
}

static void a_line_of_a_dump_reads_back_as_the_same_bytes(void **state)
{
	struct decoder *decoder = counters(3);
	uint8_t key[4] = { 9 }, value[48] = { 0 }, key_back[4], value_back[48];
	struct str line = { 0 };
	char *text;
	size_t n = 0;

	(void)state;
	for (uint8_t i = 0; i < 3; i++) {
		value[i * 16] = (uint8_t)(i + 1);
		value[i * 16 + 8] = (uint8_t)(10 * i);
	}
	assert_int_equal(decoder_entry_json(decoder, key, value, &line), 0);
	text = member(line.data, "key", 0);
	assert_int_equal(entry_parse(decoder, DECODER_KEY, text, key_back, &n, NULL), 0);
	assert_int_equal(n, 4);
	assert_memory_equal(key, key_back, 4);
	free(text);
	text = member(line.data, "value", 0);
	assert_int_equal(entry_parse(decoder, DECODER_VALUE, text, value_back, &n, NULL), 0);
	assert_int_equal(n, 48);
	assert_memory_equal(value, value_back, 48);
	free(text);
	str_done(&line);
	decoder_free(decoder);
}

static void one_value_for_all_cpus_has_the_size_of_one(void **state)
{
	struct decoder *decoder = counters(3);
	struct error err = { 0 };
	uint8_t bytes[48];
	size_t n = 0;

	(void)state;
	assert_int_equal(
		entry_parse(decoder, DECODER_VALUE, "{\"packets\":5,\"bytes\":6}", bytes, &n, NULL),
		0);
	assert_int_equal(n, 16);
	assert_int_equal(bytes[0], 5);
	assert_int_equal(bytes[8], 6);
	assert_true(entry_parse(decoder, DECODER_VALUE, "{\"cpus\":[{\"packets\":5,\"bytes\":6}]}",
				bytes, &n, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_KEY);
	decoder_free(decoder);
}

static void a_string_may_hold_the_text_of_what_is_no_string(void **state)
{
	struct decoder *decoder = counters(0);
	uint8_t bytes[16];
	size_t n = 0;

	(void)state;
	assert_int_equal(
		entry_parse(decoder, DECODER_VALUE, "\"packets=7 bytes=8\"", bytes, &n, NULL), 0);
	assert_int_equal(bytes[0], 7);
	assert_int_equal(bytes[8], 8);
	assert_int_equal(entry_parse(decoder, DECODER_KEY, "\"0x2a\"", bytes, &n, NULL), 0);
	assert_int_equal(bytes[0], 42);
	assert_true(entry_parse(decoder, DECODER_VALUE, "\"packets=7\"", bytes, &n, NULL) < 0);
	decoder_free(decoder);
}

static void locks_timers_and_kernel_pointers_are_neither_shown_nor_set(void **state)
{
	struct decoder *decoder = guarded();
	uint8_t bytes[32];
	struct str json = { 0 };
	size_t n = 0;

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	memcpy(bytes + 4, "\7\0\0\0", 4);
	assert_json(decoder, DECODER_VALUE, bytes, 32,
		    "{\"lock\":null,\"n\":7,\"owner\":null,\"t\":null}");
	assert_int_equal(entry_parse(decoder, DECODER_VALUE,
				     "{\"lock\":null,\"n\":8,\"owner\":null,\"t\":null}", bytes, &n,
				     NULL),
			 0);
	assert_int_equal(bytes[4], 8);
	for (size_t i = 0; i < 32; i++)
		assert_true(i == 4 || bytes[i] == 0);
	assert_int_equal(entry_parse(decoder, DECODER_VALUE, "\"n=9\"", bytes, &n, NULL), 0);
	assert_int_equal(bytes[4], 9);
	assert_true(entry_parse(decoder, DECODER_VALUE, "{\"n\":8,\"lock\":1}", bytes, &n, NULL) <
		    0);
	str_done(&json);
	decoder_free(decoder);
}

static void variables_of_a_section_are_found_by_name(void **state)
{
	struct decoder *decoder = section();
	struct error err = { 0 };
	struct str json = { 0 };
	uint8_t bytes[8];
	uint32_t offset = 0;
	size_t size = 0;

	(void)state;
	assert_true(decoder_is_section(decoder));
	assert_true(decoder_variable(decoder, "level", &offset, &size));
	assert_int_equal(offset, 8);
	assert_int_equal(size, 4);
	assert_int_equal(decoder_variable_parse(decoder, "level", "-3", bytes, 4, NULL), 0);
	assert_int_equal(decoder_variable_json(decoder, "level", bytes, &json), 0);
	assert_string_equal(json.data, "-3");
	assert_false(decoder_variable(decoder, "other", &offset, &size));
	assert_true(decoder_variable_parse(decoder, "other", "1", bytes, 4, &err) < 0);
	assert_int_equal(err.code, ERROR_KEY_NOT_IN_MAP);
	str_done(&json);
	decoder_free(decoder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_are_found_whatever_lies_between),
		cmocka_unit_test(what_is_no_object_is_refused),
		cmocka_unit_test(a_line_of_a_dump_reads_back_as_the_same_bytes),
		cmocka_unit_test(one_value_for_all_cpus_has_the_size_of_one),
		cmocka_unit_test(a_string_may_hold_the_text_of_what_is_no_string),
		cmocka_unit_test(locks_timers_and_kernel_pointers_are_neither_shown_nor_set),
		cmocka_unit_test(variables_of_a_section_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
