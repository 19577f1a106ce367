/* What a manifest must hold to; declared in bundle/format.h, tabled in bundle/FORMAT.md. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/hook.h"
#include "bundle/map-type.h"
#include "bundle/name.h"
#include "bundle/parameter.h"

/* "manifest.programs[3]", the place that an error is about. */
struct place {
	char text[64];
};

static struct place place_of(const char *list, size_t index)
{
	struct place place;

	(void)snprintf(place.text, sizeof(place.text), "manifest.%s[%zu]", list, index);
	return place;
}

#define invalid(err, ...) error_raise(err, ERROR_MANIFEST_INVALID, __VA_ARGS__)

/* Turns an error of a finer check into one about a field. */
static int invalid_field(struct error *err, const char *place, const char *field,
			 const struct error *inner)
{
	return invalid(err, "%s%s%s: %s", place, place[0] != '\0' && field[0] != '\0' ? "." : "",
		       field, inner->message);
}

static int check_name(int (*check)(const char *, struct error *), const char *name,
		      const char *place, const char *field, struct error *err)
{
	struct error inner = { 0 };

	return check(name, &inner) < 0 ? invalid_field(err, place, field, &inner) : 0;
}

static int check_count(size_t n, size_t max, const char *place, const char *field,
		       struct error *err)
{
	if (n > max)
		return invalid(err, "%s.%s: %zu entries; at most %zu are allowed", place, field, n,
			       max);
	return 0;
}

static int check_text(const char *text, size_t max, const char *place, const char *field,
		      struct error *err)
{
	size_t n = strlen(text);

	if (n > max)
		return invalid(err, "%s.%s: %zu bytes; at most %zu are allowed", place, field, n,
			       max);
	return 0;
}

static int check_object_of(const Bpfleet__V1__Manifest *manifest, const char *object,
			   const char *place, struct error *err)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		if (strcmp(manifest->objects[i]->name, object) == 0)
			return 0;
	}
	return invalid(err, "%s.object: the bundle has no object '%.64s'", place, object);
}

/* ---- objects */

#define ELF_MIN 64
#define ELF_MACHINE_BPF 247

static bool is_bpf_elf(const ProtobufCBinaryData *elf)
{
	static const uint8_t
		ident[] = { 0x7f, 'E', 'L', 'F', 2 /* 64-bit */, 1 /* little-endian */ };

	return elf->len >= ELF_MIN && memcmp(elf->data, ident, sizeof(ident)) == 0 &&
	       elf->data[18] == ELF_MACHINE_BPF && elf->data[19] == 0;
}

static int check_object(const Bpfleet__V1__ObjectSpec *spec, const Bpfleet__V1__Object *object,
			const char *place, struct error *err)
{
	struct digest digest;
	int r;

	r = check_name(name_check_bundle, spec->name, place, "name", err);
	if (r < 0)
		return r;
	if (strcmp(spec->name, object->name) != 0)
		return invalid(err,
			       "%s.name: '%s' is not the name of the object in that place, '%.64s'",
			       place, spec->name, object->name);
	if (spec->size_bytes != object->elf.len)
		return invalid(err, "%s.size_bytes: %llu, but the object has %zu", place,
			       (unsigned long long)spec->size_bytes, object->elf.len);
	digest_compute(object->elf.data, object->elf.len, &digest);
	if (spec->digest.len != sizeof(digest.bytes) ||
	    memcmp(spec->digest.data, digest.bytes, sizeof(digest.bytes)) != 0)
		return invalid(err, "%s.digest: not the BLAKE2b-512 digest of the object", place);
	if (!is_bpf_elf(&object->elf))
		return invalid(err, "%s: the object is not a little-endian 64-bit BPF ELF file",
			       place);
	r = check_count(spec->n_skipped_programs, BUNDLE_PROGRAMS_MAX, place, "skipped_programs",
			err);
	for (size_t i = 0; r >= 0 && i < spec->n_skipped_programs; i++)
		r = check_name(name_check_symbol, spec->skipped_programs[i], place,
			       "skipped_programs", err);
	return r;
}

