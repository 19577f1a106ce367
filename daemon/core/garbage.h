/* Orphans: pins of ours that no row speaks of and no change under way is about to name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/core/core.h"

struct garbage {
	struct kernel_pin_entry *entries;
	char (*paths)[160]; /* "UUID/INSTANCE/p_0" */
	size_t n_paths;
};

_must_check_ int garbage_find(struct core *core, struct garbage *ret, struct error *err);
/* How many, as of at most a second ago. */
_must_check_ int garbage_count(struct core *core, uint32_t *ret, struct error *err);
/* Unpins what was found. Names that we never make are listed and left alone. */
_must_check_ int garbage_remove(struct core *core, const struct garbage *garbage,
				struct error *err);
void garbage_done(struct garbage *garbage);
