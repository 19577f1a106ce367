/*
 * Stored bundles whose signatures have been verified under the trust in force, parsed. The bytes
 * are verified on a worker and kept for the next load of the same digest; a new trust voids them
 * all.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"
#include "bundle/trust.h"

struct config;
struct error;
struct store;
struct trust_file;
struct trusted_bundles;

/* The trust in force, shared with jobs under way. */
struct trust_ref;
struct trust_ref *trust_ref(struct trust_ref *ref);
void trust_unref(struct trust_ref *ref);
DEFINE_CLEANUP(struct trust_ref, trust_unref)
const struct trust *trust_ref_get(const struct trust_ref *ref);

/* Keeps parsed bundles of at most max_bytes together (the one used last stays in any case). */
_must_check_ int trusted_bundles_new(size_t max_bytes, struct trusted_bundles **ret,
				     struct error *err);
void trusted_bundles_free(struct trusted_bundles *bundles);
DEFINE_CLEANUP(struct trusted_bundles, trusted_bundles_free)

/* Puts what was read of a trust file in force; path is for messages. Errors: CONFIG_INVALID,
 * KEY_MALFORMED ... */
_must_check_ int trusted_bundles_take_trust(struct trusted_bundles *bundles,
					    const struct trust_file *file, const char *path,
					    struct error *err);
/* Borrowed; NULL before the first trust. */
struct trust_ref *trusted_bundles_trust(struct trusted_bundles *bundles);

/* A verified, parsed bundle; counted, not changed by anybody. */
struct trusted_bundle {
	unsigned int n_refs;
	struct trusted_bundle *next;
	uint64_t generation; /* of the trust that it was verified under */
	struct digest digest;
	size_t size;
	struct arena *arena;
	Bpfleet__V1__Bundle *bundle;
	struct trust_verified *verified;
};

struct trusted_bundle *trusted_bundle_ref(struct trusted_bundle *bundle);
void trusted_bundle_unref(struct trusted_bundle *bundle);
DEFINE_CLEANUP(struct trusted_bundle, trusted_bundle_unref)

/* Verifies bytes and signatures, then parses, then checks the scope by name: on any thread. Errors:
 * those of trust_verify(), bundle_parse(), trust_check_scope(). */
_must_check_ int trusted_bundle_verify(struct trust_ref *trust, struct trust_blob file,
				       const struct digest *announced,
				       const struct trust_blob *signatures, size_t n_signatures,
				       struct trusted_bundle **ret, struct error *err);

/* Asks the trust in force again about a bundle that an earlier one may have let in. Errors: those
 * of trust_check_scope(). */
_must_check_ int trusted_bundle_check(const struct trusted_bundles *bundles,
				      const struct trusted_bundle *bundle, struct error *err);

/* Borrowed from the cache, NULL when it is not there. */
struct trusted_bundle *trusted_bundles_get(struct trusted_bundles *bundles,
					   const struct digest *digest);
/* Keeps it, unless the trust has changed since it was verified. */
void trusted_bundles_put(struct trusted_bundles *bundles, struct trusted_bundle *bundle);
void trusted_bundles_forget(struct trusted_bundles *bundles, const struct digest *digest);
