#include "daemon/config/trust_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/config/doc.h"

#define DIGEST_HEX_LEN 128u /* BLAKE2b-512 */
#define KEY_LINE_LEN 56u    /* base64 of 2 + 8 + 32 bytes */
#define KEYS_MAX 64u

void trust_file_free(struct trust_file *trust)
{
	if (trust == NULL)
		return;
	for (size_t i = 0; i < trust->n_keys; i++) {
		free(trust->keys[i].name);
		free(trust->keys[i].key);
		doc_strings_free(trust->keys[i].scope, trust->keys[i].n_scope);
	}
	free(trust->keys);
	doc_strings_free(trust->revoked, trust->n_revoked);
	free(trust);
}

/* The key line of a minisign .pub file: the second; a comment is the first. */
static int key_from_file(const struct doc *doc, const struct doc_node *node, const char *base,
			 char **ret, struct error *err)
{
	const char *slash = strrchr(base, '/');
	_cleanup_free_ char *text = NULL;
	struct str path = { 0 };
	_cleanup_free_ char *full = NULL;
	const char *name;
	char *line;
	size_t len;
	int r;

	r = doc_text(doc, node, "file", &name, err);
	if (r < 0)
		return r;
	if (name[0] != '/' && slash != NULL)
		(void)str_append_bytes(&path, base, (size_t)(slash - base) + 1);
	(void)str_append(&path, name);
	full = str_take(&path);
	if (full == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	r = doc_read_root_file(full, &text, &len, err);
	if (r < 0)
		return error_context(err, r, "%s:%u", doc->name, node->line);
	line = strchr(text, '\n');
	if (line == NULL || strncmp(text, "untrusted comment:", 18) != 0)
		return doc_raise(doc, node, err, "%.200s is not a minisign public key file", name);
	line++;
	line[strcspn(line, "\r\n")] = '\0';
	*ret = strdup(line);
	return *ret != NULL ? 0 : error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
}

static int read_key_line(const struct doc *doc, const struct doc_node *node, const char *base,
			 struct trust_file_key *key, struct error *err)
{
	const struct doc_node *text_node = doc_get(node, "key");
	const struct doc_node *file_node = doc_get(node, "file");
	const char *text;
	int r;

	if ((text_node == NULL) == (file_node == NULL))
		return doc_raise(doc, node, err, "a key needs either `key:` or `file:`");
	if (file_node != NULL) {
		r = key_from_file(doc, file_node, base, &key->key, err);
		if (r < 0)
			return r;
	} else {
		r = doc_text(doc, text_node, "key", &text, err);
		if (r < 0)
			return r;
		key->key = strdup(text);
		if (key->key == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	}
	if (strlen(key->key) != KEY_LINE_LEN || strncmp(key->key, "RW", 2) != 0)
		return doc_raise(doc, node, err,
				 "not a minisign public key: %u characters that begin with RW",
				 KEY_LINE_LEN);
	return 0;
}

static int read_key(const struct doc *doc, const struct doc_node *node, const char *base,
		    struct trust_file_key *key, struct error *err)
{
	static const char *const known[] = { "name", "key", "file", "scope" };
	const char *name;
	int r;

	r = doc_check_keys(doc, node, known, ARRAY_SIZE(known), err);
	if (r < 0)
		return r;
	key->line = node->line;
	if (doc_get(node, "name") == NULL)
		return doc_raise(doc, node, err, "a key needs a name");
	r = doc_text(doc, doc_get(node, "name"), "name", &name, err);
	if (r < 0)
		return r;
	key->name = strdup(name);
	if (key->name == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	r = read_key_line(doc, node, base, key, err);
	if (r < 0)
		return r;
	if (doc_get(node, "scope") == NULL)
		return doc_raise(doc, node, err,
				 "a key needs a scope: bundle names it may sign, or [\"*\"]");
	return doc_strings(doc, doc_get(node, "scope"), "scope", &key->scope, &key->n_scope, err);
}

/* Distinct texts under distinct names, so that one key cannot count twice. */
static int check_distinct(const struct doc *doc, const struct doc_node *keys,
			  const struct trust_file *trust, struct error *err)
{
	for (size_t i = 0; i < trust->n_keys; i++) {
		for (size_t j = 0; j < i; j++) {
			if (strcmp(trust->keys[i].key, trust->keys[j].key) == 0 ||
			    strcmp(trust->keys[i].name, trust->keys[j].name) == 0)
				return doc_raise(doc, keys->values[i], err,
						 "key or name was given before, in line %u",
						 trust->keys[j].line);
		}
	}
	return 0;
}

static int read_keys(const struct doc *doc, const struct doc_node *node, const char *base,
		     struct trust_file *trust, struct error *err)
{
	if (node == NULL || node->kind != DOC_LIST || node->n == 0)
		return doc_raise(doc, node, err, "keys must be a list of at least one key");
	if (node->n > KEYS_MAX)
		return doc_raise(doc, node, err, "more than %u keys", KEYS_MAX);
	trust->keys = calloc(node->n, sizeof(*trust->keys));
	if (trust->keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	trust->n_keys = node->n;
	for (size_t i = 0; i < node->n; i++) {
		int r = read_key(doc, node->values[i], base, &trust->keys[i], err);

		if (r < 0)
			return r;
	}
	return check_distinct(doc, node, trust, err);
}

static int read_revoked(const struct doc *doc, const struct doc_node *node,
			struct trust_file *trust, struct error *err)
{
	uint8_t digest[DIGEST_HEX_LEN / 2];
	int r;

	if (node == NULL || (node->kind == DOC_LIST && node->n == 0))
		return 0;
	r = doc_strings(doc, node, "revoked", &trust->revoked, &trust->n_revoked, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < trust->n_revoked; i++) {
		if (strlen(trust->revoked[i]) != DIGEST_HEX_LEN ||
		    str_unhex(trust->revoked[i], digest, sizeof(digest)) < 0)
			return doc_raise(doc, node->values[i], err,
					 "revoked takes digests of bundle files as b2sum prints "
					 "them: %u hex digits",
					 DIGEST_HEX_LEN);
		str_hex(digest, sizeof(digest), trust->revoked[i]);
	}
	return 0;
}

int trust_file_from_doc(const struct doc *doc, const char *path, struct trust_file **ret,
			struct error *err)
{
	static const char *const known[] = { "threshold", "keys", "revoked" };
	_cleanup_(trust_file_freep) struct trust_file *trust = calloc(1, sizeof(*trust));
	const struct doc_node *threshold = doc_get(doc->root, "threshold");
	uint64_t number = 1;
	int r;

	if (trust == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", doc->name);
	if (doc->root == NULL) {
		/* An empty file trusts nobody: every bundle is refused. */
		trust->threshold = 1;
		*ret = TAKE_PTR(trust);
		return 0;
	}
	r = doc_check_keys(doc, doc->root, known, ARRAY_SIZE(known), err);
	if (r == 0)
		r = read_keys(doc, doc_get(doc->root, "keys"), path, trust, err);
	if (r == 0 && threshold != NULL)
		r = doc_number(doc, threshold, "threshold", 1, trust->n_keys, &number, err);
	if (r == 0)
		r = read_revoked(doc, doc_get(doc->root, "revoked"), trust, err);
	if (r < 0)
		return r;
	trust->threshold = (uint32_t)number;
	*ret = TAKE_PTR(trust);
	return 0;
}

int trust_file_load(const char *path, struct trust_file **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	r = doc_load(path, &doc, err);
	if (r < 0)
		return r;
	return trust_file_from_doc(doc, path, ret, err);
}
