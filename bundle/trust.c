#include "bundle/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/error.h"
#include "base/str.h"

void trust_init(struct trust *trust)
{
	*trust = (struct trust){ .threshold = 1 };
}

void trust_done(struct trust *trust)
{
	for (size_t i = 0; i < trust->n_keys; i++)
		free(trust->keys[i].scopes);
	free(trust->keys);
	free(trust->revoked);
	*trust = (struct trust){ 0 };
}

/* Scopes are bundle names in which `*` and `?` may stand anywhere. */
static bool is_scope(const char *text)
{
	size_t n = strnlen(text, NAME_BUNDLE_MAX + 1);

	return n > 0 && n <= NAME_BUNDLE_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_*?") == n;
}

static int check_key(const struct trust *trust, const struct trust_key *key,
		     const char *const *scopes, size_t n_scopes, struct error *err)
{
	if (trust->n_keys >= TRUST_KEYS_MAX || n_scopes > TRUST_SCOPES_MAX)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "key '%s': at most %d keys with %d scopes each are allowed",
				   key->name, TRUST_KEYS_MAX, TRUST_SCOPES_MAX);
	for (size_t i = 0; i < n_scopes; i++) {
		if (!is_scope(scopes[i]))
			return error_raise(
				err, ERROR_CONFIG_INVALID,
				"key '%s': scope '%.64s' is not a bundle name with '*' or "
				"'?'",
				key->name, scopes[i]);
	}
	for (size_t i = 0; i < trust->n_keys; i++) {
		if (strcmp(trust->keys[i].name, key->name) == 0)
			return error_raise(err, ERROR_CONFIG_INVALID, "two keys are called '%s'",
					   key->name);
		if (memcmp(trust->keys[i].key.bytes, key->key.bytes, sizeof(key->key.bytes)) == 0)
			return error_raise(err, ERROR_CONFIG_INVALID,
					   "keys '%s' and '%s' are the same public key",
					   trust->keys[i].name, key->name);
	}
	return 0;
}

int trust_add_key(struct trust *trust, const char *name, const char *public_key,
		  const char *const *scopes, size_t n_scopes, struct error *err)
{
	struct trust_key key = { .n_scopes = n_scopes }, *keys;
	int r;

	r = name_check_label(name, err);
	if (r < 0)
		return r;
	(void)snprintf(key.name, sizeof(key.name), "%s", name);
	r = minisign_public_key_parse(public_key, strlen(public_key), &key.key, err);
	if (r < 0)
		return error_context(err, r, "key '%s'", name);
	r = check_key(trust, &key, scopes, n_scopes, err);
	if (r < 0)
		return r;
	keys = realloc(trust->keys, (trust->n_keys + 1) * sizeof(*keys));
	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a key");
	trust->keys = keys;
	if (n_scopes > 0) {
		key.scopes = calloc(n_scopes, sizeof(key.scopes[0]));
		if (key.scopes == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a key");
	}
	for (size_t i = 0; i < n_scopes; i++)
		(void)snprintf(key.scopes[i], sizeof(key.scopes[i]), "%s", scopes[i]);
	trust->keys[trust->n_keys++] = key;
	return 0;
}

int trust_add_revoked(struct trust *trust, const char *digest_hex, struct error *err)
{
	struct digest digest, *revoked;

	if (trust->n_revoked >= TRUST_REVOKED_MAX)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "at most %d digests can be revoked one by one",
				   TRUST_REVOKED_MAX);
	if (str_unhex(digest_hex, digest.bytes, sizeof(digest.bytes)) < 0)
		return error_raise(
			err, ERROR_CONFIG_INVALID,
			"a revoked digest is 128 hexadecimal digits, as b2sum prints them");
	revoked = realloc(trust->revoked, (trust->n_revoked + 1) * sizeof(*revoked));
	if (revoked == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a digest");
	trust->revoked = revoked;
	trust->revoked[trust->n_revoked++] = digest;
	return 0;
}

static bool same_key(const struct minisign_public_key *a, const struct minisign_public_key *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static int check_revoked(const struct trust *trust, const struct digest *digest, struct error *err)
{
	for (size_t i = 0; i < trust->n_revoked; i++) {
		if (memcmp(trust->revoked[i].bytes, digest->bytes, sizeof(digest->bytes)) == 0)
			return error_raise(err, ERROR_BUNDLE_REVOKED,
					   "the bundle with this digest is revoked on this host");
	}
	return 0;
}

static int check_threshold(const struct trust *trust, size_t n, struct error *err)
{
	if (n >= trust->threshold)
		return 0;
	return error_raise(err, ERROR_SIGNATURE_THRESHOLD,
			   "%zu of the %u trusted keys that this host asks for signed the bundle",
			   n, trust->threshold);
}

static int check_policy(const struct trust *trust, struct error *err)
{
	if (trust->threshold == 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "the threshold of trust must be at least 1");
	return 0;
}

static int check_file(struct trust_blob file, const struct digest *announced, struct digest *ret,
		      struct error *err)
{
	if (file.size > BUNDLE_SIZE_MAX)
		return error_raise(err, ERROR_BUNDLE_TOO_LARGE,
				   "the bundle has %zu bytes; at most %zu are allowed", file.size,
				   BUNDLE_SIZE_MAX);
	if (file.size < BUNDLE_HEADER_LEN)
		return error_raise(err, ERROR_BUNDLE_MALFORMED, "%zu bytes are no bundle",
				   file.size);
	digest_compute(file.data, file.size, ret);
	if (announced != NULL && memcmp(announced->bytes, ret->bytes, sizeof(ret->bytes)) != 0)
		return error_raise(err, ERROR_BUNDLE_DIGEST_MISMATCH,
				   "the %zu bytes that arrived do not have the announced digest",
				   file.size);
	return 0;
}

/*
 * The trusted key that made the signature, NULL if none did. Keys of the signature's key id are
 * tried first, then the others, because the id is not signed.
 */
static int find_signer(const struct trust *trust, const struct minisign_signature *signature,
		       const struct digest *digest, const struct trust_key **ret, struct error *err)
{
	struct error inner = { 0 };
	const char *named = NULL;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < trust->n_keys; i++) {
			const struct trust_key *key = &trust->keys[i];
			bool is_named = memcmp(key->key.key_id, signature->key_id,
					       sizeof(signature->key_id)) == 0;

			if (is_named != (pass == 0))
				continue;
			if (minisign_verify(signature, &key->key, digest,
					    pass == 0 ? &inner : NULL) == 0) {
				*ret = key;
				return 0;
			}
			if (is_named)
				named = key->name;
		}
	}
	if (named != NULL)
		return error_raise(err, ERROR_SIGNATURE_INVALID, "signature of key '%s': %s", named,
				   inner.message);
	*ret = NULL;
	return 0;
}

