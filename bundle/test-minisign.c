#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/minisign.h"
#include "bundle/test-file.h"

static const struct minisign_kdf quick = { 32768, 1 << 24 };

static struct minisign_public_key read_public(const char *path)
{
	struct test_file file = test_read(path);
	struct minisign_public_key key;

	assert_int_equal(minisign_public_key_parse((char *)file.data, file.size, &key, NULL), 0);
	free(file.data);
	return key;
}

static int read_signature(const char *path, struct minisign_signature *ret, struct error *err)
{
	struct test_file file = test_read(path);
	int r = minisign_signature_parse(file.data, file.size, ret, err);

	free(file.data);
	return r;
}

static struct digest digest_of(const char *path)
{
	struct test_file file = test_read(path);
	struct digest digest;

	digest_compute(file.data, file.size, &digest);
	free(file.data);
	return digest;
}

static int read_secret(const char *path, const char *password, struct minisign_secret_key **ret,
		       struct error *err)
{
	struct test_file file = test_read(path);
	int r = minisign_secret_key_parse((char *)file.data, file.size, password, ret, err);

	free(file.data);
	return r;
}

#define DATA "bundle/testdata/"

static void signatures_of_stock_minisign_verify(void **state)
{
	struct digest digest = digest_of(DATA "message.txt");
	struct minisign_public_key plain = read_public(DATA "stock-plain.pub");
	struct minisign_public_key encrypted = read_public(DATA "stock-encrypted.pub");
	struct minisign_signature signature;

	(void)state;
	assert_int_equal(read_signature(DATA "message.plain.minisig", &signature, NULL), 0);
	assert_string_equal(signature.trusted_comment, "golden: plain key");
	assert_memory_equal(signature.key_id, plain.key_id, MINISIGN_KEY_ID_LEN);
	assert_int_equal(minisign_verify(&signature, &plain, &digest, NULL), 0);
	assert_int_equal(minisign_verify(&signature, &encrypted, &digest, NULL), -EKEYREJECTED);
	assert_int_equal(read_signature(DATA "message.default.minisig", &signature, NULL), 0);
	assert_int_equal(minisign_verify(&signature, &plain, &digest, NULL), 0);
	assert_int_equal(read_signature(DATA "message.encrypted.minisig", &signature, NULL), 0);
	assert_string_equal(signature.trusted_comment, "tab\tand ünïcode");
	assert_int_equal(minisign_verify(&signature, &encrypted, &digest, NULL), 0);
}

static void a_legacy_signature_is_refused_with_advice(void **state)
{
	struct minisign_signature signature;
	struct error err = { 0 };

	(void)state;
	assert_true(read_signature(DATA "message.legacy.minisig", &signature, &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNATURE_MALFORMED);
	assert_non_null(strstr(err.message, "without -l"));
}

static void stock_secret_keys_sign_what_their_public_keys_verify(void **state)
{
	struct digest digest = digest_of(DATA "message.txt");
	struct minisign_public_key public_key = read_public(DATA "stock-plain.pub"), own;
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
	_cleanup_free_ char *text = NULL;
	struct minisign_signature signature;

	(void)state;
	assert_int_equal(read_secret(DATA "stock-plain.key", NULL, &key, NULL), 0);
	minisign_secret_key_public(key, &own);
	assert_memory_equal(&own, &public_key, sizeof(own));
	assert_int_equal(minisign_sign(key, &digest, "golden: plain key",
				       "signature by stock minisign", &text, NULL),
			 0);
	/* Ed25519 is deterministic: the same text as minisign's, byte for byte. */
	struct test_file golden = test_read(DATA "message.plain.minisig");

	assert_string_equal(text, (char *)golden.data);
	free(golden.data);
	assert_int_equal(minisign_signature_parse((uint8_t *)text, strlen(text), &signature, NULL),
			 0);
	assert_int_equal(minisign_verify(&signature, &public_key, &digest, NULL), 0);
}

static void an_encrypted_stock_key_opens_with_its_password_only(void **state)
{
	struct minisign_public_key public_key = read_public(DATA "stock-encrypted.pub"), own;
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
	struct test_file file = test_read(DATA "stock-encrypted.key");
	struct error err = { 0 };
	bool encrypted = false;
	int r;

	(void)state;
	assert_int_equal(
		minisign_secret_key_is_encrypted((char *)file.data, file.size, &encrypted, NULL),
		0);
	assert_true(encrypted);
	assert_true(minisign_secret_key_parse((char *)file.data, file.size, NULL, &key, &err) < 0);
	assert_int_equal(err.code, ERROR_KEY_PASSWORD);
	r = minisign_secret_key_parse((char *)file.data, file.size, "secret", &key, &err);
	free(file.data);
	if (r < 0 && err.code == ERROR_OUT_OF_MEMORY) {
		print_message("not enough memory for stock scrypt: %s\n", err.message);
		skip();
	}
	assert_int_equal(r, 0);
	minisign_secret_key_public(key, &own);
	assert_memory_equal(&own, &public_key, sizeof(own));
}

static void own_keys_survive_the_way_through_files(void **state)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL, *again = NULL;
	_cleanup_free_ char *sealed = NULL, *plain = NULL, *public_text = NULL;
	struct minisign_public_key public_key, own;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(minisign_generate(&key, &public_key, NULL), 0);
	assert_int_equal(minisign_public_key_format(&public_key, NULL, &public_text, NULL), 0);
	assert_int_equal(minisign_public_key_parse(public_text, strlen(public_text), &own, NULL),
			 0);
	assert_memory_equal(&own, &public_key, sizeof(own));
	assert_int_equal(minisign_secret_key_format(key, "pass word", &quick, NULL, &sealed, NULL),
			 0);
	assert_true(minisign_secret_key_parse(sealed, strlen(sealed), "pass Word", &again, &err) <
		    0);
	assert_int_equal(err.code, ERROR_KEY_PASSWORD);
	assert_int_equal(
		minisign_secret_key_parse(sealed, strlen(sealed), "pass word", &again, NULL), 0);
	minisign_secret_key_public(again, &own);
	assert_memory_equal(&own, &public_key, sizeof(own));
	minisign_secret_key_free(TAKE_PTR(again));
	assert_int_equal(minisign_secret_key_format(key, NULL, NULL, NULL, &plain, NULL), 0);
	assert_int_equal(minisign_secret_key_parse(plain, strlen(plain), NULL, &again, NULL), 0);
	assert_true(minisign_secret_key_format(key, "", &quick, NULL, &sealed, NULL) < 0);
}

