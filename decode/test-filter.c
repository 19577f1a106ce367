#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "base/error.h"
#include "decode/filter.h"
#include "decode/types.h"

struct record {
	uint32_t pid;
	int32_t delta;
	char comm[16];
	uint64_t size;
	uint8_t addr[4];
	uint16_t ports[2];
	double load;
	struct {
		uint16_t kind;
		uint16_t flags;
	} head;
	uint32_t rest;
};

static const struct record example = { .pid = 1234,
				       .delta = -5,
				       .comm = "sh",
				       .size = 5000000000,
				       .addr = { 10, 1, 2, 3 },
				       .ports = { 53, 443 },
				       .load = 0.5,
				       .head = { 2, 6 } };

static struct decoder *decoder;

static uint32_t add_record(struct btf *btf)
{
	const int u8 = btf__add_int(btf, "u8", 1, 0), u16 = btf__add_int(btf, "u16", 2, 0);
	const int u32 = btf__add_int(btf, "u32", 4, 0), u64 = btf__add_int(btf, "u64", 8, 0);
	const int s32 = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	const int letter = btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	const int real = btf__add_float(btf, "double", 8);
	const int comm = btf__add_array(btf, u32, letter, 16);
	const int addr = btf__add_array(btf, u32, u8, 4), ports = btf__add_array(btf, u32, u16, 2);
	const int head = btf__add_struct(btf, "head", 4);
	int record;

	assert_int_equal(btf__add_field(btf, "kind", u16, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "flags", u16, 16, 0), 0);
	record = btf__add_struct(btf, "record", sizeof(struct record));
	assert_int_equal(btf__add_field(btf, "pid", u32, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "delta", s32, 32, 0), 0);
	assert_int_equal(btf__add_field(btf, "comm", comm, 64, 0), 0);
	assert_int_equal(btf__add_field(btf, "size", u64, 192, 0), 0);
	assert_int_equal(btf__add_field(btf, "addr", addr, 256, 0), 0);
	assert_int_equal(btf__add_field(btf, "ports", ports, 288, 0), 0);
	assert_int_equal(btf__add_field(btf, "load", real, 320, 0), 0);
	assert_int_equal(btf__add_field(btf, "head", head, 384, 0), 0);
	return (uint32_t)record;
}

static int setup(void **state)
{
	Bpfleet__V1__Display display = BPFLEET__V1__DISPLAY__INIT, *displays[] = { &display };
	struct decoder_options options = { .display = displays, .n_display = 1, .strict = true };
	struct btf *btf = btf__new_empty();
	uint32_t n;

	(void)state;
	display.path = (char *)(uintptr_t) "event.addr";
	display.format = BPFLEET__V1__FORMAT__FORMAT_IPV4;
	options.event_type_id = add_record(btf);
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	assert_int_equal(decoder_new(&options, &decoder, NULL), 0);
	btf__free(btf);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	decoder_free(decoder);
	return 0;
}

static const char *verdict(const char *text)
{
	_cleanup_(filter_freep) struct filter *filter = NULL;
	struct error err = { 0 };

	if (filter_new(decoder, text, &filter, &err) < 0) {
		assert_int_equal(err.code, ERROR_INVALID_FILTER);
		assert_null(filter);
		return "refused";
	}
	return filter_matches(filter, (const uint8_t *)&example, sizeof(example)) ? "yes" : "no";
}

static void every_vector_gives_its_verdict(void **state)
{
	FILE *file = fopen(FILTER_VECTORS, "re");
	char line[256];
	size_t n = 0;

	(void)state;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		char *text = strchr(line, ' ');

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#' || text == NULL)
			continue;
		*text++ = '\0';
		if (strcmp(verdict(text), line) != 0)
			fail_msg("'%s' is '%s', not '%s'", text, verdict(text), line);
		n++;
	}
	(void)fclose(file);
	assert_true(n >= 60);
}

static void a_record_shorter_than_its_type_never_passes(void **state)
{
	_cleanup_(filter_freep) struct filter *filter = NULL;

	(void)state;
	assert_int_equal(filter_new(decoder, "pid != 1", &filter, NULL), 0);
	assert_true(filter_matches(filter, (const uint8_t *)&example, sizeof(example)));
	assert_false(filter_matches(filter, (const uint8_t *)&example, sizeof(example) - 1));
	assert_false(filter_matches(filter, NULL, 0));
}

static void no_filter_grows_without_bounds(void **state)
{
	char text[FILTER_TEXT_MAX + 2];

	(void)state;
	memset(text, '(', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_string_equal(verdict(text), "refused");
	text[sizeof(text) - 2] = '\0';
	assert_string_equal(verdict(text), "refused");
	memset(text, '!', FILTER_DEPTH_MAX);
	strcpy(text + FILTER_DEPTH_MAX, "pid");
	assert_string_equal(verdict(text), "refused");
	strcpy(text, "pid");
	for (size_t i = 0; i < FILTER_TERMS_MAX / 2; i++)
		strcat(text, "&&pid");
	assert_string_equal(verdict(text), "refused");
	text[strlen(text) - strlen("&&pid")] = '\0';
	assert_string_equal(verdict(text), "yes");
}

static void records_without_a_type_have_no_filter(void **state)
{
	const struct decoder_options options = { 0 };
	_cleanup_(decoder_freep) struct decoder *untyped = NULL;
	struct filter *filter = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(decoder_new(&options, &untyped, NULL), 0);
	assert_true(filter_new(untyped, "pid == 1", &filter, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_FILTER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vector_gives_its_verdict),
		cmocka_unit_test(a_record_shorter_than_its_type_never_passes),
		cmocka_unit_test(no_filter_grows_without_bounds),
		cmocka_unit_test(records_without_a_type_have_no_filter),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
