#include "daemon/front/mapwrite.h"

#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/map-type.h"
#include "daemon/front/call.h"
#include "daemon/front/closer.h"
#include "daemon/front/mapentry.h"
#include "decode/types.h"
#include "proto/arena.h"

#define N_ENTRIES_MAX 1024

struct write {
	struct job job;
	const ProtobufCMessage *request;
	const struct map_type *type;
	struct decoder *decoder;
};

static bool is_kind(const struct write *write, const ProtobufCMessageDescriptor *descriptor)
{
	return write->request->descriptor == descriptor;
}

#define IS_UPDATE(write) is_kind(write, &bpfleet__v1__update_map_request__descriptor)
#define IS_POP(write) is_kind(write, &bpfleet__v1__pop_map_request__descriptor)

/* Every request has the map's name first. */
static char *map_of(const struct write *write)
{
	return ((const Bpfleet__V1__PopMapRequest *)write->request)->map;
}

static bool has_text(const struct write *write)
{
	if (IS_UPDATE(write))
		return ((const Bpfleet__V1__UpdateMapRequest *)write->request)->n_json > 0;
	if (IS_POP(write))
		return ((const Bpfleet__V1__PopMapRequest *)write->request)->encoding ==
		       BPFLEET__V1__ENCODING__ENCODING_JSON;
	return ((const Bpfleet__V1__DeleteMapKeysRequest *)write->request)->n_key_texts > 0;
}

static int too_many(struct error *err)
{
	return error_raise(err, ERROR_REQUEST_TOO_LARGE, "more than %d entries", N_ENTRIES_MAX);
}

/* A value popped as bytes becomes {"value":...}. */
static int show_popped(struct write *write, const struct core_reply *reply, struct error *err)
{
	struct arena *arena = rpc_call_arena(write->job.call);
	Bpfleet__V1__PopMapResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__pop_map_response__descriptor, &message, err);

	if (r < 0)
		return r;
	response = (Bpfleet__V1__PopMapResponse *)message;
	for (size_t i = 0; i < response->n_entries; i++) {
		Bpfleet__V1__MapEntry *entry = response->entries[i];
		_cleanup_(str_done) struct str json = { 0 };

		(void)str_append(&json, "{\"value\":");
		(void)decoder_json(write->decoder, DECODER_VALUE, entry->value.data,
				   entry->value.len, &json);
		(void)str_append(&json, "}");
		entry->json = json.failed ? NULL : arena_strndup(arena, json.data, json.len);
		entry->value.len = 0;
		if (entry->json == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for an entry");
	}
	(void)rpc_call_reply(write->job.call, message);
	return 0;
}

static void on_written(void *arg, const struct core_reply *reply)
{
	struct write *write = arg;
	struct error err = { 0 };

	write->job.asked = 0;
	if (reply->error != NULL)
		job_fail(&write->job, reply->error);
	else if (!IS_POP(write) || write->decoder == NULL)
		(void)rpc_call_reply_bytes(write->job.call, reply->body, reply->body_size);
	else if (show_popped(write, reply, &err) < 0)
		job_fail(&write->job, &err);
}

/* The socket that an update puts into a map, taken only when core is asked; NULL: none.
 */
static int take_socket(struct write *write, struct parcel **ret, struct error *err)
{
	const Bpfleet__V1__UpdateMapRequest *request =
		(const Bpfleet__V1__UpdateMapRequest *)write->request;

	*ret = NULL;
	if (!IS_UPDATE(write))
		return 0;
	return job_take_socket(&write->job, &request->socket_ticket, ret, err);
}

/* As it came. */
static int forward(struct write *write, struct error *err)
{
	struct core_request request = { .method = rpc_call_method(write->job.call)->name,
					.fd = -1 };
	int r = take_socket(write, &request.parcel, err);

	if (request.parcel != NULL)
		request.fd = request.parcel->kept;
	rpc_call_request_bytes(write->job.call, &request.body, &request.body_size);
	return r < 0 ? r : job_ask_with(&write->job, &request, on_written, err);
}

