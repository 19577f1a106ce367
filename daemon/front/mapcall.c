#include "daemon/front/mapcall.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "daemon/front/grant.h"
#include "decode/types.h"
#include "proto/arena.h"

#define N_KEYS_MAX 1024
/* Stock clients take messages of at most 4 MiB. */
#define ANSWER_SIZE_MAX ((size_t)3 << 20)
#define JSON_SIZE_MAX ((size_t)512 << 10)
/* How often a grant may be overtaken by a change of policy while it is asked for. */
#define N_TRIES_MAX 3

/* A call that reads a map: what both methods need before they can start. */
struct read {
	struct job job;
	const char *name; /* of the map, as the client said it */
	unsigned int n_tries;
	struct grant *untyped; /* waits for its BTF */
	int (*serve)(struct read *read, struct grant *grant, struct error *err);
};

static void on_granted(void *arg, const struct core_reply *reply);

static int read_ask(struct read *read, struct error *err)
{
	Bpfleet__Ipc__GrantMapRequest request = BPFLEET__IPC__GRANT_MAP_REQUEST__INIT;

	read->n_tries++;
	request.map = (char *)(uintptr_t)read->name;
	request.purpose = BPFLEET__IPC__PURPOSE__PURPOSE_READ;
	return job_ask_message(&read->job, "GrantMap", &request.base, on_granted, err);
}

static int read_serve(struct read *read, struct grant *grant, struct error *err)
{
	struct front *front = read->job.front;

	/* After a change of policy since then, what comes next asks again. */
	if (grant->policy_epoch >= front->policy_epoch)
		grants_keep(front->grants, read->job.session, read->name, grant);
	else
		grant->voided = true;
	return read->serve(read, grant, err);
}

/* Without BTF the map is shown in hex: no reason to fail. */
static void on_btf(void *arg, const struct core_reply *reply)
{
	struct read *read = arg;
	_cleanup_(grant_unrefp) struct grant *grant = TAKE_PTR(read->untyped);
	struct error err = { 0 };
	int r = 0;

	read->job.asked = 0;
	if (reply->error == NULL)
		r = grant_take_btf(grant, reply, &err);
	if (r == 0)
		r = read_serve(read, grant, &err);
	if (r < 0)
		job_fail(&read->job, &err);
}

static int read_granted(struct read *read, const struct core_reply *reply, struct error *err)
{
	struct front *front = read->job.front;
	_cleanup_(grant_unrefp) struct grant *grant = NULL;
	int r = grant_from_reply(reply, grants_n_possible_cpus(front->grants), &grant, err);

	if (r < 0)
		return r;
	if (grant->policy_epoch < front->policy_epoch) {
		if (read->n_tries < N_TRIES_MAX)
			return read_ask(read, err);
		return error_raise(err, ERROR_UNAVAILABLE, "the policy keeps changing; retry");
	}
	if (grant_lacks_btf(grant)) {
		Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;

		request.name = grant->map->name;
		read->untyped = TAKE_PTR(grant);
		return job_ask_message(&read->job, "GetMap", &request.base, on_btf, err);
	}
	return read_serve(read, grant, err);
}

static void on_granted(void *arg, const struct core_reply *reply)
{
	struct read *read = arg;
	struct error err = { 0 };

	read->job.asked = 0;
	if (reply->error != NULL)
		job_fail(&read->job, reply->error);
	else if (read_granted(read, reply, &err) < 0)
		job_fail(&read->job, &err);
}

/* Serves from the cache, or asks. */
static void read_start(struct read *read)
{
	struct grant *grant = grants_find(read->job.front->grants, read->job.session, read->name);
	struct error err = { 0 };
	int r;

	if (grant != NULL)
		r = read->serve(read, grant, &err);
	else
		r = read_ask(read, &err);
	if (r < 0)
		job_fail(&read->job, &err);
}

/* ---- LookupMap */

struct lookup {
	struct read read;
	const Bpfleet__V1__LookupMapRequest *request;
};

