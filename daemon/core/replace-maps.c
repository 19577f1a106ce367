#include "daemon/core/replace-maps.h"

#include <bpf/btf.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bundle/upgrade/map-plan.h"
#include "daemon/core/convert.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/kernel/migrate.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/state.pb-c.h"
#include "proto/arena.h"
#include "store/bundles.h"

#define ROWS_MAX 65536

static int choose(struct kernel_map_chooser *chooser, const Bpfleet__V1__MapSpec *spec,
		  const struct btf *btf, uint32_t key_type_id, uint32_t value_type_id,
		  struct kernel_map_choice *ret, struct error *err)
{
	struct replace_maps *maps = (struct replace_maps *)(void *)chooser;
	const struct map_side new_side = { spec, btf, key_type_id, value_type_id };
	struct map_side old_side;
	struct replace_map *map = maps->maps;
	enum map_verdict verdict;
	int r = 0;

	while (map < maps->maps + maps->n_maps && strcmp(map->spec->name, spec->name) != 0)
		map++;
	*ret = (struct kernel_map_choice){ .fd = -1 };
	if (map == maps->maps + maps->n_maps)
		return 0;
	old_side = (struct map_side){ map->spec, map->btf, map->row->key_type_id,
				      map->row->value_type_id };
	if (map->plan == NULL)
		r = map_plan_new(&old_side, &new_side, &map->plan, err);
	if (r < 0)
		return r;
	verdict = map->reset ? MAP_RESET : map->plan->verdict;
	if (verdict == MAP_REFUSE)
		return error_raise(
			err, ERROR_REPLACE_REFUSED,
			"map '%s' cannot be %s: %.600s; let its manifest say `upgrade: %s`, or "
			"reset it in this call",
			spec->name, map_wants_migration(spec) ? "converted" : "kept",
			map->plan->difference,
			map_wants_migration(spec) ? "reset" : "migrate` or `reset");
	if (verdict == MAP_KEEP) {
		r = map_records_agree(&old_side, &new_side, &map->records_agree, err);
		if (r < 0)
			return r;
		map->outcome = BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_KEPT;
		ret->fd = map->fd;
		ret->frozen = map->row->frozen;
	} else if (verdict == MAP_MIGRATE) {
		map->outcome = BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_MIGRATED;
		ret->filled_later = true;
	} else {
		map->outcome = BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_RESET;
	}
	return 0;
}

/* The types of a map's object, parsed once for all its maps. */
static int find_btf(struct core *core, const uint8_t *digest, struct replace_maps *maps, size_t i,
		    struct error *err)
{
	_cleanup_free_ struct store_bytes *bytes = NULL;
	struct error missing = { 0 };
	int r;

	for (size_t k = 0; k < i; k++) {
		if (strcmp(maps->rows[k].object, maps->rows[i].object) == 0) {
			maps->maps[i].btf = maps->maps[k].btf;
			return 0;
		}
	}
	r = store_btf_get(core->store, digest, maps->rows[i].object, &bytes, &missing);
	if (r < 0) {
		if (missing.code == ERROR_NOT_FOUND)
			return 0;
		*err = missing;
		return r;
	}
	maps->btfs[i] = btf__new(bytes->data, (uint32_t)bytes->size);
	if (maps->btfs[i] == NULL)
		return error_raise(err, ERROR_STORE_CORRUPT, "the types of object '%s' are damaged",
				   maps->rows[i].object);
	maps->maps[i].btf = maps->btfs[i];
	return 0;
}

static int wish_reset(struct replace_maps *maps, const char *name, struct error *err)
{
	for (size_t i = 0; i < maps->n_maps; i++) {
		if (strcmp(maps->maps[i].spec->name, name) == 0) {
			maps->maps[i].reset = true;
			return 0;
		}
	}
	return error_raise(err, ERROR_REPLACE_REFUSED, "there is no map '%s' to be reset", name);
}

/* What is to be known of n rows of a version, which become those of maps. */
static int describe(struct core *core, const uint8_t *digest, size_t n, struct replace_maps *maps,
		    struct error *err)
{
	int r = 0;

