/* Entries of a map held in memory and found by key. Internal to migrate.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

/* Zero it and set the sizes; migrate_entries_done() frees. */
struct migrate_entries {
	size_t key_size;
	size_t value_bytes;
	size_t bytes_max; /* adding more is LIMIT_EXCEEDED; below 4 GiB */

	uint8_t *bytes; /* n times key, value, mark */
	size_t n, capacity;
	uint32_t *slots; /* by hash of the key: index + 1; 0: free */
	size_t n_slots;	 /* a power of two */
};

/* Adds an entry whose key is not there yet; its mark is false. Errors: LIMIT_EXCEEDED,
 * OUT_OF_MEMORY. */
_must_check_ int migrate_entries_add(struct migrate_entries *entries, const void *key,
				     const void *value, struct error *err);
/* Index of a key, SIZE_MAX if it is not there. */
size_t migrate_entries_find(const struct migrate_entries *entries, const void *key);

static inline uint8_t *migrate_entries_key(const struct migrate_entries *entries, size_t i)
{
	return entries->bytes + i * (entries->key_size + entries->value_bytes + 1);
}

static inline uint8_t *migrate_entries_value(const struct migrate_entries *entries, size_t i)
{
	return migrate_entries_key(entries, i) + entries->key_size;
}

/* A byte for the caller. */
static inline uint8_t *migrate_entries_mark(const struct migrate_entries *entries, size_t i)
{
	return migrate_entries_value(entries, i) + entries->value_bytes;
}

void migrate_entries_done(struct migrate_entries *entries);
