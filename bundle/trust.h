/*
 * Whom a host believes: keys with scopes, how many of them must agree, and what is revoked. A
 * bundle is judged in two steps. trust_verify() looks at bytes only, offline; nothing may be parsed
 * before it succeeds. trust_check_scope() then asks whether the signers may sign a bundle of that
 * name.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bundle/minisign.h"
#include "bundle/name.h"

struct error;

#define TRUST_KEYS_MAX 64
#define TRUST_SCOPES_MAX 32	/* of one key */
#define TRUST_SIGNATURES_MAX 16 /* of one bundle */
#define TRUST_REVOKED_MAX 65536

struct trust_key {
	char name[NAME_LABEL_MAX + 1];
	struct minisign_public_key key;
	/* Globs over bundle names (`*` and `?`); none: every name. */
	size_t n_scopes;
	char (*scopes)[NAME_BUNDLE_MAX + 1];
};

/* Plain data; zero it and set the threshold, or trust_init(). */
struct trust {
	unsigned int threshold; /* distinct keys that must have signed, at least 1 */
	size_t n_keys;
	struct trust_key *keys;
	size_t n_revoked;
	struct digest *revoked; /* of whole bundle files */
};

/* Empty, threshold 1: nothing is believed. */
void trust_init(struct trust *trust);
void trust_done(struct trust *trust);

/*
 * Adds a key from the text of a .pub file or its base64 line. Two keys may share neither name nor
 * public key. Errors: INVALID_NAME, KEY_MALFORMED, CONFIG_INVALID (duplicate, bad glob, too many),
 * OUT_OF_MEMORY.
 */
_must_check_ int trust_add_key(struct trust *trust, const char *name, const char *public_key,
			       const char *const *scopes, size_t n_scopes, struct error *err);
/* Adds a revoked digest as 128 hex digits. Errors: CONFIG_INVALID, OUT_OF_MEMORY. */
_must_check_ int trust_add_revoked(struct trust *trust, const char *digest_hex, struct error *err);

struct trust_blob {
	const uint8_t *data;
	size_t size;
};

/* A trusted key that made a signature; copies, independent of the trust they came from. */
struct trust_signer {
	char key_name[NAME_LABEL_MAX + 1];
	struct minisign_public_key key;
	char trusted_comment[MINISIGN_TRUSTED_COMMENT_MAX + 1];
};

struct trust_verified {
	struct digest digest;
	size_t n_signers; /* distinct keys, in the order of the signatures */
	struct trust_signer signers[TRUST_SIGNATURES_MAX];
};

/*
 * Verifies bytes: length, digest against the announced one (NULL: none was), signatures, threshold,
 * revocation; in that order. Signatures by unknown keys do not count and do not harm. The result is
 * new (free with trust_verified_free()). Errors: BUNDLE_TOO_LARGE, BUNDLE_MALFORMED (empty),
 * BUNDLE_DIGEST_MISMATCH, BUNDLE_UNSIGNED, INVALID_ARGUMENT (too many signatures),
 * SIGNATURE_MALFORMED, SIGNATURE_INVALID (a signature that names a trusted key and is not its),
 * SIGNER_UNTRUSTED, SIGNATURE_THRESHOLD, BUNDLE_REVOKED, CONFIG_INVALID (threshold 0).
 */
_must_check_ int trust_verify(const struct trust *trust, struct trust_blob file,
			      const struct digest *announced, const struct trust_blob *signatures,
			      size_t n_signatures, struct trust_verified **ret, struct error *err);
void trust_verified_free(struct trust_verified *verified);
DEFINE_CLEANUP(struct trust_verified, trust_verified_free)

/*
 * Whether enough of the signers may sign a bundle of that name; also for asking again, under
 * changed trust, about a bundle verified before (revocation is asked again). Errors:
 * SIGNER_OUT_OF_SCOPE, SIGNER_UNTRUSTED (no signer is trusted any more), SIGNATURE_THRESHOLD,
 * BUNDLE_REVOKED, CONFIG_INVALID.
 */
_must_check_ int trust_check_scope(const struct trust *trust, const struct trust_verified *verified,
				   const char *bundle_name, struct error *err);