	maps->arena = arena_new((size_t)16 << 20);
	maps->maps = calloc(n + 1, sizeof(*maps->maps));
	maps->btfs = calloc(n + 1, sizeof(struct btf *));
	if (maps->maps == NULL || maps->btfs == NULL || maps->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan the maps");
	maps->n_maps = n;
	for (size_t i = 0; i < n; i++) {
		maps->maps[i] = (struct replace_map){
			.row = &maps->rows[i],
			.fd = -1,
			.outcome = BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_REMOVED,
		};
	}
	for (size_t i = 0; r >= 0 && i < n; i++) {
		ProtobufCMessage *record;

		r = arena_unpack(maps->arena, &bpfleet__state__map_record__descriptor,
				 maps->rows[i].spec.data, maps->rows[i].spec.size, &record, err);
		if (r >= 0) {
			maps->maps[i].spec = ((const Bpfleet__State__MapRecord *)record)->spec;
			r = find_btf(core, digest, maps, i, err);
		}
	}
	return r;
}

int replace_maps_init(struct core *core, const struct store_instance *instance, char *const *resets,
		      size_t n_resets, struct replace_maps *ret, struct error *err)
{
	size_t n = 0;
	int r;

	*ret = (struct replace_maps){ .chooser = { choose }, .n_cpus = core->n_cpus };
	r = store_map_list(core->store, instance->id, NULL, ROWS_MAX, &ret->rows, &n, err);
	if (r >= 0)
		r = describe(core, instance->digest, n, ret, err);
	for (size_t i = 0; r >= 0 && i < n_resets; i++)
		r = wish_reset(ret, resets[i], err);
	return r;
}

static void close_maps(struct replace_maps *maps)
{
	for (size_t i = 0; i < maps->n_maps; i++) {
		kernel_migration_free(maps->maps[i].migration);
		maps->maps[i].migration = NULL;
		if (maps->maps[i].fd >= 0)
			(void)close(maps->maps[i].fd);
		maps->maps[i].fd = -1;
	}
}

void replace_maps_done(struct replace_maps *maps)
{
	close_maps(maps);
	for (size_t i = 0; i < maps->n_maps; i++) {
		map_plan_free(maps->maps[i].plan);
		btf__free(maps->btfs[i]);
	}
	free(maps->maps);
	free(maps->btfs);
	free(maps->rows);
	arena_free(maps->arena);
	*maps = (struct replace_maps){ 0 };
}

/* ---- on a worker */

int replace_maps_open(struct replace_maps *maps, struct kernel_pins *pins, const char *instance,
		      uint32_t generation, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < maps->n_maps; i++) {
		const struct kernel_pin pin = { .instance = instance,
						.kind = KERNEL_PIN_MAP,
						.ordinal = maps->rows[i].ordinal,
						.generation = generation };

		if (maps->rows[i].kernel_id != 0)
			r = kernel_pin_open(pins, &pin, false, &maps->maps[i].fd, err);
	}
	return r;
}

static struct kernel_map *new_map(const struct kernel_object *object, const char *name)
{
	for (size_t i = 0; i < object->n_maps; i++) {
		if (strcmp(object->maps[i].name, name) == 0)
			return &object->maps[i];
	}
	return NULL;
}

int replace_maps_begin(struct replace_maps *maps, const struct kernel_object *object,
		       struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < maps->n_maps; i++) {
		struct replace_map *map = &maps->maps[i];
		const struct kernel_map *into;
		struct kernel_migrate_options options;

		if (map->outcome != BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_MIGRATED)
			continue;
		into = new_map(object, map->spec->name);
		options = (struct kernel_migrate_options){
			.name = map->spec->name,
			.plan = map->plan,
			.old_fd = map->fd,
			.new_fd = into->fd,
			.n_possible_cpus = maps->n_cpus,
		};
		r = kernel_migrate_begin(&options, &map->migration, err);
	}
	return r;
}

int replace_maps_finish(struct replace_maps *maps, struct kernel_object *object, struct error *err)
{
	struct error unfit = { 0 };
	bool settled = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < maps->n_maps; i++) {
		struct replace_map *map = &maps->maps[i];

		if (map->migration == NULL)
			continue;
		if (!settled)
			r = kernel_migrate_settle(err);
		settled = true;
		if (r >= 0)
			r = kernel_migrate_finish(map->migration, &map->result, err);
	}
	for (size_t i = 0; r >= 0 && i < object->n_maps; i++) {
		struct kernel_map *map = &object->maps[i];

		/* A type that cannot be frozen is left as a load leaves it. */
		if (map->filled_later && map->access == BPFLEET__V1__ACCESS__ACCESS_READ)
			map->frozen = kernel_map_freeze(map->fd, map->type, &unfit) == 0;
	}
	close_maps(maps);
	return r;
}

/* ---- the outcome */

/* Whether front may hold a map: not constants that nobody reads, which each version has for itself.
 */
static bool is_held(const Bpfleet__V1__MapSpec *spec)
{
	return spec->access != BPFLEET__V1__ACCESS__ACCESS_PRIVATE ||
	       strncmp(spec->name, ".rodata", 7) != 0;
}

bool replace_maps_changed(const struct replace_maps *maps)
{
	for (size_t i = 0; i < maps->n_maps; i++) {
		const struct replace_map *map = &maps->maps[i];

		if ((map->outcome != BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_KEPT ||
		     !map->records_agree) &&
		    is_held(map->spec))
			return true;
	}
	return false;
}

/* Whether a map is one of the others, with the same records. */
static int find_same(const struct replace_map *map, const struct replace_maps *others, bool *ret,
		     struct error *err)
{
	const struct map_side side = { .spec = map->spec, .btf = map->btf };

