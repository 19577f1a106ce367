#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/progress.h"
#include "client/push.h"
#include "client/units.h"
#include "client/upload.h"
#include "proto/arena.h"

static void on_progress(uint64_t sent_bytes, uint64_t size_bytes, void *user)
{
	progress_update(user, sent_bytes, size_bytes);
}

int push_file(struct cli *cli, const char *path, struct arena *arena,
	      Bpfleet__V1__PushBundleResponse **ret, struct error *err)
{
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	struct progress progress;
	struct upload upload;
	int r;

	r = cli_connect(cli, err);
	if (r == 0)
		r = bundle_file_read(path, &file, err);
	if (r == 0)
		r = bundle_file_signatures(cli, arena, &file, err);
	if (r < 0)
		return r;
	progress_init(&progress, cli, "pushing", true);
	upload = (struct upload){
		.bytes = file.bytes,
		.size = file.size,
		.signatures = file.signatures,
		.n_signatures = file.n_signatures,
		.progress = on_progress,
		.user = &progress,
	};
	r = upload_push(cli->node, &upload, arena, ret, err);
	progress_done(&progress);
	if (r == 0 && (*ret)->bundle == NULL)
		r = error_raise(err, ERROR_PROTOCOL, "a push was answered without a bundle");
	return r;
}

int push_say(const struct cli *cli, const Bpfleet__V1__PushBundleResponse *response,
	     struct error *err)
{
	const Bpfleet__V1__BundleInfo *bundle = response->bundle;
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_append(&s, response->already_present ? "already there: " : "pushed ");
	(void)str_append_escaped(&s, ref_short(bundle->name), SIZE_MAX);
	(void)str_append(&s, ", ");
	(void)units_append_bytes(&s, bundle->size_bytes);
	for (size_t i = 0; i < bundle->n_signers; i++) {
		(void)str_append(&s, i == 0 ? ", signed by " : ", ");
		(void)str_append_escaped(&s, bundle->signers[i]->name, SIZE_MAX);
		(void)str_appendf(&s, " (%s)", bundle->signers[i]->key_id);
	}
	return cli_print_str(cli, &s, err);
}

int cmd_push(struct cli *cli, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__PushBundleResponse *response;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = push_file(cli, cli_argument(&cli->args, 0), arena, &response, err);
	if (r < 0)
		return r;
	return cli->json ? cli_print_message(cli, &response->base, err)
			 : push_say(cli, response, err);
}
