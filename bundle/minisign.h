/*
 * The file formats of stock minisign 0.11 (https://jedisct1.github.io/minisign/): public keys,
 * secret keys and detached signatures, read strictly and written as minisign writes them.
 * Signatures are over BLAKE2b-512 of the file (algorithm "ED"); legacy "Ed" ones are refused.
 * sodium_init() is called inside.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bundle/format.h"

struct error;

#define MINISIGN_KEY_ID_LEN 8
#define MINISIGN_KEY_ID_TEXT_LEN 16
#define MINISIGN_COMMENT_MAX 512 /* untrusted */
#define MINISIGN_TRUSTED_COMMENT_MAX 8192
#define MINISIGN_SIGNATURE_FILE_MAX 9000
#define MINISIGN_PASSWORD_MAX 1024

struct minisign_public_key {
	uint8_t key_id[MINISIGN_KEY_ID_LEN]; /* a hint, not covered by any signature */
	uint8_t bytes[32];		     /* Ed25519, checked: canonical, of the main subgroup */
};

struct minisign_signature {
	uint8_t key_id[MINISIGN_KEY_ID_LEN];
	uint8_t signature[64];
	uint8_t global_signature[64];
	char trusted_comment[MINISIGN_TRUSTED_COMMENT_MAX + 1];
};

/* In memory that is locked, guarded and wiped; free with minisign_secret_key_free(). */
struct minisign_secret_key;

void minisign_secret_key_free(struct minisign_secret_key *key);
DEFINE_CLEANUP(struct minisign_secret_key, minisign_secret_key_free)

/* The key id as 16 upper-case hex digits of a little-endian number; minisign drops leading zeros.
 */
void minisign_format_key_id(const uint8_t key_id[static MINISIGN_KEY_ID_LEN],
			    char out[static MINISIGN_KEY_ID_TEXT_LEN + 1]);

/* From a .pub file or from its base64 line alone. Errors: KEY_MALFORMED. */
_must_check_ int minisign_public_key_parse(const char *text, size_t n,
					   struct minisign_public_key *ret, struct error *err);
/* A .pub file, new (free it). comment may be NULL: minisign's own. Errors: OUT_OF_MEMORY. */
_must_check_ int minisign_public_key_format(const struct minisign_public_key *key,
					    const char *comment, char **ret, struct error *err);

/* From a .minisig file. Errors: SIGNATURE_MALFORMED. */
_must_check_ int minisign_signature_parse(const uint8_t *text, size_t n,
					  struct minisign_signature *ret, struct error *err);

/*
 * Checks a signature, and the one over its trusted comment, against a key and the digest of the
 * file. Ignores the key ids. Errors: SIGNATURE_INVALID.
 */
_must_check_ int minisign_verify(const struct minisign_signature *signature,
				 const struct minisign_public_key *key, const struct digest *digest,
				 struct error *err);

/* A fresh key pair. Errors: INTERNAL, OUT_OF_MEMORY. */
_must_check_ int minisign_generate(struct minisign_secret_key **ret_secret,
				   struct minisign_public_key *ret_public, struct error *err);

/* Whether a secret key file asks for a password. Errors: KEY_MALFORMED. */
_must_check_ int minisign_secret_key_is_encrypted(const char *text, size_t n, bool *ret,
						  struct error *err);
/*
 * From a secret key file; password is NULL or ignored for one that is not encrypted. An encrypted
 * key takes seconds and the memory it was made with (1 GiB by default). Errors: KEY_MALFORMED,
 * KEY_PASSWORD (wrong or missing), OUT_OF_MEMORY.
 */
_must_check_ int minisign_secret_key_parse(const char *text, size_t n, const char *password,
					   struct minisign_secret_key **ret, struct error *err);

/* How much work a password guess costs, as libsodium's scrypt counts it. */
struct minisign_kdf {
	uint64_t opslimit;
	uint64_t memlimit; /* bytes */
};

/*
 * A secret key file, new (sodium_memzero() and free it). password NULL: not encrypted. kdf NULL:
 * what minisign uses. comment NULL: minisign's own. Errors: INVALID_ARGUMENT (comment or password),
 * OUT_OF_MEMORY (of the key derivation, too).
 */
_must_check_ int minisign_secret_key_format(const struct minisign_secret_key *key,
					    const char *password, const struct minisign_kdf *kdf,
					    const char *comment, char **ret, struct error *err);
void minisign_secret_key_public(const struct minisign_secret_key *key,
				struct minisign_public_key *ret);

/*
 * Signs a digest; the .minisig file is new (free it). Both comments are one line of printable text
 * (UTF-8, tabs in the trusted one); untrusted NULL: "signature from bpfleet secret key". Errors:
 * INVALID_ARGUMENT (a comment), OUT_OF_MEMORY.
 */
_must_check_ int minisign_sign(const struct minisign_secret_key *key, const struct digest *digest,
			       const char *trusted_comment, const char *untrusted_comment,
			       char **ret, struct error *err);
