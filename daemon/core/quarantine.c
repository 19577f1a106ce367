/* Bundles that this host does not load, and letting them run again. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/links.h"
#include "daemon/core/methods.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/rules.h"
#include "proto/arena.h"

#define ROWS_MAX 65536

int quarantine_check(struct core *core, const uint8_t digest[static STORE_DIGEST_LEN],
		     struct error *err)
{
	_cleanup_free_ struct store_quarantine *rows = NULL;
	size_t n = 0;
	int r = store_quarantine_list(core->store, digest, NULL, 1, &rows, &n, err);

	if (r < 0 || n == 0)
		return r;
	return error_raise(err, ERROR_QUARANTINED,
			   "%s is quarantined on this host: %s; `bpfleet quarantine release %s` "
			   "lets it run again",
			   rows[0].bundle, rows[0].figures, rows[0].bundle);
}

static const char *bundle_of(const struct store_quarantine *row, struct resource_name *name)
{
	struct error ignored = { 0 };

	return resource_parse_kind(row->bundle, RESOURCE_BUNDLE, name, &ignored) < 0
		       ? ""
		       : name->bundle.name;
}

bool quarantine_may_view(const struct request *request, const struct store_quarantine *row)
{
	struct resource_name name = { 0 };

	return request_may_view(request, bundle_of(row, &name), NULL);
}

/* ---- list */

static Bpfleet__V1__QuarantinedBundle *convert(struct arena *arena,
					       const struct store_quarantine *row)
{
	Bpfleet__V1__QuarantinedBundle *message = arena_alloc(arena, sizeof(*message));
	struct error ignored = { 0 };

	if (message == NULL)
		return NULL;
	bpfleet__v1__quarantined_bundle__init(message);
	message->bundle = convert_text(arena, row->bundle);
	message->reason = convert_text(arena, row->reason);
	message->figures = convert_text(arena, row->figures);
	message->instance = convert_text(arena, row->instance);
	message->at_ns = row->at_ns;
	if (message->bundle == NULL || message->reason == NULL || message->figures == NULL ||
	    message->instance == NULL ||
	    convert_bytes(arena, row->digest, STORE_DIGEST_LEN, &message->digest, &ignored) < 0)
		return NULL;
	return message;
}

static int parse_digest(const char *text, uint8_t digest[static STORE_DIGEST_LEN])
{
	size_t n = 0;

	return sodium_hex2bin(digest, STORE_DIGEST_LEN, text, strlen(text), NULL, &n, NULL) == 0 &&
			       n == STORE_DIGEST_LEN
		       ? 0
		       : -1;
}

int serve_list_quarantine(struct request *request, ProtobufCMessage **ret_response,
			  struct error *err)
{
	const Bpfleet__V1__ListQuarantineRequest *message = (const void *)request->message;
	Bpfleet__V1__ListQuarantineResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	size_t n = 0, limit = message->page_size == 0 ? 100 : message->page_size;
	const bool from_start = message->page_token[0] == '\0';
	_cleanup_free_ struct store_quarantine *rows = NULL;
	char token[2 * STORE_DIGEST_LEN + 1];
	uint8_t after[STORE_DIGEST_LEN];
	int r;

	if (limit > 1000)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "page_size is at most 1000");
	if (!from_start && parse_digest(message->page_token, after) < 0)
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	r = store_quarantine_list(request->core->store, NULL, from_start ? NULL : after, limit,
				  &rows, &n, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list the quarantine");
	bpfleet__v1__list_quarantine_response__init(response);
	response->bundles = arena_alloc(request->arena, n * sizeof(*response->bundles));
	for (size_t i = 0; i < n; i++) {
		if (!quarantine_may_view(request, &rows[i]))
			continue;
		if (response->bundles == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "list the quarantine");
		response->bundles[response->n_bundles] = convert(request->arena, &rows[i]);
		if (response->bundles[response->n_bundles++] == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "list the quarantine");
	}
	if (n == limit) {
		(void)sodium_bin2hex(token, sizeof(token), rows[n - 1].digest, STORE_DIGEST_LEN);
		response->next_page_token = convert_text(request->arena, token);
	}
	*ret_response = &response->base;
	return response->next_page_token == NULL
		       ? error_raise(err, ERROR_OUT_OF_MEMORY, "list the quarantine")
		       : 0;
}

