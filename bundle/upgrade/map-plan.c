#include "bundle/upgrade/map-plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bundle/upgrade/map-compare.h"

/* Types whose entries can be converted; of one family, into each other. */
static const struct {
	const char *type;
	int family;
} migratable[] = {
	{ "hash", 1 },	{ "lru_hash", 1 },     { "percpu_hash", 2 }, { "lru_percpu_hash", 2 },
	{ "array", 3 }, { "percpu_array", 4 }, { "lpm_trie", 5 },
};

static int family_of(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(migratable); i++) {
		if (strcmp(migratable[i].type, type) == 0)
			return migratable[i].family;
	}
	return 0;
}

/* What each version makes for itself: programs to call, constants. */
static bool is_always_fresh(const Bpfleet__V1__MapSpec *spec)
{
	return strcmp(spec->type, "prog_array") == 0 || strcmp(spec->type, "struct_ops") == 0 ||
	       strncmp(spec->name, ".rodata", 7) == 0 || strcmp(spec->name, ".kconfig") == 0 ||
	       strcmp(spec->name, ".ksyms") == 0;
}

bool map_wants_migration(const Bpfleet__V1__MapSpec *spec)
{
	if (spec->upgrade == BPFLEET__V1__UPGRADE__UPGRADE_UNSPECIFIED)
		return strncmp(spec->name, ".data", 5) == 0 || strncmp(spec->name, ".bss", 4) == 0;
	return spec->upgrade == BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE;
}

static bool are_inner_equal(const Bpfleet__V1__InnerMapSpec *a, const Bpfleet__V1__InnerMapSpec *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a->type, b->type) == 0 && a->key_size == b->key_size &&
	       a->value_size == b->value_size && a->max_entries == b->max_entries &&
	       a->flags == b->flags;
}

static void compare_specs(struct map_comparison *comparison, const Bpfleet__V1__MapSpec *old,
			  const Bpfleet__V1__MapSpec *new)
{
	const int old_family = family_of(old->type), new_family = family_of(new->type);

	if (strcmp(old->type, new->type) != 0)
		map_compare_note(comparison, old_family != new_family, "type %s -> %s", old->type,
				 new->type);
	if (old->max_entries != new->max_entries)
		map_compare_note(comparison, false, "max_entries %u -> %u", old->max_entries,
				 new->max_entries);
	if (old->flags != new->flags)
		map_compare_note(comparison, false, "flags 0x%x -> 0x%x", old->flags, new->flags);
	if (!are_inner_equal(old->inner, new->inner))
		map_compare_note(comparison, true, "the maps within it are of another kind");
	/* Maps with access read are frozen, for ever. */
	if (old->access == BPFLEET__V1__ACCESS__ACCESS_READ &&
	    new->access == BPFLEET__V1__ACCESS__ACCESS_WRITE)
		map_compare_note(comparison, false,
				 "access read -> write (a frozen map cannot be written again)");
	if (old->access == BPFLEET__V1__ACCESS__ACCESS_WRITE &&
	    new->access == BPFLEET__V1__ACCESS__ACCESS_READ)
		map_compare_note(comparison, false,
				 "access write -> read (a rollback could not write it again)");
	if (comparison->differences.len > 0 && comparison->obstacles.len == 0 &&
	    (old_family == 0 || new_family == 0))
		map_compare_note(comparison, true, "maps of type %s are not migrated", new->type);
}

static void compare_part(struct map_comparison *comparison, const char *name,
			 const struct map_side *old_side, const struct map_side *new_side)
{
	const bool is_key = comparison->is_key;
	const uint32_t old_id = old_side->btf == NULL ? 0
				: is_key	      ? old_side->key_type_id
						      : old_side->value_type_id;
	const uint32_t new_id = new_side->btf == NULL ? 0
				: is_key	      ? new_side->key_type_id
						      : new_side->value_type_id;

	if (old_id != 0 && new_id != 0)
		map_compare_types(comparison, name, old_id, new_id);
	else
		map_compare_untyped(comparison, name, old_id, new_id,
				    is_key ? old_side->spec->key_size : old_side->spec->value_size,
				    is_key ? new_side->spec->key_size : new_side->spec->value_size);
}

static int by_new_bit(const void *a, const void *b)
{
	const struct map_member *x = a, *y = b;

	return (x->new_bit > y->new_bit) - (x->new_bit < y->new_bit);
}

static bool take(char **to, struct str *from)
{
	if (from->len == 0 && !from->failed)
		(void)str_append(from, "");
	*to = from->data == NULL ? strdup("") : str_take(from);
	return *to != NULL;
}

/* What was compared becomes the verdict. */
static bool decide(struct map_plan *plan, struct map_comparison *comparison)
{
	const bool migrate = map_wants_migration(comparison->spec);

	if (comparison->differences.len == 0) {
		plan->verdict = MAP_KEEP;
	} else if (!migrate || comparison->obstacles.len > 0) {
		plan->verdict = MAP_REFUSE;
	} else {
		plan->verdict = MAP_MIGRATE;
		plan->members = TAKE_PTR(comparison->members);
		plan->n_members = comparison->n_members;
		if (plan->n_members > 0)
			qsort(plan->members, plan->n_members, sizeof(*plan->members), by_new_bit);
	}
	return take(&plan->difference, plan->verdict == MAP_REFUSE && migrate
					       ? &comparison->obstacles
					       : &comparison->differences);
}

int map_plan_new(const struct map_side *old_side, const struct map_side *new_side,
		 struct map_plan **ret, struct error *err)
{
	_cleanup_(map_plan_freep) struct map_plan *plan = calloc(1, sizeof(*plan));
	struct map_comparison comparison = { .old_btf = old_side->btf,
					     .new_btf = new_side->btf,
					     .spec = new_side->spec };
	bool ok = plan != NULL;

