/*
 * Two versions of an instance, both pinned, and the links that go over from one to the other: what
 * Replace, Rollback and the undoing of either share. docs/replace.md says what is guaranteed.
 */
#pragma once

#include <stdint.h>

#include "bundle/name.h"
#include "daemon/core/core.h"
#include "daemon/core/links.h"
#include "store/instances.h"
#include "store/journal.h"

struct arena;

/* A link on its way. */
struct version_link {
	struct link_removal link; /* its hook and how it is attached; nothing is removed */
	char program[NAME_SYMBOL_MAX + 1];
	uint32_t from;	    /* ordinal of its program in the one version */
	uint32_t to;	    /* and in the other */
	uint32_t from_map;  /* the same of the map that its hook needs; UINT32_MAX: none */
	uint32_t to_map;    /* UINT32_MAX, too, where only the way back is known */
	uint32_t kernel_id; /* of the link after the switch; 0: not known */
};

struct version_switch {
	struct kernel_pins *pins;
	char instance[NAME_ID_LEN + 1];
	uint32_t from_generation, to_generation;
	struct version_link *links; /* in the order they were attached */
	size_t n_links;
};

/* Ordinals in the version that a link shall go to: of its program, and of the map of that name
 * (NULL: none is needed). REPLACE_REFUSED if that version lacks the program; *ret_map stays. */
typedef int (*version_ordinals_fn)(void *arg, const struct store_link *row, const struct hook *hook,
				   const char *map, uint32_t *ret_program, uint32_t *ret_map,
				   struct error *err);

/*
 * Plans the switch of every link that is attached, and asks about all of them. The generations are
 * the caller's to set. Release with version_switch_done(), also after an error. Errors: the
 * callback's, those of the store.
 */
_must_check_ int version_switch_init(struct core *core, const char *instance,
				     version_ordinals_fn ordinals, void *arg,
				     struct version_switch *ret, struct error *err);
void version_switch_done(struct version_switch *version);

/* As bytes in the arena, for the journal; and from there. */
_must_check_ int version_switch_pack(const struct version_switch *version, struct arena *arena,
				     struct store_bytes *ret, struct error *err);
_must_check_ int version_switch_unpack(struct core *core, const struct store_op *op,
				       struct version_switch *ret, struct error *err);

/*
 * On a worker: every link runs the other version's program, or after an error all run what they
 * ran. A link that runs it already is left alone. Errors: those of kernel_update().
 */
_must_check_ int version_switch_run(struct version_switch *version, struct error *err);
/* The other way round. Goes on after an error and returns the first. */
_must_check_ int version_switch_back(struct version_switch *version, struct error *err);

/* Writes the kernel's ids of links that are new ones, also after going back, in the caller's
 * transaction. */
_must_check_ int version_switch_record(struct core *core, const struct version_switch *version,
				       struct store_tx *tx, struct error *err);