static void a_damaged_secret_key_is_refused_everywhere(void **state)
{
	struct test_file file = test_read(DATA "stock-plain.key");
	size_t start = strcspn((char *)file.data, "\n") + 1;
	unsigned int n_accepted = 0;

	(void)state;
	for (size_t i = start; i < file.size; i++) {
		_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
		uint8_t before = file.data[i];

		file.data[i] ^= 1;
		/* The salt and the limits of a key that is not encrypted mean nothing, nor does
		 * anything cover its key id while the checksum is zero. */
		if (minisign_secret_key_parse((char *)file.data, file.size, NULL, &key, NULL) ==
		    0) {
			size_t raw = (i - start) * 3 / 4;

			assert_true(raw >= 5 && raw <= 62);
			n_accepted++;
		}
		file.data[i] = before;
	}
	assert_true(n_accepted > 0);
	free(file.data);
}

static void a_key_that_asks_for_too_much_memory_is_refused(void **state)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL, *again = NULL;
	struct minisign_kdf greedy = { 32768, UINT64_MAX };
	struct minisign_public_key public_key;
	struct error err = { 0 };
	char *text = NULL;

	(void)state;
	assert_int_equal(minisign_generate(&key, &public_key, NULL), 0);
	assert_true(minisign_secret_key_format(key, "x", &greedy, NULL, &text, &err) < 0);
	assert_int_equal(err.code, ERROR_KEY_MALFORMED);
	assert_null(text);
	assert_null(again);
}

/* Puts raw bytes as a public key file's base64. */
static int parse_raw(const uint8_t point[static 32], struct error *err)
{
	uint8_t raw[42] = { 'E', 'd', 1, 2, 3, 4, 5, 6, 7, 8 };
	struct minisign_public_key key;
	char text[64];

	memcpy(raw + 10, point, 32);
	sodium_bin2base64(text, sizeof(text), raw, sizeof(raw), sodium_base64_VARIANT_ORIGINAL);
	return minisign_public_key_parse(text, strlen(text), &key, err);
}

static void public_keys_of_small_order_are_refused(void **state)
{
	/* The eight points of small order and non-canonical spellings of them, RFC 8032 encoding.
	 */
	static const char *const points[] = {
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct error err = { 0 };
		uint8_t point[32];

		assert_int_equal(str_unhex(points[i], point, sizeof(point)), 0);
		assert_true(parse_raw(point, &err) < 0);
		assert_int_equal(err.code, ERROR_KEY_MALFORMED);
	}
}

