/* How often each method of NodeService was called by anybody, how it ended, how long it took. */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct error;
struct rpc_method;

#define COUNTS_METHODS_MAX 64
#define COUNTS_N_STATUSES 17 /* gRPC's, OK to UNAUTHENTICATED */
#define COUNTS_N_BOUNDS 6    /* of MethodCalls.within */

struct count {
	uint64_t by_status[COUNTS_N_STATUSES];
	uint64_t duration_ns;
	uint64_t within[COUNTS_N_BOUNDS];
};

/* One for each row of node_service. */
struct counts {
	struct count methods[COUNTS_METHODS_MAX];
};

/* Counts a call that has ended; of a method of another service nothing happens. */
void counts_add(struct counts *counts, const struct rpc_method *method, int status,
		uint64_t duration_ns);

/* Fills response->calls, memory from the arena. Errors: OUT_OF_MEMORY. */
_must_check_ int counts_tell(const struct counts *counts, Bpfleet__V1__GetStatusResponse *response,
			     struct arena *arena, struct error *err);
