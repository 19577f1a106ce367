#include "client/document.h"

#include <string.h>

#include "client/exit.h"

#define TEXT_WIDTH 96U
#define NAME_COLUMN 26U

static const char intro[] =
	"bpfleet runs signed BPF programs on this host without giving anybody CAP_BPF.";

/* ---- text */

/* Appends words wrapped at TEXT_WIDTH; the cursor stands at column `at`, later lines at `indent`.
 */
static void wrap(struct str *out, const char *text, size_t at, size_t indent)
{
	bool first = true;

	while (*text != '\0') {
		size_t n = strcspn(text, " ");

		if (!first && at + 1 + n > TEXT_WIDTH) {
			(void)str_appendf(out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			(void)str_append(out, " ");
			at++;
		}
		(void)str_append_bytes(out, text, n);
		at += n;
		text += n;
		text += strspn(text, " ");
		first = false;
	}
	(void)str_append(out, "\n");
}

/* A name at column 2 and its text at NAME_COLUMN, below if the name is too long. */
static void row(struct str *out, const char *name, const char *text)
{
	size_t n = 2 + strlen(name);

	(void)str_appendf(out, "  %s", name);
	if (n + 2 > NAME_COLUMN) {
		(void)str_append(out, "\n");
		n = 0;
	}
	(void)str_appendf(out, "%*s", (int)(NAME_COLUMN - n), "");
	wrap(out, text, NAME_COLUMN, NAME_COLUMN);
}

static void append_arguments(const struct cli_command *command, struct str *out)
{
	for (const struct cli_argument *a = command->arguments; a != NULL && a->name != NULL; a++)
		(void)str_appendf(out, a->min == 0 ? " [%s]%s" : " %s%s", a->name,
				  a->max == CLI_MANY ? "..." : "");
}

void document_usage(const struct cli_command *command, struct str *out)
{
	(void)str_appendf(out, "bpfleet %s", command->name);
	if (command->options != NULL)
		(void)str_append(out, " [OPTIONS]");
	append_arguments(command, out);
}

/* "-p, --public-key FILE" */
static void append_option_name(const struct cli_option *option, struct str *out)
{
	if (option->letter != 0)
		(void)str_appendf(out, "-%c, ", option->letter);
	(void)str_appendf(out, "--%s", option->name);
	if (option->type == CLI_CHOICE)
		(void)str_appendf(out, " %s", option->choices);
	else if (option->metavar != NULL)
		(void)str_appendf(out, " %s", option->metavar);
}

/* "read ...; may be repeated (default: x)" */
static void append_option_help(const struct cli_option *option, struct str *out)
{
	(void)str_append(out, option->help);
	if (option->required)
		(void)str_append(out, "; required");
	if (option->repeats)
		(void)str_append(out, "; may be repeated");
	if (option->fallback != NULL)
		(void)str_appendf(out, " (default: %s)", option->fallback);
}

static void append_options(const struct cli_option *options, struct str *out)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		struct str name = { 0 }, help = { 0 };

		append_option_name(o, &name);
		append_option_help(o, &help);
		if (name.failed || help.failed)
			out->failed = true;
		else
			row(out, name.data, help.data);
		str_done(&name);
		str_done(&help);
	}
}

void document_overview(const struct cli_tables *tables, struct str *out)
{
	(void)str_appendf(out, "%s\n\nUsage: bpfleet [OPTIONS] COMMAND ...\n\nCommands:\n", intro);
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (!c->hidden)
			row(out, c->name, c->summary);
	}
	(void)str_append(out, "\nOptions of every command:\n");
	append_options(tables->options, out);
	(void)str_append(out, "\n`bpfleet help COMMAND` explains one command.\n");
}

void document_group(const struct cli_tables *tables, const char *word, struct str *out)
{
	size_t n = strlen(word);

	(void)str_appendf(out, "Commands of `bpfleet %s`:\n", word);
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (!c->hidden && strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
			row(out, c->name, c->summary);
	}
	(void)str_appendf(out, "\n`bpfleet help %s COMMAND` explains one.\n", word);
}

