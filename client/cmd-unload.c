#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/loading.h"

int cmd_unload(struct cli *cli, struct error *err)
{
	return each_argument(cli, &(struct each){ "unloaded", each_instance, loading_unload }, err);
}
