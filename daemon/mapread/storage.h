/*
 * Local storages of sockets, tasks and cgroups, which bpf(2) cannot walk: core starts an iterator
 * of its own (daemon/core/kernel/storage.bpf.c), and front reads the entries from its fd. The two
 * structs are what it prints, each followed by the value where there is one.
 */
#pragma once

#include <linux/types.h>

#define STORAGE_NAME_LEN 256

struct storage_owner {
	__u64 id; /* a socket's cookie, a thread's id */
};

/*
 * Every cgroup of the hierarchy, those above before those below. As short as can be, name_len bytes
 * of the name: the kernel tells of cgroups in one read of 32 KiB, or breaks off.
 */
struct storage_cgroup {
	__u64 id;
	__u64 parent; /* 0: it is the root */
	__u16 has_value;
	__u16 name_len; /* with its NUL */
	char name[STORAGE_NAME_LEN];
};

#ifndef __bpf__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct mapread_map;
struct storage_walk;

/* Reads what an iterator prints about a map; takes its fd in any case. Errors: OUT_OF_MEMORY. */
_must_check_ int storage_walk_new(const struct mapread_map *map, int fd, struct storage_walk **ret,
				  struct error *err);
void storage_walk_free(struct storage_walk *walk);
DEFINE_CLEANUP(struct storage_walk, storage_walk_free)

/*
 * The next entry of what has been read: 1, or 0: storage_walk_read() has to bring more, unless
 * storage_walk_ended(). The key is 8 bytes of a socket's cookie, 4 of a thread's id, or a cgroup's
 * path below the root of the hierarchy, without a slash in front; it and the value live until the
 * next call of this or of storage_walk_read(). Errors: KERNEL_REFUSED, OUT_OF_MEMORY.
 */
_must_check_ int storage_walk_next(struct storage_walk *walk, const void **ret_key,
				   size_t *ret_n_key, const uint8_t **ret_value, struct error *err);
bool storage_walk_ended(const struct storage_walk *walk);

/*
 * Reads once: 32 KiB of entries at most, or nothing, as the kernel pauses after a million objects.
 * Meanwhile the kernel walks, which may take long, so not in an event loop; any thread, one at a
 * time. Errors: KERNEL_REFUSED.
 */
_must_check_ int storage_walk_read(struct storage_walk *walk, struct error *err);
#endif
