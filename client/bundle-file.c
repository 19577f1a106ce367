#include "client/bundle-file.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/file.h"
#include "client/upload.h"
#include "proto/arena.h"

#define PUBLIC_KEY_FILE_MAX 4096

void bundle_file_done(struct bundle_file *file)
{
	free(file->bytes);
	*file = (struct bundle_file){ 0 };
}

int bundle_file_read(const char *path, struct bundle_file *ret, struct error *err)
{
	struct bundle_file file = { .path = path };
	int r;

	r = file_read(path, BUNDLE_SIZE_MAX, &file.bytes, &file.size, err);
	if (r < 0)
		return r;
	if (file.size == 0) {
		bundle_file_done(&file);
		return error_raise(err, ERROR_BUNDLE_MALFORMED, "%.200s is empty", path);
	}
	digest_compute(file.bytes, file.size, &file.digest);
	*ret = file;
	return 0;
}

int bundle_file_signatures(struct cli *cli, struct arena *arena, struct bundle_file *file,
			   struct error *err)
{
	const char *paths[UPLOAD_SIGNATURES_MAX + 1];
	size_t n = cli_count(&cli->args, OPTION_SIGNATURE);

	if (n > UPLOAD_SIGNATURES_MAX)
		return cli_usage(cli, err, "at most %d signature files", UPLOAD_SIGNATURES_MAX);
	for (size_t i = 0; i < n; i++)
		paths[i] = cli_nth(&cli->args, OPTION_SIGNATURE, i);
	return upload_read_signatures(file->path, paths, n, arena, &file->signatures,
				      &file->n_signatures, err);
}

/* A key's text: the file of that name, or the base64 line itself. */
static int read_public_key(const char *given, char **ret, struct error *err)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct minisign_public_key key;
	char *text;
	size_t n;
	int r;

	if (minisign_public_key_parse(given, strlen(given), &key, NULL) == 0) {
		text = strdup(given);
		if (text == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		*ret = text;
		return 0;
	}
	r = file_read(given, PUBLIC_KEY_FILE_MAX, &bytes, &n, err);
	if (r < 0)
		return r;
	r = minisign_public_key_parse((const char *)bytes, n, &key, err);
	if (r < 0)
		return error_context(err, r, "%.200s", given);
	*ret = (char *)TAKE_PTR(bytes);
	return 0;
}

/*
 * What messages call the key: its file's name as far as a label can hold it, numbered when that is
 * nothing or taken.
 */
static void name_key(const struct trust *trust, const char *given, char *out, size_t size)
{
	const char *base = strrchr(given, '/') == NULL ? given : strrchr(given, '/') + 1;
	size_t n = 0;

	for (const char *c = base; *c != '\0' && *c != '.' && n + 8 < size; c++) {
		char lower = (char)tolower((unsigned char)*c);

		out[n++] = isalnum((unsigned char)lower) || lower == '_' ? lower : '-';
	}
	out[n] = '\0';
	if (!name_is_label(out))
		(void)snprintf(out, size, "key");
	for (size_t i = 0; i < trust->n_keys; i++) {
		if (strcmp(trust->keys[i].name, out) == 0) {
			n = strlen(out);
			(void)snprintf(out + n, size - n, "-%zu", trust->n_keys + 1);
			return;
		}
	}
}

