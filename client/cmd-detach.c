#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/node.h"
#include "proto/arena.h"

static int detach(struct cli *cli, const char *text, struct error *err)
{
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = cli_usage_if(cli, ref_link(text, name, err));
	if (r == 0)
		r = cli_arena(&arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.link = name;
	request.request_id = request_id;
	return node_call(cli->node, "Detach", &request.base, arena, &response, err);
}

int cmd_detach(struct cli *cli, struct error *err)
{
	return each_argument(cli, "detached", detach, err);
}
