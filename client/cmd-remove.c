#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/node.h"
#include "proto/arena.h"

/* A version is demanded: "the highest" is no name for what is to be removed. */
static int bundle_name(struct cli *cli, const char *text, char out[static REF_SIZE],
		       struct error *err)
{
	struct bundle_ref ref;
	int r;

	r = cli_usage_if(cli, ref_bundle(text, out, err));
	if (r < 0)
		return r;
	r = bundle_ref_parse(ref_short(out), &ref, err);
	if (r < 0)
		return r;
	if (!ref.has_version)
		return cli_usage(cli, err, "say which version: %s@VERSION", ref.name);
	return 0;
}

static int remove_bundle(struct cli *cli, const char *text, struct error *err)
{
	Bpfleet__V1__RemoveBundleRequest request = BPFLEET__V1__REMOVE_BUNDLE_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = bundle_name(cli, text, name, err);
	if (r == 0)
		r = cli_arena(&arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.name = name;
	request.request_id = request_id;
	return node_call(cli->node, "RemoveBundle", &request.base, arena, &response, err);
}

int cmd_remove(struct cli *cli, struct error *err)
{
	return each_argument(cli, "removed", remove_bundle, err);
}
