/* The CLI: parse, decide how to print, run the command, turn its result into an exit code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/document.h"
#include "client/exit.h"
#include "client/interrupt.h"
#include "client/node.h"

static bool wants_json(const struct cli_args *args)
{
	return strcmp(cli_text(args, OPTION_OUTPUT, "table"), "json") == 0;
}

static void choose_style(struct cli *cli)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size = { 0 };

	cli->json = wants_json(&cli->args);
	cli->progress = isatty(STDERR_FILENO) == 1;
	if (isatty(STDOUT_FILENO) != 1)
		return;
	cli->colour = (no_colour == NULL || no_colour[0] == '\0') &&
		      (term == NULL || strcmp(term, "dumb") != 0);
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		cli->width = size.ws_col;
}

static int show_help(struct cli *cli, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (cli_has(&cli->args, OPTION_VERSION))
		return cmd_version(cli, err);
	if (cli->args.command == NULL)
		document_overview(&cli_tables, &s);
	else
		document_command(&cli_tables, cli->args.command, &s);
	if (!s.failed)
		s.data[--s.len] = '\0';
	return cli_print_str(cli, &s, err);
}

static int run(struct cli *cli, struct error *err)
{
	int r;

	if (cli_has(&cli->args, OPTION_HELP) || cli_has(&cli->args, OPTION_VERSION))
		r = show_help(cli, err);
	else
		r = cli->args.command->run(cli, err);
	if (r >= 0 && fflush(cli->out) != 0)
		r = error_raise(err, ERROR_IO, "cannot write the output");
	return r;
}

static int exit_code(const struct cli *cli, const struct error *err)
{
	if (cli->usage_error)
		return EXIT_CODE_USAGE;
	if (cli_interrupted(cli))
		return EXIT_CODE_INTERRUPTED;
	return (int)exit_code_of(err->code);
}

int main(int argc, char **argv)
{
	struct cli cli = { .out = stdout };
	struct error err = { 0 };
	int r;

	r = cli_parse(&cli_tables, argc, argv, clock_realtime_ns(), &cli.args, &err);
	choose_style(&cli);
	if (r < 0)
		cli.usage_error = err.code == ERROR_INVALID_ARGUMENT;
	else
		r = run(&cli, &err);
	if (r < 0) {
		cli_print_error(&cli, &err);
		r = exit_code(&cli, &err);
	}
	interrupt_free(cli.interrupt);
	node_close(cli.node);
	cli_args_done(&cli.args);
	return r;
}
