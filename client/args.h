/*
 * The command line as data: what a command, an argument and an option are, and the one parser for
 * all of them. Nothing here prints or touches the outside; errors say what to type instead.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct cli;
struct error;

enum cli_type {
	CLI_FLAG,
	CLI_TEXT,
	CLI_FILE,
	CLI_NUMBER,	/* unsigned, decimal or 0x... */
	CLI_DURATION,	/* "500ms", "1h30m"; number in ns */
	CLI_TIME,	/* RFC 3339, or a duration ago; number in UTC ns */
	CLI_CHOICE,	/* one of `choices` */
	CLI_ASSIGNMENT, /* NAME=VALUE, NAME not empty */
};

/* What the shell offers for an argument or a value. */
enum cli_complete {
	CLI_COMPLETE_NONE,
	CLI_COMPLETE_FILE,
	CLI_COMPLETE_CHOICES,
	CLI_COMPLETE_COMMAND,
	CLI_COMPLETE_BUNDLE,
	CLI_COMPLETE_INSTANCE,
	CLI_COMPLETE_MAP,
	CLI_COMPLETE_LINK,
};

enum cli_option_id {
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_OUTPUT,
	OPTION_SOCKET,
	OPTION_SOCKET_FD,
	OPTION_TIMEOUT,
	OPTION_ATTACH,
	OPTION_BUNDLE,
	OPTION_COMMENT,
	OPTION_COUNT,
	OPTION_ONCE,
	OPTION_DRY_RUN,
	OPTION_DURABILITY,
	OPTION_DURATION,
	OPTION_FILE,
	OPTION_FILTER,
	OPTION_FOLLOW,
	OPTION_FORCE,
	OPTION_FORMAT,
	OPTION_IDENTITY,
	OPTION_INSTANCE,
	OPTION_LABEL,
	OPTION_LIMIT,
	OPTION_NAME,
	OPTION_NO_PASSWORD,
	OPTION_OBJECT,
	OPTION_OBJECT_DIR,
	OPTION_OUT,
	OPTION_OUTCOME,
	OPTION_PARAM,
	OPTION_PASSWORD_FILE,
	OPTION_PER_CPU,
	OPTION_PUBLIC_KEY,
	OPTION_RATE,
	OPTION_SAMPLE,
	OPTION_SECRET_KEY,
	OPTION_SIGNATURE,
	OPTION_SINCE,
	OPTION_CONTEXT,
	OPTION_SINCE_REVISION,
	OPTION_THRESHOLD,
	OPTION_TTL,
	OPTION_SOAK,
	OPTION_RESET_MAP,
	OPTION_FORGET_PARAMETERS,
	OPTION_UNTIL,
	OPTION_VALIDATE_ONLY,
	OPTION_VERB,
	OPTION_INTERVAL,
	OPTION_SORT,
	OPTION_MAX_MEMORY,
	OPTION_MAX_NS_PER_RUN,
	OPTION_MAX_CPU,
	OPTION_MAX_EVENTS,
	OPTION_MAX_EVENT_BYTES,
	OPTION_N_IDS,
};

struct cli_option {
	enum cli_option_id id;
	const char *name; /* without dashes */
	char letter;	  /* 0: none */
	enum cli_type type;
	bool repeats;
	bool required;
	const char *metavar;  /* NULL for flags */
	const char *choices;  /* of CLI_CHOICE: "table|json" */
	const char *fallback; /* what holds without it, for the help; NULL: nothing to say */
	const char *help;
};

/* Positional arguments; a list ends at a NULL name. */
struct cli_argument {
	const char *name;
	unsigned int min;
	unsigned int max; /* CLI_MANY: any number; only of the last argument */
	enum cli_complete complete;
	const char *choices;
	const char *help;
};
#define CLI_MANY 1024U

struct cli_example {
	const char *command;
	const char *text;
};

struct cli_command {
	const char *name; /* "bundle build" */
	const char *summary;
	const char *description; /* paragraphs, blank lines between; NULL: the summary says it */
	const struct cli_argument *arguments;
	const struct cli_option *options;   /* ends at a NULL name; NULL: none */
	const struct cli_example *examples; /* ends at a NULL command; NULL: none */
	int (*run)(struct cli *cli, struct error *err);
	bool hidden;
};

/* One option as given. */
struct cli_value {
	const struct cli_option *option;
	const char *text; /* NULL for flags; of argv */
	uint64_t number;  /* of numbers, durations, times */
};

/* A parsed command line; points into argv and the tables. */
struct cli_args {
	const struct cli_command *command; /* NULL: only with help or version asked for */
	struct cli_value *values;
	size_t n_values;
	const char **arguments;
	size_t n_arguments;
};

struct cli_tables {
	const struct cli_command *commands; /* ends at a NULL name */
	const struct cli_option *options;   /* of every command; ends at a NULL name */
};

/*
 * Parses argv[1..]. now_ns is what CLI_TIME counts from. Free with cli_args_done(), also after a
 * failure. With --help nothing more is demanded of the line. Errors: INVALID_ARGUMENT.
 */
_must_check_ int cli_parse(const struct cli_tables *tables, int argc, char **argv, uint64_t now_ns,
			   struct cli_args *ret, struct error *err);
void cli_args_done(struct cli_args *args);

/* The last value of an option, NULL if it was not given. */
const struct cli_value *cli_find(const struct cli_args *args, enum cli_option_id id);
bool cli_has(const struct cli_args *args, enum cli_option_id id);
const char *cli_text(const struct cli_args *args, enum cli_option_id id, const char *fallback);
uint64_t cli_number(const struct cli_args *args, enum cli_option_id id, uint64_t fallback);
/* How often it was given, and the i-th text. */
size_t cli_count(const struct cli_args *args, enum cli_option_id id);
const char *cli_nth(const struct cli_args *args, enum cli_option_id id, size_t i);
/* The i-th positional argument, NULL beyond the last. */
const char *cli_argument(const struct cli_args *args, size_t i);

/* The command of that name, hidden ones too; NULL. */
const struct cli_command *cli_command_find(const struct cli_tables *tables, const char *name);
/* Whether some command begins with this word and another one: "bundle". */
bool cli_is_group(const struct cli_tables *tables, const char *word);
/* INVALID_ARGUMENT: there is no such command (of the group; NULL: none was given), but a near one.
 */
int cli_unknown_command(const struct cli_tables *tables, const char *word, struct error *err);
int cli_unknown_in_group(const struct cli_tables *tables, const char *group, const char *word,
			 struct error *err);

/*
 * The candidate nearest to what was typed, NULL when none is near enough to be meant. Candidates
 * end at NULL.
 */
const char *cli_suggest(const char *typed, const char *const *candidates);