static int check_objects(const Bpfleet__V1__Bundle *bundle, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = bundle->manifest;
	int r;

	r = check_count(manifest->n_objects, BUNDLE_OBJECTS_MAX, "manifest", "objects", err);
	if (r < 0)
		return r;
	if (manifest->n_objects == 0)
		return invalid(err, "manifest.objects: a bundle has at least one object");
	if (manifest->n_objects != bundle->n_objects)
		return invalid(err, "manifest.objects: speaks of %zu objects, the bundle holds %zu",
			       manifest->n_objects, bundle->n_objects);
	for (size_t i = 0; i < manifest->n_objects; i++) {
		struct place place = place_of("objects", i);

		r = check_object(manifest->objects[i], bundle->objects[i], place.text, err);
		if (r < 0)
			return r;
		for (size_t j = 0; j < i; j++) {
			if (strcmp(manifest->objects[j]->name, manifest->objects[i]->name) == 0)
				return invalid(err, "%s.name: there are two objects '%s'",
					       place.text, manifest->objects[i]->name);
		}
	}
	return 0;
}

/* ---- programs */

static bool is_skipped(const Bpfleet__V1__Manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		for (size_t k = 0; k < manifest->objects[i]->n_skipped_programs; k++) {
			if (strcmp(manifest->objects[i]->skipped_programs[k], name) == 0)
				return true;
		}
	}
	return false;
}

static int check_hook_pattern(const Bpfleet__V1__ProgramSpec *program, size_t index,
			      const char *place, struct error *err)
{
	_cleanup_(hook_freep) struct hook *pattern = NULL;
	struct error inner = { 0 };
	char field[32];

	(void)snprintf(field, sizeof(field), "hooks[%zu]", index);
	if (hook_parse_pattern(program->hooks[index], &pattern, &inner) < 0)
		return invalid_field(err, place, field, &inner);
	if (strcmp(hook_text(pattern), program->hooks[index]) != 0)
		return invalid(err, "%s.%s: '%.256s' is canonically written '%.256s'", place, field,
			       program->hooks[index], hook_text(pattern));
	if (!hook_kind_takes(hook_kind_info(hook_kind(pattern)), program->type))
		return invalid(err, "%s.%s: a program of type '%s' cannot be attached to '%.256s'",
			       place, field, program->type, program->hooks[index]);
	return 0;
}

static int check_default_hook(const Bpfleet__V1__ProgramSpec *program, size_t index,
			      const char *place, struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	struct error inner = { 0 };
	char field[32];

	(void)snprintf(field, sizeof(field), "default_hooks[%zu]", index);
	if (hook_parse(program->default_hooks[index], &hook, &inner) < 0)
		return invalid_field(err, place, field, &inner);
	if (strcmp(hook_text(hook), program->default_hooks[index]) != 0)
		return invalid(err, "%s.%s: '%.256s' is canonically written '%.256s'", place, field,
			       program->default_hooks[index], hook_text(hook));
	for (size_t i = 0; i < index; i++) {
		if (strcmp(program->default_hooks[i], program->default_hooks[index]) == 0)
			return invalid(err, "%s.%s: '%.256s' is there twice", place, field,
				       program->default_hooks[index]);
	}
	for (size_t i = 0; i < program->n_hooks; i++) {
		_cleanup_(hook_freep) struct hook *pattern = NULL;

		if (hook_parse_pattern(program->hooks[i], &pattern, &inner) < 0)
			return invalid_field(err, place, field, &inner);
		if (hook_matches(pattern, hook))
			return 0;
	}
	return invalid(err, "%s.%s: none of the program's hooks matches '%.256s'", place, field,
		       program->default_hooks[index]);
}

