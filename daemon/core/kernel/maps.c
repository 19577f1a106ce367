#include "daemon/core/kernel/maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "bundle/map-type.h"

/* The kernel's internal ENOTSUPP, which bpf(2) lets out. */
#define KERNEL_ENOTSUPP 524

static int raise_unsupported(const struct mapread_map *map, const char *verb, struct error *err)
{
	return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "cannot %s an entry of a %s%s%s", verb,
			   map->kind->name, map->kind->instead != NULL ? ": " : "",
			   map->kind->instead != NULL ? map->kind->instead : "");
}

static int raise_write(const struct mapread_map *map, int sys_errno, const char *verb,
		       struct error *err)
{
	switch (sys_errno) {
	case E2BIG:
		/* An array says so for an index past its end, a hash when it is full. */
		if (map->type == BPF_MAP_TYPE_ARRAY || map->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		    map->type == BPF_MAP_TYPE_SOCKMAP ||
		    map->type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY)
			return error_raise(err, ERROR_INVALID_KEY,
					   "the index is not below the map's %u entries",
					   map->max_entries);
		return error_raise(err, ERROR_MAP_FULL, "the map holds %u entries, all it can",
				   map->max_entries);
	case ENOSPC:
		return error_raise(err, ERROR_MAP_FULL, "the map holds %u entries, all it can",
				   map->max_entries);
	case ENOENT:
		return error_raise(err, ERROR_KEY_NOT_IN_MAP, "the map has no such %s",
				   map->key_size == 0 ? "value" : "key");
	case EEXIST:
		return error_raise(err, ERROR_ALREADY_EXISTS, "the key is in the map");
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
		return raise_unsupported(map, verb, err);
	default:
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, sys_errno,
					 "cannot %s an entry of a map", verb);
	}
}

int kernel_map_update(const struct mapread_map *map, const void *key, const void *value,
		      uint64_t flags, struct error *err)
{
	if ((map->kind->flags & MAP_UPDATES) == 0)
		return raise_unsupported(map, "write", err);
	if (bpf_map_update_elem(map->fd, key, value, flags) < 0)
		return raise_write(map, errno, "write", err);
	return 0;
}

int kernel_map_put_socket(const struct mapread_map *map, const void *key, int socket,
			  uint64_t flags, struct error *err)
{
	const uint32_t number = (uint32_t)socket;
	const uint64_t wide = number;
	const bool is_wide = map->value_size == sizeof(wide);

	if (bpf_map_update_elem(map->fd, key, is_wide ? (const void *)&wide : &number, flags) == 0)
		return 0;
	switch (errno) {
	case EINVAL:
	case EOPNOTSUPP:
	case KERNEL_ENOTSUPP:
		return error_raise_errno(
			err, ERROR_INVALID_ARGUMENT, errno,
			"the kernel does not take this socket: %s",
			map->type == BPF_MAP_TYPE_XSKMAP ? "it must be of AF_XDP"
			: map->type == BPF_MAP_TYPE_REUSEPORT_SOCKARRAY
				? "it must be bound with SO_REUSEPORT, one of TCP must listen"
				: "one of TCP must be connected or listen, one of UDP be bound");
	case EBUSY:
		return error_raise_errno(err, ERROR_HOOK_BUSY, errno,
					 "the socket is in another such map already");
	default:
		return raise_write(map, errno, "write", err);
	}
}

int kernel_map_update_batch(const struct mapread_map *map, const void *keys, const void *values,
			    uint32_t *n, uint64_t flags, struct error *err)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts, .elem_flags = flags);

	if ((map->kind->flags & MAP_WRITES_BATCHES) == 0)
		return raise_unsupported(map, "write", err);
	if (bpf_map_update_batch(map->fd, keys, values, n, &opts) < 0)
		return raise_write(map, errno, "write", err);
	return 0;
}

void kernel_map_spread(const struct mapread_map *map, const void *value, size_t n, void *to)
{
	const size_t stride = ((size_t)map->value_size + 7) / 8 * 8;

	if (map->n_cpus == 0 || n == map->value_bytes) {
		memcpy(to, value, n);
		return;
	}
	memset(to, 0, map->value_bytes);
	for (uint32_t i = 0; i < map->n_cpus; i++)
		memcpy((uint8_t *)to + i * stride, value, map->value_size);
}

uint64_t kernel_map_lock_flag(const struct mapread_map *map)
{
	_cleanup_free_ void *key = calloc(1, (size_t)map->key_size + 1);
	_cleanup_free_ void *value = calloc(1, map->value_bytes + 1);

	if (key == NULL || value == NULL ||
	    (map->type != BPF_MAP_TYPE_HASH && map->type != BPF_MAP_TYPE_ARRAY &&
	     map->type != BPF_MAP_TYPE_LRU_HASH))
		return 0;
	if (bpf_map_lookup_elem_flags(map->fd, key, value, BPF_F_LOCK) < 0 && errno == EINVAL)
		return 0;
	return BPF_F_LOCK;
}

