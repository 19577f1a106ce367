#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "daemon/config/config.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/jobs.h"
#include "daemon/core/methods.h"
#include "daemon/core/rules.h"
#include "daemon/core/session.h"
#include "daemon/core/step.h"
#include "daemon/core/trusted.h"
#include "proto/arena.h"
#include "store/bundles.h"

/* A pushed file on its way through a worker. */
struct push {
	struct job job;
	struct request *request;
	struct trust_ref *trust;
	struct trust_blob file; /* mapped from the sealed memfd */
	struct digest announced;
	struct trust_blob signatures[TRUST_SIGNATURES_MAX];
	size_t n_signatures;
	struct trusted_bundle *bundle;
	struct error err;
};

static void push_free(struct push *push)
{
	if (push == NULL)
		return;
	if (push->file.data != NULL)
		(void)munmap((void *)(uintptr_t)push->file.data, push->file.size);
	trust_unref(push->trust);
	trusted_bundle_unref(push->bundle);
	free(push);
}
DEFINE_CLEANUP(struct push, push_free)

static void push_work(struct job *job)
{
	struct push *push = (struct push *)(void *)job;

	if (trusted_bundle_verify(push->trust, push->file, &push->announced, push->signatures,
				  push->n_signatures, &push->bundle, &push->err) < 0)
		push->bundle = NULL;
}

static int check_space(struct core *core, size_t size, struct error *err)
{
	uint64_t total = size;
	char after[NAME_BUNDLE_MAX + 1] = "";
	uint32_t version[3] = { 0, 0, 0 };
	size_t n;

	do {
		_cleanup_free_ struct store_bundle *rows = NULL;
		int r = store_bundle_list(core->store, after[0] == '\0' ? NULL : after,
					  after[0] == '\0' ? NULL : version, 256, &rows, &n, err);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			total += rows[i].size_bytes;
		if (n > 0) {
			(void)snprintf(after, sizeof(after), "%s", rows[n - 1].name);
			memcpy(version, rows[n - 1].version, sizeof(version));
		}
	} while (n == 256);
	if (total > core->config->limits.bundles_size_bytes)
		return error_raise(err, ERROR_LIMIT_EXCEEDED,
				   "stored bundles would take %" PRIu64
				   " bytes, limits.bundles_bytes is %" PRIu64
				   "; remove some with `bpfleet remove`",
				   total, core->config->limits.bundles_size_bytes);
	return 0;
}

/* Rows for the signatures of the push; names of keys from those that verified. */
static int signature_rows(struct push *push, struct store_signature *rows, struct error *err)
{
	const struct trust_verified *verified = push->bundle->verified;

	for (size_t i = 0; i < push->n_signatures; i++) {
		struct minisign_signature signature;
		char *key_id = arena_alloc(push->request->arena, MINISIGN_KEY_ID_TEXT_LEN + 1);
		int r = minisign_signature_parse(push->signatures[i].data, push->signatures[i].size,
						 &signature, err);

		if (r < 0)
			return r;
		if (key_id == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "note the signers");
		minisign_format_key_id(signature.key_id, key_id);
		rows[i] = (struct store_signature){
			.minisig = { push->signatures[i].data, push->signatures[i].size },
			.key_id = key_id,
			.signer = "",
		};
		for (size_t k = 0; k < verified->n_signers; k++) {
			if (memcmp(verified->signers[k].key.key_id, signature.key_id,
				   MINISIGN_KEY_ID_LEN) == 0) {
				rows[i].signer = verified->signers[k].key_name;
				rows[i].trusted_comment = verified->signers[k].trusted_comment;
			}
		}
	}
	return 0;
}

static bool is_among(const struct store_signature *row, const struct store_signature *rows,
		     size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].minisig.size == row->minisig.size &&
		    memcmp(rows[i].minisig.data, row->minisig.data, row->minisig.size) == 0)
			return true;
	}
	return false;
}

static int push_respond(struct push *push, const Bpfleet__V1__Version *version, bool present,
			Bpfleet__V1__PushBundleResponse **ret, struct error *err)
{
	struct request *request = push->request;
	Bpfleet__V1__PushBundleResponse *response = arena_alloc(request->arena, sizeof(*response));
	const uint32_t numbers[3] = { version->major, version->minor, version->patch };
	_cleanup_free_ struct store_bundle *row = NULL;
	int r;

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer a push");
	bpfleet__v1__push_bundle_response__init(response);
	response->already_present = present;
	r = store_bundle_get(request->core->store, push->bundle->bundle->manifest->name, numbers,
			     &row, err);
	if (r >= 0)
		r = convert_bundle(request->core, request->arena, row, &response->bundle, err);
	*ret = response;
	return r;
}

