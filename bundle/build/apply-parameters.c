#include <string.h>

#include "base/error.h"
#include "bundle/build/apply.h"
#include "bundle/format.h"
#include "bundle/parameter.h"
#include "proto/arena.h"

struct target {
	struct apply *apply;
	Bpfleet__V1__ParameterSpec *spec;
	bool skip;
};

static int apply_type(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	/* In the order of the enum, which starts at 1 with bool. */
	static const char *const words[] = {
		"bool", "unsigned", "signed", "string", "ipv4", "ipv6"
	};
	struct target *target = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	target->spec->type =
		(Bpfleet__V1__ParameterType)(index +
					     BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL);
	return 0;
}

static int apply_default(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return apply_text(yaml, node, target->apply->arena, &target->spec->default_value, err);
}

static int apply_min(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return apply_text(yaml, node, target->apply->arena, &target->spec->min, err);
}

static int apply_max(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return apply_text(yaml, node, target->apply->arena, &target->spec->max, err);
}

static int apply_description(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return apply_text(yaml, node, target->apply->arena, &target->spec->description, err);
}

static int apply_required(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;
	bool required;
	int r = yaml_bool(yaml, node, &required, err);

	if (r < 0)
		return r;
	target->spec->required = required;
	return 0;
}

static int apply_skip(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return yaml_bool(yaml, node, &target->skip, err);
}

static void remove_parameter(Bpfleet__V1__Manifest *manifest,
			     const Bpfleet__V1__ParameterSpec *spec)
{
	size_t kept = 0;

	for (size_t i = 0; i < manifest->n_parameters; i++) {
		if (manifest->parameters[i] != spec)
			manifest->parameters[kept++] = manifest->parameters[i];
	}
	manifest->n_parameters = kept;
}

static int parameter_pair(struct yaml *yaml, yaml_node_t *key, const char *name, yaml_node_t *value,
			  void *context, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "type", apply_type },		{ "default", apply_default },
		{ "min", apply_min },		{ "max", apply_max },
		{ "required", apply_required }, { "description", apply_description },
		{ "skip", apply_skip },
	};
	struct apply *apply = context;
	Bpfleet__V1__Manifest *manifest = apply->manifest;
	struct target target = { .apply = apply };
	const char *names[BUNDLE_PARAMETERS_MAX];
	struct error inner = { 0 };
	int r;

	target.spec = (Bpfleet__V1__ParameterSpec *)manifest_parameter(manifest, name);
	if (target.spec == NULL) {
		for (size_t i = 0; i < manifest->n_parameters; i++)
			names[i] = manifest->parameters[i]->name;
		return apply_unknown(yaml, key, "`const volatile` variable", name, names,
				     manifest->n_parameters, err);
	}
	r = yaml_apply(yaml, value, keys, ARRAY_SIZE(keys), &target, err);
	if (r < 0)
		return r;
	if (target.skip) {
		remove_parameter(manifest, target.spec);
		return 0;
	}
	if (parameter_check(target.spec, &inner) < 0)
		return yaml_error(yaml, key, err, "%s", inner.message);
	return 0;
}

/* Variables whose type no parameter has are the program's own business, if nobody names them. */
static void remove_untyped(Bpfleet__V1__Manifest *manifest)
{
	size_t kept = 0;

	for (size_t i = 0; i < manifest->n_parameters; i++) {
		if (manifest->parameters[i]->type !=
		    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED)
			manifest->parameters[kept++] = manifest->parameters[i];
	}
	manifest->n_parameters = kept;
}

int apply_parameters(struct yaml *yaml, struct apply *apply, struct error *err)
{
	int r = 0;

	if (apply->parameters != NULL)
		r = yaml_each_pair(yaml, apply->parameters, parameter_pair, apply, err);
	remove_untyped(apply->manifest);
	return r;
}