/* The i-th key as bytes: given so, or parsed from its text. */
static int lookup_key(const struct lookup *lookup, struct grant *grant, size_t i,
		      const uint8_t **ret, struct error *err)
{
	const Bpfleet__V1__LookupMapRequest *request = lookup->request;
	const struct decoder *decoder = NULL;
	uint32_t size = grant->shape.key_size;
	uint8_t *key;
	int r;

	if (i < request->n_keys) {
		if (request->keys[i].len != size)
			return error_raise(err, ERROR_INVALID_KEY,
					   "key %zu has %zu bytes, keys of this map have %u", i,
					   request->keys[i].len, size);
		*ret = request->keys[i].data;
		return 0;
	}
	key = arena_alloc(rpc_call_arena(lookup->read.job.call), size);
	if (key == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a key");
	r = grant_decoder(grant, &decoder, err);
	if (r == 0)
		r = decoder_parse(decoder, DECODER_KEY, request->key_texts[i - request->n_keys],
				  key, size, err);
	*ret = key;
	return r;
}

static int lookup_entry(struct lookup *lookup, struct grant *grant, size_t i,
			Bpfleet__V1__MapEntry *entry, struct error *err)
{
	struct arena *arena = rpc_call_arena(lookup->read.job.call);
	const struct mapread_map *shape = &grant->shape;
	const struct decoder *decoder = NULL;
	const uint8_t *key = NULL;
	struct str json = { 0 };
	struct error missing = { 0 };
	uint8_t *value;
	int r = lookup_key(lookup, grant, i, &key, err);

	if (r < 0)
		return r;
	value = arena_alloc(arena, shape->value_bytes);
	if (value == NULL)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "the values of so many keys are too large for one answer");
	r = mapread_lookup(shape, key, value, &missing);
	entry->found = r == 0;
	if (r < 0 && missing.code != ERROR_KEY_NOT_IN_MAP) {
		if (err != NULL)
			*err = missing;
		return error_context(err, r, "key %zu", i);
	}
	if (lookup->request->encoding != BPFLEET__V1__ENCODING__ENCODING_JSON) {
		entry->key = (ProtobufCBinaryData){ .len = shape->key_size,
						    .data = (uint8_t *)(uintptr_t)key };
		if (entry->found)
			entry->value =
				(ProtobufCBinaryData){ .len = shape->value_bytes, .data = value };
		return 0;
	}
	if (!entry->found)
		return 0;
	r = grant_decoder(grant, &decoder, err);
	if (r < 0)
		return r;
	(void)decoder_entry_json(decoder, key, value, &json);
	entry->json = json.failed ? NULL : arena_strndup(arena, json.data, json.len);
	str_done(&json);
	if (entry->json == NULL)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "the values of so many keys are too large for one answer");
	return 0;
}

static int lookup_serve(struct read *read, struct grant *grant, struct error *err)
{
	struct lookup *lookup = (struct lookup *)read;
	const Bpfleet__V1__LookupMapRequest *request = lookup->request;
	Bpfleet__V1__LookupMapResponse response = BPFLEET__V1__LOOKUP_MAP_RESPONSE__INIT;
	struct arena *arena = rpc_call_arena(read->job.call);
	size_t n = request->n_keys + request->n_key_texts;
	Bpfleet__V1__MapEntry *entries;
	int r;

	if (n * (grant->shape.key_size + grant->shape.value_bytes) > ANSWER_SIZE_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "the values of %zu keys are too large for one answer", n);
	entries = arena_alloc(arena, n * sizeof(*entries));
	response.entries = arena_alloc(arena, n * sizeof(*response.entries));
	if (n > 0 && (entries == NULL || response.entries == NULL))
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for %zu entries", n);
	for (size_t i = 0; i < n; i++) {
		bpfleet__v1__map_entry__init(&entries[i]);
		response.entries[i] = &entries[i];
		r = lookup_entry(lookup, grant, i, &entries[i], err);
		if (r < 0)
			return r;
	}
	response.n_entries = n;
	if (protobuf_c_message_get_packed_size(&response.base) > ANSWER_SIZE_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "the values of %zu keys are too large for one answer", n);
	(void)rpc_call_reply(read->job.call, &response.base);
	return 0;
}

void lookup_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct lookup *lookup = job_new(call, sizeof(*lookup));
	struct error err = { 0 };

	(void)user;
	if (lookup == NULL)
		return;
	lookup->request = (const Bpfleet__V1__LookupMapRequest *)request;
	lookup->read.name = lookup->request->map;
	lookup->read.serve = lookup_serve;
	if (lookup->request->n_keys > N_KEYS_MAX ||
	    lookup->request->n_keys + lookup->request->n_key_texts > N_KEYS_MAX) {
		(void)error_raise(&err, ERROR_REQUEST_TOO_LARGE, "more than %d keys", N_KEYS_MAX);
		job_fail(&lookup->read.job, &err);
		return;
	}
	read_start(&lookup->read);
}

void lookup_on_done(struct rpc_call *call, void *user)
{
	struct lookup *lookup = rpc_call_state(call);

	(void)user;
	if (lookup == NULL)
		return;
	grant_unref(lookup->read.untyped);
	job_free(&lookup->read.job);
}

/* ---- DumpMap */

struct dump {
	struct read read;
	bool json;
	struct grant *grant;  /* whose fd is read */
	struct grant *permit; /* the latest for the same map; voided: ask again */
	struct mapread_dump *cursor;
	/* Of the current chunk, what has not been sent. */
	const uint8_t *entries;
	uint32_t n_entries;
	bool ended;
};

static void dump_pump(struct dump *dump);