/* Known bytes: signatures that are new are kept, so that a bundle can follow a change of keys. */
static int push_again(struct push *push, struct error *err)
{
	struct request *request = push->request;
	struct store *store = request->core->store;
	struct store_signature rows[TRUST_SIGNATURES_MAX], fresh[TRUST_SIGNATURES_MAX];
	_cleanup_free_ struct store_signature *present = NULL;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	Bpfleet__V1__PushBundleResponse *response;
	size_t n_present = 0, n_fresh = 0;
	int r = signature_rows(push, rows, err);

	if (r >= 0)
		r = store_signature_list(store, push->bundle->digest.bytes, &present, &n_present,
					 err);
	for (size_t i = 0; r >= 0 && i < push->n_signatures; i++) {
		if (!is_among(&rows[i], present, n_present) &&
		    n_present + n_fresh < TRUST_SIGNATURES_MAX)
			fresh[n_fresh++] = rows[i];
	}
	(void)snprintf(request->detail, sizeof(request->detail),
		       "already present, %zu new signatures", n_fresh);
	if (r >= 0)
		r = store_tx_begin(store, STORE_TX_GROW, &tx, err);
	if (r >= 0 && n_fresh > 0)
		r = store_signature_add(&tx, push->bundle->digest.bytes, n_present, fresh, n_fresh,
					err);
	if (r >= 0)
		r = push_respond(push, push->bundle->bundle->manifest->version, true, &response,
				 err);
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	if (r >= 0)
		request_reply(request, &response->base);
	return r;
}

static int push_store(struct push *push, struct error *err)
{
	struct request *request = push->request;
	struct core *core = request->core;
	const Bpfleet__V1__Manifest *manifest = push->bundle->bundle->manifest;
	const Bpfleet__V1__Version *version = manifest->version;
	struct store_signature signatures[TRUST_SIGNATURES_MAX];
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_bundle *same = NULL;
	Bpfleet__V1__PushBundleResponse *response;
	struct store_bundle row = {
		.name = manifest->name,
		.version = { version->major, version->minor, version->patch },
		.size_bytes = push->file.size,
		.description = manifest->description,
		.expires_at_ns = manifest->expires_at_ns,
		.pushed_at_ns = clock_realtime_ns(),
		.pushed_by = session_identity(request->session),
		.has_obsoletes_below = manifest->obsoletes_below != NULL,
	};
	struct error absent = { 0 };
	int r;

	if (manifest->obsoletes_below != NULL) {
		row.obsoletes_below[0] = manifest->obsoletes_below->major;
		row.obsoletes_below[1] = manifest->obsoletes_below->minor;
		row.obsoletes_below[2] = manifest->obsoletes_below->patch;
	}
	memcpy(row.digest, push->bundle->digest.bytes, BUNDLE_DIGEST_LEN);
	if (store_bundle_get_digest(core->store, row.digest, &same, &absent) >= 0)
		return push_again(push, err);
	r = check_space(core, push->file.size, err);
	if (r >= 0 && manifest->budgets != NULL)
		r = budget_pack(&manifest->budgets->base, request->arena, &row.budgets, err);
	if (r >= 0)
		r = signature_rows(push, signatures, err);
	if (r >= 0)
		r = request_check_deadline(request, err);
	if (r >= 0)
		r = store_tx_begin(core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = store_bundle_insert(&tx, &row, signatures, push->n_signatures, push->file.data,
					err);
	if (r >= 0)
		r = push_respond(push, version, false, &response, err);
	core_step("push.commit");
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	core_step("push.committed");
	if (r >= 0)
		request_reply(request, &response->base);
	return r;
}

static void push_done(struct job *job)
{
	_cleanup_(push_freep) struct push *push = (struct push *)(void *)job;
	struct request *request = push->request;
	struct error *err = &push->err;
	int r = push->bundle == NULL ? -1 : 0;

	if (r >= 0) {
		const Bpfleet__V1__Manifest *manifest = push->bundle->bundle->manifest;

		rules_note_bundle(request, push->bundle);
		trusted_bundles_forget(request->core->bundles, &push->bundle->digest);
		trusted_bundles_put(request->core->bundles, push->bundle);
		r = request_authorize(request, POLICY_VERB_PUSH, manifest->name, NULL, NULL, err);
		if (r >= 0)
			r = rules_check_expiry(manifest, err);
		if (r >= 0)
			r = rules_check_floor(request->core, manifest, err);
	}
	if (r >= 0)
		r = push_store(push, err);
	if (r < 0)
		request_fail(request, err);
}

int serve_store_bundle(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__StoreBundleRequest *message = (const void *)request->message;
	_cleanup_(push_freep) struct push *push = calloc(1, sizeof(*push));
	void *mapping;
	int r;

	(void)ret_response;
	if (push == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "take a bundle");
	(void)snprintf(request->object, sizeof(request->object), "bundles/?");
	if (message->digest.len != BUNDLE_DIGEST_LEN)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a digest has %d bytes",
				   BUNDLE_DIGEST_LEN);
	memcpy(push->announced.bytes, message->digest.data, BUNDLE_DIGEST_LEN);
	request->digest = push->announced;
	request->has_digest = true;
	r = request_authorize(request, POLICY_VERB_PUSH, NULL, NULL, NULL, err);
	if (r < 0)
		return r;
	if (message->n_signatures > TRUST_SIGNATURES_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "at most %d signatures",
				   TRUST_SIGNATURES_MAX);
	if (message->size_bytes > BUNDLE_SIZE_MAX)
		return error_raise(err, ERROR_BUNDLE_TOO_LARGE, "%" PRIu64 " bytes",
				   message->size_bytes);
	if (request->frame.fd < 0)
		return error_raise(err, ERROR_PROTOCOL, "no memfd came with the bundle");
	r = channel_map_sealed(request->frame.fd, message->size_bytes, &mapping, err);
	if (r < 0)
		return r;
	push->file = (struct trust_blob){ mapping, (size_t)message->size_bytes };
	for (size_t i = 0; i < message->n_signatures; i++)
		push->signatures[push->n_signatures++] = (struct trust_blob){
			message->signatures[i]->minisig.data,
			message->signatures[i]->minisig.len,
		};
	push->request = request;
	push->trust = trust_ref(trusted_bundles_trust(request->core->bundles));
	push->job = (struct job){ .work = push_work, .done = push_done };
	jobs_submit(request->core->jobs, &TAKE_PTR(push)->job);
	return REQUEST_PENDING;
}

