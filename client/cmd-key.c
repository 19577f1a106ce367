#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/minisign.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/file.h"
#include "client/password.h"

static void free_secret_text(char **text)
{
	if (*text == NULL)
		return;
	sodium_memzero(*text, strlen(*text));
	free(*text);
}

/* Both files or none: an existing one is found before anything is made. */
static int refuse_existing(const char *path, struct error *err)
{
	if (access(path, F_OK) < 0)
		return 0;
	return error_raise(err, ERROR_ALREADY_EXISTS,
			   "%.200s exists already; with --force it is overwritten, and lost", path);
}

static int format_secret(struct cli *cli, const struct minisign_secret_key *secret, char **ret,
			 struct error *err)
{
	const char *comment = cli_text(&cli->args, OPTION_COMMENT, NULL);
	_cleanup_(password_freep) char *password = NULL;
	int r;

	if (!cli_has(&cli->args, OPTION_NO_PASSWORD)) {
		r = password_get(cli, "Password for the secret key", true, &password, err);
		if (r < 0)
			return r;
		if (cli->progress)
			(void)fprintf(stderr, "Encrypting the key; this takes a few seconds ...\n");
	}
	return minisign_secret_key_format(secret, password, NULL, comment, ret, err);
}

static int print_key(struct cli *cli, const struct minisign_public_key *key,
		     const char *public_path, const char *secret_path, const char *public_text,
		     struct error *err)
{
	char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1];
	const char *line = strchr(public_text, '\n');
	_cleanup_(str_done) struct str s = { 0 };
	size_t n;

	minisign_format_key_id(key->key_id, key_id);
	line = line == NULL ? public_text : line + 1;
	n = strcspn(line, "\n");
	if (cli->json) {
		(void)str_appendf(&s, "{\"keyId\":\"%s\",\"publicKey\":", key_id);
		(void)str_append_json(&s, line, n);
		(void)str_append(&s, ",\"publicKeyFile\":");
		(void)str_append_json(&s, public_path, SIZE_MAX);
		(void)str_append(&s, ",\"secretKeyFile\":");
		(void)str_append_json(&s, secret_path, SIZE_MAX);
		(void)str_append(&s, "}");
		return cli_print_str(cli, &s, err);
	}
	(void)str_appendf(&s, "made key %s\n  public key  ", key_id);
	(void)str_append_bytes(&s, line, n);
	(void)str_append(&s, "\n  in          ");
	(void)str_append_escaped(&s, public_path, SIZE_MAX);
	(void)str_append(&s, ", for the trust file of each host\n  secret key  ");
	(void)str_append_escaped(&s, secret_path, SIZE_MAX);
	(void)str_append(&s, ", keep it");
	return cli_print_str(cli, &s, err);
}

/*
 * Half a pair is of no use, and taken for a whole one later. The public half first: with --force,
 * a secret key that can be kept is not lost to a mistyped path.
 */
static int write_both(const char *secret_path, const char *secret, const char *public_path,
		      const char *public, bool force, struct error *err)
{
	int r;

	r = file_write(public_path, public, strlen(public), 0644, force, err);
	if (r < 0)
		return r;
	r = file_write(secret_path, secret, strlen(secret), 0600, force, err);
	if (r < 0)
		(void)unlink(public_path);
	return r;
}

int cmd_key_generate(struct cli *cli, struct error *err)
{
	const char *public_path = cli_text(&cli->args, OPTION_PUBLIC_KEY, "bpfleet.pub");
	const char *secret_path = cli_text(&cli->args, OPTION_SECRET_KEY, "bpfleet.key");
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *secret = NULL;
	_cleanup_(free_secret_text) char *secret_text = NULL;
	bool force = cli_has(&cli->args, OPTION_FORCE);
	_cleanup_free_ char *public_text = NULL;
	struct minisign_public_key public;
	int r = 0;

	if (cli_has(&cli->args, OPTION_NO_PASSWORD) && cli_has(&cli->args, OPTION_PASSWORD_FILE))
		return cli_usage(cli, err, "--no-password and --password-file exclude each other");
	if (strcmp(public_path, secret_path) == 0)
		return cli_usage(cli, err, "both keys would go to the same file");
	if (!force)
		r = refuse_existing(secret_path, err);
	if (r == 0 && !force)
		r = refuse_existing(public_path, err);
	if (r == 0)
		r = minisign_generate(&secret, &public, err);
	if (r == 0)
		r = format_secret(cli, secret, &secret_text, err);
	if (r == 0)
		r = minisign_public_key_format(&public, NULL, &public_text, err);
	if (r == 0)
		r = write_both(secret_path, secret_text, public_path, public_text, force, err);
	if (r < 0)
		return r;
	return print_key(cli, &public, public_path, secret_path, public_text, err);
}
