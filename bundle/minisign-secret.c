/* Secret keys and what is made with them; declared in bundle/minisign.h. */
#include <string.h>

#include <sodium.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/minisign-file.h"
#include "bundle/minisign.h"

#define SALT_LEN crypto_pwhash_scryptsalsa208sha256_SALTBYTES
#define CHECKSUM_LEN 32
#define SEALED_LEN (MINISIGN_KEY_ID_LEN + crypto_sign_SECRETKEYBYTES + CHECKSUM_LEN)

/* What a file may ask of the key derivation: four times what minisign asks. */
#define OPSLIMIT_MAX (UINT64_C(4) * crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE)
#define MEMLIMIT_MAX (UINT64_C(4) * crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_SENSITIVE)

struct minisign_secret_key {
	uint8_t key_id[MINISIGN_KEY_ID_LEN];
	uint8_t bytes[crypto_sign_SECRETKEYBYTES]; /* seed, then public key */
};

/* A secret key file's second line, as minisign lays it out; bytes only, so without padding. */
struct secret_file {
	uint8_t algorithm[2];
	uint8_t kdf[2];
	uint8_t checksum_algorithm[2];
	uint8_t salt[SALT_LEN];
	uint8_t opslimit[8];
	uint8_t memlimit[8];
	uint8_t key_id[MINISIGN_KEY_ID_LEN]; /* from here on sealed with the password */
	uint8_t bytes[crypto_sign_SECRETKEYBYTES];
	uint8_t checksum[CHECKSUM_LEN];
};

_Static_assert(sizeof(struct secret_file) == 158, "as minisign has it");

static void *secret_new(size_t size)
{
	return sodium_init() < 0 ? NULL : sodium_malloc(size);
}

static void secret_file_free(struct secret_file *file)
{
	sodium_free(file);
}
DEFINE_CLEANUP(struct secret_file, secret_file_free)

void minisign_secret_key_free(struct minisign_secret_key *key)
{
	sodium_free(key);
}

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no locked memory for a secret key");
}

static void store_le64(uint8_t out[static 8], uint64_t value)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load_le64(const uint8_t in[static 8])
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | in[i];
	return value;
}

int minisign_generate(struct minisign_secret_key **ret_secret,
		      struct minisign_public_key *ret_public, struct error *err)
{
	struct minisign_secret_key *key = secret_new(sizeof(*key));

	if (key == NULL)
		return no_memory(err);
	randombytes_buf(key->key_id, sizeof(key->key_id));
	(void)crypto_sign_keypair(ret_public->bytes, key->bytes);
	memcpy(ret_public->key_id, key->key_id, sizeof(key->key_id));
	*ret_secret = key;
	return 0;
}

void minisign_secret_key_public(const struct minisign_secret_key *key,
				struct minisign_public_key *ret)
{
	memcpy(ret->key_id, key->key_id, sizeof(ret->key_id));
	memcpy(ret->bytes, key->bytes + crypto_sign_SEEDBYTES, sizeof(ret->bytes));
}

static void compute_checksum(const struct secret_file *file, uint8_t out[static CHECKSUM_LEN])
{
	crypto_generichash_state state;

	(void)crypto_generichash_init(&state, NULL, 0, CHECKSUM_LEN);
	(void)crypto_generichash_update(&state, file->algorithm, sizeof(file->algorithm));
	(void)crypto_generichash_update(&state, file->key_id, sizeof(file->key_id));
	(void)crypto_generichash_update(&state, file->bytes, sizeof(file->bytes));
	(void)crypto_generichash_final(&state, out, CHECKSUM_LEN);
	sodium_memzero(&state, sizeof(state));
}

/* Seals or opens the last SEALED_LEN bytes: both are an exclusive or with a stream of the password.
 */
static int apply_password(struct secret_file *file, const char *password, struct error *err)
{
	uint64_t opslimit = load_le64(file->opslimit), memlimit = load_le64(file->memlimit);
	uint8_t *stream;

	if (opslimit > OPSLIMIT_MAX || memlimit > MEMLIMIT_MAX)
		return error_raise(
			err, ERROR_KEY_MALFORMED,
			"the secret key asks for more than 4 GiB or four times minisign's "
			"work for its password");
	stream = secret_new(SEALED_LEN);
	if (stream == NULL)
		return no_memory(err);
	if (crypto_pwhash_scryptsalsa208sha256(stream, SEALED_LEN, password, strlen(password),
					       file->salt, opslimit, (size_t)memlimit) != 0) {
		sodium_free(stream);
		return error_raise(err, ERROR_OUT_OF_MEMORY,
				   "the secret key's password needs %llu MiB of memory to check",
				   (unsigned long long)(memlimit >> 20));
	}
	for (size_t i = 0; i < sizeof(file->key_id); i++)
		file->key_id[i] ^= stream[i];
	for (size_t i = 0; i < sizeof(file->bytes); i++)
		file->bytes[i] ^= stream[sizeof(file->key_id) + i];
	for (size_t i = 0; i < sizeof(file->checksum); i++)
		file->checksum[i] ^= stream[sizeof(file->key_id) + sizeof(file->bytes) + i];
	sodium_free(stream);
	return 0;
}

