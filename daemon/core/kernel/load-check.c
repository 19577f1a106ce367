/* The manifest is signed, but its maker may have been wrong: compare it with the object. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "bundle/hook.h"
#include "daemon/core/kernel/load-private.h"

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool find_in_section(const struct btf *btf, const struct btf_type *section, const char *name,
			    struct load_variable *ret)
{
	const struct btf_var_secinfo *info = btf_var_secinfos(section);

	for (unsigned int i = 0; i < btf_vlen(section); i++) {
		const struct btf_type *variable = btf__type_by_id(btf, info[i].type);
		const char *found =
			variable != NULL ? btf__name_by_offset(btf, variable->name_off) : NULL;

		if (found == NULL || !btf_is_var(variable) || strcmp(found, name) != 0)
			continue;
		*ret = (struct load_variable){
			.section = btf__name_by_offset(btf, section->name_off),
			.offset = info[i].offset,
			.size = info[i].size,
		};
		return true;
	}
	return false;
}

bool load_find_variable(const struct bpf_object *object, const char *prefix, const char *name,
			struct load_variable *ret)
{
	const struct btf *btf = bpf_object__btf(object);
	const uint32_t n = btf != NULL ? btf__type_cnt(btf) : 0;

	/* Sections are the last types that a compiler writes. */
	for (uint32_t id = n; id-- > 1;) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const char *section = btf__name_by_offset(btf, type->name_off);

		if (btf_is_datasec(type) && section != NULL && starts_with(section, prefix) &&
		    find_in_section(btf, type, name, ret))
			return true;
	}
	return false;
}

const char *load_map_name(const struct bpf_map *map)
{
	const char *name = bpf_map__name(map);
	/* libbpf puts the object's name before a section's. No C variable has a dot. */
	const char *section = bpf_map__is_internal(map) ? strchr(name, '.') : NULL;

	return section != NULL ? section : name;
}

size_t load_program_ordinal(const struct load *load, const char *object_name, const char *name,
			    size_t *hint)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;

	for (size_t i = 0; i < manifest->n_programs; i++) {
		const size_t at = (*hint + i) % manifest->n_programs;
		const Bpfleet__V1__ProgramSpec *spec = manifest->programs[at];

		if (strcmp(spec->name, name) == 0 && strcmp(spec->object, object_name) == 0) {
			*hint = at + 1;
			return at;
		}
	}
	return SIZE_MAX;
}

size_t load_map_ordinal(const struct load *load, const char *object_name, const char *name,
			size_t *hint)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;

	for (size_t i = 0; i < manifest->n_maps; i++) {
		const size_t at = (*hint + i) % manifest->n_maps;
		const Bpfleet__V1__MapSpec *spec = manifest->maps[at];

		if (strcmp(spec->name, name) == 0 && strcmp(spec->object, object_name) == 0) {
			*hint = at + 1;
			return at;
		}
	}
	return SIZE_MAX;
}

static bool is_skipped(const struct load *load, const char *object_name, const char *name)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;

	for (size_t i = 0; i < manifest->n_objects; i++) {
		const Bpfleet__V1__ObjectSpec *spec = manifest->objects[i];

		for (size_t k = 0; k < spec->n_skipped_programs; k++) {
			if (strcmp(spec->name, object_name) == 0 &&
			    strcmp(spec->skipped_programs[k], name) == 0)
				return true;
		}
	}
	return false;
}

static int check_program(const struct load *load, const char *object_name,
			 struct bpf_program *program, size_t *hint, struct error *err)
{
	const char *name = bpf_program__name(program);
	const char *section = bpf_program__section_name(program), *type_name;
	const size_t at = load_program_ordinal(load, object_name, name, hint);

	if (at == SIZE_MAX && is_skipped(load, object_name, name))
		return 0;
	if (at == SIZE_MAX)
		return error_raise(
			err, ERROR_MANIFEST_MISMATCH,
			"object '%s' holds program '%s', which the manifest does not list",
			object_name, name);
	/* Sections that libbpf before 1.5 does not know. */
	if (bpf_program__type(program) == BPF_PROG_TYPE_UNSPEC &&
	    (strncmp(section, "kprobe.session", 14) == 0 ||
	     strncmp(section, "uprobe.session", 14) == 0))
		(void)bpf_program__set_type(program, BPF_PROG_TYPE_KPROBE);
	type_name = libbpf_bpf_prog_type_str(bpf_program__type(program));
	if (type_name == NULL || strcmp(load->manifest->programs[at]->type, type_name) != 0)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "program '%s' is of type %s, the manifest says %s", name,
				   type_name != NULL ? type_name : "unknown",
				   load->manifest->programs[at]->type);
	if (hook_type_refusal(type_name) != NULL)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED, "program '%s' of type %s: %s",
				   name, type_name, hook_type_refusal(type_name));
	return 0;
}

static int check_programs(const struct load *load, const char *object_name,
			  struct bpf_object *object, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;
	struct bpf_program *program;
	size_t hint = 0;
	int r;

	bpf_object__for_each_program(program, object)
	{
		r = check_program(load, object_name, program, &hint, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *spec = manifest->programs[i];

		if (strcmp(spec->object, object_name) == 0 &&
		    bpf_object__find_program_by_name(object, spec->name) == NULL)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "object '%s' has no program '%s'", object_name,
					   spec->name);
	}
	return 0;
}

