/*
 * Records of several structs in one buffer, told apart by a member that all of them have at the
 * same place. Internal to decode/.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "decode/plan.h"

struct btf;
struct error;

struct variant {
	uint64_t tag; /* bits of the member */
	struct plan plan;
};

struct variants {
	uint32_t tag_offset;
	uint32_t tag_size; /* 1, 2, 4 or 8 */
	size_t n;
	struct variant *items;
};

/*
 * Builds the plans. tag: a dotted path to an integer or enum within each of the structs. Errors:
 * MANIFEST_MISMATCH (there is no such struct or member, or it is not at the same place in all),
 * and those of plan_build(); *ret is then safe to variants_done().
 */
_must_check_ int variants_build(const struct btf *btf, const char *tag,
				Bpfleet__V1__EventVariant *const *specs, size_t n,
				struct enumeration **enumerations, struct variants *ret,
				struct error *err);
void variants_done(struct variants *variants);

/* Index of the one that a record is; SIZE_MAX: none. */
size_t variants_find(const struct variants *variants, const uint8_t *record, size_t n);
