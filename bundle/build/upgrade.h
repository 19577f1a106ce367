/* What a Replace from one bundle to another would do with their maps, for `bpfleet bundle diff`. */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct error;

struct bundle_upgrade {
	const char *map; /* borrowed from one of the bundles */
	/* "kept", "reset", "migrated", "refused", "added", "removed" */
	const char *outcome;
	char *difference; /* why it is not kept; with "refused" what stands in the way; or empty */
};

struct bundle_upgrades {
	size_t n_maps;
	struct bundle_upgrade *maps; /* of the new bundle in its order, then those that are gone */
};

/* Asks manifests and type information alone. New; free with bundle_upgrades_free(). Errors:
 * OBJECT_MALFORMED, OUT_OF_MEMORY. */
_must_check_ int bundle_upgrades_new(const Bpfleet__V1__Bundle *old_bundle,
				     const Bpfleet__V1__Bundle *new_bundle,
				     struct bundle_upgrades **ret, struct error *err);
void bundle_upgrades_free(struct bundle_upgrades *upgrades);
DEFINE_CLEANUP(struct bundle_upgrades, bundle_upgrades_free)
