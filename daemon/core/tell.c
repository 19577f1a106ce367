#include "daemon/core/tell.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/apply.h"
#include "daemon/core/convert.h"
#include "daemon/core/core.h"
#include "proto/arena.h"

#define ROWS_MAX 65536

int tell_instance(struct core *core, const char *id, struct arena *arena, struct told *ret,
		  struct error *err)
{
	const struct store_link_filter filter = { .instance = id };
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *programs = NULL;
	_cleanup_free_ struct store_link *links = NULL;
	size_t n_programs = 0, n_links = 0;
	int r = store_instance_get(core->store, id, &instance, err);

	*ret = (struct told){ 0 };
	if (r >= 0)
		r = convert_instance(core, arena, instance, &ret->instance, err);
	if (r >= 0)
		r = store_program_list(core->store, id, NULL, ROWS_MAX, &programs, &n_programs,
				       err);
	if (r >= 0)
		r = store_link_list(core->store, &filter, NULL, ROWS_MAX, &links, &n_links, err);
	ret->programs = arena_alloc(arena, n_programs * sizeof(*ret->programs));
	ret->links = arena_alloc(arena, n_links * sizeof(*ret->links));
	if (r >= 0 && (ret->programs == NULL || ret->links == NULL))
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "tell of an instance");
	for (size_t i = 0; r >= 0 && i < n_programs; i++)
		r = convert_program(arena, &programs[i], &ret->programs[ret->n_programs++], err);
	for (size_t i = 0; r >= 0 && i < n_links; i++)
		r = convert_link(arena, &links[i], &ret->links[ret->n_links++], err);
	return r;
}

static const char *detail(const struct error *err, const char *key)
{
	for (size_t i = 0; i < err->n_details; i++) {
		if (strcmp(err->details[i].key, key) == 0)
			return err->details[i].value;
	}
	return "";
}

static Bpfleet__V1__Rejection *rejection_of(const struct error *err, struct arena *arena)
{
	Bpfleet__V1__Rejection *rejection = arena_alloc(arena, sizeof(*rejection));

	if (rejection == NULL)
		return NULL;
	bpfleet__v1__rejection__init(rejection);
	rejection->program = convert_text(arena, detail(err, "program"));
	rejection->object = convert_text(arena, detail(err, "object"));
	rejection->file = convert_text(arena, detail(err, "file"));
	rejection->line = (uint32_t)strtoul(detail(err, "line"), NULL, 10);
	rejection->source = convert_text(arena, detail(err, "source"));
	rejection->verdict = convert_text(arena, detail(err, "verdict"));
	return rejection;
}

static Bpfleet__V1__Program *trial_program(struct apply *apply, size_t i, struct arena *arena)
{
	const Bpfleet__V1__ProgramSpec *spec = apply->bundle->bundle->manifest->programs[i];
	Bpfleet__V1__Program *program = arena_alloc(arena, sizeof(*program));
	struct kernel_program *tried;

	if (program == NULL)
		return NULL;
	bpfleet__v1__program__init(program);
	program->name = spec->name;
	program->type = spec->type;
	program->hooks = spec->hooks;
	program->n_hooks = spec->n_hooks;
	if (apply->object == NULL)
		return program;
	tried = &apply->object->programs[i];
	program->verified_insns = tried->verified_insns;
	program->skipped_reason = convert_text(arena, tried->skipped_reason);
	if (tried->verifier.processed_insns > 0)
		program->verifier = &tried->verifier;
	return program;
}

int tell_trial(struct apply *apply, const struct error *refusal, struct arena *arena,
	       struct told *ret, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = apply->bundle->bundle->manifest;

	ret->memory_bytes = apply->memory_bytes;
	ret->refused_reason =
		convert_text(arena, refusal == NULL ? NULL : error_info(refusal->code)->reason);
	ret->refused_message = convert_text(arena, refusal == NULL ? NULL : refusal->message);
	ret->programs = arena_alloc(arena, manifest->n_programs * sizeof(*ret->programs));
	ret->n_programs = 0;
	if (refusal != NULL && refusal->code == ERROR_VERIFIER_REJECTED)
		ret->rejection = rejection_of(refusal, arena);
	for (size_t i = 0; i < manifest->n_programs; i++) {
		Bpfleet__V1__Program *program =
			ret->programs == NULL ? NULL : trial_program(apply, i, arena);

		if (program == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell of a trial");
		if (ret->rejection != NULL && strcmp(program->name, ret->rejection->program) == 0)
			program->verifier_log = convert_text(arena, apply->rejection_log.data);
		ret->programs[ret->n_programs++] = program;
	}
	return 0;
}
