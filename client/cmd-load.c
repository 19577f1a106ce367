#include "base/error.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "proto/arena.h"

/* What a validation found is an answer, and its exit code that of the refusal. */
static int refusal(const Bpfleet__V1__LoadResponse *response, struct error *err)
{
	enum error_code code = error_code_from_reason(response->refused_reason);

	if (response->refused_reason[0] == '\0')
		return 0;
	return error_raise(err, code == ERROR_NONE ? ERROR_INTERNAL : code, "%s",
			   response->refused_message);
}

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
	if (validate_only)
		return refusal(response, err);
	return loading_is_lease(cli) ? lease_hold(cli, response, err) : 0;
}