	if (ok && (is_always_fresh(new_side->spec) || is_always_fresh(old_side->spec) ||
		   new_side->spec->upgrade == BPFLEET__V1__UPGRADE__UPGRADE_RESET)) {
		plan->verdict = MAP_RESET;
		plan->difference = strdup("");
		ok = plan->difference != NULL;
	} else if (ok) {
		plan->old_value_size = old_side->spec->value_size;
		plan->new_value_size = new_side->spec->value_size;
		compare_specs(&comparison, old_side->spec, new_side->spec);
		comparison.is_key = true;
		compare_part(&comparison, "key", old_side, new_side);
		comparison.is_key = false;
		compare_part(&comparison, "value", old_side, new_side);
		if (plan->old_value_size > MAP_VALUE_MAX || plan->new_value_size > MAP_VALUE_MAX)
			map_compare_hold(&comparison, "is larger than 16384 bytes");
		ok = !comparison.failed && !comparison.differences.failed &&
		     !comparison.obstacles.failed && decide(plan, &comparison);
	}
	map_comparison_done(&comparison);
	if (!ok)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot compare a map");
	*ret = TAKE_PTR(plan);
	return 0;
}

void map_plan_free(struct map_plan *plan)
{
	if (plan == NULL)
		return;
	free(plan->difference);
	free(plan->members);
	free(plan);
}

/* ---- records */

static bool is_record_same(struct map_comparison *comparison, const char *old, const char *new)
{
	const int32_t old_id = btf__find_by_name_kind(comparison->old_btf, old, BTF_KIND_STRUCT),
		      new_id = btf__find_by_name_kind(comparison->new_btf, new, BTF_KIND_STRUCT);

	if (old_id < 0 || new_id < 0)
		return false;
	map_compare_types(comparison, "record", (uint32_t)old_id, (uint32_t)new_id);
	return comparison->differences.len == 0 && comparison->obstacles.len == 0;
}

static const Bpfleet__V1__EventVariant *find_variant(const Bpfleet__V1__EventSpec *spec,
						     uint64_t tag)
{
	for (size_t i = 0; i < spec->n_variants; i++) {
		if (spec->variants[i]->tag == tag)
			return spec->variants[i];
	}
	return NULL;
}

static bool are_records_same(struct map_comparison *comparison, const Bpfleet__V1__EventSpec *old,
			     const Bpfleet__V1__EventSpec *new)
{
	if (strcmp(old->tag, new->tag) != 0 || old->n_variants != new->n_variants)
		return false;
	if (old->n_variants == 0)
		return is_record_same(comparison, old->record_type, new->record_type);
	for (size_t i = 0; i < new->n_variants; i++) {
		const Bpfleet__V1__EventVariant *variant = find_variant(old, new->variants[i]->tag);

		if (variant == NULL || !is_record_same(comparison, variant->record_type,
						       new->variants[i]->record_type))
			return false;
	}
	return true;
}

int map_records_agree(const struct map_side *old_side, const struct map_side *new_side, bool *ret,
		      struct error *err)
{
	const Bpfleet__V1__EventSpec *old = old_side->spec->events, *new = new_side->spec->events;
	/* As of a key: no difference can be dealt with. */
	struct map_comparison comparison = { .old_btf = old_side->btf,
					     .new_btf = new_side->btf,
					     .spec = new_side->spec,
					     .is_key = true };
	bool agree = old == new, failed;

	if (old != NULL && new != NULL && old_side->btf != NULL && new_side->btf != NULL)
		agree = are_records_same(&comparison, old, new);
	failed = comparison.failed || comparison.differences.failed || comparison.obstacles.failed;
	map_comparison_done(&comparison);
	if (failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot compare the records of a map");
	*ret = agree;
	return 0;
}

/* ---- converting */

static uint64_t read_bits(const uint8_t *bytes, uint32_t bit, uint32_t n, bool is_signed)
{
	uint64_t value = 0;

	if (bit % 8 == 0 && n % 8 == 0) {
		memcpy(&value, bytes + bit / 8, n / 8);
	} else {
		for (uint32_t i = 0; i < n; i++)
			value |= (uint64_t)(bytes[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
	}
	if (is_signed && n < 64 && (value >> (n - 1) & 1) != 0)
		value |= UINT64_MAX << n;
	return value;
}

static void write_bits(uint8_t *bytes, uint32_t bit, uint32_t n, uint64_t value)
{
	if (bit % 8 == 0 && n % 8 == 0) {
		memcpy(bytes + bit / 8, &value, n / 8);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *byte = &bytes[(bit + i) / 8];
		const uint8_t mask = (uint8_t)(1u << (bit + i) % 8);

		*byte = (uint8_t)((value >> i & 1) != 0 ? *byte | mask : *byte & ~mask);
	}
}

void map_plan_convert_over(const struct map_plan *plan, const uint8_t *old_value,
			   uint8_t *new_value)
{
	for (size_t i = 0; i < plan->n_members; i++) {
		const struct map_member *member = &plan->members[i];

		if (member->is_bytes)
			memcpy(new_value + member->new_bit / 8, old_value + member->old_bit / 8,
			       member->new_bits / 8);
		else
			write_bits(new_value, member->new_bit, member->new_bits,
				   read_bits(old_value, member->old_bit, member->old_bits,
					     member->is_signed));
	}
}

void map_plan_convert(const struct map_plan *plan, const uint8_t *old_value, uint8_t *new_value)
{
	memset(new_value, 0, plan->new_value_size);
	map_plan_convert_over(plan, old_value, new_value);
}
