#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/manifest-view.h"
#include "client/units.h"
#include "proto/arena.h"

/* Signatures that are there but were not checked: what their files claim. */
static void say_claims(const struct bundle_file *file, struct str *s)
{
	char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1];

	for (size_t i = 0; i < file->n_signatures; i++) {
		const ProtobufCBinaryData *text = &file->signatures[i]->minisig;
		struct minisign_signature signature;

		if (minisign_signature_parse(text->data, text->len, &signature, NULL) < 0) {
			(void)str_append(s, "  a signature file that cannot be read\n");
			continue;
		}
		minisign_format_key_id(signature.key_id, key_id);
		(void)str_appendf(s, "  claims to be signed by %s: ", key_id);
		bundle_file_append_comment(s, signature.trusted_comment);
		(void)str_append(s, "\n");
	}
}

static void say_head(const struct bundle_file *file, const Bpfleet__V1__BundleInfo *info,
		     bool verified, struct str *s)
{
	char digest[2 * BUNDLE_DIGEST_LEN + 1];

	(void)str_appendf(s, "%s, ", ref_short(info->name));
	(void)units_append_bytes(s, info->size_bytes);
	(void)str_append(s,
			 verified ? "\n" : "  ** NOT VERIFIED: anybody may have written this **\n");
	str_hex(info->digest.data, info->digest.len, digest);
	(void)str_appendf(s, "  digest %s\n", digest);
	for (size_t i = 0; i < info->n_signers; i++) {
		(void)str_appendf(s, "  signed by %s: ", info->signers[i]->key_id);
		bundle_file_append_comment(s, info->signers[i]->trusted_comment);
		(void)str_append(s, "\n");
	}
	if (!verified)
		say_claims(file, s);
}

static int print_bundle(struct cli *cli, const struct bundle_file *file,
			Bpfleet__V1__BundleInfo *info, Bpfleet__V1__Manifest *manifest,
			bool verified, struct error *err)
{
	Bpfleet__V1__GetBundleResponse document = BPFLEET__V1__GET_BUNDLE_RESPONSE__INIT;
	_cleanup_(str_done) struct str s = { 0 };
	int r;

	if (cli->json) {
		document.bundle = info;
		document.manifest = manifest;
		if (!verified)
			cli_warn("not verified: anybody may have written this");
		return cli_print_message(cli, &document.base, err);
	}
	say_head(file, info, verified, &s);
	r = cli_print_str(cli, &s, err);
	return r < 0 ? r : manifest_view_print(cli, manifest, err);
}

int cmd_bundle_inspect(struct cli *cli, struct error *err)
{
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	bool verify = cli_has(&cli->args, OPTION_PUBLIC_KEY);
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__BundleInfo *info;
	Bpfleet__V1__Bundle *bundle;
	int r;

	if (!verify && cli_has(&cli->args, OPTION_THRESHOLD))
		return cli_usage(cli, err, "--threshold needs --public-key");
	r = cli_arena(&arena, err);
	if (r == 0)
		r = bundle_file_read(cli_argument(&cli->args, 0), &file, err);
	if (r == 0)
		r = bundle_file_signatures(cli, arena, &file, err);
	if (r == 0 && verify)
		r = bundle_file_verify(cli, &file, &verified, err);
	if (r == 0)
		r = bundle_parse(arena, file.bytes, file.size, &bundle, err);
	if (r == 0)
		r = bundle_file_info(&file, bundle->manifest, verified, arena, &info, err);
	return r < 0 ? r : print_bundle(cli, &file, info, bundle->manifest, verify, err);
}
