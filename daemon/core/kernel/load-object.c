#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/load-private.h"
#include "daemon/core/kernel/maps.h"

static void close_objectp(struct bpf_object **object)
{
	bpf_object__close(*object);
}

#define _cleanup_object_ _cleanup_(close_objectp)

static int raise_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a loaded bundle");
}

static int open_object(struct load *load, size_t i, struct bpf_object **ret, struct error *err)
{
	const Bpfleet__V1__Object *bytes = load->options->bundle->objects[i];
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = bytes->name,
		    /* No BPF token: libbpf would look for one on /sys/fs/bpf at every load. */
		    .bpf_token_path = "");
	struct bpf_object *object;
	int sys_errno;

	messages_begin(&load->messages);
	object = bpf_object__open_mem(bytes->elf.data, bytes->elf.len, &opts);
	sys_errno = errno;
	messages_end();
	if (object == NULL)
		return error_raise_errno(
			err, sys_errno == ENOMEM ? ERROR_OUT_OF_MEMORY : ERROR_OBJECT_MALFORMED,
			sys_errno, "object '%s' cannot be opened (%s)", bytes->name,
			load->messages.text);
	*ret = object;
	return 0;
}

/* Says which programs to load, and how. *ret_culprit: the one that this kernel cannot have. */
static int configure_programs(struct load *load, const char *object_name, struct bpf_object *object,
			      size_t *ret_culprit, struct error *err)
{
	struct bpf_program *program;
	size_t hint = 0;
	int r;

	bpf_object__for_each_program(program, object)
	{
		const size_t at =
			load_program_ordinal(load, object_name, bpf_program__name(program), &hint);
		/* Of a skipped program there is nothing. */
		struct load_program *wish = at == SIZE_MAX ? NULL : &load->programs[at];
		const bool wanted = wish != NULL && wish->choice == LOAD_WANTED;

		(void)bpf_program__set_autoload(program, wanted);
		if (!wanted)
			continue;
		wish->n_insns = (uint32_t)bpf_program__insn_cnt(program);
		r = load_program_configure(load->manifest->programs[at], program, err);
		if (r < 0) {
			if (err->code == ERROR_KERNEL_UNSUPPORTED)
				*ret_culprit = at;
			return r;
		}
		(void)bpf_program__set_log_level(program, wish->level);
		if (wish->level != LOAD_LOG_STATISTICS) {
			(void)bpf_program__set_log_buf(program, load->log, LOAD_LOG_SIZE);
			continue;
		}
		if (wish->statistics == NULL)
			wish->statistics = malloc(KERNEL_LOG_MAX);
		if (wish->statistics == NULL)
			return raise_memory(err);
		wish->statistics[0] = '\0';
		(void)bpf_program__set_log_buf(program, wish->statistics, KERNEL_LOG_MAX);
	}
	return 0;
}

/* A new map, or that of another load. */
static int choose_map(struct load *load, size_t at, const struct btf *btf, struct bpf_map *map,
		      struct error *err)
{
	struct kernel_map *noted = &load->object->maps[at];
	struct kernel_map_choice choice = { .fd = -1 };
	struct kernel_map_chooser *chooser = load->options->chooser;
	int r = 0;

	if (chooser == NULL)
		return 0;
	r = chooser->choose(chooser, load->manifest->maps[at], btf, bpf_map__btf_key_type_id(map),
			    bpf_map__btf_value_type_id(map), &choice, err);
	if (r < 0)
		return r;
	noted->shared = choice.fd >= 0;
	noted->filled_later = choice.filled_later;
	noted->frozen = choice.frozen;
	if (choice.fd < 0)
		return 0;
	r = bpf_map__reuse_fd(map, choice.fd);
	return r < 0 ? error_raise_errno(err, ERROR_KERNEL_REFUSED, -r, "cannot keep map '%s'",
					 noted->name)
		     : 0;
}

