#include "client/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/units.h"

#define CANDIDATES_MAX 128

struct parser {
	const struct cli_tables *tables;
	char **argv;
	int argc;
	int at;
	uint64_t now_ns;
	struct cli_args *out;
	struct error *err;
};

/* What the user typed, made safe for a message; cut. */
struct typed {
	char text[160];
};

static struct typed typed(const char *text)
{
	struct typed out = { "" };
	struct str s = { 0 };

	if (str_append_escaped(&s, text, SIZE_MAX) == 0 && s.len > 0)
		(void)snprintf(out.text, sizeof(out.text), "%s", s.data);
	str_done(&s);
	return out;
}

/* ---- suggestions */

const char *cli_suggest(const char *typed_text, const char *const *candidates)
{
	unsigned int limit = (unsigned int)(strlen(typed_text) / 3), best = UINT32_MAX;
	const char *found = NULL;

	if (limit < 1)
		limit = 1;
	if (limit > 3)
		limit = 3;
	for (size_t i = 0; candidates[i] != NULL; i++) {
		unsigned int distance = str_distance(typed_text, candidates[i]);

		if (distance < best) {
			best = distance;
			found = candidates[i];
		}
	}
	if (best <= limit)
		return found;
	/* A beginning of exactly one candidate is meant too: "inst" for "instances". */
	found = NULL;
	for (size_t i = 0; candidates[i] != NULL; i++) {
		if (strlen(typed_text) < 2 ||
		    strncmp(candidates[i], typed_text, strlen(typed_text)) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = candidates[i];
	}
	return found;
}

/* "; did you mean 'load'?" or nothing. */
static struct typed did_you_mean(const char *text, const char *const *candidates,
				 const char *prefix)
{
	const char *found = cli_suggest(text, candidates);
	struct typed out = { "" };

	if (found != NULL)
		(void)snprintf(out.text, sizeof(out.text), "; did you mean '%s%s'?", prefix, found);
	return out;
}

/* ---- commands */

const struct cli_command *cli_command_find(const struct cli_tables *tables, const char *name)
{
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static bool in_group(const struct cli_command *command, const char *word)
{
	size_t n = strlen(word);

	return strncmp(command->name, word, n) == 0 && command->name[n] == ' ';
}

bool cli_is_group(const struct cli_tables *tables, const char *word)
{
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (in_group(c, word))
			return true;
	}
	return false;
}

int cli_unknown_command(const struct cli_tables *tables, const char *word, struct error *err)
{
	char firsts[CANDIDATES_MAX][32];
	const char *candidates[CANDIDATES_MAX + 1];
	size_t n = 0;

	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (c->hidden || n == CANDIDATES_MAX)
			continue;
		(void)snprintf(firsts[n], sizeof(firsts[n]), "%.*s", (int)strcspn(c->name, " "),
			       c->name);
		candidates[n] = firsts[n];
		n++;
	}
	candidates[n] = NULL;
	return error_raise(err, ERROR_INVALID_ARGUMENT, "there is no command '%s'%s",
			   typed(word).text, did_you_mean(word, candidates, "").text);
}

int cli_unknown_in_group(const struct cli_tables *tables, const char *group, const char *word,
			 struct error *err)
{
	const char *candidates[CANDIDATES_MAX + 1];
	_cleanup_(str_done) struct str all = { 0 };
	size_t n = 0;

	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (c->hidden || !in_group(c, group) || n == CANDIDATES_MAX)
			continue;
		candidates[n] = c->name + strlen(group) + 1;
		(void)str_appendf(&all, "%s%s", n == 0 ? "" : ", ", candidates[n]);
		n++;
	}
	candidates[n] = NULL;
	if (all.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (word == NULL)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "'%s' needs one of: %s", group,
				   all.data);
	return error_raise(err, ERROR_INVALID_ARGUMENT, "'%s' has no command '%s'%s", group,
			   typed(word).text, did_you_mean(word, candidates, "").text);
}

/* ---- options */

static const struct cli_option *option_named(const struct cli_option *options, const char *name,
					     size_t n)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
			return o;
	}
	return NULL;
}

static const struct cli_option *option_lettered(const struct cli_option *options, char letter)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		if (o->letter == letter)
			return o;
	}
	return NULL;
}

