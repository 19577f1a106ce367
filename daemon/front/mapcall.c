#include "daemon/front/mapcall.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/map-type.h"
#include "daemon/front/call.h"
#include "daemon/front/grant.h"
#include "daemon/front/kallsyms.h"
#include "daemon/front/mapentry.h"
#include "daemon/front/walker.h"
#include "daemon/mapread/storage.h"
#include "decode/types.h"
#include "proto/arena.h"

#define N_KEYS_MAX 1024
/* Stock clients take messages of at most 4 MiB. */
#define ANSWER_SIZE_MAX ((size_t)3 << 20)
#define JSON_SIZE_MAX ((size_t)512 << 10)
/* How often a grant may be overtaken by a change of policy while it is asked for. */
#define N_TRIES_MAX 3
/* Of a local storage, in one message. */
#define N_WALKED_MAX 4096

/* A call that reads a map: what both methods need before they can start. */
struct read {
	struct job job;
	const char *name; /* of the map, as the client said it, without [KEY] */
	const char
		*inner_key; /* of MAP[KEY]: the inner map under that key is read; NULL: the map */
	uint32_t inner_id;  /* once it is known */
	unsigned int n_tries;
	bool json;
	struct grant *untyped; /* waits for its BTF */
	struct grant *unnamed; /* waits for the kernel's symbols */
	struct kallsyms_wait wait;
	bool has_waited;
	char *no_symbols; /* why they could not be asked for */
	int (*serve)(struct read *read, struct grant *grant, struct error *err);
};

static void on_granted(void *arg, const struct core_reply *reply);

static int read_ask_for(struct read *read, Bpfleet__Ipc__Purpose purpose, core_reply_fn fn,
			struct error *err)
{
	Bpfleet__Ipc__GrantMapRequest request = BPFLEET__IPC__GRANT_MAP_REQUEST__INIT;

	request.map = (char *)(uintptr_t)read->name;
	request.purpose = purpose;
	request.inner_id = read->inner_id;
	return job_ask_message(&read->job, "GrantMap", &request.base, fn, err);
}

static int read_ask(struct read *read, struct error *err)
{
	read->n_tries++;
	return read_ask_for(read, BPFLEET__IPC__PURPOSE__PURPOSE_READ, on_granted, err);
}

/* ---- symbols, for stacks as JSON */

static void on_symbols_ready(void *arg)
{
	struct read *read = arg;
	_cleanup_(grant_unrefp) struct grant *grant = TAKE_PTR(read->unnamed);
	struct error err = { 0 };

	if (read->serve(read, grant, &err) < 0)
		job_fail(&read->job, &err);
}

/* Without symbols addresses are shown: no reason to fail. */
static void on_symbols_granted(void *arg, const struct core_reply *reply)
{
	struct read *read = arg;
	struct error err = { 0 };

	read->job.asked = 0;
	read->has_waited = true;
	read->wait = (struct kallsyms_wait){ .ready = on_symbols_ready, .arg = read };
	if (reply->error != NULL)
		err = *reply->error;
	else if (*reply->fd < 0)
		(void)error_raise(&err, ERROR_PROTOCOL, "symbols were granted without an fd");
	else if (kallsyms_load(read->job.front->kallsyms, TAKE_FD(*reply->fd), &read->wait, &err) ==
		 0)
		return;
	read->no_symbols =
		arena_strndup(rpc_call_arena(read->job.call), err.message, strlen(err.message));
	on_symbols_ready(read);
}

static int read_go(struct read *read, struct grant *grant, struct error *err)
{
	if (!read->json || grant->shape.kind->value != MAP_VALUE_STACK || read->has_waited ||
	    kallsyms_is_fresh(read->job.front->kallsyms))
		return read->serve(read, grant, err);
	read->unnamed = grant_ref(grant);
	return read_ask_for(read, BPFLEET__IPC__PURPOSE__PURPOSE_SYMBOLS, on_symbols_granted, err);
}

