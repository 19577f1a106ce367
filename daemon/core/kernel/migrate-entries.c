#include "daemon/core/kernel/migrate-entries.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv. Keys are the host's own: no seed needed. */
static size_t slot_of(const struct migrate_entries *entries, const void *key)
{
	const uint8_t *bytes = key;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < entries->key_size; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return (size_t)(hash ^ hash >> 32) & (entries->n_slots - 1);
}

static void enter(struct migrate_entries *entries, size_t i)
{
	size_t slot = slot_of(entries, migrate_entries_key(entries, i));

	while (entries->slots[slot] != 0)
		slot = (slot + 1) & (entries->n_slots - 1);
	entries->slots[slot] = (uint32_t)i + 1;
}

static int grow(struct migrate_entries *entries, struct error *err)
{
	const size_t entry = entries->key_size + entries->value_bytes + 1;
	const size_t capacity_max = entries->bytes_max / entry;
	size_t capacity = entries->capacity * 2 + 64;
	size_t n_slots = 128;
	uint32_t *slots;
	uint8_t *bytes;

	if (entries->n >= capacity_max)
		return error_raise(err, ERROR_LIMIT_EXCEEDED,
				   "more than %zu entries of %zu bytes; a migration holds at most "
				   "%zu MiB",
				   entries->n, entry, entries->bytes_max >> 20);
	if (capacity > capacity_max)
		capacity = capacity_max;
	bytes = reallocarray(entries->bytes, capacity, entry);
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold the entries of a map");
	entries->bytes = bytes;
	while (n_slots < 2 * capacity)
		n_slots *= 2;
	slots = calloc(n_slots, sizeof(*slots));
	if (slots == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold the entries of a map");
	free(entries->slots);
	entries->slots = slots;
	entries->n_slots = n_slots;
	entries->capacity = capacity;
	for (size_t i = 0; i < entries->n; i++)
		enter(entries, i);
	return 0;
}

int migrate_entries_add(struct migrate_entries *entries, const void *key, const void *value,
			struct error *err)
{
	int r;

	if (entries->n == entries->capacity) {
		r = grow(entries, err);
		if (r < 0)
			return r;
	}
	memcpy(migrate_entries_key(entries, entries->n), key, entries->key_size);
	memcpy(migrate_entries_value(entries, entries->n), value, entries->value_bytes);
	*migrate_entries_mark(entries, entries->n) = 0;
	enter(entries, entries->n++);
	return 0;
}

size_t migrate_entries_find(const struct migrate_entries *entries, const void *key)
{
	size_t slot;

	if (entries->n == 0)
		return SIZE_MAX;
	for (slot = slot_of(entries, key); entries->slots[slot] != 0;
	     slot = (slot + 1) & (entries->n_slots - 1)) {
		const size_t i = entries->slots[slot] - 1;

		if (memcmp(migrate_entries_key(entries, i), key, entries->key_size) == 0)
			return i;
	}
	return SIZE_MAX;
}

void migrate_entries_done(struct migrate_entries *entries)
{
	free(entries->bytes);
	free(entries->slots);
}
