#include "base/error.h"
#include "client/lib.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

static int get_status(struct bpfleet *node, const struct bpfleet_status **ret, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	const Bpfleet__V1__GetStatusResponse *response;
	struct bpfleet_hook_support *hooks;
	struct bpfleet_status *status;
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = node_call(node->node, "GetStatus", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__GetStatusResponse *)answer;
	status = lib_block(arena, 1, sizeof(*status));
	hooks = arena_alloc(arena, (response->n_hooks + 1) * sizeof(*hooks));
	if (status == NULL || hooks == NULL)
		return no_memory(err);
	for (size_t i = 0; i < response->n_hooks; i++)
		hooks[i] = (struct bpfleet_hook_support){
			.kind = response->hooks[i]->kind,
			.supported = response->hooks[i]->supported,
			.detail = response->hooks[i]->detail,
		};
	*status = (struct bpfleet_status){
		.version = response->version,
		.node_id = response->node_id,
		.kernel_release = response->kernel_release,
		.caller = response->caller,
		.started_at_ns = response->started_at_ns,
		.revision = response->revision,
		.audit_sequence = response->audit_sequence,
		.n_bundles = response->n_bundles,
		.n_instances = response->n_instances,
		.n_programs = response->n_programs,
		.n_links = response->n_links,
		.n_orphan_pins = response->n_orphan_pins,
		.hooks = hooks,
		.n_hooks = response->n_hooks,
		.alarms = (const char *const *)response->alarms,
		.n_alarms = response->n_alarms,
	};
	(void)TAKE_PTR(arena);
	*ret = status;
	return 0;
}

int bpfleet_get_status(struct bpfleet *node, const struct bpfleet_status **ret_status,
		       struct bpfleet_error *error)
{
	struct error err = { 0 };
	int r;

	r = get_status(node, ret_status, &err);
	return lib_result(r, &err, error);
}

static char *text(const char *given)
{
	return (char *)(given == NULL ? "" : given);
}

static int query_audit(struct bpfleet *node, const struct bpfleet_audit_query *query,
		       const struct bpfleet_audit_row **ret_rows, size_t *ret_n, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__QueryAuditRequest request = BPFLEET__V1__QUERY_AUDIT_REQUEST__INIT;
	struct bpfleet_audit_row *rows;
	ProtobufCMessage **items;
	size_t n;
	int r;

	if (arena == NULL)
		return no_memory(err);
	request.identity = text(query->identity);
	request.verb = text(query->verb);
	request.object = text(query->object);
	request.outcome = text(query->outcome);
	request.since_ns = query->since_ns;
	request.until_ns = query->until_ns;
	request.newest_first = query->newest_first;
	r = node_list(node->node, "QueryAudit", &request.base, query->limit, arena, &items, &n,
		      err);
	if (r < 0)
		return r;
	rows = lib_block(arena, n, sizeof(*rows));
	if (rows == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		const Bpfleet__V1__AuditRow *row = (const Bpfleet__V1__AuditRow *)items[i];

		rows[i] = (struct bpfleet_audit_row){
			.sequence = row->sequence,
			.at_ns = row->at_ns,
			.identity = row->identity,
			.verb = row->verb,
			.object = row->object,
			.digest = lib_hex(arena, row->digest),
			.signers = row->signers,
			.outcome = row->outcome,
			.reason = row->reason,
			.detail = row->detail,
			.duration_ns = row->duration_ns,
			.count = row->count,
		};
		if (rows[i].digest == NULL)
			return no_memory(err);
	}
	(void)TAKE_PTR(arena);
	*ret_rows = rows;
	*ret_n = n;
	return 0;
}

int bpfleet_query_audit(struct bpfleet *node, const struct bpfleet_audit_query *query,
			const struct bpfleet_audit_row **ret_rows, size_t *ret_n,
			struct bpfleet_error *error)
{
	struct bpfleet_audit_query all = BPFLEET_AUDIT_QUERY_INIT;
	struct error err = { 0 };
	int r;

	r = lib_options(&all, sizeof(all), query, &err);
	if (r == 0)
		r = query_audit(node, &all, ret_rows, ret_n, &err);
	return lib_result(r, &err, error);
}
