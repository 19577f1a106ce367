/*
 * Writing maps for clients and putting durable contents back. Reading is daemon/mapread, which
 * front shares.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"
#include "daemon/mapread/mapread.h"

struct error;

/*
 * Writes one entry, value_bytes of value; key NULL for types without keys. flags: BPF_ANY,
 * BPF_NOEXIST or BPF_EXIST, and BPF_F_LOCK. Errors: MAP_FULL, INVALID_KEY (array index, LPM
 * prefix), KEY_NOT_IN_MAP, ALREADY_EXISTS, MAP_READ_ONLY (frozen), MAP_TYPE_UNSUPPORTED,
 * OUT_OF_MEMORY, KERNEL_REFUSED.
 */
_must_check_ int kernel_map_update(const struct mapread_map *map, const void *key,
				   const void *value, uint64_t flags, struct error *err);
/* Puts a socket into a map of sockets. Errors: INVALID_ARGUMENT (not such a socket), HOOK_BUSY (it
 * is in another one), and those of kernel_map_update(). */
_must_check_ int kernel_map_put_socket(const struct mapread_map *map, const void *key, int socket,
				       uint64_t flags, struct error *err);
/* Writes *n entries in one call; afterwards *n says how many were written, also after an error. */
_must_check_ int kernel_map_update_batch(const struct mapread_map *map, const void *keys,
					 const void *values, uint32_t *n, uint64_t flags,
					 struct error *err);
/* value_bytes of `to` from one value of value_size, or from value_bytes as they are. */
void kernel_map_spread(const struct mapread_map *map, const void *value, size_t n, void *to);
/* BPF_F_LOCK if the map's values hold a spin lock that user space can take, else 0. */
uint64_t kernel_map_lock_flag(const struct mapread_map *map);

/*
 * Writes n bytes at an offset of a value of an array with BPF_F_MMAPABLE, nothing else: an aligned
 * number of 1, 2, 4 or 8 bytes by one store, anything longer byte after byte. Errors: INVALID_KEY,
 * MAP_READ_ONLY, MAP_TYPE_UNSUPPORTED, KERNEL_REFUSED.
 */
_must_check_ int kernel_map_store(const struct mapread_map *map, const void *key, uint32_t offset,
				  const void *bytes, size_t n, struct error *err);

/* Takes the next value out of a queue or stack. Errors: KEY_NOT_IN_MAP (it is empty),
 * MAP_READ_ONLY, MAP_TYPE_UNSUPPORTED, KERNEL_REFUSED. */
_must_check_ int kernel_map_pop(const struct mapread_map *map, void *value, struct error *err);

/* Deletes one key. Errors: KEY_NOT_IN_MAP, MAP_READ_ONLY, MAP_TYPE_UNSUPPORTED (arrays),
 * INVALID_KEY, KERNEL_REFUSED. */
_must_check_ int kernel_map_delete(const struct mapread_map *map, const void *key,
				   struct error *err);

/* Deletes n keys in as few calls as may be, of types with MAP_DELETES and MAP_WRITES_BATCHES; those
 * that are not there are passed over. *ret_deleted is set also on failure. Errors: as above. */
_must_check_ int kernel_map_delete_batch(const struct mapread_map *map, const void *keys,
					 uint32_t n, uint32_t *ret_deleted, struct error *err);

/* A map as an inner one is described; the fd is the caller's. Errors: KERNEL_REFUSED. */
_must_check_ int kernel_map_create(const Bpfleet__V1__InnerMapSpec *spec, int *ret_fd,
				   uint32_t *ret_id, struct error *err);

/* Makes every later write from user space fail, for ever. Errors: MAP_NOT_FREEZABLE,
 * KERNEL_REFUSED. */
_must_check_ int kernel_map_freeze(int map_fd, uint32_t map_type, struct error *err);