/* ---- stored bundles */

int rules_find_bundle(struct request *request, const char *name, enum policy_verb verb,
		      struct store_bundle **ret, struct error *err)
{
	_cleanup_free_ struct store_bundle *row = NULL;
	struct resource_name parsed;
	uint32_t version[3];
	int r = resource_parse_kind(name, RESOURCE_BUNDLE, &parsed, err);

	if (r < 0)
		return r;
	(void)snprintf(request->object, sizeof(request->object), "%s", name);
	version[0] = parsed.bundle.version.major;
	version[1] = parsed.bundle.version.minor;
	version[2] = parsed.bundle.version.patch;
	r = request_authorize(request, verb, parsed.bundle.name, NULL, name, err);
	if (r < 0)
		return r;
	r = store_bundle_get(request->core->store, parsed.bundle.name,
			     parsed.bundle.has_version ? version : NULL, &row, err);
	if (r < 0 && err->code == ERROR_NOT_FOUND)
		return error_raise(err, ERROR_NOT_FOUND, "%s does not exist, or you may not see it",
				   name);
	if (r < 0)
		return r;
	memcpy(request->digest.bytes, row->digest, BUNDLE_DIGEST_LEN);
	request->has_digest = true;
	*ret = TAKE_PTR(row);
	return 0;
}

/* The manifest of stored bytes, parsed without asking trust again: they were verified at the push.
 */
static int read_manifest(struct request *request, const struct store_bundle *row,
			 Bpfleet__V1__Manifest **ret, struct error *err)
{
	struct digest digest, found;
	struct trusted_bundle *cached;
	Bpfleet__V1__Bundle *bundle;
	uint8_t *bytes;
	int r;

	memcpy(digest.bytes, row->digest, BUNDLE_DIGEST_LEN);
	cached = trusted_bundles_get(request->core->bundles, &digest);
	if (cached != NULL) {
		*ret = cached->bundle->manifest;
		return 0;
	}
	bytes = arena_alloc(request->arena, (size_t)row->size_bytes);
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read a bundle");
	r = store_bundle_read(request->core->store, row->digest, bytes, (size_t)row->size_bytes,
			      err);
	if (r < 0)
		return r;
	digest_compute(bytes, (size_t)row->size_bytes, &found);
	if (memcmp(&digest, &found, sizeof(digest)) != 0)
		return error_raise(err, ERROR_STORE_CORRUPT, "the stored bytes of %s have changed",
				   row->name);
	r = bundle_parse(request->arena, bytes, (size_t)row->size_bytes, &bundle, err);
	if (r >= 0)
		*ret = bundle->manifest;
	return r;
}

int serve_get_bundle(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetBundleRequest *message = (const void *)request->message;
	Bpfleet__V1__GetBundleResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_bundle *row = NULL;
	int r = rules_find_bundle(request, message->name, POLICY_VERB_VIEW, &row, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "get a bundle");
	bpfleet__v1__get_bundle_response__init(response);
	r = convert_bundle(request->core, request->arena, row, &response->bundle, err);
	if (r >= 0)
		r = read_manifest(request, row, &response->manifest, err);
	*ret_response = &response->base;
	return r;
}

int serve_remove_bundle(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__RemoveBundleRequest *message = (const void *)request->message;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_bundle *row = NULL;
	struct resource_name parsed;
	int r = resource_parse_kind(message->name, RESOURCE_BUNDLE, &parsed, err);

	(void)ret_response;
	if (r < 0)
		return r;
	if (!parsed.bundle.has_version)
		return error_raise(err, ERROR_INVALID_NAME,
				   "say which version to remove: %s@VERSION", message->name);
	r = rules_find_bundle(request, message->name, POLICY_VERB_REMOVE, &row, err);
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = store_bundle_delete(&tx, row->name, row->version, err);
	if (r >= 0)
		r = request_commit(request, &tx, NULL, err);
	if (r >= 0)
		trusted_bundles_forget(request->core->bundles, &request->digest);
	return r;
}