/* The symbols for what the grant is for, and why there are none. */
static const struct symbols *read_symbols(const struct read *read, const struct grant *grant,
					  char **ret_why)
{
	const struct symbols *symbols;
	const char *why = NULL;

	if (!read->json || grant->shape.kind->value != MAP_VALUE_STACK)
		return NULL;
	symbols = kallsyms_table(read->job.front->kallsyms, &why);
	if (symbols == NULL)
		*ret_why = read->no_symbols != NULL ? read->no_symbols : (char *)(uintptr_t)why;
	return symbols;
}

static void read_done(struct read *read)
{
	kallsyms_forget(read->job.front->kallsyms, &read->wait);
	grant_unref(read->unnamed);
	grant_unref(read->untyped);
	job_free(&read->job);
}

/* The kernel id of the map under the key; then a grant for that one is asked for. */
static int read_enter(struct read *read, struct grant *grant, struct error *err)
{
	const struct decoder *decoder = NULL;
	ProtobufCBinaryData key = { 0 };
	uint32_t id = 0;
	int r = grant_decoder(grant, &decoder, err);

	if (grant->shape.kind->value != MAP_VALUE_MAP)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "a %s holds no maps",
				   grant->shape.kind->name);
	if (r == 0)
		r = mapentry_key(grant->shape.kind, decoder, read->inner_key,
				 rpc_call_arena(read->job.call), &key, err);
	if (r == 0)
		r = mapread_lookup(&grant->shape, key.data, &id, err);
	if (r < 0)
		return r;
	read->inner_id = id;
	read->n_tries = 0;
	return read_ask(read, err);
}

