/* The bash completion script: the tables as shell case branches. */
#include <string.h>

#include "client/document.h"

static const char head[] =
	"# bash completion for bpfleet; printed by `bpfleet completion bash`\n"
	"_bpfleet() {\n"
	"\tlocal cur prev words cword word command= kind= i n=0\n"
	"\tcur=${COMP_WORDS[COMP_CWORD]}\n"
	"\tprev=${COMP_WORDS[COMP_CWORD-1]}\n"
	"\tCOMPREPLY=()\n"
	"\t# The command's words, and how many arguments stand before the cursor.\n"
	"\tlocal positional=()\n"
	"\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	"\t\tword=${COMP_WORDS[i]}\n"
	"\t\tif _bpfleet_takes_value \"$word\"; then\n"
	"\t\t\t((i++))\n"
	"\t\telif [[ $word != -* ]]; then\n"
	"\t\t\tpositional+=(\"$word\")\n"
	"\t\tfi\n"
	"\tdone\n"
	"\tcase ${positional[0]} in\n";

static const char tail[] =
	"\tesac\n"
	"\tif [[ $cur == -* ]]; then\n"
	"\t\tCOMPREPLY=($(compgen -W \"$(_bpfleet_options \"$command\")\" -- \"$cur\"))\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tkind=$(_bpfleet_value \"$command\" \"$prev\")\n"
	"\t[[ -n $kind ]] || kind=$(_bpfleet_argument \"$command\" \"$n\")\n"
	"\tcase $kind in\n"
	"\tfile) compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
	"\twords:*) COMPREPLY=($(compgen -W \"${kind#words:}\" -- \"$cur\")) ;;\n"
	"\tnames:*) COMPREPLY=($(compgen -W \"$(bpfleet --timeout 1s complete \"${kind#names:}\" "
	"2>/dev/null)\" -- \"$cur\")) ;;\n"
	"\tesac\n"
	"}\n"
	"complete -F _bpfleet bpfleet\n";

static bool is_first_of_group(const struct cli_tables *tables, const struct cli_command *command)
{
	size_t n = strcspn(command->name, " ");

	if (command->name[n] == '\0')
		return false;
	for (const struct cli_command *c = tables->commands; c != command; c++) {
		if (strncmp(c->name, command->name, n + 1) == 0)
			return false;
	}
	return true;
}

/* Space-separated first words, or second words of a group (`group` of length n). */
static void append_words(const struct cli_tables *tables, const char *group, size_t n,
			 struct str *out)
{
	const char *separator = "";

	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		size_t first = strcspn(c->name, " ");

		if (c->hidden)
			continue;
		if (group != NULL) {
			if (first != n || c->name[n] == '\0' || strncmp(c->name, group, n) != 0)
				continue;
			(void)str_appendf(out, "%s%s", separator, c->name + n + 1);
		} else {
			if (c->name[first] != '\0' && !is_first_of_group(tables, c))
				continue;
			(void)str_appendf(out, "%s%.*s", separator, (int)first, c->name);
		}
		separator = " ";
	}
}

static void append_spaced(const char *choices, struct str *out)
{
	for (; *choices != '\0'; choices++)
		(void)str_append_bytes(out, *choices == '|' ? " " : choices, 1);
}

static void takes_value_row(const struct cli_option *options, struct str *out)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		if (o->type == CLI_FLAG)
			continue;
		(void)str_appendf(out, "|--%s", o->name);
		if (o->letter != 0)
			(void)str_appendf(out, "|-%c", o->letter);
	}
}

/* Whether a word is an option that the next word belongs to. A letter may mean a flag elsewhere;
 * then the long form decides, since only long options are offered. */
static void append_takes_value(const struct cli_tables *tables, struct str *out)
{
	(void)str_append(out, "_bpfleet_takes_value() {\n\tcase $1 in\n\t--");
	takes_value_row(tables->options, out);
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++)
		takes_value_row(c->options, out);
	(void)str_append(out, ") return 0 ;;\n\tesac\n\treturn 1\n}\n");
}

static void append_option_words(const struct cli_option *options, struct str *out)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++)
		(void)str_appendf(out, " --%s", o->name);
}

static void append_options_function(const struct cli_tables *tables, struct str *out)
{
	(void)str_append(out, "_bpfleet_options() {\n\tcase $1 in\n");
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (c->options == NULL || c->hidden)
			continue;
		(void)str_appendf(out, "\t\"%s\") echo \"", c->name);
		append_option_words(c->options, out);
		(void)str_append(out, "\" ;;\n");
	}
	(void)str_append(out, "\tesac\n\techo \"");
	append_option_words(tables->options, out);
	(void)str_append(out, "\"\n}\n");
}

