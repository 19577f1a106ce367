/* Writing maps for clients; the entries of durable maps are rows as well. */
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/core/inner.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/hook-kind.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"

#define ENTRIES_MAX 1024u

/* By enum UpdateMode. */
static const uint64_t update_modes[] = { BPF_ANY, BPF_ANY, BPF_NOEXIST, BPF_EXIST };

struct target {
	struct core *core;
	bool entered; /* the instance: no unload and no re-apply meanwhile */
	struct store_instance *instance;
	struct store_map *map;
	int fd;
	struct mapread_map shape;
	struct outer outer; /* the same map, as one that holds maps or programs */
	bool durable;
};

/* An entry as the kernel takes it. */
struct write {
	uint8_t *key; /* in one array with the other keys */
	uint8_t *value;
	int key_fd, value_fd; /* what they name; -1: nothing */
	bool had;	      /* before: `old` is what it was */
	uint8_t *old;
	const Bpfleet__V1__MapEntry *entry;
	bool is_part; /* only entry->value is written, at an offset */
};

struct writes {
	struct write *items;
	size_t n; /* prepared */
	uint64_t flags;
	bool batch;
};

static void target_done(struct target *target)
{
	if (target->entered)
		busy_leave(target->core, target->instance->id);
	free(target->instance);
	free(target->map);
	if (target->fd >= 0)
		(void)close(target->fd);
}

static void writes_done(struct writes *writes)
{
	for (size_t i = 0; i < writes->n; i++) {
		if (writes->items[i].key_fd >= 0)
			(void)close(writes->items[i].key_fd);
		if (writes->items[i].value_fd >= 0)
			(void)close(writes->items[i].value_fd);
	}
}

static int target_open(struct request *request, const char *name, size_t n, struct target *target,
		       struct error *err)
{
	struct core *core = request->core;
	int r;

	if (n > ENTRIES_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE, "at most %u entries a call",
				   ENTRIES_MAX);
	r = request_find_map(request, name, POLICY_VERB_WRITE, &target->instance, &target->map,
			     err);
	if (r < 0)
		return r;
	r = busy_enter(core, target->instance->id, false, err);
	if (r < 0)
		return r;
	target->core = core;
	target->entered = true;
	if (target->map->access == BPFLEET__V1__ACCESS__ACCESS_PRIVATE)
		return error_raise(err, ERROR_MAP_PRIVATE, "the manifest keeps map '%s' private",
				   target->map->name);
	if (target->map->access != BPFLEET__V1__ACCESS__ACCESS_WRITE)
		return error_raise(err, ERROR_MAP_READ_ONLY,
				   "the manifest gives map '%s' no user-space writer",
				   target->map->name);
	target->durable = target->map->contents == BPFLEET__V1__CONTENTS__CONTENTS_DURABLE;
	r = instance_map_fd(core, target->instance->id, target->map->ordinal, false, &target->fd,
			    err);
	if (r >= 0)
		r = mapread_open(target->fd, core->n_cpus, &target->shape, err);
	target->outer = (struct outer){ core, target->instance->id, target->map, &target->shape };
	return r < 0 ? r : request_check_deadline(request, err);
}

/* ---- entries as the kernel takes them */

static int check_size(const ProtobufCBinaryData *bytes, size_t size, const char *what,
		      struct error *err)
{
	if (bytes->len == size)
		return 0;
	return error_raise(err, ERROR_INVALID_KEY, "a %s of %zu bytes; this map's have %zu", what,
			   bytes->len, size);
}

/* A key of the map's own size, or what stands for it: the fd of a task or cgroup. */
static int prepare_key(const struct target *target, const ProtobufCBinaryData *bytes, uint8_t *to,
		       int *ret_fd, struct error *err)
{
	int r;

	if (mapread_key_is_fd(&target->shape)) {
		r = mapread_key_fd(&target->shape, bytes->data, bytes->len, ret_fd, err);
		if (r >= 0)
			memcpy(to, ret_fd, sizeof(*ret_fd));
		return r;
	}
	r = check_size(bytes, target->shape.key_size, "key", err);
	if (r >= 0 && bytes->len > 0)
		memcpy(to, bytes->data, bytes->len);
	return r;
}

