/*
 * Bringing a verified bundle into the kernel, and taking it out again: the kernel half of Load,
 * re-apply and their undoing, as jobs that run on a worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook.h"
#include "bundle/name.h"
#include "daemon/core/core.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/trusted.h"
#include "store/instances.h"

struct kernel_pins;

/* One link of the instance. */
struct apply_link {
	char id[NAME_ID_LEN + 1];
	uint32_t program; /* ordinal */
	struct hook *hook;
	struct kernel_resolved resolved;
	bool has_resolved;
	void *places;	 /* owned: what resolved points to; NULL: somebody else's */
	bool by_default; /* a default hook: none, if its program is left out on this kernel */
	struct kernel_link link; /* KERNEL_LINK_NONE: not attached */
	struct error *err;	 /* why not, where that is no failure of the whole */
};

/* Entries of a durable map, to be put back before any link is attached. */
struct apply_entries {
	uint32_t map; /* ordinal */
	struct store_entry *rows;
	size_t n_rows;
	void *block; /* what the rows live in */
};

struct apply {
	struct job job;
	struct core *core; /* for the main thread alone */
	struct kernel_pins *pins;
	const struct kernel_context *kernel;
	struct trusted_bundle *bundle;
	char id[NAME_ID_LEN + 1];
	struct kernel_parameter *parameters; /* block of its own, strings included */
	size_t n_parameters;
	uint32_t generation; /* that it is pinned under */
	bool validate_only;
	uint64_t max_memory_bytes; /* 0: no bound */
	bool lease;		   /* nothing stays pinned */
	bool links_may_wait; /* re-apply: a link whose target is missing does not fail the whole */
	struct apply_link *links;
	size_t n_links;
	struct apply_entries *entries;
	size_t n_entries;
	struct kernel_map_chooser *chooser; /* NULL: every map is new */

	/* Filled by the work. */
	struct kernel_object *object; /* NULL: failed, and undone */
	uint64_t memory_bytes;	      /* validate_only: what the kernel charges for it */
	int *readonly_fds;	      /* lease: one for each map, -1 where the type has none */
	struct str rejection_log;
	struct error err;
};

/* New and zeroed but for fds and links; free with apply_free(), which closes but undoes nothing. */
struct apply *apply_new(struct core *core, struct trusted_bundle *bundle, const char *id);
void apply_free(struct apply *apply);
DEFINE_CLEANUP(struct apply, apply_free)

/* Copies. Errors: OUT_OF_MEMORY. */
_must_check_ int apply_set_parameters(struct apply *apply, size_t n, char **names, char **values,
				      struct error *err);
/* Adds a link; takes the hook. id NULL: a fresh one. Errors: OUT_OF_MEMORY, INTERNAL. */
_must_check_ int apply_add_link(struct apply *apply, const char *id, uint32_t program,
				struct hook *hook, struct error *err);

/* On a worker: loads, fills durable maps, pins, attaches; undoes all of it on an error. */
void apply_run(struct apply *apply);
/* The parts of it that Replace needs: into the kernel, apply->object is NULL after an error; and
 * pins for all of it, which stay after an error. */
_must_check_ int apply_load(struct apply *apply, struct error *err);
_must_check_ int apply_pin(struct apply *apply, struct error *err);
/* On a worker: detaches and unpins what apply_run() made. */
void apply_undo(struct apply *apply);

/* The ordinal of a program of the manifest. Errors: NOT_FOUND. */
_must_check_ int apply_find_program(const Bpfleet__V1__Manifest *manifest, const char *name,
				    uint32_t *ret, struct error *err);

/* Writes programs, maps and BTF of a loaded instance, in the caller's transaction. */
_must_check_ int apply_store_parts(struct apply *apply, struct store_tx *tx, struct error *err);
/* The row of one link as it is now. arena holds what the row points to. */
_must_check_ int apply_link_row(const struct apply_link *link, const char *instance,
				const char *program, struct arena *arena, struct store_link *ret,
				struct error *err);
