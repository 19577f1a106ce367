#include "daemon/core/kernel/load.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/load-private.h"
#include "daemon/mapread/mapread.h"

void kernel_init(void)
{
	messages_install();
}

void kernel_object_free(struct kernel_object *object)
{
	if (object == NULL)
		return;
	for (size_t i = 0; object->programs != NULL && i < object->n_programs; i++) {
		struct kernel_program *program = &object->programs[i];

		if (program->fd >= 0)
			(void)close(program->fd);
		free(program->name);
		free(program->skipped_reason);
	}
	for (size_t i = 0; object->maps != NULL && i < object->n_maps; i++) {
		if (object->maps[i].fd >= 0)
			(void)close(object->maps[i].fd);
		free(object->maps[i].name);
	}
	for (size_t i = 0; object->btfs != NULL && i < object->n_btfs; i++) {
		free(object->btfs[i].object);
		free(object->btfs[i].bytes);
	}
	free(object->programs);
	free(object->maps);
	free(object->btfs);
	free(object);
}

/* Allocations of no elements give memory, too, so that NULL means failure. */
static void *allocate(size_t n, size_t size)
{
	return calloc(n > 0 ? n : 1, size);
}

/* Everything named and ordered as in the manifest, nothing of it loaded. NULL: out of memory. */
static struct kernel_object *object_new(const Bpfleet__V1__Manifest *manifest)
{
	_cleanup_(kernel_object_freep) struct kernel_object *object = calloc(1, sizeof(*object));

	if (object == NULL)
		return NULL;
	object->programs = allocate(manifest->n_programs, sizeof(*object->programs));
	object->maps = allocate(manifest->n_maps, sizeof(*object->maps));
	object->btfs = allocate(manifest->n_objects, sizeof(*object->btfs));
	if (object->programs == NULL || object->maps == NULL || object->btfs == NULL)
		return NULL;
	for (size_t i = 0; i < manifest->n_programs; i++) {
		struct kernel_program *program = &object->programs[i];

		object->n_programs = i + 1;
		program->ordinal = (uint32_t)i;
		program->fd = -1;
		bpfleet__v1__verifier_figures__init(&program->verifier);
		program->verifier.stack_depths = program->stack_depths;
		program->name = strdup(manifest->programs[i]->name);
		if (program->name == NULL)
			return NULL;
	}
	for (size_t i = 0; i < manifest->n_maps; i++) {
		struct kernel_map *map = &object->maps[i];

		object->n_maps = i + 1;
		map->ordinal = (uint32_t)i;
		map->fd = -1;
		map->counter_map = UINT32_MAX;
		map->name = strdup(manifest->maps[i]->name);
		if (map->name == NULL)
			return NULL;
	}
	for (size_t i = 0; i < manifest->n_objects; i++) {
		object->n_btfs = i + 1;
		object->btfs[i].object = strdup(manifest->objects[i]->name);
		if (object->btfs[i].object == NULL)
			return NULL;
	}
	return TAKE_PTR(object);
}

static void load_done(struct load *load)
{
	for (size_t i = 0; load->parameters != NULL && i < load->manifest->n_parameters; i++)
		free(load->parameters[i]);
	free(load->parameters);
	for (size_t i = 0; load->programs != NULL && i < load->manifest->n_programs; i++)
		free(load->programs[i].statistics);
	free(load->programs);
	free(load->log);
	kernel_object_free(load->object);
}

static bool is_fallback_of(const Bpfleet__V1__ProgramSpec *spec, const char *group)
{
	return spec->need == BPFLEET__V1__NEED__NEED_FALLBACK &&
	       strcmp(spec->fallback_group, group) == 0;
}

/* First program of the group that is still to be tried, NO_PROGRAM if there is none. */
static size_t find_held(const struct load *load, const char *group)
{
	for (size_t i = 0; i < load->manifest->n_programs; i++) {
		if (load->programs[i].choice == LOAD_HELD &&
		    is_fallback_of(load->manifest->programs[i], group))
			return i;
	}
	return NO_PROGRAM;
}

static void choose_programs(struct load *load)
{
	const Bpfleet__V1__Manifest *manifest = load->manifest;

	for (size_t i = 0; i < manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *spec = manifest->programs[i];
		bool is_first = true;

		for (size_t k = 0; k < i && spec->need == BPFLEET__V1__NEED__NEED_FALLBACK; k++)
			is_first &= !is_fallback_of(manifest->programs[k], spec->fallback_group);
		load->programs[i].choice = is_first ? LOAD_WANTED : LOAD_HELD;
		load->programs[i].level = LOAD_LOG_STATISTICS;
	}
}

/* Notes why a program is left out; NULL: out of memory. */
static char *reason_text(const struct error *cause)
{
	struct str text = { 0 };

	(void)str_appendf(&text, "%s: %s", error_info(cause->code)->reason, cause->message);
	return str_take(&text);
}

static size_t object_of(const Bpfleet__V1__Manifest *manifest, size_t program)
{
	for (size_t i = 0; i < manifest->n_objects; i++) {
		if (strcmp(manifest->objects[i]->name, manifest->programs[program]->object) == 0)
			return i;
	}
	return SIZE_MAX;
}

