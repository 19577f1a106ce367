#include "daemon/core/apply.h"

#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/core/budget.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/step.h"
#include "proto/arena.h"
#include "store/bundles.h"

struct apply *apply_new(struct core *core, struct trusted_bundle *bundle, const char *id)
{
	struct apply *apply = calloc(1, sizeof(*apply));

	if (apply == NULL)
		return NULL;
	apply->core = core;
	apply->pins = core->pins;
	apply->kernel = &core->kernel;
	apply->bundle = trusted_bundle_ref(bundle);
	(void)snprintf(apply->id, sizeof(apply->id), "%s", id);
	return apply;
}

static void readonly_fds_close(struct apply *apply)
{
	size_t n = apply->bundle->bundle->manifest->n_maps;

	for (size_t i = 0; apply->readonly_fds != NULL && i < n; i++) {
		if (apply->readonly_fds[i] >= 0)
			(void)close(apply->readonly_fds[i]);
	}
	free(apply->readonly_fds);
	apply->readonly_fds = NULL;
}

void apply_free(struct apply *apply)
{
	if (apply == NULL)
		return;
	for (size_t i = 0; i < apply->n_links; i++) {
		kernel_link_close(&apply->links[i].link);
		hook_free(apply->links[i].hook);
		free(apply->links[i].places);
		free(apply->links[i].err);
	}
	free(apply->links);
	for (size_t i = 0; i < apply->n_entries; i++)
		free(apply->entries[i].block);
	free(apply->entries);
	readonly_fds_close(apply);
	kernel_object_free(apply->object);
	str_done(&apply->rejection_log);
	free(apply->parameters);
	trusted_bundle_unref(apply->bundle);
	free(apply);
}

int apply_set_parameters(struct apply *apply, size_t n, char **names, char **values,
			 struct error *err)
{
	size_t size = n * sizeof(struct kernel_parameter);
	char *text;

	for (size_t i = 0; i < n; i++)
		size += strlen(names[i]) + strlen(values[i]) + 2;
	if (n == 0)
		return 0;
	apply->parameters = malloc(size);
	if (apply->parameters == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "take %zu parameters", n);
	text = (char *)(apply->parameters + n);
	for (size_t i = 0; i < n; i++) {
		apply->parameters[i].name = text;
		text = stpcpy(text, names[i]) + 1;
		apply->parameters[i].value = text;
		text = stpcpy(text, values[i]) + 1;
	}
	apply->n_parameters = n;
	return 0;
}

int apply_add_link(struct apply *apply, const char *id, uint32_t program, struct hook *hook,
		   struct error *err)
{
	struct apply_link *links, *link;
	int r = 0;

	links = realloc(apply->links, (apply->n_links + 1) * sizeof(*links));
	if (links == NULL) {
		hook_free(hook);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan a link");
	}
	apply->links = links;
	link = &links[apply->n_links++];
	*link = (struct apply_link){ .program = program, .hook = hook, .link = KERNEL_LINK_NONE };
	if (id == NULL)
		r = name_new_id(link->id, err);
	else
		(void)snprintf(link->id, sizeof(link->id), "%s", id);
	return r;
}

int apply_find_program(const Bpfleet__V1__Manifest *manifest, const char *name, uint32_t *ret,
		       struct error *err)
{
	for (size_t i = 0; i < manifest->n_programs; i++) {
		if (strcmp(manifest->programs[i]->name, name) == 0) {
			*ret = (uint32_t)i;
			return 0;
		}
	}
	return error_raise(err, ERROR_NOT_FOUND, "bundle %s has no program '%.128s'",
			   manifest->name, name);
}

/* ---- on a worker */

static int put_back_entries(const struct apply *apply, struct error *err)
{
	for (size_t i = 0; i < apply->n_entries; i++) {
		const struct apply_entries *entries = &apply->entries[i];
		const struct kernel_map *map = &apply->object->maps[entries->map];
		struct mapread_map shape;
		int r = mapread_open(map->fd, map->n_cpus == 0 ? 1 : map->n_cpus, &shape, err);

		for (size_t k = 0; r >= 0 && k < entries->n_rows; k++) {
			const struct store_entry *row = &entries->rows[k];
			uint32_t offset; /* behind the key: only a part of the value was written */

			if (row->key.size == map->key_size + sizeof(offset)) {
				memcpy(&offset, row->key.data + map->key_size, sizeof(offset));
				r = kernel_map_store(&shape, row->key.data, offset, row->value.data,
						     row->value.size, err);
			} else if (row->key.size != map->key_size ||
				   row->value.size != map->value_size)
				r = error_raise(err, ERROR_STORE_CORRUPT,
						"a durable entry of map '%s' has another size",
						map->name);
			else
				r = kernel_map_update(&shape, row->key.data, row->value.data, 0,
						      err);
		}
		if (r < 0)
			return error_context(err, r, "put back the entries of map '%s'", map->name);
	}
	return 0;
}