static void malformed_public_keys_are_refused(void **state)
{
	static const char line[] = "RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH";
	static const char *const bad[] = {
		"",
		"RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNu",
		"RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH=",
		"RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH\n\n",
		"RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH\r\n",
		" RWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH",
		"comment: x\nRWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH",
		"untrusted comment: "
		"\033[2J\nRWS2TZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH",
		"RWTTZvFR9yiCVO9F017fNVts4Un6sAJY9nGjDx7ZcYxJ61h+v5kRNuH*",
	};
	struct minisign_public_key key;
	char text[MINISIGN_KEY_ID_TEXT_LEN + 1];

	(void)state;
	assert_int_equal(minisign_public_key_parse(line, strlen(line), &key, NULL), 0);
	minisign_format_key_id(key.key_id, text);
	assert_string_equal(text, "09A2DC47C59B4DB6");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(minisign_public_key_parse(bad[i], strlen(bad[i]), &key, NULL) < 0);
}

static void a_signature_altered_in_any_bit_is_refused(void **state)
{
	struct test_file file = test_read(DATA "message.plain.minisig");
	struct minisign_public_key key = read_public(DATA "stock-plain.pub");
	struct digest digest = digest_of(DATA "message.txt");
	size_t line2 = strcspn((char *)file.data, "\n") + 1;

	(void)state;
	for (size_t i = 0; i < file.size * 8; i++) {
		struct minisign_signature signature;
		size_t at = i / 8;

		file.data[at] ^= (uint8_t)(1 << i % 8);
		if (minisign_signature_parse(file.data, file.size, &signature, NULL) == 0 &&
		    minisign_verify(&signature, &key, &digest, NULL) == 0) {
			/* Only the untrusted comment and the key id are outside the signatures. */
			bool is_comment = at >= strlen("untrusted comment: ") && at < line2;
			bool is_key_id = at >= line2 + 2 && at <= line2 + 13;

			if (!is_comment && !is_key_id && at != file.size - 1)
				fail_msg("bit %zu of byte %zu", i % 8, at);
		}
		file.data[at] ^= (uint8_t)(1 << i % 8);
	}
	free(file.data);
}

static void a_signature_with_anything_added_or_cut_is_refused(void **state)
{
	struct test_file file = test_read(DATA "message.plain.minisig");
	struct minisign_signature signature;

	(void)state;
	for (size_t n = 0; n + 1 < file.size; n++)
		assert_true(minisign_signature_parse(file.data, n, &signature, NULL) < 0);
	/* minisign itself does not mind a missing last newline. */
	assert_int_equal(minisign_signature_parse(file.data, file.size - 1, &signature, NULL), 0);
	for (unsigned int c = 0; c < 256; c++) {
		file.data[file.size] = (uint8_t)c;
		assert_true(minisign_signature_parse(file.data, file.size + 1, &signature, NULL) <
			    0);
	}
	free(file.data);
}

