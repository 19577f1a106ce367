#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/mapread/errors.h"
#include "daemon/mapread/mapread.h"

/* A hash bucket goes into one batch as a whole; more than this in one is no hash any more. */
#define BATCH_BYTES_MAX (64u << 20)

struct mapread_dump {
	struct mapread_map map;
	bool walk; /* key by key, where the type knows no batches */
	bool end;  /* the kernel has no more; what is in keys and values is the last */
	bool started;
	size_t steps_left;

	size_t capacity; /* entries that keys and values hold */
	uint8_t *keys;
	uint8_t *values;
	size_t n_have;
	size_t n_given;
	uint8_t *cursor; /* batch token or previous key */
	uint8_t *next_cursor;

	size_t chunk_entries;
	uint8_t *chunk;
};

static size_t at_least(size_t value, size_t minimum)
{
	return value > minimum ? value : minimum;
}

int mapread_dump_new(const struct mapread_map *map, struct mapread_dump **ret, struct error *err)
{
	const size_t entry = (size_t)map->key_size + map->value_bytes;
	_cleanup_(mapread_dump_freep) struct mapread_dump *dump = NULL;
	size_t cursor_size;

	if ((map->kind->flags & MAP_LOOKS_UP) == 0 || (map->kind->flags & MAP_WALKS) == 0)
		return mapread_raise_unsupported(map, err);
	dump = calloc(1, sizeof(*dump));
	if (dump == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot start a dump");
	dump->map = *map;
	dump->walk = (map->kind->flags & MAP_READS_BATCHES) == 0;
	dump->chunk_entries = at_least(MAPREAD_CHUNK_MAX / entry, 1);
	dump->capacity = dump->chunk_entries;
	if (map->max_entries > 0 && dump->capacity > map->max_entries)
		dump->capacity = map->max_entries;
	/* Every entry that stays is met once; keys deleted under a walk make it start again. */
	dump->steps_left = (size_t)map->max_entries * 4 + 1024;
	/* The token of a hash's batches is a u32, of the others a key. */
	cursor_size = at_least(map->key_size, sizeof(uint32_t));
	dump->cursor = calloc(2, cursor_size);
	dump->keys = malloc(dump->capacity * map->key_size);
	dump->values = calloc(dump->capacity, at_least(map->value_bytes, 1));
	dump->chunk = malloc(dump->chunk_entries * entry);
	if (dump->cursor == NULL || dump->keys == NULL || dump->values == NULL ||
	    dump->chunk == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a chunk of a dump");
	dump->next_cursor = dump->cursor + cursor_size;
	*ret = TAKE_PTR(dump);
	return 0;
}

void mapread_dump_free(struct mapread_dump *dump)
{
	if (dump == NULL)
		return;
	/* The two cursors are one block, of which next_cursor may be the start. */
	if (dump->next_cursor != NULL && dump->next_cursor < dump->cursor)
		free(dump->next_cursor);
	else
		free(dump->cursor);
	free(dump->keys);
	free(dump->values);
	free(dump->chunk);
	free(dump);
}

static void swap_cursors(struct mapread_dump *dump)
{
	uint8_t *previous = dump->cursor;

	dump->cursor = dump->next_cursor;
	dump->next_cursor = previous;
}

/* A bucket holds more entries than a batch: read larger batches from the same place. */
static int grow(struct mapread_dump *dump, struct error *err)
{
	const size_t capacity = dump->capacity * 2;
	const size_t entry = (size_t)dump->map.key_size + dump->map.value_bytes;
	uint8_t *keys, *values;

	if (capacity > BATCH_BYTES_MAX / entry)
		return error_raise(
			err, ERROR_UNAVAILABLE,
			"a bucket of the map holds more entries than can be read at once");
	keys = realloc(dump->keys, capacity * dump->map.key_size);
	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a batch");
	dump->keys = keys;
	values = realloc(dump->values, capacity * dump->map.value_bytes);
	if (values == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot hold a batch");
	dump->values = values;
	dump->capacity = capacity;
	return 0;
}

static bool is_unsupported_batch(int sys_errno)
{
	return sys_errno == MAPREAD_ENOTSUPP || sys_errno == EOPNOTSUPP || sys_errno == EINVAL;
}

/* Fills keys and values with the next batch. */
static int fill_batch(struct mapread_dump *dump, struct error *err)
{
	const int fd = dump->map.fd;
	uint32_t count;
	int r, sys_errno;

	for (;;) {
		count = (uint32_t)dump->capacity;
		r = bpf_map_lookup_batch(fd, dump->started ? dump->cursor : NULL, dump->next_cursor,
					 dump->keys, dump->values, &count, NULL);
		sys_errno = r < 0 ? errno : 0;
		if (sys_errno == ENOSPC && count == 0) {
			r = grow(dump, err);
			if (r < 0)
				return r;
			continue;
		}
		break;
	}
	if (sys_errno != 0 && sys_errno != ENOENT && sys_errno != ENOSPC) {
		if (!dump->started && is_unsupported_batch(sys_errno)) {
			dump->walk = true;
			return 0;
		}
		return mapread_raise(&dump->map, sys_errno, "read a batch of a map", err);
	}
	dump->end = sys_errno == ENOENT;
	dump->started = true;
	dump->n_have = count;
	dump->n_given = 0;
	swap_cursors(dump);
	return 0;
}

/* Fills keys and values one key at a time; a key whose value is gone meanwhile is passed over. */
static int fill_walk(struct mapread_dump *dump, struct error *err)
{
	const struct mapread_map *map = &dump->map;
	uint8_t *value;

	dump->n_have = 0;
	dump->n_given = 0;
	while (dump->n_have < dump->capacity) {
		if (dump->steps_left == 0)
			return error_raise(err, ERROR_UNAVAILABLE,
					   "the map changes faster than it can be read");
		dump->steps_left--;
		if (bpf_map_get_next_key(map->fd, dump->started ? dump->cursor : NULL,
					 dump->next_cursor) < 0) {
			if (errno != ENOENT)
				return mapread_raise(map, errno, "walk a map", err);
			dump->end = true;
			return 0;
		}
		dump->started = true;
		swap_cursors(dump);
		value = dump->values + dump->n_have * map->value_bytes;
		if (bpf_map_lookup_elem(map->fd, dump->cursor, value) < 0) {
			if (errno != ENOENT)
				return mapread_raise(map, errno, "read a key of a map", err);
			continue;
		}
		memcpy(dump->keys + dump->n_have * map->key_size, dump->cursor, map->key_size);
		dump->n_have++;
	}
	return 0;
}

static int fill(struct mapread_dump *dump, struct error *err)
{
	int r;

	if (dump->walk)
		return fill_walk(dump, err);
	if (dump->steps_left == 0)
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the map changes faster than it can be read");
	dump->steps_left--;
	r = fill_batch(dump, err);
	if (r == 0 && dump->walk)
		r = fill_walk(dump, err);
	return r;
}

static uint32_t pack(struct mapread_dump *dump)
{
	const size_t key_size = dump->map.key_size, value_bytes = dump->map.value_bytes;
	const size_t entry = key_size + value_bytes;
	size_t n = dump->n_have - dump->n_given;

	if (n > dump->chunk_entries)
		n = dump->chunk_entries;
	for (size_t i = 0; i < n; i++) {
		const size_t from = dump->n_given + i;

		memcpy(dump->chunk + i * entry, dump->keys + from * key_size, key_size);
		memcpy(dump->chunk + i * entry + key_size, dump->values + from * value_bytes,
		       value_bytes);
	}
	dump->n_given += n;
	return (uint32_t)n;
}

int mapread_dump_next(struct mapread_dump *dump, const uint8_t **ret_entries, size_t *ret_size,
		      uint32_t *ret_n, struct error *err)
{
	uint32_t n;
	int r;

	/* A batch can be empty although there is more: the buckets it covered were. */
	while (dump->n_given == dump->n_have && !dump->end) {
		r = fill(dump, err);
		if (r < 0)
			return r;
	}
	n = pack(dump);
	*ret_entries = dump->chunk;
	*ret_size = n * ((size_t)dump->map.key_size + dump->map.value_bytes);
	*ret_n = n;
	return 0;
}