int apply_pin(struct apply *apply, struct error *err)
{
	struct kernel_object *object = apply->object;
	int r = kernel_pins_add_instance(apply->pins, apply->id, err);

	core_step("load.directory");
	for (size_t i = 0; r >= 0 && i < object->n_programs; i++) {
		const struct kernel_pin pin = { .instance = apply->id,
						.kind = KERNEL_PIN_PROGRAM,
						.ordinal = object->programs[i].ordinal,
						.generation = apply->generation };

		if (object->programs[i].fd >= 0)
			r = kernel_pin(apply->pins, &pin, object->programs[i].fd, err);
	}
	core_step("load.programs_pinned");
	for (size_t i = 0; r >= 0 && i < object->n_maps; i++) {
		const struct kernel_pin pin = { .instance = apply->id,
						.kind = KERNEL_PIN_MAP,
						.ordinal = object->maps[i].ordinal,
						.generation = apply->generation };

		r = kernel_pin(apply->pins, &pin, object->maps[i].fd, err);
	}
	core_step("load.maps_pinned");
	return r;
}

/* A lease has no pins to open maps read-only from, so its read-only fds are made now. */
static int open_readonly(struct apply *apply, struct error *err)
{
	struct kernel_object *object = apply->object;
	int r = 0;

	apply->readonly_fds = malloc((object->n_maps + 1) * sizeof(int));
	if (apply->readonly_fds == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "hold a lease");
	for (size_t i = 0; i < object->n_maps; i++)
		apply->readonly_fds[i] = -1;
	for (size_t i = 0; r >= 0 && i < object->n_maps; i++) {
		r = kernel_reopen_map(apply->pins, object->maps[i].fd, BPF_F_RDONLY,
				      &apply->readonly_fds[i], err);
	}
	return r;
}

/* The map that a hook needs; -1: none, or there is none of that name. */
static int map_of(const struct apply *apply, const struct hook *hook)
{
	bool optional;
	const char *name = kernel_hook_map(hook, &optional);

	for (size_t i = 0; name != NULL && i < apply->object->n_maps; i++) {
		if (strcmp(apply->object->maps[i].name, name) == 0)
			return apply->object->maps[i].fd;
	}
	return -1;
}

static struct kernel_attach attach_of(const struct apply *apply, const struct apply_link *link)
{
	const struct kernel_program *program = &apply->object->programs[link->program];

	return (struct kernel_attach){
		.context = apply->kernel,
		.hook = link->hook,
		.link = link->id,
		.program_fd = program->fd,
		.program_id = program->id,
		.target_fd = map_of(apply, link->hook),
		.resolved = link->has_resolved ? &link->resolved : NULL,
		.is_again = apply->links_may_wait,
	};
}

static int attach_one(struct apply *apply, struct apply_link *link, struct error *err)
{
	const struct kernel_program *program = &apply->object->programs[link->program];
	const struct kernel_pin pin = { .instance = apply->id,
					.kind = KERNEL_PIN_LINK,
					.link = link->id };
	const struct kernel_attach attach = attach_of(apply, link);
	int r;

	if (program->fd < 0)
		return error_raise(err, ERROR_KERNEL_UNSUPPORTED, "program '%s' is not loaded: %s",
				   program->name, program->skipped_reason);
	r = kernel_hook_check(link->hook, program->type, err);
	if (r >= 0)
		r = kernel_attach(&attach, &link->link, err);
	if (r < 0)
		return r;
	core_step("load.attached");
	if (!apply->lease && link->link.form == KERNEL_LINK_FD) {
		r = kernel_pin(apply->pins, &pin, link->link.fd, err);
		core_step("load.link_pinned");
	}
	return r;
}

