/*
 * What every command of the CLI works with: the parsed line, where output goes and how it looks,
 * the connection, Ctrl-C. A command returns an exit code (0 or above), or a negative errno with the
 * error filled, which main() prints.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "client/args.h"
#include "client/ref.h"
#include "client/sheet.h"

struct arena;
struct error;
struct interrupt;
struct node;
struct rpc_stream;
struct str;

struct cli {
	struct cli_args args;
	bool json;
	bool colour;
	bool progress; /* stderr is a terminal */
	unsigned int width;
	FILE *out;
	struct node *node;	     /* NULL until cli_connect() */
	struct interrupt *interrupt; /* NULL unless cli_follow() */
	bool usage_error;	     /* the failure is one of the command line */
};

/* ---- errors */

/* As error_raise() with INVALID_ARGUMENT, and the process will exit with 2. */
_must_check_ int cli_usage(struct cli *cli, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for an error raised already: `return cli_usage_if(cli, ref_map(...))`. */
int cli_usage_if(struct cli *cli, int r);

/* Prints an error on stderr: line, reason, details, hint; JSON with --output json. Not for OK. */
void cli_print_error(const struct cli *cli, const struct error *err);
/* "bpfleet: warning: ..." on stderr. The text must be printable. */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the daemon */

/* Opens the connection of the command line's socket, once. */
_must_check_ int cli_connect(struct cli *cli, struct error *err);

/* A new arena for answers; OUT_OF_MEMORY. */
_must_check_ int cli_arena(struct arena **ret, struct error *err);

/*
 * For commands that go on until Ctrl-C: from now on SIGINT and SIGTERM cancel the streams of the
 * node and set cli_interrupted(). A later one ends the process. Connects.
 */
_must_check_ int cli_follow(struct cli *cli, struct error *err);
/* The same, and so does a reader of stdout that goes away, which counts as a success. */
_must_check_ int cli_follow_printing(struct cli *cli, struct error *err);
bool cli_interrupted(const struct cli *cli);
/* Waits that long or until a signal; true if there was one. Only after cli_follow(). */
bool cli_wait(const struct cli *cli, unsigned int ms);
/* Opens a stream with its one request; CANCELLED at once after a signal. */
_must_check_ int cli_subscribe(struct cli *cli, const char *method, const ProtobufCMessage *request,
			       uint64_t deadline, struct rpc_stream **ret, struct error *err);

/* When --duration is over, as a deadline; UINT64_MAX without it. */
uint64_t cli_deadline(const struct cli *cli);
/*
 * What the end of a followed stream means, r being what ended it: 0 for a signal, for a deadline of
 * --duration that has passed, and for the stream's own end; else the error.
 */
_must_check_ int cli_stream_end(const struct cli *cli, int r, uint64_t deadline, struct error *err);

/* ---- output */

/* A sheet for stdout in this command line's style; OUT_OF_MEMORY. */
_must_check_ int cli_sheet(const struct cli *cli, struct sheet **ret, struct error *err);
/* Prints what is left of it. */
_must_check_ int cli_flush(struct sheet *sheet, struct error *err);
/* A message as one JSON document on stdout. */
_must_check_ int cli_print_message(const struct cli *cli, const ProtobufCMessage *message,
				   struct error *err);
/* The same as one line, for streams; flushed. */
_must_check_ int cli_print_line(const struct cli *cli, const ProtobufCMessage *message,
				struct error *err);
/* Text and a newline on stdout, freed by the caller; checks s for failed allocations. */
_must_check_ int cli_print_str(const struct cli *cli, struct str *s, struct error *err);
/* A sentence about what was done; printed unless --output json. The text must be printable. */
void cli_say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