/*
 * Goes on without a program that the kernel refused: moves *at to the object where the load
 * resumes. r and cause are the refusal, passed on when the bundle cannot do without.
 */
static int do_without(struct load *load, size_t program, size_t *at, int r,
		      const struct error *cause, struct error *err)
{
	const Bpfleet__V1__ProgramSpec *spec = load->manifest->programs[program];
	size_t next = NO_PROGRAM;
	size_t resume = *at;

	if (spec->need == BPFLEET__V1__NEED__NEED_FALLBACK)
		next = find_held(load, spec->fallback_group);
	if (cause->code == ERROR_OUT_OF_MEMORY || cause->code == ERROR_LIMIT_EXCEEDED ||
	    (spec->need != BPFLEET__V1__NEED__NEED_OPTIONAL && next == NO_PROGRAM)) {
		if (err != NULL)
			*err = *cause;
		return r;
	}
	load->programs[program].choice = LOAD_REFUSED;
	load->object->programs[program].skipped_reason = reason_text(cause);
	if (load->object->programs[program].skipped_reason == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot note a skipped program");
	if (next != NO_PROGRAM) {
		load->programs[next].choice = LOAD_WANTED;
		resume = object_of(load->manifest, next);
	}
	for (; *at > resume; (*at)--)
		load_object_undo(load, *at - 1);
	return 0;
}

static int load_objects(struct load *load, struct error *err)
{
	size_t i = 0, culprit;
	int r;

	/* Ends: each turn loads an object, gives a program up, or asks for another log of it. */
	while (i < load->manifest->n_objects) {
		struct error cause = { 0 };

		r = load_object(load, i, &culprit, &cause);
		if (r == 0) {
			i++;
			continue;
		}
		load_object_undo(load, i);
		if (culprit == NO_PROGRAM) {
			if (err != NULL)
				*err = cause;
			return error_context(err, r, "object '%s'",
					     load->manifest->objects[i]->name);
		}
		/* Statistics alone were logged: once more, for the log that says why. */
		if (load->programs[culprit].level == LOAD_LOG_STATISTICS) {
			/* A kernel before 6.4 fails what fills its log. */
			load->programs[culprit].level =
				cause.sys_errno == ENOSPC ? LOAD_LOG_FAILURE : LOAD_LOG_STEPS;
			continue;
		}
		r = do_without(load, culprit, &i, r, &cause, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Says of each fallback that was not tried that it was not needed. */
static int finish(struct load *load, struct error *err)
{
	for (size_t i = 0; i < load->object->n_programs; i++) {
		struct kernel_program *program = &load->object->programs[i];

		if (load->programs[i].choice != LOAD_HELD)
			continue;
		program->skipped_reason =
			strdup("an earlier program of its fallback group is loaded");
		if (program->skipped_reason == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY,
					   "cannot note a skipped program");
	}
	return 0;
}

/* The objects, and the objects that programs and maps name, are those of the manifest. */
static int check_objects(const Bpfleet__V1__Bundle *bundle, struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = bundle->manifest;

	if (manifest == NULL || bundle->n_objects != manifest->n_objects)
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "the bundle does not hold the objects that its manifest lists");
	for (size_t i = 0; i < bundle->n_objects; i++) {
		if (strcmp(bundle->objects[i]->name, manifest->objects[i]->name) != 0)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "object %zu is '%s', the manifest says '%s'", i,
					   bundle->objects[i]->name, manifest->objects[i]->name);
	}
	for (size_t i = 0; i < manifest->n_programs; i++) {
		if (object_of(manifest, i) == SIZE_MAX)
			return error_raise(err, ERROR_MANIFEST_INVALID,
					   "program '%s' is of an object that is not listed",
					   manifest->programs[i]->name);
	}
	return 0;
}

int kernel_load(const struct kernel_load_options *options, struct kernel_object **ret,
		struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = options->bundle->manifest;
	_cleanup_(load_done) struct load load = { .options = options, .manifest = manifest };
	int r;

	r = check_objects(options->bundle, err);
	if (r == 0 && manifest->requirements != NULL)
		r = kernel_check_release(manifest->requirements->min_kernel, err);
	if (r < 0)
		return r;
	r = mapread_possible_cpus();
	if (r < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, -r,
					 "cannot count the possible CPUs");
	load.n_possible_cpus = (uint32_t)r;
	load.object = object_new(manifest);
	load.programs = allocate(manifest->n_programs, sizeof(*load.programs));
	load.parameters = allocate(manifest->n_parameters, sizeof(*load.parameters));
	load.log = malloc(LOAD_LOG_SIZE);
	if (load.object == NULL || load.programs == NULL || load.parameters == NULL ||
	    load.log == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a load");
	choose_programs(&load);
	r = load_parameters_read(&load, err);
	if (r == 0)
		r = load_objects(&load, err);
	if (r == 0)
		r = finish(&load, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(load.object);
	return 0;
}
