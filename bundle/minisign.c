#include "bundle/minisign.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/minisign-file.h"

#define PUBLIC_KEY_LEN (2 + MINISIGN_KEY_ID_LEN + crypto_sign_PUBLICKEYBYTES)
#define SIGNATURE_LEN (2 + MINISIGN_KEY_ID_LEN + crypto_sign_BYTES)

static uint64_t key_id_number(const uint8_t key_id[static MINISIGN_KEY_ID_LEN])
{
	uint64_t number = 0;

	for (int i = MINISIGN_KEY_ID_LEN - 1; i >= 0; i--)
		number = number << 8 | key_id[i];
	return number;
}

void minisign_format_key_id(const uint8_t key_id[static MINISIGN_KEY_ID_LEN],
			    char out[static MINISIGN_KEY_ID_TEXT_LEN + 1])
{
	(void)snprintf(out, MINISIGN_KEY_ID_TEXT_LEN + 1, "%016" PRIX64, key_id_number(key_id));
}

int minisign_public_key_parse(const char *text, size_t n, struct minisign_public_key *ret,
			      struct error *err)
{
	struct minisign_reader reader = { text, text + n };
	struct minisign_public_key key;
	struct minisign_line comment;
	uint8_t raw[PUBLIC_KEY_LEN];

	if (n > 10 && memcmp(text, MINISIGN_UNTRUSTED_PREFIX, 10) == 0 &&
	    !minisign_read_comment(&reader, MINISIGN_UNTRUSTED_PREFIX, MINISIGN_COMMENT_MAX,
				   &comment))
		return error_raise(
			err, ERROR_KEY_MALFORMED,
			"the first line of a public key file must be printable and begin "
			"with '" MINISIGN_UNTRUSTED_PREFIX "'");
	if (!minisign_read_base64(&reader, raw, sizeof(raw)) || reader.p != reader.end)
		return error_raise(
			err, ERROR_KEY_MALFORMED,
			"a minisign public key is one line of 56 base64 characters, after "
			"an optional comment line");
	if (raw[0] != 'E' || raw[1] != 'd')
		return error_raise(err, ERROR_KEY_MALFORMED,
				   "this is not an Ed25519 public key of minisign");
	memcpy(key.key_id, raw + 2, sizeof(key.key_id));
	memcpy(key.bytes, raw + 2 + MINISIGN_KEY_ID_LEN, sizeof(key.bytes));
	if (sodium_init() < 0)
		return error_raise(err, ERROR_INTERNAL, "libsodium does not start");
	if (crypto_core_ed25519_is_valid_point(key.bytes) != 1)
		return error_raise(err, ERROR_KEY_MALFORMED,
				   "the public key is no point of Ed25519's main subgroup: anybody "
				   "could sign for it");
	*ret = key;
	return 0;
}

int minisign_public_key_format(const struct minisign_public_key *key, const char *comment,
			       char **ret, struct error *err)
{
	char base64[sodium_base64_ENCODED_LEN(PUBLIC_KEY_LEN, sodium_base64_VARIANT_ORIGINAL)];
	uint8_t raw[PUBLIC_KEY_LEN] = { 'E', 'd' };
	struct str text = { 0 };

	if (comment != NULL && !minisign_is_comment(comment, strlen(comment), MINISIGN_COMMENT_MAX))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the comment is not one printable line of at most %d bytes",
				   MINISIGN_COMMENT_MAX);
	memcpy(raw + 2, key->key_id, sizeof(key->key_id));
	memcpy(raw + 2 + MINISIGN_KEY_ID_LEN, key->bytes, sizeof(key->bytes));
	(void)sodium_bin2base64(base64, sizeof(base64), raw, sizeof(raw),
				sodium_base64_VARIANT_ORIGINAL);
	(void)str_append(&text, MINISIGN_UNTRUSTED_PREFIX);
	if (comment != NULL)
		(void)str_append(&text, comment);
	else
		(void)str_appendf(&text, "minisign public key %" PRIX64,
				  key_id_number(key->key_id));
	(void)str_appendf(&text, "\n%s\n", base64);
	*ret = str_take(&text);
	return *ret == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a key file") : 0;
}

