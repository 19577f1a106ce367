#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/error.h"
#include "base/str.h"
#include "base/version.h"
#include "bundle/map-type.h"
#include "daemon/config/config.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/garbage.h"
#include "daemon/core/methods.h"
#include "daemon/core/session.h"
#include "proto/arena.h"
#include "store/audit.h"

static char *const features[] = { (char *)"attach_defaults", (char *)"durable_maps",
				  (char *)"leases", (char *)"open_map", (char *)"watch" };

#define QUARANTINE_ALARMS_MAX 8

static int fill_hooks(struct request *request, Bpfleet__V1__GetStatusResponse *response,
		      struct error *err)
{
	const struct core *core = request->core;

	response->hooks = arena_alloc(request->arena, HOOK_N_KINDS * sizeof(*response->hooks));
	for (size_t i = 0; i < HOOK_N_KINDS; i++) {
		Bpfleet__V1__HookSupport *hook = arena_alloc(request->arena, sizeof(*hook));

		if (response->hooks == NULL || hook == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
		bpfleet__v1__hook_support__init(hook);
		hook->kind = (char *)(uintptr_t)core->support[i].kind;
		hook->supported = core->support[i].supported;
		hook->detail = (char *)(uintptr_t)core->support[i].detail;
		response->hooks[response->n_hooks++] = hook;
	}
	return 0;
}

static int fill_map_types(struct request *request, Bpfleet__V1__GetStatusResponse *response,
			  struct error *err)
{
	const struct kernel_support *support = request->core->map_support;
	Bpfleet__V1__MapTypeSupport *types =
		arena_alloc(request->arena, n_map_types * sizeof(*types));

	response->map_types =
		arena_alloc(request->arena, n_map_types * sizeof(*response->map_types));
	if (types == NULL || response->map_types == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
	for (size_t i = 0; i < n_map_types; i++) {
		bpfleet__v1__map_type_support__init(&types[i]);
		types[i].type = (char *)(uintptr_t)support[i].kind;
		types[i].supported = support[i].supported;
		types[i].detail = (char *)(uintptr_t)support[i].detail;
		response->map_types[response->n_map_types++] = &types[i];
	}
	return 0;
}

static int fill_alarms(struct request *request, Bpfleet__V1__GetStatusResponse *response,
		       struct error *err)
{
	_cleanup_free_ struct store_quarantine *rows = NULL;
	const struct core *core = request->core;
	size_t n = 0;
	int r = store_quarantine_list(core->store, NULL, NULL, QUARANTINE_ALARMS_MAX, &rows, &n,
				      err);