static void carriage_returns_and_control_characters_are_refused(void **state)
{
	static const char *const bad[] = { "a\r", "\033[31m", "a\x7f", "\xc2\x9b", "\xff", "\xc3" };
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
	struct digest digest = digest_of(DATA "message.txt");
	struct error err = { 0 };
	char *text = NULL;

	(void)state;
	assert_int_equal(read_secret(DATA "stock-plain.key", NULL, &key, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_true(minisign_sign(key, &digest, bad[i], NULL, &text, &err) < 0);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_true(minisign_sign(key, &digest, "fine", bad[i], &text, &err) < 0);
	}
}

static void the_longest_trusted_comment_fits_and_one_byte_more_does_not(void **state)
{
	static char comment[MINISIGN_TRUSTED_COMMENT_MAX + 2];
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
	struct minisign_public_key public_key = read_public(DATA "stock-plain.pub");
	struct digest digest = digest_of(DATA "message.txt");
	_cleanup_free_ char *text = NULL;
	struct minisign_signature signature;
	char *more = NULL;

	(void)state;
	assert_int_equal(read_secret(DATA "stock-plain.key", NULL, &key, NULL), 0);
	memset(comment, 'c', MINISIGN_TRUSTED_COMMENT_MAX + 1);
	assert_true(minisign_sign(key, &digest, comment, NULL, &more, NULL) < 0);
	comment[MINISIGN_TRUSTED_COMMENT_MAX] = '\0';
	assert_int_equal(minisign_sign(key, &digest, comment, NULL, &text, NULL), 0);
	assert_true(strlen(text) <= MINISIGN_SIGNATURE_FILE_MAX);
	assert_int_equal(minisign_signature_parse((uint8_t *)text, strlen(text), &signature, NULL),
			 0);
	assert_int_equal(minisign_verify(&signature, &public_key, &digest, NULL), 0);
}

/* Adds the group order L (RFC 8032, 5.1) to S: the same signature to a verifier that does not look.
 */
static void add_order(uint8_t s[static 32])
{
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a,       0x63,
					   0x12, 0x58, 0xd6, 0x9c, 0xf7,       0xa2,
					   0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
	unsigned int carry = 0;

	for (int i = 0; i < 32; i++) {
		carry += s[i] + order[i];
		s[i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_int_equal(carry, 0);
}

static void a_signature_whose_s_is_not_reduced_is_refused(void **state)
{
	struct minisign_public_key key = read_public(DATA "stock-plain.pub");
	struct digest digest = digest_of(DATA "message.txt");
	struct minisign_signature signature, changed;

	(void)state;
	assert_int_equal(read_signature(DATA "message.plain.minisig", &signature, NULL), 0);
	assert_int_equal(minisign_verify(&signature, &key, &digest, NULL), 0);
	changed = signature;
	add_order(changed.signature + 32);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
	changed = signature;
	add_order(changed.global_signature + 32);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
	changed = signature;
	memset(changed.signature + 32, 0, 32);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
	changed = signature;
	memset(changed.signature, 0, 32);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
	changed = signature;
	memset(changed.signature, 0xff, 64);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
	changed = signature;
	memcpy(changed.signature, signature.global_signature, 64);
	assert_int_equal(minisign_verify(&changed, &key, &digest, NULL), -EKEYREJECTED);
}

static void run_stock(char *folder, const char *script)
{
	_cleanup_free_ char *command = NULL;

	assert_true(asprintf(&command, "cd '%s' && %s", folder, script) > 0);
	if (system(command) != 0) /* NOLINT: a test's own script in its own folder */
		fail_msg("%s", command);
}

static void write_in(const char *folder, const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	test_write(path, text, strlen(text));
}

static void stock_minisign_accepts_what_we_make_and_we_what_it_makes(void **state)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *key = NULL;
	_cleanup_free_ char *public_text = NULL, *secret_text = NULL, *sealed = NULL, *text = NULL;
	char folder[] = "/tmp/bpfleet-minisign-XXXXXX", path[128];
	struct minisign_public_key public_key;
	struct minisign_signature signature;
	struct digest digest;

	(void)state;
	if (system("minisign -v >/dev/null 2>&1") != 0) { /* NOLINT: probes for the tool */
		print_message("the minisign tool is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	assert_int_equal(minisign_generate(&key, &public_key, NULL), 0);
	assert_int_equal(minisign_public_key_format(&public_key, NULL, &public_text, NULL), 0);
	assert_int_equal(minisign_secret_key_format(key, NULL, NULL, NULL, &secret_text, NULL), 0);
	assert_int_equal(minisign_secret_key_format(key, "pass", &quick, NULL, &sealed, NULL), 0);
	write_in(folder, "message", "some bytes to sign");
	digest_compute((const uint8_t *)"some bytes to sign", 18, &digest);
	assert_int_equal(minisign_sign(key, &digest, "made by us\tfor you", NULL, &text, NULL), 0);
	write_in(folder, "own.pub", public_text);
	write_in(folder, "own.key", secret_text);
	write_in(folder, "sealed.key", sealed);
	write_in(folder, "message.minisig", text);
	run_stock(folder, "minisign -VHm message -p own.pub >out && grep -q 'made by us' out");
	run_stock(folder, "minisign -S -s own.key -m message -x stock.minisig -t stock >/dev/null");
	run_stock(folder,
		  "printf 'pass\\n' | minisign -S -s sealed.key -m message -x sealed.minisig "
		  ">/dev/null 2>&1");
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s.minisig", folder,
			       i == 0 ? "stock" : "sealed");
		assert_int_equal(read_signature(path, &signature, NULL), 0);
		assert_int_equal(minisign_verify(&signature, &public_key, &digest, NULL), 0);
	}
	run_stock(folder, "rm -f message message.minisig own.pub own.key sealed.key out "
			  "stock.minisig sealed.minisig && rmdir ../\"$(basename \"$PWD\")\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures_of_stock_minisign_verify),
		cmocka_unit_test(a_legacy_signature_is_refused_with_advice),
		cmocka_unit_test(stock_secret_keys_sign_what_their_public_keys_verify),
		cmocka_unit_test(an_encrypted_stock_key_opens_with_its_password_only),
		cmocka_unit_test(own_keys_survive_the_way_through_files),
		cmocka_unit_test(a_damaged_secret_key_is_refused_everywhere),
		cmocka_unit_test(a_key_that_asks_for_too_much_memory_is_refused),
		cmocka_unit_test(public_keys_of_small_order_are_refused),
		cmocka_unit_test(malformed_public_keys_are_refused),
		cmocka_unit_test(a_signature_altered_in_any_bit_is_refused),
		cmocka_unit_test(a_signature_with_anything_added_or_cut_is_refused),
		cmocka_unit_test(carriage_returns_and_control_characters_are_refused),
		cmocka_unit_test(the_longest_trusted_comment_fits_and_one_byte_more_does_not),
		cmocka_unit_test(a_signature_whose_s_is_not_reduced_is_refused),
		cmocka_unit_test(stock_minisign_accepts_what_we_make_and_we_what_it_makes),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