static int check_need(const Bpfleet__V1__Manifest *manifest,
		      const Bpfleet__V1__ProgramSpec *program, const char *place, struct error *err)
{
	size_t n_members = 0;

	if (program->need != BPFLEET__V1__NEED__NEED_REQUIRED &&
	    program->need != BPFLEET__V1__NEED__NEED_OPTIONAL &&
	    program->need != BPFLEET__V1__NEED__NEED_FALLBACK)
		return invalid(err, "%s.need: must be required, optional or fallback", place);
	if (program->need != BPFLEET__V1__NEED__NEED_FALLBACK) {
		if (program->fallback_group[0] != '\0')
			return invalid(err, "%s.fallback_group: only with need fallback", place);
		return 0;
	}
	for (size_t i = 0; i < manifest->n_programs; i++)
		n_members +=
			strcmp(manifest->programs[i]->fallback_group, program->fallback_group) == 0;
	if (n_members < 2)
		return invalid(err,
			       "%s.fallback_group: '%.64s' has no second program to fall back to",
			       place, program->fallback_group);
	return check_name(name_check_bundle, program->fallback_group, place, "fallback_group", err);
}

static int check_program(const Bpfleet__V1__Manifest *manifest, size_t index, struct error *err)
{
	const Bpfleet__V1__ProgramSpec *program = manifest->programs[index];
	struct place place = place_of("programs", index);
	int r;

	r = check_name(name_check_symbol, program->name, place.text, "name", err);
	if (r == 0)
		r = check_object_of(manifest, program->object, place.text, err);
	if (r == 0)
		r = check_count(program->n_hooks, BUNDLE_HOOKS_MAX, place.text, "hooks", err);
	if (r == 0)
		r = check_count(program->n_default_hooks, BUNDLE_HOOKS_MAX, place.text,
				"default_hooks", err);
	if (r < 0)
		return r;
	if (manifest_program(manifest, program->name) != program)
		return invalid(err, "%s.name: there are two programs '%s'", place.text,
			       program->name);
	if (is_skipped(manifest, program->name))
		return invalid(err, "%s.name: '%s' is one of the skipped_programs", place.text,
			       program->name);
	if (hook_type_refusal(program->type) != NULL)
		return invalid(err, "%s.type: a program of type '%.64s' has no hook here: %s",
			       place.text, program->type, hook_type_refusal(program->type));
	for (size_t i = 0; r == 0 && i < program->n_hooks; i++)
		r = check_hook_pattern(program, i, place.text, err);
	for (size_t i = 0; r == 0 && i < program->n_default_hooks; i++)
		r = check_default_hook(program, i, place.text, err);
	return r < 0 ? r : check_need(manifest, program, place.text, err);
}

/* ---- maps */

static bool is_rodata(const char *name)
{
	return strncmp(name, ".rodata", 7) == 0;
}

static int check_access(const Bpfleet__V1__MapSpec *map, const struct map_type *type,
			const char *place, struct error *err)
{
	if (map->access != BPFLEET__V1__ACCESS__ACCESS_PRIVATE &&
	    map->access != BPFLEET__V1__ACCESS__ACCESS_READ &&
	    map->access != BPFLEET__V1__ACCESS__ACCESS_WRITE)
		return invalid(err, "%s.access: must be private, read or write", place);
	if (map->access == BPFLEET__V1__ACCESS__ACCESS_WRITE && is_rodata(map->name))
		return invalid(err, "%s.access: user space never writes to read-only data", place);
	if (map->access == BPFLEET__V1__ACCESS__ACCESS_WRITE &&
	    (type->flags & (MAP_UPDATES | MAP_DELETES | MAP_POPS)) == 0)
		return invalid(err, "%s.access: user space never writes to a %s; %s", place,
			       map->type, type->instead);
	if (map->contents == BPFLEET__V1__CONTENTS__CONTENTS_VOLATILE)
		return 0;
	if (map->contents != BPFLEET__V1__CONTENTS__CONTENTS_DURABLE)
		return invalid(err, "%s.contents: must be volatile or durable", place);
	if (map->access != BPFLEET__V1__ACCESS__ACCESS_WRITE)
		return invalid(err, "%s.contents: durable goes only with access write", place);
	if ((type->flags & MAP_DURABLE) == 0)
		return invalid(err,
			       "%s.contents: only a hash, an array or an lpm_trie can be durable, "
			       "not a %s",
			       place, map->type);
	return 0;
}

