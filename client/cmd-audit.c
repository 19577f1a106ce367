#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"

#define FOLLOW_PAUSE_MS 1000U

struct audit {
	struct cli *cli;
	struct sheet *sheet;
	bool follow;
	uint64_t last_sequence;
	uint64_t last_at_ns;
};

static char *text(const struct cli *cli, enum cli_option_id id)
{
	return (char *)cli_text(&cli->args, id, "");
}

static void fill(const struct cli *cli, Bpfleet__V1__QueryAuditRequest *request)
{
	request->identity = text(cli, OPTION_IDENTITY);
	request->verb = text(cli, OPTION_VERB);
	request->object = text(cli, OPTION_OBJECT);
	request->outcome = text(cli, OPTION_OUTCOME);
	request->since_ns = cli_number(&cli->args, OPTION_SINCE, 0);
	request->until_ns = cli_number(&cli->args, OPTION_UNTIL, 0);
}

static void duration_cell(struct sheet *sheet, uint64_t ns)
{
	struct str s = { 0 };

	if (ns > 0)
		(void)units_append_duration(&s, ns);
	sheet_take(sheet, &s);
}

static void add_row(struct sheet *sheet, const Bpfleet__V1__AuditRow *row)
{
	enum sheet_colour colour = strcmp(row->outcome, "ok") == 0 ? SHEET_PLAIN : SHEET_BAD;
	struct str time = { 0 };

	(void)units_append_time(&time, row->at_ns);
	sheet_textf(sheet, "%" PRIu64, row->sequence);
	sheet_take(sheet, &time);
	sheet_text(sheet, row->identity);
	sheet_text(sheet, row->verb);
	sheet_text(sheet, row->object);
	sheet_coloured(sheet, colour, row->outcome);
	sheet_text(sheet, row->reason);
	if (row->count > 1)
		sheet_textf(sheet, "%u", row->count);
	else
		sheet_text(sheet, "");
	duration_cell(sheet, row->duration_ns);
	sheet_text(sheet, row->signers);
	sheet_text(sheet, row->detail);
}

/* Who follows gets every column at once, wide enough for most rows that are to come. */
static void add_column(const struct audit *audit, const char *title, unsigned int flags,
		       size_t width)
{
	sheet_column(audit->sheet, title,
		     audit->follow ? flags & ~(unsigned int)SHEET_OPTIONAL : flags);
	if (audit->follow)
		sheet_widen(audit->sheet, width);
}

static int make_sheet(struct audit *audit, struct error *err)
{
	int r = cli_sheet(audit->cli, &audit->sheet, err);

	if (r < 0)
		return r;
	add_column(audit, "SEQ", SHEET_RIGHT, 6);
	add_column(audit, "TIME", 0, strlen("2026-11-23 06:18:00Z"));
	add_column(audit, "IDENTITY", 0, strlen("uid:1000"));
	add_column(audit, "VERB", 0, strlen("attach"));
	add_column(audit, "OBJECT", SHEET_CUT, strlen("instances/") + NAME_ID_LEN);
	add_column(audit, "OUTCOME", 0, strlen("denied"));
	add_column(audit, "REASON", SHEET_OPTIONAL, strlen("PERMISSION_DENIED"));
	add_column(audit, "COUNT", SHEET_OPTIONAL | SHEET_RIGHT, 0);
	add_column(audit, "TOOK", SHEET_RIGHT, strlen("12.3ms"));
	add_column(audit, "SIGNERS", SHEET_OPTIONAL | SHEET_CUT,
		   strlen("0123456789ABCDEF release"));
	add_column(audit, "DETAIL", SHEET_OPTIONAL | SHEET_CUT, 0);
	return 0;
}

/* Rows in the order of time: the table, or with JSON one object a row when following. */
static int print_rows(struct audit *audit, ProtobufCMessage **items, size_t n, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		const Bpfleet__V1__AuditRow *row = (const Bpfleet__V1__AuditRow *)items[i];

		if (row->sequence <= audit->last_sequence)
			continue;
		audit->last_sequence = row->sequence;
		audit->last_at_ns = row->at_ns;
		if (audit->cli->json)
			r = cli_print_line(audit->cli, items[i], err);
		else
			add_row(audit->sheet, row);
	}
	if (r == 0 && !audit->cli->json && (!audit->follow || sheet_n_rows(audit->sheet) > 0))
		r = cli_flush(audit->sheet, err);
	(void)fflush(audit->cli->out);
	return r;
}

