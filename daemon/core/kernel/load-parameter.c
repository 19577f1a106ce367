#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/parameter.h"
#include "daemon/core/kernel/load-private.h"

#define MISTYPED_MAX 3U /* letters of a name */

static size_t find_spec(const Bpfleet__V1__Manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->n_parameters; i++) {
		if (strcmp(manifest->parameters[i]->name, name) == 0)
			return i;
	}
	return SIZE_MAX;
}

static int unknown(const Bpfleet__V1__Manifest *manifest, const char *name, struct error *err)
{
	const unsigned int third = (unsigned int)strnlen(name, 64) / 3;
	unsigned int best = (third < 1 ? 1 : third > MISTYPED_MAX ? MISTYPED_MAX : third) + 1;
	const char *near = NULL;

	for (size_t i = 0; i < manifest->n_parameters; i++) {
		const unsigned int distance = str_distance(name, manifest->parameters[i]->name);

		if (distance < best) {
			best = distance;
			near = manifest->parameters[i]->name;
		}
	}
	return error_raise(err, ERROR_INVALID_PARAMETER,
			   "the bundle has no parameter '%.64s'%s%s%s", name,
			   near == NULL ? "" : "; did you mean '", near == NULL ? "" : near,
			   near == NULL ? "" : "'?");
}

static int read_one(struct load *load, size_t i, const char *text, struct error *err)
{
	const Bpfleet__V1__ParameterSpec *spec = load->manifest->parameters[i];
	_cleanup_free_ uint8_t *bytes = NULL;
	int r;

	if (spec->size_bytes == 0 || spec->size_bytes > PARAMETER_SIZE_MAX)
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "parameter '%s' has a size of %u bytes", spec->name,
				   spec->size_bytes);
	bytes = calloc(1, spec->size_bytes);
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold parameter '%s'",
				   spec->name);
	r = parameter_parse(spec, text, bytes, spec->size_bytes, err);
	if (r < 0)
		return r;
	load->parameters[i] = TAKE_PTR(bytes);
	return 0;
}

int load_parameters_read(struct load *load, struct error *err)
{
	const struct kernel_load_options *options = load->options;
	const Bpfleet__V1__Manifest *manifest = load->manifest;
	int r;

	for (size_t i = 0; i < options->n_parameters; i++) {
		const struct kernel_parameter *given = &options->parameters[i];
		const size_t at = find_spec(manifest, given->name);

		if (at == SIZE_MAX)
			return unknown(manifest, given->name, err);
		if (load->parameters[at] != NULL)
			return error_raise(err, ERROR_INVALID_PARAMETER,
					   "parameter '%s' is given twice", given->name);
		r = read_one(load, at, given->value, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < manifest->n_parameters; i++) {
		const Bpfleet__V1__ParameterSpec *spec = manifest->parameters[i];

		if (load->parameters[i] != NULL)
			continue;
		if (spec->required)
			return error_raise(err, ERROR_INVALID_PARAMETER,
					   "parameter '%s' must be given", spec->name);
		if (spec->default_value[0] == '\0')
			continue;
		r = read_one(load, i, spec->default_value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct bpf_map *find_section(struct bpf_object *object, const char *section)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map) && strcmp(load_map_name(map), section) == 0)
			return map;
	}
	return NULL;
}

static int write_one(const Bpfleet__V1__ParameterSpec *spec, const uint8_t *bytes,
		     struct bpf_object *object, struct error *err)
{
	struct load_variable variable;
	struct bpf_map *map = NULL;
	uint8_t *image = NULL;
	size_t size = 0;

	if (load_find_variable(object, ".rodata", spec->name, &variable))
		map = find_section(object, variable.section);
	if (map != NULL)
		image = bpf_map__initial_value(map, &size);
	if (image == NULL || variable.size != spec->size_bytes ||
	    (size_t)variable.offset + variable.size > size)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "object '%s' has no constant '%s' of %u bytes", spec->object,
				   spec->name, spec->size_bytes);
	memcpy(image + variable.offset, bytes, variable.size);
	return 0;
}

int load_parameters_write(const struct load *load, const char *object_name,
			  struct bpf_object *object, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;
	int r;

	for (size_t i = 0; i < manifest->n_parameters; i++) {
		const Bpfleet__V1__ParameterSpec *spec = manifest->parameters[i];

		if (load->parameters[i] == NULL || strcmp(spec->object, object_name) != 0)
			continue;
		r = write_one(spec, load->parameters[i], object, err);
		if (r < 0)
			return r;
	}
	return 0;
}
