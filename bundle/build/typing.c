#include "bundle/build/typing.h"

#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/name.h"
#include "bundle/parameter.h"

/* Skips typedefs and the like; NULL for a broken chain. */
static const struct btf_type *strip(const struct btf *btf, uint32_t id, bool *ret_const,
				    bool *ret_volatile)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	/* BTF may be hostile or damaged: no chain in earnest is that long. */
	for (int i = 0; i < 32 && type != NULL; i++) {
		if (btf_is_const(type) && ret_const != NULL)
			*ret_const = true;
		else if (btf_is_volatile(type) && ret_volatile != NULL)
			*ret_volatile = true;
		if (!btf_is_mod(type) && !btf_is_typedef(type))
			return type;
		type = btf__type_by_id(btf, type->type);
	}
	return NULL;
}

/* Arrays carry the qualifiers on their elements. */
static const struct btf_type *strip_variable(const struct btf *btf, uint32_t id, bool *is_const,
					     bool *is_volatile)
{
	const struct btf_type *type = strip(btf, id, is_const, is_volatile);

	if (type != NULL && btf_is_array(type))
		(void)strip(btf, btf_array(type)->type, is_const, is_volatile);
	return type;
}

static Bpfleet__V1__ParameterType parameter_type(const struct btf *btf, const struct btf_type *type)
{
	const struct btf_type *element;

	if (btf_is_int(type)) {
		if ((btf_int_encoding(type) & BTF_INT_BOOL) != 0)
			return BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL;
		return (btf_int_encoding(type) & BTF_INT_SIGNED) != 0
			       ? BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED
			       : BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED;
	}
	if (btf_is_any_enum(type))
		return btf_kflag(type) ? BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED
				       : BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED;
	if (btf_is_array(type)) {
		element = strip(btf, btf_array(type)->type, NULL, NULL);
		if (element != NULL && btf_is_int(element) && element->size == 1 &&
		    strcmp(btf__name_by_offset(btf, element->name_off), "char") == 0)
			return BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING;
	}
	return BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED;
}

bool typing_parameter(const struct btf *btf, const struct btf_var_secinfo *info,
		      Bpfleet__V1__ParameterSpec *ret)
{
	const struct btf_type *variable = btf__type_by_id(btf, info->type), *type;
	bool is_const = false, is_volatile = false;
	__s64 size;

	if (variable == NULL || !btf_is_var(variable))
		return false;
	type = strip_variable(btf, variable->type, &is_const, &is_volatile);
	size = btf__resolve_size(btf, variable->type);
	if (type == NULL || !is_const || !is_volatile || size <= 0 || size > PARAMETER_SIZE_MAX)
		return false;
	ret->name = (char *)btf__name_by_offset(btf, variable->name_off);
	ret->type = parameter_type(btf, type);
	ret->size_bytes = (uint32_t)size;
	return true;
}

uint32_t typing_global_size(const struct btf *btf, const char *name)
{
	int id = btf != NULL ? btf__find_by_name_kind(btf, name, BTF_KIND_VAR) : -1;
	__s64 size;

	if (id < 0)
		return 0;
	size = btf__resolve_size(btf, btf__type_by_id(btf, (__u32)id)->type);
	return size > 0 && size <= UINT32_MAX ? (uint32_t)size : 0;
}

#define NESTING_MAX 8

/* The type id of a member by name, also within anonymous members; 0 if there is none. */
static uint32_t find_member(const struct btf *btf, const struct btf_type *type, const char *name,
			    size_t n, int depth)
{
	const struct btf_member *member = btf_members(type);

	for (unsigned int i = 0; i < btf_vlen(type); i++, member++) {
		const char *text = btf__name_by_offset(btf, member->name_off);
		const struct btf_type *inner;
		uint32_t found = 0;

		if (strlen(text) == n && memcmp(text, name, n) == 0)
			return member->type;
		inner = text[0] == '\0' ? strip(btf, member->type, NULL, NULL) : NULL;
		if (inner != NULL && btf_is_composite(inner) && depth < NESTING_MAX)
			found = find_member(btf, inner, name, n, depth + 1);
		if (found != 0)
			return found;
	}
	return 0;
}

/* The type id of a variable of a data section; 0 if there is none. */
static uint32_t find_variable(const struct btf *btf, const struct btf_type *section,
			      const char *name, size_t n)
{
	const struct btf_var_secinfo *info = btf_var_secinfos(section);

	for (unsigned int i = 0; i < btf_vlen(section); i++, info++) {
		const struct btf_type *variable = btf__type_by_id(btf, info->type);
		const char *text = btf__name_by_offset(btf, variable->name_off);

		if (strlen(text) == n && memcmp(text, name, n) == 0)
			return variable->type;
	}
	return 0;
}