static const struct cli_option *command_options(const struct parser *p)
{
	return p->out->command == NULL ? NULL : p->out->command->options;
}

static int unknown_option(const struct parser *p, const char *name)
{
	const char *candidates[CANDIDATES_MAX + 1];
	size_t n = 0;

	for (const struct cli_option *o = command_options(p); o != NULL && o->name != NULL; o++) {
		if (n < CANDIDATES_MAX)
			candidates[n++] = o->name;
	}
	for (const struct cli_option *o = p->tables->options; o->name != NULL; o++) {
		if (n < CANDIDATES_MAX)
			candidates[n++] = o->name;
	}
	candidates[n] = NULL;
	if (p->out->command == NULL)
		return error_raise(p->err, ERROR_INVALID_ARGUMENT,
				   "there is no option '--%s' before the command%s",
				   typed(name).text, did_you_mean(name, candidates, "--").text);
	return error_raise(p->err, ERROR_INVALID_ARGUMENT, "'%s' has no option '--%s'%s",
			   p->out->command->name, typed(name).text,
			   did_you_mean(name, candidates, "--").text);
}

static int bad_choice(const struct parser *p, const char *what, const char *choices,
		      const char *text)
{
	char copy[256], *rest = copy, *word;
	const char *candidates[CANDIDATES_MAX + 1];
	_cleanup_(str_done) struct str all = { 0 };
	size_t n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", choices);
	while ((word = strsep(&rest, "|")) != NULL && n < CANDIDATES_MAX) {
		(void)str_appendf(&all, "%s%s", n == 0 ? "" : ", ", word);
		candidates[n++] = word;
	}
	candidates[n] = NULL;
	if (all.failed)
		return error_raise(p->err, ERROR_OUT_OF_MEMORY, "out of memory");
	return error_raise(p->err, ERROR_INVALID_ARGUMENT, "%s is one of %s, not '%s'%s", what,
			   all.data, typed(text).text, did_you_mean(text, candidates, "").text);
}

static bool is_choice(const char *choices, const char *text)
{
	size_t n = strlen(text);

	for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
		if (*at == '|')
			at++;
		if (strncmp(at, text, n) == 0 && (at[n] == '|' || at[n] == '\0'))
			return true;
	}
	return false;
}

/* Checks the text of a value and fills its number. */
static int interpret(const struct parser *p, struct cli_value *value)
{
	const struct cli_option *o = value->option;
	const char *text = value->text, *expected = NULL;
	char what[80];
	int r = 0;

	switch (o->type) {
	case CLI_FLAG:
	case CLI_TEXT:
	case CLI_FILE:
		return 0;
	case CLI_CHOICE:
		(void)snprintf(what, sizeof(what), "--%s", o->name);
		return is_choice(o->choices, text) ? 0 : bad_choice(p, what, o->choices, text);
	case CLI_ASSIGNMENT:
		r = text[0] == '=' || strchr(text, '=') == NULL ? -EINVAL : 0;
		expected = o->metavar;
		break;
	case CLI_NUMBER:
		r = str_to_u64(text, UINT64_MAX, &value->number);
		expected = "a number";
		break;
	case CLI_DURATION:
		r = units_parse_duration(text, &value->number);
		expected = "a duration such as 500ms, 10s or 1h30m";
		break;
	case CLI_TIME:
		r = units_parse_time(text, p->now_ns, &value->number);
		expected = "a time such as 2026-11-23T06:18:00Z, or how long ago, such as 10m";
		break;
	default:
		break;
	}
	if (r < 0)
		return error_raise(p->err, ERROR_INVALID_ARGUMENT, "--%s takes %s, not '%s'",
				   o->name, expected, typed(text).text);
	return 0;
}

static int add_value(struct parser *p, const struct cli_option *option, const char *text)
{
	struct cli_value value = { .option = option, .text = text };
	int r;

	if (!option->repeats && cli_has(p->out, option->id))
		return error_raise(p->err, ERROR_INVALID_ARGUMENT, "--%s is given twice",
				   option->name);
	if (text != NULL) {
		r = interpret(p, &value);
		if (r < 0)
			return r;
	}
	p->out->values[p->out->n_values++] = value;
	return 0;
}

