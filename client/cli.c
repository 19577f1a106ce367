#include "client/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "client/exit.h"
#include "client/interrupt.h"
#include "client/node.h"
#include "client/trial.h"
#include "decode/json.h"
#include "proto/arena.h"
#include "rpc/client.h"

/* ---- errors */

int cli_usage(struct cli *cli, struct error *err, const char *format, ...)
{
	char message[ERROR_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	cli->usage_error = true;
	return error_raise(err, ERROR_INVALID_ARGUMENT, "%s", message);
}

int cli_usage_if(struct cli *cli, int r)
{
	if (r < 0)
		cli->usage_error = true;
	return r;
}

/* What to do next, where the table of errors does not know what the CLI offers. */
struct hint {
	enum error_code code;
	const char *text;
};

static const struct hint hints[] = {
	{ ERROR_UNAVAILABLE,
	  "is bpfleetd running? --socket or $BPFLEET_SOCKET names another socket" },
	{ ERROR_PERMISSION_DENIED,
	  "`bpfleet status` says who you are to the daemon; its policy must allow this" },
	{ ERROR_NOT_FOUND, "`bpfleet list` and `bpfleet list bundles` show what you may see" },
	{ ERROR_VERIFIER_REJECTED,
	  "`bpfleet load NAME --validate-only` shows the end of the verifier's log" },
	{ ERROR_BUNDLE_IN_USE, "`bpfleet list instances --bundle NAME` shows them" },
	{ ERROR_LABEL_IN_USE, "`bpfleet list instances` shows the labels that are taken" },
	{ ERROR_DEADLINE_EXCEEDED, "give it more time with --timeout" },
	{ ERROR_SIGNER_UNTRUSTED, "`bpfleet bundle inspect FILE` shows who signed; the owner of "
				  "the host must trust that key" },
	{ ERROR_REPLACE_REFUSED,
	  "`bpfleet bundle diff OLD NEW` compares the files of both versions, maps included" },
	{ ERROR_KEY_NOT_IN_MAP, "`bpfleet map dump INSTANCE/MAP` shows the keys there are" },
	/* What their rows say after "; " is no advice. */
	{ ERROR_CANCELLED, NULL },
	{ ERROR_OUT_OF_MEMORY, NULL },
	{ ERROR_KERNEL_REFUSED, NULL },
	{ ERROR_LIMIT_EXCEEDED, NULL },
	{ ERROR_CONFIG_INVALID, NULL },
};

/* The CLI's own hint, or what errors.def says after "; "; NULL if nobody has one. */
static const char *hint_of(const struct cli *cli, const struct error *err)
{
	const char *text = strstr(error_info(err->code)->text, "; ");

	/* The log that the hint would send for has just been shown. */
	if (err->code == ERROR_VERIFIER_REJECTED && cli_has(&cli->args, OPTION_VALIDATE_ONLY))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
		if (hints[i].code == err->code)
			return hints[i].text;
	}
	return text == NULL ? NULL : text + 2;
}

static void append_error_json(struct str *s, const struct error *err, int exit_code)
{
	const struct error_info *info = error_info(err->code);

	(void)str_appendf(s, "{\"error\":{\"code\":\"%s\",\"reason\":\"%s\",\"message\":",
			  error_status_name((int)info->status), info->reason);
	(void)str_append_json(s, err->message, SIZE_MAX);
	(void)str_append(s, ",\"metadata\":{");
	for (size_t i = 0; i < err->n_details; i++) {
		(void)str_append(s, i == 0 ? "" : ",");
		(void)str_append_json(s, err->details[i].key, SIZE_MAX);
		(void)str_append(s, ":");
		(void)str_append_json(s, err->details[i].value, SIZE_MAX);
	}
	(void)str_appendf(s, "},\"exitCode\":%d}}\n", exit_code);
}

static void append_error_text(const struct cli *cli, struct str *s, const struct error *err)
{
	const char *hint = hint_of(cli, err), *advice = trial_advice(err);

	(void)str_append(s, "bpfleet: error: ");
	(void)str_append_escaped(s, err->message, SIZE_MAX);
	(void)str_append(s, "\n");
	if (cli->usage_error) {
		if (cli->args.command != NULL)
			(void)str_appendf(s, "  hint: `bpfleet help %s` shows how it is used\n",
					  cli->args.command->name);
		else
			(void)str_append(s, "  hint: `bpfleet help` lists the commands\n");
		return;
	}
	if (err->code == ERROR_VERIFIER_REJECTED)
		trial_append_source(s, err);
	(void)str_appendf(s, "  reason: %s\n", error_info(err->code)->reason);
	for (size_t i = 0; i < err->n_details; i++) {
		if (err->code == ERROR_VERIFIER_REJECTED &&
		    strcmp(err->details[i].key, "program") != 0 &&
		    strcmp(err->details[i].key, "object") != 0)
			continue;
		(void)str_append(s, "  ");
		(void)str_append_escaped(s, err->details[i].key, SIZE_MAX);
		(void)str_append(s, ": ");
		(void)str_append_escaped(s, err->details[i].value, SIZE_MAX);
		(void)str_append(s, "\n");
	}
	if (advice != NULL)
		(void)str_appendf(s, "  hint: %s\n", advice);
	if (hint != NULL)
		(void)str_appendf(s, "  hint: %s\n", hint);
}