static void value_row(const char *command, const struct cli_option *option, struct str *out)
{
	if (option->type != CLI_FILE && option->type != CLI_CHOICE)
		return;
	(void)str_appendf(out, "\t\"%s --%s\"", command, option->name);
	if (option->letter != 0)
		(void)str_appendf(out, "|\"%s -%c\"", command, option->letter);
	(void)str_append(out, ") echo \"");
	if (option->type == CLI_FILE) {
		(void)str_append(out, "file");
	} else {
		(void)str_append(out, "words:");
		append_spaced(option->choices, out);
	}
	(void)str_append(out, "\" ;;\n");
}

static void append_value_function(const struct cli_tables *tables, struct str *out)
{
	(void)str_append(out, "_bpfleet_value() {\n\tcase \"$1 $2\" in\n");
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		for (const struct cli_option *o = c->options; o != NULL && o->name != NULL; o++)
			value_row(c->name, o, out);
	}
	(void)str_append(out, "\tesac\n\tcase $2 in\n");
	for (const struct cli_option *o = tables->options; o->name != NULL; o++) {
		if (o->type != CLI_FILE && o->type != CLI_CHOICE)
			continue;
		(void)str_appendf(out, "\t--%s) echo \"", o->name);
		if (o->type == CLI_FILE)
			(void)str_append(out, "file");
		else
			(void)str_append(out, "words:");
		if (o->type == CLI_CHOICE)
			append_spaced(o->choices, out);
		(void)str_append(out, "\" ;;\n");
	}
	(void)str_append(out, "\tesac\n}\n");
}

static void append_kind(const struct cli_tables *tables, const struct cli_argument *argument,
			struct str *out)
{
	switch (argument->complete) {
	case CLI_COMPLETE_FILE:
		(void)str_append(out, "file");
		break;
	case CLI_COMPLETE_CHOICES:
		(void)str_append(out, "words:");
		append_spaced(argument->choices, out);
		break;
	case CLI_COMPLETE_COMMAND:
		(void)str_append(out, "words:");
		append_words(tables, NULL, 0, out);
		break;
	case CLI_COMPLETE_BUNDLE:
		(void)str_append(out, "names:bundles");
		break;
	case CLI_COMPLETE_INSTANCE:
		(void)str_append(out, "names:instances");
		break;
	case CLI_COMPLETE_MAP:
		(void)str_append(out, "names:maps");
		break;
	case CLI_COMPLETE_LINK:
		(void)str_append(out, "names:links");
		break;
	case CLI_COMPLETE_NONE:
	default:
		break;
	}
}

static void append_argument_function(const struct cli_tables *tables, struct str *out)
{
	(void)str_append(out,
			 "_bpfleet_argument() {\n\tcase \"$1 $2\" in\n\t\" 0\") echo \"words:");
	append_words(tables, NULL, 0, out);
	(void)str_append(out, "\" ;;\n");
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		unsigned int at = 0;

		if (is_first_of_group(tables, c)) {
			size_t n = strcspn(c->name, " ");

			(void)str_appendf(out, "\t\"%.*s 0\") echo \"words:", (int)n, c->name);
			append_words(tables, c->name, n, out);
			(void)str_append(out, "\" ;;\n");
		}
		for (const struct cli_argument *a = c->arguments;
		     !c->hidden && a != NULL && a->name != NULL; a++) {
			if (a->complete == CLI_COMPLETE_NONE) {
				at += a->max;
				continue;
			}
			if (a->max == CLI_MANY)
				(void)str_appendf(out, "\t\"%s \"*) echo \"", c->name);
			else
				(void)str_appendf(out, "\t\"%s %u\") echo \"", c->name, at);
			append_kind(tables, a, out);
			(void)str_append(out, "\" ;;\n");
			at += a->max;
		}
	}
	(void)str_append(out, "\tesac\n}\n");
}

void document_bash(const struct cli_tables *tables, struct str *out)
{
	append_takes_value(tables, out);
	append_options_function(tables, out);
	append_value_function(tables, out);
	append_argument_function(tables, out);
	(void)str_append(out, head);
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		size_t n = strcspn(c->name, " ");

		if (is_first_of_group(tables, c))
			(void)str_appendf(out,
					  "\t%.*s) command=${positional[0]}; n=0\n"
					  "\t\tif [[ ${#positional[@]} -gt 1 ]]; then\n"
					  "\t\t\tcommand+=\" ${positional[1]}\"; "
					  "n=$((${#positional[@]} - 2))\n"
					  "\t\tfi ;;\n",
					  (int)n, c->name);
	}
	(void)str_append(out, "\t?*) command=${positional[0]}; n=$((${#positional[@]} - 1)) ;;\n");
	(void)str_append(out, tail);
}
