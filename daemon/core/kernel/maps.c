#include "daemon/core/kernel/maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* The kernel's internal ENOTSUPP, which bpf(2) lets out. */
#define KERNEL_ENOTSUPP 524

static const char *type_name(uint32_t type)
{
	const char *name = libbpf_bpf_map_type_str(type);

	return name != NULL ? name : "unknown to libbpf";
}

static int raise_write(const struct mapread_map *map, int sys_errno, const char *verb,
		       struct error *err)
{
	switch (sys_errno) {
	case E2BIG:
		/* An array says so for an index past its end, a hash when it is full. */
		if (map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY)
			return error_raise(err, ERROR_INVALID_KEY,
					   "the index is not below the map's %u entries",
					   map->max_entries);
		return error_raise(err, ERROR_MAP_FULL, "the map holds %u entries, all it can",
				   map->max_entries);
	case ENOSPC:
		return error_raise(err, ERROR_MAP_FULL, "the map holds %u entries, all it can",
				   map->max_entries);
	case EINVAL:
		return error_raise_errno(err, ERROR_INVALID_KEY, sys_errno,
					 "the kernel does not take this key or value");
	case EPERM:
		return error_raise_errno(err, ERROR_MAP_READ_ONLY, sys_errno,
					 "the map is frozen or its fd read-only");
	case ENOMEM:
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot %s an entry of a map", verb);
	case KERNEL_ENOTSUPP:
	case EOPNOTSUPP:
		return error_raise_errno(err, ERROR_MAP_TYPE_UNSUPPORTED, sys_errno,
					 "cannot %s an entry of a map of type %s", verb,
					 type_name(map->type));
	default:
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, sys_errno,
					 "cannot %s an entry of a map", verb);
	}
}

int kernel_map_update(const struct mapread_map *map, const void *key, const void *value,
		      struct error *err)
{
	const size_t stride = ((size_t)map->value_size + 7) / 8 * 8;
	_cleanup_free_ uint8_t *copies = NULL;

	if (map->n_cpus > 0) {
		copies = calloc(map->n_cpus, stride);
		if (copies == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a value");
		for (uint32_t i = 0; i < map->n_cpus; i++)
			memcpy(copies + i * stride, value, map->value_size);
		value = copies;
	}
	if (bpf_map_update_elem(map->fd, key, value, BPF_ANY) < 0)
		return raise_write(map, errno, "write", err);
	return 0;
}

int kernel_map_delete(const struct mapread_map *map, const void *key, struct error *err)
{
	if (map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "entries of a map of type %s cannot be deleted",
				   type_name(map->type));
	if (bpf_map_delete_elem(map->fd, key) == 0)
		return 0;
	if (errno == ENOENT)
		return error_raise(err, ERROR_KEY_NOT_IN_MAP, "the map has no such key");
	return raise_write(map, errno, "delete", err);
}

/* Types whose entries are data. A ring buffer's reader writes its position, so that one never is.
 */
static bool is_freezable(uint32_t type)
{
	switch (type) {
	case BPF_MAP_TYPE_HASH:
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_PERCPU_HASH:
	case BPF_MAP_TYPE_PERCPU_ARRAY:
	case BPF_MAP_TYPE_LRU_HASH:
	case BPF_MAP_TYPE_LRU_PERCPU_HASH:
	case BPF_MAP_TYPE_LPM_TRIE:
	case BPF_MAP_TYPE_STACK_TRACE:
		return true;
	default:
		return false;
	}
}

int kernel_map_freeze(int map_fd, uint32_t map_type, struct error *err)
{
	if (!is_freezable(map_type))
		return error_raise(err, ERROR_MAP_NOT_FREEZABLE, "maps of type %s cannot be frozen",
				   type_name(map_type));
	if (bpf_map_freeze(map_fd) == 0)
		return 0;
	/* With timers, spin locks or kernel pointers in its values a map cannot be frozen. */
	if (errno == KERNEL_ENOTSUPP || errno == EOPNOTSUPP)
		return error_raise_errno(err, ERROR_MAP_NOT_FREEZABLE, errno,
					 "the map's values hold kernel objects");
	return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot freeze a map");
}