static void add_signer(struct trust_verified *verified, const struct trust_key *key,
		       const char *trusted_comment)
{
	struct trust_signer *signer = &verified->signers[verified->n_signers];

	for (size_t i = 0; i < verified->n_signers; i++) {
		if (same_key(&verified->signers[i].key, &key->key))
			return;
	}
	memcpy(signer->key_name, key->name, sizeof(signer->key_name));
	signer->key = key->key;
	(void)snprintf(signer->trusted_comment, sizeof(signer->trusted_comment), "%s",
		       trusted_comment);
	verified->n_signers++;
}

static int verify_signatures(const struct trust *trust, const struct trust_blob *signatures,
			     size_t n_signatures, struct trust_verified *verified,
			     struct error *err)
{
	struct minisign_signature signature;
	const struct trust_key *key = NULL;
	char key_id[MINISIGN_KEY_ID_TEXT_LEN + 1] = "";
	int r;

	for (size_t i = 0; i < n_signatures; i++) {
		r = minisign_signature_parse(signatures[i].data, signatures[i].size, &signature,
					     err);
		if (r == 0)
			r = find_signer(trust, &signature, &verified->digest, &key, err);
		if (r < 0)
			return n_signatures == 1 ? r
						 : error_context(err, r, "signature %zu", i + 1);
		if (key != NULL)
			add_signer(verified, key, signature.trusted_comment);
		minisign_format_key_id(signature.key_id, key_id);
	}
	if (verified->n_signers == 0)
		return error_raise(
			err, ERROR_SIGNER_UNTRUSTED,
			"no signature is by a key that this host trusts; the last one names "
			"key %s",
			key_id);
	return check_threshold(trust, verified->n_signers, err);
}

int trust_verify(const struct trust *trust, struct trust_blob file, const struct digest *announced,
		 const struct trust_blob *signatures, size_t n_signatures,
		 struct trust_verified **ret, struct error *err)
{
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	int r;

	r = check_policy(trust, err);
	if (r < 0)
		return r;
	verified = calloc(1, sizeof(*verified));
	if (verified == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to verify a bundle");
	r = check_file(file, announced, &verified->digest, err);
	if (r < 0)
		return r;
	if (n_signatures == 0)
		return error_raise(err, ERROR_BUNDLE_UNSIGNED, "the bundle carries no signature");
	if (n_signatures > TRUST_SIGNATURES_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "%zu signatures; at most %d are allowed", n_signatures,
				   TRUST_SIGNATURES_MAX);
	r = verify_signatures(trust, signatures, n_signatures, verified, err);
	if (r == 0)
		r = check_revoked(trust, &verified->digest, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(verified);
	return 0;
}

void trust_verified_free(struct trust_verified *verified)
{
	free(verified);
}

static bool scope_covers(const struct trust_key *key, const char *bundle_name)
{
	for (size_t i = 0; i < key->n_scopes; i++) {
		if (str_glob(key->scopes[i], bundle_name))
			return true;
	}
	return key->n_scopes == 0;
}

int trust_check_scope(const struct trust *trust, const struct trust_verified *verified,
		      const char *bundle_name, struct error *err)
{
	size_t n_trusted = 0, n_covering = 0;
	int r;

	r = check_policy(trust, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < verified->n_signers; i++) {
		for (size_t j = 0; j < trust->n_keys; j++) {
			if (!same_key(&verified->signers[i].key, &trust->keys[j].key))
				continue;
			n_trusted++;
			n_covering += scope_covers(&trust->keys[j], bundle_name);
		}
	}
	if (n_trusted == 0)
		return error_raise(err, ERROR_SIGNER_UNTRUSTED,
				   "no key that signed bundle '%s' is trusted", bundle_name);
	r = check_threshold(trust, n_trusted, err);
	if (r < 0)
		return r;
	if (n_covering < trust->threshold)
		return error_raise(
			err, ERROR_SIGNER_OUT_OF_SCOPE,
			"%zu of the %u keys needed may sign a bundle called '%s'; widen the "
			"scope of a key in this host's trust file, or sign with another",
			n_covering, trust->threshold, bundle_name);
	return check_revoked(trust, &verified->digest, err);
}