static int read_serve(struct read *read, struct grant *grant, struct error *err)
{
	struct front *front = read->job.front;

	/* After a change of policy since then, what comes next asks again. What is under a key may
	 * change, so only the outer map's grant is kept. */
	if (read->inner_id != 0)
		return read_go(read, grant, err);
	if (grant->policy_epoch >= front->policy_epoch)
		grants_keep(front->grants, read->job.session, read->name, grant);
	else
		grant->voided = true;
	if (read->inner_key != NULL)
		return read_enter(read, grant, err);
	return read_go(read, grant, err);
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

/* MAP[KEY] into its parts. */
static bool split_name(struct read *read)
{
	struct arena *arena = rpc_call_arena(read->job.call);
	const char *bracket = strchr(read->name, '[');
	const size_t n = strlen(read->name);

	if (bracket == NULL || read->name[n - 1] != ']')
		return true;
	read->inner_key = arena_strndup(arena, bracket + 1, n - (size_t)(bracket - read->name) - 2);
	read->name = arena_strndup(arena, read->name, (size_t)(bracket - read->name));
	return read->name != NULL && read->inner_key != NULL;
}

/* Serves from the cache, or asks. */
static void read_start(struct read *read)
{
	struct grant *grant = NULL;
	struct error err = { 0 };
	int r;

	if (!split_name(read)) {
		(void)error_raise(&err, ERROR_OUT_OF_MEMORY, "no memory for a name");
		job_fail(&read->job, &err);
		return;
	}
	grant = grants_find(read->job.front->grants, read->job.session, read->name);
	if (grant != NULL && read->inner_key != NULL)
		r = read_enter(read, grant, &err);
	else if (grant != NULL)
		r = read_go(read, grant, &err);
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

/* The i-th key: given so, or parsed from its text; of a data section with the variable's name. */
static int lookup_key(const struct lookup *lookup, struct grant *grant, size_t i,
		      ProtobufCBinaryData *ret, const char **ret_variable, struct error *err)
{
	const Bpfleet__V1__LookupMapRequest *request = lookup->request;
	const bool is_filter = grant->shape.kind->key == MAP_KEY_NONE;
	const struct decoder *decoder = NULL;
	const uint32_t size = is_filter ? grant->shape.value_size : grant->shape.key_size;
	static uint32_t zero;
	uint32_t offset;
	size_t n;
	int r;

	if (i < request->n_keys) {
		*ret = request->keys[i];
		if (ret->len != size && !mapread_key_is_fd(&grant->shape))
			return error_raise(err, ERROR_INVALID_KEY,
					   "key %zu has %zu bytes, keys of this map have %u", i,
					   ret->len, size);
		return 0;
	}
	i -= request->n_keys;
	r = grant_decoder(grant, &decoder, err);
	if (r < 0)
		return r;
	if (decoder_variable(decoder, request->key_texts[i], &offset, &n)) {
		*ret = (ProtobufCBinaryData){ sizeof(zero), (uint8_t *)&zero };
		*ret_variable = request->key_texts[i];
		return 0;
	}
	return mapentry_key(grant->shape.kind, decoder, request->key_texts[i],
			    rpc_call_arena(lookup->read.job.call), ret, err);
}

/* 1: found, 0: not. */
static int read_value(const struct mapread_map *shape, const ProtobufCBinaryData *key,
		      uint8_t *value, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct error cause = { 0 };
	const void *at = key->data;
	int r = 0;

	if (mapread_key_is_fd(shape)) {
		r = mapread_key_fd(shape, key->data, key->len, &fd, &cause);
		at = &fd;
	} else if (shape->kind->key == MAP_KEY_NONE) {
		if (key->len > 0)
			memcpy(value, key->data, key->len);
		at = NULL;
	}
	if (r == 0)
		r = mapread_lookup(shape, at, value, &cause);
	if (r == 0)
		return 1;
	if (cause.code == ERROR_KEY_NOT_IN_MAP)
		return 0;
	*err = cause;
	return r;
}

/* Of a variable only its own bytes; returns new text in the arena. */
static char *entry_text(struct lookup *lookup, struct grant *grant, const struct decoder *decoder,
			const ProtobufCBinaryData *key, const char *variable, const uint8_t *value)
{
	struct arena *arena = rpc_call_arena(lookup->read.job.call);
	_cleanup_(str_done) struct str json = { 0 };
	uint32_t offset = 0;
	char *why;
	size_t n;

	if (variable != NULL && decoder_variable(decoder, variable, &offset, &n)) {
		(void)str_append(&json, "{\"key\":");
		(void)str_append_json(&json, variable, SIZE_MAX);
		(void)str_append(&json, ",\"value\":");
		(void)decoder_variable_json(decoder, variable, value + offset, &json);
		(void)str_append(&json, "}");
	} else {
		(void)mapentry_json(grant, decoder, read_symbols(&lookup->read, grant, &why),
				    grant->shape.kind->key == MAP_KEY_NONE ? NULL : key, value,
				    &json);
	}
	return json.failed ? NULL : arena_strndup(arena, json.data, json.len);
}

static int lookup_entry(struct lookup *lookup, struct grant *grant, size_t i,
			Bpfleet__V1__MapEntry *entry, struct error *err)
{
	struct arena *arena = rpc_call_arena(lookup->read.job.call);
	const struct mapread_map *shape = &grant->shape;
	const struct decoder *decoder = NULL;
	const char *variable = NULL;
	ProtobufCBinaryData key = { 0 };
	size_t n = shape->value_bytes;
	uint8_t *value = arena_alloc(arena, shape->value_bytes + 1);
	int r = 0;

	if (value == NULL)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "the values of so many keys are too large for one answer");
	if (i < lookup->request->n_keys + lookup->request->n_key_texts)
		r = lookup_key(lookup, grant, i, &key, &variable, err);
	if (r == 0)
		r = read_value(shape, &key, value, err);
	if (r < 0)
		return error_context(err, r, "key %zu", i);
	entry->found = r == 1;
	if (lookup->request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON || variable != NULL)
		r = grant_decoder(grant, &decoder, err);
	if (r < 0)
		return r;
	if (lookup->request->encoding != BPFLEET__V1__ENCODING__ENCODING_JSON) {
		entry->key = key;
		if (variable != NULL)
			(void)decoder_variable(decoder, variable, &entry->value_offset, &n);
		if (entry->found)
			entry->value = (ProtobufCBinaryData){ n, value + entry->value_offset };
		return 0;
	}
	if (!entry->found)
		return 0;
	entry->json = entry_text(lookup, grant, decoder, &key, variable, value);
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

	/* Which says why not, before keys are looked at that may have no form. */
	if ((grant->shape.kind->flags & MAP_LOOKS_UP) == 0)
		return mapread_lookup(&grant->shape, NULL, NULL, err);
	/* What comes out of a queue or stack next. */
	if (n == 0 && (grant->shape.kind->flags & MAP_POPS))
		n = 1;
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
	(void)read_symbols(read, grant, &response.no_symbols);
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
	lookup->read.json = lookup->request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON;
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
	if (lookup != NULL)
		read_done(&lookup->read);
}

/* ---- DumpMap */

struct dump {
	struct read read;
	struct grant *grant;  /* whose fd is read */
	struct grant *permit; /* the latest for the same map; voided: ask again */
	struct mapread_dump *cursor;
	struct walk *walk; /* of a local storage, instead */
	/* Of the current chunk, what has not been sent. */
	const uint8_t *entries;
	uint32_t n_entries;
	bool ended;
	bool reading; /* the walk; no entry of it may be looked at */
};

static void dump_pump(struct dump *dump);

/* The next entry of the chunk or of the walk. 1, or 0: there is none. */
static int dump_next(struct dump *dump, ProtobufCBinaryData *ret_key, const uint8_t **ret_value,
		     struct error *err)
{
	const struct mapread_map *shape = &dump->grant->shape;
	const void *key = NULL;
	int r;

	if (dump->walk != NULL) {
		r = storage_walk_next(dump->walk->storage, &key, &ret_key->len, ret_value, err);
		ret_key->data = (uint8_t *)(uintptr_t)key;
		return r;
	}
	if (dump->n_entries == 0)
		return 0;
	*ret_key = (ProtobufCBinaryData){ shape->key_size, (uint8_t *)(uintptr_t)dump->entries };
	*ret_value = dump->entries + shape->key_size;
	dump->entries += shape->key_size + shape->value_bytes;
	dump->n_entries--;
	return 1;
}

/* Entries as JSON until the message is large enough; takes them off the chunk. */
static int dump_json(struct dump *dump, struct arena *arena, Bpfleet__V1__DumpMapResponse *response,
		     struct error *err)
{
	const struct symbols *symbols =
		read_symbols(&dump->read, dump->grant, &response->no_symbols);
	const size_t n_max = dump->walk != NULL ? N_WALKED_MAX : dump->n_entries;
	const struct decoder *decoder = NULL;
	_cleanup_(str_done) struct str json = { 0 };
	ProtobufCBinaryData key = { 0 };
	const uint8_t *value = NULL;
	int r = grant_decoder(dump->grant, &decoder, err);

	if (r < 0)
		return r;
	response->json = arena_alloc(arena, n_max * sizeof(*response->json));
	if (response->json == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	for (size_t size = 0; response->n_json < n_max && size < JSON_SIZE_MAX; size += json.len) {
		r = dump_next(dump, &key, &value, err);
		if (r <= 0)
			break;
		json.len = 0;
		(void)mapentry_json(dump->grant, decoder, symbols, &key, value, &json);
		response->json[response->n_json] =
			json.failed ? NULL : arena_strndup(arena, json.data, json.len);
		if (response->json[response->n_json] == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
		response->n_json++;
	}
	response->n_entries = (uint32_t)response->n_json;
	return r < 0 ? r : 0;
}

/* A message of entries; without any: the end. */
static int dump_fill(struct dump *dump, struct arena *arena, Bpfleet__V1__DumpMapResponse *response,
		     struct error *err)
{
	const struct mapread_map *shape = &dump->grant->shape;
	size_t size = 0;
	int r = 0;

	if (dump->walk == NULL && dump->n_entries == 0)
		r = mapread_dump_next(dump->cursor, &dump->entries, &size, &dump->n_entries, err);
	if (r < 0 || dump->read.json)
		return r < 0 ? r : dump_json(dump, arena, response, err);
	response->n_entries = dump->n_entries;
	response->entries.data = (uint8_t *)(uintptr_t)dump->entries;
	response->entries.len = (shape->key_size + shape->value_bytes) * (size_t)dump->n_entries;
	dump->n_entries = 0;
	return 0;
}

/* Nothing is left to send: that is the end, or more of a walk is to be read. */
static int dump_end(struct dump *dump, struct error *err)
{
	int r;

	if (dump->walk != NULL && !storage_walk_ended(dump->walk->storage)) {
		r = walker_read(dump->read.job.front->walker, dump->walk, err);
		dump->reading = r == 0;
		return r;
	}
	dump->ended = true;
	(void)rpc_call_finish(dump->read.job.call);
	return 0;
}

/* Sends one message. 1: there is room for another, 0: not now. */
static int dump_send(struct dump *dump, struct error *err)
{
	Bpfleet__V1__DumpMapResponse response = BPFLEET__V1__DUMP_MAP_RESPONSE__INIT;
	_cleanup_(arena_freep) struct arena *arena =
		dump->read.json ? arena_new(ANSWER_SIZE_MAX + (1u << 20)) : NULL;
	int r;

	if (dump->read.json && arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	r = dump_fill(dump, arena, &response, err);
	if (r < 0)
		return r;
	if (response.n_entries == 0)
		return dump_end(dump, err);
	r = rpc_call_send(dump->read.job.call, &response.base);
	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a chunk");
	return r < 0 ? 0 : r;
}

static void on_walk_read(void *arg, const struct error *error)
{
	struct dump *dump = arg;

	dump->reading = false;
	if (error != NULL)
		job_fail(&dump->read.job, error);
	else
		dump_pump(dump);
}

static void on_walk_granted(void *arg, const struct core_reply *reply)
{
	struct dump *dump = arg;
	struct error err = { 0 };

	dump->read.job.asked = 0;
	if (reply->error != NULL)
		err = *reply->error;
	else if (*reply->fd < 0)
		(void)error_raise(&err, ERROR_PROTOCOL, "a walk was granted without its fd");
	else if (walk_new(&dump->grant->shape, TAKE_FD(*reply->fd), &dump->walk, &err) == 0) {
		dump->walk->ready = on_walk_read;
		dump->walk->arg = dump;
		dump_pump(dump);
		return;
	}
	job_fail(&dump->read.job, &err);
}

/* What bpf(2) does not walk, an iterator of core's does. */
static int dump_walk(struct dump *dump, struct error *err)
{
	if (!dump->read.json)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "a %s is dumped as JSON: its keys have no fixed size",
				   dump->grant->shape.kind->name);
	return read_ask_for(&dump->read, BPFLEET__IPC__PURPOSE__PURPOSE_ENTRIES, on_walk_granted,
			    err);
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
	if (dump->walk == NULL && (grant->shape.kind->flags & MAP_ITERATES) != 0)
		return dump_walk(dump, err);
	if (dump->cursor == NULL && dump->walk == NULL)
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
	dump->read.json = dump_request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON;
	dump->read.name = dump_request->map;
	dump->read.serve = dump_serve;
	read_start(&dump->read);
}

void dump_on_writable(struct rpc_call *call, void *user)
{
	struct dump *dump = rpc_call_state(call);

	(void)user;
	if (dump != NULL && (dump->cursor != NULL || dump->walk != NULL) &&
	    dump->read.job.asked == 0 && !dump->reading)
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
	walk_free(dump->read.job.front->walker, dump->walk);
	grant_unref(dump->grant);
	grant_unref(dump->permit);
	read_done(&dump->read);
}
