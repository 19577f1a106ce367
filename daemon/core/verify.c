#include "daemon/core/verify.h"

#include <string.h>

#include "base/error.h"
#include "daemon/core/core.h"
#include "daemon/core/jobs.h"
#include "store/bundles.h"

struct verification {
	struct job job;
	struct core *core;
	struct trust_ref *trust;
	struct digest digest;
	struct trust_blob file;
	struct store_signature *rows; /* what the signatures borrow from */
	struct trust_blob signatures[TRUST_SIGNATURES_MAX];
	size_t n_signatures;
	struct trusted_bundle *bundle;
	struct error err;
	verify_done_fn done;
	void *user;
};

static void verification_free(struct verification *v)
{
	if (v == NULL)
		return;
	v->core->verify_bytes -= v->file.size;
	free((void *)(uintptr_t)v->file.data);
	free(v->rows);
	trust_unref(v->trust);
	trusted_bundle_unref(v->bundle);
	free(v);
}
DEFINE_CLEANUP(struct verification, verification_free)

static void verify_work(struct job *job)
{
	struct verification *v = (struct verification *)(void *)job;

	if (trusted_bundle_verify(v->trust, v->file, &v->digest, v->signatures, v->n_signatures,
				  &v->bundle, &v->err) < 0)
		v->bundle = NULL;
}

static void verify_done(struct job *job)
{
	_cleanup_(verification_freep) struct verification *v = (struct verification *)(void *)job;

	if (v->bundle != NULL)
		trusted_bundles_put(v->core->bundles, v->bundle);
	v->done(v->user, v->bundle, &v->err);
}

static int read_stored(struct verification *v, size_t size, struct error *err)
{
	uint8_t *bytes = malloc(size);
	size_t n = 0;
	int r;

	v->file = (struct trust_blob){ bytes, size };
	v->core->verify_bytes += size;
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read a bundle of %zu bytes", size);
	r = store_bundle_read(v->core->store, v->digest.bytes, bytes, size, err);
	if (r >= 0)
		r = store_signature_list(v->core->store, v->digest.bytes, &v->rows, &n, err);
	for (size_t i = 0; r >= 0 && i < n && i < TRUST_SIGNATURES_MAX; i++)
		v->signatures[v->n_signatures++] =
			(struct trust_blob){ v->rows[i].minisig.data, v->rows[i].minisig.size };
	return r;
}

int bundle_verify(struct core *core, const struct digest *digest, size_t waiting_max,
		  verify_done_fn done, void *user, struct error *err)
{
	_cleanup_(verification_freep) struct verification *v = NULL;
	_cleanup_free_ struct store_bundle *row = NULL;
	struct trusted_bundle *cached = trusted_bundles_get(core->bundles, digest);
	int r;

	if (cached != NULL) {
		const struct error none = { 0 };

		(void)trusted_bundle_ref(cached);
		done(user, cached, &none);
		trusted_bundle_unref(cached);
		return 0;
	}
	r = store_bundle_get_digest(core->store, digest->bytes, &row, err);
	if (r < 0)
		return r;
	if (core->verify_bytes + row->size_bytes > waiting_max)
		return error_raise(err, ERROR_RATE_LIMITED,
				   "bundles of %zu bytes wait to be verified", core->verify_bytes);
	v = calloc(1, sizeof(*v));
	if (v == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "verify a bundle");
	*v = (struct verification){
		.job = { .work = verify_work, .done = verify_done },
		.core = core,
		.trust = trust_ref(trusted_bundles_trust(core->bundles)),
		.digest = *digest,
		.done = done,
		.user = user,
	};
	r = read_stored(v, (size_t)row->size_bytes, err);
	if (r >= 0)
		jobs_submit(core->jobs, &TAKE_PTR(v)->job);
	return r;
}