void document_command(const struct cli_tables *tables, const struct cli_command *command,
		      struct str *out)
{
	(void)str_append(out, "Usage: ");
	document_usage(command, out);
	(void)str_append(out, "\n\n");
	wrap(out, command->summary, 0, 0);
	if (command->description != NULL) {
		(void)str_append(out, "\n");
		wrap(out, command->description, 0, 0);
	}
	if (command->arguments != NULL)
		(void)str_append(out, "\nArguments:\n");
	for (const struct cli_argument *a = command->arguments; a != NULL && a->name != NULL; a++)
		row(out, a->name, a->help);
	if (command->options != NULL)
		(void)str_append(out, "\nOptions:\n");
	append_options(command->options, out);
	(void)str_append(out, "\nOptions of every command:\n");
	append_options(tables->options, out);
	if (command->examples != NULL)
		(void)str_append(out, "\nExamples:\n");
	for (const struct cli_example *e = command->examples; e != NULL && e->command != NULL; e++)
		(void)str_appendf(out, "  %s\n      %s\n", e->command, e->text);
}

/* ---- markdown */

/* A table cell: a bar would end it. */
static void append_cell(struct str *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|')
			(void)str_append(out, "\\");
		(void)str_append_bytes(out, text, 1);
	}
}

static void markdown_options(const struct cli_option *options, struct str *out)
{
	(void)str_append(out, "\n| option | meaning |\n|---|---|\n");
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		struct str name = { 0 }, help = { 0 };

		append_option_name(o, &name);
		append_option_help(o, &help);
		if (name.failed || help.failed) {
			out->failed = true;
		} else {
			(void)str_append(out, "| `");
			append_cell(out, name.data);
			(void)str_append(out, "` | ");
			append_cell(out, help.data);
			(void)str_append(out, " |\n");
		}
		str_done(&name);
		str_done(&help);
	}
}

static void markdown_command(const struct cli_command *command, struct str *out)
{
	(void)str_appendf(out, "\n## %s\n\n", command->name);
	(void)str_append(out, "    ");
	document_usage(command, out);
	(void)str_appendf(out, "\n\n%s.", command->summary);
	if (command->description != NULL)
		(void)str_appendf(out, " %s", command->description);
	(void)str_append(out, "\n");
	if (command->arguments != NULL)
		(void)str_append(out, "\n| argument | meaning |\n|---|---|\n");
	for (const struct cli_argument *a = command->arguments; a != NULL && a->name != NULL; a++) {
		(void)str_append(out, "| `");
		append_cell(out, a->name);
		(void)str_append(out, "` | ");
		append_cell(out, a->help);
		if (a->choices != NULL) {
			(void)str_append(out, ": ");
			append_cell(out, a->choices);
		}
		(void)str_append(out, " |\n");
	}
	if (command->options != NULL)
		markdown_options(command->options, out);
	for (const struct cli_example *e = command->examples; e != NULL && e->command != NULL; e++)
		(void)str_appendf(out, "\n`%s`: %s\n", e->command, e->text);
}

static void markdown_reasons(struct str *out)
{
	(void)str_append(out, "\n## Reasons\n\nEvery error has one of these names, in the CLI as "
			      "`reason`, in libbpfleet as `bpfleet_error.reason`, in\ngRPC as the "
			      "reason of ErrorInfo. With \"yes\" the same call may succeed later "
			      "without anybody changing anything.\n\n"
			      "| reason | gRPC status | exit code | retry | meaning |\n"
			      "|---|---|---|---|---|\n");
	for (int code = ERROR_NONE + 1; code < ERROR_N_CODES; code++) {
		const struct error_info *info = error_info((enum error_code)code);

		(void)str_appendf(out, "| %s | %s | %d | %s | ", info->reason,
				  error_status_name((int)info->status),
				  (int)exit_code_of((enum error_code)code),
				  info->retryable ? "yes" : "");
		append_cell(out, info->text);
		(void)str_append(out, " |\n");
	}
}