static int check_number(const char *map, const char *what, uint32_t real, uint32_t stated,
			struct error *err)
{
	if (real == stated)
		return 0;
	return error_raise(err, ERROR_MANIFEST_MISMATCH, "map '%s' has %s %u, the manifest says %u",
			   map, what, real, stated);
}

static int check_events(const Bpfleet__V1__MapSpec *spec, struct bpf_object *object,
			struct error *err)
{
	const Bpfleet__V1__EventSpec *events = spec->events;
	const struct btf *btf = bpf_object__btf(object);
	struct load_variable counter;

	if (events->record_type[0] != '\0' &&
	    (btf == NULL || btf__find_by_name_kind(btf, events->record_type, BTF_KIND_STRUCT) < 0))
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "map '%s': object '%s' has no struct '%s'", spec->name,
				   spec->object, events->record_type);
	for (size_t i = 0; i < events->n_variants; i++)
		if (btf == NULL || btf__find_by_name_kind(btf, events->variants[i]->record_type,
							  BTF_KIND_STRUCT) < 0)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "map '%s': object '%s' has no struct '%s'", spec->name,
					   spec->object, events->variants[i]->record_type);
	if (events->drop_counter[0] == '\0')
		return 0;
	if ((!load_find_variable(object, ".bss", events->drop_counter, &counter) &&
	     !load_find_variable(object, ".data", events->drop_counter, &counter)) ||
	    counter.size != sizeof(uint64_t))
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "map '%s': object '%s' has no global u64 '%s'", spec->name,
				   spec->object, events->drop_counter);
	return 0;
}

static int check_map(const struct load *load, const char *object_name, const struct bpf_map *map,
		     size_t *hint, struct bpf_object *object, struct error *err)
{
	const char *name = load_map_name(map);
	const size_t at = load_map_ordinal(load, object_name, name, hint);
	const char *type_name = libbpf_bpf_map_type_str(bpf_map__type(map));
	const Bpfleet__V1__MapSpec *spec;
	int r;

	if (at == SIZE_MAX)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "object '%s' holds map '%s', which the manifest does not list",
				   object_name, name);
	spec = load->manifest->maps[at];
	if (type_name == NULL || strcmp(spec->type, type_name) != 0)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "map '%s' is of type %s, the manifest says %s", name,
				   type_name != NULL ? type_name : "unknown", spec->type);
	if ((unsigned int)bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS) {
		r = load_check_struct_ops(object, map, err);
		if (r < 0)
			return r;
	}
	r = check_number(name, "key_size", bpf_map__key_size(map), spec->key_size, err);
	if (r == 0)
		r = check_number(name, "value_size", bpf_map__value_size(map), spec->value_size,
				 err);
	if (r == 0)
		r = check_number(name, "max_entries", bpf_map__max_entries(map), spec->max_entries,
				 err);
	if (r == 0)
		r = check_number(name, "flags", bpf_map__map_flags(map), spec->flags, err);
	if (r == 0 && spec->events != NULL)
		r = check_events(spec, object, err);
	return r;
}

static int check_maps(const struct load *load, const char *object_name, struct bpf_object *object,
		      struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;
	const struct bpf_map *map;
	size_t hint = 0, n_stated = 0, n_real = 0;
	int r;

	bpf_object__for_each_map(map, object)
	{
		r = check_map(load, object_name, map, &hint, object, err);
		if (r < 0)
			return r;
		n_real++;
	}
	for (size_t i = 0; i < manifest->n_maps; i++)
		n_stated += strcmp(manifest->maps[i]->object, object_name) == 0;
	if (n_stated == n_real)
		return 0;
	for (size_t i = 0; i < manifest->n_maps; i++) {
		const Bpfleet__V1__MapSpec *spec = manifest->maps[i];
		bool found = false;

		if (strcmp(spec->object, object_name) != 0)
			continue;
		bpf_object__for_each_map(map, object) found |=
			strcmp(load_map_name(map), spec->name) == 0;
		if (!found)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "object '%s' has no map '%s'", object_name, spec->name);
	}
	return error_raise(err, ERROR_MANIFEST_INVALID, "a map of object '%s' is listed twice",
			   object_name);
}

static int check_parameters(const struct load *load, const char *object_name,
			    struct bpf_object *object, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;
	struct load_variable variable;

	for (size_t i = 0; i < manifest->n_parameters; i++) {
		const Bpfleet__V1__ParameterSpec *spec = manifest->parameters[i];

		if (strcmp(spec->object, object_name) != 0)
			continue;
		if (!load_find_variable(object, ".rodata", spec->name, &variable) ||
		    variable.size != spec->size_bytes)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "object '%s' has no constant '%s' of %u bytes",
					   object_name, spec->name, spec->size_bytes);
	}
	return 0;
}

int load_check_object(const struct load *load, const char *object_name, struct bpf_object *object,
		      struct error *err)
{
	int r;

	r = check_programs(load, object_name, object, err);
	if (r == 0)
		r = check_maps(load, object_name, object, err);
	if (r == 0)
		r = check_parameters(load, object_name, object, err);
	return r;
}
