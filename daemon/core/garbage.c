#include "daemon/core/garbage.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/core/kernel/pins.h"
#include "store/instances.h"
#include "store/journal.h"

#define OPS_MAX 4096
/* The walk grows with what is pinned, and anybody may ask for the status. */
#define COUNT_NS NS_PER_SEC

/* What the entry's directory is to us; asked once for each directory. */
struct directory {
	char id[KERNEL_PIN_ID_MAX + 1];
	bool known;	/* an instance row */
	bool under_way; /* a journaled change is about it */
	bool asked;
};

static int ask(struct core *core, const struct store_op *ops, size_t n_ops, const char *id,
	       struct directory *ret, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int r;

	if (ret->asked && strcmp(ret->id, id) == 0)
		return 0;
	*ret = (struct directory){ .asked = true };
	(void)snprintf(ret->id, sizeof(ret->id), "%s", id);
	for (size_t i = 0; i < n_ops; i++)
		ret->under_way |= strcmp(ops[i].instance, id) == 0 &&
				  ops[i].started_at_ns >= core->started_at_ns;
	r = store_instance_get(core->store, id, &row, err);
	ret->known = r >= 0;
	return r < 0 && err->code != ERROR_NOT_FOUND ? r : 0;
}

/* Returns 1 for an orphan, 0 for a pin that a row speaks of. */
static int is_orphan(struct core *core, const struct kernel_pin_entry *entry,
		     const struct directory *directory, struct error *err)
{
	const struct store_position at = { entry->instance, entry->ordinal - 1 };
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	_cleanup_free_ struct store_link *link = NULL;
	size_t n = 0;
	int r = 0;

	if (directory->under_way)
		return 0;
	if (!directory->known || entry->kind == KERNEL_PIN_FOREIGN)
		return 1;
	if (entry->name[0] == '\0' || entry->kind == KERNEL_PIN_INNER)
		return 0;
	if (entry->kind == KERNEL_PIN_PROGRAM || entry->kind == KERNEL_PIN_MAP) {
		_cleanup_free_ struct store_instance *instance = NULL;

		r = store_instance_get(core->store, entry->instance, &instance, err);
		if (r < 0)
			return err->code == ERROR_NOT_FOUND ? 1 : r;
		/* The version kept for Rollback has its pins whole, or none. */
		if (entry->generation != instance->generation)
			return !instance->has_previous ||
			       entry->generation != instance->previous_generation;
	}
	if (entry->kind == KERNEL_PIN_PROGRAM)
		r = store_program_list(core->store, entry->instance,
				       entry->ordinal == 0 ? NULL : &at, 1, &program, &n, err);
	else if (entry->kind == KERNEL_PIN_MAP)
		r = store_map_list(core->store, entry->instance, entry->ordinal == 0 ? NULL : &at,
				   1, &map, &n, err);
	else
		r = store_link_get(core->store, entry->link, &link, err);
	if (r < 0)
		return err->code == ERROR_NOT_FOUND ? 1 : r;
	if (program != NULL)
		return program->ordinal != entry->ordinal;
	if (map != NULL)
		return map->ordinal != entry->ordinal;
	return link == NULL;
}

int garbage_find(struct core *core, struct garbage *ret, struct error *err)
{
	_cleanup_free_ struct store_op *ops = NULL;
	struct kernel_pin_list list = { 0 };
	struct directory directory = { .asked = false };
	struct garbage found = { 0 };
	size_t n_ops = 0;
	int r = store_op_list(core->store, 0, OPS_MAX, &ops, &n_ops, err);

	if (r >= 0)
		r = kernel_pins_list(core->pins, &list, err);
	if (r < 0)
		return r;
	found.entries = calloc(list.n_entries + 1, sizeof(*found.entries));
	found.paths = calloc(list.n_entries + 1, sizeof(*found.paths));
	if (found.entries == NULL || found.paths == NULL)
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "look for orphans");
	for (size_t i = 0; r >= 0 && i < list.n_entries; i++) {
		const struct kernel_pin_entry *entry = &list.entries[i];

		r = ask(core, ops, n_ops, entry->instance, &directory, err);
		if (r >= 0)
			r = is_orphan(core, entry, &directory, err);
		if (r <= 0)
			continue;
		found.entries[found.n_paths] = *entry;
		kernel_pin_path(core->pins, entry->instance, entry->name,
				found.paths[found.n_paths], sizeof(found.paths[0]));
		found.n_paths++;
	}
	kernel_pin_list_done(&list);
	if (r < 0)
		garbage_done(&found);
	else
		*ret = found;
	return r < 0 ? r : 0;
}

int garbage_count(struct core *core, uint32_t *ret, struct error *err)
{
	struct garbage garbage = { 0 };
	uint64_t now = clock_monotonic_ns();
	int r;

	if (core->orphans_counted_at == 0 || now - core->orphans_counted_at > COUNT_NS) {
		r = garbage_find(core, &garbage, err);
		if (r < 0)
			return r;
		core->n_orphan_pins = (uint32_t)garbage.n_paths;
		core->orphans_counted_at = now;
		garbage_done(&garbage);
	}
	*ret = core->n_orphan_pins;
	return 0;
}

int garbage_remove(struct core *core, const struct garbage *garbage, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int result = 0;

	for (size_t i = 0; i < garbage->n_paths; i++) {
		const struct kernel_pin_entry *entry = &garbage->entries[i];
		const struct kernel_pin pin = { .instance = entry->instance,
						.kind = entry->kind,
						.ordinal = entry->ordinal,
						.link = entry->link };
		int r = 0;

		if (entry->kind == KERNEL_PIN_FOREIGN)
			continue;
		if (entry->name[0] != '\0')
			r = kernel_unpin(core->pins, &pin, err);
		if (r < 0)
			result = r;
	}
	for (size_t i = 0; result >= 0 && i < garbage->n_paths; i++) {
		const char *id = garbage->entries[i].instance;
		struct error absent = { 0 };

		free(row);
		row = NULL;
		if (i > 0 && strcmp(id, garbage->entries[i - 1].instance) == 0)
			continue;
		if (store_instance_get(core->store, id, &row, &absent) < 0)
			result = kernel_pins_remove_instance(core->pins, id, err);
	}
	return result;
}

void garbage_done(struct garbage *garbage)
{
	free(garbage->entries);
	free(garbage->paths);
	*garbage = (struct garbage){ 0 };
}