/* Entries as JSON until the message is large enough; takes them off the chunk. */
static int dump_json(struct dump *dump, struct arena *arena, Bpfleet__V1__DumpMapResponse *response,
		     struct error *err)
{
	const struct mapread_map *shape = &dump->grant->shape;
	size_t entry_size = shape->key_size + shape->value_bytes;
	const struct decoder *decoder = NULL;
	_cleanup_(str_done) struct str json = { 0 };
	int r = grant_decoder(dump->grant, &decoder, err);

	if (r < 0)
		return r;
	response->json = arena_alloc(arena, dump->n_entries * sizeof(*response->json));
	if (response->json == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	for (size_t size = 0; dump->n_entries > 0 && size < JSON_SIZE_MAX; size += json.len) {
		json.len = 0;
		(void)decoder_entry_json(decoder, dump->entries, dump->entries + shape->key_size,
					 &json);
		response->json[response->n_json] =
			json.failed ? NULL : arena_strndup(arena, json.data, json.len);
		if (response->json[response->n_json] == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
		response->n_json++;
		dump->entries += entry_size;
		dump->n_entries--;
	}
	response->n_entries = (uint32_t)response->n_json;
	return 0;
}

/* Sends one message. 1: there is room for another, 0: not now. */
static int dump_send(struct dump *dump, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__DumpMapResponse response = BPFLEET__V1__DUMP_MAP_RESPONSE__INIT;
	const struct mapread_map *shape = &dump->grant->shape;
	size_t size = 0;
	int r = 0;

	if (dump->n_entries == 0)
		r = mapread_dump_next(dump->cursor, &dump->entries, &size, &dump->n_entries, err);
	if (r < 0)
		return r;
	if (dump->n_entries == 0) {
		dump->ended = true;
		(void)rpc_call_finish(dump->read.job.call);
		return 0;
	}
	if (dump->json) {
		arena = arena_new(ANSWER_SIZE_MAX + (1u << 20));
		if (arena == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
		r = dump_json(dump, arena, &response, err);
	} else {
		response.n_entries = dump->n_entries;
		response.entries.data = (uint8_t *)(uintptr_t)dump->entries;
		response.entries.len =
			(shape->key_size + shape->value_bytes) * (size_t)dump->n_entries;
		dump->n_entries = 0;
	}
	if (r < 0)
		return r;
	r = rpc_call_send(dump->read.job.call, &response.base);
	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	return r < 0 ? 0 : r;
}

/* A voided grant is asked for again before another entry is read; on_granted comes back here. */
static int dump_serve(struct read *read, struct grant *grant, struct error *err)
{
	struct dump *dump = (struct dump *)read;
	int r = 0;

	if (dump->grant == NULL)
		dump->grant = grant_ref(grant);
	else if (dump->grant->shape.id != grant->shape.id)
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the map was replaced while it was read; read it again");
	grant_unref(dump->permit);
	dump->permit = grant_ref(grant);
	if (dump->cursor == NULL)
		r = mapread_dump_new(&dump->grant->shape, &dump->cursor, err);
	if (r < 0)
		return r;
	dump_pump(dump);
	return 0;
}

static void dump_pump(struct dump *dump)
{
	struct error err = { 0 };
	int r = 1;

	while (r > 0 && !dump->ended && rpc_call_alive(dump->read.job.call)) {
		if (dump->permit->voided) {
			dump->read.n_tries = 0;
			r = read_ask(&dump->read, &err);
			break;
		}
		r = dump_send(dump, &err);
	}
	if (r < 0)
		job_fail(&dump->read.job, &err);
}

void dump_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__DumpMapRequest *dump_request =
		(const Bpfleet__V1__DumpMapRequest *)request;
	struct dump *dump = job_new(call, sizeof(*dump));

	(void)user;
	if (dump == NULL)
		return;
	dump->json = dump_request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON;
	dump->read.name = dump_request->map;
	dump->read.serve = dump_serve;
	read_start(&dump->read);
}

void dump_on_writable(struct rpc_call *call, void *user)
{
	struct dump *dump = rpc_call_state(call);

	(void)user;
	if (dump != NULL && dump->cursor != NULL && dump->read.job.asked == 0)
		dump_pump(dump);
}

void dump_on_cancelled(struct rpc_call *call, void *user)
{
	struct dump *dump = rpc_call_state(call);

	(void)user;
	if (dump != NULL)
		job_cancel(&dump->read.job);
}

void dump_on_done(struct rpc_call *call, void *user)
{
	struct dump *dump = rpc_call_state(call);

	(void)user;
	if (dump == NULL)
		return;
	mapread_dump_free(dump->cursor);
	grant_unref(dump->grant);
	grant_unref(dump->permit);
	grant_unref(dump->read.untyped);
	job_free(&dump->read.job);
}
