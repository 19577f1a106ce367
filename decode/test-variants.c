#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "base/error.h"
#include "decode/filter.h"
#include "decode/types.h"

/* As the types below have it. */
struct opened {
	uint16_t size;
	uint16_t kind;
	uint32_t pid;
	char name[8];
};

struct exited {
	uint16_t size;
	uint16_t kind;
	uint32_t pid;
	int32_t code;
	uint32_t at;
};

static const struct opened opened = { 16, 1, 7, "file" };
static const struct exited exited = { 16, 2, 7, -3, 0x0302010a };

static struct btf *btf;

static void add_struct(const char *name, int kind_offset, int more, const char *more_name,
		       int still_more)
{
	assert_true(btf__add_struct(btf, name, 16) > 0);
	assert_int_equal(btf__add_field(btf, "size", 2, kind_offset == 0 ? 16 : 0, 0), 0);
	assert_int_equal(btf__add_field(btf, "kind", 4, (uint32_t)kind_offset, 0), 0);
	assert_int_equal(btf__add_field(btf, "pid", 1, 32, 0), 0);
	assert_int_equal(btf__add_field(btf, more_name, more, 64, 0), 0);
	if (still_more > 0)
		assert_int_equal(btf__add_field(btf, "at", still_more, 96, 0), 0);
}

static int setup(void **state)
{
	(void)state;
	btf = btf__new_empty();
	(void)btf__add_int(btf, "u32", 4, 0);
	(void)btf__add_int(btf, "u16", 2, 0);
	(void)btf__add_int(btf, "char", 1, BTF_INT_CHAR);
	(void)btf__add_enum(btf, "kind", 2);
	(void)btf__add_enum_value(btf, "OPENED", 1);
	(void)btf__add_enum_value(btf, "EXITED", 2);
	(void)btf__add_array(btf, 1, 3, 8);
	(void)btf__add_int(btf, "s32", 4, BTF_INT_SIGNED);
	add_struct("opened", 16, 5, "name", 0);
	add_struct("exited", 16, 6, "code", 1);
	add_struct("elsewhere", 0, 6, "code", 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	btf__free(btf);
	return 0;
}

static int make(const char *tag, const char *second, uint64_t second_tag, struct decoder **ret,
		struct error *err)
{
	Bpfleet__V1__Display display = BPFLEET__V1__DISPLAY__INIT, *displays[] = { &display };
	Bpfleet__V1__EventVariant variants[2], *pointers[] = { &variants[0], &variants[1] };
	struct decoder_options options = { .event_tag = tag,
					   .event_variants = pointers,
					   .n_event_variants = 2,
					   .display = displays,
					   .n_display = 1,
					   .strict = true };
	uint32_t n;

	display.path = (char *)(uintptr_t) "event.at";
	display.format = BPFLEET__V1__FORMAT__FORMAT_IPV4;
	bpfleet__v1__event_variant__init(&variants[0]);
	bpfleet__v1__event_variant__init(&variants[1]);
	variants[0].tag = 1;
	variants[0].record_type = (char *)(uintptr_t) "opened";
	variants[1].tag = second_tag;
	variants[1].record_type = (char *)(uintptr_t)second;
	options.btf = btf__raw_data(btf, &n);
	options.n_btf = n;
	return decoder_new(&options, ret, err);
}

static struct decoder *decoder_of_both(void)
{
	struct decoder *decoder = NULL;

	assert_int_equal(make("kind", "exited", 2, &decoder, NULL), 0);
	return decoder;
}

static void assert_json(const struct decoder *decoder, const void *record, size_t n,
			const char *expected)
{
	_cleanup_(str_done) struct str json = { 0 };

	assert_int_equal(decoder_json(decoder, DECODER_EVENT, record, n, &json), 0);
	assert_string_equal(json.data, expected);
}

static void each_record_is_shown_as_the_struct_that_its_tag_names(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder = decoder_of_both();

	(void)state;
	assert_json(decoder, &opened, sizeof(opened),
		    "{\"size\":16,\"kind\":\"OPENED\",\"pid\":7,\"name\":\"file\"}");
	assert_json(decoder, &exited, sizeof(exited),
		    "{\"size\":16,\"kind\":\"EXITED\",\"pid\":7,\"code\":-3,\"at\":\"10.1.2.3\"}");
}

static void what_the_tag_does_not_name_is_shown_in_hex(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder = decoder_of_both();
	struct exited other = exited;

	(void)state;
	other.kind = 3;
	assert_json(decoder, &other, 4, "\"0x10000300\"");
	assert_json(decoder, &exited, 3, "\"0x100002\"");
	assert_json(decoder, &exited, 8, "\"0x1000020007000000\"");
	assert_json(decoder, NULL, 0, "\"0x\"");
}

static void a_table_has_one_column_for_all_of_them(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder = decoder_of_both();
	_cleanup_(str_done) struct str text = { 0 };

	(void)state;
	assert_int_equal(decoder_n_columns(decoder, DECODER_EVENT), 1);
	assert_string_equal(decoder_column_name(decoder, DECODER_EVENT, 0), "event");
	assert_int_equal(decoder_column_text(decoder, DECODER_EVENT, 0, (const void *)&opened,
					     sizeof(opened), &text),
			 0);
	assert_string_equal(text.data, "size=16 kind=OPENED pid=7 name=file");
}

/* "oe": which of the two records pass; "-": neither; "refused". */
static const char *passes(const struct decoder *decoder, const char *condition)
{
	_cleanup_(filter_freep) struct filter *filter = NULL;
	struct error err = { 0 };
	bool o, e;

	if (filter_new(decoder, condition, &filter, &err) < 0) {
		assert_int_equal(err.code, ERROR_INVALID_FILTER);
		return "refused";
	}
	o = filter_matches(filter, (const void *)&opened, sizeof(opened));
	e = filter_matches(filter, (const void *)&exited, sizeof(exited));
	return o && e ? "oe" : o ? "o" : e ? "e" : "-";
}

static void a_filter_compares_the_members_that_a_record_has(void **state)
{
	static const struct {
		const char *condition, *passes;
	} rows[] = {
		{ "pid == 7", "oe" },
		{ "kind == EXITED", "e" },
		{ "name == file", "o" },
		{ "name != file", "-" },
		{ "!(name == file)", "e" },
		{ "code", "e" },
		{ "code < 0 || name == \"file\"", "oe" },
		{ "code < 0 && name == \"file\"", "-" },
		{ "at == 10.1.2.3 && pid == 7", "e" },
		{ "nothing == 1", "refused" },
		{ "code == 1 || nothing.at[1] == 1", "refused" },
		{ "pid[0] == 1", "refused" },
		{ "code == x", "refused" },
		{ "name < x", "refused" },
		{ "code ==", "refused" },
		{ "&& pid", "refused" },
		{ "code[", "refused" },
	};
	_cleanup_(decoder_freep) struct decoder *decoder = decoder_of_both();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(passes(decoder, rows[i].condition), rows[i].passes) != 0)
			fail_msg("'%s': %s, not %s", rows[i].condition,
				 passes(decoder, rows[i].condition), rows[i].passes);
}

