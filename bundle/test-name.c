#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/name.h"
#include "bundle/test-file.h"

#define LONG48 "a23456789012345678901234567890123456789012345678"

static void bundle_names_follow_their_grammar(void **state)
{
	static const char *const good[] = { "a", "packet_count", "x9_", LONG48 };
	static const char *const bad[] = { "",	  "9a",	 "_a",	"A",	   "a-b",
					   "a.b", "a/b", "a\n", LONG48 "9" };
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_int_equal(name_check_bundle(good[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(name_is_bundle(bad[i]));
		assert_true(name_check_bundle(bad[i], &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_NAME);
		assert_non_null(strstr(err.message, "[a-z][a-z0-9_]{0,47}"));
	}
}

static void an_id_never_passes_for_a_label(void **state)
{
	char id[NAME_ID_LEN + 1];

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(name_new_id(id, NULL), 0);
		assert_true(name_is_id(id));
		assert_false(name_is_label(id));
	}
	assert_false(name_is_id("2aaaaaaaaaaa"));
	assert_false(name_is_id("aaaaaaaaaaaaa"));
	assert_false(name_is_id("2aaaaaaaaaaa1"));
	assert_true(name_is_label("edge-1_b"));
	assert_false(name_is_label("Edge"));
}

static void map_names_are_symbols_or_sections(void **state)
{
	(void)state;
	assert_int_equal(name_check_map("counts", NULL), 0);
	assert_int_equal(name_check_map(".bss", NULL), 0);
	assert_int_equal(name_check_map(".rodata.str1.1", NULL), 0);
	assert_true(name_check_map(".", NULL) < 0);
	assert_true(name_check_map("a.b", NULL) < 0);
	assert_true(name_check_map("a/b", NULL) < 0);
	assert_string_equal(name_map_from_libbpf("packet_c.bss"), ".bss");
	assert_string_equal(name_map_from_libbpf(".data.hot"), ".data.hot");
	assert_string_equal(name_map_from_libbpf("counts"), "counts");
}

static void versions_are_three_canonical_numbers(void **state)
{
	static const char *const bad[] = { "",	       "1",	 "1.2",	   "1.2.3.4",
					   "1.2.3 ",   "v1.2.3", "01.2.3", "1.02.3",
					   "1.2.",     "1..3",	 "-1.2.3", "1.2.4294967296",
					   "1.2.3-rc1" };
	struct version version = { 7, 7, 7 };
	char text[NAME_VERSION_MAX + 1];
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(version_parse(bad[i], &version, &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_NAME);
		assert_int_equal(version.major, 7);
	}
	assert_int_equal(version_parse("4294967295.0.10", &version, NULL), 0);
	version_format(&version, text);
	assert_string_equal(text, "4294967295.0.10");
}

static void versions_compare_as_numbers(void **state)
{
	static const struct version sorted[] = { { 0, 0, 0 }, { 0, 0, 9 },  { 0, 0, 10 },
						 { 0, 2, 0 }, { 0, 10, 0 }, { 2, 0, 0 },
						 { 10, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sorted); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(sorted); j++) {
			int order = version_compare(&sorted[i], &sorted[j]);

			assert_int_equal(order < 0, i < j);
			assert_int_equal(order > 0, i > j);
		}
	}
}

static void resource_names_read_back_as_written(void **state)
{
	static const struct {
		const char *text;
		enum resource_kind kind;
	} good[] = {
		{ "bundles/packet_count", RESOURCE_BUNDLE },
		{ "bundles/packet_count@1.2.3", RESOURCE_BUNDLE },
		{ "instances/2abcdefghijklmno", RESOURCE_INSTANCE },
		{ "instances/my-label", RESOURCE_INSTANCE },
		{ "instances/2abcdefghijklmno/programs/count_xdp", RESOURCE_PROGRAM },
		{ "instances/2abcdefghijklmno/maps/.bss", RESOURCE_MAP },
		{ "links/2abcdefghijklmno", RESOURCE_LINK },
	};
	char text[NAME_RESOURCE_MAX + 1];
	struct resource_name name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(resource_parse(good[i].text, &name, NULL), 0);
		assert_int_equal(name.kind, good[i].kind);
		resource_format(&name, text);
		assert_string_equal(text, good[i].text);
		assert_int_equal(resource_parse_kind(good[i].text, good[i].kind, &name, NULL), 0);
	}
}

