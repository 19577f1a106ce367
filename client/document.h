/* The table of commands as text: help, docs/cli.md, the man page, bash completion. Pure functions.
 */
#pragma once

#include "base/str.h"
#include "client/args.h"

/* All append; a failed allocation shows as out->failed. */

/* `bpfleet help`: all commands in one screen. */
void document_overview(const struct cli_tables *tables, struct str *out);
/* `bpfleet help COMMAND`. */
void document_command(const struct cli_tables *tables, const struct cli_command *command,
		      struct str *out);
/* `bpfleet help GROUP`: the commands that begin with the word. */
void document_group(const struct cli_tables *tables, const char *word, struct str *out);
/* "bpfleet load [OPTIONS] NAME[@VERSION]" */
void document_usage(const struct cli_command *command, struct str *out);

void document_markdown(const struct cli_tables *tables, struct str *out);
void document_man(const struct cli_tables *tables, const char *version, struct str *out);
void document_bash(const struct cli_tables *tables, struct str *out);
