#include <inttypes.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"

static void number_row(struct sheet *sheet, const char *name, uint64_t value)
{
	sheet_text(sheet, name);
	sheet_textf(sheet, "%" PRIu64, value);
}

static void text_row(struct sheet *sheet, const char *name, const char *value)
{
	sheet_text(sheet, name);
	sheet_text(sheet, value);
}

static void started_row(struct sheet *sheet, uint64_t started_at_ns)
{
	struct str s = { 0 };

	(void)units_append_relative(&s, started_at_ns, clock_realtime_ns());
	sheet_text(sheet, "started");
	sheet_take(sheet, &s);
}

static void hooks_row(struct sheet *sheet, const Bpfleet__V1__GetStatusResponse *status)
{
	size_t n = 0;

	for (size_t i = 0; i < status->n_hooks; i++)
		n += status->hooks[i]->supported != 0;
	sheet_text(sheet, "kinds of hooks");
	sheet_textf(sheet, "%zu of %zu, see `bpfleet features`", n, status->n_hooks);
}

static void calls_row(struct sheet *sheet, const Bpfleet__V1__GetStatusResponse *status)
{
	uint64_t n = 0, n_failed = 0;

	for (size_t i = 0; i < status->n_calls; i++) {
		n += status->calls[i]->n_ok + status->calls[i]->n_failed;
		n_failed += status->calls[i]->n_failed;
	}
	sheet_text(sheet, "calls");
	sheet_textf(sheet, "%" PRIu64 ", %" PRIu64 " failed", n, n_failed);
}

static int print_facts(const struct cli *cli, const Bpfleet__V1__GetStatusResponse *status,
		       struct error *err)
{
	struct sheet_options options = { .colour = cli->colour, .no_header = true };
	_cleanup_(sheet_freep) struct sheet *sheet = sheet_new(cli->out, &options);

	if (sheet == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	sheet_column(sheet, "", 0);
	sheet_column(sheet, "", 0);
	text_row(sheet, "daemon", status->version);
	text_row(sheet, "socket", node_socket_path(cli->node));
	text_row(sheet, "you are", status->caller);
	text_row(sheet, "node", status->node_id);
	text_row(sheet, "kernel", status->kernel_release);
	started_row(sheet, status->started_at_ns);
	hooks_row(sheet, status);
	number_row(sheet, "bundles", status->n_bundles);
	number_row(sheet, "instances", status->n_instances);
	number_row(sheet, "programs", status->n_programs);
	number_row(sheet, "links", status->n_links);
	number_row(sheet, "orphan pins", status->n_orphan_pins);
	number_row(sheet, "revision", status->revision);
	number_row(sheet, "audit rows", status->audit_sequence);
	calls_row(sheet, status);
	return cli_flush(sheet, err);
}

static void support_row(struct sheet *sheet, const char *name, bool supported, const char *detail)
{
	sheet_text(sheet, name);
	sheet_coloured(sheet, supported ? SHEET_GOOD : SHEET_BAD, supported ? "yes" : "no");
	sheet_text(sheet, detail);
}

static int print_map_types(const struct cli *cli, const Bpfleet__V1__GetStatusResponse *status,
			   struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || status->n_map_types == 0)
		return r;
	cli_say(cli, "%s", "");
	sheet_column(sheet, "MAP", 0);
	sheet_column(sheet, "HERE", 0);
	sheet_column(sheet, "DETAIL", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < status->n_map_types; i++)
		support_row(sheet, status->map_types[i]->type, status->map_types[i]->supported != 0,
			    status->map_types[i]->detail);
	return cli_flush(sheet, err);
}

static int print_features(const struct cli *cli, const Bpfleet__V1__GetStatusResponse *status,
			  struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || status->n_hooks == 0)
		return r;
	cli_say(cli, "kernel %s", status->kernel_release);
	sheet_column(sheet, "HOOK", 0);
	sheet_column(sheet, "HERE", 0);
	sheet_column(sheet, "DETAIL", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < status->n_hooks; i++)
		support_row(sheet, status->hooks[i]->kind, status->hooks[i]->supported != 0,
			    status->hooks[i]->detail);
	r = cli_flush(sheet, err);
	return r < 0 ? r : print_map_types(cli, status, err);
}

static int print_alarms(const struct cli *cli, const Bpfleet__V1__GetStatusResponse *status,
			struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < status->n_alarms; i++) {
		_cleanup_(str_done) struct str s = { 0 };

		(void)str_append(&s, i == 0 ? "\nalarm: " : "alarm: ");
		(void)str_append_escaped(&s, status->alarms[i], SIZE_MAX);
		r = cli_print_str(cli, &s, err);
	}
	return r;
}

static int get_status(struct cli *cli, struct arena **ret_arena,
		      const Bpfleet__V1__GetStatusResponse **ret, struct error *err)
{
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	ProtobufCMessage *response;
	int r;

	r = cli_arena(ret_arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_call(cli->node, "GetStatus", &request.base, *ret_arena, &response, err);
	if (r == 0)
		*ret = (const Bpfleet__V1__GetStatusResponse *)response;
	return r;
}

int cmd_status(struct cli *cli, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__GetStatusResponse *status;
	int r = get_status(cli, &arena, &status, err);

	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, &status->base, err);
	r = print_facts(cli, status, err);
	return r < 0 ? r : print_alarms(cli, status, err);
}

int cmd_features(struct cli *cli, struct error *err)
{
	Bpfleet__V1__GetStatusResponse document = BPFLEET__V1__GET_STATUS_RESPONSE__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__GetStatusResponse *status;
	int r = get_status(cli, &arena, &status, err);

	if (r < 0)
		return r;
	document.kernel_release = status->kernel_release;
	document.version = status->version;
	document.hooks = status->hooks;
	document.n_hooks = status->n_hooks;
	document.map_types = status->map_types;
	document.n_map_types = status->n_map_types;
	return cli->json ? cli_print_message(cli, &document.base, err)
			 : print_features(cli, status, err);
}
