/*
 * Reading BPF maps through an fd, without privilege: single keys, and dumps in packed chunks. Knows
 * the bpf(2) read commands and nothing else, so that front can hold it under its seccomp filter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct map_type;

/* Size that the entries of a chunk stay below, unless a single entry is larger. */
#define MAPREAD_CHUNK_MAX 65536

/* A map and its shape. Plain data; borrows the fd. */
struct mapread_map {
	int fd;
	uint32_t id;
	uint32_t type; /* enum bpf_map_type */
	uint32_t key_size;
	uint32_t value_size; /* of one CPU's value */
	uint32_t max_entries;
	uint32_t flags;
	uint32_t n_cpus;    /* possible CPUs of a per-CPU map, else 0 */
	size_t value_bytes; /* of a packed value: value_size, or n_cpus times that padded to 8 */
	const struct map_type *kind;
};

/* Number of possible CPUs, negative errno if sysfs does not tell. Reads a file: before the sandbox.
 */
int mapread_possible_cpus(void);

/*
 * Asks the kernel for the shape. n_possible_cpus as from mapread_possible_cpus(). Errors:
 * KERNEL_REFUSED.
 */
_must_check_ int mapread_open(int fd, uint32_t n_possible_cpus, struct mapread_map *ret,
			      struct error *err);

/*
 * Reads the value of one key into value_bytes bytes. Of a queue or stack (key NULL) that is what
 * comes out next; of a bloom filter (key NULL) the value is what is asked for. Errors:
 * KEY_NOT_IN_MAP, INVALID_KEY (index out of range, bad prefix), MAP_TYPE_UNSUPPORTED,
 * KERNEL_REFUSED.
 */
_must_check_ int mapread_lookup(const struct mapread_map *map, const void *key, void *value,
				struct error *err);

/*
 * Local storages of tasks and cgroups are looked up by an fd. Clients name a task by its process id
 * (4 bytes) and a cgroup by its path, below where cgroup2 is mounted; the fd is what goes to
 * mapread_lookup() as key. Errors: KEY_NOT_IN_MAP (no such task or cgroup), INVALID_KEY.
 */
bool mapread_key_is_fd(const struct mapread_map *map);
_must_check_ int mapread_key_fd(const struct mapread_map *map, const void *key, size_t n,
				int *ret_fd, struct error *err);

/* A dump under way. One thread at a time. */
struct mapread_dump;

/* Starts a dump; the map's fd must stay open. Errors: MAP_TYPE_UNSUPPORTED, OUT_OF_MEMORY. */
_must_check_ int mapread_dump_new(const struct mapread_map *map, struct mapread_dump **ret,
				  struct error *err);
void mapread_dump_free(struct mapread_dump *dump);
DEFINE_CLEANUP(struct mapread_dump, mapread_dump_free)

/*
 * The next entries, packed: key_size bytes of key, value_bytes of value, without padding between;
 * at most MAPREAD_CHUNK_MAX bytes unless one entry alone is larger. *ret_n is 0 at the end. The
 * bytes live until the next call. Not a snapshot. Errors: UNAVAILABLE (the map changes faster than
 * it can be walked), MAP_TYPE_UNSUPPORTED, OUT_OF_MEMORY, KERNEL_REFUSED.
 */
_must_check_ int mapread_dump_next(struct mapread_dump *dump, const uint8_t **ret_entries,
				   size_t *ret_size, uint32_t *ret_n, struct error *err);
