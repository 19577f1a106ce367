#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/version.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/document.h"

static void without_last_newline(struct str *s)
{
	if (!s->failed && s->len > 0 && s->data[s->len - 1] == '\n')
		s->data[--s->len] = '\0';
}

static int print_document(const struct cli *cli, struct str *s, struct error *err)
{
	without_last_newline(s);
	return cli_print_str(cli, s, err);
}

/* Help on "load", "bundle build" or "bundle"; the words as they were given. */
static int help_on(struct cli *cli, const char *word, const char *second, struct error *err)
{
	const struct cli_command *command;
	_cleanup_(str_done) struct str s = { 0 };
	char name[96];

	(void)snprintf(name, sizeof(name), "%.40s%s%.40s", word, second == NULL ? "" : " ",
		       second == NULL ? "" : second);
	command = cli_command_find(&cli_tables, name);
	if (command != NULL)
		document_command(&cli_tables, command, &s);
	else if (second == NULL && cli_is_group(&cli_tables, word))
		document_group(&cli_tables, word, &s);
	else if (cli_is_group(&cli_tables, word))
		return cli_usage_if(cli, cli_unknown_in_group(&cli_tables, word, second, err));
	else
		return cli_usage_if(cli, cli_unknown_command(&cli_tables, word, err));
	return print_document(cli, &s, err);
}

int cmd_help(struct cli *cli, struct error *err)
{
	const char *format = cli_text(&cli->args, OPTION_FORMAT, "text");
	const char *word = cli_argument(&cli->args, 0);
	_cleanup_(str_done) struct str s = { 0 };

	if (strcmp(format, "markdown") == 0)
		document_markdown(&cli_tables, &s);
	else if (strcmp(format, "man") == 0)
		document_man(&cli_tables, BPFLEET_VERSION, &s);
	else if (word != NULL)
		return help_on(cli, word, cli_argument(&cli->args, 1), err);
	else
		document_overview(&cli_tables, &s);
	return print_document(cli, &s, err);
}

int cmd_version(struct cli *cli, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_appendf(&s, cli->json ? "{\"version\":\"%s\"}" : "bpfleet %s", BPFLEET_VERSION);
	return cli_print_str(cli, &s, err);
}

int cmd_completion(struct cli *cli, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	document_bash(&cli_tables, &s);
	return print_document(cli, &s, err);
}
