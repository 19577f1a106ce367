#include "bundle/upgrade/map-compare.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define DEPTH_MAX 32
#define STEPS_MAX (1u << 18)
/* Of a list of differences, which becomes part of an error message. */
#define TEXT_MAX 700

enum shape {
	SHAPE_NUMBER,
	SHAPE_BOOL,
	SHAPE_ENUM,
	SHAPE_FLOAT,
	SHAPE_POINTER,
	SHAPE_ARRAY,
	SHAPE_STRUCT,
	SHAPE_SECTION, /* global variables */
	SHAPE_UNION,
	SHAPE_OTHER,
};

/* A type at a place of the value. */
struct place {
	const struct btf *btf;
	const struct btf_type *type; /* without typedefs; NULL: none */
	uint32_t bit;		     /* from the start of the value */
	uint32_t below;		     /* the same from the start of the struct that names it */
	uint32_t bits;		     /* its size */
	bool is_bitfield;
};

struct entry {
	const char *name;
	struct place place;
};

/* The names of a struct, those of anonymous structs within it included. */
struct scope {
	struct entry *entries;
	size_t n, capacity;
};

/* ---- notes */

static void append_note(struct str *to, const char *text)
{
	static const char more[] = "; and more";

	if (to->len >= strlen(more) && strcmp(to->data + to->len - strlen(more), more) == 0)
		return;
	if (to->len + strlen(text) > TEXT_MAX) {
		(void)str_append(to, more);
		return;
	}
	(void)str_appendf(to, "%s%s", to->len > 0 ? "; " : "", text);
}

void map_compare_note(struct map_comparison *comparison, bool is_obstacle, const char *format, ...)
{
	char text[256];
	va_list args;

	comparison->trial_differs = true;
	if (comparison->is_trial)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	append_note(&comparison->differences, text);
	if (is_obstacle || comparison->is_key)
		append_note(&comparison->obstacles, text);
}

void map_compare_hold(struct map_comparison *comparison, const char *why)
{
	char text[256];

	if (comparison->is_trial || comparison->is_key)
		return;
	(void)snprintf(text, sizeof(text), "%.150s: %s", comparison->path.data, why);
	append_note(&comparison->obstacles, text);
}

static const struct btf_type *strip(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	for (int i = 0; i < DEPTH_MAX && type != NULL; i++) {
		if (!btf_is_mod(type) && !btf_is_typedef(type) && !btf_is_type_tag(type))
			return btf_is_void(type) ? NULL : type;
		type = btf__type_by_id(btf, type->type);
	}
	return NULL;
}

static void append_type(struct str *out, const struct place *place)
{
	const struct btf_type *type = place->type;
	const char *name = type != NULL ? btf__name_by_offset(place->btf, type->name_off) : "";

	if (type == NULL) {
		(void)str_append(out, "nothing");
	} else if (btf_is_int(type)) {
		if ((btf_int_encoding(type) & BTF_INT_BOOL) != 0)
			(void)str_append(out, "bool");
		else
			(void)str_appendf(out, "%c%u",
					  btf_int_encoding(type) & BTF_INT_SIGNED ? 's' : 'u',
					  type->size * 8);
		if (place->is_bitfield)
			(void)str_appendf(out, ":%u", place->bits);
	} else if (btf_is_ptr(type)) {
		(void)str_append(out, "pointer");
	} else if (btf_is_float(type)) {
		(void)str_appendf(out, "float%u", type->size * 8);
	} else {
		(void)str_appendf(out, "%s%s%.64s",
				  btf_is_union(type)	  ? "union"
				  : btf_is_any_enum(type) ? "enum"
							  : "struct",
				  name[0] != '\0' ? " " : "", name);
		if (btf_is_any_enum(type))
			(void)str_appendf(out, " of %u bits", place->bits);
	}
}

