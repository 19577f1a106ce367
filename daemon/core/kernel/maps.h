/*
 * Writing maps for clients and putting durable contents back. Reading is daemon/mapread, which
 * front shares.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/mapread/mapread.h"

struct error;

/*
 * Writes one entry, value_size bytes of value; a per-CPU map gets it on every CPU. Errors:
 * MAP_FULL, INVALID_KEY (array index, LPM prefix), MAP_READ_ONLY (frozen), MAP_TYPE_UNSUPPORTED,
 * OUT_OF_MEMORY, KERNEL_REFUSED.
 */
_must_check_ int kernel_map_update(const struct mapread_map *map, const void *key,
				   const void *value, struct error *err);

/* Deletes one key. Errors: KEY_NOT_IN_MAP, MAP_READ_ONLY, MAP_TYPE_UNSUPPORTED (arrays),
 * INVALID_KEY, KERNEL_REFUSED. */
_must_check_ int kernel_map_delete(const struct mapread_map *map, const void *key,
				   struct error *err);

/* Makes every later write from user space fail, for ever. Errors: MAP_NOT_FREEZABLE,
 * KERNEL_REFUSED. */
_must_check_ int kernel_map_freeze(int map_fd, uint32_t map_type, struct error *err);
