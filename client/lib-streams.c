#include <string.h>

#include "base/error.h"
#include "client/lib.h"
#include "client/ref.h"
#include "proto/apart.h"
#include "rpc/client.h"

/* EventBatch.events: nearly all of a message. */
#define EVENTS_FIELD 3

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

/* ---- events */

struct events {
	int (*on_event)(const struct bpfleet_event *event, void *user_data);
	void *user_data;
	struct arena *sources_arena; /* holds sources */
	const Bpfleet__V1__EventSources *sources;
};

static uint32_t little_endian_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t sequence_of(const Bpfleet__V1__EventBatch *batch, size_t i)
{
	return batch->first_sequence +
	       (i < batch->n_sequence_offsets ? batch->sequence_offsets[i] : i);
}

/* 1 when the application has had enough. */
static int deliver_packed(const struct events *events, const Bpfleet__V1__EventBatch *batch,
			  const ProtobufCBinaryData *packed, struct bpfleet_event *event,
			  struct error *err)
{
	const uint8_t *at = packed->data;
	size_t left = packed->len, n = 0;

	while (left > 0) {
		if (left < 4 || little_endian_u32(at) > left - 4)
			return error_raise(err, ERROR_PROTOCOL, "a batch of events is cut off");
		event->size = little_endian_u32(at);
		event->sequence = sequence_of(batch, n++);
		event->data = at + 4;
		if (events->on_event(event, events->user_data) != 0)
			return 1;
		at += 4 + event->size;
		left -= 4 + event->size;
	}
	return 0;
}

static int deliver(const struct events *events, const Bpfleet__V1__EventBatch *batch,
		   const ProtobufCBinaryData *packed, struct error *err)
{
	struct bpfleet_event event = {
		.json = "",
		.received_at_ns = batch->received_at_ns,
		.subscriber_lost = batch->subscriber_lost,
		.kernel_lost = batch->kernel_lost,
		.kernel_lost_known = batch->kernel_lost_known,
		.front_lost = batch->front_lost,
		.unobserved = batch->unobserved,
		.unobserved_known = batch->unobserved_known,
		.filtered_out = batch->filtered_out,
		.sampled_out = batch->sampled_out,
		.rate_limited = batch->rate_limited,
	};

	if (events->sources == NULL || batch->source >= events->sources->n_maps)
		return error_raise(err, ERROR_PROTOCOL, "events of a map that was not announced");
	event.map = events->sources->maps[batch->source]->name;
	if (batch->n_json == 0)
		return deliver_packed(events, batch, packed, &event, err);
	for (size_t i = 0; i < batch->n_json; i++) {
		event.json = batch->json[i];
		event.sequence = sequence_of(batch, i);
		if (events->on_event(&event, events->user_data) != 0)
			return 1;
	}
	return 0;
}

static int deliver_batch(const struct events *events, const ProtobufCBinaryData *bytes,
			 struct arena *arena, struct error *err)
{
	ProtobufCBinaryData packed;
	ProtobufCMessage *message;
	int r = apart_unpack(arena, &bpfleet__v1__event_batch__descriptor, EVENTS_FIELD,
			     bytes->data, bytes->len, &packed, &message, err);

	return r < 0 ? r : deliver(events, (const Bpfleet__V1__EventBatch *)message, &packed, err);
}

/* One message; 1 when the stream, or the application's interest, has ended. */
static int events_step(struct events *events, struct rpc_stream *stream, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	const Bpfleet__V1__StreamEventsResponse *response;
	ProtobufCBinaryData batch;
	ProtobufCMessage *message;
	const uint8_t *bytes;
	size_t n;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = rpc_stream_receive_bytes(stream, &bytes, &n, err);
	if (r <= 0)
		return r < 0 ? r : 1;
	r = apart_unpack(arena, &bpfleet__v1__stream_events_response__descriptor,
			 BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_BATCH, bytes, n, &batch,
			 &message, err);
	if (r < 0)
		return r;
	if (batch.data != NULL)
		return deliver_batch(events, &batch, arena, err);
	response = (const Bpfleet__V1__StreamEventsResponse *)message;
	if (response->part_case != BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_SOURCES ||
	    events->sources != NULL)
		return 0;
	events->sources = response->sources;
	events->sources_arena = TAKE_PTR(arena);
	return events->on_event(NULL, events->user_data) != 0 ? 1 : 0;
}

int bpfleet_events_chosen(struct bpfleet *node, const char *source,
			  const struct bpfleet_event_choice *choice,
			  int (*on_event)(const struct bpfleet_event *event, void *user_data),
			  void *user_data, struct bpfleet_error *error)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	struct events events = { .on_event = on_event, .user_data = user_data };
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };
	char name[REF_SIZE];
	int r;

	request.source = name;
	request.encoding = choice->as_json ? BPFLEET__V1__ENCODING__ENCODING_JSON
					   : BPFLEET__V1__ENCODING__ENCODING_PACKED;
	if (choice->filter != NULL)
		request.filter = (char *)(uintptr_t)choice->filter;
	request.sample_every = choice->sample_every;
	request.max_per_second = choice->max_per_second;
	r = ref_source(source, name, &err);
	if (r == 0)
		r = node_subscribe(node->node, "StreamEvents", &request.base, UINT64_MAX, &stream,
				   &err);
	while (r == 0)
		r = events_step(&events, stream, &err);
	r = node_explain(node->node, r, &err);
	node_stream_free(node->node, stream);
	arena_free(events.sources_arena);
	return lib_result(r > 0 ? 0 : r, &err, error);
}