static int check_inner(const Bpfleet__V1__MapSpec *map, const struct map_type *type,
		       const char *place, struct error *err)
{
	const struct map_type *inner;

	if (map->inner == NULL)
		return 0;
	if (type->value != MAP_VALUE_MAP)
		return invalid(err, "%s.inner: a %s holds no maps", place, map->type);
	inner = map_type_find(map->inner->type);
	if (inner == NULL || inner->value == MAP_VALUE_MAP)
		return invalid(err, "%s.inner.type: '%.64s' is no type of an inner map", place,
			       map->inner->type);
	return 0;
}

/* "addr", "total.bytes": names of members. */
static bool are_members(const char *path)
{
	for (;;) {
		char member[NAME_SYMBOL_MAX + 1];
		const size_t n = strcspn(path, ".");

		if (n > NAME_SYMBOL_MAX)
			return false;
		memcpy(member, path, n);
		member[n] = '\0';
		if (!name_is_symbol(member))
			return false;
		if (path[n] == '\0')
			return true;
		path += n + 1;
	}
}

/* "key.addr", "value", "event.comm": a root, then members. */
static bool is_display_path(const char *path, bool has_events)
{
	const size_t n = strcspn(path, ".");

	if (strlen(path) > BUNDLE_PATH_MAX ||
	    !((n == 3 && memcmp(path, "key", 3) == 0) ||
	      (n == 5 && memcmp(path, "value", 5) == 0) ||
	      (n == 5 && has_events && memcmp(path, "event", 5) == 0)))
		return false;
	return path[n] == '\0' || are_members(path + n + 1);
}

static int check_displays(const Bpfleet__V1__MapSpec *map, const char *place, struct error *err)
{
	int r = check_count(map->n_display, BUNDLE_DISPLAYS_MAX, place, "display", err);

	for (size_t i = 0; r == 0 && i < map->n_display; i++) {
		const Bpfleet__V1__Display *display = map->display[i];

		if (!is_display_path(display->path, map->events != NULL))
			return invalid(
				err,
				"%s.display[%zu].path: '%.255s' is not a dotted path below key, "
				"value or, with events, event",
				place, i, display->path);
		if (display->format == BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED ||
		    protobuf_c_enum_descriptor_get_value(&bpfleet__v1__format__descriptor,
							 (int)display->format) == NULL)
			return invalid(err, "%s.display[%zu].format: no known format", place, i);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(map->display[j]->path, display->path) == 0)
				return invalid(err, "%s.display[%zu].path: '%s' is there twice",
					       place, i, display->path);
		}
	}
	return r;
}

static int check_variants(const Bpfleet__V1__EventSpec *events, const char *place,
			  struct error *err)
{
	int r = check_count(events->n_variants, BUNDLE_VARIANTS_MAX, place, "events.variants", err);

	if (r == 0 && (events->n_variants > 0) != (events->tag[0] != '\0'))
		return invalid(err, "%s.events.tag: a tag goes with variants", place);
	if (r == 0 && events->n_variants > 0 && events->record_type[0] != '\0')
		return invalid(err, "%s.events.variants: there is a record_type already", place);
	if (r == 0 && events->n_variants > 0 &&
	    (strlen(events->tag) > BUNDLE_PATH_MAX || !are_members(events->tag)))
		return invalid(err, "%s.events.tag: '%.255s' is not a dotted path", place,
			       events->tag);
	for (size_t i = 0; r == 0 && i < events->n_variants; i++) {
		const Bpfleet__V1__EventVariant *variant = events->variants[i];

		r = check_name(name_check_symbol, variant->record_type, place, "events.variants",
			       err);
		for (size_t j = 0; r == 0 && j < i; j++)
			if (events->variants[j]->tag == variant->tag)
				return invalid(err,
					       "%s.events.variants[%zu]: tag %llu is there twice",
					       place, i, (unsigned long long)variant->tag);
	}
	return r;
}

