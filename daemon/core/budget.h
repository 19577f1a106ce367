/*
 * What an instance may cost: the bounds of its manifest and of its caller put together, and whether
 * figures are beyond them. Quarantine is what follows: the digest is not loaded on this host again
 * until somebody releases it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bpfleet/v1/node.pb-c.h"
#include "store/bundles.h"
#include "store/instances.h"

/* For all that is unpacked of one. */
#define BUDGET_ARENA 4096
/* What a window showed, as text. */
#define BUDGET_FIGURES_MAX 320

struct arena;
struct core;
struct error;
struct kernel_object;
struct request;

/* What was measured of one instance in one window. */
struct budget_figures {
	uint64_t window_ns;
	uint64_t ns_per_run; /* of the slowest program */
	const char *program; /* which that is */
	uint64_t cpu_ppm;    /* of all programs */
};

/* Rounded to the nearest; 0 of no runs. */
uint64_t budget_mean_ns(uint64_t run_time_ns, uint64_t n_runs);
/* Millionths of one CPU; at most UINT32_MAX. */
uint64_t budget_cpu_ppm(uint64_t run_time_ns, uint64_t window_ns);

bool budget_is_over(const Bpfleet__V1__Budgets *budgets, const struct budget_figures *figures);
/* How many windows in a row must be over. */
uint32_t budget_n_windows(const Bpfleet__V1__Budgets *budgets);

/* What of a request makes no sense. Errors: INVALID_ARGUMENT. */
_must_check_ int budget_check(const Bpfleet__V1__LoadBudget *budget, bool lease, struct error *err);
/* As a row of the store has it; message may be NULL. Errors: OUT_OF_MEMORY. */
_must_check_ int budget_pack(const ProtobufCMessage *message, struct arena *arena,
			     struct store_bytes *ret, struct error *err);
/* Of each bound of the manifest and of the caller the smaller one; NULL: neither has any. */
Bpfleet__V1__LoadBudget *budget_combine(const Bpfleet__V1__Budgets *manifest,
					const Bpfleet__V1__LoadBudget *caller, struct arena *arena);
/* What is in force for an instance; NULL: nothing. */
Bpfleet__V1__LoadBudget *budget_of(const struct store_instance *row, struct arena *arena);
/* The bound of memory alone for a version of an instance; 0: none. */
uint64_t budget_max_memory(const Bpfleet__V1__Budgets *manifest, const struct store_bytes *caller);

/* Whether the kernel charges more for what is loaded than max_bytes (0: no bound); ret_bytes: how
 * much, or NULL. BUDGET_EXCEEDED. */
_must_check_ int budget_check_memory(const struct kernel_object *object, uint64_t max_bytes,
				     uint64_t *ret_bytes, struct error *err);

/* revoke.c: takes an instance off its hooks, or back to the version that it keeps, and quarantines
 * its bundle. False: that could not begin, as the log says. */
bool quarantine_begin(struct core *core, const struct store_instance *row,
		      const Bpfleet__V1__Budgets *budgets, const struct budget_figures *figures,
		      uint32_t n_windows);
/* The first of it, whatever versions are kept; figures "": its bundle is revoked, and all of it
 * leaves the kernel. Errors: INSTANCE_BUSY, those of the store. */
_must_check_ int quarantine_expel(struct core *core, const struct store_instance *row,
				  const char *figures, struct error *err);
/* The bundle's row and the audit row of an instance that is expelled, or is_back: that runs the
 * version before again; then a bundle that both versions are of stays free. */
_must_check_ int quarantine_record(struct store_tx *tx, const struct store_instance *row,
				   bool is_back, const char *figures, struct error *err);
/* quarantine.c: QUARANTINED if the digest is. */
_must_check_ int quarantine_check(struct core *core, const uint8_t digest[static STORE_DIGEST_LEN],
				  struct error *err);
bool quarantine_may_view(const struct request *request, const struct store_quarantine *row);
