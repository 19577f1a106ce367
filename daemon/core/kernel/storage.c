#include "daemon/core/kernel/storage.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/mapread/mapread.h"
#include "storage.skel.h"

static void close_object(struct bpf_object **object)
{
	bpf_object__close(*object);
}

/* The map that is walked goes where the program's own stands; the others are not made. */
static int place_map(struct bpf_object *object, const struct mapread_map *map)
{
	struct bpf_map *own;
	size_t size;
	int r = 0;

	bpf_object__for_each_map(own, object)
	{
		if (bpf_map__is_internal(own))
			memcpy(bpf_map__initial_value(own, &size), &map->value_size,
			       sizeof(map->value_size));
		else if (bpf_map__type(own) == map->type)
			r = bpf_map__reuse_fd(own, map->fd);
		else
			r = bpf_map__set_autocreate(own, false);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of a cgroup storage all cgroups are walked, of a socket storage the map, of the others all tasks.
 */
static int start(const struct bpf_program *program, const struct mapread_map *map, int *ret_fd,
		 struct error *err)
{
	union bpf_iter_link_info info = { .map.map_fd = (uint32_t)map->fd };
	LIBBPF_OPTS(bpf_link_create_opts, opts, .iter_info = &info, .iter_info_len = sizeof(info));
	_cleanup_close_ int cgroup_fd = -1, link_fd = -1;

	if (map->kind->key == MAP_KEY_TASK) {
		info = (union bpf_iter_link_info){ 0 };
	} else if (map->kind->key == MAP_KEY_CGROUP) {
		int r = cgroup_open("", &cgroup_fd, err);

		if (r < 0)
			return r;
		info.cgroup.cgroup_fd = (uint32_t)cgroup_fd;
		info.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE;
	}
	link_fd = bpf_link_create(bpf_program__fd(program), 0, BPF_TRACE_ITER, &opts);
	*ret_fd = link_fd < 0 ? -1 : bpf_iter_create(link_fd);
	return *ret_fd < 0 ? error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, errno,
					       "cannot walk a %s", map->kind->name)
			   : 0;
}

int kernel_walk_storage(const struct mapread_map *map, int *ret_fd, struct error *err)
{
	__attribute__((cleanup(close_object))) struct bpf_object *object = NULL;
	struct bpf_program *program;
	size_t size;
	const void *bytes = storage__elf_bytes(&size);

	object = bpf_object__open_mem(bytes, size, NULL);
	if (object == NULL)
		return error_raise_errno(err, ERROR_OUT_OF_MEMORY, errno, "open an iterator");
	program = bpf_object__find_program_by_name(object, map->kind->name);
	if (program == NULL || bpf_program__set_autoload(program, true) < 0 ||
	    place_map(object, map) < 0 || bpf_object__load(object) < 0)
		return error_raise_errno(err, ERROR_KERNEL_UNSUPPORTED, errno,
					 "cannot load the iterator that walks a %s",
					 map->kind->name);
	return start(program, map, ret_fd, err);
}
