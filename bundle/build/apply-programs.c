#include <string.h>

#include <bpf/libbpf.h>

#include "base/error.h"
#include "bundle/build/apply.h"
#include "bundle/format.h"
#include "bundle/hook.h"
#include "proto/arena.h"

struct target {
	struct apply *apply;
	Bpfleet__V1__ProgramSpec *spec;
	bool has_defaults;
	bool skip;
};

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
}

static int add_hook(struct yaml *yaml, yaml_node_t *item, struct arena *arena, bool is_pattern,
		    char **list, size_t *n, struct error *err)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;
	const char *text;
	int r = yaml_text(yaml, item, &text, err);

	if (r < 0)
		return r;
	if (*n >= BUNDLE_HOOKS_MAX)
		return yaml_error(yaml, item, err, "more than %d hooks", BUNDLE_HOOKS_MAX);
	r = is_pattern ? hook_parse_pattern(text, &hook, err) : hook_parse(text, &hook, err);
	if (r < 0)
		return yaml_context(yaml, item, err, r);
	list[*n] = arena_strndup(arena, hook_text(hook), strlen(hook_text(hook)));
	if (list[*n] == NULL)
		return out_of_memory(err);
	(*n)++;
	return 0;
}

static int hook_item(struct yaml *yaml, yaml_node_t *item, void *context, struct error *err)
{
	struct target *target = context;

	return add_hook(yaml, item, target->apply->arena, true, target->spec->hooks,
			&target->spec->n_hooks, err);
}

static int default_hook_item(struct yaml *yaml, yaml_node_t *item, void *context, struct error *err)
{
	struct target *target = context;

	return add_hook(yaml, item, target->apply->arena, false, target->spec->default_hooks,
			&target->spec->n_default_hooks, err);
}

static int apply_hooks(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	target->spec->n_hooks = 0;
	return yaml_each_item(yaml, node, hook_item, target, err);
}

static int apply_default_hooks(struct yaml *yaml, yaml_node_t *node, void *context,
			       struct error *err)
{
	struct target *target = context;

	target->has_defaults = true;
	target->spec->n_default_hooks = 0;
	return yaml_each_item(yaml, node, default_hook_item, target, err);
}

static int apply_need(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	static const char *const words[] = { "required", "optional" };
	struct target *target = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	if (target->spec->need == BPFLEET__V1__NEED__NEED_FALLBACK)
		return yaml_error(yaml, node, err,
				  "a program of a fallback group has no other need");
	target->spec->need =
		index == 0 ? BPFLEET__V1__NEED__NEED_REQUIRED : BPFLEET__V1__NEED__NEED_OPTIONAL;
	return 0;
}

static int apply_fallback(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	if (target->spec->need != BPFLEET__V1__NEED__NEED_REQUIRED)
		return yaml_error(yaml, node, err,
				  "a program of a fallback group has no other need");
	target->spec->need = BPFLEET__V1__NEED__NEED_FALLBACK;
	return apply_text(yaml, node, target->apply->arena, &target->spec->fallback_group, err);
}

static int apply_skip(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct target *target = context;

	return yaml_bool(yaml, node, &target->skip, err);
}

/* Takes a program out: the bundle's users will not know of it, and hosts do not load it. */
static int skip_program(const struct apply *apply, const Bpfleet__V1__ProgramSpec *spec,
			struct error *err)
{
	Bpfleet__V1__Manifest *manifest = apply->manifest;
	Bpfleet__V1__ObjectSpec **object = manifest->objects;
	size_t kept = 0, n;
	char **names;

	while (strcmp((*object)->name, spec->object) != 0)
		object++;
	n = (*object)->n_skipped_programs;
	names = arena_alloc(apply->arena, (n + 1) * sizeof(*names));
	if (names == NULL)
		return out_of_memory(err);
	if (n > 0)
		memcpy(names, (*object)->skipped_programs, n * sizeof(*names));
	names[n] = spec->name;
	(*object)->skipped_programs = names;
	(*object)->n_skipped_programs = n + 1;
	for (size_t i = 0; i < manifest->n_programs; i++) {
		if (manifest->programs[i] != spec)
			manifest->programs[kept++] = manifest->programs[i];
	}
	manifest->n_programs = kept;
	return 0;
}

/* Default hooks that came from the section must not outlive hooks that were narrowed. */
static void drop_unmatched_defaults(Bpfleet__V1__ProgramSpec *spec)
{
	size_t kept = 0;

	for (size_t i = 0; i < spec->n_default_hooks; i++) {
		_cleanup_(hook_freep) struct hook *hook = NULL;
		bool matches = false;

		if (hook_parse(spec->default_hooks[i], &hook, NULL) < 0)
			continue;
		for (size_t j = 0; j < spec->n_hooks && !matches; j++) {
			_cleanup_(hook_freep) struct hook *pattern = NULL;

			matches = hook_parse_pattern(spec->hooks[j], &pattern, NULL) == 0 &&
				  hook_matches(pattern, hook);
		}
		if (matches)
			spec->default_hooks[kept++] = spec->default_hooks[i];
	}
	spec->n_default_hooks = kept;
}

static int program_pair(struct yaml *yaml, yaml_node_t *key, const char *name, yaml_node_t *value,
			void *context, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "hooks", apply_hooks }, { "default_hooks", apply_default_hooks },
		{ "need", apply_need },	  { "fallback", apply_fallback },
		{ "skip", apply_skip },
	};
	struct apply *apply = context;
	Bpfleet__V1__Manifest *manifest = apply->manifest;
	struct target target = { .apply = apply };
	const char *names[BUNDLE_PROGRAMS_MAX];
	int r;

	target.spec = (Bpfleet__V1__ProgramSpec *)manifest_program(manifest, name);
	if (target.spec == NULL) {
		for (size_t i = 0; i < manifest->n_programs; i++)
			names[i] = manifest->programs[i]->name;
		return apply_unknown(yaml, key, "program", name, names, manifest->n_programs, err);
	}
	r = yaml_apply(yaml, value, keys, ARRAY_SIZE(keys), &target, err);
	if (r < 0)
		return r;
	if (!target.has_defaults)
		drop_unmatched_defaults(target.spec);
	return target.skip ? skip_program(apply, target.spec, err) : 0;
}

/* Refuses a program that no hook can run: leaving it out has to be somebody's decision. */
static int check_hosted(struct yaml *yaml, const struct apply *apply, struct error *err)
{
	for (size_t i = 0; i < apply->manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *spec = apply->manifest->programs[i];
		const struct infer_object *object = apply_object(apply, spec->object);
		const char *why = hook_type_refusal(spec->type);
		const struct bpf_program *program;

		/* A syscall program is called. */
		if (spec->n_hooks > 0 || strcmp(spec->type, "syscall") == 0)
			continue;
		program = bpf_object__find_program_by_name(object->bpf, spec->name);
		return yaml_error(
			yaml, apply->programs != NULL ? apply->programs : yaml_root(yaml), err,
			"program '%s' (section '%.64s') attaches to nothing that bpfleet has "
			"a hook for%s%s; leave it out with `programs: {%s: {skip: true}}`",
			spec->name, program != NULL ? bpf_program__section_name(program) : "",
			why != NULL ? ": " : "", why != NULL ? why : "", spec->name);
	}
	return 0;
}

int apply_programs(struct yaml *yaml, struct apply *apply, struct error *err)
{
	int r = 0;

	if (apply->programs != NULL)
		r = yaml_each_pair(yaml, apply->programs, program_pair, apply, err);
	return r < 0 ? r : check_hosted(yaml, apply, err);
}
