#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/each.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"

#define DIGEST_TEXT_LEN 128

static void print_row(struct sheet *sheet, const Bpfleet__V1__QuarantinedBundle *bundle)
{
	struct str when = { 0 };

	sheet_text(sheet, ref_short(bundle->bundle));
	(void)units_append_relative(&when, bundle->at_ns, clock_realtime_ns());
	sheet_take(sheet, &when);
	sheet_text(sheet, ref_short(bundle->instance));
	sheet_text(sheet, bundle->figures);
}

int cmd_quarantine_list(struct cli *cli, struct error *err)
{
	Bpfleet__V1__ListQuarantineRequest request = BPFLEET__V1__LIST_QUARANTINE_REQUEST__INIT;
	Bpfleet__V1__ListQuarantineResponse response = BPFLEET__V1__LIST_QUARANTINE_RESPONSE__INIT;
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage **items = NULL;
	size_t n = 0;
	int r = cli_arena(&arena, err);

	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_list(cli->node, "ListQuarantine", &request.base, 0, arena, &items, &n,
			      err);
	if (r < 0)
		return r;
	response.bundles = (Bpfleet__V1__QuarantinedBundle **)(void *)items;
	response.n_bundles = n;
	if (cli->json)
		return cli_print_message(cli, &response.base, err);
	r = cli_sheet(cli, &sheet, err);
	if (r < 0)
		return r;
	sheet_column(sheet, "BUNDLE", 0);
	sheet_column(sheet, "WHEN", 0);
	sheet_column(sheet, "INSTANCE", 0);
	sheet_column(sheet, "WHY", 0);
	for (size_t i = 0; i < n; i++)
		print_row(sheet, response.bundles[i]);
	return cli_flush(sheet, err);
}

static bool is_digest(const char *text)
{
	size_t n = 0;

	while (isxdigit((unsigned char)text[n]))
		n++;
	return n == DIGEST_TEXT_LEN && text[n] == '\0';
}

static int resolve(struct cli *cli, const char *text, char name[static REF_SIZE], struct error *err)
{
	struct bundle_ref ref;
	int r;

	if (is_digest(text)) {
		(void)snprintf(name, REF_SIZE, "%s", text);
		return 0;
	}
	r = ref_bundle(text, name, err);
	if (r == 0)
		r = bundle_ref_parse(ref_short(name), &ref, err);
	if (r < 0)
		return r;
	if (!ref.has_version)
		return cli_usage(cli, err, "say which version: %s@VERSION", ref.name);
	return 0;
}

static int release(struct cli *cli, const char *name, struct error *err)
{
	Bpfleet__V1__ReleaseQuarantineRequest request =
		BPFLEET__V1__RELEASE_QUARANTINE_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r = cli_arena(&arena, err);

	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.bundle = (char *)name;
	request.request_id = request_id;
	return node_call(cli->node, "ReleaseQuarantine", &request.base, arena, &response, err);
}

int cmd_quarantine_release(struct cli *cli, struct error *err)
{
	return each_argument(cli, &(struct each){ "released", resolve, release }, err);
}
