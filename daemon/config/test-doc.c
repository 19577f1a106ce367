#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/config/doc.h"

static int parse(const char *text, struct doc **ret, struct error *err)
{
	return doc_parse("f.yaml", text, strlen(text), ret, err);
}

static void maps_lists_and_scalars_keep_their_lines(void **state)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	const struct doc_node *list;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse("a: 1\nb:\n  - x\n  - {c: y}\n", &doc, &err), 0);
	assert_int_equal(doc->root->kind, DOC_MAP);
	assert_string_equal(doc_get(doc->root, "a")->text, "1");
	list = doc_get(doc->root, "b");
	assert_int_equal(list->n, 2);
	assert_int_equal(list->values[0]->line, 3);
	assert_string_equal(doc_get(list->values[1], "c")->text, "y");
	assert_null(doc_get(doc->root, "z"));
	assert_null(doc_get(list, "a"));
}

static void an_empty_file_has_no_root(void **state)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;

	(void)state;
	assert_int_equal(parse("# nothing\n", &doc, NULL), 0);
	assert_null(doc->root);
}

static void what_is_not_plain_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text;
		const char *message;
	} cases[] = {
		{ "a: 1\nb: &x 2\n", "f.yaml:2: anchors and tags are not allowed" },
		{ "a: !!int 1\n", "f.yaml:1: anchors and tags are not allowed" },
		{ "a: &x {b: 1}\n", "f.yaml:1: anchors and tags are not allowed" },
		{ "- &x [1]\n", "f.yaml:1: anchors and tags are not allowed" },
		{ "a: 1\nb: *x\n", "f.yaml:2: aliases are not allowed" },
		{ "a: 1\nb: 2\na: 3\n", "f.yaml:3: this key appears twice" },
		{ "? [a]\n: 1\n", "f.yaml:1: a key must be plain text" },
		{ "a: 1\n---\nb: 2\n", "f.yaml:2: only one document is allowed" },
		{ "a: \"x\\0y\"\n", "f.yaml:1: text must not hold a NUL byte" },
		{ "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "f.yaml:1: nested too deep" },
	};
	struct doc *doc = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = { 0 };

		assert_int_equal(parse(cases[i].text, &doc, &err), -EINVAL);
		assert_int_equal(err.code, ERROR_CONFIG_INVALID);
		assert_string_equal(err.message, cases[i].message);
		assert_null(doc);
	}
}

static void broken_syntax_names_the_line(void **state)
{
	struct error err = { 0 };
	struct doc *doc = NULL;

	(void)state;
	assert_int_equal(parse("a: 1\nb: [1, 2\nc: }\n", &doc, &err), -EINVAL);
	assert_int_equal(strncmp(err.message, "f.yaml:3: ", 10), 0);
}

static void size_and_number_of_entries_are_bounded(void **state)
{
	_cleanup_free_ char *text = malloc(DOC_SIZE_MAX + 1);
	struct error err = { 0 };
	struct doc *doc = NULL;

	(void)state;
	assert_non_null(text);
	memset(text, ' ', DOC_SIZE_MAX + 1);
	assert_int_equal(doc_parse("f", text, DOC_SIZE_MAX + 1, &doc, &err), -EINVAL);
	for (size_t i = 0; i <= DOC_NODES_MAX; i++)
		memcpy(text + 4 * i, "- a\n", 4);
	assert_int_equal(doc_parse("f", text, (size_t)4 * DOC_NODES_MAX, &doc, &err), -EINVAL);
	assert_non_null(strstr(err.message, "too many entries"));
	assert_int_equal(doc_parse("f", text, (size_t)4 * (DOC_NODES_MAX - 1), &doc, &err), 0);
	assert_int_equal(doc->root->n, DOC_NODES_MAX - 1);
	doc_free(doc);
}

static void an_unknown_key_is_refused_with_the_nearest_known_one(void **state)
{
	static const char *const known[] = { "state_dir", "run_dir" };
	_cleanup_(doc_freep) struct doc *doc = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(parse("run_dir: a\nstate_dri: b\n", &doc, &err), 0);
	assert_int_equal(doc_check_keys(doc, doc->root, known, 2, &err), -EINVAL);
	assert_string_equal(err.message,
			    "f.yaml:2: unknown key 'state_dri'; did you mean 'state_dir'?");
	assert_int_equal(doc_check_keys(doc, doc_get(doc->root, "run_dir"), known, 2, &err),
			 -EINVAL);
}