static void resource_names_of_no_kind_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"bundles",
		"bundles/",
		"bundles/a@",
		"bundles/a@1.2",
		"bundles/A",
		"instances/",
		"instances/9x",
		"instances/2abcdefghijklmno/",
		"instances/2abcdefghijklmno/links/x",
		"instances/2abcdefghijklmno/programs/",
		"instances/2abcdefghijklmno/programs/.bss",
		"instances/2abcdefghijklmno/maps/a/b",
		"instances/" LONG48 LONG48,
		"links/label",
		"links/2abcdefghijklmno/x",
		"maps/x",
	};
	struct resource_name name;
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(resource_parse(bad[i], &name, &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_NAME);
	}
	assert_true(resource_parse_kind("links/2abcdefghijklmno", RESOURCE_INSTANCE, &name, &err) <
		    0);
	assert_non_null(strstr(err.message, "instances/ID"));
}

static void the_longest_resource_name_fits(void **state)
{
	char symbol[NAME_SYMBOL_MAX + 1], text[NAME_RESOURCE_MAX + 1];
	struct resource_name name;

	(void)state;
	memset(symbol, 'a', NAME_SYMBOL_MAX);
	symbol[NAME_SYMBOL_MAX] = '\0';
	resource_format_program(LONG48, symbol, text);
	assert_int_equal(resource_parse(text, &name, NULL), 0);
	assert_string_equal(name.member, symbol);
	assert_string_equal(name.id, LONG48);
}

/* The n-th text in backticks of the row of the table of names that begins so. */
static const char *documented(const char *page, const char *row, unsigned int n)
{
	static char out[160];
	const char *at = strstr(page, row);

	if (at == NULL)
		fail_msg("docs/naming.md has no row '%s'", row);
	for (unsigned int i = 0; i < 2 * n - 1; i++)
		at = strchr(at, '`') + 1;
	(void)snprintf(out, sizeof(out), "%.*s", (int)strcspn(at, "`"), at);
	return out;
}

static void the_examples_of_docs_naming_md_follow_their_grammars(void **state)
{
	struct test_file page = test_read("docs/naming.md");
	const char *text = (const char *)page.data;
	char grammar[32];

	(void)state;
	assert_true(name_is_bundle(documented(text, "| bundle, object", 2)));
	assert_true(name_is_label(documented(text, "| label of", 2)));
	assert_true(name_is_symbol(documented(text, "| program, parameter", 1)));
	assert_true(name_is_map(documented(text, "| map |", 2)));
	assert_true(name_is_map(documented(text, "| map |", 3)));
	(void)snprintf(grammar, sizeof(grammar), "[2-7][a-z2-7]{%d}", NAME_ID_LEN - 1);
	assert_string_equal(documented(text, "| id of an instance", 1), grammar);
	assert_true(name_is_id(documented(text, "| id of an instance", 2)));
	free(page.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bundle_names_follow_their_grammar),
		cmocka_unit_test(an_id_never_passes_for_a_label),
		cmocka_unit_test(map_names_are_symbols_or_sections),
		cmocka_unit_test(versions_are_three_canonical_numbers),
		cmocka_unit_test(versions_compare_as_numbers),
		cmocka_unit_test(resource_names_read_back_as_written),
		cmocka_unit_test(resource_names_of_no_kind_are_refused),
		cmocka_unit_test(the_longest_resource_name_fits),
		cmocka_unit_test(the_examples_of_docs_naming_md_follow_their_grammars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