static void append_place(struct str *out, const struct place *place)
{
	struct place element = *place;
	struct str lengths = { 0 };

	for (int i = 0; i < DEPTH_MAX && element.type != NULL && btf_is_array(element.type); i++) {
		(void)str_appendf(&lengths, "[%u]", btf_array(element.type)->nelems);
		element.type = strip(place->btf, btf_array(element.type)->type);
		element.bits = element.type != NULL ? element.type->size * 8 : 0;
	}
	append_type(out, &element);
	(void)str_append(out, lengths.len > 0 ? lengths.data : "");
	str_done(&lengths);
	(void)str_appendf(out, " at %u", place->below / 8);
	if (place->is_bitfield)
		(void)str_appendf(out, ".%u", place->below % 8);
}

/* "value.packets: u64 at 8 became u32 at 16" */
static void note_change(struct map_comparison *comparison, bool is_obstacle,
			const struct place *was, const struct place *now)
{
	struct str before = { 0 }, after = { 0 };

	if (comparison->is_trial) {
		comparison->trial_differs = true;
		return;
	}
	append_place(&before, was);
	append_place(&after, now);
	if (before.failed || after.failed)
		comparison->failed = true;
	else
		map_compare_note(comparison, is_obstacle, "%.120s: %.60s became %.60s",
				 comparison->path.data, before.data, after.data);
	str_done(&before);
	str_done(&after);
}

/* "value.packets: u64 at 8 is gone" */
static void note_one(struct map_comparison *comparison, const struct entry *entry, const char *fate)
{
	struct str text = { 0 };

	if (!comparison->is_trial)
		append_place(&text, &entry->place);
	map_compare_note(comparison, false, "%.120s.%.60s: %.60s %s", comparison->path.data,
			 entry->name, text.data != NULL ? text.data : "", fate);
	str_done(&text);
}

/* ---- types */

static struct place place_of(const struct btf *btf, uint32_t id, uint32_t bit, uint32_t below)
{
	const __s64 size = btf__resolve_size(btf, id);

	return (struct place){
		.btf = btf,
		.type = strip(btf, id),
		.bit = bit,
		.below = below,
		.bits = size > 0 && size < INT32_MAX / 8 ? (uint32_t)size * 8 : 0,
	};
}

static enum shape shape_of(const struct btf_type *type)
{
	if (type == NULL)
		return SHAPE_OTHER;
	switch (btf_kind(type)) {
	case BTF_KIND_INT:
		return (btf_int_encoding(type) & BTF_INT_BOOL) != 0 ? SHAPE_BOOL : SHAPE_NUMBER;
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return SHAPE_ENUM;
	case BTF_KIND_FLOAT:
		return SHAPE_FLOAT;
	case BTF_KIND_PTR:
		return SHAPE_POINTER;
	case BTF_KIND_ARRAY:
		return SHAPE_ARRAY;
	case BTF_KIND_STRUCT:
		return SHAPE_STRUCT;
	case BTF_KIND_DATASEC:
		return SHAPE_SECTION;
	case BTF_KIND_UNION:
		return SHAPE_UNION;
	default:
		return SHAPE_OTHER;
	}
}

static bool is_signed(const struct btf_type *type)
{
	if (btf_is_int(type))
		return (btf_int_encoding(type) & BTF_INT_SIGNED) != 0;
	return btf_is_any_enum(type) && btf_kflag(type);
}

