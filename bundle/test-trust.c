#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/test-file.h"
#include "bundle/trust.h"
#include "proto/arena.h"

/* What `b2sum bundle/testdata/golden-1.bpfb` prints. */
#define GOLDEN_B2SUM                                                       \
	"59f6c04a22c0a527025b0f2e9bcda55ed6c9481c1067c75f06f68c99322b15f5" \
	"0a92247520d80d438d9d1071ccc492fda2d3b150241355cc9f5132358dc49650"

#define N_KEYS 3

/* Three signers and a file that each of them signed. */
struct fixture {
	struct minisign_secret_key *secret[N_KEYS];
	char *public_text[N_KEYS];
	char *signature[N_KEYS];
	uint8_t file[300];
	struct digest digest;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct minisign_public_key key;

	if (f == NULL)
		return -1;
	for (size_t i = 0; i < sizeof(f->file); i++)
		f->file[i] = (uint8_t)(i * 7);
	digest_compute(f->file, sizeof(f->file), &f->digest);
	for (int i = 0; i < N_KEYS; i++) {
		if (minisign_generate(&f->secret[i], &key, NULL) < 0 ||
		    minisign_public_key_format(&key, NULL, &f->public_text[i], NULL) < 0 ||
		    minisign_sign(f->secret[i], &f->digest, "signed", NULL, &f->signature[i],
				  NULL) < 0)
			return -1;
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < N_KEYS; i++) {
		minisign_secret_key_free(f->secret[i]);
		free(f->public_text[i]);
		free(f->signature[i]);
	}
	free(f);
	return 0;
}

static struct trust_blob blob(const char *text)
{
	return (struct trust_blob){ (const uint8_t *)text, strlen(text) };
}

static struct trust_blob file_of(const struct fixture *f)
{
	return (struct trust_blob){ f->file, sizeof(f->file) };
}

/* Trust in the first n keys, called "a", "b", "c". */
static void trust_first(struct trust *trust, const struct fixture *f, int n)
{
	static const char *const names[N_KEYS] = { "a", "b", "c" };

	trust_init(trust);
	for (int i = 0; i < n; i++)
		assert_int_equal(trust_add_key(trust, names[i], f->public_text[i], NULL, 0, NULL),
				 0);
}

/* The code that verification of the file with these signatures ends with. */
static enum error_code judge(const struct trust *trust, const struct fixture *f,
			     const struct trust_blob *signatures, size_t n, size_t *ret_signers)
{
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct error err = { 0 };

	if (trust_verify(trust, file_of(f), &f->digest, signatures, n, &verified, &err) < 0) {
		assert_null(verified);
		assert_true(err.message[0] != '\0');
		return err.code;
	}
	if (ret_signers != NULL)
		*ret_signers = verified->n_signers;
	return ERROR_NONE;
}

static void a_bundle_signed_by_a_trusted_key_is_accepted(void **state)
{
	struct fixture *f = *state;
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct trust_blob signature = blob(f->signature[1]);
	struct trust trust;

	trust_first(&trust, f, 2);
	assert_int_equal(trust_verify(&trust, file_of(f), NULL, &signature, 1, &verified, NULL), 0);
	assert_int_equal(verified->n_signers, 1);
	assert_string_equal(verified->signers[0].key_name, "b");
	assert_string_equal(verified->signers[0].trusted_comment, "signed");
	assert_memory_equal(&verified->digest, &f->digest, sizeof(f->digest));
	trust_done(&trust);
}

static void each_refusal_has_its_own_code(void **state)
{
	struct fixture *f = *state;
	struct trust_blob good = blob(f->signature[0]), other = blob(f->signature[2]);
	struct trust_blob many[TRUST_SIGNATURES_MAX + 1], garbage = blob("no signature at all");
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct digest wrong = f->digest;
	struct error err = { 0 };
	struct trust trust;

	trust_first(&trust, f, 2);
	assert_int_equal(judge(&trust, f, NULL, 0, NULL), ERROR_BUNDLE_UNSIGNED);
	assert_int_equal(judge(&trust, f, &garbage, 1, NULL), ERROR_SIGNATURE_MALFORMED);
	assert_int_equal(judge(&trust, f, &other, 1, NULL), ERROR_SIGNER_UNTRUSTED);
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = good;
	assert_int_equal(judge(&trust, f, many, ARRAY_SIZE(many), NULL), ERROR_INVALID_ARGUMENT);
	wrong.bytes[0] ^= 1;
	assert_true(trust_verify(&trust, file_of(f), &wrong, &good, 1, &verified, &err) < 0);
	assert_int_equal(err.code, ERROR_BUNDLE_DIGEST_MISMATCH);
	f->file[17] ^= 1;
	assert_true(trust_verify(&trust, file_of(f), NULL, &good, 1, &verified, &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNATURE_INVALID);
	f->file[17] ^= 1;
	trust.threshold = 2;
	assert_int_equal(judge(&trust, f, &good, 1, NULL), ERROR_SIGNATURE_THRESHOLD);
	trust.threshold = 0;
	assert_int_equal(judge(&trust, f, &good, 1, NULL), ERROR_CONFIG_INVALID);
	trust_done(&trust);
	trust_init(&trust);
	assert_int_equal(judge(&trust, f, &good, 1, NULL), ERROR_SIGNER_UNTRUSTED);
	trust_done(&trust);
}

static void sizes_are_checked_before_anything_is_hashed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct trust_blob good = blob(f->signature[0]);
	/* Never read: the pointer is good for 300 bytes only. */
	struct trust_blob huge = { f->file, BUNDLE_SIZE_MAX + 1 }, tiny = { f->file, 15 };
	struct error err = { 0 };
	struct trust trust;

	trust_first(&trust, f, 1);
	assert_true(trust_verify(&trust, huge, NULL, &good, 1, &verified, &err) < 0);
	assert_int_equal(err.code, ERROR_BUNDLE_TOO_LARGE);
	assert_true(trust_verify(&trust, tiny, NULL, &good, 1, &verified, &err) < 0);
	assert_int_equal(err.code, ERROR_BUNDLE_MALFORMED);
	trust_done(&trust);
}