void document_markdown(const struct cli_tables *tables, struct str *out)
{
	(void)str_appendf(
		out,
		"# bpfleet, the command line\n\n"
		"%s This page is printed by `bpfleet help --format markdown`; a test holds it "
		"to the table in\n`client/commands.c`.\n\n"
		"    bpfleet [OPTIONS] COMMAND ...\n\n"
		"## Options of every command\n",
		intro);
	markdown_options(tables->options, out);
	(void)str_append(out, "\nColours are used on a terminal only, and not when `NO_COLOR` is "
			      "set. Cells are cut "
			      "on a terminal that is too\nnarrow, never otherwise. Whatever comes "
			      "from the kernel or "
			      "from files is escaped.\n\n"
			      "With `--output json` the answers are the messages of "
			      "`proto/bpfleet/v1` as canonical "
			      "proto3 JSON, defaults\nincluded; `map get`, `map dump` print "
			      "`{\"key\": ..., \"value\": "
			      "...}` and `events` one object an event, with\nkeys, values and "
			      "records as their types say (`decode/FORMAT.md`): numbers are JSON "
			      "numbers up to 2^53 - 1,\nwhich every parser keeps, and strings "
			      "above. Errors are one object on standard error:\n`{\"error\": "
			      "{\"code\", \"reason\", "
			      "\"message\", \"metadata\", \"exitCode\"}}`.\n\n"
			      "## Exit codes\n\n| code | meaning |\n|---|---|\n");
	for (unsigned int i = 0; i < n_exit_codes; i++)
		(void)str_appendf(out, "| %d | %s |\n", exit_codes[i].code, exit_codes[i].text);
	markdown_reasons(out);
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (!c->hidden)
			markdown_command(c, out);
	}
}

/* ---- man */

/* Text for roff: backslashes and leading dots and quotes lose their meaning, hyphens stay
 * themselves. */
static void roff(struct str *out, const char *text)
{
	bool line_start = true;

	for (; *text != '\0'; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			(void)str_append(out, "\\&");
		if (*text == '\\')
			(void)str_append(out, "\\e");
		else if (*text == '-')
			(void)str_append(out, "\\-");
		else
			(void)str_append_bytes(out, text, 1);
		line_start = *text == '\n';
	}
}

static void man_options(const struct cli_option *options, struct str *out)
{
	for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
		struct str name = { 0 }, help = { 0 };

		append_option_name(o, &name);
		append_option_help(o, &help);
		if (name.failed || help.failed) {
			out->failed = true;
		} else {
			(void)str_append(out, ".TP\n.B ");
			roff(out, name.data);
			(void)str_append(out, "\n");
			roff(out, help.data);
			(void)str_append(out, "\n");
		}
		str_done(&name);
		str_done(&help);
	}
}

static void man_command(const struct cli_command *command, struct str *out)
{
	(void)str_append(out, ".SS ");
	roff(out, command->name);
	(void)str_append(out, "\n.B bpfleet ");
	roff(out, command->name);
	if (command->options != NULL)
		(void)str_append(out, " [OPTIONS]");
	append_arguments(command, out);
	(void)str_append(out, "\n.PP\n");
	roff(out, command->summary);
	(void)str_append(out, ".\n");
	if (command->description != NULL) {
		roff(out, command->description);
		(void)str_append(out, "\n");
	}
	for (const struct cli_argument *a = command->arguments; a != NULL && a->name != NULL; a++) {
		(void)str_append(out, ".TP\n.I ");
		roff(out, a->name);
		(void)str_append(out, "\n");
		roff(out, a->help);
		(void)str_append(out, "\n");
	}
	man_options(command->options, out);
}

void document_man(const struct cli_tables *tables, const char *version, struct str *out)
{
	(void)str_appendf(out, ".TH BPFLEET 1 \"\" \"bpfleet %s\" \"User Commands\"\n", version);
	(void)str_append(out, ".SH NAME\nbpfleet \\- run signed BPF programs through the bpfleet "
			      "daemon\n.SH SYNOPSIS\n.B bpfleet\n[OPTIONS] COMMAND ...\n"
			      ".SH DESCRIPTION\n");
	roff(out, intro);
	(void)str_append(out, "\n.SH OPTIONS OF EVERY COMMAND\n");
	man_options(tables->options, out);
	(void)str_append(out, ".SH COMMANDS\n");
	for (const struct cli_command *c = tables->commands; c->name != NULL; c++) {
		if (!c->hidden)
			man_command(c, out);
	}
	(void)str_append(out, ".SH EXIT STATUS\n");
	for (unsigned int i = 0; i < n_exit_codes; i++) {
		(void)str_appendf(out, ".TP\n.B %d\n", exit_codes[i].code);
		roff(out, exit_codes[i].text);
		(void)str_append(out, "\n");
	}
	(void)str_append(out, ".SH ENVIRONMENT\n.TP\n.B BPFLEET_SOCKET\nthe daemon's socket\n"
			      ".TP\n.B NO_COLOR\nno colours\n"
			      ".SH SEE ALSO\n.BR minisign (1)\n");
}