/* The newest rows, oldest of them first. */
static int query_last(struct cli *cli, struct arena *arena, ProtobufCMessage ***ret_items,
		      size_t *ret_n, struct error *err)
{
	Bpfleet__V1__QueryAuditRequest request = BPFLEET__V1__QUERY_AUDIT_REQUEST__INIT;
	ProtobufCMessage **items;
	size_t n;
	int r;

	fill(cli, &request);
	request.newest_first = true;
	r = node_list(cli->node, "QueryAudit", &request.base,
		      (size_t)cli_number(&cli->args, OPTION_LIMIT, 100), arena, &items, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n / 2; i++) {
		ProtobufCMessage *item = items[i];

		items[i] = items[n - 1 - i];
		items[n - 1 - i] = item;
	}
	*ret_items = items;
	*ret_n = n;
	return 0;
}

static int follow_once(struct audit *audit, struct error *err)
{
	Bpfleet__V1__QueryAuditRequest request = BPFLEET__V1__QUERY_AUDIT_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage **items;
	size_t n;
	int r;

	r = cli_arena(&arena, err);
	if (r < 0)
		return r;
	fill(audit->cli, &request);
	if (audit->last_at_ns > request.since_ns)
		request.since_ns = audit->last_at_ns;
	r = node_list(audit->cli->node, "QueryAudit", &request.base, 0, arena, &items, &n, err);
	return r < 0 ? r : print_rows(audit, items, n, err);
}

static int print_document(const struct cli *cli, ProtobufCMessage **items, size_t n,
			  struct error *err)
{
	Bpfleet__V1__QueryAuditResponse document = BPFLEET__V1__QUERY_AUDIT_RESPONSE__INIT;

	document.rows = (Bpfleet__V1__AuditRow **)items;
	document.n_rows = n;
	return cli_print_message(cli, &document.base, err);
}

static int run(struct audit *audit, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage **items;
	size_t n;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = query_last(audit->cli, arena, &items, &n, err);
	if (r < 0)
		return r;
	if (audit->cli->json && !audit->follow)
		return print_document(audit->cli, items, n, err);
	if (!audit->cli->json)
		r = make_sheet(audit, err);
	if (r == 0)
		r = print_rows(audit, items, n, err);
	while (r == 0 && audit->follow && !cli_wait(audit->cli, FOLLOW_PAUSE_MS))
		r = follow_once(audit, err);
	return r;
}

/* A verb that nobody uses would just find nothing; a newer daemon may have more of them. */
static int check_verb(struct cli *cli, struct error *err)
{
	static const char *const verbs[] = { "push",   "remove",    "view",	  "load",
					     "attach", "detach",    "unload",	  "replace",
					     "commit", "read",	    "write",	  "audit",
					     "gc",     "policy",    "revoke",	  "reapply",
					     "boot",   "lease_end", "audit_trim", NULL };
	const char *verb = cli_text(&cli->args, OPTION_VERB, NULL);
	const char *near = verb == NULL ? NULL : cli_suggest(verb, verbs);

	if (near == NULL || strcmp(near, verb) == 0)
		return 0;
	return cli_usage(cli, err, "there is no verb '%.60s'; did you mean '%s'?", verb, near);
}

int cmd_audit(struct cli *cli, struct error *err)
{
	struct audit audit = { .cli = cli, .follow = cli_has(&cli->args, OPTION_FOLLOW) };
	int r;

	if (audit.follow && cli_has(&cli->args, OPTION_UNTIL))
		return cli_usage(cli, err, "--follow and --until exclude each other");
	r = check_verb(cli, err);
	if (r == 0)
		r = audit.follow ? cli_follow(cli, err) : cli_connect(cli, err);
	if (r == 0)
		r = run(&audit, err);
	sheet_free(audit.sheet);
	return r;
}