static int missing_value(const struct parser *p, const struct cli_option *option)
{
	return error_raise(p->err, ERROR_INVALID_ARGUMENT, "--%s needs a value: --%s %s",
			   option->name, option->name, option->metavar);
}

static int parse_long(struct parser *p, const char *word)
{
	const char *name = word + 2, *equals = strchr(name, '=');
	size_t n = equals == NULL ? strlen(name) : (size_t)(equals - name);
	const struct cli_option *option = option_named(command_options(p), name, n);
	char shown[64];

	if (option == NULL)
		option = option_named(p->tables->options, name, n);
	if (option == NULL) {
		(void)snprintf(shown, sizeof(shown), "%.*s", (int)(n > 60 ? 60 : n), name);
		return unknown_option(p, shown);
	}
	if (option->type == CLI_FLAG) {
		if (equals != NULL)
			return error_raise(p->err, ERROR_INVALID_ARGUMENT, "--%s takes no value",
					   option->name);
		return add_value(p, option, NULL);
	}
	if (equals != NULL)
		return add_value(p, option, equals + 1);
	if (p->at >= p->argc)
		return missing_value(p, option);
	return add_value(p, option, p->argv[p->at++]);
}

/* "-p FILE", "-pFILE", and several flags in one word. */
static int parse_letters(struct parser *p, const char *word)
{
	int r;

	for (const char *c = word + 1; *c != '\0'; c++) {
		const struct cli_option *option = option_lettered(command_options(p), *c);
		char letter[2] = { *c, '\0' };

		if (option == NULL)
			option = option_lettered(p->tables->options, *c);
		if (option == NULL)
			return error_raise(p->err, ERROR_INVALID_ARGUMENT,
					   "there is no option '-%s'; see `bpfleet help`",
					   typed(letter).text);
		if (option->type != CLI_FLAG) {
			if (c[1] != '\0')
				return add_value(p, option, c + 1);
			if (p->at >= p->argc)
				return missing_value(p, option);
			return add_value(p, option, p->argv[p->at++]);
		}
		r = add_value(p, option, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- lines */

/* The next word that is not an option before the command; NULL at the end. */
static int next_word(struct parser *p, const char **ret)
{
	int r;

	while (p->at < p->argc) {
		const char *word = p->argv[p->at++];

		if (word[0] != '-' || word[1] == '\0') {
			*ret = word;
			return 0;
		}
		r = word[1] == '-' ? parse_long(p, word) : parse_letters(p, word);
		if (r < 0)
			return r;
	}
	*ret = NULL;
	return 0;
}

static bool asks_for_help(const struct cli_args *args)
{
	return cli_has(args, OPTION_HELP) || cli_has(args, OPTION_VERSION);
}

static int parse_command(struct parser *p)
{
	const char *word, *second;
	char name[128];
	int r;

	r = next_word(p, &word);
	if (r < 0)
		return r;
	if (word == NULL)
		return asks_for_help(p->out) ? 0
					     : error_raise(p->err, ERROR_INVALID_ARGUMENT,
							   "a command is missing");
	p->out->command = cli_command_find(p->tables, word);
	if (p->out->command != NULL)
		return 0;
	if (!cli_is_group(p->tables, word))
		return cli_unknown_command(p->tables, word, p->err);
	r = next_word(p, &second);
	if (r < 0)
		return r;
	if (second == NULL)
		return asks_for_help(p->out) ? 0
					     : cli_unknown_in_group(p->tables, word, NULL, p->err);
	(void)snprintf(name, sizeof(name), "%s %.60s", word, second);
	p->out->command = cli_command_find(p->tables, name);
	return p->out->command == NULL ? cli_unknown_in_group(p->tables, word, second, p->err) : 0;
}

/* "-5" is a number where no option is called so. */
static bool is_negative(const struct parser *p, const char *word)
{
	return isdigit((unsigned char)word[1]) &&
	       option_lettered(command_options(p), word[1]) == NULL &&
	       option_lettered(p->tables->options, word[1]) == NULL;
}

static int parse_rest(struct parser *p)
{
	bool only_arguments = false;
	int r;

	while (p->at < p->argc) {
		const char *word = p->argv[p->at++];

		if (only_arguments || word[0] != '-' || word[1] == '\0' || is_negative(p, word)) {
			p->out->arguments[p->out->n_arguments++] = word;
			continue;
		}
		if (strcmp(word, "--") == 0) {
			only_arguments = true;
			continue;
		}
		r = word[1] == '-' ? parse_long(p, word) : parse_letters(p, word);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_arguments(const struct parser *p)
{
	const struct cli_command *command = p->out->command;
	const struct cli_argument *argument;
	size_t at = 0, n = p->out->n_arguments;

	for (argument = command->arguments; argument != NULL && argument->name != NULL;
	     argument++) {
		size_t take = n - at < argument->max ? n - at : argument->max;

		if (take < argument->min)
			return error_raise(p->err, ERROR_INVALID_ARGUMENT, "'%s' needs %s: %s",
					   command->name, argument->name, argument->help);
		for (size_t i = at; argument->choices != NULL && i < at + take; i++) {
			const char *text = p->out->arguments[i];

			if (!is_choice(argument->choices, text))
				return bad_choice(p, argument->name, argument->choices, text);
		}
		at += take;
	}
	if (at < n)
		return error_raise(p->err, ERROR_INVALID_ARGUMENT,
				   "'%s' does not know what to do with '%s'", command->name,
				   typed(p->out->arguments[at]).text);
	return 0;
}

static int check_required(const struct parser *p)
{
	for (const struct cli_option *o = command_options(p); o != NULL && o->name != NULL; o++) {
		if (o->required && !cli_has(p->out, o->id))
			return error_raise(p->err, ERROR_INVALID_ARGUMENT, "'%s' needs --%s %s: %s",
					   p->out->command->name, o->name, o->metavar, o->help);
	}
	return 0;
}

int cli_parse(const struct cli_tables *tables, int argc, char **argv, uint64_t now_ns,
	      struct cli_args *ret, struct error *err)
{
	struct parser parser = {
		.tables = tables,
		.argv = argv,
		.argc = argc,
		.at = 1,
		.now_ns = now_ns,
		.out = ret,
		.err = err,
	};
	size_t n = 1;
	int r;

	/* No word makes more than one argument, and no letter more than one value. */
	for (int i = 1; i < argc; i++)
		n += strlen(argv[i]) + 1;
	*ret = (struct cli_args){ 0 };
	ret->values = calloc(n, sizeof(*ret->values));
	ret->arguments = calloc((size_t)argc + 1, sizeof(*ret->arguments));
	if (ret->values == NULL || ret->arguments == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = parse_command(&parser);
	if (r == 0)
		r = parse_rest(&parser);
	if (r < 0 || asks_for_help(ret))
		return r;
	r = check_arguments(&parser);
	return r < 0 ? r : check_required(&parser);
}

void cli_args_done(struct cli_args *args)
{
	free(args->values);
	free(args->arguments);
	*args = (struct cli_args){ 0 };
}

/* ---- reading */

const struct cli_value *cli_find(const struct cli_args *args, enum cli_option_id id)
{
	const struct cli_value *found = NULL;

	for (size_t i = 0; i < args->n_values; i++) {
		if (args->values[i].option->id == id)
			found = &args->values[i];
	}
	return found;
}

bool cli_has(const struct cli_args *args, enum cli_option_id id)
{
	return cli_find(args, id) != NULL;
}

const char *cli_text(const struct cli_args *args, enum cli_option_id id, const char *fallback)
{
	const struct cli_value *value = cli_find(args, id);

	return value == NULL ? fallback : value->text;
}

uint64_t cli_number(const struct cli_args *args, enum cli_option_id id, uint64_t fallback)
{
	const struct cli_value *value = cli_find(args, id);

	return value == NULL ? fallback : value->number;
}

size_t cli_count(const struct cli_args *args, enum cli_option_id id)
{
	size_t n = 0;

	for (size_t i = 0; i < args->n_values; i++)
		n += args->values[i].option->id == id;
	return n;
}

const char *cli_nth(const struct cli_args *args, enum cli_option_id id, size_t i)
{
	for (size_t at = 0; at < args->n_values; at++) {
		if (args->values[at].option->id == id && i-- == 0)
			return args->values[at].text;
	}
	return NULL;
}

const char *cli_argument(const struct cli_args *args, size_t i)
{
	return i < args->n_arguments ? args->arguments[i] : NULL;
}