static int check_events(const Bpfleet__V1__MapSpec *map, const char *place, struct error *err)
{
	const Bpfleet__V1__EventSpec *events = map->events;
	int r = 0;

	if (events == NULL)
		return 0;
	if (strcmp(map->type, "ringbuf") != 0 && strcmp(map->type, "perf_event_array") != 0)
		return invalid(err, "%s.events: a %s has no events", place, map->type);
	if (events->drop_counter[0] != '\0' && strcmp(map->type, "ringbuf") != 0)
		return invalid(err, "%s.events.drop_counter: the kernel counts for a %s", place,
			       map->type);
	if (events->record_type[0] != '\0')
		r = check_name(name_check_symbol, events->record_type, place, "events.record_type",
			       err);
	if (r == 0 && events->drop_counter[0] != '\0')
		r = check_name(name_check_symbol, events->drop_counter, place,
			       "events.drop_counter", err);
	return r < 0 ? r : check_variants(events, place, err);
}

static int check_upgrade(const Bpfleet__V1__MapSpec *map, const char *place, struct error *err)
{
	int r = check_count(map->n_merge, BUNDLE_MERGES_MAX, place, "merge", err);

	if (r < 0)
		return r;
	if (protobuf_c_enum_descriptor_get_value(&bpfleet__v1__upgrade__descriptor,
						 (int)map->upgrade) == NULL)
		return invalid(err, "%s.upgrade: must be keep, reset or migrate", place);
	if (map->n_merge > 0 && map->upgrade != BPFLEET__V1__UPGRADE__UPGRADE_MIGRATE)
		return invalid(err, "%s.merge: goes only with upgrade migrate", place);
	for (size_t i = 0; i < map->n_merge; i++) {
		const Bpfleet__V1__MergeRule *merge = map->merge[i];

		if (strlen(merge->path) > BUNDLE_PATH_MAX || !are_members(merge->path))
			return invalid(err, "%s.merge[%zu].path: '%.255s' is not a dotted path",
				       place, i, merge->path);
		if (merge->rule == BPFLEET__V1__MERGE__MERGE_UNSPECIFIED ||
		    protobuf_c_enum_descriptor_get_value(&bpfleet__v1__merge__descriptor,
							 (int)merge->rule) == NULL)
			return invalid(err, "%s.merge[%zu].rule: must be sum, max, newest or reset",
				       place, i);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(map->merge[j]->path, merge->path) == 0)
				return invalid(err, "%s.merge[%zu].path: '%s' is there twice",
					       place, i, merge->path);
		}
	}
	return 0;
}

static int check_map(const Bpfleet__V1__Manifest *manifest, size_t index, struct error *err)
{
	const Bpfleet__V1__MapSpec *map = manifest->maps[index];
	struct place place = place_of("maps", index);
	const struct map_type *type;
	int r;

	r = check_name(name_check_map, map->name, place.text, "name", err);
	if (r == 0)
		r = check_object_of(manifest, map->object, place.text, err);
	if (r < 0)
		return r;
	if (manifest_map(manifest, map->name) != map)
		return invalid(err, "%s.name: there are two maps '%s'", place.text, map->name);
	type = map_type_find(map->type);
	if (type == NULL)
		return invalid(err, "%s.type: no known map type '%.64s'", place.text, map->type);
	r = check_access(map, type, place.text, err);
	if (r == 0)
		r = check_inner(map, type, place.text, err);
	if (r == 0)
		r = check_events(map, place.text, err);
	if (r == 0)
		r = check_upgrade(map, place.text, err);
	return r < 0 ? r : check_displays(map, place.text, err);
}

/* ---- parameters */

