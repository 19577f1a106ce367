/*
 * What becomes of one map when a new version of a bundle takes the place of an old one: both
 * versions share it, the new one starts empty, its entries are converted, or the replacement is
 * refused. Decides from manifests and BTF alone; asks the kernel nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct btf;
struct error;

/* A map of one version. Borrowed. */
struct map_side {
	const Bpfleet__V1__MapSpec *spec;
	const struct btf *btf; /* of the object; NULL: none */
	uint32_t key_type_id;  /* 0: none */
	uint32_t value_type_id;
};

enum map_verdict {
	MAP_KEEP,    /* the new version uses the old map */
	MAP_RESET,   /* a new map, empty or as its object initializes it */
	MAP_MIGRATE, /* a new map, filled from the old by kernel_migrate_begin() */
	MAP_REFUSE,  /* the replacement cannot be done */
};

/* Where an integer of the value, or a row of bytes, was and is. */
struct map_member {
	uint32_t old_bit; /* from the start of the value, as BTF counts them */
	uint32_t new_bit;
	uint32_t old_bits; /* of rows of bytes, the same as new_bits; else at most 64 */
	uint32_t new_bits;
	bool is_bytes;	/* copied as it is */
	bool is_signed; /* was; widened with its sign */
	bool is_new_signed;
	Bpfleet__V1__Merge rule;
};

/* A plan does not change after it was made: any number of threads may use it. */
struct map_plan {
	enum map_verdict verdict;
	/*
	 * What differs, for people: "value.packets: u64 at 8 became u32 at 16; max_entries 1024 ->
	 * 16". With MAP_REFUSE only what stands in the way. Empty: nothing.
	 */
	char *difference;
	/* With MAP_MIGRATE: the members that both versions have, by new offset. */
	struct map_member *members;
	size_t n_members;
	uint32_t old_value_size;
	uint32_t new_value_size;
};

/* Whether a map that differs is to be converted: as its manifest says, and where it says nothing,
 * variables are. */
bool map_wants_migration(const Bpfleet__V1__MapSpec *spec);

/*
 * Compares a map of the old version with that of the same name in the new one. The new manifest
 * says what is wished (upgrade, merge). Returns a new plan, freed with map_plan_free(). That
 * the maps cannot be reconciled is an answer, no error. Errors: OUT_OF_MEMORY.
 */
_must_check_ int map_plan_new(const struct map_side *old_side, const struct map_side *new_side,
			      struct map_plan **ret, struct error *err);
void map_plan_free(struct map_plan *plan);
DEFINE_CLEANUP(struct map_plan, map_plan_free)

/*
 * Whether who knows the records of the old map (a subscriber of its events) can read those that
 * programs of the new version put into it: the same structs by the same tags, member for member.
 * Errors: OUT_OF_MEMORY.
 */
_must_check_ int map_records_agree(const struct map_side *old_side, const struct map_side *new_side,
				   bool *ret, struct error *err);

/*
 * Converts one value of old_value_size bytes to one of new_value_size bytes, of one CPU. Members
 * that only the new version has are zero. Keys are the same in both. Only with MAP_MIGRATE.
 */
void map_plan_convert(const struct map_plan *plan, const uint8_t *old_value, uint8_t *new_value);
/* The same over a value that is there: members that only the new version has stay. */
void map_plan_convert_over(const struct map_plan *plan, const uint8_t *old_value,
			   uint8_t *new_value);
