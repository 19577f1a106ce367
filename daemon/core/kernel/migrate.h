/*
 * Fills a new version's map from the old version's while the programs of both write to them. Three
 * calls around the switch of the links, on a worker:
 *
 *   kernel_migrate_begin()     the new programs are loaded, none is attached: entries are copied
 *   kernel_migrate_settle()    every link has switched: no run of an old program is under way
 *   kernel_migrate_finish()    what the old programs wrote since the copy is merged
 *
 * Integers are merged inside the kernel by a generated program, with atomic instructions; in
 * per-CPU maps on the CPU that they belong to. docs/replace.md says what is exact.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bundle/upgrade/map-plan.h"

struct error;

/* Entries of one map that a migration holds in memory, keys and values; more is refused. */
#define KERNEL_MIGRATE_BYTES_MAX ((size_t)256 << 20)

/* A map whose migration has begun. One thread at a time. */
struct kernel_migration;

struct kernel_migrate_options {
	const char *name; /* of the map, for errors; borrowed for the call */
	/* MAP_MIGRATE; borrowed until the migration is freed. */
	const struct map_plan *plan;
	/* Both borrowed until the migration is freed. The new map is writable: freeze it after
	 * kernel_migrate_finish(). */
	int old_fd;
	int new_fd;
	uint32_t n_possible_cpus;
};

struct kernel_migrate_result {
	uint64_t n_entries; /* copied, those that appeared meanwhile included */
	uint64_t n_merged;  /* of these, changed by old programs after they were copied */
	uint64_t window_ns; /* from the first read of begin to the last write of finish */
	/*
	 * CPUs on which this process may not run (a cpuset) and whose values had to be merged from
	 * another: exact only if the programs write them with atomic instructions.
	 */
	uint32_t n_remote_cpus;
};

/*
 * Copies the entries of the old map, converted, into the new one, which must be empty and not yet
 * in use, and remembers them. After an error only the new map has changed. Returns a new migration,
 * freed with kernel_migration_free(). Errors: MAP_FULL (more entries than the new map takes),
 * MAP_READ_ONLY (the new map is frozen), LIMIT_EXCEEDED (KERNEL_MIGRATE_BYTES_MAX), UNAVAILABLE
 * (the map changes faster than it can be read), OUT_OF_MEMORY, KERNEL_REFUSED.
 */
_must_check_ int kernel_migrate_begin(const struct kernel_migrate_options *options,
				      struct kernel_migration **ret, struct error *err);

/*
 * Waits until every run of a program that was replaced before the call has ended (sleepable
 * programs excepted); once for any number of maps. Takes milliseconds. Errors: KERNEL_REFUSED.
 */
_must_check_ int kernel_migrate_settle(struct error *err);

/*
 * Merges into the new map what the old programs wrote since kernel_migrate_begin(). Once. Every
 * entry is tried even if one fails; after an error the new map lacks what the message names.
 * Errors: MAP_FULL (entries that appeared do not fit), and those of kernel_migrate_begin().
 */
_must_check_ int kernel_migrate_finish(struct kernel_migration *migration,
				       struct kernel_migrate_result *ret, struct error *err);

void kernel_migration_free(struct kernel_migration *migration);
DEFINE_CLEANUP(struct kernel_migration, kernel_migration_free)