/* ---- release */

/* Instances that wait for the release, or could not be applied again because of it. */
static bool is_concerned(const struct store_instance *row,
			 const uint8_t digest[static STORE_DIGEST_LEN])
{
	return memcmp(row->digest, digest, STORE_DIGEST_LEN) == 0 &&
	       (row->state == INSTANCE_QUARANTINED ||
		(row->state == INSTANCE_FAILED &&
		 strncmp(row->reason, "QUARANTINED:", strlen("QUARANTINED:")) == 0));
}

static int find_digest(struct request *request, const char *bundle,
		       uint8_t digest[static STORE_DIGEST_LEN], struct error *err)
{
	_cleanup_free_ struct store_quarantine *rows = NULL;
	_cleanup_free_ struct store_bundle *row = NULL;
	struct resource_name name = { 0 };
	size_t n = 0;
	int r;

	if (parse_digest(bundle, digest) < 0) {
		r = rules_find_bundle(request, bundle, POLICY_VERB_QUARANTINE, &row, err);
		if (r >= 0)
			memcpy(digest, row->digest, STORE_DIGEST_LEN);
		return r;
	}
	r = store_quarantine_list(request->core->store, digest, NULL, 1, &rows, &n, err);
	if (r >= 0 && n == 0)
		return error_raise(err, ERROR_NOT_FOUND, "no bundle of that digest is quarantined");
	if (r < 0)
		return r;
	(void)snprintf(request->object, sizeof(request->object), "%s", rows[0].bundle);
	return request_authorize(request, POLICY_VERB_QUARANTINE, bundle_of(&rows[0], &name), NULL,
				 rows[0].bundle, err);
}

static int release_instance(struct core *core, struct store_tx *tx,
			    const struct store_instance *row, struct error *err)
{
	int r;

	if (row->state != INSTANCE_QUARANTINED)
		return 0;
	r = links_set_all(core, tx, row->id, LINK_PENDING_TARGET,
			  "released from quarantine, not attached again yet", err);
	if (r >= 0)
		r = store_instance_set_state(tx, row->id, INSTANCE_DEGRADED, NULL, err);
	return r < 0 ? r : instance_follow_links(core, tx, row->id, err);
}

static void settle(struct core *core, const char *id)
{
	_cleanup_free_ struct store_instance *row = NULL;
	struct error err = { 0 };
	int r = store_instance_get(core->store, id, &row, &err);

	if (r >= 0)
		r = reconcile_instance(core, row, &err);
	if (r < 0)
		log_error(LOG_LEVEL_WARNING, &err, "apply instance %s after its quarantine", id);
}

int serve_release_quarantine(struct request *request, ProtobufCMessage **ret_response,
			     struct error *err)
{
	const Bpfleet__V1__ReleaseQuarantineRequest *message = (const void *)request->message;
	Bpfleet__V1__ReleaseQuarantineResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	struct core *core = request->core;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_instance *rows = NULL;
	uint8_t digest[STORE_DIGEST_LEN];
	size_t n = 0;
	int r = find_digest(request, message->bundle, digest, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "release a bundle");
	bpfleet__v1__release_quarantine_response__init(response);
	memcpy(request->digest.bytes, digest, STORE_DIGEST_LEN);
	request->has_digest = true;
	r = store_instance_list(core->store, NULL, NULL, ROWS_MAX, &rows, &n, err);
	if (r >= 0)
		r = store_tx_begin(core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = store_quarantine_delete(&tx, digest, err);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (!is_concerned(&rows[i], digest))
			continue;
		response->n_instances++;
		r = release_instance(core, &tx, &rows[i], err);
	}
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (is_concerned(&rows[i], digest))
			settle(core, rows[i].id);
	}
	*ret_response = &response->base;
	return r;
}
