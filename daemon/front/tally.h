/*
 * What was read from event maps and what was lost of it, since front was started: for statistics,
 * and for core, which holds leases to their budget of events. A tally outlives the listeners of its
 * map and ends with the instance. Loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct error;
struct front;
struct tallies;

#define TALLIES_MAX 4096

struct tally {
	struct tallies *tallies;
	struct tally *next;
	Bpfleet__V1__EventStatistics counts; /* the owner of the source counts; map is ours */
	uint64_t told_records, told_bytes;   /* to core */
	unsigned int n_sources;
	bool ended;
};

/* NULL when out of memory. */
struct tallies *tallies_new(struct front *front);
/* Before the loop goes: core is told nothing more. NULL is fine. */
void tallies_stop(struct tallies *tallies);
/* After the last source. NULL is fine. */
void tallies_free(struct tallies *tallies);
DEFINE_CLEANUP(struct tallies, tallies_free)

/* The one of a map, `instances/ID/maps/NAME`; tally_leave() it. NULL: no memory, or too many. */
struct tally *tallies_join(struct tallies *tallies, const char *map);
/* NULL is fine. */
void tally_leave(struct tally *tally);
/* Counts records; core hears of them within half a second. NULL is fine. */
void tally_read(struct tally *tally, uint64_t n_records, uint64_t size_bytes);

/* `instances/ID` is gone. */
void tallies_end_instance(struct tallies *tallies, const char *instance);

/* Adds those of the instances that are in the statistics; borrows until the next turn of the loop.
 * Errors: OUT_OF_MEMORY. */
_must_check_ int tallies_tell(const struct tallies *tallies, Bpfleet__V1__Statistics *statistics,
			      struct arena *arena, struct error *err);