static int check_parameter(const Bpfleet__V1__Manifest *manifest, size_t index, struct error *err)
{
	const Bpfleet__V1__ParameterSpec *spec = manifest->parameters[index];
	struct place place = place_of("parameters", index);
	struct error inner = { 0 };
	int r;

	r = check_name(name_check_symbol, spec->name, place.text, "name", err);
	if (r == 0)
		r = check_object_of(manifest, spec->object, place.text, err);
	if (r == 0)
		r = check_text(spec->description, BUNDLE_DESCRIPTION_MAX, place.text, "description",
			       err);
	if (r < 0)
		return r;
	if (manifest_parameter(manifest, spec->name) != spec)
		return invalid(err, "%s.name: there are two parameters '%s'", place.text,
			       spec->name);
	if (parameter_check(spec, &inner) < 0)
		return invalid_field(err, place.text, "", &inner);
	if (spec->required && spec->default_value[0] != '\0')
		return invalid(err, "%s.required: a required parameter has no default", place.text);
	return 0;
}

/* ---- the whole */

static struct version version_of(const Bpfleet__V1__Version *version)
{
	return (struct version){ version->major, version->minor, version->patch };
}

static int check_versions(const Bpfleet__V1__Manifest *manifest, struct error *err)
{
	struct version version, floor;

	if (manifest->version == NULL)
		return invalid(err, "manifest.version: is missing");
	if (manifest->obsoletes_below == NULL)
		return 0;
	version = version_of(manifest->version);
	floor = version_of(manifest->obsoletes_below);
	if (version_compare(&floor, &version) > 0)
		return invalid(err,
			       "manifest.obsoletes_below: %u.%u.%u makes the bundle itself, "
			       "%u.%u.%u, obsolete",
			       floor.major, floor.minor, floor.patch, version.major, version.minor,
			       version.patch);
	return 0;
}

/* "6.6" or "6.6.12" */
static bool is_kernel_version(const char *text)
{
	int n_numbers = 0;

	for (;;) {
		size_t n = strspn(text, "0123456789");

		if (n == 0 || n > 5 || ++n_numbers > 3)
			return false;
		text += n;
		if (*text == '\0')
			return n_numbers >= 2;
		if (*text++ != '.')
			return false;
	}
}

int manifest_validate(const Bpfleet__V1__Bundle *bundle, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = bundle->manifest;
	int r;

	if (manifest == NULL)
		return invalid(err, "manifest: is missing");
	r = check_name(name_check_bundle, manifest->name, "manifest", "name", err);
	if (r == 0)
		r = check_versions(manifest, err);
	if (r == 0)
		r = check_text(manifest->description, BUNDLE_DESCRIPTION_MAX, "manifest",
			       "description", err);
	if (r == 0 && manifest->requirements != NULL &&
	    manifest->requirements->min_kernel[0] != '\0' &&
	    !is_kernel_version(manifest->requirements->min_kernel))
		r = invalid(err,
			    "manifest.requirements.min_kernel: '%.32s' is not a version as 6.6",
			    manifest->requirements->min_kernel);
	if (r == 0)
		r = check_objects(bundle, err);
	if (r == 0)
		r = check_count(manifest->n_programs, BUNDLE_PROGRAMS_MAX, "manifest", "programs",
				err);
	if (r == 0)
		r = check_count(manifest->n_maps, BUNDLE_MAPS_MAX, "manifest", "maps", err);
	if (r == 0)
		r = check_count(manifest->n_parameters, BUNDLE_PARAMETERS_MAX, "manifest",
				"parameters", err);
	if (r == 0 && manifest->n_programs == 0)
		r = invalid(err, "manifest.programs: a bundle has at least one program");
	for (size_t i = 0; r == 0 && i < manifest->n_programs; i++)
		r = check_program(manifest, i, err);
	for (size_t i = 0; r == 0 && i < manifest->n_maps; i++)
		r = check_map(manifest, i, err);
	for (size_t i = 0; r == 0 && i < manifest->n_parameters; i++)
		r = check_parameter(manifest, i, err);
	return r < 0 ? r : manifest_check_cost(manifest, err);
}
