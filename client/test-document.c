/* Arguments: the repository's docs/cli.md, a scratch folder, the two shipped bundles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/str.h"
#include "bundle/format.h"
#include "bundle/hook.h"
#include "client/commands.h"
#include "client/document.h"
#include "client/exit.h"
#include "client/file.h"
#include "proto/arena.h"

static const char *cli_md, *scratch, *bundles[2];

static void docs_cli_md_is_what_the_table_says(void **state)
{
	_cleanup_(str_done) struct str expected = { 0 };
	_cleanup_free_ uint8_t *page = NULL;
	struct error err = { 0 };
	size_t n;

	(void)state;
	document_markdown(&cli_tables, &expected);
	assert_false(expected.failed);
	if (file_read(cli_md, (size_t)1 << 20, &page, &n, &err) < 0)
		fail_msg("%s", err.message);
	if (strcmp((const char *)page, expected.data) != 0)
		fail_msg("write it anew: bpfleet help --format markdown > docs/cli.md");
}

static void every_command_is_in_the_overview_and_explained(void **state)
{
	_cleanup_(str_done) struct str overview = { 0 };

	(void)state;
	document_overview(&cli_tables, &overview);
	for (const struct cli_command *c = cli_tables.commands; c->name != NULL; c++) {
		_cleanup_(str_done) struct str help = { 0 };

		document_command(&cli_tables, c, &help);
		assert_false(help.failed);
		for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
			assert_non_null(strstr(help.data, o->name));
		if (!c->hidden)
			assert_non_null(strstr(overview.data, c->name));
		for (char *line = help.data; line != NULL; line = strchr(line + 1, '\n'))
			assert_true(strcspn(line + 1, "\n") <= 120);
	}
}

static void the_man_page_names_every_command_and_has_no_stray_requests(void **state)
{
	_cleanup_(str_done) struct str page = { 0 };

	(void)state;
	document_man(&cli_tables, "1.2.3", &page);
	assert_non_null(strstr(page.data, "bpfleet 1.2.3"));
	assert_non_null(strstr(page.data, ".SS map get\n"));
	assert_non_null(strstr(page.data, "\\-\\-durability"));
	for (char *line = page.data; (line = strstr(line, "\n.")) != NULL; line++)
		assert_true(strchr("TSBIP", line[2]) != NULL);
}

/* Runs bash with the completion script and a line; the last word is to be completed. */
static char *complete(const char *words)
{
	_cleanup_(str_done) struct str script = { 0 }, out = { 0 };
	char path[256], command[512], buffer[4096];
	FILE *pipe;
	size_t n;

	document_bash(&cli_tables, &script);
	(void)str_appendf(&script,
			  "bpfleet() { [[ \"$*\" == *complete\\ instances ]] && echo web; }\n"
			  "compopt() { :; }\n"
			  "COMP_WORDS=(bpfleet %s)\nCOMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
			  "_bpfleet\necho \"${COMPREPLY[*]}\"\n",
			  words);
	(void)snprintf(path, sizeof(path), "%s/completion.bash", scratch);
	assert_int_equal(file_write(path, script.data, script.len, 0600, true, NULL), 0);
	(void)snprintf(command, sizeof(command), "bash --noprofile --norc '%s' 2>&1", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	while ((n = fread(buffer, 1, sizeof(buffer), pipe)) > 0)
		(void)str_append_bytes(&out, buffer, n);
	assert_int_equal(pclose(pipe), 0);
	(void)remove(path);
	return str_take(&out);
}

static void assert_completes(const char *words, const char *expected)
{
	_cleanup_free_ char *got = complete(words);

	got[strcspn(got, "\n")] = '\0';
	if (strcmp(got, expected) != 0)
		fail_msg("`bpfleet %s` completes to \"%s\", not to \"%s\"", words, got, expected);
}

static void bash_completes_commands_options_choices_and_names(void **state)
{
	(void)state;
	assert_completes("unl", "unload");
	assert_completes("bund", "bundle");
	assert_completes("bundle s", "sign");
	assert_completes("--output json bundle v", "verify");
	assert_completes("list b", "bundles");
	assert_completes("list --inst", "--instance");
	assert_completes("load x --durability l", "lease");
	assert_completes("--output j", "json");
	assert_completes("unload ''", "web");
	assert_completes("unload web w", "web");
	assert_completes("--socket /x unload w", "web");
	assert_completes("load web ''", "");
	assert_completes("completion ''", "bash");
	assert_completes("comple", "completion");
}

/* ---- examples */

static struct arena *arena;
static Bpfleet__V1__Manifest *manifests[2];

static void read_manifest(const char *path, Bpfleet__V1__Manifest **ret)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	Bpfleet__V1__Bundle *bundle;
	struct error err = { 0 };
	size_t n;

	if (file_read(path, BUNDLE_SIZE_MAX, &bytes, &n, &err) < 0 ||
	    bundle_parse(arena, bytes, n, &bundle, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	*ret = bundle->manifest;
}

/* A program of a shipped bundle that may be attached to the hook. */
static void assert_attachable(const char *program, const char *hook_given)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;

	assert_int_equal(hook_parse(hook_given, &hook, NULL), 0);
	for (size_t m = 0; m < ARRAY_SIZE(manifests); m++) {
		for (size_t i = 0; i < manifests[m]->n_programs; i++) {
			const Bpfleet__V1__ProgramSpec *spec = manifests[m]->programs[i];

			for (size_t k = 0; strcmp(spec->name, program) == 0 && k < spec->n_hooks;
			     k++) {
				_cleanup_(hook_freep) struct hook *pattern = NULL;

				assert_int_equal(hook_parse_pattern(spec->hooks[k], &pattern, NULL),
						 0);
				if (hook_matches(pattern, hook))
					return;
			}
		}
	}
	fail_msg("no shipped program '%s' may be attached to %s", program, hook_given);
}

static void assert_loadable(const struct cli_args *args)
{
	const Bpfleet__V1__Manifest *manifest = NULL;
	const char *name = cli_argument(args, 0);

	for (size_t m = 0; m < ARRAY_SIZE(manifests); m++) {
		if (strcmp(manifests[m]->name, name) == 0)
			manifest = manifests[m];
	}
	if (manifest == NULL)
		fail_msg("no bundle '%s' is shipped", name);
	for (size_t i = 0; i < cli_count(args, OPTION_PARAM); i++) {
		const char *text = cli_nth(args, OPTION_PARAM, i);
		bool found = false;

		for (size_t k = 0; k < manifest->n_parameters; k++)
			found |= strncmp(manifest->parameters[k]->name, text, strcspn(text, "=")) ==
				 0;
		if (!found)
			fail_msg("%s has no parameter for %s", name, text);
	}
	for (size_t i = 0; i < cli_count(args, OPTION_ATTACH); i++) {
		char program[64];
		const char *text = cli_nth(args, OPTION_ATTACH, i);

		(void)snprintf(program, sizeof(program), "%.*s", (int)strcspn(text, "="), text);
		assert_attachable(program, strchr(text, '=') + 1);
	}
}

static void assert_example(const char *text)
{
	char storage[256], *argv[16], *rest = storage, *word;
	struct cli_args args;
	struct error err = { 0 };
	int argc = 0;

	(void)snprintf(storage, sizeof(storage), "%s", text);
	while ((word = strsep(&rest, " ")) != NULL && argc < 16)
		argv[argc++] = word;
	assert_string_equal(argv[0], "bpfleet");
	if (cli_parse(&cli_tables, argc, argv, 0, &args, &err) < 0)
		fail_msg("`%s`: %s", text, err.message);
	if (strcmp(args.command->name, "load") == 0 || strcmp(args.command->name, "run") == 0)
		assert_loadable(&args);
	if (strcmp(args.command->name, "attach") == 0)
		assert_attachable(cli_argument(&args, 1), cli_argument(&args, 2));
	cli_args_done(&args);
}

static void every_example_can_be_typed_with_what_is_shipped(void **state)
{
	unsigned int n = 0;

	(void)state;
	arena = arena_new((size_t)64 << 20);
	assert_non_null(arena);
	read_manifest(bundles[0], &manifests[0]);
	read_manifest(bundles[1], &manifests[1]);
	for (const struct cli_command *c = cli_tables.commands; c->name != NULL; c++) {
		for (const struct cli_example *e = c->examples; e != NULL && e->command != NULL;
		     e++) {
			if (strncmp(e->command, "source ", 7) == 0)
				continue;
			assert_example(e->command);
			n++;
		}
	}
	assert_true(n > 5);
	arena_free(arena);
}

static void every_error_has_a_documented_exit_code(void **state)
{
	(void)state;
	for (unsigned int code = 1; code < ERROR_N_CODES; code++) {
		int exit_code = (int)exit_code_of((enum error_code)code);
		bool documented = false;

		for (unsigned int i = 0; i < n_exit_codes; i++)
			documented |= exit_codes[i].code == exit_code;
		assert_true(documented);
		assert_int_not_equal(exit_code, EXIT_CODE_OK);
		assert_int_not_equal(exit_code, EXIT_CODE_USAGE);
	}
	assert_int_equal(exit_code_of(ERROR_UNAVAILABLE), 3);
	assert_int_equal(exit_code_of(ERROR_PERMISSION_DENIED), 4);
	assert_int_equal(exit_code_of(ERROR_MAP_PRIVATE), 4);
	assert_int_equal(exit_code_of(ERROR_NOT_FOUND), 5);
	assert_int_equal(exit_code_of(ERROR_KEY_NOT_IN_MAP), 5);
	assert_int_equal(exit_code_of(ERROR_SIGNATURE_INVALID), 6);
	assert_int_equal(exit_code_of(ERROR_BUNDLE_UNSIGNED), 6);
	assert_int_equal(exit_code_of(ERROR_DEADLINE_EXCEEDED), 7);
	assert_int_equal(exit_code_of(ERROR_HOOK_BUSY), 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(docs_cli_md_is_what_the_table_says),
		cmocka_unit_test(every_command_is_in_the_overview_and_explained),
		cmocka_unit_test(the_man_page_names_every_command_and_has_no_stray_requests),
		cmocka_unit_test(bash_completes_commands_options_choices_and_names),
		cmocka_unit_test(every_example_can_be_typed_with_what_is_shipped),
		cmocka_unit_test(every_error_has_a_documented_exit_code),
	};

	if (argc != 5)
		return 2;
	cli_md = argv[1];
	scratch = argv[2];
	bundles[0] = argv[3];
	bundles[1] = argv[4];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