/* Reads the file; the parts before the sealed ones are checked. */
static int read_file(const char *text, size_t n, struct secret_file *file, bool *ret_encrypted,
		     struct error *err)
{
	struct minisign_reader reader = { text, text + n };
	struct minisign_line comment;

	if (!minisign_read_comment(&reader, MINISIGN_UNTRUSTED_PREFIX, MINISIGN_COMMENT_MAX,
				   &comment) ||
	    !minisign_read_base64(&reader, (uint8_t *)file, sizeof(*file)) ||
	    reader.p != reader.end)
		return error_raise(
			err, ERROR_KEY_MALFORMED,
			"a minisign secret key is a comment line and a line of 212 base64 "
			"characters");
	if (memcmp(file->algorithm, "Ed", 2) != 0 || memcmp(file->checksum_algorithm, "B2", 2) != 0)
		return error_raise(err, ERROR_KEY_MALFORMED,
				   "this is not an Ed25519 secret key of minisign");
	*ret_encrypted = memcmp(file->kdf, "Sc", 2) == 0;
	if (!*ret_encrypted && !sodium_is_zero(file->kdf, sizeof(file->kdf)))
		return error_raise(
			err, ERROR_KEY_MALFORMED,
			"the secret key is encrypted in a way this version does not know");
	return 0;
}

int minisign_secret_key_is_encrypted(const char *text, size_t n, bool *ret, struct error *err)
{
	_cleanup_(secret_file_freep) struct secret_file *file = secret_new(sizeof(*file));
	bool encrypted;
	int r;

	if (file == NULL)
		return no_memory(err);
	r = read_file(text, n, file, &encrypted, err);
	if (r < 0)
		return r;
	*ret = encrypted;
	return 0;
}

/* The public half must be the seed's: signing with another would reveal the seed. */
static bool is_pair(const struct secret_file *file)
{
	uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
	uint8_t *pair = secret_new(crypto_sign_SECRETKEYBYTES);
	bool same;

	if (pair == NULL)
		return false;
	(void)crypto_sign_seed_keypair(public_key, pair, file->bytes);
	same = sodium_memcmp(pair, file->bytes, crypto_sign_SECRETKEYBYTES) == 0;
	sodium_free(pair);
	return same;
}

static int open_file(struct secret_file *file, bool encrypted, const char *password,
		     struct error *err)
{
	uint8_t checksum[CHECKSUM_LEN];
	int r;

	if (encrypted) {
		if (password == NULL)
			return error_raise(err, ERROR_KEY_PASSWORD,
					   "the secret key is encrypted; its password is needed");
		if (strlen(password) > MINISIGN_PASSWORD_MAX)
			return error_raise(err, ERROR_KEY_PASSWORD, "the password is too long");
		r = apply_password(file, password, err);
		if (r < 0)
			return r;
	}
	compute_checksum(file, checksum);
	/* minisign 0.11 leaves the checksum of an unencrypted key zero. */
	if (sodium_memcmp(checksum, file->checksum, sizeof(checksum)) != 0 &&
	    (encrypted || !sodium_is_zero(file->checksum, sizeof(file->checksum))))
		return encrypted ? error_raise(err, ERROR_KEY_PASSWORD,
					       "wrong password for the secret key")
				 : error_raise(err, ERROR_KEY_MALFORMED,
					       "the secret key's checksum is wrong");
	if (!is_pair(file))
		return error_raise(err, ERROR_KEY_MALFORMED,
				   "the two halves of the secret key do not belong together");
	return 0;
}

int minisign_secret_key_parse(const char *text, size_t n, const char *password,
			      struct minisign_secret_key **ret, struct error *err)
{
	_cleanup_(secret_file_freep) struct secret_file *file = secret_new(sizeof(*file));
	struct minisign_secret_key *key;
	bool encrypted;
	int r;

	if (file == NULL)
		return no_memory(err);
	r = read_file(text, n, file, &encrypted, err);
	if (r == 0)
		r = open_file(file, encrypted, password, err);
	if (r < 0)
		return r;
	key = secret_new(sizeof(*key));
	if (key == NULL)
		return no_memory(err);
	memcpy(key->key_id, file->key_id, sizeof(key->key_id));
	memcpy(key->bytes, file->bytes, sizeof(key->bytes));
	*ret = key;
	return 0;
}

static int seal_file(struct secret_file *file, const char *password, const struct minisign_kdf *kdf,
		     struct error *err)
{
	static const struct minisign_kdf stock = {
		crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE,
		crypto_pwhash_scryptsalsa208sha256_MEMLIMIT_SENSITIVE,
	};

	if (kdf == NULL)
		kdf = &stock;
	if (password[0] == '\0' || strlen(password) > MINISIGN_PASSWORD_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a password has 1 to %d bytes",
				   MINISIGN_PASSWORD_MAX);
	memcpy(file->kdf, "Sc", 2);
	randombytes_buf(file->salt, sizeof(file->salt));
	store_le64(file->opslimit, kdf->opslimit);
	store_le64(file->memlimit, kdf->memlimit);
	compute_checksum(file, file->checksum);
	return apply_password(file, password, err);
}