/* One step down a path; arrays are looked through. */
static uint32_t descend(const struct btf *btf, uint32_t id, const char *name, size_t n)
{
	const struct btf_type *type = strip(btf, id, NULL, NULL);

	for (int i = 0; i < NESTING_MAX && type != NULL && btf_is_array(type); i++)
		type = strip(btf, btf_array(type)->type, NULL, NULL);
	if (type == NULL)
		return 0;
	if (btf_is_datasec(type))
		return find_variable(btf, type, name, n);
	return btf_is_composite(type) ? find_member(btf, type, name, n, 0) : 0;
}

static const struct bpf_map *find_map(const struct bpf_object *object, const char *name)
{
	const struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		const char *own = bpf_map__name(map);

		if (strcmp(bpf_map__is_internal(map) ? name_map_from_libbpf(own) : own, name) == 0)
			return map;
	}
	return NULL;
}

static uint32_t root_type(const struct bpf_object *object, const Bpfleet__V1__MapSpec *spec,
			  const char *path)
{
	const struct btf *btf = bpf_object__btf(object);
	const struct bpf_map *map = find_map(object, spec->name);
	int id = 0;

	if (btf == NULL || map == NULL)
		return 0;
	if (path[0] == 'e') {
		id = spec->events == NULL || spec->events->record_type[0] == '\0'
			     ? 0
			     : btf__find_by_name_kind(btf, spec->events->record_type,
						      BTF_KIND_STRUCT);
		return id > 0 ? (uint32_t)id : 0;
	}
	if (path[0] == 'k')
		return bpf_map__btf_key_type_id(map);
	if (bpf_map__is_internal(map))
		id = btf__find_by_name_kind(btf, spec->name, BTF_KIND_DATASEC);
	return id > 0 ? (uint32_t)id : bpf_map__btf_value_type_id(map);
}

static bool format_suits(Bpfleet__V1__Format format, __s64 size)
{
	switch (format) {
	case BPFLEET__V1__FORMAT__FORMAT_IPV4:
		return size == 4;
	case BPFLEET__V1__FORMAT__FORMAT_IPV6:
	case BPFLEET__V1__FORMAT__FORMAT_IP:
		return size == 16;
	case BPFLEET__V1__FORMAT__FORMAT_CIDR:
		return size == 4 || size == 16;
	case BPFLEET__V1__FORMAT__FORMAT_MAC:
		return size == 6;
	case BPFLEET__V1__FORMAT__FORMAT_BIG_ENDIAN:
		return size == 2 || size == 4;
	case BPFLEET__V1__FORMAT__FORMAT_HEX:
	case BPFLEET__V1__FORMAT__FORMAT_IP_PROTOCOL:
		return size == 1 || size == 2 || size == 4 || size == 8;
	case BPFLEET__V1__FORMAT__FORMAT_DURATION:
		return size == 8;
	case BPFLEET__V1__FORMAT__FORMAT_STRING:
	case BPFLEET__V1__FORMAT__FORMAT_BYTES:
	case BPFLEET__V1__FORMAT__FORMAT_STRING_LIST:
		return size > 0;
	case BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED:
	case _BPFLEET__V1__FORMAT_IS_INT_SIZE:
	default:
		return false;
	}
}

/* The format suits the type, or each element of an array of it. */
static bool suits(const struct btf *btf, uint32_t id, Bpfleet__V1__Format format)
{
	for (int i = 0; i < NESTING_MAX; i++) {
		const struct btf_type *type = strip(btf, id, NULL, NULL);

		if (format_suits(format, btf__resolve_size(btf, id)))
			return true;
		if (type == NULL || !btf_is_array(type))
			return false;
		id = btf_array(type)->type;
	}
	return false;
}

/* Goes down ".a.b" from *id. */
static int descend_path(const struct btf *btf, const Bpfleet__V1__MapSpec *map, const char *path,
			uint32_t *id, struct error *err)
{
	const char *p = path;
	size_t n;

	for (; *p == '.'; p += n) {
		n = strcspn(++p, ".");
		*id = descend(btf, *id, p, n);
		if (*id == 0)
			return error_raise(err, ERROR_CONFIG_INVALID,
					   "the type of map '%s' has no member '%.*s' at '%.255s'",
					   map->name, (int)(n < 64 ? n : 64), p, path + 1);
	}
	return 0;
}

