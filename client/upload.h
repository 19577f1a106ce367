/*
 * Pushing a bundle: the header, chunks of 64 KiB, and going on where a broken push stopped. Reading
 * the files beside it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct error;
struct node;

#define UPLOAD_SIGNATURES_MAX 16
#define UPLOAD_CHUNK_BYTES ((size_t)64 << 10)

struct upload {
	const uint8_t *bytes;
	size_t size;
	Bpfleet__V1__Signature **signatures;
	size_t n_signatures;
	/* After each chunk, on the calling thread; may be NULL. */
	void (*progress)(uint64_t sent_bytes, uint64_t size_bytes, void *user);
	void *user;
};

/*
 * Sends it; the answer lives in the arena. Asks first what the daemon still holds of these bytes; a
 * connection that breaks is taken up again a few times. Errors: the daemon's.
 */
_must_check_ int upload_push(struct node *node, const struct upload *upload, struct arena *arena,
			     Bpfleet__V1__PushBundleResponse **ret, struct error *err);

/*
 * Reads the signatures of a bundle file into the arena: the n paths, or with n = 0 PATH.minisig and
 * every PATH.*.minisig, sorted. None is no error: the daemon says what it thinks of that. Errors:
 * IO, INVALID_ARGUMENT (more than UPLOAD_SIGNATURES_MAX), SIGNATURE_MALFORMED (too large).
 */
_must_check_ int upload_read_signatures(const char *path, const char *const *paths, size_t n,
					struct arena *arena, Bpfleet__V1__Signature ***ret,
					size_t *ret_n, struct error *err);