/* What a program reads meanwhile is the old number or the new one. */
static void store_bytes(void *to, const void *from, size_t n)
{
	uint64_t number = 0;

	if (n > sizeof(number) || (n & (n - 1)) != 0 || (uintptr_t)to % n != 0) {
		memcpy(to, from, n);
		return;
	}
	memcpy(&number, from, n);
	if (n == 1)
		__atomic_store_n((uint8_t *)to, (uint8_t)number, __ATOMIC_RELEASE);
	else if (n == 2)
		__atomic_store_n((uint16_t *)to, (uint16_t)number, __ATOMIC_RELEASE);
	else if (n == 4)
		__atomic_store_n((uint32_t *)to, (uint32_t)number, __ATOMIC_RELEASE);
	else
		__atomic_store_n((uint64_t *)to, number, __ATOMIC_RELEASE);
}

int kernel_map_store(const struct mapread_map *map, const void *key, uint32_t offset,
		     const void *bytes, size_t n, struct error *err)
{
	const size_t stride = ((size_t)map->value_size + 7) / 8 * 8;
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t index;
	size_t at;
	uint8_t *p;

	if (map->type != BPF_MAP_TYPE_ARRAY || (map->flags & BPF_F_MMAPABLE) == 0)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "parts of values are written in data sections and arrays with "
				   "BPF_F_MMAPABLE alone; write the whole value");
	memcpy(&index, key, sizeof(index));
	if (index >= map->max_entries || offset > map->value_size || n == 0 ||
	    n > map->value_size - offset)
		return error_raise(err, ERROR_INVALID_KEY,
				   "%zu bytes at %u of entry %u do not lie in the map", n, offset,
				   index);
	at = index * stride + offset;
	p = mmap(NULL, at % page + n, PROT_READ | PROT_WRITE, MAP_SHARED, map->fd,
		 (off_t)(at - at % page));
	if (p == MAP_FAILED)
		return raise_write(map, errno, "write", err);
	store_bytes(p + at % page, bytes, n);
	(void)munmap(p, at % page + n);
	return 0;
}

int kernel_map_pop(const struct mapread_map *map, void *value, struct error *err)
{
	if ((map->kind->flags & MAP_POPS) == 0)
		return raise_unsupported(map, "pop", err);
	if (bpf_map_lookup_and_delete_elem(map->fd, NULL, value) < 0)
		return raise_write(map, errno, "pop", err);
	return 0;
}

int kernel_map_delete(const struct mapread_map *map, const void *key, struct error *err)
{
	if ((map->kind->flags & MAP_DELETES) == 0)
		return raise_unsupported(map, "delete", err);
	if (bpf_map_delete_elem(map->fd, key) == 0)
		return 0;
	return raise_write(map, errno, "delete", err);
}

int kernel_map_delete_batch(const struct mapread_map *map, const void *keys, uint32_t n,
			    uint32_t *ret_deleted, struct error *err)
{
	uint32_t at = 0, count;

	/* The kernel stops at a key that is not there. */
	for (*ret_deleted = 0; at < n; at++) {
		count = n - at;
		if (bpf_map_delete_batch(map->fd, (const uint8_t *)keys + at * map->key_size,
					 &count, NULL) < 0 &&
		    errno != ENOENT)
			return raise_write(map, errno, "delete", err);
		*ret_deleted += count;
		at += count;
	}
	return 0;
}

int kernel_map_create(const Bpfleet__V1__InnerMapSpec *spec, int *ret_fd, uint32_t *ret_id,
		      struct error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = spec->flags);
	const struct map_type *type = map_type_find(spec->type);
	_cleanup_close_ int fd = -1;
	struct mapread_map shape;
	int r;

	if (type != NULL)
		fd = bpf_map_create((enum bpf_map_type)type->number, "inner", spec->key_size,
				    spec->value_size, spec->max_entries, &opts);
	if (fd < 0)
		return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno,
					 "cannot make an inner map of type %s", spec->type);
	r = mapread_open(fd, 1, &shape, err);
	if (r < 0)
		return r;
	*ret_id = shape.id;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int kernel_map_freeze(int map_fd, uint32_t map_type, struct error *err)
{
	if ((map_type_of(map_type)->flags & MAP_FREEZES) == 0)
		return error_raise(err, ERROR_MAP_NOT_FREEZABLE, "maps of type %s cannot be frozen",
				   map_type_of(map_type)->name);
	if (bpf_map_freeze(map_fd) == 0)
		return 0;
	/* With timers, spin locks or kernel pointers in its values a map cannot be frozen. */
	if (errno == KERNEL_ENOTSUPP || errno == EOPNOTSUPP)
		return error_raise_errno(err, ERROR_MAP_NOT_FREEZABLE, errno,
					 "the map's values hold kernel objects");
	return error_raise_errno(err, ERROR_KERNEL_REFUSED, errno, "cannot freeze a map");
}
