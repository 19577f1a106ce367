#include "daemon/mapread/storage.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/map-type.h"
#include "daemon/mapread/mapread.h"

#define READ_SIZE 65536
/* The kernel pauses a run every million objects that print nothing; this many are let pass. */
#define N_PAUSES_MAX 4096

/* A cgroup on the way to the one that was told last. */
struct level {
	uint64_t id;
	size_t path_len;
};

struct storage_walk {
	int fd;
	enum map_key_form form;
	size_t value_size;
	uint8_t *buffer; /* room for part of an entry and one more read */
	size_t start, end;
	bool ended;
	unsigned int n_pauses;
	union {
		struct storage_owner owner;
		struct storage_cgroup cgroup;
	} head;
	uint32_t thread_id;
	struct str path; /* of the cgroup told last */
	struct level *levels;
	size_t n_levels, n_levels_max;
};

int storage_walk_new(const struct mapread_map *map, int fd, struct storage_walk **ret,
		     struct error *err)
{
	_cleanup_(storage_walk_freep) struct storage_walk *walk = calloc(1, sizeof(*walk));

	if (walk == NULL) {
		(void)close(fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot walk a map");
	}
	walk->fd = fd;
	walk->form = map->kind->key;
	walk->value_size = map->value_size;
	walk->buffer = malloc(sizeof(walk->head) + walk->value_size + READ_SIZE);
	if (walk->buffer == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot walk a map");
	*ret = TAKE_PTR(walk);
	return 0;
}

void storage_walk_free(struct storage_walk *walk)
{
	if (walk == NULL)
		return;
	(void)close(walk->fd);
	free(walk->buffer);
	free(walk->levels);
	str_done(&walk->path);
	free(walk);
}

int storage_walk_read(struct storage_walk *walk, struct error *err)
{
	ssize_t got;

	memmove(walk->buffer, walk->buffer + walk->start, walk->end - walk->start);
	walk->end -= walk->start;
	walk->start = 0;
	got = read(walk->fd, walk->buffer + walk->end, READ_SIZE);
	if (got < 0 && (errno == EAGAIN || errno == EINTR) && walk->n_pauses++ < N_PAUSES_MAX)
		return 0;
	if (got < 0)
		return error_raise_errno(
			err, ERROR_KERNEL_REFUSED, errno, "the walk over the map broke off%s",
			errno == EOPNOTSUPP ? "; this host has more cgroups than the kernel tells "
					      "of, look entries up by their paths"
					    : "");
	walk->ended = got == 0;
	walk->end += (size_t)got;
	return 0;
}

bool storage_walk_ended(const struct storage_walk *walk)
{
	return walk->ended;
}

/* Copies the next head. Its size with the value, if there is one; 0: not all of it has been read.
 */
static size_t next_size(struct storage_walk *walk)
{
	const bool is_cgroup = walk->form == MAP_KEY_CGROUP;
	const size_t n = walk->end - walk->start;
	size_t size =
		is_cgroup ? offsetof(struct storage_cgroup, name) : sizeof(struct storage_owner);

	if (n < size)
		return 0;
	memcpy(&walk->head, walk->buffer + walk->start, size);
	if (is_cgroup) {
		const size_t n_name = walk->head.cgroup.name_len < STORAGE_NAME_LEN
					      ? walk->head.cgroup.name_len
					      : STORAGE_NAME_LEN;

		if (n - size < n_name)
			return 0;
		memcpy(walk->head.cgroup.name, walk->buffer + walk->start + size, n_name);
		walk->head.cgroup.name_len = (uint16_t)n_name;
		size += n_name;
	}
	if (!is_cgroup || walk->head.cgroup.has_value != 0)
		size += walk->value_size;
	return n < size ? 0 : size;
}

static int enter_cgroup(struct storage_walk *walk, struct error *err)
{
	const struct storage_cgroup *cgroup = &walk->head.cgroup;

	while (walk->n_levels > 0 && walk->levels[walk->n_levels - 1].id != cgroup->parent)
		walk->n_levels--;
	if (walk->n_levels == walk->n_levels_max) {
		const size_t n = walk->n_levels_max * 2 + 8;
		void *levels = realloc(walk->levels, n * sizeof(*walk->levels));

		if (levels == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a path");
		walk->levels = levels;
		walk->n_levels_max = n;
	}
	walk->path.len = walk->n_levels > 0 ? walk->levels[walk->n_levels - 1].path_len : 0;
	if (walk->path.len > 0)
		(void)str_append(&walk->path, "/");
	if (walk->n_levels > 0)
		(void)str_append_bytes(&walk->path, cgroup->name,
				       strnlen(cgroup->name, cgroup->name_len));
	if (walk->path.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a path");
	walk->levels[walk->n_levels++] = (struct level){ cgroup->id, walk->path.len };
	return 0;
}

int storage_walk_next(struct storage_walk *walk, const void **ret_key, size_t *ret_n_key,
		      const uint8_t **ret_value, struct error *err)
{
	size_t size;
	int r;

	do {
		size = next_size(walk);
		if (size == 0 && walk->ended && walk->end > walk->start)
			return error_raise(err, ERROR_KERNEL_REFUSED,
					   "the walk over the map ended in an entry");
		if (size == 0)
			return 0;
		walk->start += size;
		r = walk->form == MAP_KEY_CGROUP ? enter_cgroup(walk, err) : 0;
		if (r < 0)
			return r;
	} while (walk->form == MAP_KEY_CGROUP && walk->head.cgroup.has_value == 0);
	*ret_value = walk->buffer + walk->start - walk->value_size;
	walk->thread_id = (uint32_t)walk->head.owner.id;
	if (walk->form == MAP_KEY_CGROUP) {
		*ret_key = walk->path.len > 0 ? walk->path.data : "";
		*ret_n_key = walk->path.len;
	} else if (walk->form == MAP_KEY_TASK) {
		*ret_key = &walk->thread_id;
		*ret_n_key = sizeof(walk->thread_id);
	} else {
		*ret_key = &walk->head.owner.id;
		*ret_n_key = sizeof(walk->head.owner.id);
	}
	return 1;
}
