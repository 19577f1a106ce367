/* Writing maps for clients; the entries of durable maps are rows as well. */
#include <string.h>

#include "base/error.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"

#define ENTRIES_MAX 1024u

struct target {
	struct core *core;
	bool entered; /* the instance: no unload and no re-apply meanwhile */
	struct store_instance *instance;
	struct store_map *map;
	int fd;
	struct mapread_map shape;
	bool durable;
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
	return r < 0 ? r : request_check_deadline(request, err);
}

static int check_size(const ProtobufCBinaryData *bytes, uint32_t size, const char *what,
		      struct error *err)
{
	if (bytes->len == size)
		return 0;
	return error_raise(err, ERROR_INVALID_KEY, "a %s of %zu bytes; this map's have %u", what,
			   bytes->len, size);
}

static int check_entries(const Bpfleet__V1__UpdateMapRequest *message, const struct target *target,
			 struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < message->n_entries; i++) {
		r = check_size(&message->entries[i]->key, target->shape.key_size, "key", err);
		if (r >= 0)
			r = check_size(&message->entries[i]->value, target->shape.value_size,
				       "value", err);
	}
	return r;
}

/* Puts back what the first n entries of a failed update replaced; a key that was not there goes. */
static void restore(const Bpfleet__V1__UpdateMapRequest *message, const struct target *target,
		    const uint8_t *old, const bool *had, size_t n)
{
	struct error ignored = { 0 };
	int r = 0;

	while (n-- > 0) {
		const void *key = message->entries[n]->key.data;

		if (had[n])
			r = kernel_map_update(&target->shape, key,
					      old + n * target->shape.value_bytes, &ignored);
		else
			r = kernel_map_delete(&target->shape, key, &ignored);
	}
	(void)r;
}

/*
 * All entries or none, but for what the programs change meanwhile. The kernel is written before the
 * commit: a crash between the two leaves the durable contents that were acknowledged last.
 */
static int write_entries(struct request *request, const Bpfleet__V1__UpdateMapRequest *message,
			 struct target *target, const ProtobufCMessage *response, struct error *err)
{
	_cleanup_free_ uint8_t *old = calloc(message->n_entries + 1, target->shape.value_bytes + 1);
	_cleanup_free_ bool *had = calloc(message->n_entries + 1, sizeof(*had));
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct error ignored = { 0 };
	size_t n = 0;
	int r;

	if (old == NULL || had == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "update a map");
	r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	for (size_t i = 0; r >= 0 && target->durable && i < message->n_entries; i++) {
		const Bpfleet__V1__MapEntry *entry = message->entries[i];

		r = store_entry_put(&tx, target->instance->id, target->map->name, entry->key.data,
				    entry->key.len, entry->value.data, entry->value.len, err);
	}
	for (; r >= 0 && n < message->n_entries; n++) {
		const Bpfleet__V1__MapEntry *entry = message->entries[n];

		had[n] = mapread_lookup(&target->shape, entry->key.data,
					old + n * target->shape.value_bytes, &ignored) >= 0;
		r = kernel_map_update(&target->shape, entry->key.data, entry->value.data, err);
		if (r < 0) {
			(void)error_context(err, r, "entry %zu; none is written", n);
			break;
		}
	}
	if (r >= 0)
		r = request_commit(request, &tx, response, err);
	if (r < 0)
		restore(message, target, old, had, n);
	return r;
}

int serve_update_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__UpdateMapRequest *message = (const void *)request->message;
	Bpfleet__V1__UpdateMapResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_(target_done) struct target target = { .fd = -1 };
	int r = target_open(request, message->map, message->n_entries, &target, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "update a map");
	bpfleet__v1__update_map_response__init(response);
	response->n_written = (uint32_t)message->n_entries;
	r = check_entries(message, &target, err);
	if (r >= 0)
		r = write_entries(request, message, &target, &response->base, err);
	*ret_response = &response->base;
	return r;
}

static int delete_keys(const Bpfleet__V1__DeleteMapKeysRequest *message, struct target *target,
		       struct store_tx *tx, uint32_t *ret_deleted, struct error *err)
{
	uint32_t n = 0;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < message->n_keys; i++) {
		struct error cause = { 0 };

		r = check_size(&message->keys[i], target->shape.key_size, "key", err);
		if (r >= 0 && target->durable)
			r = store_entry_delete(tx, target->instance->id, target->map->name,
					       message->keys[i].data, message->keys[i].len, NULL,
					       err);
		if (r < 0)
			return r;
		r = kernel_map_delete(&target->shape, message->keys[i].data, &cause);
		if (r >= 0)
			n++;
		else if (cause.code == ERROR_KEY_NOT_IN_MAP)
			r = 0;
		else
			*err = cause;
	}
	*ret_deleted = n;
	return r;
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
		r = delete_keys(message, &target, &tx, &response->n_deleted, err);
	if (r >= 0)
		r = request_commit(request, &tx, &response->base, err);
	*ret_response = &response->base;
	return r;
}
