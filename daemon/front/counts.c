#include "daemon/front/counts.h"

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/service.h"
#include "proto/arena.h"
#include "rpc/server.h"

static const uint64_t bounds_ns[COUNTS_N_BOUNDS] = {
	NS_PER_MS / 10, NS_PER_MS, 10 * NS_PER_MS, 100 * NS_PER_MS, NS_PER_SEC, 10 * NS_PER_SEC,
};

void counts_add(struct counts *counts, const struct rpc_method *method, int status,
		uint64_t duration_ns)
{
	for (size_t i = 0; i < node_service.n_methods && i < COUNTS_METHODS_MAX; i++) {
		struct count *count = &counts->methods[i];

		if (&node_service.methods[i] != method)
			continue;
		if (status < 0 || status >= COUNTS_N_STATUSES)
			status = ERROR_STATUS_UNKNOWN;
		count->by_status[status]++;
		count->duration_ns += duration_ns;
		for (size_t b = 0; b < COUNTS_N_BOUNDS; b++)
			count->within[b] += duration_ns <= bounds_ns[b];
		return;
	}
}

static Bpfleet__V1__MethodCalls *tell(const struct count *count, const char *method,
				      struct arena *arena)
{
	Bpfleet__V1__MethodCalls *calls = arena_alloc(arena, sizeof(*calls));
	Bpfleet__V1__StatusCalls **failed = arena_alloc(arena, COUNTS_N_STATUSES * sizeof(*failed));
	uint64_t *within = arena_alloc(arena, sizeof(count->within));

	if (calls == NULL || failed == NULL || within == NULL)
		return NULL;
	bpfleet__v1__method_calls__init(calls);
	calls->method = (char *)(uintptr_t)method;
	calls->n_ok = count->by_status[ERROR_STATUS_OK];
	calls->failures = failed;
	for (int i = ERROR_STATUS_OK + 1; i < COUNTS_N_STATUSES; i++) {
		Bpfleet__V1__StatusCalls *of;

		if (count->by_status[i] == 0)
			continue;
		of = arena_alloc(arena, sizeof(*of));
		if (of == NULL)
			return NULL;
		bpfleet__v1__status_calls__init(of);
		of->status = (char *)(uintptr_t)error_status_name(i);
		of->n = count->by_status[i];
		failed[calls->n_failures++] = of;
		calls->n_failed += of->n;
	}
	calls->duration_ns = count->duration_ns;
	for (size_t b = 0; b < COUNTS_N_BOUNDS; b++)
		within[b] = count->within[b];
	calls->within = within;
	calls->n_within = COUNTS_N_BOUNDS;
	return calls;
}

int counts_tell(const struct counts *counts, Bpfleet__V1__GetStatusResponse *response,
		struct arena *arena, struct error *err)
{
	response->n_calls = 0;
	response->calls = arena_alloc(arena, COUNTS_METHODS_MAX * sizeof(*response->calls));
	if (response->calls == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to tell of calls");
	for (size_t i = 0; i < node_service.n_methods && i < COUNTS_METHODS_MAX; i++) {
		const struct count *count = &counts->methods[i];
		uint64_t n = 0;

		for (size_t s = 0; s < COUNTS_N_STATUSES; s++)
			n += count->by_status[s];
		if (n == 0)
			continue;
		response->calls[response->n_calls] =
			tell(count, node_service.methods[i].name, arena);
		if (response->calls[response->n_calls] == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to tell of calls");
		response->n_calls++;
	}
	return 0;
}
