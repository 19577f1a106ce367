#define _GNU_SOURCE
#include "daemon/mapread/mapread.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/mapread/errors.h"

int mapread_possible_cpus(void)
{
	return libbpf_num_possible_cpus();
}

/* What the read commands copy out, bpf_map_value_size() in the kernel's kernel/bpf/syscall.c. */
static size_t value_bytes(const struct mapread_map *map)
{
	if (map->n_cpus > 0)
		return ((size_t)map->value_size + 7) / 8 * 8 * map->n_cpus;
	if (map->kind->value == MAP_VALUE_MAP || map->kind->value == MAP_VALUE_PROGRAM)
		return sizeof(uint32_t);
	return map->value_size;
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
		.kind = map_type_of(info.type),
	};
	if (map.kind->flags & MAP_PER_CPU)
		map.n_cpus = n_possible_cpus;
	map.value_bytes = value_bytes(&map);
	*ret = map;
	return 0;
}

int mapread_raise_unsupported(const struct mapread_map *map, struct error *err)
{
	const char *name = libbpf_bpf_map_type_str(map->type);

	return error_raise(
		err, ERROR_MAP_TYPE_UNSUPPORTED, "a map of type %s cannot be read like that%s%s",
		name != NULL ? name : "unknown to libbpf", map->kind->instead != NULL ? ": " : "",
		map->kind->instead != NULL ? map->kind->instead : "");
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

bool mapread_key_is_fd(const struct mapread_map *map)
{
	return map->kind->key == MAP_KEY_TASK || map->kind->key == MAP_KEY_CGROUP;
}

/* Below the cgroup2 hierarchy, where hosts with both versions have it, or those with one. */
static int open_cgroup(const char *path)
{
	static const char *const roots[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
	char full[PATH_MAX];
	int fd = -1;

	errno = ENOENT;
	/* The kernel takes nothing but a cgroup; O_PATH asks for no right to list it. */
	for (size_t i = 0; fd < 0 && strstr(path, "..") == NULL && i < ARRAY_SIZE(roots); i++) {
		if ((size_t)snprintf(full, sizeof(full), "%s/%s", roots[i], path) < sizeof(full))
			fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return fd;
}

int mapread_key_fd(const struct mapread_map *map, const void *key, size_t n, int *ret_fd,
		   struct error *err)
{
	char path[PATH_MAX] = { 0 };
	uint32_t pid;
	int fd = -1;

	if (map->kind->key == MAP_KEY_TASK && n == sizeof(pid)) {
		memcpy(&pid, key, sizeof(pid));
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
	} else if (map->kind->key == MAP_KEY_CGROUP && n < sizeof(path)) {
		memcpy(path, key, n);
		fd = open_cgroup(path);
	} else {
		return error_raise(err, ERROR_INVALID_KEY, "a key of a %s is %s", map->kind->name,
				   map->kind->key == MAP_KEY_TASK ? "a process id of 4 bytes"
								  : "a path of a cgroup");
	}
	if (fd < 0)
		return error_raise_errno(err, ERROR_KEY_NOT_IN_MAP, errno, "there is no such %s",
					 map->kind->key == MAP_KEY_TASK ? "process" : "cgroup");
	*ret_fd = fd;
	return 0;
}

int mapread_lookup(const struct mapread_map *map, const void *key, void *value, struct error *err)
{
	if ((map->kind->flags & MAP_LOOKS_UP) == 0)
		return mapread_raise_unsupported(map, err);
	if (bpf_map_lookup_elem(map->fd, key, value) == 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return error_raise(err, ERROR_KEY_NOT_IN_MAP,
				   map->key_size == 0 ? "the map has no such value"
						      : "the map has no such key");
	case ENOSPC: /* a map of sockets whose values have no room for a cookie */
		return mapread_raise_unsupported(map, err);
	case EINVAL:
	case E2BIG:
		return error_raise_errno(err, ERROR_INVALID_KEY, errno,
					 "the kernel does not take this key");
	default:
		return mapread_raise(map, errno, "read a key of a map", err);
	}
}
