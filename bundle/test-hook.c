#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "bundle/test-file.h"
#include "proto/arena.h"

struct vector {
	int line;
	char *what, *left, *right;
};

/* Calls check for every row of hook-vectors.txt of one of two kinds; returns how many there were.
 */
static int each_vector(const char *one, const char *two, void (*check)(const struct vector *vector))
{
	FILE *file = fopen("bundle/hook-vectors.txt", "re");
	char text[512];
	int line = 0, n = 0;

	assert_non_null(file);
	while (fgets(text, sizeof(text), file) != NULL) {
		struct vector vector = { .line = ++line };
		char *rest = text;

		text[strcspn(text, "\n")] = '\0';
		if (text[0] == '#')
			continue;
		vector.what = strsep(&rest, "\t");
		vector.left = strsep(&rest, "\t");
		vector.right = rest;
		assert_non_null(vector.right);
		if (strcmp(vector.what, one) != 0 && strcmp(vector.what, two) != 0)
			continue;
		n++;
		check(&vector);
	}
	(void)fclose(file);
	return n;
}

static int parse(const struct vector *vector, const char *text, struct hook **ret,
		 struct error *err)
{
	return strcmp(vector->what, "hook") == 0 ? hook_parse(text, ret, err)
						 : hook_parse_pattern(text, ret, err);
}

static void check_text(const struct vector *vector)
{
	_cleanup_(hook_freep) struct hook *hook = NULL, *again = NULL;
	struct error err = { 0 };
	int r = parse(vector, vector->left, &hook, &err);

	if (strncmp(vector->right, "error: ", 7) == 0) {
		if (r == 0 || strstr(err.message, vector->right + 7) == NULL)
			fail_msg("line %d: %s", vector->line,
				 r == 0 ? hook_text(hook) : err.message);
		assert_int_equal(err.code, ERROR_INVALID_HOOK);
		assert_null(hook);
		return;
	}
	if (r < 0)
		fail_msg("line %d: %s", vector->line, err.message);
	assert_string_equal(hook_text(hook), vector->right);
	assert_int_equal(parse(vector, hook_text(hook), &again, NULL), 0);
	assert_true(hook_equal(hook, again));
}

static void every_text_of_the_vectors_has_its_canonical_form_or_error(void **state)
{
	(void)state;
	assert_true(each_vector("hook", "pattern", check_text) > 50);
}

static void check_match(const struct vector *vector)
{
	_cleanup_(hook_freep) struct hook *pattern = NULL, *hook = NULL;

	assert_int_equal(hook_parse_pattern(vector->left, &pattern, NULL), 0);
	assert_int_equal(hook_parse(vector->right, &hook, NULL), 0);
	if (hook_matches(pattern, hook) != (strcmp(vector->what, "match") == 0))
		fail_msg("line %d: %s and %s", vector->line, vector->left, vector->right);
}

static void every_pair_of_the_vectors_matches_or_differs(void **state)
{
	(void)state;
	assert_true(each_vector("match", "differ", check_match) > 10);
}

static void check_message(const struct vector *vector)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(1 << 16);
	_cleanup_(hook_freep) struct hook *hook = NULL, *again = NULL;
	Bpfleet__V1__Hook *message;

	if (hook_parse(vector->left, &hook, NULL) < 0)
		return;
	assert_int_equal(hook_to_message(hook, arena, &message, NULL), 0);
	for (size_t i = 1; i < message->n_options; i++)
		assert_true(strcmp(message->options[i - 1]->key, message->options[i]->key) < 0);
	assert_int_equal(hook_from_message(message, &again, NULL), 0);
	assert_string_equal(hook_text(again), hook_text(hook));
}

static void hooks_survive_the_way_through_a_message(void **state)
{
	(void)state;
	assert_true(each_vector("hook", "hook", check_message) > 20);
}

static void the_parts_of_a_hook_are_unescaped(void **state)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	char symbol[HOOK_SYMBOL_MAX + 1];
	uint64_t offset;

	(void)state;
	assert_int_equal(hook_parse("uprobe:/a%20b:run%2Bx", &hook, NULL), -EINVAL);
	assert_int_equal(hook_parse("uprobe:/a%20b:run+0x1F,pid=7", &hook, NULL), 0);
	assert_int_equal(hook_kind(hook), HOOK_UPROBE);
	assert_string_equal(hook_target(hook), "/a b");
	assert_string_equal(hook_argument(hook), "run+0x1f");
	assert_string_equal(hook_option(hook, "pid"), "7");
	assert_null(hook_option(hook, "mode"));
	hook_split_symbol(hook_argument(hook), symbol, &offset);
	assert_string_equal(symbol, "run");
	assert_int_equal(offset, 0x1f);
	hook_split_symbol("main", symbol, &offset);
	assert_string_equal(symbol, "main");
	assert_int_equal(offset, 0);
}