static int configure(struct load *load, const char *object_name, struct bpf_object *object,
		     size_t *ret_culprit, struct error *err)
{
	struct bpf_map *map;
	size_t hint = 0;
	int r;

	bpf_object__for_each_map(map, object)
	{
		/* Pins are made by pins.c alone, never where the object says. */
		(void)bpf_map__set_pin_path(map, NULL);
		/* So that a link holds the table, whatever its section is called. */
		if ((unsigned int)bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
			(void)bpf_map__set_map_flags(map, bpf_map__map_flags(map) | BPF_F_LINK);
		r = choose_map(load, load_map_ordinal(load, object_name, load_map_name(map), &hint),
			       bpf_object__btf(object), map, err);
		if (r < 0)
			return r;
	}
	r = load_parameters_write(load, object_name, object, err);
	if (r < 0)
		return r;
	return configure_programs(load, object_name, object, ret_culprit, err);
}

/* The program that a failed load was about, by what libbpf said last. */
static size_t find_culprit(const struct load *load, const char *object_name)
{
	size_t hint = 0;
	size_t at = SIZE_MAX;

	if (load->messages.program[0] != '\0')
		at = load_program_ordinal(load, object_name, load->messages.program, &hint);
	return at != SIZE_MAX && load->programs[at].choice == LOAD_WANTED ? at : NO_PROGRAM;
}

static int duplicate(int fd, int *ret_fd, struct error *err)
{
	const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return error_raise_errno(
			err, errno == EMFILE ? ERROR_LIMIT_EXCEEDED : ERROR_KERNEL_REFUSED, errno,
			"cannot keep an fd of a loaded bundle");
	*ret_fd = copy;
	return 0;
}

static int note_programs(struct load *load, const char *object_name,
			 const struct bpf_object *object, struct error *err)
{
	struct kernel_program_info info;
	struct bpf_program *program;
	size_t hint = 0;
	int r;

	bpf_object__for_each_program(program, object)
	{
		const size_t at =
			load_program_ordinal(load, object_name, bpf_program__name(program), &hint);
		struct kernel_program *noted;

		if (at == SIZE_MAX)
			continue;
		noted = &load->object->programs[at];
		noted->type = bpf_program__type(program);
		noted->expected_attach_type = bpf_program__expected_attach_type(program);
		if (load->programs[at].choice != LOAD_WANTED)
			continue;
		r = duplicate(bpf_program__fd(program), &noted->fd, err);
		if (r == 0)
			r = kernel_program_info(noted->fd, &info, err);
		if (r < 0)
			return r;
		noted->id = info.id;
		noted->verified_insns = info.verified_insns;
		memcpy(noted->tag, info.tag, sizeof(noted->tag));
		load_log_figures(load->programs[at].statistics, &noted->verifier,
				 ARRAY_SIZE(noted->stack_depths));
	}
	return 0;
}

static void note_counter(const struct load *load, const struct bpf_object *object,
			 const Bpfleet__V1__MapSpec *spec, struct kernel_map *noted)
{
	const char *counter = spec->events->drop_counter;
	struct load_variable variable;
	size_t hint = 0;

	if (counter[0] == '\0' || (!load_find_variable(object, ".bss", counter, &variable) &&
				   !load_find_variable(object, ".data", counter, &variable)))
		return;
	noted->counter_map =
		(uint32_t)load_map_ordinal(load, spec->object, variable.section, &hint);
	noted->counter_offset = variable.offset;
}

static int freeze(struct kernel_map *noted, struct error *err)
{
	struct error unfit = { 0 };
	int r;

	if (noted->frozen || noted->filled_later ||
	    noted->access != BPFLEET__V1__ACCESS__ACCESS_READ)
		return 0;
	r = kernel_map_freeze(noted->fd, noted->type, &unfit);
	noted->frozen = r == 0;
	if (r < 0 && unfit.code != ERROR_MAP_NOT_FREEZABLE) {
		*err = unfit;
		return error_context(err, r, "map '%s'", noted->name);
	}
	return 0;
}

static int note_map(struct load *load, size_t i, const struct bpf_object *object,
		    const struct bpf_map *map, size_t at, struct error *err)
{
	const Bpfleet__V1__MapSpec *spec = load->manifest->maps[at];
	struct kernel_map *noted = &load->object->maps[at];
	struct mapread_map shape;
	int r;

	r = duplicate(bpf_map__fd(map), &noted->fd, err);
	if (r == 0)
		r = mapread_open(noted->fd, load->n_possible_cpus, &shape, err);
	if (r < 0)
		return r;
	noted->object = (uint32_t)i;
	noted->id = shape.id;
	noted->type = shape.type;
	noted->key_size = shape.key_size;
	noted->value_size = shape.value_size;
	noted->max_entries = shape.max_entries;
	noted->flags = shape.flags;
	noted->n_cpus = shape.n_cpus;
	noted->access = spec->access;
	/* libbpf froze constants before the programs were verified. */
	noted->frozen |= bpf_map__is_internal(map) && (shape.flags & BPF_F_RDONLY_PROG) != 0;
	if (bpf_map__btf_value_type_id(map) != 0) {
		noted->key_type_id = bpf_map__btf_key_type_id(map);
		noted->value_type_id = bpf_map__btf_value_type_id(map);
	}
	if (spec->events != NULL) {
		const struct btf *btf = bpf_object__btf(object);

		if (btf != NULL && spec->events->record_type[0] != '\0')
			noted->event_type_id = (uint32_t)btf__find_by_name_kind(
				btf, spec->events->record_type, BTF_KIND_STRUCT);
		note_counter(load, object, spec, noted);
	}
	return freeze(noted, err);
}

/*
 * What the object declares, before the load: libbpf forgets the types of maps that the kernel takes
 * no types for (queues, maps of maps, devices), and the inner maps' templates.
 */
static void note_types(struct load *load, size_t i, const struct bpf_object *object)
{
	const char *object_name = load->manifest->objects[i]->name;
	struct bpf_map *map;
	size_t hint = 0;

	bpf_object__for_each_map(map, object)
	{
		const size_t at = load_map_ordinal(load, object_name, load_map_name(map), &hint);
		const struct bpf_map *inner = bpf_map__inner_map(map);
		struct kernel_map *noted = &load->object->maps[at];

		noted->key_type_id = bpf_map__btf_key_type_id(map);
		noted->value_type_id = bpf_map__btf_value_type_id(map);
		if (inner != NULL) {
			noted->inner_key_type_id = bpf_map__btf_key_type_id(inner);
			noted->inner_value_type_id = bpf_map__btf_value_type_id(inner);
		}
	}
}

static int note_maps(struct load *load, size_t i, const struct bpf_object *object,
		     struct error *err)
{
	const char *object_name = load->manifest->objects[i]->name;
	const struct bpf_map *map;
	size_t hint = 0;
	int r;

	bpf_object__for_each_map(map, object)
	{
		const size_t at = load_map_ordinal(load, object_name, load_map_name(map), &hint);

		r = note_map(load, i, object, map, at, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int note_btf(struct kernel_btf *noted, const struct bpf_object *object, struct error *err)
{
	const struct btf *btf = bpf_object__btf(object);
	const void *bytes;
	uint32_t size;

	if (btf == NULL)
		return 0;
	bytes = btf__raw_data(btf, &size);
	if (bytes == NULL)
		return raise_memory(err);
	noted->bytes = malloc(size);
	if (noted->bytes == NULL)
		return raise_memory(err);
	memcpy(noted->bytes, bytes, size);
	noted->size = size;
	return 0;
}

int load_object(struct load *load, size_t i, size_t *ret_culprit, struct error *err)
{
	const char *object_name = load->manifest->objects[i]->name;
	_cleanup_object_ struct bpf_object *object = NULL;
	size_t culprit;
	int r;

	*ret_culprit = NO_PROGRAM;
	load->log[0] = '\0';
	r = open_object(load, i, &object, err);
	if (r == 0)
		r = load_check_object(load, object_name, object, err);
	if (r < 0)
		return r;
	messages_begin(&load->messages);
	r = configure(load, object_name, object, ret_culprit, err);
	if (r < 0) {
		messages_end();
		return r;
	}
	note_types(load, i, object);
	r = bpf_object__load(object);
	messages_end();
	if (r < 0) {
		culprit = find_culprit(load, object_name);
		*ret_culprit = culprit;
		return load_raise(load, object, culprit, -r, err);
	}
	r = load_take_struct_ops(object, err);
	if (r == 0)
		r = note_btf(&load->object->btfs[i], object, err);
	if (r == 0)
		r = note_programs(load, object_name, object, err);
	if (r == 0)
		r = note_maps(load, i, object, err);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void load_object_undo(struct load *load, size_t i)
{
	const char *object_name = load->manifest->objects[i]->name;
	struct kernel_object *object = load->object;

	for (size_t k = 0; k < object->n_programs; k++) {
		if (strcmp(load->manifest->programs[k]->object, object_name) == 0)
			close_fd(&object->programs[k].fd);
	}
	for (size_t k = 0; k < object->n_maps; k++) {
		if (strcmp(load->manifest->maps[k]->object, object_name) == 0)
			close_fd(&object->maps[k].fd);
	}
	free(object->btfs[i].bytes);
	object->btfs[i].bytes = NULL;
	object->btfs[i].size = 0;
}
