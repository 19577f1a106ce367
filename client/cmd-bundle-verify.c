#include "base/error.h"
#include "base/str.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "proto/arena.h"

static int print_verified(struct cli *cli, const struct bundle_file *file,
			  const Bpfleet__V1__BundleInfo *info, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (cli->json)
		return cli_print_message(cli, &info->base, err);
	(void)str_append(&s, "verified ");
	(void)str_append_escaped(&s, file->path, SIZE_MAX);
	(void)str_appendf(&s, ": %s", ref_short(info->name));
	for (size_t i = 0; i < info->n_signers; i++) {
		(void)str_appendf(&s, "\n  signed by %s: ", info->signers[i]->key_id);
		bundle_file_append_comment(&s, info->signers[i]->trusted_comment);
	}
	return cli_print_str(cli, &s, err);
}

int cmd_bundle_verify(struct cli *cli, struct error *err)
{
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__BundleInfo *info;
	Bpfleet__V1__Bundle *bundle;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = bundle_file_read(cli_argument(&cli->args, 0), &file, err);
	if (r == 0)
		r = bundle_file_signatures(cli, arena, &file, err);
	if (r == 0)
		r = bundle_file_verify(cli, &file, &verified, err);
	if (r == 0)
		r = bundle_parse(arena, file.bytes, file.size, &bundle, err);
	if (r == 0)
		r = bundle_file_info(&file, bundle->manifest, verified, arena, &info, err);
	return r < 0 ? r : print_verified(cli, &file, info, err);
}