int bpfleet_events(struct bpfleet *node, const char *source, bool as_json,
		   int (*on_event)(const struct bpfleet_event *event, void *user_data),
		   void *user_data, struct bpfleet_error *error)
{
	const struct bpfleet_event_choice choice = { .as_json = as_json };

	return bpfleet_events_chosen(node, source, &choice, on_event, user_data, error);
}

/* ---- programs that run because they are asked to */

int bpfleet_read(struct bpfleet *node, const char *link,
		 int (*on_data)(const void *data, size_t size, void *user_data), void *user_data,
		 struct bpfleet_error *error)
{
	Bpfleet__V1__ReadIteratorRequest request = BPFLEET__V1__READ_ITERATOR_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };
	char name[REF_SIZE];
	bool enough = false;
	int r;

	request.link = name;
	r = ref_link(link, name, &err);
	if (r == 0)
		r = node_subscribe(node->node, "ReadIterator", &request.base, UINT64_MAX, &stream,
				   &err);
	for (bool more = r == 0; more && !enough; more = r > 0) {
		_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
		const Bpfleet__V1__ReadIteratorResponse *response;
		ProtobufCMessage *message;

		if (arena == NULL)
			r = no_memory(&err);
		else
			r = rpc_stream_receive(stream, arena, &message, &err);
		if (r <= 0)
			continue;
		response = (const Bpfleet__V1__ReadIteratorResponse *)message;
		enough = on_data(response->data.data, response->data.len, user_data) != 0;
	}
	r = node_explain(node->node, r, &err);
	node_stream_free(node->node, stream);
	return lib_result(r > 0 ? 0 : r, &err, error);
}

static int call_program(struct bpfleet *node, const char *program, void *context,
			size_t context_size, uint32_t *ret_value, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__RunProgramRequest request = BPFLEET__V1__RUN_PROGRAM_REQUEST__INIT;
	const Bpfleet__V1__RunProgramResponse *response;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_program(program, name, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.program = name;
	request.request_id = request_id;
	request.context = (ProtobufCBinaryData){ context_size, context };
	r = node_call(node->node, "RunProgram", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__RunProgramResponse *)answer;
	if (response->context.len != context_size)
		return error_raise(err, ERROR_PROTOCOL, "a context of another size came back");
	if (context_size > 0)
		memcpy(context, response->context.data, context_size);
	*ret_value = response->return_value;
	return 0;
}

int bpfleet_call(struct bpfleet *node, const char *program, void *context, size_t context_size,
		 uint32_t *ret_value, struct bpfleet_error *error)
{
	struct error err = { 0 };
	const int r = call_program(node, program, context, context_size, ret_value, &err);

	return lib_result(r, &err, error);
}

/* ---- watch */

struct watched {
	struct bpfleet_bundle bundle;
	struct bpfleet_instance instance;
	struct bpfleet_program program;
	struct bpfleet_link link;
	struct bpfleet_map map;
};

static int convert_change(struct arena *arena, const Bpfleet__V1__Change *change,
			  struct watched *objects, struct bpfleet_change *out, struct error *err)
{
	out->revision = change->revision;
	out->deleted = change->kind == BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED;
	switch (change->object_case) {
	case BPFLEET__V1__CHANGE__OBJECT_INSTANCE:
		out->instance = &objects->instance;
		return lib_instance(arena, &change->instance->base, &objects->instance, err);
	case BPFLEET__V1__CHANGE__OBJECT_PROGRAM:
		out->program = &objects->program;
		return lib_program(arena, &change->program->base, &objects->program, err);
	case BPFLEET__V1__CHANGE__OBJECT_MAP:
		out->map = &objects->map;
		return lib_map(arena, &change->map->base, &objects->map, err);
	case BPFLEET__V1__CHANGE__OBJECT_LINK:
		out->link = &objects->link;
		return lib_link(arena, &change->link->base, &objects->link, err);
	case BPFLEET__V1__CHANGE__OBJECT_BUNDLE:
		out->bundle = &objects->bundle;
		return lib_bundle(arena, &change->bundle->base, &objects->bundle, err);
	case BPFLEET__V1__CHANGE__OBJECT__NOT_SET:
	case _BPFLEET__V1__CHANGE__OBJECT__CASE_IS_INT_SIZE:
	default:
		/* A kind of object that a newer daemon has. */
		return 0;
	}
}

static int watch_step(struct rpc_stream *stream,
		      int (*on_change)(const struct bpfleet_change *change, void *user_data),
		      void *user_data, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	const Bpfleet__V1__WatchResponse *response;
	struct bpfleet_change change = { 0 };
	struct watched objects = { 0 };
	ProtobufCMessage *message;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = rpc_stream_receive(stream, arena, &message, err);
	if (r <= 0)
		return r < 0 ? r : 1;
	response = (const Bpfleet__V1__WatchResponse *)message;
	if (response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED) {
		change.synced = true;
		change.revision = response->synced->revision;
	} else if (response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE) {
		r = convert_change(arena, response->change, &objects, &change, err);
		if (r < 0)
			return r;
	} else {
		return 0;
	}
	return on_change(&change, user_data) != 0 ? 1 : 0;
}

int bpfleet_watch(struct bpfleet *node, uint64_t since_revision,
		  int (*on_change)(const struct bpfleet_change *change, void *user_data),
		  void *user_data, struct bpfleet_error *error)
{
	Bpfleet__V1__WatchRequest request = BPFLEET__V1__WATCH_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	struct error err = { 0 };
	int r;

	request.since_revision = since_revision;
	r = node_subscribe(node->node, "Watch", &request.base, UINT64_MAX, &stream, &err);
	while (r == 0)
		r = watch_step(stream, on_change, user_data, &err);
	r = node_explain(node->node, r, &err);
	node_stream_free(node->node, stream);
	return lib_result(r > 0 ? 0 : r, &err, error);
}