static int from_parts(const char *kind, const char *target, size_t n_target, const char *key,
		      const char *value, struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	Bpfleet__V1__HookOption option = BPFLEET__V1__HOOK_OPTION__INIT, *options = &option;
	Bpfleet__V1__Hook message = BPFLEET__V1__HOOK__INIT;

	message.kind = (char *)kind;
	message.target.data = (uint8_t *)target;
	message.target.len = n_target;
	option.key = (char *)key;
	option.value.data = (uint8_t *)value;
	option.value.len = strlen(value);
	message.options = &options;
	message.n_options = 1;
	return hook_from_message(&message, &hook, err);
}

static void a_message_is_held_to_the_grammar_too(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(from_parts("tc", "eth0", 4, "direction", "egress", &err), 0);
	assert_int_equal(from_parts("tc", "eth0", 4, "direction", "up", &err), -EINVAL);
	assert_int_equal(from_parts("tc", "eth0", 4, "mode", "native", &err), -EINVAL);
	assert_int_equal(from_parts("tc", "et\0h", 4, "direction", "egress", &err), -EINVAL);
	assert_non_null(strstr(err.message, "NUL"));
	assert_int_equal(from_parts("tc", NULL, 0, "direction", "egress", &err), -EINVAL);
	assert_int_equal(from_parts("td", "eth0", 4, "direction", "egress", &err), -EINVAL);
	assert_non_null(strstr(err.message, "did you mean"));
}

static void a_message_without_its_argument_is_refused(void **state)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	Bpfleet__V1__Hook message = BPFLEET__V1__HOOK__INIT;
	struct error err = { 0 };

	(void)state;
	message.kind = (char *)"tc";
	message.target.data = (uint8_t *)"eth0";
	message.target.len = 4;
	assert_int_equal(hook_from_message(&message, &hook, &err), -EINVAL);
	assert_non_null(strstr(err.message, "the direction is missing"));
}

static void the_page_shows_the_vectors(void **state)
{
	struct test_file vectors = test_read("bundle/hook-vectors.txt");
	struct test_file page = test_read("docs/naming.md");

	(void)state;
	assert_non_null(strstr((char *)page.data, (char *)vectors.data));
	free(vectors.data);
	free(page.data);
}

static void every_kind_has_a_full_row(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < HOOK_N_KINDS; i++) {
		const struct hook_kind_info *info = hook_kind_info((enum hook_kind)i);
		enum hook_kind kind;

		assert_true(hook_kind_from_name(info->name, &kind));
		assert_int_equal(kind, i);
		assert_non_null(info->program_type);
		assert_int_not_equal(info->target_form, HOOK_FORM_NONE);
		assert_int_equal(strncmp(info->usage, info->name, strlen(info->name)), 0);
		/* Canonical text prints options in the table's order, so that must be sorted. */
		for (size_t j = 1; j < HOOK_OPTIONS_MAX && info->options[j].key != NULL; j++)
			assert_true(strcmp(info->options[j - 1].key, info->options[j].key) < 0);
	}
}

static void a_hook_that_is_too_long_is_refused(void **state)
{
	static char text[HOOK_TEXT_MAX + 2];
	struct error err = { 0 };
	struct hook *hook = NULL;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	assert_int_equal(hook_parse(text, &hook, &err), -EINVAL);
	memcpy(text, "uprobe:/", 8);
	memcpy(text + 5000, ":x", 3);
	assert_int_equal(hook_parse(text, &hook, &err), -EINVAL);
	assert_non_null(strstr(err.message, "at most 4095"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_text_of_the_vectors_has_its_canonical_form_or_error),
		cmocka_unit_test(every_pair_of_the_vectors_matches_or_differs),
		cmocka_unit_test(hooks_survive_the_way_through_a_message),
		cmocka_unit_test(the_parts_of_a_hook_are_unescaped),
		cmocka_unit_test(a_message_is_held_to_the_grammar_too),
		cmocka_unit_test(a_message_without_its_argument_is_refused),
		cmocka_unit_test(the_page_shows_the_vectors),
		cmocka_unit_test(every_kind_has_a_full_row),
		cmocka_unit_test(a_hook_that_is_too_long_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