static int add_keys(struct cli *cli, struct trust *trust, struct error *err)
{
	size_t n = cli_count(&cli->args, OPTION_PUBLIC_KEY);
	uint64_t threshold = cli_number(&cli->args, OPTION_THRESHOLD, 1);
	char name[NAME_LABEL_MAX + 1];
	int r;

	if (threshold < 1 || threshold > n)
		return cli_usage(cli, err, "--threshold is from 1 to the number of keys, %zu", n);
	trust->threshold = (unsigned int)threshold;
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *text = NULL;

		const char *given = cli_nth(&cli->args, OPTION_PUBLIC_KEY, i);

		r = read_public_key(given, &text, err);
		if (r < 0)
			return r;
		name_key(trust, given, name, sizeof(name));
		r = trust_add_key(trust, name, text, NULL, 0, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int bundle_file_verify(struct cli *cli, const struct bundle_file *file, struct trust_verified **ret,
		       struct error *err)
{
	_cleanup_(trust_done) struct trust trust = { 0 };
	struct trust_blob blobs[UPLOAD_SIGNATURES_MAX];
	int r;

	trust_init(&trust);
	r = add_keys(cli, &trust, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < file->n_signatures; i++)
		blobs[i] = (struct trust_blob){ file->signatures[i]->minisig.data,
						file->signatures[i]->minisig.len };
	return trust_verify(&trust, (struct trust_blob){ file->bytes, file->size }, NULL, blobs,
			    file->n_signatures, ret, err);
}

void bundle_file_append_comment(struct str *s, const char *comment)
{
	while (*comment != '\0') {
		size_t n = strcspn(comment, "\t");

		(void)str_append_escaped(s, comment, n);
		comment += n;
		if (*comment == '\t') {
			(void)str_append(s, "  ");
			comment++;
		}
	}
}

void bundle_file_label(const Bpfleet__V1__Manifest *manifest,
		       char out[static NAME_BUNDLE_REF_MAX + 1])
{
	struct bundle_ref ref = { .has_version = true };

	(void)snprintf(ref.name, sizeof(ref.name), "%s", manifest->name);
	ref.version = (struct version){ manifest->version->major, manifest->version->minor,
					manifest->version->patch };
	bundle_ref_format(&ref, out);
}

static int add_signers(const struct trust_verified *verified, struct arena *arena,
		       Bpfleet__V1__BundleInfo *info, struct error *err)
{
	Bpfleet__V1__Signer *rows = arena_alloc(arena, (verified->n_signers + 1) * sizeof(*rows));
	char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1];

	info->signers = arena_alloc(arena, (verified->n_signers + 1) * sizeof(void *));
	if (rows == NULL || info->signers == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < verified->n_signers; i++) {
		const struct trust_signer *signer = &verified->signers[i];

		bpfleet__v1__signer__init(&rows[i]);
		minisign_format_key_id(signer->key.key_id, key_id);
		rows[i].key_id = arena_strndup(arena, key_id, strlen(key_id));
		rows[i].name = arena_strndup(arena, signer->key_name, strlen(signer->key_name));
		rows[i].trusted_comment = arena_strndup(arena, signer->trusted_comment,
							strlen(signer->trusted_comment));
		if (rows[i].key_id == NULL || rows[i].name == NULL ||
		    rows[i].trusted_comment == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		info->signers[i] = &rows[i];
	}
	info->n_signers = verified->n_signers;
	return 0;
}

int bundle_file_info(const struct bundle_file *file, const Bpfleet__V1__Manifest *manifest,
		     const struct trust_verified *verified, struct arena *arena,
		     Bpfleet__V1__BundleInfo **ret, struct error *err)
{
	Bpfleet__V1__BundleInfo *info = arena_alloc(arena, sizeof(*info));
	char label[NAME_BUNDLE_REF_MAX + 1];
	int r;

	if (info == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	bpfleet__v1__bundle_info__init(info);
	if (manifest != NULL) {
		bundle_file_label(manifest, label);
		info->name = arena_printf(arena, "bundles/%s", label);
		info->description = manifest->description;
		info->expires_at_ns = manifest->expires_at_ns;
		if (info->name == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	}
	info->digest.data = (uint8_t *)file->digest.bytes;
	info->digest.len = sizeof(file->digest.bytes);
	info->size_bytes = file->size;
	if (verified != NULL) {
		r = add_signers(verified, arena, info, err);
		if (r < 0)
			return r;
	}
	*ret = info;
	return 0;
}