/* Default hooks of programs that this kernel does without are dropped from the plan. */
static void drop_needless_links(struct apply *apply)
{
	size_t n = 0;

	for (size_t i = 0; i < apply->n_links; i++) {
		struct apply_link *link = &apply->links[i];

		if (link->by_default && apply->object->programs[link->program].fd < 0)
			hook_free(link->hook);
		else
			apply->links[n++] = *link;
	}
	apply->n_links = n;
}

static int attach_all(struct apply *apply, struct error *err)
{
	drop_needless_links(apply);
	for (size_t i = 0; i < apply->n_links; i++) {
		struct apply_link *link = &apply->links[i];
		struct error cause = { 0 };
		int r = attach_one(apply, link, &cause);

		if (r >= 0)
			continue;
		(void)error_context(&cause, r, "attach '%s' to %.200s",
				    apply->object->programs[link->program].name,
				    hook_text(link->hook));
		if (!apply->links_may_wait) {
			*err = cause;
			return r;
		}
		link->err = malloc(sizeof(*link->err));
		if (link->err == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "note a failure");
		*link->err = cause;
	}
	return 0;
}

void apply_undo(struct apply *apply)
{
	struct error ignored = { 0 };
	int r = 0;

	if (apply->object == NULL)
		return;
	for (size_t i = 0; i < apply->n_links; i++) {
		struct apply_link *link = &apply->links[i];
		const struct kernel_pin pin = { .instance = apply->id,
						.kind = KERNEL_PIN_LINK,
						.link = link->id };
		const struct kernel_attach attach = attach_of(apply, link);

		if (link->link.fd < 0 && link->link.form == KERNEL_LINK_FD)
			continue;
		if (!apply->lease)
			r = kernel_unpin(apply->pins, &pin, &ignored);
		r = kernel_detach(&attach, &link->link, &ignored);
	}
	if (!apply->lease)
		r = kernel_pins_remove_instance(apply->pins, apply->id, &ignored);
	/* What could not be undone is a pin without a row: shown as an orphan, removed by gc. */
	(void)r;
	kernel_object_free(apply->object);
	apply->object = NULL;
}

int apply_load(struct apply *apply, struct error *err)
{
	const struct kernel_load_options options = {
		.bundle = apply->bundle->bundle,
		.parameters = apply->parameters,
		.n_parameters = apply->n_parameters,
		.chooser = apply->chooser,
		.rejection_log = &apply->rejection_log,
	};
	int r = kernel_load(&options, &apply->object, err);

	if (r >= 0) {
		r = budget_check_memory(apply->object, apply->max_memory_bytes,
					apply->validate_only ? &apply->memory_bytes : NULL, err);
		if (r < 0)
			kernel_object_free(apply->object);
	}
	if (r < 0)
		apply->object = NULL;
	else if (!apply->validate_only)
		core_step("load.loaded");
	return r;
}

void apply_run(struct apply *apply)
{
	struct error *err = &apply->err;
	int r = apply_load(apply, err);

	if (r < 0 || apply->validate_only)
		return;
	r = put_back_entries(apply, err);
	if (r >= 0)
		r = apply->lease ? open_readonly(apply, err) : apply_pin(apply, err);
	if (r >= 0)
		r = attach_all(apply, err);
	if (r < 0)
		apply_undo(apply);
}

/* ---- rows */

static int pack_spec(struct arena *arena, const ProtobufCMessage *message, struct store_bytes *ret,
		     struct error *err)
{
	uint8_t *bytes;
	size_t n;
	int r = arena_pack(arena, message, &bytes, &n, err);

	if (r >= 0)
		*ret = (struct store_bytes){ bytes, n };
	return r;
}

