#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/node.h"
#include "proto/arena.h"

static int resolve(struct cli *cli, const char *text, char name[static REF_SIZE], struct error *err)
{
	(void)cli;
	return ref_link(text, name, err);
}

static int detach(struct cli *cli, const char *name, struct error *err)
{
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.link = (char *)name;
	request.request_id = request_id;
	return node_call(cli->node, "Detach", &request.base, arena, &response, err);
}

int cmd_detach(struct cli *cli, struct error *err)
{
	return each_argument(cli, &(struct each){ "detached", resolve, detach }, err);
}