/* A number in a value that the kernel takes for an fd comes from core, never from a client. */
static int prepare_reference(struct request *request, const struct target *target,
			     struct write *write, struct error *err)
{
	const Bpfleet__V1__MapEntry *entry = write->entry;
	const uint32_t zero = 0;
	size_t at = 0;
	int r;

	if (target->shape.kind->value == MAP_VALUE_TARGET) {
		r = check_size(&entry->value, target->shape.value_size, "value", err);
		if (r < 0)
			return r;
		memcpy(write->value, entry->value.data, entry->value.len);
		at = sizeof(uint32_t);
		if (entry->reference[0] == '\0') {
			if (entry->value.len > at &&
			    memcmp(entry->value.data + at, &zero, sizeof(zero)) != 0)
				return error_raise(err, ERROR_INVALID_KEY,
						   "a program is given by its name");
			return 0;
		}
		if (entry->value.len < at + sizeof(uint32_t))
			return error_raise(err, ERROR_INVALID_KEY,
					   "values of this map have no room for a program");
	}
	if (entry->reference[0] == '\0')
		return error_raise(err, ERROR_INVALID_KEY,
				   "an entry of '%s' names a map or program of its instance, or a "
				   "cgroup",
				   target->map->name);
	r = target->shape.kind->value == MAP_VALUE_CGROUP
		    ? cgroup_open(entry->reference, &write->value_fd, err)
		    : outer_resolve(&target->outer, entry->reference, request->arena,
				    &write->value_fd, err);
	if (r >= 0)
		memcpy(write->value + at, &write->value_fd, sizeof(write->value_fd));
	return r;
}

static int prepare_value(struct request *request, const struct target *target, struct write *write,
			 struct error *err)
{
	const struct mapread_map *shape = &target->shape;
	const ProtobufCBinaryData *value = &write->entry->value;

	if (shape->kind->value == MAP_VALUE_MAP || shape->kind->value == MAP_VALUE_PROGRAM ||
	    shape->kind->value == MAP_VALUE_CGROUP || shape->kind->value == MAP_VALUE_TARGET)
		return prepare_reference(request, target, write, err);
	if (write->entry->reference[0] != '\0')
		return error_raise(err, ERROR_INVALID_KEY, "a %s holds no maps and no programs",
				   shape->kind->name);
	write->is_part = (shape->flags & BPF_F_MMAPABLE) && value->len < shape->value_size;
	if (write->is_part || value->len == shape->value_bytes ||
	    check_size(value, shape->value_size, "value", err) >= 0) {
		if (!write->is_part)
			kernel_map_spread(shape, value->data, value->len, write->value);
		return 0;
	}
	return -EINVAL;
}

static int prepare(struct request *request, const Bpfleet__V1__UpdateMapRequest *message,
		   const struct target *target, struct writes *writes, struct error *err)
{
	const size_t n = message->n_entries, key_size = target->shape.key_size,
		     value_bytes = target->shape.value_bytes;
	uint8_t *keys = arena_alloc(request->arena, n * key_size + 1);
	uint8_t *values = arena_alloc(request->arena, 2 * n * value_bytes + 1);
	int r = 0;

	writes->items = arena_alloc(request->arena, (n + 1) * sizeof(*writes->items));
	if (keys == NULL || values == NULL || writes->items == NULL)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "%zu entries of this map are too much for one call", n);
	writes->flags = update_modes[message->mode] | kernel_map_lock_flag(&target->shape);
	writes->batch = n > 1 && update_modes[message->mode] == BPF_ANY &&
			(target->shape.kind->flags & MAP_WRITES_BATCHES) != 0;
	for (size_t i = 0; r >= 0 && i < n; i++) {
		struct write *write = &writes->items[i];

		*write = (struct write){ .key = keys + i * key_size,
					 .value = values + i * value_bytes,
					 .old = values + (n + i) * value_bytes,
					 .key_fd = -1,
					 .value_fd = -1,
					 .entry = message->entries[i] };
		writes->n++;
		r = prepare_key(target, &write->entry->key, write->key, &write->key_fd, err);
		if (r >= 0)
			r = prepare_value(request, target, write, err);
		writes->batch = writes->batch && !write->is_part;
	}
	return r;
}