static void a_record_that_no_variant_is_passes_no_filter(void **state)
{
	_cleanup_(decoder_freep) struct decoder *decoder = decoder_of_both();
	_cleanup_(filter_freep) struct filter *filter = NULL;
	struct opened other = opened;

	(void)state;
	other.kind = 9;
	assert_int_equal(filter_new(decoder, "!(pid == 0)", &filter, NULL), 0);
	assert_true(filter_matches(filter, (const void *)&opened, sizeof(opened)));
	assert_false(filter_matches(filter, (const void *)&opened, sizeof(opened) - 1));
	assert_false(filter_matches(filter, (const void *)&other, sizeof(other)));
	assert_false(filter_matches(filter, NULL, 0));
}

static void variants_that_cannot_be_told_apart_are_refused(void **state)
{
	static const struct {
		const char *tag, *second;
		uint64_t second_tag;
	} rows[] = {
		{ "kind", "elsewhere", 2 },  { "kind", "nowhere", 2 }, { "kind", "exited", 1 },
		{ "kind", "exited", 65537 }, { "name", "exited", 2 },  { "code", "exited", 2 },
		{ "kind.x", "exited", 2 },   { "", "exited", 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct decoder *decoder = NULL;
		struct error err = { 0 };

		assert_true(make(rows[i].tag, rows[i].second, rows[i].second_tag, &decoder, &err) <
			    0);
		assert_int_equal(err.code, ERROR_MANIFEST_MISMATCH);
		assert_null(decoder);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_record_is_shown_as_the_struct_that_its_tag_names),
		cmocka_unit_test(what_the_tag_does_not_name_is_shown_in_hex),
		cmocka_unit_test(a_table_has_one_column_for_all_of_them),
		cmocka_unit_test(a_filter_compares_the_members_that_a_record_has),
		cmocka_unit_test(a_record_that_no_variant_is_passes_no_filter),
		cmocka_unit_test(variants_that_cannot_be_told_apart_are_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