/* What in a value only the kernel can make. */
static bool is_of_kernel(const struct place *place)
{
	static const char *const names[] = {
		"bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer",   "bpf_wq",
		"bpf_list_head", "bpf_list_node",     "bpf_rb_root", "bpf_rb_node",
		"bpf_refcount",	 "bpf_task_work",
	};
	const char *name = btf__name_by_offset(place->btf, place->type->name_off);
	const struct btf_type *tag;

	for (size_t i = 0; btf_is_struct(place->type) && i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	if (!btf_is_ptr(place->type))
		return false;
	/* Counted pointers are told by a tag. */
	tag = btf__type_by_id(place->btf, place->type->type);
	return tag != NULL && btf_is_type_tag(tag);
}

/* ---- members */

static bool is_below(const char *path, const char *rule)
{
	const size_t n = strlen(rule);

	return strncmp(path, rule, n) == 0 && (path[n] == '\0' || path[n] == '.');
}

/* The longest rule that names the path or something above it. */
static Bpfleet__V1__Merge rule_of(const struct map_comparison *comparison)
{
	const char *path = comparison->path.data;
	const char *members = strchr(path, '.');
	Bpfleet__V1__Merge rule = BPFLEET__V1__MERGE__MERGE_NEWEST;
	size_t longest = 0;

	members = members != NULL ? members + 1 : path;
	for (size_t i = 0; i < comparison->spec->n_merge; i++) {
		const Bpfleet__V1__MergeRule *merge = comparison->spec->merge[i];

		if (is_below(members, merge->path) && strlen(merge->path) > longest) {
			longest = strlen(merge->path);
			rule = merge->rule;
		}
	}
	return rule;
}

static void add_member(struct map_comparison *comparison, const struct place *was,
		       const struct place *now, bool is_bytes)
{
	Bpfleet__V1__Merge rule;
	struct map_member *members;
	size_t capacity;

	if (comparison->is_trial || comparison->is_key || comparison->is_wide)
		return;
	if (comparison->n_members == MAP_MEMBERS_MAX) {
		comparison->is_wide = true;
		map_compare_hold(comparison, "a value of more than 1024 numbers is not migrated");
		return;
	}
	rule = rule_of(comparison);
	if ((rule == BPFLEET__V1__MERGE__MERGE_SUM || rule == BPFLEET__V1__MERGE__MERGE_MAX) &&
	    (is_bytes || shape_of(now->type) != SHAPE_NUMBER ||
	     (now->bits != 32 && now->bits != 64) || now->bit % now->bits != 0)) {
		map_compare_hold(comparison,
				 "only aligned integers of 4 or 8 bytes can be merged by "
				 "sum or max");
		return;
	}
	if (comparison->n_members == comparison->capacity) {
		capacity = comparison->capacity * 2 + 16;
		members = reallocarray(comparison->members, capacity, sizeof(*members));
		if (members == NULL) {
			comparison->failed = true;
			return;
		}
		comparison->members = members;
		comparison->capacity = capacity;
	}
	comparison->members[comparison->n_members++] = (struct map_member){
		.old_bit = was->bit,
		.new_bit = now->bit,
		.old_bits = was->bits,
		.new_bits = is_bytes ? was->bits : now->bits,
		.is_bytes = is_bytes,
		.is_signed = !is_bytes && is_signed(was->type),
		.is_new_signed = !is_bytes && is_signed(now->type),
		.rule = rule,
	};
}

/* ---- the walk */

static void compare(struct map_comparison *comparison, const struct place *was,
		    const struct place *now);

static int64_t constant(const struct place *place, uint32_t i, const char **ret_name)
{
	const bool is_wide = btf_is_enum64(place->type);

	*ret_name = btf__name_by_offset(place->btf, is_wide ? btf_enum64(place->type)[i].name_off
							    : btf_enum(place->type)[i].name_off);
	return is_wide ? (int64_t)btf_enum64_value(btf_enum64(place->type) + i)
		       : btf_enum(place->type)[i].val;
}

/* Constants that both have mean the same. */
static bool are_constants_equal(const struct place *was, const struct place *now,
				const char **ret_name)
{
	const char *other;

	for (uint32_t i = 0; i < btf_vlen(was->type); i++) {
		const int64_t value = constant(was, i, ret_name);

		for (uint32_t k = 0; k < btf_vlen(now->type); k++) {
			const int64_t number = constant(now, k, &other);

			if (strcmp(*ret_name, other) == 0 && value != number)
				return false;
		}
	}
	return true;
}

static void compare_numbers(struct map_comparison *comparison, const struct place *was,
			    const struct place *now)
{
	const bool old_signed = is_signed(was->type), new_signed = is_signed(now->type);
	const bool fits = old_signed == new_signed ? now->bits >= was->bits
						   : new_signed && now->bits > was->bits;
	const bool is_scalar = was->bits <= 64 && now->bits <= 64;
	const char *name;

	if (shape_of(now->type) == SHAPE_ENUM && !are_constants_equal(was, now, &name))
		map_compare_note(comparison, true, "%.120s: %.60s has another value",
				 comparison->path.data, name);
	if (!fits || (!is_scalar && was->bits != now->bits))
		note_change(comparison, true, was, now);
	else if (was->bits != now->bits || old_signed != new_signed || was->below != now->below ||
		 was->is_bitfield != now->is_bitfield)
		note_change(comparison, false, was, now);
	add_member(comparison, was, now, !is_scalar);
}

/* Of whole bytes that must have the same size. */
static void compare_plain(struct map_comparison *comparison, const struct place *was,
			  const struct place *now)
{
	if (was->bits != now->bits)
		note_change(comparison, true, was, now);
	else if (was->below != now->below || was->is_bitfield != now->is_bitfield)
		note_change(comparison, false, was, now);
	add_member(comparison, was, now, was->bits > 64);
}

static void compare_arrays(struct map_comparison *comparison, const struct place *was,
			   const struct place *now)
{
	const uint32_t n_old = btf_array(was->type)->nelems, n_new = btf_array(now->type)->nelems;
	struct place a = place_of(was->btf, btf_array(was->type)->type, was->bit, 0);
	struct place b = place_of(now->btf, btf_array(now->type)->type, now->bit, 0);
	const size_t before = comparison->n_members;

	if (n_old != n_new || was->below != now->below)
		note_change(comparison, n_new < n_old, was, now);
	if (n_old == 0 || n_new == 0)
		return;
	if (a.bits == 8 && b.bits == 8 && shape_of(a.type) == SHAPE_NUMBER &&
	    shape_of(b.type) == SHAPE_NUMBER && is_signed(a.type) == is_signed(b.type)) {
		add_member(comparison, was, now, true);
		return;
	}
	compare(comparison, &a, &b);
	/* The others are as the first; all that they add is members. */
	for (uint32_t i = 1; i < n_old && comparison->n_members > before && !comparison->is_wide &&
			     comparison->obstacles.len == 0 && !comparison->failed;
	     i++) {
		const struct str differences = comparison->differences;

		a.bit += a.bits;
		b.bit += b.bits;
		comparison->differences = (struct str){ 0 };
		compare(comparison, &a, &b);
		str_done(&comparison->differences);
		comparison->differences = differences;
	}
}

static void add_entry(struct map_comparison *comparison, struct scope *scope, const char *name,
		      const struct place *place)
{
	struct entry *entries;

	if (scope->n == scope->capacity) {
		scope->capacity = scope->capacity * 2 + 8;
		entries = reallocarray(scope->entries, scope->capacity, sizeof(*entries));
		if (entries == NULL) {
			comparison->failed = true;
			scope->capacity = scope->n;
			return;
		}
		scope->entries = entries;
	}
	scope->entries[scope->n++] = (struct entry){ name, *place };
}

/* An anonymous union goes by its first name. */
static const char *name_of_union(const struct btf *btf, const struct btf_type *type)
{
	const char *name = "";

	for (int i = 0; i < DEPTH_MAX && name[0] == '\0' && type != NULL &&
			btf_is_composite(type) && btf_vlen(type) > 0;
	     i++) {
		name = btf__name_by_offset(btf, btf_members(type)->name_off);
		type = strip(btf, btf_members(type)->type);
	}
	return name;
}

static void collect(struct map_comparison *comparison, const struct place *place,
		    struct scope *scope, unsigned int depth)
{
	const struct btf *btf = place->btf;

	for (uint32_t i = 0; i < btf_vlen(place->type) && comparison->n_steps < STEPS_MAX; i++) {
		const struct btf_member *member = btf_members(place->type) + i;
		const uint32_t offset = btf_member_bit_offset(place->type, i);
		const uint32_t bits = btf_member_bitfield_size(place->type, i);
		const char *name = btf__name_by_offset(btf, member->name_off);
		struct place at =
			place_of(btf, member->type, place->bit + offset, place->below + offset);

		comparison->n_steps++;
		if (bits != 0) {
			at.bits = bits;
			at.is_bitfield = true;
		}
		if (name[0] == '\0' && at.type != NULL && btf_is_struct(at.type) &&
		    depth < DEPTH_MAX)
			collect(comparison, &at, scope, depth + 1);
		else if (name[0] != '\0' || (at.type != NULL && btf_is_union(at.type)))
			add_entry(comparison, scope,
				  name[0] != '\0' ? name : name_of_union(btf, at.type), &at);
	}
}

static void collect_section(struct map_comparison *comparison, const struct place *place,
			    struct scope *scope)
{
	const struct btf_var_secinfo *info = btf_var_secinfos(place->type);

	for (uint32_t i = 0; i < btf_vlen(place->type); i++) {
		const struct btf_type *variable = btf__type_by_id(place->btf, info[i].type);
		struct place at;

		if (variable == NULL || !btf_is_var(variable))
			continue;
		at = place_of(place->btf, variable->type, info[i].offset * 8, info[i].offset * 8);
		add_entry(comparison, scope, btf__name_by_offset(place->btf, variable->name_off),
			  &at);
	}
}

static const struct entry *find_entry(const struct scope *scope, const char *name, size_t hint)
{
	for (size_t i = 0; i < scope->n; i++) {
		const struct entry *entry = &scope->entries[(hint + i) % scope->n];

		if (strcmp(entry->name, name) == 0)
			return entry;
	}
	return NULL;
}

static void compare_scopes(struct map_comparison *comparison, const struct scope *was,
			   const struct scope *now)
{
	for (size_t i = 0; i < now->n; i++) {
		const struct entry *entry = &now->entries[i];
		const struct entry *before = find_entry(was, entry->name, i);
		const size_t len = comparison->path.len;

		if (before == NULL) {
			note_one(comparison, entry, "is new");
			continue;
		}
		(void)str_appendf(&comparison->path, ".%s", entry->name);
		if (comparison->path.failed) {
			comparison->failed = true;
			return;
		}
		compare(comparison, &before->place, &entry->place);
		comparison->path.len = len;
		comparison->path.data[len] = '\0';
	}
	for (size_t i = 0; i < was->n; i++) {
		if (find_entry(now, was->entries[i].name, i) == NULL)
			note_one(comparison, &was->entries[i], "is gone");
	}
}

static void compare_members(struct map_comparison *comparison, const struct place *was,
			    const struct place *now)
{
	struct scope before = { 0 }, after = { 0 };
	struct place a = *was, b = *now;

	a.below = 0;
	b.below = 0;
	if (shape_of(now->type) == SHAPE_SECTION) {
		collect_section(comparison, &a, &before);
		collect_section(comparison, &b, &after);
	} else {
		collect(comparison, &a, &before, 0);
		collect(comparison, &b, &after, 0);
	}
	if (!comparison->failed)
		compare_scopes(comparison, &before, &after);
	free(before.entries);
	free(after.entries);
}

static void compare_structs(struct map_comparison *comparison, const struct place *was,
			    const struct place *now)
{
	if (was->below != now->below)
		note_change(comparison, false, was, now);
	if (is_of_kernel(now) || is_of_kernel(was))
		map_compare_hold(comparison, "holds a lock, a timer or the like, and is not "
					     "migrated");
	else
		compare_members(comparison, was, now);
}

/* Which member of a union is in use nobody knows: it can only be copied as it is. */
static void compare_unions(struct map_comparison *comparison, const struct place *was,
			   const struct place *now)
{
	const bool was_trial = comparison->is_trial, did_differ = comparison->trial_differs;
	bool differs;

	comparison->is_trial = true;
	comparison->trial_differs = was->bits != now->bits;
	compare_members(comparison, was, now);
	differs = comparison->trial_differs;
	comparison->is_trial = was_trial;
	comparison->trial_differs = did_differ;
	if (differs)
		map_compare_note(comparison, true,
				 "%.150s: the union changed, and cannot be converted by name",
				 comparison->path.data);
	else if (was->below != now->below)
		note_change(comparison, false, was, now);
	add_member(comparison, was, now, true);
}

static void compare(struct map_comparison *comparison, const struct place *was,
		    const struct place *now)
{
	if (comparison->failed)
		return;
	if (comparison->depth == DEPTH_MAX || comparison->n_steps == STEPS_MAX) {
		map_compare_note(comparison, true, "%.150s: the type is too large to be compared",
				 comparison->path.data);
		return;
	}
	if (shape_of(was->type) != shape_of(now->type)) {
		note_change(comparison, true, was, now);
		return;
	}
	comparison->depth++;
	comparison->n_steps++;
	switch (shape_of(now->type)) {
	case SHAPE_NUMBER:
	case SHAPE_ENUM:
		compare_numbers(comparison, was, now);
		break;
	case SHAPE_POINTER:
		if (is_of_kernel(now) || is_of_kernel(was))
			map_compare_hold(comparison,
					 "holds a pointer of the kernel, and is not migrated");
		compare_plain(comparison, was, now);
		break;
	case SHAPE_BOOL:
	case SHAPE_FLOAT:
	case SHAPE_OTHER:
		compare_plain(comparison, was, now);
		break;
	case SHAPE_ARRAY:
		compare_arrays(comparison, was, now);
		break;
	case SHAPE_STRUCT:
	case SHAPE_SECTION:
		compare_structs(comparison, was, now);
		break;
	case SHAPE_UNION:
		compare_unions(comparison, was, now);
		break;
	}
	comparison->depth--;
}

static bool begin(struct map_comparison *comparison, const char *name)
{
	comparison->path.len = 0;
	comparison->failed = comparison->failed || str_append(&comparison->path, name) < 0;
	return !comparison->failed;
}

void map_compare_types(struct map_comparison *comparison, const char *name, uint32_t old_id,
		       uint32_t new_id)
{
	const struct place was = place_of(comparison->old_btf, old_id, 0, 0);
	const struct place now = place_of(comparison->new_btf, new_id, 0, 0);

	if (!begin(comparison, name))
		return;
	compare(comparison, &was, &now);
	if (was.bits != now.bits && comparison->differences.len == 0)
		map_compare_note(comparison, false, "%s: %u bytes became %u", name, was.bits / 8,
				 now.bits / 8);
}

void map_compare_untyped(struct map_comparison *comparison, const char *name, uint32_t old_id,
			 uint32_t new_id, uint32_t old_size, uint32_t new_size)
{
	const struct place whole = { .bits = old_size * 8 };

	if (!begin(comparison, name))
		return;
	if (old_size != new_size)
		map_compare_note(comparison, true,
				 "%s: %u bytes became %u, and there is no type information", name,
				 old_size, new_size);
	else if ((old_id == 0) != (new_id == 0))
		map_compare_note(comparison, false, "%s: the %s version has no type information",
				 name, old_id == 0 ? "old" : "new");
	add_member(comparison, &whole, &whole, true);
}

void map_comparison_done(struct map_comparison *comparison)
{
	str_done(&comparison->differences);
	str_done(&comparison->obstacles);
	str_done(&comparison->path);
	free(comparison->members);
}