/* ---- writing */

static uint32_t old_id(const struct write *write)
{
	uint32_t id;

	memcpy(&id, write->old, sizeof(id));
	return write->had ? id : 0;
}

/* The fd that puts a map back where it was. */
static bool reopen_old(const struct target *target, struct write *write)
{
	_cleanup_free_ struct store_map *map = NULL;
	struct error ignored = { 0 };
	int fd = -1;

	if (outer_open_inner(&target->outer, old_id(write), &fd, &map, &ignored) < 0)
		return false;
	(void)close(write->value_fd);
	write->value_fd = fd;
	memcpy(write->old, &fd, sizeof(fd));
	return true;
}

/* Puts back what the first n entries of a failed update replaced; a key that was not there goes. */
static void restore(const struct target *target, const struct writes *writes, size_t n)
{
	const struct mapread_map *shape = &target->shape;
	const bool holds_maps = shape->kind->value == MAP_VALUE_MAP;
	struct error ignored = { 0 };
	int r = 0;

	while (n-- > 0 && shape->kind->key != MAP_KEY_NONE) {
		struct write *write = &writes->items[n];

		if (write->is_part)
			r = kernel_map_store(shape, write->key, write->entry->value_offset,
					     write->old + write->entry->value_offset,
					     write->entry->value.len, &ignored);
		else if (write->had && (!holds_maps || reopen_old(target, write)))
			r = kernel_map_update(shape, write->key, write->old,
					      writes->flags & BPF_F_LOCK, &ignored);
		else if (!write->had)
			r = kernel_map_delete(shape, write->key, &ignored);
	}
	(void)r;
}

/* Rows of durable maps: of a part of a value, its offset follows the key. */
static int store_entries(struct store_tx *tx, const struct target *target,
			 const struct writes *writes, struct error *err)
{
	uint8_t key[sizeof(uint32_t) * 2];
	int r = 0;

	for (size_t i = 0; r >= 0 && target->durable && i < writes->n; i++) {
		const struct write *write = &writes->items[i];
		const Bpfleet__V1__MapEntry *entry = write->entry;

		if (write->is_part) {
			memcpy(key, write->key, sizeof(uint32_t));
			memcpy(key + sizeof(uint32_t), &entry->value_offset, sizeof(uint32_t));
		}
		r = store_entry_put(tx, target->instance->id, target->map->name,
				    write->is_part ? key : write->key,
				    write->is_part ? sizeof(key) : target->shape.key_size,
				    entry->value.data, entry->value.len, err);
	}
	return r;
}

static int write_one(const struct target *target, const struct writes *writes, size_t i,
		     struct error *err)
{
	const struct write *write = &writes->items[i];
	const void *key = target->shape.kind->key == MAP_KEY_NONE ? NULL : write->key;
	int r;

	if (write->is_part)
		r = kernel_map_store(&target->shape, key, write->entry->value_offset,
				     write->entry->value.data, write->entry->value.len, err);
	else
		r = kernel_map_update(&target->shape, key, write->value, writes->flags, err);
	return r < 0 ? error_context(err, r, "entry %zu; %s", i,
				     key != NULL ? "none is written"
						 : "those before it are written")
		     : 0;
}

/* Into the kernel. *ret_n: how many were written. */
static int write_kernel(const struct target *target, const struct writes *writes, size_t *ret_n,
			struct error *err)
{
	const struct mapread_map *shape = &target->shape;
	struct error ignored = { 0 };
	uint32_t n = (uint32_t)writes->n;
	int r = 0;