static void numbers_and_texts_are_checked(void **state)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	const struct doc_node *root;
	const char *text = NULL;
	uint64_t number = 7;

	(void)state;
	assert_int_equal(parse("n: 12\nx: 12k\ne: ''\nl: [a, b]\nbad: [a, [b]]\n", &doc, NULL), 0);
	root = doc->root;
	assert_int_equal(doc_number(doc, doc_get(root, "n"), "n", 1, 12, &number, NULL), 0);
	assert_int_equal(number, 12);
	assert_int_equal(doc_number(doc, doc_get(root, "n"), "n", 1, 11, &number, NULL), -EINVAL);
	assert_int_equal(doc_number(doc, doc_get(root, "n"), "n", 13, 99, &number, NULL), -EINVAL);
	assert_int_equal(doc_number(doc, doc_get(root, "x"), "x", 0, 99, &number, NULL), -EINVAL);
	assert_int_equal(doc_number(doc, doc_get(root, "l"), "l", 0, 99, &number, NULL), -EINVAL);
	assert_int_equal(number, 12);
	assert_int_equal(doc_text(doc, doc_get(root, "e"), "e", &text, NULL), -EINVAL);
	assert_int_equal(doc_text(doc, doc_get(root, "x"), "x", &text, NULL), 0);
	assert_string_equal(text, "12k");
}

static void a_list_of_texts_is_copied_or_refused_whole(void **state)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	char **strings = NULL;
	size_t n = 0;

	(void)state;
	assert_int_equal(parse("l: [a, b]\nbad: [a, [b]]\nnone: []\n", &doc, NULL), 0);
	assert_int_equal(doc_strings(doc, doc_get(doc->root, "bad"), "bad", &strings, &n, NULL),
			 -EINVAL);
	assert_int_equal(doc_strings(doc, doc_get(doc->root, "none"), "none", &strings, &n, NULL),
			 -EINVAL);
	assert_null(strings);
	assert_int_equal(doc_strings(doc, doc_get(doc->root, "l"), "l", &strings, &n, NULL), 0);
	assert_int_equal(n, 2);
	assert_string_equal(strings[1], "b");
	doc_strings_free(strings, n);
}

static void only_a_file_that_root_alone_can_write_is_read(void **state)
{
	char folder[] = "/tmp/bpfleet-yaml-XXXXXX";
	char path[64];
	_cleanup_(doc_freep) struct doc *doc = NULL;
	struct error err = { 0 };
	FILE *file;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/f.yaml", folder);
	assert_int_equal(doc_load(path, &doc, &err), -EINVAL);
	assert_int_equal(err.sys_errno, ENOENT);
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs("a: 1\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0664), 0);
	assert_int_equal(doc_load(path, &doc, &err), -EINVAL);
	assert_non_null(strstr(err.message, "mode 0664"));
	assert_int_equal(chmod(path, 0602), 0);
	assert_int_equal(doc_load(path, &doc, &err), -EINVAL);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(doc_load(path, &doc, &err), -EINVAL);
	assert_non_null(strstr(err.message, "owned by uid 12345"));
	assert_int_equal(chown(path, 0, 0), 0);
	assert_int_equal(doc_load(path, &doc, &err), 0);
	assert_string_equal(doc_get(doc->root, "a")->text, "1");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_int_equal(doc_load(path, &doc, &err), -EINVAL);
	assert_non_null(strstr(err.message, "not a regular file"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_lists_and_scalars_keep_their_lines),
		cmocka_unit_test(an_empty_file_has_no_root),
		cmocka_unit_test(what_is_not_plain_is_refused_with_its_line),
		cmocka_unit_test(broken_syntax_names_the_line),
		cmocka_unit_test(size_and_number_of_entries_are_bounded),
		cmocka_unit_test(an_unknown_key_is_refused_with_the_nearest_known_one),
		cmocka_unit_test(numbers_and_texts_are_checked),
		cmocka_unit_test(a_list_of_texts_is_copied_or_refused_whole),
		cmocka_unit_test(only_a_file_that_root_alone_can_write_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
