#include "daemon/mapread/mapread.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "base/error.h"
#include "daemon/mapread/errors.h"

int mapread_possible_cpus(void)
{
	return libbpf_num_possible_cpus();
}

bool mapread_is_percpu(uint32_t map_type)
{
	return map_type == BPF_MAP_TYPE_PERCPU_HASH || map_type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
	       map_type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

static bool holds_fds(uint32_t map_type)
{
	return map_type == BPF_MAP_TYPE_PROG_ARRAY || map_type == BPF_MAP_TYPE_ARRAY_OF_MAPS ||
	       map_type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

/* What the read commands copy out, bpf_map_value_size() in the kernel's kernel/bpf/syscall.c. */
static size_t value_bytes(const struct mapread_map *map)
{
	if (map->n_cpus > 0)
		return ((size_t)map->value_size + 7) / 8 * 8 * map->n_cpus;
	return holds_fds(map->type) ? sizeof(uint32_t) : map->value_size;
}

int mapread_open(int fd, uint32_t n_possible_cpus, struct mapread_map *ret, struct error *err)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);
	struct mapread_map map;

	if (bpf_map_get_info_by_fd(fd, &info, &size) < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot ask the kernel about a map");
	map = (struct mapread_map){
		.fd = fd,
		.id = info.id,
		.type = info.type,
		.key_size = info.key_size,
		.value_size = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags,
		.n_cpus = mapread_is_percpu(info.type) ? n_possible_cpus : 0,
	};
	map.value_bytes = value_bytes(&map);
	*ret = map;
	return 0;
}

int mapread_raise_unsupported(const struct mapread_map *map, struct error *err)
{
	const char *name = libbpf_bpf_map_type_str(map->type);

	return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "a map of type %s has no keys to read",
			   name != NULL ? name : "unknown to libbpf");
}

int mapread_raise(const struct mapread_map *map, int sys_errno, const char *step, struct error *err)
{
	switch (sys_errno) {
	case MAPREAD_ENOTSUPP:
	case EOPNOTSUPP:
		return mapread_raise_unsupported(map, err);
	case ENOMEM:
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, sys_errno, "cannot %s", step);
	default:
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, sys_errno, "cannot %s", step);
	}
}

int mapread_lookup(const struct mapread_map *map, const void *key, void *value, struct error *err)
{
	if (map->key_size == 0)
		return mapread_raise_unsupported(map, err);
	if (bpf_map_lookup_elem(map->fd, key, value) == 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return error_raise(err, ERROR_KEY_NOT_IN_MAP, "the map has no such key");
	case EINVAL:
	case E2BIG:
		return error_raise_errno(err, ERROR_INVALID_KEY, errno,
					 "the kernel does not take this key");
	default:
		return mapread_raise(map, errno, "read a key of a map", err);
	}
}