static void every_flipped_byte_of_the_file_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct trust_blob good = blob(f->signature[0]);
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct trust trust;

	trust_first(&trust, f, 1);
	for (size_t i = 0; i < sizeof(f->file); i++) {
		struct error err = { 0 };

		f->file[i] ^= (uint8_t)(1 << i % 8);
		assert_true(trust_verify(&trust, file_of(f), NULL, &good, 1, &verified, &err) < 0);
		assert_int_equal(err.code, ERROR_SIGNATURE_INVALID);
		f->file[i] ^= (uint8_t)(1 << i % 8);
	}
	trust_done(&trust);
}

static void two_signatures_of_one_key_count_once(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *second = NULL;
	struct trust_blob signatures[3];
	struct trust trust;
	size_t n = 0;

	assert_int_equal(minisign_sign(f->secret[0], &f->digest, "again", NULL, &second, NULL), 0);
	trust_first(&trust, f, 2);
	trust.threshold = 2;
	signatures[0] = blob(f->signature[0]);
	signatures[1] = blob(second);
	assert_int_equal(judge(&trust, f, signatures, 2, NULL), ERROR_SIGNATURE_THRESHOLD);
	signatures[2] = blob(f->signature[1]);
	assert_int_equal(judge(&trust, f, signatures, 3, &n), ERROR_NONE);
	assert_int_equal(n, 2);
	trust_done(&trust);
}

static void signatures_of_strangers_neither_count_nor_harm(void **state)
{
	struct fixture *f = *state;
	struct trust_blob signatures[2] = { blob(f->signature[2]), blob(f->signature[0]) };
	struct trust trust;
	size_t n = 0;

	trust_first(&trust, f, 1);
	assert_int_equal(judge(&trust, f, signatures, 2, &n), ERROR_NONE);
	assert_int_equal(n, 1);
	trust.threshold = 2;
	assert_int_equal(judge(&trust, f, signatures, 2, NULL), ERROR_SIGNATURE_THRESHOLD);
	trust_done(&trust);
}

static void the_key_id_is_only_a_hint(void **state)
{
	struct fixture *f = *state;
	struct trust_blob signature = blob(f->signature[0]);
	struct trust trust;

	trust_first(&trust, f, 2);
	/* Both keys claim one id: the one that verifies is found. */
	memcpy(trust.keys[1].key.key_id, trust.keys[0].key.key_id, MINISIGN_KEY_ID_LEN);
	assert_int_equal(judge(&trust, f, &signature, 1, NULL), ERROR_NONE);
	signature = blob(f->signature[1]);
	assert_int_equal(judge(&trust, f, &signature, 1, NULL), ERROR_NONE);
	/* A stranger who borrows a trusted id is caught, not ignored. */
	memset(trust.keys[0].key.bytes, 0, 32);
	signature = blob(f->signature[0]);
	assert_int_equal(judge(&trust, f, &signature, 1, NULL), ERROR_SIGNATURE_INVALID);
	trust_done(&trust);
}

