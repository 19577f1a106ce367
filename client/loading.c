#include "client/loading.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook.h"
#include "client/cli.h"
#include "client/enums.h"
#include "client/fd.h"
#include "client/node.h"
#include "client/rows.h"
#include "client/trial.h"
#include "proto/arena.h"

static const char *const durabilities[] = { "persistent", "boot", "lease" };

static Bpfleet__V1__Durability durability(const struct cli *cli)
{
	const char *text = cli_text(&cli->args, OPTION_DURABILITY, NULL);

	for (size_t i = 0; text != NULL && i < ARRAY_SIZE(durabilities); i++) {
		if (strcmp(text, durabilities[i]) == 0)
			return (Bpfleet__V1__Durability)(BPFLEET__V1__DURABILITY__DURABILITY_PERSISTENT +
							 i);
	}
	return BPFLEET__V1__DURABILITY__DURABILITY_UNSPECIFIED;
}

bool loading_is_lease(const struct cli *cli)
{
	return durability(cli) == BPFLEET__V1__DURABILITY__DURABILITY_LEASE;
}

int loading_parameters(const struct cli *cli, struct arena *arena, Bpfleet__V1__Parameter ***ret,
		       size_t *ret_n, struct error *err)
{
	size_t n = cli_count(&cli->args, OPTION_PARAM);
	Bpfleet__V1__Parameter *rows = arena_alloc(arena, (n + 1) * sizeof(*rows));

	*ret = arena_alloc(arena, (n + 1) * sizeof(void *));
	if (rows == NULL || *ret == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const char *text = cli_nth(&cli->args, OPTION_PARAM, i);
		const char *equals = strchr(text, '=');

		bpfleet__v1__parameter__init(&rows[i]);
		rows[i].name = arena_strndup(arena, text, (size_t)(equals - text));
		rows[i].value = (char *)(equals + 1);
		if (rows[i].name == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		(*ret)[i] = &rows[i];
	}
	*ret_n = n;
	return 0;
}

/* What was given of it; *ret stays NULL for nothing. */
static void loading_budget(const struct cli *cli, Bpfleet__V1__Budgets *budgets,
			   Bpfleet__V1__LoadBudget *budget, Bpfleet__V1__LoadBudget **ret)
{
	const uint64_t cpu = cli_number(&cli->args, OPTION_MAX_CPU, 0);

	budgets->max_memory_bytes = cli_number(&cli->args, OPTION_MAX_MEMORY, 0);
	budgets->max_ns_per_run = cli_number(&cli->args, OPTION_MAX_NS_PER_RUN, 0);
	budgets->max_cpu_ppm = cpu > UINT32_MAX ? UINT32_MAX : (uint32_t)cpu;
	budget->budgets = budgets;
	budget->max_events = cli_number(&cli->args, OPTION_MAX_EVENTS, 0);
	budget->max_event_bytes = cli_number(&cli->args, OPTION_MAX_EVENT_BYTES, 0);
	if (budgets->max_memory_bytes != 0 || budgets->max_ns_per_run != 0 || cpu != 0 ||
	    budget->max_events != 0 || budget->max_event_bytes != 0)
		*ret = budget;
}

int loading_call(struct cli *cli, const char *text, bool attach_defaults, struct arena *arena,
		 Bpfleet__V1__LoadResponse **ret, struct error *err)
{
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	Bpfleet__V1__LoadBudget budget = BPFLEET__V1__LOAD_BUDGET__INIT;
	Bpfleet__V1__Budgets budgets = BPFLEET__V1__BUDGETS__INIT;
	char bundle[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	const char *label = cli_text(&cli->args, OPTION_LABEL, "");
	ProtobufCMessage *response;
	int r;

	if (cli_has(&cli->args, OPTION_TTL) && !loading_is_lease(cli))
		return cli_usage(cli, err, "--ttl goes with --durability lease");
	if (label[0] != '\0')
		r = cli_usage_if(cli, name_check_label(label, err));
	else
		r = 0;
	if (r == 0)
		r = cli_usage_if(cli, ref_bundle(text, bundle, err));
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = loading_parameters(cli, arena, &request.parameters, &request.n_parameters, err);
	if (r < 0)
		return r;
	request.bundle = bundle;
	request.request_id = request_id;
	request.durability = durability(cli);
	request.label = (char *)label;
	request.validate_only = cli_has(&cli->args, OPTION_VALIDATE_ONLY);
	request.lease_ttl_ns = cli_number(&cli->args, OPTION_TTL, 0);
	request.attach_defaults = attach_defaults;
	loading_budget(cli, &budgets, &budget, &request.budget);
	r = node_call(cli->node, "Load", &request.base, arena, &response, err);
	if (r < 0)
		return r;
	*ret = (Bpfleet__V1__LoadResponse *)response;
	if ((*ret)->instance == NULL && !request.validate_only)
		return error_raise(err, ERROR_PROTOCOL, "Load was answered without an instance");
	return 0;
}

static int print_programs(const struct cli *cli, const Bpfleet__V1__LoadResponse *response,
			  struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || response->n_programs == 0)
		return r;
	rows_program_columns(sheet);
	for (size_t i = 0; i < response->n_programs; i++)
		rows_program(sheet, response->programs[i]);
	return cli_flush(sheet, err);
}

static int print_links(const struct cli *cli, const Bpfleet__V1__LoadResponse *response,
		       struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0 || response->n_links == 0)
		return r;
	cli_say(cli, "%s", "");
	rows_link_columns(sheet);
	for (size_t i = 0; i < response->n_links; i++)
		rows_link(sheet, response->links[i]);
	return cli_flush(sheet, err);
}

