#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/fd.h"
#include "client/lib.h"
#include "client/ref.h"
#include "rpc/client.h"

#define KEYS_MAX 1024U
/* One request stays well under what a daemon takes, one answer under what a channel does. */
#define REQUEST_BYTES ((size_t)128 << 10)
#define ANSWER_BYTES ((size_t)8 << 20)

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

struct lookup {
	struct node *node;
	char map[REF_SIZE];
	size_t key_size;
	size_t value_size;
};

static int take_value(const struct lookup *lookup, const Bpfleet__V1__MapEntry *entry, uint8_t *out,
		      bool *ret_found, struct error *err)
{
	if (entry->found && entry->value.len != lookup->value_size)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "a value of %s has %zu bytes, and room for %zu was given",
				   lookup->map, entry->value.len, lookup->value_size);
	memset(out, 0, lookup->value_size);
	if (entry->found)
		memcpy(out, entry->value.data, lookup->value_size);
	*ret_found = entry->found;
	return 0;
}

static int lookup_batch(const struct lookup *lookup, const uint8_t *keys, size_t n, uint8_t *values,
			bool *ret_found, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	ProtobufCBinaryData slices[KEYS_MAX];
	Bpfleet__V1__LookupMapResponse *response;
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		slices[i].data = (uint8_t *)(keys + i * lookup->key_size);
		slices[i].len = lookup->key_size;
	}
	request.map = (char *)lookup->map;
	request.keys = slices;
	request.n_keys = n;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_PACKED;
	r = node_call(lookup->node, "LookupMap", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (Bpfleet__V1__LookupMapResponse *)answer;
	if (response->n_entries != n)
		return error_raise(err, ERROR_PROTOCOL, "%zu keys were answered with %zu entries",
				   n, response->n_entries);
	for (size_t i = 0; i < n; i++) {
		r = take_value(lookup, response->entries[i], values + i * lookup->value_size,
			       &ret_found[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int lookup_all(const struct lookup *lookup, const uint8_t *keys, size_t n_keys,
		      uint8_t *values, bool *ret_found, struct error *err)
{
	size_t batch = KEYS_MAX;
	int r;

	if (lookup->key_size > 0 && REQUEST_BYTES / lookup->key_size < batch)
		batch = REQUEST_BYTES / lookup->key_size;
	if (lookup->value_size > 0 && ANSWER_BYTES / lookup->value_size < batch)
		batch = ANSWER_BYTES / lookup->value_size;
	if (batch == 0)
		batch = 1;
	for (size_t at = 0; at < n_keys; at += batch) {
		size_t n = n_keys - at < batch ? n_keys - at : batch;

		r = lookup_batch(lookup, keys + at * lookup->key_size, n,
				 values + at * lookup->value_size, ret_found + at, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int bpfleet_map_lookup_many(struct bpfleet *node, const char *map, const void *keys,
			    size_t key_size, size_t n_keys, void *values, size_t value_size,
			    bool *ret_found, struct bpfleet_error *error)
{
	struct lookup lookup = { .node = node->node,
				 .key_size = key_size,
				 .value_size = value_size };
	struct error err = { 0 };
	int r;

	r = ref_map(map, lookup.map, &err);
	if (r == 0)
		r = lookup_all(&lookup, keys, n_keys, values, ret_found, &err);
	return lib_result(r, &err, error);
}

int bpfleet_map_lookup(struct bpfleet *node, const char *map, const void *key, size_t key_size,
		       void *value, size_t value_size, struct bpfleet_error *error)
{
	struct lookup lookup = { .node = node->node,
				 .key_size = key_size,
				 .value_size = value_size };
	_cleanup_free_ uint8_t *found_value = malloc(value_size + 1);
	struct error err = { 0 };
	bool found = false;
	int r;

	r = found_value == NULL ? no_memory(&err) : ref_map(map, lookup.map, &err);
	if (r == 0)
		r = lookup_all(&lookup, key, 1, found_value, &found, &err);
	if (r == 0 && !found)
		r = error_raise(&err, ERROR_KEY_NOT_IN_MAP, "%s has no such key", lookup.map);
	if (r == 0)
		memcpy(value, found_value, value_size);
	return lib_result(r, &err, error);
}

/* At most KEYS_MAX entries; socket -1: none. */
static int update(struct bpfleet *node, const char *map, Bpfleet__V1__MapEntry *entries, size_t n,
		  int socket, struct error *err)
{
	Bpfleet__V1__MapEntry *pointers[KEYS_MAX];
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_close_ int connection = -1;
	uint8_t ticket[FD_TICKET_LEN];
	ProtobufCMessage *response;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_map(map, name, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0 && socket >= 0)
		r = fd_hand_over(node->node, socket, &connection, ticket, err);
	if (r < 0)
		return r;
	request.map = name;
	if (socket >= 0)
		request.socket_ticket = (ProtobufCBinaryData){ sizeof(ticket), ticket };
	for (size_t i = 0; i < n; i++)
		pointers[i] = &entries[i];
	request.entries = pointers;
	request.n_entries = n;
	request.request_id = request_id;
	return node_call(node->node, "UpdateMap", &request.base, arena, &response, err);
}

int bpfleet_map_update(struct bpfleet *node, const char *map, const void *key, size_t key_size,
		       const void *value, size_t value_size, struct bpfleet_error *error)
{
	Bpfleet__V1__MapEntry entry = BPFLEET__V1__MAP_ENTRY__INIT;
	struct error err = { 0 };
	int r;

	entry.key.data = (uint8_t *)key;
	entry.key.len = key_size;
	entry.value.data = (uint8_t *)value;
	entry.value.len = value_size;
	r = update(node, map, &entry, 1, -1, &err);
	return lib_result(r, &err, error);
}

int bpfleet_map_put_socket(struct bpfleet *node, const char *map, const void *key, size_t key_size,
			   int socket, struct bpfleet_error *error)
{
	Bpfleet__V1__MapEntry entry = BPFLEET__V1__MAP_ENTRY__INIT;
	struct error err = { 0 };
	int r;

	entry.key.data = (uint8_t *)key;
	entry.key.len = key_size;
	r = socket < 0 ? error_raise(&err, ERROR_INVALID_ARGUMENT, "%d is no socket", socket)
		       : update(node, map, &entry, 1, socket, &err);
	return lib_result(r, &err, error);
}

static int delete_keys(struct bpfleet *node, const char *map, ProtobufCBinaryData *keys, size_t n,
		       size_t *ret_deleted, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__DeleteMapKeysRequest request = BPFLEET__V1__DELETE_MAP_KEYS_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_map(map, name, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.map = name;
	request.keys = keys;
	request.n_keys = n;
	request.request_id = request_id;
	r = node_call(node->node, "DeleteMapKeys", &request.base, arena, &response, err);
	if (r == 0)
		*ret_deleted += ((Bpfleet__V1__DeleteMapKeysResponse *)response)->n_deleted;
	return r;
}

int bpfleet_map_delete(struct bpfleet *node, const char *map, const void *key, size_t key_size,
		       struct bpfleet_error *error)
{
	ProtobufCBinaryData bytes = { key_size, (uint8_t *)key };
	struct error err = { 0 };
	size_t n_deleted = 0;
	int r;

	r = delete_keys(node, map, &bytes, 1, &n_deleted, &err);
	if (r == 0 && n_deleted == 0)
		r = error_raise(&err, ERROR_KEY_NOT_IN_MAP, "%s has no such key", map);
	return lib_result(r, &err, error);
}

/* How many of these go into one request. */
static size_t batch_of(size_t n, size_t size)
{
	size_t most = size > 0 && REQUEST_BYTES / size < KEYS_MAX ? REQUEST_BYTES / size : KEYS_MAX;

	most = most > 0 ? most : 1;
	return n < most ? n : most;
}

int bpfleet_map_delete_many(struct bpfleet *node, const char *map, const void *keys,
			    size_t key_size, size_t n, size_t *ret_deleted,
			    struct bpfleet_error *error)
{
	ProtobufCBinaryData slices[KEYS_MAX];
	struct error err = { 0 };
	size_t n_deleted = 0, batch;
	int r = 0;

	for (size_t at = 0; r == 0 && at < n; at += batch) {
		batch = batch_of(n - at, key_size);
		for (size_t i = 0; i < batch; i++)
			slices[i] = (ProtobufCBinaryData){ key_size,
							   (uint8_t *)keys + (at + i) * key_size };
		r = delete_keys(node, map, slices, batch, &n_deleted, &err);
	}
	if (ret_deleted != NULL)
		*ret_deleted = n_deleted;
	return lib_result(r, &err, error);
}

int bpfleet_map_update_many(struct bpfleet *node, const char *map, const void *keys,
			    size_t key_size, const void *values, size_t value_size, size_t n,
			    size_t *ret_written, struct bpfleet_error *error)
{
	_cleanup_free_ Bpfleet__V1__MapEntry *entries = malloc(KEYS_MAX * sizeof(*entries));
	struct error err = { 0 };
	size_t at = 0, batch = 0;
	int r = entries == NULL ? no_memory(&err) : 0;

	for (; r == 0 && at < n; at += r == 0 ? batch : 0) {
		batch = batch_of(n - at, key_size + value_size);
		for (size_t i = 0; i < batch; i++) {
			bpfleet__v1__map_entry__init(&entries[i]);
			entries[i].key =
				(ProtobufCBinaryData){ key_size,
						       (uint8_t *)keys + (at + i) * key_size };
			entries[i].value =
				(ProtobufCBinaryData){ value_size,
						       (uint8_t *)values + (at + i) * value_size };
		}
		r = update(node, map, entries, batch, -1, &err);
	}
	if (ret_written != NULL)
		*ret_written = at;
	return lib_result(r, &err, error);
}

/* ---- dumps */

struct bpfleet_dump {
	struct node *node;
	struct rpc_stream *stream;
	size_t key_size; /* 0 with JSON */
	size_t value_size;
	struct arena *arena; /* of the current message */
	const Bpfleet__V1__DumpMapResponse *message;
	size_t next; /* entry of the message */
};

static int entry_sizes(struct bpfleet *node, const char *name, struct bpfleet_dump *dump,
		       struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;
	const Bpfleet__V1__GetMapResponse *response;
	ProtobufCMessage *answer;
	struct bpfleet_map map;
	int r;

	if (arena == NULL)
		return no_memory(err);
	request.name = (char *)name;
	r = node_call(node->node, "GetMap", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__GetMapResponse *)answer;
	if (response->map == NULL)
		return error_raise(err, ERROR_PROTOCOL, "GetMap was answered without a map");
	r = lib_map(arena, &response->map->base, &map, err);
	if (r < 0)
		return r;
	dump->key_size = map.key_size;
	dump->value_size = bpfleet_map_value_bytes(&map);
	return 0;
}

static int dump_start(struct bpfleet *node, const char *map, bool as_json,
		      struct bpfleet_dump *dump, struct error *err)
{
	Bpfleet__V1__DumpMapRequest request = BPFLEET__V1__DUMP_MAP_REQUEST__INIT;
	char name[REF_SIZE];
	int r;

	r = ref_map(map, name, err);
	if (r == 0 && !as_json)
		r = entry_sizes(node, name, dump, err);
	if (r < 0)
		return r;
	request.map = name;
	request.encoding = as_json ? BPFLEET__V1__ENCODING__ENCODING_JSON
				   : BPFLEET__V1__ENCODING__ENCODING_PACKED;
	r = node_subscribe(node->node, "DumpMap", &request.base, UINT64_MAX, &dump->stream, err);
	if (r == 0)
		node_stream_limit(node->node, dump->stream);
	return r;
}

int bpfleet_dump_open(struct bpfleet *node, const char *map, bool as_json,
		      struct bpfleet_dump **ret_dump, struct bpfleet_error *error)
{
	struct bpfleet_dump *dump = calloc(1, sizeof(*dump));
	struct error err = { 0 };
	int r;

	if (dump == NULL)
		return lib_result(no_memory(&err), &err, error);
	dump->node = node->node;
	r = dump_start(node, map, as_json, dump, &err);
	if (r < 0) {
		free(dump);
		return lib_result(r, &err, error);
	}
	*ret_dump = dump;
	return 0;
}

static size_t entries_left(const struct bpfleet_dump *dump)
{
	if (dump->message == NULL)
		return 0;
	return (dump->key_size + dump->value_size == 0 ? dump->message->n_json
						       : dump->message->n_entries) -
	       dump->next;
}

/* 1: another message is there, 0: the end. */
static int dump_receive(struct bpfleet_dump *dump, struct error *err)
{
	ProtobufCMessage *message;
	size_t size = dump->key_size + dump->value_size;
	int r;

	arena_free(dump->arena);
	dump->message = NULL;
	dump->next = 0;
	dump->arena = arena_new(NODE_ARENA_LIMIT);
	if (dump->arena == NULL)
		return no_memory(err);
	r = rpc_stream_receive(dump->stream, dump->arena, &message, err);
	if (r < 0)
		return node_explain(dump->node, r, err);
	if (r == 0)
		return 0;
	dump->message = (const Bpfleet__V1__DumpMapResponse *)message;
	if (size > 0 && dump->message->entries.len != dump->message->n_entries * size) {
		dump->message = NULL;
		return error_raise(err, ERROR_PROTOCOL,
				   "a dump's entries do not have the map's sizes");
	}
	return 1;
}

int bpfleet_dump_next(struct bpfleet_dump *dump, struct bpfleet_entry *ret_entry,
		      struct bpfleet_error *error)
{
	struct bpfleet_entry entry = { .json = "" };
	struct error err = { 0 };
	int r;

	while (entries_left(dump) == 0) {
		r = dump_receive(dump, &err);
		if (r <= 0)
			return lib_result(r, &err, error);
	}
	if (dump->key_size + dump->value_size == 0) {
		entry.json = dump->message->json[dump->next];
	} else {
		entry.key = dump->message->entries.data +
			    dump->next * (dump->key_size + dump->value_size);
		entry.key_size = dump->key_size;
		entry.value = (const uint8_t *)entry.key + dump->key_size;
		entry.value_size = dump->value_size;
	}
	dump->next++;
	*ret_entry = entry;
	return 1;
}

void bpfleet_dump_close(struct bpfleet_dump *dump)
{
	if (dump == NULL)
		return;
	node_stream_free(dump->node, dump->stream);
	arena_free(dump->arena);
	free(dump);
}