void cli_print_error(const struct cli *cli, const struct error *err)
{
	int exit_code = cli->usage_error ? EXIT_CODE_USAGE : (int)exit_code_of(err->code);
	struct str s = { 0 };

	if (cli->json)
		append_error_json(&s, err, exit_code);
	else
		append_error_text(cli, &s, err);
	(void)fflush(cli->out);
	(void)fputs(s.failed ? "bpfleet: error: out of memory\n" : s.data, stderr);
	str_done(&s);
}

void cli_warn(const char *format, ...)
{
	va_list args;

	(void)fputs("bpfleet: warning: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

/* ---- the daemon */

int cli_connect(struct cli *cli, struct error *err)
{
	uint64_t timeout_ms = cli_number(&cli->args, OPTION_TIMEOUT, 0) / NS_PER_MS;
	int r;

	if (cli->node != NULL)
		return 0;
	if (cli_has(&cli->args, OPTION_TIMEOUT) && timeout_ms == 0)
		timeout_ms = 1;
	r = node_open(cli_text(&cli->args, OPTION_SOCKET, NULL),
		      timeout_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout_ms, &cli->node, err);
	return cli_usage_if(cli, r);
}

int cli_arena(struct arena **ret, struct error *err)
{
	struct arena *arena = arena_new(NODE_ARENA_LIMIT);

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	*ret = arena;
	return 0;
}

static void cancel_streams(void *user)
{
	struct cli *cli = user;

	node_cancel(cli->node);
}

static int follow(struct cli *cli, int output_fd, struct error *err)
{
	int r;

	if (cli->interrupt != NULL)
		return 0;
	/* Blocked before the connection has threads, so that they inherit it. */
	interrupt_block();
	r = cli_connect(cli, err);
	if (r < 0)
		return r;
	return interrupt_new(cancel_streams, cli, output_fd, &cli->interrupt, err);
}

int cli_follow(struct cli *cli, struct error *err)
{
	return follow(cli, -1, err);
}

int cli_follow_printing(struct cli *cli, struct error *err)
{
	return follow(cli, fileno(cli->out), err);
}

bool cli_interrupted(const struct cli *cli)
{
	return cli->interrupt != NULL && interrupt_happened(cli->interrupt);
}

bool cli_wait(const struct cli *cli, unsigned int ms)
{
	return interrupt_wait(cli->interrupt, ms);
}

int cli_subscribe(struct cli *cli, const char *method, const ProtobufCMessage *request,
		  uint64_t deadline, struct rpc_stream **ret, struct error *err)
{
	int r;

	r = node_subscribe(cli->node, method, request, deadline, ret, err);
	/* A signal that came before the stream was known to node_cancel(). */
	if (r == 0 && cli_interrupted(cli))
		rpc_stream_cancel(*ret);
	return r;
}

uint64_t cli_deadline(const struct cli *cli)
{
	uint64_t duration = cli_number(&cli->args, OPTION_DURATION, 0);

	return cli_has(&cli->args, OPTION_DURATION) ? clock_monotonic_ns() + duration : UINT64_MAX;
}

int cli_stream_end(const struct cli *cli, int r, uint64_t deadline, struct error *err)
{
	if (r >= 0 || cli_interrupted(cli))
		return 0;
	if (deadline != UINT64_MAX && err->code == ERROR_DEADLINE_EXCEEDED)
		return 0;
	return node_explain(cli->node, r, err);
}

/* ---- output */

int cli_sheet(const struct cli *cli, struct sheet **ret, struct error *err)
{
	struct sheet_options options = { .colour = cli->colour, .width = cli->width };

	*ret = sheet_new(cli->out, &options);
	return *ret == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory") : 0;
}

static int output_failed(int r, struct error *err)
{
	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	return error_raise_errno(err, ERROR_IO, -r, "cannot write the output");
}

int cli_flush(struct sheet *sheet, struct error *err)
{
	int r = sheet_flush(sheet);

	return r < 0 ? output_failed(r, err) : 0;
}

int cli_print_str(const struct cli *cli, struct str *s, struct error *err)
{
	if (s->failed)
		return output_failed(-ENOMEM, err);
	if ((s->len > 0 && fwrite(s->data, 1, s->len, cli->out) != s->len) ||
	    fputc('\n', cli->out) == EOF)
		return output_failed(-errno, err);
	return 0;
}

static int print_json(const struct cli *cli, const ProtobufCMessage *message, unsigned int flags,
		      struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };
	int r;

	r = json_append_message(&s, message, flags, err);
	return r < 0 ? r : cli_print_str(cli, &s, err);
}

int cli_print_message(const struct cli *cli, const ProtobufCMessage *message, struct error *err)
{
	return print_json(cli, message, JSON_DEFAULTS | JSON_PRETTY, err);
}

int cli_print_line(const struct cli *cli, const ProtobufCMessage *message, struct error *err)
{
	int r = print_json(cli, message, JSON_DEFAULTS, err);

	if (r == 0 && fflush(cli->out) != 0)
		r = output_failed(-errno, err);
	return r;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
	va_list args;

	if (cli->json)
		return;
	va_start(args, format);
	(void)vfprintf(cli->out, format, args);
	va_end(args);
	(void)fputc('\n', cli->out);
}