int loading_print(const struct cli *cli, const Bpfleet__V1__LoadResponse *response,
		  struct error *err)
{
	const Bpfleet__V1__Instance *instance = response->instance;
	_cleanup_(str_done) struct str s = { 0 };
	int r;

	if (cli->json)
		return cli_print_message(cli, &response->base, err);
	if (instance != NULL) {
		(void)str_append(&s, "loaded ");
		(void)str_append_escaped(&s, ref_short(instance->bundle), SIZE_MAX);
		(void)str_append(&s, " as ");
		(void)str_append_escaped(&s, ref_short(instance->name), SIZE_MAX);
		if (instance->label[0] != '\0') {
			(void)str_append(&s, ", label ");
			(void)str_append_escaped(&s, instance->label, SIZE_MAX);
		}
	} else {
		(void)str_append(&s,
				 response->refused_reason[0] == '\0'
					 ? "valid: a load would succeed; nothing was kept"
					 : "not valid: a load would be refused; nothing was kept");
	}
	r = cli_print_str(cli, &s, err);
	if (r == 0 && instance == NULL)
		return trial_print(cli, response->programs, response->n_programs,
				   response->memory_bytes, err);
	if (r == 0)
		r = print_programs(cli, response, err);
	return r < 0 ? r : print_links(cli, response, err);
}

int loading_hand_over(struct cli *cli, struct arena *arena, int *ret_connection,
		      ProtobufCBinaryData *ret_ticket, struct error *err)
{
	uint8_t *ticket = arena_alloc(arena, FD_TICKET_LEN);
	int r;

	if (!cli_has(&cli->args, OPTION_SOCKET_FD))
		return 0;
	if (ticket == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = fd_hand_over(cli->node, (int)cli_number(&cli->args, OPTION_SOCKET_FD, 0),
			 ret_connection, ticket, err);
	if (r == 0)
		*ret_ticket = (ProtobufCBinaryData){ FD_TICKET_LEN, ticket };
	return r;
}

int loading_attach(struct cli *cli, const char *instance, const char *program,
		   const char *hook_given, struct arena *arena, Bpfleet__V1__Link **ret,
		   struct error *err)
{
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(hook_freep) struct hook *hook = NULL;
	_cleanup_close_ int connection = -1;
	ProtobufCMessage *response;
	int r;

	r = cli_usage_if(cli, ref_program_of(instance, program, name, err));
	if (r == 0)
		r = cli_usage_if(cli, hook_parse(hook_given, &hook, err));
	if (r == 0)
		r = hook_to_message(hook, arena, &request.hook, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r < 0)
		return r;
	request.program = name;
	request.request_id = request_id;
	r = loading_hand_over(cli, arena, &connection, &request.socket_ticket, err);
	if (r == 0)
		r = node_call(cli->node, "Attach", &request.base, arena, &response, err);
	if (r < 0)
		return r;
	*ret = ((Bpfleet__V1__AttachResponse *)response)->link;
	if (*ret == NULL)
		return error_raise(err, ERROR_PROTOCOL, "Attach was answered without a link");
	return 0;
}

int loading_unload(struct cli *cli, const char *name, struct error *err)
{
	Bpfleet__V1__UnloadRequest request = BPFLEET__V1__UNLOAD_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.instance = (char *)name;
	request.request_id = request_id;
	return node_call(cli->node, "Unload", &request.base, arena, &response, err);
}