int minisign_secret_key_format(const struct minisign_secret_key *key, const char *password,
			       const struct minisign_kdf *kdf, const char *comment, char **ret,
			       struct error *err)
{
	enum {
		BASE64_LEN = sodium_base64_ENCODED_LEN(sizeof(struct secret_file),
						       sodium_base64_VARIANT_ORIGINAL)
	};
	_cleanup_(secret_file_freep) struct secret_file *file = secret_new(sizeof(*file));
	size_t n_comment, n_prefix = strlen(MINISIGN_UNTRUSTED_PREFIX);
	char *text;
	int r = 0;

	if (comment == NULL)
		comment =
			password != NULL ? "minisign encrypted secret key" : "minisign secret key";
	n_comment = strlen(comment);
	if (!minisign_is_comment(comment, n_comment, MINISIGN_COMMENT_MAX))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "the comment is not one printable line of at most %d bytes",
				   MINISIGN_COMMENT_MAX);
	if (file == NULL)
		return no_memory(err);
	memset(file, 0, sizeof(*file));
	memcpy(file->algorithm, "Ed", 2);
	memcpy(file->checksum_algorithm, "B2", 2);
	memcpy(file->key_id, key->key_id, sizeof(file->key_id));
	memcpy(file->bytes, key->bytes, sizeof(file->bytes));
	if (password != NULL)
		r = seal_file(file, password, kdf, err);
	if (r < 0)
		return r;
	/* One allocation of the final size: a growing buffer would leave copies of the key behind.
	 */
	text = malloc(n_prefix + n_comment + 1 + BASE64_LEN + 1);
	if (text == NULL)
		return no_memory(err);
	memcpy(text, MINISIGN_UNTRUSTED_PREFIX, n_prefix);
	memcpy(text + n_prefix, comment, n_comment);
	text[n_prefix + n_comment] = '\n';
	(void)sodium_bin2base64(text + n_prefix + n_comment + 1, BASE64_LEN, (const uint8_t *)file,
				sizeof(*file), sodium_base64_VARIANT_ORIGINAL);
	memcpy(text + n_prefix + n_comment + BASE64_LEN, "\n", 2);
	*ret = text;
	return 0;
}

static void sign_bytes(const struct minisign_secret_key *key, const uint8_t *bytes, size_t n,
		       uint8_t out[static crypto_sign_BYTES])
{
	/* Cannot fail: it is deterministic and computes with what it is given. */
	(void)crypto_sign_detached(out, NULL, bytes, n, key->bytes);
}

int minisign_sign(const struct minisign_secret_key *key, const struct digest *digest,
		  const char *trusted_comment, const char *untrusted_comment, char **ret,
		  struct error *err)
{
	enum { RAW_LEN = 2 + MINISIGN_KEY_ID_LEN + crypto_sign_BYTES };
	char base64[sodium_base64_ENCODED_LEN(RAW_LEN, sodium_base64_VARIANT_ORIGINAL)];
	uint8_t raw[RAW_LEN] = { 'E', 'D' }, global[crypto_sign_BYTES];
	uint8_t signed_text[crypto_sign_BYTES + MINISIGN_TRUSTED_COMMENT_MAX];
	size_t n = strlen(trusted_comment);
	struct str text = { 0 };

	if (untrusted_comment == NULL)
		untrusted_comment = "signature from bpfleet secret key";
	if (!minisign_is_comment(trusted_comment, n, MINISIGN_TRUSTED_COMMENT_MAX) ||
	    !minisign_is_comment(untrusted_comment, strlen(untrusted_comment),
				 MINISIGN_COMMENT_MAX))
		return error_raise(
			err, ERROR_INVALID_ARGUMENT,
			"a comment must be one printable line; the trusted one has at most "
			"8192 bytes, the other 512");
	memcpy(raw + 2, key->key_id, sizeof(key->key_id));
	sign_bytes(key, digest->bytes, sizeof(digest->bytes), raw + 2 + MINISIGN_KEY_ID_LEN);
	memcpy(signed_text, raw + 2 + MINISIGN_KEY_ID_LEN, crypto_sign_BYTES);
	memcpy(signed_text + crypto_sign_BYTES, trusted_comment, n);
	sign_bytes(key, signed_text, crypto_sign_BYTES + n, global);
	(void)sodium_bin2base64(base64, sizeof(base64), raw, sizeof(raw),
				sodium_base64_VARIANT_ORIGINAL);
	(void)str_appendf(&text,
			  MINISIGN_UNTRUSTED_PREFIX "%s\n%s\n" MINISIGN_TRUSTED_PREFIX "%s\n",
			  untrusted_comment, base64, trusted_comment);
	(void)sodium_bin2base64(base64, sizeof(base64), global, sizeof(global),
				sodium_base64_VARIANT_ORIGINAL);
	(void)str_appendf(&text, "%s\n", base64);
	*ret = str_take(&text);
	return *ret == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a signature")
			    : 0;
}
