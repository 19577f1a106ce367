/* Prints how long it takes to verify a bundle of 1 MiB, from bytes to accepted signers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/trust.h"

#define N_RUNS 501

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int prepare(const uint8_t *file, size_t n, struct trust *trust, char **ret_signature,
		   struct error *err)
{
	_cleanup_(minisign_secret_key_freep) struct minisign_secret_key *secret = NULL;
	_cleanup_free_ char *text = NULL;
	struct minisign_public_key key;
	struct digest digest;
	int r;

	digest_compute(file, n, &digest);
	r = minisign_generate(&secret, &key, err);
	if (r == 0)
		r = minisign_public_key_format(&key, NULL, &text, err);
	if (r == 0)
		r = trust_add_key(trust, "bench", text, NULL, 0, err);
	return r < 0 ? r : minisign_sign(secret, &digest, "bench", NULL, ret_signature, err);
}

int main(void)
{
	const size_t n = 1 << 20;
	_cleanup_free_ uint8_t *file = malloc(n);
	_cleanup_free_ char *text = NULL;
	static uint64_t times[N_RUNS];
	uint64_t hash_start, hash_ns = UINT64_MAX;
	struct digest digest;
	struct error err = { 0 };
	struct trust_blob signature;
	struct trust trust;

	trust_init(&trust);
	if (file == NULL)
		return 1;
	memset(file, 0x5a, n);
	if (prepare(file, n, &trust, &text, &err) < 0) {
		(void)fprintf(stderr, "bench-verify: %s\n", err.message);
		return 1;
	}
	signature = (struct trust_blob){ (const uint8_t *)text, strlen(text) };
	for (int i = 0; i < N_RUNS; i++) {
		_cleanup_(trust_verified_freep) struct trust_verified *verified = NULL;
		uint64_t start = clock_monotonic_ns();

		if (trust_verify(&trust, (struct trust_blob){ file, n }, NULL, &signature, 1,
				 &verified, &err) < 0) {
			(void)fprintf(stderr, "bench-verify: %s\n", err.message);
			return 1;
		}
		times[i] = clock_monotonic_ns() - start;
	}
	trust_done(&trust);
	for (int i = 0; i < N_RUNS; i++) {
		hash_start = clock_monotonic_ns();
		digest_compute(file, n, &digest);
		if (clock_monotonic_ns() - hash_start < hash_ns)
			hash_ns = clock_monotonic_ns() - hash_start;
	}
	qsort(times, N_RUNS, sizeof(times[0]), compare);
	(void)printf("verify 1 MiB, one signature, %d runs: min %.3f ms, p50 %.3f ms, p99 %.3f "
		     "ms; of it BLAKE2b-512 (min) %.3f ms\n",
		     N_RUNS, (double)times[0] / 1e6, (double)times[N_RUNS / 2] / 1e6,
		     (double)times[N_RUNS * 99 / 100] / 1e6, (double)hash_ns / 1e6);
	return 0;
}
