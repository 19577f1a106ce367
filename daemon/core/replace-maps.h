/* The maps of a Replace: which the two versions share, and which are filled from the old ones. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bpfleet/v1/bundle.pb-c.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/core/core.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/migrate.h"
#include "store/instances.h"

struct arena;
struct btf;

/* A map of the old version, and what becomes of it. */
struct replace_map {
	const struct store_map *row; /* in replace_maps.rows */
	const Bpfleet__V1__MapSpec *spec;
	const struct btf *btf;		 /* NULL: none */
	int fd;				 /* of the old map, while the worker runs */
	bool reset;			 /* as the caller wishes */
	bool records_agree;		 /* of events; with KEPT */
	Bpfleet__V1__MapOutcome outcome; /* REMOVED until the new object names it */
	struct map_plan *plan;
	struct kernel_migration *migration;
	struct kernel_migrate_result result;
};

struct replace_maps {
	struct kernel_map_chooser chooser; /* first: it is found by it */
	struct replace_map *maps;
	size_t n_maps;
	struct store_map *rows;
	struct arena *arena;
	struct btf **btfs; /* one for each object of the old version, by the first map of it */
	uint32_t n_cpus;
};

/*
 * Reads what the old version has, and its types. resets: names of maps that start empty. Release
 * with replace_maps_done(), also after an error. Errors: REPLACE_REFUSED (no map of such a name),
 * those of the store.
 */
_must_check_ int replace_maps_init(struct core *core, const struct store_instance *instance,
				   char *const *resets, size_t n_resets, struct replace_maps *ret,
				   struct error *err);
void replace_maps_done(struct replace_maps *maps);
/*
 * Whether front may hold a map of now's version, or know its records, that is another one in the
 * version before, which is kept for a Rollback. Errors: those of the store.
 */
_must_check_ int replace_maps_rolled_back(struct core *core, const struct store_instance *instance,
					  bool *ret_changed, struct error *err);

/* On a worker, in this order: the old maps' fds; copies; what was written meanwhile. */
_must_check_ int replace_maps_open(struct replace_maps *maps, struct kernel_pins *pins,
				   const char *instance, uint32_t generation, struct error *err);
_must_check_ int replace_maps_begin(struct replace_maps *maps, const struct kernel_object *object,
				    struct error *err);
/* Merges, and freezes what the manifest wants frozen. */
_must_check_ int replace_maps_finish(struct replace_maps *maps, struct kernel_object *object,
				     struct error *err);

/* Whether some map of the old version that front may hold is not in the new one as it was, or its
 * records are not. */
bool replace_maps_changed(const struct replace_maps *maps);
/* Parts the maps that are not shared, and converts durable entries, between the switch and the
 * sweep of store_version_switch(). */
_must_check_ int replace_maps_record(struct core *core, const struct replace_maps *maps,
				     const char *instance, struct store_tx *tx, struct error *err);
/* What was done, for the answer; object NULL: only what the old version has. */
_must_check_ int replace_maps_tell(const struct replace_maps *maps,
				   const Bpfleet__V1__Manifest *manifest, struct arena *arena,
				   Bpfleet__V1__ReplaceResponse *response, struct error *err);