	if (r < 0)
		return r;
	response->alarms = arena_alloc(request->arena, (3 + n) * sizeof(*response->alarms));
	if (response->alarms == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
	if (core->audit_alarm[0] != '\0')
		response->alarms[response->n_alarms++] = (char *)(uintptr_t)core->audit_alarm;
	if (core->trust_alarm[0] != '\0')
		response->alarms[response->n_alarms++] = (char *)(uintptr_t)core->trust_alarm;
	if (core->held_by_owner)
		response->alarms[response->n_alarms++] =
			(char *)"held by this host's owner: nothing is applied until "
				"`bpfleetd --resume` and a restart";
	for (size_t i = 0; i < n; i++) {
		char *alarm =
			arena_printf(request->arena,
				     "%s is quarantined: %s; `bpfleet quarantine release` lets "
				     "it run again",
				     rows[i].bundle, rows[i].figures);

		if (alarm == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
		if (quarantine_may_view(request, &rows[i]))
			response->alarms[response->n_alarms++] = alarm;
	}
	return 0;
}

static int fill_audit_time(struct request *request, Bpfleet__V1__GetStatusResponse *response,
			   struct error *err)
{
	const struct store_audit_filter newest = { .newest_first = true };
	_cleanup_free_ struct store_audit *rows = NULL;
	size_t n = 0;
	int r = store_audit_list(request->core->store, &newest, 0, 1, &rows, &n, err);

	if (r >= 0 && n > 0)
		response->audit_at_ns = rows[0].at_ns;
	return r;
}

int serve_get_status(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	struct core *core = request->core;
	Bpfleet__V1__GetStatusResponse *response = arena_alloc(request->arena, sizeof(*response));
	uint8_t head[STORE_HASH_LEN];
	struct store_counts counts;
	struct store_meta meta;
	struct utsname kernel;
	int r = store_meta_get(core->store, &meta, err);

	if (r >= 0)
		r = store_counts_get(core->store, &counts, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
	bpfleet__v1__get_status_response__init(response);
	(void)uname(&kernel);
	response->version = (char *)BPFLEET_VERSION;
	response->n_features = ARRAY_SIZE(features);
	response->features = (char **)(uintptr_t)features;
	response->node_id = convert_text(request->arena, meta.uuid);
	response->kernel_release = convert_text(request->arena, kernel.release);
	response->boot_id = core->boot_id;
	response->started_at_ns = core->started_at_ns;
	response->revision = store_revision(core->store);
	/* Everybody may know that the daemon is there; how much it has, those who may view some of
	 * it. */
	response->may_view = request_may_view(request, NULL, NULL);
	if (response->may_view) {
		response->n_bundles = (uint32_t)counts.n_bundles;
		response->n_instances = (uint32_t)counts.n_instances;
		response->n_programs = (uint32_t)counts.n_programs;
		response->n_links = (uint32_t)counts.n_links;
	}
	response->policy_epoch = core->policy_epoch;
	response->fd_socket = core->config->fd_socket;
	response->caller = convert_text(request->arena, session_identity(request->session));
	if (response->node_id == NULL || response->kernel_release == NULL ||
	    response->caller == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell the status");
	store_audit_head(core->store, &response->audit_sequence, head);
	r = fill_audit_time(request, response, err);
	if (r >= 0)
		r = convert_bytes(request->arena, head, sizeof(head), &response->audit_head, err);
	if (r >= 0 && response->may_view)
		r = garbage_count(core, &response->n_orphan_pins, err);
	if (r >= 0)
		r = fill_hooks(request, response, err);
	if (r >= 0)
		r = fill_map_types(request, response, err);
	if (r >= 0)
		r = fill_alarms(request, response, err);
	*ret_response = &response->base;
	return r;
}

/* ---- audit */

static const char *or_any(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

int serve_query_audit(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__QueryAuditRequest *message = (const void *)request->message;
	Bpfleet__V1__QueryAuditResponse *response = arena_alloc(request->arena, sizeof(*response));
	const struct store_audit_filter filter = {
		.identity = or_any(message->identity),
		.verb = or_any(message->verb),
		.object = or_any(message->object),
		.outcome = or_any(message->outcome),
		.since_ns = message->since_ns,
		.until_ns = message->until_ns,
		.newest_first = message->newest_first,
	};
	size_t n = 0, page_size = message->page_size == 0 ? 100 : message->page_size;
	_cleanup_free_ struct store_audit *rows = NULL;
	uint64_t after = 0;
	int r = request_authorize(request, POLICY_VERB_AUDIT, NULL, NULL, NULL, err);

	if (r < 0)
		return r;
	if (page_size > 1000)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "page_size is at most 1000");
	if (message->page_token[0] != '\0' &&
	    str_to_u64(message->page_token, INT64_MAX, &after) < 0)
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	r = store_audit_list(request->core->store, &filter, after, page_size, &rows, &n, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "query the audit log");
	bpfleet__v1__query_audit_response__init(response);
	response->rows = arena_alloc(request->arena, n * sizeof(*response->rows));
	if (response->rows == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "query the audit log");
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = convert_audit(request->arena, &rows[i], &response->rows[response->n_rows++],
				  err);
	if (r >= 0 && n == page_size) {
		response->next_page_token = arena_printf(request->arena, "%llu",
							 (unsigned long long)rows[n - 1].sequence);
		if (response->next_page_token == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "query the audit log");
	}
	*ret_response = &response->base;
	return r;
}

int serve_collect_garbage(struct request *request, ProtobufCMessage **ret_response,
			  struct error *err)
{
	const Bpfleet__V1__CollectGarbageRequest *message = (const void *)request->message;
	Bpfleet__V1__CollectGarbageResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct garbage garbage = { 0 };
	int r = request_authorize(request, POLICY_VERB_GC, NULL, NULL, NULL, err);

	if (r >= 0)
		r = garbage_find(request->core, &garbage, err);
	if (r < 0)
		return r;
	if (response == NULL) {
		garbage_done(&garbage);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "collect garbage");
	}
	bpfleet__v1__collect_garbage_response__init(response);
	response->removed_pins =
		arena_alloc(request->arena, garbage.n_paths * sizeof(*response->removed_pins));
	for (size_t i = 0; response->removed_pins != NULL && i < garbage.n_paths; i++)
		response->removed_pins[response->n_removed_pins++] =
			convert_text(request->arena, garbage.paths[i]);
	if (!message->dry_run)
		r = garbage_remove(request->core, &garbage, err);
	garbage_done(&garbage);
	request->core->orphans_counted_at = 0;
	(void)snprintf(request->detail, sizeof(request->detail), "%zu pins%s",
		       response->n_removed_pins, message->dry_run ? ", dry run" : "");
	if (r >= 0)
		r = store_tx_begin(request->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = request_commit(request, &tx, NULL, err);
	*ret_response = &response->base;
	return r;
}