	for (size_t i = 0; i < writes->n && shape->kind->key != MAP_KEY_NONE; i++) {
		struct write *write = &writes->items[i];

		write->had = mapread_lookup(shape, write->key, write->old, &ignored) >= 0;
	}
	if (writes->batch) {
		r = kernel_map_update_batch(shape, writes->items[0].key, writes->items[0].value, &n,
					    writes->flags, err);
		*ret_n = n;
		return r < 0 ? error_context(err, r, "entry %u; none is written", n) : 0;
	}
	for (size_t i = 0; r >= 0 && i < writes->n; i++) {
		r = write_one(target, writes, i, err);
		*ret_n += r >= 0;
	}
	return r;
}

/* After a commit the maps that were replaced, after a failure those that were to replace them. */
static void drop_inner_maps(const struct target *target, const struct writes *writes, bool written)
{
	struct error ignored = { 0 };

	for (size_t i = 0; i < writes->n && target->shape.kind->value == MAP_VALUE_MAP; i++) {
		const struct write *write = &writes->items[i];
		struct mapread_map fresh;

		if (written && write->had)
			outer_drop_inner(&target->outer, old_id(write));
		else if (!written && strcmp(write->entry->reference, "+") == 0 &&
			 write->value_fd >= 0 &&
			 mapread_open(write->value_fd, 1, &fresh, &ignored) >= 0)
			outer_drop_inner(&target->outer, fresh.id);
	}
}

/*
 * All entries or none, but for what the programs change meanwhile. The kernel is written before the
 * commit: a crash between the two leaves the durable contents that were acknowledged last.
 */
static int write_entries(struct request *request, const struct target *target,
			 const struct writes *writes, const ProtobufCMessage *response,
			 struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	size_t n = 0;
	int r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);

	if (r >= 0)
		r = store_entries(&tx, target, writes, err);
	if (r >= 0)
		r = write_kernel(target, writes, &n, err);
	if (r >= 0)
		r = request_commit(request, &tx, response, err);
	if (r < 0) {
		drop_inner_maps(target, writes, false);
		restore(target, writes, n);
	} else {
		drop_inner_maps(target, writes, true);
	}
	return r;
}

/* ---- sockets */

/* An entry of a map of sockets: on a worker, because whoever has the socket may hold its lock. */
struct insertion {
	struct job job;
	struct request *request;
	struct target target;
	uint8_t *key; /* in the request's arena */
	const Bpfleet__V1__UpdateMapResponse *response;
	uint64_t flags;
	int r;
	struct error err;
};

static void insertion_free(struct insertion *insertion)
{
	if (insertion != NULL)
		target_done(&insertion->target);
	free(insertion);
}
DEFINE_CLEANUP(struct insertion, insertion_free)

static void insertion_work(struct job *job)
{
	struct insertion *insertion = (struct insertion *)(void *)job;

	insertion->r = kernel_map_put_socket(&insertion->target.shape, insertion->key,
					     insertion->request->frame.fd, insertion->flags,
					     &insertion->err);
}

static int insertion_record(struct insertion *insertion)
{
	struct request *request = insertion->request;
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, &insertion->err);

	return r < 0 ? r
		     : request_commit(request, &tx, &insertion->response->base, &insertion->err);
}

/* What could not be recorded does not stay; a socket that was there before is gone as well. */
static void withdrawal_work(struct job *job)
{
	struct insertion *insertion = (struct insertion *)(void *)job;
	struct error ignored = { 0 };
	const int r = kernel_map_delete(&insertion->target.shape, insertion->key, &ignored);

	(void)r;
}

static void withdrawal_done(struct job *job)
{
	_cleanup_(insertion_freep) struct insertion *insertion = (struct insertion *)(void *)job;

	request_fail(insertion->request, &insertion->err);
}