static int check_display(const struct btf *btf, const Bpfleet__V1__MapSpec *map,
			 const Bpfleet__V1__Display *display, uint32_t id, struct error *err)
{
	const char *p = display->path + strcspn(display->path, ".");
	int r;

	/* A plain key or value without BTF has its size in the map. */
	if (id == 0 && *p == '\0' && display->path[0] != 'e' && map->type[0] != '\0') {
		if (format_suits(display->format,
				 display->path[0] == 'k' ? map->key_size : map->value_size))
			return 0;
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "'%s' does not have the size that its format needs",
				   display->path);
	}
	if (id == 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "the object has no type information for '%.*s' of map '%s'",
				   (int)strcspn(display->path, "."), display->path, map->name);
	r = descend_path(btf, map, p, &id, err);
	if (r < 0)
		return r;
	if (!suits(btf, id, display->format))
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "'%.255s' does not have the size that its format needs",
				   display->path);
	return 0;
}

int typing_check_display(const struct bpf_object *object, const Bpfleet__V1__MapSpec *map,
			 const Bpfleet__V1__Display *display, struct error *err)
{
	const struct btf *btf = bpf_object__btf(object);
	const size_t n = map->events != NULL ? map->events->n_variants : 0;
	int r = -1;

	if (display->path[0] != 'e' || n == 0 || btf == NULL)
		return check_display(btf, map, display, root_type(object, map, display->path), err);
	/* Of variants, one has to have such a member. */
	for (size_t i = 0; i < n && r < 0; i++)
		r = check_display(
			btf, map, display,
			(uint32_t)btf__find_by_name_kind(btf, map->events->variants[i]->record_type,
							 BTF_KIND_STRUCT),
			err);
	return r;
}

/* Integers of 4 or 8 bytes, and nothing else within. */
static bool is_countable(const struct btf *btf, uint32_t id, int depth)
{
	const struct btf_type *type = strip(btf, id, NULL, NULL);

	if (type == NULL || depth == NESTING_MAX)
		return false;
	if (btf_is_array(type))
		return is_countable(btf, btf_array(type)->type, depth + 1);
	for (unsigned int i = 0; btf_is_struct(type) && i < btf_vlen(type); i++) {
		if (btf_member_bitfield_size(type, i) != 0 ||
		    !is_countable(btf, btf_members(type)[i].type, depth + 1))
			return false;
	}
	return btf_is_struct(type) ||
	       (btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_BOOL) == 0 &&
		(type->size == 4 || type->size == 8));
}

int typing_check_merge(const struct bpf_object *object, const Bpfleet__V1__MapSpec *map,
		       const Bpfleet__V1__MergeRule *merge, struct error *err)
{
	const struct btf *btf = bpf_object__btf(object);
	uint32_t id = root_type(object, map, "value");
	const struct btf_type *type = id != 0 ? strip(btf, id, NULL, NULL) : NULL;
	char path[BUNDLE_PATH_MAX + 2];
	int r;

	if (type == NULL)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "the object has no type information for the value of map '%s'",
				   map->name);
	/* A value without members is called "value". */
	(void)snprintf(path, sizeof(path), ".%s", merge->path);
	if (strcmp(merge->path, "value") != 0 || btf_is_composite(type) || btf_is_datasec(type)) {
		r = descend_path(btf, map, path, &id, err);
		if (r < 0)
			return r;
	}
	if ((merge->rule == BPFLEET__V1__MERGE__MERGE_SUM ||
	     merge->rule == BPFLEET__V1__MERGE__MERGE_MAX) &&
	    !is_countable(btf, id, 0))
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "'%.255s' is no integer of 4 or 8 bytes, nor made of such; only "
				   "those are merged by sum or max",
				   merge->path);
	return 0;
}

int typing_check_member(const struct bpf_object *object, const Bpfleet__V1__MapSpec *map,
			const char *path, enum typing_wanted wanted, struct error *err)
{
	const struct btf *btf = bpf_object__btf(object);
	const char *rest = path + strcspn(path, ".");
	uint32_t id = root_type(object, map, path);
	const struct btf_type *type;
	int r;

	/* A plain value without BTF is a number by its size. */
	if (id == 0 && *rest == '\0' &&
	    (path[0] == 'k' || (wanted == TYPING_INTEGER && map->value_size <= 8)))
		return 0;
	if (id == 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "the object has no type information for '%.255s' of map '%s'",
				   path, map->name);
	r = descend_path(btf, map, rest, &id, err);
	if (r < 0)
		return r;
	type = strip(btf, id, NULL, NULL);
	if (wanted == TYPING_INTEGERS && type != NULL && btf_is_array(type) &&
	    btf_array(type)->nelems <= BUNDLE_METRIC_SLOTS_MAX)
		type = strip(btf, btf_array(type)->type, NULL, NULL);
	else if (wanted == TYPING_INTEGERS)
		type = NULL;
	if (wanted != TYPING_ANY && (type == NULL || !(btf_is_int(type) || btf_is_any_enum(type))))
		return error_raise(err, ERROR_CONFIG_INVALID, "'%.255s' is no %s", path,
				   wanted == TYPING_INTEGER ? "number"
							    : "array of at most 64 numbers");
	return 0;
}