static int ask_update(struct write *write, struct error *err)
{
	Bpfleet__V1__UpdateMapRequest request =
		*(const Bpfleet__V1__UpdateMapRequest *)write->request;
	struct arena *arena = rpc_call_arena(write->job.call);
	const size_t n = request.n_entries + request.n_json;
	Bpfleet__V1__MapEntry **entries = arena_alloc(arena, (n + 1) * sizeof(*entries));
	struct parcel *parcel;
	int r = 0;

	if (n > N_ENTRIES_MAX)
		return too_many(err);
	if (entries == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for %zu entries", n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i < request.n_entries)
			entries[i] = request.entries[i];
		else
			r = mapentry_parse(write->type, write->decoder,
					   request.json[i - request.n_entries], arena, &entries[i],
					   err);
		if (r < 0)
			return error_context(err, r, "entry %zu", i);
	}
	request.entries = entries;
	request.n_entries = n;
	request.n_json = 0;
	r = take_socket(write, &parcel, err);
	return r < 0 ? r
		     : job_ask_message_with(&write->job, "UpdateMap", &request.base, parcel,
					    on_written, err);
}

static int ask_delete(struct write *write, struct error *err)
{
	Bpfleet__V1__DeleteMapKeysRequest request =
		*(const Bpfleet__V1__DeleteMapKeysRequest *)write->request;
	struct arena *arena = rpc_call_arena(write->job.call);
	const size_t n = request.n_keys + request.n_key_texts;
	ProtobufCBinaryData *keys = arena_alloc(arena, (n + 1) * sizeof(*keys));
	int r = 0;

	if (n > N_ENTRIES_MAX)
		return too_many(err);
	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for %zu keys", n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (i < request.n_keys)
			keys[i] = request.keys[i];
		else
			r = mapentry_key(write->type, write->decoder,
					 request.key_texts[i - request.n_keys], arena, &keys[i],
					 err);
		if (r < 0)
			return error_context(err, r, "key %zu", i);
	}
	request.keys = keys;
	request.n_keys = n;
	request.n_key_texts = 0;
	return job_ask_message(&write->job, "DeleteMapKeys", &request.base, on_written, err);
}

static int go_on(struct write *write, const struct core_reply *reply, struct error *err)
{
	const Bpfleet__V1__GetMapResponse *response;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__get_map_response__descriptor, &message, err);

	if (r < 0)
		return r;
	response = (const Bpfleet__V1__GetMapResponse *)message;
	write->type = response->map == NULL ? NULL : map_type_find(response->map->type);
	if (write->type == NULL)
		return error_raise(err, ERROR_PROTOCOL, "core's answer to GetMap is malformed");
	if ((IS_UPDATE(write) && (write->type->flags & MAP_UPDATES) == 0) ||
	    (is_kind(write, &bpfleet__v1__delete_map_keys_request__descriptor) &&
	     (write->type->flags & MAP_DELETES) == 0))
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "entries of a %s are not %s this way%s%s", write->type->name,
				   IS_UPDATE(write) ? "written" : "deleted",
				   write->type->instead != NULL ? ": " : "",
				   write->type->instead != NULL ? write->type->instead : "");
	r = decoder_new_for_map(response->map, response->btf.data, response->btf.len,
				&write->decoder, err);
	if (r < 0)
		return r;
	if (IS_UPDATE(write))
		return ask_update(write, err);
	return IS_POP(write) ? forward(write, err) : ask_delete(write, err);
}

static void on_types(void *arg, const struct core_reply *reply)
{
	struct write *write = arg;
	struct error err = { 0 };

	write->job.asked = 0;
	if (reply->error != NULL)
		job_fail(&write->job, reply->error);
	else if (go_on(write, reply, &err) < 0)
		job_fail(&write->job, &err);
}

void mapwrite_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct write *write = job_new(call, sizeof(*write));
	Bpfleet__V1__GetMapRequest types = BPFLEET__V1__GET_MAP_REQUEST__INIT;
	struct error err = { 0 };
	int r;

	(void)user;
	if (write == NULL)
		return;
	write->request = request;
	types.name = map_of(write);
	if (has_text(write))
		r = job_ask_message(&write->job, "GetMap", &types.base, on_types, &err);
	else
		r = forward(write, &err);
	if (r < 0)
		job_fail(&write->job, &err);
}

void mapwrite_on_done(struct rpc_call *call, void *user)
{
	struct write *write = rpc_call_state(call);

	(void)user;
	if (write == NULL)
		return;
	decoder_free(write->decoder);
	job_free(&write->job);
}