static void insertion_done(struct job *job)
{
	_cleanup_(insertion_freep) struct insertion *insertion = (struct insertion *)(void *)job;

	if (insertion->r >= 0 && insertion_record(insertion) < 0) {
		insertion->job = (struct job){ .work = withdrawal_work, .done = withdrawal_done };
		jobs_submit(insertion->request->core->jobs, &TAKE_PTR(insertion)->job);
	} else if (insertion->r < 0) {
		request_fail(insertion->request, &insertion->err);
	} else {
		request_reply(insertion->request, &insertion->response->base);
	}
}

static int insert_socket(struct request *request, const Bpfleet__V1__UpdateMapRequest *message,
			 struct target *target, const Bpfleet__V1__UpdateMapResponse *response,
			 struct error *err)
{
	_cleanup_(insertion_freep) struct insertion *insertion = calloc(1, sizeof(*insertion));
	uint8_t *key = arena_alloc(request->arena, (size_t)target->shape.key_size + 1);
	int key_fd, r;

	if (insertion == NULL || key == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "update a map");
	insertion->target.fd = -1;
	if (request->frame.fd < 0 || message->n_entries != 1 || message->entries[0]->value.len > 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "an entry of a %s is a socket: hand it over at the fd socket, "
				   "give its ticket and one key",
				   target->shape.kind->name);
	r = prepare_key(target, &message->entries[0]->key, key, &key_fd, err);
	if (r < 0)
		return r;
	*insertion = (struct insertion){
		.job = { .work = insertion_work, .done = insertion_done },
		.request = request,
		.target = *target,
		.key = key,
		.response = response,
		.flags = update_modes[message->mode],
	};
	*target = (struct target){ .fd = -1 };
	jobs_submit(request->core->jobs, &TAKE_PTR(insertion)->job);
	return REQUEST_PENDING;
}

/* ---- any entries */

int serve_update_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__UpdateMapRequest *message = (const void *)request->message;
	Bpfleet__V1__UpdateMapResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_(target_done) struct target target = { .fd = -1 };
	_cleanup_(writes_done) struct writes writes = { 0 };
	int r = target_open(request, message->map, message->n_entries, &target, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "update a map");
	bpfleet__v1__update_map_response__init(response);
	response->n_written = (uint32_t)message->n_entries;
	if ((size_t)message->mode >= ARRAY_SIZE(update_modes))
		return error_raise(err, ERROR_INVALID_ARGUMENT, "no update mode %d",
				   (int)message->mode);
	if (target.shape.kind->value == MAP_VALUE_COOKIE)
		return insert_socket(request, message, &target, response, err);
	if (request->frame.fd >= 0)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a %s holds no sockets",
				   target.shape.kind->name);
	r = prepare(request, message, &target, &writes, err);
	if (r >= 0)
		r = write_entries(request, &target, &writes, &response->base, err);
	else
		drop_inner_maps(&target, &writes, false);
	*ret_response = &response->base;
	return r;
}

/* ---- deleting */

/* 1: it was there. */
static int delete_key(const struct target *target, const ProtobufCBinaryData *bytes,
		      struct arena *arena, struct error *err)
{
	const struct mapread_map *shape = &target->shape;
	uint8_t *key = arena_alloc(arena, (size_t)shape->key_size + 1);
	uint8_t *old = arena_alloc(arena, shape->value_bytes + 1);
	const bool holds_maps = shape->kind->value == MAP_VALUE_MAP;
	_cleanup_close_ int key_fd = -1;
	struct error cause = { 0 };
	uint32_t id = 0;
	int r;

	if (key == NULL || old == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "delete keys");
	r = prepare_key(target, bytes, key, &key_fd, err);
	if (r < 0)
		return r;
	if (holds_maps && mapread_lookup(shape, key, old, &cause) >= 0)
		memcpy(&id, old, sizeof(id));
	cause = (struct error){ 0 };
	r = kernel_map_delete(shape, key, &cause);
	if (r < 0 && cause.code != ERROR_KEY_NOT_IN_MAP) {
		*err = cause;
		return r;
	}
	if (r >= 0 && id != 0)
		outer_drop_inner(&target->outer, id);
	return r >= 0;
}

