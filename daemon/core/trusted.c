#include "daemon/core/trusted.h"

#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "daemon/config/trust_file.h"
#include "proto/arena.h"

struct trust_ref {
	unsigned int n_refs;
	uint64_t generation; /* 1, 2, ... in this process */
	struct trust trust;
};

struct trusted_bundles {
	struct trust_ref *trust;
	struct trusted_bundle *first; /* used last */
	size_t max_bytes;
};

struct trust_ref *trust_ref(struct trust_ref *ref)
{
	ref->n_refs++;
	return ref;
}

void trust_unref(struct trust_ref *ref)
{
	if (ref == NULL || --ref->n_refs > 0)
		return;
	trust_done(&ref->trust);
	free(ref);
}

const struct trust *trust_ref_get(const struct trust_ref *ref)
{
	return &ref->trust;
}

int trusted_bundles_new(size_t max_bytes, struct trusted_bundles **ret, struct error *err)
{
	struct trusted_bundles *bundles = calloc(1, sizeof(*bundles));

	if (bundles == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "make the table of bundles");
	bundles->max_bytes = max_bytes;
	*ret = bundles;
	return 0;
}

static void forget_all(struct trusted_bundles *bundles)
{
	struct trusted_bundle *bundle;

	while ((bundle = bundles->first) != NULL) {
		bundles->first = bundle->next;
		trusted_bundle_unref(bundle);
	}
}

void trusted_bundles_free(struct trusted_bundles *bundles)
{
	if (bundles == NULL)
		return;
	forget_all(bundles);
	trust_unref(bundles->trust);
	free(bundles);
}

static int fill_trust(const struct trust_file *file, struct trust *trust, struct error *err)
{
	int r = 0;

	trust_init(trust);
	trust->threshold = file->threshold;
	for (size_t i = 0; i < file->n_keys && r >= 0; i++) {
		const struct trust_file_key *key = &file->keys[i];

		r = trust_add_key(trust, key->name, key->key, (const char *const *)key->scope,
				  key->n_scope, err);
		if (r < 0)
			(void)error_context(err, r, "line %u", key->line);
	}
	for (size_t i = 0; i < file->n_revoked && r >= 0; i++)
		r = trust_add_revoked(trust, file->revoked[i], err);
	return r;
}

int trusted_bundles_take_trust(struct trusted_bundles *bundles, const struct trust_file *file,
			       const char *path, struct error *err)
{
	_cleanup_(trust_unrefp) struct trust_ref *trust = calloc(1, sizeof(*trust));
	int r;

	if (trust == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", path);
	trust->n_refs = 1;
	r = fill_trust(file, &trust->trust, err);
	if (r < 0)
		return error_context(err, r, "%s", path);
	trust->generation = bundles->trust == NULL ? 1 : bundles->trust->generation + 1;
	forget_all(bundles);
	trust_unref(bundles->trust);
	bundles->trust = TAKE_PTR(trust);
	return 0;
}

struct trust_ref *trusted_bundles_trust(struct trusted_bundles *bundles)
{
	return bundles->trust;
}

struct trusted_bundle *trusted_bundle_ref(struct trusted_bundle *bundle)
{
	bundle->n_refs++;
	return bundle;
}

void trusted_bundle_unref(struct trusted_bundle *bundle)
{
	if (bundle == NULL || --bundle->n_refs > 0)
		return;
	arena_free(bundle->arena);
	trust_verified_free(bundle->verified);
	free(bundle);
}

int trusted_bundle_verify(struct trust_ref *trust, struct trust_blob file,
			  const struct digest *announced, const struct trust_blob *signatures,
			  size_t n_signatures, struct trusted_bundle **ret, struct error *err)
{
	_cleanup_(trusted_bundle_unrefp) struct trusted_bundle *bundle = calloc(1, sizeof(*bundle));
	int r;

	if (bundle == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "verify a bundle");
	bundle->n_refs = 1;
	bundle->generation = trust->generation;
	bundle->size = file.size;
	r = trust_verify(&trust->trust, file, announced, signatures, n_signatures,
			 &bundle->verified, err);
	if (r < 0)
		return r;
	bundle->digest = bundle->verified->digest;
	bundle->arena = arena_new(BUNDLE_ARENA_LIMIT);
	if (bundle->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "verify a bundle");
	r = bundle_parse(bundle->arena, file.data, file.size, &bundle->bundle, err);
	if (r < 0)
		return r;
	r = trust_check_scope(&trust->trust, bundle->verified, bundle->bundle->manifest->name, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(bundle);
	return 0;
}

int trusted_bundle_check(const struct trusted_bundles *bundles, const struct trusted_bundle *bundle,
			 struct error *err)
{
	if (bundle->generation == bundles->trust->generation)
		return 0;
	return trust_check_scope(&bundles->trust->trust, bundle->verified,
				 bundle->bundle->manifest->name, err);
}

struct trusted_bundle *trusted_bundles_get(struct trusted_bundles *bundles,
					   const struct digest *digest)
{
	for (struct trusted_bundle **at = &bundles->first; *at != NULL; at = &(*at)->next) {
		struct trusted_bundle *bundle = *at;

		if (memcmp(&bundle->digest, digest, sizeof(*digest)) == 0) {
			*at = bundle->next;
			bundle->next = bundles->first;
			bundles->first = bundle;
			return bundle;
		}
	}
	return NULL;
}

void trusted_bundles_put(struct trusted_bundles *bundles, struct trusted_bundle *bundle)
{
	size_t kept = 0;

	if (bundle->generation != bundles->trust->generation ||
	    trusted_bundles_get(bundles, &bundle->digest) != NULL)
		return;
	bundle->next = bundles->first;
	bundles->first = trusted_bundle_ref(bundle);
	for (struct trusted_bundle **at = &bundles->first; *at != NULL;) {
		struct trusted_bundle *here = *at;

		kept += arena_used(here->arena);
		if (kept <= bundles->max_bytes || here == bundle) {
			at = &here->next;
			continue;
		}
		*at = here->next;
		trusted_bundle_unref(here);
	}
}

void trusted_bundles_forget(struct trusted_bundles *bundles, const struct digest *digest)
{
	struct trusted_bundle *bundle = trusted_bundles_get(bundles, digest);

	if (bundle == NULL)
		return;
	bundles->first = bundle->next;
	trusted_bundle_unref(bundle);
}