static int store_programs(struct apply *apply, struct arena *arena, struct store_tx *tx,
			  struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = apply->bundle->bundle->manifest;

	for (size_t i = 0; i < apply->object->n_programs; i++) {
		const struct kernel_program *program = &apply->object->programs[i];
		const Bpfleet__V1__ProgramSpec *spec = manifest->programs[program->ordinal];
		struct store_program row = {
			.instance = apply->id,
			.name = program->name,
			.ordinal = program->ordinal,
			.object = spec->object,
			.type = spec->type,
			.kernel_id = program->id,
			.verified_insns = program->verified_insns,
			.skipped_reason = program->skipped_reason,
		};
		int r = pack_spec(arena, &spec->base, &row.spec, err);

		if (r >= 0 && program->verifier.processed_insns > 0)
			r = pack_spec(arena, &program->verifier.base, &row.verifier, err);
		memcpy(row.tag, program->tag, sizeof(row.tag));
		if (r >= 0)
			r = store_program_put(tx, &row, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int store_maps(struct apply *apply, struct arena *arena, struct store_tx *tx,
		      struct error *err)
{
	const Bpfleet__V1__Manifest *manifest = apply->bundle->bundle->manifest;

	for (size_t i = 0; i < apply->object->n_maps; i++) {
		const struct kernel_map *map = &apply->object->maps[i];
		const Bpfleet__V1__MapSpec *spec = manifest->maps[map->ordinal];
		Bpfleet__State__MapRecord record = BPFLEET__STATE__MAP_RECORD__INIT;
		struct store_map row = {
			.instance = apply->id,
			.name = map->name,
			.ordinal = map->ordinal,
			.object = spec->object,
			.type = spec->type,
			.key_size = map->key_size,
			.value_size = map->value_size,
			.max_entries = map->max_entries,
			.flags = map->flags,
			.access = (uint32_t)map->access,
			.contents = (uint32_t)spec->contents,
			.kernel_id = map->id,
			.frozen = map->frozen,
			.key_type_id = map->key_type_id,
			.value_type_id = map->value_type_id,
			.event_type_id = map->event_type_id,
		};
		int r;

		record.spec = manifest->maps[map->ordinal];
		if (map->counter_map != UINT32_MAX) {
			record.counter_map = apply->object->maps[map->counter_map].name;
			record.counter_offset = map->counter_offset;
		}
		record.inner_key_type_id = map->inner_key_type_id;
		record.inner_value_type_id = map->inner_value_type_id;
		record.metrics = arena_alloc(arena, manifest->n_metrics * sizeof(*record.metrics));
		if (record.metrics == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "record a map");
		for (size_t m = 0; m < manifest->n_metrics; m++) {
			if (strcmp(manifest->metrics[m]->map, map->name) == 0)
				record.metrics[record.n_metrics++] = manifest->metrics[m];
		}
		r = pack_spec(arena, &record.base, &row.spec, err);
		if (r >= 0)
			r = store_map_put(tx, &row, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int apply_store_parts(struct apply *apply, struct store_tx *tx, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)8 << 20);
	int r = 0;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "record an instance");
	for (size_t i = 0; i < apply->object->n_btfs && r >= 0; i++) {
		const struct kernel_btf *btf = &apply->object->btfs[i];

		if (btf->bytes != NULL)
			r = store_btf_put(tx, apply->bundle->digest.bytes, btf->object, btf->bytes,
					  btf->size, err);
	}
	if (r >= 0)
		r = store_programs(apply, arena, tx, err);
	if (r >= 0)
		r = store_maps(apply, arena, tx, err);
	return r;
}

int apply_link_row(const struct apply_link *link, const char *instance, const char *program,
		   struct arena *arena, struct store_link *ret, struct error *err)
{
	const char *target = hook_target(link->hook);
	Bpfleet__V1__Hook *message;
	struct store_link row = {
		.id = link->id,
		.instance = instance,
		.program = program,
		.hook_kind = hook_kind_info(hook_kind(link->hook))->name,
		.hook = hook_text(link->hook),
		.target = { target, hook_selector(link->hook) != NULL ? 0 : strlen(target) },
		.state = LINK_ATTACHED,
		.reason = "",
		.kernel_id = link->link.id,
		.attached_at_ns = clock_realtime_ns(),
		.selected_by = "",
		.places = { link->resolved.places,
			    link->resolved.n_places * sizeof(struct kernel_place) },
		.resolved_offset = link->resolved.offset,
		.resolved_dev = link->resolved.dev,
		.resolved_inode = link->resolved.inode,
	};
	int r = hook_to_message(link->hook, arena, &message, err);

	if (r >= 0)
		r = pack_spec(arena, &message->base, &row.spec, err);
	if (r < 0)
		return r;
	if (link->err != NULL) {
		char *reason =
			arena_printf(arena, "%s: %.400s", error_info(link->err->code)->reason,
				     link->err->message);

		row.state = LINK_PENDING_TARGET;
		row.attached_at_ns = 0;
		row.reason = reason;
	}
	*ret = row;
	return 0;
}
