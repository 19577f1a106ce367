#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"

static int print_removed(const struct cli *cli, const Bpfleet__V1__CollectGarbageResponse *response,
			 bool dry_run, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	for (size_t i = 0; i < response->n_removed_pins; i++) {
		(void)str_append(&s, dry_run ? "orphan pin " : "removed pin ");
		(void)str_append_escaped(&s, response->removed_pins[i], SIZE_MAX);
		(void)str_append(&s, "\n");
	}
	(void)str_appendf(&s, "%zu pins%s, ", response->n_removed_pins,
			  dry_run ? " would go" : " removed");
	(void)units_append_bytes(&s, response->freed_bytes);
	(void)str_append(&s, dry_run ? " would be freed" : " freed");
	return cli_print_str(cli, &s, err);
}

int cmd_gc(struct cli *cli, struct error *err)
{
	Bpfleet__V1__CollectGarbageRequest request = BPFLEET__V1__COLLECT_GARBAGE_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	request.dry_run = cli_has(&cli->args, OPTION_DRY_RUN);
	r = cli_arena(&arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_call(cli->node, "CollectGarbage", &request.base, arena, &response, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, response, err);
	return print_removed(cli, (const Bpfleet__V1__CollectGarbageResponse *)response,
			     request.dry_run, err);
}
