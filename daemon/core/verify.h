/* Stored bundles on their way to Load, Replace and re-apply: verified, unless one in memory is. */
#pragma once

#include "daemon/core/trusted.h"

struct core;

/* Of stored files in memory that wait for a worker, for those who can ask again. */
#define VERIFY_BYTES_MAX ((size_t)64 << 20)

/* The outcome, once, on the main thread: a bundle (borrowed: take a reference), or NULL and why. */
typedef void (*verify_done_fn)(void *user, struct trusted_bundle *bundle, const struct error *err);

/*
 * Finds the bundle of a digest and calls done: at once if it is in memory, else when a worker has
 * verified the stored bytes. Where more than waiting_max bytes would wait for that: RATE_LIMITED.
 * After an error done is not called. Errors: also OUT_OF_MEMORY, those of the store.
 */
_must_check_ int bundle_verify(struct core *core, const struct digest *digest, size_t waiting_max,
			       verify_done_fn done, void *user, struct error *err);
