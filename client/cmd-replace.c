/* replace, rollback, commit. */
#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "client/node.h"
#include "client/ref.h"
#include "client/sheet.h"
#include "client/trial.h"
#include "proto/arena.h"

static const char *outcome_text(Bpfleet__V1__MapOutcome outcome)
{
	static const char *const texts[] = { "?", "kept", "reset", "migrated", "added", "removed" };

	return (size_t)outcome < ARRAY_SIZE(texts) ? texts[outcome] : "?";
}

static int say(const struct cli *cli, const char *what, const Bpfleet__V1__Instance *instance,
	       const char *then, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (instance == NULL)
		return error_raise(err, ERROR_PROTOCOL, "the answer lacks the instance");
	(void)str_append_escaped(&s, ref_short(instance->name), SIZE_MAX);
	(void)str_append(&s, what);
	(void)str_append_escaped(&s, ref_short(instance->bundle), SIZE_MAX);
	if (then != NULL && instance->previous_bundle[0] != '\0') {
		(void)str_append(&s, then);
		(void)str_append_escaped(&s, ref_short(instance->previous_bundle), SIZE_MAX);
	}
	return cli_print_str(cli, &s, err);
}

static int print_maps(const struct cli *cli, const Bpfleet__V1__ReplaceResponse *response,
		      struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || response->n_maps == 0)
		return r;
	sheet_column(sheet, "MAP", 0);
	sheet_column(sheet, "WAS", 0);
	sheet_column(sheet, "ENTRIES", SHEET_RIGHT | SHEET_OPTIONAL);
	sheet_column(sheet, "WINDOW MS", SHEET_RIGHT | SHEET_OPTIONAL);
	sheet_column(sheet, "DIFFERENCE", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < response->n_maps; i++) {
		const Bpfleet__V1__MapReplacement *map = response->maps[i];
		const bool migrated =
			map->outcome == BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_MIGRATED;

		sheet_text(sheet, map->map);
		sheet_text(sheet, outcome_text(map->outcome));
		if (migrated) {
			sheet_textf(sheet, "%llu", (unsigned long long)map->n_entries);
			sheet_textf(sheet, "%.1f", (double)map->window_ns / 1e6);
		} else {
			sheet_text(sheet, "");
			sheet_text(sheet, "");
		}
		sheet_text(sheet, map->n_differences > 0 ? map->differences[0] : "");
	}
	return cli_flush(sheet, err);
}

/* The instance of the first argument, a fresh request id, and a connection. */
static int prepare(struct cli *cli, char *instance, char *request_id, struct arena **ret,
		   struct error *err)
{
	int r = cli_arena(ret, err);

	if (r == 0)
		r = cli_usage_if(cli, ref_instance(cli_argument(&cli->args, 0), instance, err));
	if (r == 0)
		r = node_request_id(request_id, err);
	return r < 0 ? r : cli_connect(cli, err);
}

int cmd_replace(struct cli *cli, struct error *err)
{
	Bpfleet__V1__ReplaceRequest request = BPFLEET__V1__REPLACE_REQUEST__INIT;
	char instance[REF_SIZE], bundle[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__ReplaceResponse *response;
	ProtobufCMessage *answer;
	int r;

	r = cli_usage_if(cli, ref_bundle(cli_argument(&cli->args, 1), bundle, err));
	if (r == 0)
		r = prepare(cli, instance, request_id, &arena, err);
	if (r == 0)
		r = loading_parameters(cli, arena, &request.parameters, &request.n_parameters, err);
	if (r < 0)
		return r;
	request.instance = instance;
	request.bundle = bundle;
	request.request_id = request_id;
	request.keep_parameters = !cli_has(&cli->args, OPTION_FORGET_PARAMETERS);
	request.soak_ns = cli_number(&cli->args, OPTION_SOAK, 0);
	request.validate_only = cli_has(&cli->args, OPTION_VALIDATE_ONLY);
	request.n_reset_maps = cli_count(&cli->args, OPTION_RESET_MAP);
	request.reset_maps = arena_alloc(arena, (request.n_reset_maps + 1) * sizeof(char *));
	if (request.reset_maps == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < request.n_reset_maps; i++)
		request.reset_maps[i] = (char *)(uintptr_t)cli_nth(&cli->args, OPTION_RESET_MAP, i);
	r = node_call(cli->node, "Replace", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__ReplaceResponse *)answer;
	if (cli->json) {
		r = cli_print_message(cli, answer, err);
	} else if (!request.validate_only) {
		r = say(cli, " runs ", response->instance, "; kept for rollback: ", err);
		if (r == 0)
			r = print_maps(cli, response, err);
	} else {
		cli_say(cli, "%s: it would %s; nothing has changed",
			response->refused_reason[0] == '\0' ? "valid" : "not valid",
			response->refused_reason[0] == '\0' ? "be replaced" : "be refused");
		r = trial_print(cli, response->programs, response->n_programs,
				response->memory_bytes, err);
		if (r == 0 && response->refused_reason[0] == '\0')
			r = print_maps(cli, response, err);
	}
	if (r < 0 || response->refused_reason[0] == '\0')
		return r;
	return trial_refuse(response->refused_reason, response->refused_message,
			    response->rejection, err);
}

int cmd_rollback(struct cli *cli, struct error *err)
{
	Bpfleet__V1__RollbackRequest request = BPFLEET__V1__ROLLBACK_REQUEST__INIT;
	char instance[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *answer;
	int r = prepare(cli, instance, request_id, &arena, err);

	request.instance = instance;
	request.request_id = request_id;
	if (r == 0)
		r = node_call(cli->node, "Rollback", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, answer, err);
	return say(cli, " runs again ", ((const Bpfleet__V1__RollbackResponse *)answer)->instance,
		   NULL, err);
}

int cmd_commit(struct cli *cli, struct error *err)
{
	Bpfleet__V1__CommitRequest request = BPFLEET__V1__COMMIT_REQUEST__INIT;
	char instance[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *answer;
	int r = prepare(cli, instance, request_id, &arena, err);

	request.instance = instance;
	request.request_id = request_id;
	if (r == 0)
		r = node_call(cli->node, "Commit", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, answer, err);
	return say(cli, " is committed to ",
		   ((const Bpfleet__V1__CommitResponse *)answer)->instance, NULL, err);
}
