#include "base/error.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "client/trial.h"
#include "proto/arena.h"

int cmd_load(struct cli *cli, struct error *err)
{
	bool validate_only = cli_has(&cli->args, OPTION_VALIDATE_ONLY);
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__LoadResponse *response;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0 && loading_is_lease(cli) && !validate_only)
		r = cli_follow(cli, err);
	if (r == 0)
		r = loading_call(cli, cli_argument(&cli->args, 0), false, arena, &response, err);
	if (r == 0)
		r = loading_print(cli, response, err);
	if (r < 0)
		return r;
	/* What a validation found is an answer, and its exit code that of the refusal. */
	if (validate_only)
		return response->refused_reason[0] == '\0'
			       ? 0
			       : trial_refuse(response->refused_reason, response->refused_message,
					      response->rejection, err);
	return loading_is_lease(cli) ? lease_hold(cli, response, err) : 0;
}
