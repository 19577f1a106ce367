#include "bundle/build/upgrade.h"

#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bundle/build/infer.h"
#include "bundle/name.h"
#include "bundle/upgrade/map-plan.h"

/* A bundle and its objects, opened. */
struct opened {
	const Bpfleet__V1__Bundle *bundle;
	struct infer_object *objects;
};

static void opened_done(struct opened *opened)
{
	for (size_t i = 0; opened->objects != NULL && i < opened->bundle->n_objects; i++)
		bpf_object__close(opened->objects[i].bpf);
	free(opened->objects);
}

static int open_bundle(const Bpfleet__V1__Bundle *bundle, struct opened *ret, struct error *err)
{
	int r = 0;

	*ret = (struct opened){ bundle, calloc(bundle->n_objects + 1, sizeof(*ret->objects)) };
	if (ret->objects == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "compare bundles");
	for (size_t i = 0; r == 0 && i < bundle->n_objects; i++) {
		(void)snprintf(ret->objects[i].name, sizeof(ret->objects[i].name), "%s",
			       bundle->objects[i]->name);
		ret->objects[i].elf = bundle->objects[i]->elf.data;
		ret->objects[i].size = bundle->objects[i]->elf.len;
		r = infer_open(&ret->objects[i], err);
	}
	return r;
}

static const Bpfleet__V1__MapSpec *find_spec(const Bpfleet__V1__Bundle *bundle, const char *name)
{
	for (size_t i = 0; i < bundle->manifest->n_maps; i++) {
		if (strcmp(bundle->manifest->maps[i]->name, name) == 0)
			return bundle->manifest->maps[i];
	}
	return NULL;
}

static struct map_side side_of(const struct opened *opened, const Bpfleet__V1__MapSpec *spec)
{
	struct map_side side = { .spec = spec };

	for (size_t i = 0; i < opened->bundle->n_objects; i++) {
		const struct bpf_object *object = opened->objects[i].bpf;
		const struct bpf_map *map;

		if (strcmp(opened->objects[i].name, spec->object) != 0)
			continue;
		side.btf = bpf_object__btf(object);
		bpf_object__for_each_map(map, object)
		{
			const char *name = bpf_map__name(map);

			if (strcmp(bpf_map__is_internal(map) ? name_map_from_libbpf(name) : name,
				   spec->name) != 0)
				continue;
			side.key_type_id = bpf_map__btf_key_type_id(map);
			side.value_type_id = bpf_map__btf_value_type_id(map);
		}
	}
	return side;
}

static int add(struct bundle_upgrades *upgrades, const char *map, const char *outcome,
	       const char *difference, struct error *err)
{
	struct bundle_upgrade *upgrade = &upgrades->maps[upgrades->n_maps];

	*upgrade = (struct bundle_upgrade){ map, outcome, strdup(difference) };
	if (upgrade->difference == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "compare bundles");
	upgrades->n_maps++;
	return 0;
}

static int compare(struct bundle_upgrades *upgrades, const struct opened *from,
		   const struct opened *to, const Bpfleet__V1__MapSpec *old_spec,
		   const Bpfleet__V1__MapSpec *new_spec, struct error *err)
{
	static const char *const outcomes[] = {
		[MAP_KEEP] = "kept",
		[MAP_RESET] = "reset",
		[MAP_MIGRATE] = "migrated",
		[MAP_REFUSE] = "refused",
	};
	const struct map_side old_side = side_of(from, old_spec), new_side = side_of(to, new_spec);
	_cleanup_(map_plan_freep) struct map_plan *plan = NULL;
	int r = map_plan_new(&old_side, &new_side, &plan, err);

	return r < 0 ? r
		     : add(upgrades, new_spec->name, outcomes[plan->verdict], plan->difference,
			   err);
}

int bundle_upgrades_new(const Bpfleet__V1__Bundle *old_bundle,
			const Bpfleet__V1__Bundle *new_bundle, struct bundle_upgrades **ret,
			struct error *err)
{
	_cleanup_(bundle_upgrades_freep) struct bundle_upgrades *upgrades =
		calloc(1, sizeof(*upgrades));
	const Bpfleet__V1__Manifest *before = old_bundle->manifest, *after = new_bundle->manifest;
	_cleanup_(opened_done) struct opened from = { 0 };
	_cleanup_(opened_done) struct opened to = { 0 };
	int r;

	if (upgrades != NULL)
		upgrades->maps =
			calloc(before->n_maps + after->n_maps + 1, sizeof(*upgrades->maps));
	if (upgrades == NULL || upgrades->maps == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "compare bundles");
	r = open_bundle(old_bundle, &from, err);
	if (r == 0)
		r = open_bundle(new_bundle, &to, err);
	for (size_t i = 0; r == 0 && i < after->n_maps; i++) {
		const Bpfleet__V1__MapSpec *old = find_spec(old_bundle, after->maps[i]->name);

		r = old == NULL ? add(upgrades, after->maps[i]->name, "added", "", err)
				: compare(upgrades, &from, &to, old, after->maps[i], err);
	}
	for (size_t i = 0; r == 0 && i < before->n_maps; i++) {
		if (find_spec(new_bundle, before->maps[i]->name) == NULL)
			r = add(upgrades, before->maps[i]->name, "removed", "", err);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(upgrades);
	return 0;
}

void bundle_upgrades_free(struct bundle_upgrades *upgrades)
{
	if (upgrades == NULL)
		return;
	for (size_t i = 0; i < upgrades->n_maps; i++)
		free(upgrades->maps[i].difference);
	free(upgrades->maps);
	free(upgrades);
}
