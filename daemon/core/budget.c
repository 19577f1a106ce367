#include "daemon/core/budget.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "daemon/core/kernel/load.h"
#include "proto/arena.h"

#define WINDOWS_DEFAULT 3u

uint64_t budget_mean_ns(uint64_t run_time_ns, uint64_t n_runs)
{
	return n_runs == 0 ? 0 : (run_time_ns + n_runs / 2) / n_runs;
}

uint64_t budget_cpu_ppm(uint64_t run_time_ns, uint64_t window_ns)
{
	double ppm = window_ns == 0 ? 0 : (double)run_time_ns * 1e6 / (double)window_ns;

	return ppm >= (double)UINT32_MAX ? UINT32_MAX : (uint64_t)ppm;
}

bool budget_is_over(const Bpfleet__V1__Budgets *budgets, const struct budget_figures *figures)
{
	return (budgets->max_ns_per_run > 0 && figures->ns_per_run > budgets->max_ns_per_run) ||
	       (budgets->max_cpu_ppm > 0 && figures->cpu_ppm > budgets->max_cpu_ppm);
}

uint32_t budget_n_windows(const Bpfleet__V1__Budgets *budgets)
{
	return budgets->windows == 0 ? WINDOWS_DEFAULT : budgets->windows;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

int budget_check(const Bpfleet__V1__LoadBudget *budget, bool lease, struct error *err)
{
	if (budget == NULL)
		return 0;
	if (!lease && (budget->max_events != 0 || budget->max_event_bytes != 0))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "max_events and max_event_bytes go with DURABILITY_LEASE");
	if (budget->budgets != NULL && budget->budgets->windows > BUNDLE_BUDGET_WINDOWS_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "budget.budgets.windows is at most %u",
				   BUNDLE_BUDGET_WINDOWS_MAX);
	return 0;
}

int budget_pack(const ProtobufCMessage *message, struct arena *arena, struct store_bytes *ret,
		struct error *err)
{
	uint8_t *bytes = NULL;
	size_t n = 0;
	int r = 0;

	if (message != NULL)
		r = arena_pack(arena, message, &bytes, &n, err);
	if (r >= 0)
		*ret = (struct store_bytes){ bytes, n };
	return r;
}

Bpfleet__V1__LoadBudget *budget_combine(const Bpfleet__V1__Budgets *manifest,
					const Bpfleet__V1__LoadBudget *caller, struct arena *arena)
{
	static const Bpfleet__V1__Budgets none = BPFLEET__V1__BUDGETS__INIT;
	const Bpfleet__V1__Budgets *a = manifest != NULL ? manifest : &none;
	const Bpfleet__V1__Budgets *b =
		caller != NULL && caller->budgets != NULL ? caller->budgets : &none;
	Bpfleet__V1__LoadBudget *budget = arena_alloc(arena, sizeof(*budget));
	Bpfleet__V1__Budgets *both = arena_alloc(arena, sizeof(*both));

	if (budget == NULL || both == NULL || (manifest == NULL && caller == NULL))
		return NULL;
	bpfleet__v1__load_budget__init(budget);
	bpfleet__v1__budgets__init(both);
	both->max_memory_bytes = smaller(a->max_memory_bytes, b->max_memory_bytes);
	both->max_ns_per_run = smaller(a->max_ns_per_run, b->max_ns_per_run);
	both->max_cpu_ppm = (uint32_t)smaller(a->max_cpu_ppm, b->max_cpu_ppm);
	both->windows = (uint32_t)smaller(a->windows, b->windows);
	budget->budgets = both;
	if (caller != NULL) {
		budget->max_events = caller->max_events;
		budget->max_event_bytes = caller->max_event_bytes;
	}
	return budget;
}

static const void *unpack(const ProtobufCMessageDescriptor *descriptor,
			  const struct store_bytes *bytes, struct arena *arena)
{
	ProtobufCMessage *message = NULL;
	struct error ignored = { 0 };

	if (bytes->size == 0 ||
	    arena_unpack(arena, descriptor, bytes->data, bytes->size, &message, &ignored) < 0)
		return NULL;
	return message;
}

Bpfleet__V1__LoadBudget *budget_of(const struct store_instance *row, struct arena *arena)
{
	return arena == NULL ? NULL
			     : budget_combine(unpack(&bpfleet__v1__budgets__descriptor,
						     &row->bundle_budgets, arena),
					      unpack(&bpfleet__v1__load_budget__descriptor,
						     &row->budget, arena),
					      arena);
}

uint64_t budget_max_memory(const Bpfleet__V1__Budgets *manifest, const struct store_bytes *caller)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUDGET_ARENA);
	const Bpfleet__V1__LoadBudget *budget = NULL;

	if (arena != NULL)
		budget = budget_combine(
			manifest, unpack(&bpfleet__v1__load_budget__descriptor, caller, arena),
			arena);
	return budget == NULL ? 0 : budget->budgets->max_memory_bytes;
}

int budget_check_memory(const struct kernel_object *object, uint64_t max_bytes, uint64_t *ret_bytes,
			struct error *err)
{
	const bool look = max_bytes > 0 || ret_bytes != NULL;
	uint64_t total = 0, most = 0, bytes = 0;
	const char *largest = "";
	int r = 0;

	for (size_t i = 0; look && r >= 0 && i < object->n_programs; i++) {
		if (object->programs[i].fd < 0)
			continue;
		r = kernel_memory(object->programs[i].fd, &bytes, err);
		total += bytes;
	}
	for (size_t i = 0; look && r >= 0 && i < object->n_maps; i++) {
		r = kernel_memory(object->maps[i].fd, &bytes, err);
		total += bytes;
		if (bytes > most) {
			most = bytes;
			largest = object->maps[i].name;
		}
	}
	if (r >= 0 && ret_bytes != NULL)
		*ret_bytes = total;
	if (r < 0 || total <= max_bytes || max_bytes == 0)
		return r;
	r = error_raise(err, ERROR_BUDGET_EXCEEDED,
			"the kernel charges %" PRIu64 " bytes, %" PRIu64
			" of them for map '%s'; max_memory_bytes is %" PRIu64,
			total, most, largest, max_bytes);
	error_detail(err, "memory_bytes", "%" PRIu64, total);
	error_detail(err, "max_memory_bytes", "%" PRIu64, max_bytes);
	return r;
}
