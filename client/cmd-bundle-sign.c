#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/file.h"
#include "client/password.h"
#include "proto/arena.h"

static int read_secret_key(struct cli *cli, struct minisign_secret_key **ret, struct error *err)
{
	const char *path = cli_text(&cli->args, OPTION_SECRET_KEY, NULL);
	_cleanup_(password_freep) char *password = NULL;
	_cleanup_(password_freep) char *text = NULL;
	bool is_encrypted = false;
	size_t n;
	int r;

	r = password_read_key(path, &text, &n, err);
	if (r < 0)
		return r;
	r = minisign_secret_key_is_encrypted(text, n, &is_encrypted, err);
	if (r == 0 && is_encrypted)
		r = password_get(cli, "Password of the secret key", false, &password, err);
	if (r == 0 && is_encrypted && cli->progress)
		(void)fprintf(stderr, "Deciphering the key; this takes a few seconds ...\n");
	if (r == 0)
		r = minisign_secret_key_parse(text, n, password, ret, err);
	return r < 0 ? error_context(err, r, "%.200s", path) : 0;
}

/* A name that stays one part of a file name: FILE.NAME.minisig. */
static bool is_signer_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strlen(name) <= 64 &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				 "_-.")] == '\0';
}

/* Another key's signature is a colleague's work: not to be lost by a forgotten --name. */
static int check_replaced(struct cli *cli, const char *path, const struct minisign_public_key *key,
			  struct error *err)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct minisign_signature before;
	size_t n;

	if (cli_has(&cli->args, OPTION_FORCE) ||
	    file_read(path, MINISIGN_SIGNATURE_FILE_MAX, &bytes, &n, NULL) < 0)
		return 0;
	if (minisign_signature_parse(bytes, n, &before, NULL) == 0 &&
	    memcmp(before.key_id, key->key_id, sizeof(key->key_id)) == 0)
		return 0;
	return error_raise(err, ERROR_ALREADY_EXISTS,
			   "%.200s holds the signature of another key; choose another file with "
			   "--name, or overwrite it with --force",
			   path);
}

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

/* What stock minisign writes: time, file name, and that the digest was signed. */
static int default_comment(const char *path, char **ret, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_appendf(&s, "timestamp:%" PRIu64 "\tfile:", clock_realtime_ns() / NS_PER_SEC);
	(void)str_append_escaped(&s, basename(path), SIZE_MAX);
	(void)str_append(&s, "\thashed");
	*ret = str_take(&s);
	return *ret == NULL ? out_of_memory(err) : 0;
}

static int say_signed(struct cli *cli, const Bpfleet__V1__Manifest *manifest,
		      const struct minisign_public_key *key, const char *signature_path,
		      struct error *err)
{
	char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1], label[NAME_BUNDLE_REF_MAX + 1];
	_cleanup_(str_done) struct str said = { 0 };

	minisign_format_key_id(key->key_id, key_id);
	bundle_file_label(manifest, label);
	if (cli->json) {
		(void)str_appendf(&said,
				  "{\"bundle\":\"bundles/%s\",\"keyId\":\"%s\",\"signatureFile\":",
				  label, key_id);
		(void)str_append_json(&said, signature_path, SIZE_MAX);
		(void)str_append(&said, "}");
	} else {
		(void)str_appendf(&said, "signed %s with key %s: ", label, key_id);
		(void)str_append_escaped(&said, signature_path, SIZE_MAX);
	}
	return cli_print_str(cli, &said, err);
}

static int write_signature(struct cli *cli, const struct minisign_secret_key *secret,
			   const struct bundle_file *file, const Bpfleet__V1__Manifest *manifest,
			   struct error *err)
{
	const char *name = cli_text(&cli->args, OPTION_NAME, NULL);
	const char *comment = cli_text(&cli->args, OPTION_COMMENT, NULL);
	_cleanup_free_ char *path = NULL, *text = NULL, *made = NULL;
	struct minisign_public_key public;
	int r = 0;

	if (asprintf(&path, "%s%s%s.minisig", file->path, name == NULL ? "" : ".",
		     name == NULL ? "" : name) < 0) {
		path = NULL;
		return out_of_memory(err);
	}
	minisign_secret_key_public(secret, &public);
	r = check_replaced(cli, path, &public, err);
	if (r == 0 && comment == NULL) {
		r = default_comment(file->path, &made, err);
		comment = made;
	}
	if (r == 0)
		r = minisign_sign(secret, &file->digest, comment, NULL, &text, err);
	if (r == 0)
		r = file_write(path, text, strlen(text), 0644, true, err);
	return r < 0 ? r : say_signed(cli, manifest, &public, path, err);
}

/* Only what is a bundle is signed: a signature over anything else would say too much. */
static int sign_one(struct cli *cli, const struct minisign_secret_key *secret, const char *path,
		    struct error *err)
{
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__Bundle *bundle;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = bundle_file_read(path, &file, err);
	if (r < 0)
		return r;
	r = bundle_parse(arena, file.bytes, file.size, &bundle, err);
	if (r < 0)
		return error_context(err, r, "%.200s", path);
	return write_signature(cli, secret, &file, bundle->manifest, err);
}

int cmd_bundle_sign(struct cli *cli, struct error *err)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *secret = NULL;
	const char *name = cli_text(&cli->args, OPTION_NAME, NULL);
	int r;

	if (name != NULL && !is_signer_name(name))
		return cli_usage(cli, err, "--name takes letters, digits, '_', '-' and '.'");
	r = read_secret_key(cli, &secret, err);
	for (size_t i = 0; r == 0 && i < cli->args.n_arguments; i++)
		r = sign_one(cli, secret, cli->args.arguments[i], err);
	return r;
}
