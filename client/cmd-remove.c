#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/node.h"
#include "proto/arena.h"

/* A version is demanded: "the highest" is no name for what is to be removed. */
static int resolve(struct cli *cli, const char *text, char name[static REF_SIZE], struct error *err)
{
	struct bundle_ref ref;
	int r;

	r = ref_bundle(text, name, err);
	if (r == 0)
		r = bundle_ref_parse(ref_short(name), &ref, err);
	if (r < 0)
		return r;
	if (!ref.has_version)
		return cli_usage(cli, err, "say which version: %s@VERSION", ref.name);
	return 0;
}

static int remove_bundle(struct cli *cli, const char *name, struct error *err)
{
	Bpfleet__V1__RemoveBundleRequest request = BPFLEET__V1__REMOVE_BUNDLE_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.name = (char *)name;
	request.request_id = request_id;
	return node_call(cli->node, "RemoveBundle", &request.base, arena, &response, err);
}

int cmd_remove(struct cli *cli, struct error *err)
{
	return each_argument(cli, &(struct each){ "removed", resolve, remove_bundle }, err);
}