static int malformed(struct error *err, const char *what)
{
	return error_raise(err, ERROR_SIGNATURE_MALFORMED, "%s", what);
}

int minisign_signature_parse(const uint8_t *text, size_t n, struct minisign_signature *ret,
			     struct error *err)
{
	struct minisign_reader reader = { (const char *)text, (const char *)text + n };
	struct minisign_line untrusted, trusted;
	uint8_t raw[SIGNATURE_LEN], global[crypto_sign_BYTES];

	if (n > MINISIGN_SIGNATURE_FILE_MAX)
		return malformed(err, "a signature file has at most 9,000 bytes");
	if (n > 0 && memchr(text, '\r', n) != NULL)
		return malformed(err,
				 "a signature file has Unix line ends; this one holds a carriage "
				 "return");
	if (!minisign_read_comment(&reader, MINISIGN_UNTRUSTED_PREFIX, MINISIGN_COMMENT_MAX,
				   &untrusted))
		return malformed(err, "line 1 is not '" MINISIGN_UNTRUSTED_PREFIX
				      "' and at most 512 bytes of printable text");
	if (!minisign_read_base64(&reader, raw, sizeof(raw)))
		return malformed(err, "line 2 is not a signature of 100 base64 characters");
	if (raw[0] == 'E' && raw[1] == 'd')
		return malformed(err,
				 "this is a legacy signature over the file itself; sign with "
				 "`bpfleet bundle sign`, or with `minisign -S` 0.10 or later and "
				 "without -l, for a prehashed one");
	if (raw[0] != 'E' || raw[1] != 'D')
		return malformed(err, "line 2 names an unknown signature algorithm");
	if (!minisign_read_comment(&reader, MINISIGN_TRUSTED_PREFIX, MINISIGN_TRUSTED_COMMENT_MAX,
				   &trusted))
		return malformed(err, "line 3 is not '" MINISIGN_TRUSTED_PREFIX
				      "' and at most 8,192 bytes of printable text");
	if (!minisign_read_base64(&reader, global, sizeof(global)))
		return malformed(err, "line 4 is not a signature of 88 base64 characters");
	if (reader.p != reader.end)
		return malformed(err, "something follows the fourth line");
	memcpy(ret->key_id, raw + 2, MINISIGN_KEY_ID_LEN);
	memcpy(ret->signature, raw + 2 + MINISIGN_KEY_ID_LEN, crypto_sign_BYTES);
	memcpy(ret->global_signature, global, sizeof(global));
	memcpy(ret->trusted_comment, trusted.text, trusted.n);
	ret->trusted_comment[trusted.n] = '\0';
	return 0;
}

int minisign_verify(const struct minisign_signature *signature,
		    const struct minisign_public_key *key, const struct digest *digest,
		    struct error *err)
{
	uint8_t signed_text[crypto_sign_BYTES + MINISIGN_TRUSTED_COMMENT_MAX];
	size_t n = strnlen(signature->trusted_comment, MINISIGN_TRUSTED_COMMENT_MAX);

	if (sodium_init() < 0)
		return error_raise(err, ERROR_INTERNAL, "libsodium does not start");
	if (crypto_sign_verify_detached(signature->signature, digest->bytes, sizeof(digest->bytes),
					key->bytes) != 0)
		return error_raise(err, ERROR_SIGNATURE_INVALID,
				   "the signature does not match the bytes");
	memcpy(signed_text, signature->signature, crypto_sign_BYTES);
	memcpy(signed_text + crypto_sign_BYTES, signature->trusted_comment, n);
	if (crypto_sign_verify_detached(signature->global_signature, signed_text,
					crypto_sign_BYTES + n, key->bytes) != 0)
		return error_raise(err, ERROR_SIGNATURE_INVALID,
				   "the trusted comment was altered: its signature does not match");
	return 0;
}
