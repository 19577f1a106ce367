/* Compares the BTF of two versions' map values. Internal to the planner. */
#pragma once

#include <bpf/btf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "bundle/upgrade/map-plan.h"

/* Integers and rows of bytes of a value that is migrated, and bytes of one. */
#define MAP_MEMBERS_MAX 1024
#define MAP_VALUE_MAX 16384

/* One comparison. Zero it, set the first four; done with map_comparison_done(). */
struct map_comparison {
	const struct btf *old_btf, *new_btf;
	const Bpfleet__V1__MapSpec *spec; /* of the new version, for its merge rules */
	bool is_key;			  /* any difference is an obstacle; no members are noted */

	struct str differences; /* "value.x: u64 at 8 is gone; ..." */
	struct str obstacles;	/* why the value cannot be converted; holds even without differences
				 */
	struct map_member *members;
	size_t n_members;
	bool failed; /* out of memory */

	/* of the walk */
	struct str path;
	size_t capacity;
	size_t n_steps;
	unsigned int depth;
	bool is_trial; /* only whether there is a difference */
	bool trial_differs;
	bool is_wide; /* an obstacle said so */
};

/* Compares two types and notes how one becomes the other. name: "key" or "value". */
void map_compare_types(struct map_comparison *comparison, const char *name, uint32_t old_id,
		       uint32_t new_id);
/* A value without types, or without one of them. */
void map_compare_untyped(struct map_comparison *comparison, const char *name, uint32_t old_id,
			 uint32_t new_id, uint32_t old_size, uint32_t new_size);
void map_comparison_done(struct map_comparison *comparison);

/* Adds a difference that can, or cannot, be dealt with by converting. */
void map_compare_note(struct map_comparison *comparison, bool is_obstacle, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds what stands in the way of converting, once there is a difference anywhere. */
void map_compare_hold(struct map_comparison *comparison, const char *why);
