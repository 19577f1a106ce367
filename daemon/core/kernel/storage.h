/* Walks local storages for front; what is printed is described in daemon/mapread/storage.h. */
#pragma once

#include "base/cleanup.h"

struct error;
struct mapread_map;

/*
 * Loads the iterator for a map with MAP_ITERATES and starts it; *ret_fd, the caller's, is read once
 * and keeps the map and the program alive. Takes some 20 ms: not on the main thread. Errors:
 * KERNEL_UNSUPPORTED, OUT_OF_MEMORY.
 */
_must_check_ int kernel_walk_storage(const struct mapread_map *map, int *ret_fd, struct error *err);