static void scopes_bound_what_a_key_may_sign(void **state)
{
	static const char *const edge[] = { "edge_*", "probe_?" };
	struct fixture *f = *state;
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct trust_blob signatures[2] = { blob(f->signature[0]), blob(f->signature[1]) };
	struct error err = { 0 };
	struct trust trust;

	trust_init(&trust);
	assert_int_equal(trust_add_key(&trust, "edge", f->public_text[0], edge, 2, NULL), 0);
	assert_int_equal(trust_add_key(&trust, "all", f->public_text[1], NULL, 0, NULL), 0);
	assert_int_equal(trust_verify(&trust, file_of(f), NULL, signatures, 2, &verified, NULL), 0);
	assert_int_equal(trust_check_scope(&trust, verified, "packet_count", NULL), 0);
	trust.threshold = 2;
	assert_int_equal(trust_check_scope(&trust, verified, "edge_lb", NULL), 0);
	assert_int_equal(trust_check_scope(&trust, verified, "probe_x", NULL), 0);
	assert_true(trust_check_scope(&trust, verified, "probe_xy", &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNER_OUT_OF_SCOPE);
	assert_true(trust_check_scope(&trust, verified, "packet_count", &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNER_OUT_OF_SCOPE);
	trust.threshold = 3;
	assert_true(trust_check_scope(&trust, verified, "edge_lb", &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNATURE_THRESHOLD);
	trust_done(&trust);
	trust_init(&trust);
	assert_true(trust_check_scope(&trust, verified, "edge_lb", &err) < 0);
	assert_int_equal(err.code, ERROR_SIGNER_UNTRUSTED);
	trust_done(&trust);
}

static void a_revoked_digest_is_refused_at_push_and_when_asked_again(void **state)
{
	struct fixture *f = *state;
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	struct trust_blob signature = blob(f->signature[0]);
	char hex[2 * BUNDLE_DIGEST_LEN + 1];
	struct error err = { 0 };
	struct trust trust;

	trust_first(&trust, f, 1);
	assert_int_equal(trust_verify(&trust, file_of(f), NULL, &signature, 1, &verified, NULL), 0);
	str_hex(f->digest.bytes, BUNDLE_DIGEST_LEN, hex);
	assert_int_equal(trust_add_revoked(&trust, hex, NULL), 0);
	assert_int_equal(judge(&trust, f, &signature, 1, NULL), ERROR_BUNDLE_REVOKED);
	assert_true(trust_check_scope(&trust, verified, "any", &err) < 0);
	assert_int_equal(err.code, ERROR_BUNDLE_REVOKED);
	hex[5] = 'x';
	assert_true(trust_add_revoked(&trust, hex, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	trust_done(&trust);
}

static void trust_refuses_ambiguous_keys(void **state)
{
	static const char *const bad_scope[] = { "Edge" };
	struct fixture *f = *state;
	struct error err = { 0 };
	struct trust trust;

	trust_first(&trust, f, 1);
	assert_true(trust_add_key(&trust, "a", f->public_text[1], NULL, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	assert_true(trust_add_key(&trust, "b", f->public_text[0], NULL, 0, &err) < 0);
	assert_non_null(strstr(err.message, "same public key"));
	assert_true(trust_add_key(&trust, "b", f->public_text[1], bad_scope, 1, &err) < 0);
	assert_int_equal(err.code, ERROR_CONFIG_INVALID);
	assert_true(trust_add_key(&trust, "b", "nonsense", NULL, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_KEY_MALFORMED);
	assert_true(trust_add_key(&trust, "B", f->public_text[1], NULL, 0, &err) < 0);
	assert_int_equal(err.code, ERROR_INVALID_NAME);
	assert_int_equal(trust.n_keys, 1);
	trust_done(&trust);
}

static void the_golden_bundle_of_format_1_is_verified_and_read_for_ever(void **state)
{
	struct test_file key = test_read("bundle/testdata/stock-plain.pub");
	struct test_file file = test_read("bundle/testdata/golden-1.bpfb");
	struct test_file minisig = test_read("bundle/testdata/golden-1.bpfb.minisig");
	_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	struct trust_blob signature = { minisig.data, minisig.size };
	struct trust_blob bytes = { file.data, file.size };
	char hex[2 * BUNDLE_DIGEST_LEN + 1];
	Bpfleet__V1__Bundle *bundle;
	struct trust trust;

	(void)state;
	trust_init(&trust);
	assert_int_equal(trust_add_key(&trust, "stock", (char *)key.data, NULL, 0, NULL), 0);
	assert_int_equal(trust_verify(&trust, bytes, NULL, &signature, 1, &verified, NULL), 0);
	str_hex(verified->digest.bytes, BUNDLE_DIGEST_LEN, hex);
	assert_string_equal(hex, GOLDEN_B2SUM);
	assert_int_equal(bundle_parse(arena, file.data, file.size, &bundle, NULL), 0);
	assert_string_equal(bundle->manifest->name, "golden");
	assert_int_equal(bundle->manifest->version->patch, 3);
	assert_string_equal(bundle->manifest->programs[0]->default_hooks[0], "raw_tp:sys_exit");
	trust_done(&trust);
	free(key.data);
	free(file.data);
	free(minisig.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bundle_signed_by_a_trusted_key_is_accepted),
		cmocka_unit_test(each_refusal_has_its_own_code),
		cmocka_unit_test(sizes_are_checked_before_anything_is_hashed),
		cmocka_unit_test(every_flipped_byte_of_the_file_is_noticed),
		cmocka_unit_test(two_signatures_of_one_key_count_once),
		cmocka_unit_test(signatures_of_strangers_neither_count_nor_harm),
		cmocka_unit_test(the_key_id_is_only_a_hint),
		cmocka_unit_test(scopes_bound_what_a_key_may_sign),
		cmocka_unit_test(a_revoked_digest_is_refused_at_push_and_when_asked_again),
		cmocka_unit_test(trust_refuses_ambiguous_keys),
		cmocka_unit_test(the_golden_bundle_of_format_1_is_verified_and_read_for_ever),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