	*ret = false;
	for (size_t i = 0; i < others->n_maps; i++) {
		const struct map_side other = { .spec = others->maps[i].spec,
						.btf = others->maps[i].btf };

		if (others->rows[i].kernel_id == map->row->kernel_id)
			return map_records_agree(&side, &other, ret, err);
	}
	return 0;
}

int replace_maps_rolled_back(struct core *core, const struct store_instance *instance,
			     bool *ret_changed, struct error *err)
{
	_cleanup_(replace_maps_done) struct replace_maps now = { 0 }, before = { 0 };
	bool same, changed = false;
	size_t n = 0;
	int r = replace_maps_init(core, instance, NULL, 0, &now, err);

	if (r >= 0)
		r = store_previous_map_list(core->store, instance->id, ROWS_MAX, &before.rows, &n,
					    err);
	if (r >= 0)
		r = describe(core, instance->previous_digest, n, &before, err);
	for (size_t i = 0; r >= 0 && i < now.n_maps && !changed; i++) {
		r = find_same(&now.maps[i], &before, &same, err);
		changed = r >= 0 && !same && is_held(now.maps[i].spec);
	}
	if (r >= 0)
		*ret_changed = changed;
	return r;
}

/* The rows of a durable map that was migrated, as the new version has them. */
static int convert_entries(const struct replace_map *map, const char *instance,
			   const struct store_entry *entries, size_t n, struct store_tx *tx,
			   struct error *err)
{
	_cleanup_free_ uint8_t *value = calloc(1, map->plan->new_value_size);
	int r = 0;

	if (value == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "convert durable entries");
	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (entries[i].value.size != map->plan->old_value_size)
			return error_raise(err, ERROR_STORE_CORRUPT,
					   "an entry of map '%s' has %zu bytes", map->spec->name,
					   entries[i].value.size);
		map_plan_convert(map->plan, entries[i].value.data, value);
		r = store_entry_put(tx, instance, map->spec->name, entries[i].key.data,
				    entries[i].key.size, value, map->plan->new_value_size, err);
	}
	return r;
}

int replace_maps_record(struct core *core, const struct replace_maps *maps, const char *instance,
			struct store_tx *tx, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < maps->n_maps; i++) {
		const struct replace_map *map = &maps->maps[i];
		_cleanup_free_ struct store_entry *entries = NULL;
		size_t n = 0;

		if (map->outcome == BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_KEPT)
			continue;
		if (map->outcome == BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_MIGRATED &&
		    map->row->contents == BPFLEET__V1__CONTENTS__CONTENTS_DURABLE)
			r = store_entry_list(core->store, instance, map->spec->name, NULL,
					     SIZE_MAX >> 1, &entries, &n, err);
		if (r >= 0)
			r = store_version_part_map(tx, instance, map->spec->name, err);
		if (r >= 0 && n > 0)
			r = convert_entries(map, instance, entries, n, tx, err);
	}
	return r;
}

static Bpfleet__V1__MapReplacement *add(struct arena *arena, Bpfleet__V1__ReplaceResponse *response,
					const char *name, Bpfleet__V1__MapOutcome outcome)
{
	Bpfleet__V1__MapReplacement *map = arena_alloc(arena, sizeof(*map));

	if (map == NULL)
		return NULL;
	bpfleet__v1__map_replacement__init(map);
	map->map = convert_text(arena, name);
	map->outcome = outcome;
	response->maps[response->n_maps++] = map;
	return map->map != NULL ? map : NULL;
}

int replace_maps_tell(const struct replace_maps *maps, const Bpfleet__V1__Manifest *manifest,
		      struct arena *arena, Bpfleet__V1__ReplaceResponse *response,
		      struct error *err)
{
	response->maps =
		arena_alloc(arena, (maps->n_maps + manifest->n_maps) * sizeof(*response->maps));
	for (size_t i = 0; i < maps->n_maps && response->maps != NULL; i++) {
		const struct replace_map *map = &maps->maps[i];
		Bpfleet__V1__MapReplacement *told =
			add(arena, response, map->spec->name, map->outcome);

		if (told == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell of maps");
		told->n_entries = map->result.n_entries;
		told->n_merged = map->result.n_merged;
		told->window_ns = map->result.window_ns;
		told->n_remote_cpus = map->result.n_remote_cpus;
		if (map->plan == NULL || map->plan->difference[0] == '\0')
			continue;
		told->differences = arena_alloc(arena, sizeof(char *));
		if (told->differences == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell of maps");
		told->differences[told->n_differences++] =
			convert_text(arena, map->plan->difference);
	}
	for (size_t i = 0; i < manifest->n_maps && response->maps != NULL; i++) {
		size_t k = 0;

		while (k < maps->n_maps &&
		       strcmp(maps->maps[k].spec->name, manifest->maps[i]->name) != 0)
			k++;
		if (k == maps->n_maps && add(arena, response, manifest->maps[i]->name,
					     BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_ADDED) == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell of maps");
	}
	return response->maps == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "tell of maps") : 0;
}
