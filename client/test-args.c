#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/args.h"
#include "client/commands.h"

#define NOW_NS (UINT64_C(1800000000) * NS_PER_SEC)
#define WORDS_MAX 16

struct line {
	struct cli_args args;
	struct error err;
	int r;
};

/* Parses "bpfleet TEXT", split at spaces; the words live in `storage`. */
static struct line parse(const char *text, char storage[static 256])
{
	char *argv[WORDS_MAX] = { (char *)"bpfleet" }, *rest = storage, *word;
	struct line line = { 0 };
	int argc = 1;

	(void)snprintf(storage, 256, "%s", text);
	while ((word = strsep(&rest, " ")) != NULL && argc < WORDS_MAX)
		argv[argc++] = word;
	line.r = cli_parse(&cli_tables, argc, argv, NOW_NS, &line.args, &line.err);
	return line;
}

static void assert_refused(const char *text, const char *message)
{
	char storage[256];
	struct line line = parse(text, storage);

	assert_true(line.r < 0);
	assert_int_equal(line.err.code, ERROR_INVALID_ARGUMENT);
	if (strstr(line.err.message, message) == NULL)
		fail_msg("`%s`: \"%s\" does not say \"%s\"", text, line.err.message, message);
	cli_args_done(&line.args);
}

static void a_line_gives_its_command_arguments_and_options(void **state)
{
	char storage[256];
	struct line line = parse("--output json load packet_count@1.2.3 --param a=1 --label web "
				 "--param b=x=y --durability=boot",
				 storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_string_equal(line.args.command->name, "load");
	assert_int_equal(line.args.n_arguments, 1);
	assert_string_equal(cli_argument(&line.args, 0), "packet_count@1.2.3");
	assert_null(cli_argument(&line.args, 1));
	assert_string_equal(cli_text(&line.args, OPTION_OUTPUT, NULL), "json");
	assert_string_equal(cli_text(&line.args, OPTION_LABEL, NULL), "web");
	assert_string_equal(cli_text(&line.args, OPTION_DURABILITY, NULL), "boot");
	assert_int_equal(cli_count(&line.args, OPTION_PARAM), 2);
	assert_string_equal(cli_nth(&line.args, OPTION_PARAM, 0), "a=1");
	assert_string_equal(cli_nth(&line.args, OPTION_PARAM, 1), "b=x=y");
	assert_null(cli_nth(&line.args, OPTION_PARAM, 2));
	assert_false(cli_has(&line.args, OPTION_TTL));
	assert_int_equal(cli_number(&line.args, OPTION_TTL, 5), 5);
	cli_args_done(&line.args);
}

static void a_command_of_two_words_is_found_with_options_between(void **state)
{
	char storage[256];
	struct line line =
		parse("bundle --output json verify -pone.pub -p two.pub x.bpfb", storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_string_equal(line.args.command->name, "bundle verify");
	assert_int_equal(cli_count(&line.args, OPTION_PUBLIC_KEY), 2);
	assert_string_equal(cli_nth(&line.args, OPTION_PUBLIC_KEY, 0), "one.pub");
	assert_string_equal(cli_nth(&line.args, OPTION_PUBLIC_KEY, 1), "two.pub");
	cli_args_done(&line.args);
}

static void letters_of_flags_may_share_a_word(void **state)
{
	char storage[256];
	struct line line = parse("key generate -Wfs secret", storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_true(cli_has(&line.args, OPTION_NO_PASSWORD));
	assert_true(cli_has(&line.args, OPTION_FORCE));
	assert_string_equal(cli_text(&line.args, OPTION_SECRET_KEY, NULL), "secret");
	cli_args_done(&line.args);
}

static void after_two_dashes_everything_is_an_argument(void **state)
{
	char storage[256];
	struct line line = parse("map get web/counts -- -1 --output -", storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_int_equal(line.args.n_arguments, 4);
	assert_string_equal(cli_argument(&line.args, 1), "-1");
	assert_string_equal(cli_argument(&line.args, 2), "--output");
	cli_args_done(&line.args);
}

static void a_negative_number_is_an_argument_where_no_option_is_called_so(void **state)
{
	char storage[256];
	struct line line = parse("map set web/counts 1 -5", storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_string_equal(cli_argument(&line.args, 2), "-5");
	cli_args_done(&line.args);
	assert_refused("map set web/counts 1 -x", "there is no option '-x'");
}

static void numbers_durations_and_times_are_converted(void **state)
{
	char storage[256];
	struct line line = parse("audit --limit 0x10 --since 10m --until 2026-11-23T06:18:00.5Z "
				 "--timeout 1m30s",
				 storage);

	(void)state;
	assert_int_equal(line.r, 0);
	assert_int_equal(cli_number(&line.args, OPTION_LIMIT, 0), 16);
	assert_true(cli_number(&line.args, OPTION_SINCE, 0) == NOW_NS - 600 * NS_PER_SEC);
	assert_true(cli_number(&line.args, OPTION_UNTIL, 0) ==
		    UINT64_C(1795414680) * NS_PER_SEC + NS_PER_SEC / 2);
	assert_true(cli_number(&line.args, OPTION_TIMEOUT, 0) == 90 * NS_PER_SEC);
	cli_args_done(&line.args);
}

static void help_asks_for_nothing_else(void **state)
{
	static const char *const lines[] = { "--help",	       "-h",
					     "bundle sign -h", "bundle --help",
					     "attach --help",  "--version" };
	char storage[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct line line = parse(lines[i], storage);

		assert_int_equal(line.r, 0);
		assert_true(cli_has(&line.args, OPTION_HELP) ||
			    cli_has(&line.args, OPTION_VERSION));
		cli_args_done(&line.args);
	}
}

static void what_is_wrong_with_a_line_is_said(void **state)
{
	(void)state;
	assert_refused("laod x", "did you mean 'load'?");
	assert_refused("bundel build", "did you mean 'bundle'?");
	assert_refused("zzzzzz", "there is no command 'zzzzzz'");
	assert_refused("bundle", "'bundle' needs one of: build, sign, verify, inspect, diff");
	assert_refused("bundle sgin x", "did you mean 'sign'?");
	assert_refused("map", "get, dump, set, push, pop, open, delete");
	assert_refused("load", "'load' needs NAME[@VERSION]");
	assert_refused("attach web prog", "'attach' needs HOOK");
	assert_refused("load a b", "does not know what to do with 'b'");
	assert_refused("load a --lable x", "did you mean '--label'?");
	assert_refused("--lable x load a", "before the command");
	assert_refused("load a --label", "--label needs a value");
	assert_refused("load a --label x --label y", "--label is given twice");
	assert_refused("load a --validate-only=1", "takes no value");
	assert_refused("load a --param x", "--param takes NAME=VALUE");
	assert_refused("load a --param =x", "--param takes NAME=VALUE");
	assert_refused("load a --ttl 10", "--ttl takes a duration");
	assert_refused("load a --ttl 10parsecs", "--ttl takes a duration");
	assert_refused("load a --durability eternal", "one of persistent, boot, lease");
	assert_refused("load a --durability leese", "did you mean 'lease'?");
	assert_refused("events a --count many", "--count takes a number");
	assert_refused("events a --count -1", "--count takes a number");
	assert_refused("audit --since yesterday", "--since takes a time");
	assert_refused("list instance", "did you mean 'instances'?");
	assert_refused("list everything", "KIND is one of instances, bundles");
	assert_refused("bundle sign x", "'bundle sign' needs --secret-key");
	assert_refused("status -q", "there is no option '-q'");
	assert_refused("", "there is no command ''");
}

static void an_empty_line_lacks_a_command(void **state)
{
	char *argv[] = { (char *)"bpfleet", NULL };
	struct error err = { 0 };
	struct cli_args args;

	(void)state;
	assert_true(cli_parse(&cli_tables, 1, argv, NOW_NS, &args, &err) < 0);
	assert_string_equal(err.message, "a command is missing");
	cli_args_done(&args);
}

static void control_characters_of_a_line_are_escaped_in_messages(void **state)
{
	char *argv[] = { (char *)"bpfleet", (char *)"lo\x1b[2Jad", NULL };
	struct error err = { 0 };
	struct cli_args args;

	(void)state;
	assert_true(cli_parse(&cli_tables, 2, argv, NOW_NS, &args, &err) < 0);
	assert_null(strchr(err.message, '\x1b'));
	assert_non_null(strstr(err.message, "lo\\x1b[2Jad"));
	cli_args_done(&args);
}

static void suggestions_are_near_or_unique_beginnings(void **state)
{
	static const char *const names[] = { "load", "unload", "list", "instances", NULL };

	(void)state;
	assert_string_equal(cli_suggest("laod", names), "load");
	assert_string_equal(cli_suggest("unlaod", names), "unload");
	assert_string_equal(cli_suggest("inst", names), "instances");
	assert_null(cli_suggest("l", names));
	assert_null(cli_suggest("wholly-else", names));
}

/* ---- the table */

static void check_option(const struct cli_command *command, const struct cli_option *option)
{
	const char *name = command == NULL ? "(every command)" : command->name;

	if ((option->type == CLI_FLAG) != (option->metavar == NULL))
		fail_msg("%s --%s: flags have no metavar, others have", name, option->name);
	if ((option->type == CLI_CHOICE) != (option->choices != NULL))
		fail_msg("%s --%s: choices go with CLI_CHOICE", name, option->name);
	if (option->help == NULL || option->help[0] == '\0')
		fail_msg("%s --%s has no help", name, option->name);
	for (const struct cli_option *o = cli_tables.options; command != NULL && o->name != NULL;
	     o++) {
		if (strcmp(o->name, option->name) == 0 ||
		    (o->letter != 0 && o->letter == option->letter))
			fail_msg("%s --%s hides an option of every command", name, option->name);
	}
}

static void check_command(const struct cli_command *command)
{
	bool optional = false;

	assert_non_null(command->run);
	assert_true(command->summary[0] != '\0');
	assert_true(command->summary[strlen(command->summary) - 1] != '.');
	for (const struct cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
		check_option(command, o);
		for (const struct cli_option *p = command->options; p != o; p++) {
			if (strcmp(p->name, o->name) == 0 || p->id == o->id ||
			    (p->letter != 0 && p->letter == o->letter))
				fail_msg("%s: --%s and --%s collide", command->name, p->name,
					 o->name);
		}
	}
	for (const struct cli_argument *a = command->arguments; a != NULL && a->name != NULL; a++) {
		assert_true(a->help[0] != '\0' && a->max >= 1 && a->min <= a->max);
		/* Otherwise which word belongs to which argument is a guess. */
		if (optional || (a->max == CLI_MANY && a[1].name != NULL))
			fail_msg("%s: %s cannot be told from its neighbour", command->name,
				 a->name);
		optional = a->min == 0;
	}
}

static void every_row_of_the_table_is_coherent(void **state)
{
	(void)state;
	for (const struct cli_option *o = cli_tables.options; o->name != NULL; o++)
		check_option(NULL, o);
	for (const struct cli_command *c = cli_tables.commands; c->name != NULL; c++) {
		check_command(c);
		assert_ptr_equal(cli_command_find(&cli_tables, c->name), c);
	}
}

/* A letter that takes a value in one command and none in another would mislead the completion. */
static void a_letter_takes_a_value_everywhere_or_nowhere(void **state)
{
	int takes_value[128];

	(void)state;
	memset(takes_value, -1, sizeof(takes_value));
	for (const struct cli_command *c = cli_tables.commands; c->name != NULL; c++) {
		for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
			int value = o->type != CLI_FLAG;

			if (o->letter == 0)
				continue;
			if (takes_value[(int)o->letter] == !value)
				fail_msg("%s: -%c", c->name, o->letter);
			takes_value[(int)o->letter] = value;
		}
	}
}

/* Every option of every command, parsed for real. */
static void every_option_can_be_given(void **state)
{
	static const char *const values[] = {
		[CLI_TEXT] = "x",      [CLI_FILE] = "x",  [CLI_NUMBER] = "1",
		[CLI_DURATION] = "1s", [CLI_TIME] = "1s", [CLI_ASSIGNMENT] = "a=b",
	};
	unsigned int n = 0;

	(void)state;
	for (const struct cli_command *c = cli_tables.commands; c->name != NULL; c++) {
		for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++) {
			char text[256], storage[256], choice[64];
			struct line line;

			(void)snprintf(choice, sizeof(choice), "%.*s",
				       (int)strcspn(o->choices == NULL ? "" : o->choices, "|"),
				       o->choices == NULL ? "" : o->choices);
			(void)snprintf(text, sizeof(text), "%s --%s%s%s --help", c->name, o->name,
				       o->type == CLI_FLAG ? "" : " ",
				       o->type == CLI_FLAG     ? ""
				       : o->type == CLI_CHOICE ? choice
							       : values[o->type]);
			line = parse(text, storage);
			if (line.r < 0 || !cli_has(&line.args, o->id))
				fail_msg("`%s`: %s", text, line.err.message);
			cli_args_done(&line.args);
			n++;
		}
	}
	assert_true(n > 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_gives_its_command_arguments_and_options),
		cmocka_unit_test(a_command_of_two_words_is_found_with_options_between),
		cmocka_unit_test(letters_of_flags_may_share_a_word),
		cmocka_unit_test(after_two_dashes_everything_is_an_argument),
		cmocka_unit_test(a_negative_number_is_an_argument_where_no_option_is_called_so),
		cmocka_unit_test(numbers_durations_and_times_are_converted),
		cmocka_unit_test(help_asks_for_nothing_else),
		cmocka_unit_test(what_is_wrong_with_a_line_is_said),
		cmocka_unit_test(an_empty_line_lacks_a_command),
		cmocka_unit_test(control_characters_of_a_line_are_escaped_in_messages),
		cmocka_unit_test(suggestions_are_near_or_unique_beginnings),
		cmocka_unit_test(every_row_of_the_table_is_coherent),
		cmocka_unit_test(a_letter_takes_a_value_everywhere_or_nowhere),
		cmocka_unit_test(every_option_can_be_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