/* Types whose keys are bytes of their own, and that let no other map go. */
static int delete_batch(struct request *request, const Bpfleet__V1__DeleteMapKeysRequest *message,
			const struct target *target, uint32_t *ret_deleted, struct error *err)
{
	const size_t size = target->shape.key_size;
	uint8_t *keys = arena_alloc(request->arena, message->n_keys * size + 1);
	int ignored_fd, r = 0;

	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "delete keys");
	for (size_t i = 0; r >= 0 && i < message->n_keys; i++)
		r = prepare_key(target, &message->keys[i], keys + i * size, &ignored_fd, err);
	return r < 0 ? r
		     : kernel_map_delete_batch(&target->shape, keys, (uint32_t)message->n_keys,
					       ret_deleted, err);
}

static int delete_keys(struct request *request, const Bpfleet__V1__DeleteMapKeysRequest *message,
		       struct target *target, struct store_tx *tx, uint32_t *ret_deleted,
		       struct error *err)
{
	const uint32_t batches = MAP_DELETES | MAP_WRITES_BATCHES;
	const bool batch = (target->shape.kind->flags & batches) == batches;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < message->n_keys; i++) {
		if (target->durable)
			r = store_entry_delete(tx, target->instance->id, target->map->name,
					       message->keys[i].data, message->keys[i].len, NULL,
					       err);
		if (r >= 0 && !batch)
			r = delete_key(target, &message->keys[i], request->arena, err);
		*ret_deleted += r > 0;
	}
	return r < 0 || !batch ? r : delete_batch(request, message, target, ret_deleted, err);
}

int serve_delete_map_keys(struct request *request, ProtobufCMessage **ret_response,
			  struct error *err)
{
	const Bpfleet__V1__DeleteMapKeysRequest *message = (const void *)request->message;
	Bpfleet__V1__DeleteMapKeysResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	_cleanup_(target_done) struct target target = { .fd = -1 };
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = target_open(request, message->map, message->n_keys, &target, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "delete keys");
	bpfleet__v1__delete_map_keys_response__init(response);
	r = store_tx_begin(request->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = delete_keys(request, message, &target, &tx, &response->n_deleted, err);
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	*ret_response = &response->base;
	return r;
}

/* ---- queues and stacks */

static int pop_values(const struct target *target, struct arena *arena, size_t n,
		      Bpfleet__V1__PopMapResponse *response, struct error *err)
{
	struct error cause = { 0 };
	int r = 0;

	response->entries = arena_alloc(arena, n * sizeof(*response->entries));
	while (r >= 0 && response->entries != NULL && response->n_entries < n) {
		Bpfleet__V1__MapEntry *entry = arena_alloc(arena, sizeof(*entry));
		uint8_t *value = arena_alloc(arena, target->shape.value_bytes + 1);

		if (entry == NULL || value == NULL)
			break;
		r = kernel_map_pop(&target->shape, value, &cause);
		if (r < 0)
			break;
		bpfleet__v1__map_entry__init(entry);
		entry->found = true;
		entry->value = (ProtobufCBinaryData){ target->shape.value_bytes, value };
		response->entries[response->n_entries++] = entry;
	}
	if (r >= 0 || cause.code == ERROR_KEY_NOT_IN_MAP)
		return 0;
	*err = cause;
	return r;
}

int serve_pop_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__PopMapRequest *message = (const void *)request->message;
	const size_t n = message->count == 0 ? 1 : message->count;
	Bpfleet__V1__PopMapResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_(target_done) struct target target = { .fd = -1 };
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = target_open(request, message->map, n, &target, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "pop values");
	bpfleet__v1__pop_map_response__init(response);
	r = store_tx_begin(request->core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = pop_values(&target, request->arena, n, response, err);
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	*ret_response = &response->base;
	return r;
}
