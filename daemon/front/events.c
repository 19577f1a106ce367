#include "daemon/front/events.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/map-type.h"
#include "daemon/front/call.h"
#include "daemon/front/grant.h"
#include "daemon/front/outlet.h"
#include "daemon/front/reader.h"
#include "daemon/front/source.h"

#define N_MAPS_MAX 16
#define N_MAPS_LISTED 1000
#define N_SOURCES_MAX 64
#define WINDOW_BYTES ((size_t)8 << 20)
#define TOTAL_BYTES ((size_t)64 << 20)

struct events {
	struct front *front;
	struct reader *reader;
	struct sources *sources;
	struct stream *streams;
};

/* One call. Maps are asked for one after the other: its grant, then its counter of drops. */
struct stream {
	struct job job;
	struct events *events;
	struct stream *next, **prev;
	bool json;
	char *condition; /* on the records wanted; NULL: all */
	uint32_t sample_every;
	uint32_t max_per_second;
	bool opening; /* the map it is at is being opened */
	bool live;    /* the sources have been sent */
	bool recheck; /* the policy changed */
	size_t n_maps;
	char *names[N_MAPS_MAX];
	struct grant *grants[N_MAPS_MAX];
	struct outlet outlets[N_MAPS_MAX];
	size_t asking; /* index of the map that core is asked about */
	size_t turn;   /* index of the map whose turn it is to be sent */
};

static void stream_pump(struct stream *stream);
static int stream_ask(struct stream *stream, struct error *err);
static void stream_try_opened(struct stream *stream);

static void stream_fail(struct stream *stream, const struct error *error)
{
	job_fail(&stream->job, error);
}

static void on_event(void *arg)
{
	struct stream *stream = arg;

	if (stream->opening)
		stream_try_opened(stream);
	else if (stream->live)
		stream_pump(stream);
}

/* ---- sending */

static int send_message(struct stream *stream, const Bpfleet__V1__StreamEventsResponse *response,
			struct error *err)
{
	int r = rpc_call_send(stream->job.call, &response->base);

	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a batch of events");
	return r < 0 ? 0 : r;
}

static int send_sources(struct stream *stream, struct error *err)
{
	Bpfleet__V1__StreamEventsResponse response = BPFLEET__V1__STREAM_EVENTS_RESPONSE__INIT;
	Bpfleet__V1__EventSources sources = BPFLEET__V1__EVENT_SOURCES__INIT;
	Bpfleet__V1__Map *maps[N_MAPS_MAX];
	ProtobufCBinaryData btfs[N_MAPS_MAX];

	for (size_t i = 0; i < stream->n_maps; i++) {
		const struct grant *grant = stream->grants[i];

		maps[i] = (Bpfleet__V1__Map *)(uintptr_t)grant->map;
		btfs[i] = (ProtobufCBinaryData){ .len = grant->n_btf,
						 .data = (uint8_t *)(uintptr_t)grant->btf };
	}
	sources.n_maps = stream->n_maps;
	sources.maps = maps;
	sources.n_btfs = stream->n_maps;
	sources.btfs = btfs;
	response.part_case = BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_SOURCES;
	response.sources = &sources;
	return send_message(stream, &response, err);
}

/* The next map, in turn, of which something waits; false: none. */
static bool stream_next(struct stream *stream, size_t *ret)
{
	for (size_t n = 0; n < stream->n_maps; n++) {
		size_t i = (stream->turn + n) % stream->n_maps;

		if (stream->outlets[i].listening.at == NULL)
			continue;
		stream->turn = i + 1;
		*ret = i;
		return true;
	}
	return false;
}

static bool stream_ended(const struct stream *stream)
{
	for (size_t i = 0; i < stream->n_maps; i++)
		if (source_ended(stream->outlets[i].listening.source))
			return true;
	return false;
}

static void stream_pump(struct stream *stream)
{
	struct error err = { 0 };
	size_t i = 0;
	int r = 1;

	while (r > 0 && rpc_call_alive(stream->job.call) &&
	       rpc_call_send_queue(stream->job.call) == 0 && stream_next(stream, &i))
		r = outlet_send(&stream->outlets[i], stream->job.call, &err);
	if (r >= 0 && rpc_call_alive(stream->job.call) &&
	    rpc_call_send_queue(stream->job.call) == 0 && stream_ended(stream) &&
	    !stream_next(stream, &i))
		r = error_raise(&err, ERROR_NOT_FOUND, "the instance was unloaded");
	if (r < 0)
		stream_fail(stream, &err);
}

/* ---- asking core */

static int take_name(struct stream *stream, const char *name, struct error *err)
{
	if (stream->n_maps >= N_MAPS_MAX)
		return error_raise(err, ERROR_LIMIT_EXCEEDED,
				   "more than %d event maps; name one of them", N_MAPS_MAX);
	stream->names[stream->n_maps] = strdup(name);
	if (stream->names[stream->n_maps] == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a stream of events");
	stream->n_maps++;
	return 0;
}

static int stream_start(struct stream *stream, struct error *err)
{
	int r = send_sources(stream, err);

	if (r < 0)
		return r;
	stream->live = true;
	stream_pump(stream);
	return 0;
}

/* The map being asked about is done with: the next one, or the beginning of the stream. */
static int stream_go_on(struct stream *stream, struct error *err)
{
	if (stream->recheck) {
		stream->recheck = false;
		stream->asking = 0;
	} else {
		stream->asking++;
	}
	if (stream->asking < stream->n_maps)
		return stream_ask(stream, err);
	return stream->live ? 0 : stream_start(stream, err);
}

static int stream_join(struct stream *stream, int counter_fd, uint32_t counter_offset,
		       struct error *err)
{
	struct grant *grant = stream->grants[stream->asking];
	struct outlet *outlet = &stream->outlets[stream->asking];
	int r;

	outlet->index = (uint32_t)stream->asking;
	outlet->json = stream->json;
	outlet->grant = grant;
	outlet->choice.sample_every = stream->sample_every;
	outlet->choice.max_per_second = stream->max_per_second;
	outlet->listening.on_event = on_event;
	outlet->listening.arg = stream;
	outlet->listening.session = stream->job.session;
	r = source_join(stream->events->sources, grant, counter_fd, counter_offset,
			&outlet->listening, err);
	if (r == 0 && stream->condition != NULL)
		r = outlet_set_filter(outlet, stream->condition, err);
	if (r < 0)
		return r;
	stream->opening = !source_is_open(outlet->listening.source);
	return stream->opening ? 0 : stream_go_on(stream, err);
}

/* Something happened to one of its sources while it waits for the last to open. */
static void stream_try_opened(struct stream *stream)
{
	const struct source *source = stream->outlets[stream->asking].listening.source;
	const struct error *failure = source_failure(source);
	struct error err = { 0 };

	if (failure != NULL) {
		stream_fail(stream, failure);
	} else if (source_is_open(source)) {
		stream->opening = false;
		if (stream_go_on(stream, &err) < 0)
			stream_fail(stream, &err);
	}
}

static int take_counter(struct stream *stream, const struct core_reply *reply, struct error *err)
{
	const Bpfleet__Ipc__GrantCounterReply *counter;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__ipc__grant_counter_reply__descriptor, &message,
				  err);

	if (r < 0)
		return r;
	counter = (const Bpfleet__Ipc__GrantCounterReply *)message;
	return stream_join(stream, counter->known ? TAKE_FD(*reply->fd) : -1, counter->offset, err);
}

static void on_counter(void *arg, const struct core_reply *reply)
{
	struct stream *stream = arg;
	struct error err = { 0 };

	stream->job.asked = 0;
	if (reply->error != NULL)
		stream_fail(stream, reply->error);
	else if (take_counter(stream, reply, &err) < 0)
		stream_fail(stream, &err);
}

static int ask_about(struct stream *stream, const char *method, core_reply_fn fn, struct error *err)
{
	Bpfleet__Ipc__GrantMapRequest request = BPFLEET__IPC__GRANT_MAP_REQUEST__INIT;

	request.map = stream->names[stream->asking];
	request.purpose = BPFLEET__IPC__PURPOSE__PURPOSE_EVENTS;
	return job_ask_message(&stream->job, method, &request.base, fn, err);
}

/* Without BTF the records are shown in hex: no reason to fail. */
static void on_btf(void *arg, const struct core_reply *reply)
{
	struct stream *stream = arg;
	struct error err = { 0 };
	int r = 0;

	stream->job.asked = 0;
	if (reply->error == NULL)
		r = grant_take_btf(stream->grants[stream->asking], reply, &err);
	if (r == 0)
		r = ask_about(stream, "GrantCounter", on_counter, &err);
	if (r < 0)
		stream_fail(stream, &err);
}

static int take_grant(struct stream *stream, const struct core_reply *reply, struct error *err)
{
	struct front *front = stream->job.front;
	_cleanup_(grant_unrefp) struct grant *grant = NULL;
	size_t i = stream->asking;
	int r = grant_from_reply(reply, front->options.n_possible_cpus, &grant, err);

	if (r < 0)
		return r;
	if (grant->policy_epoch < front->policy_epoch)
		return stream_ask(stream, err);
	if (stream->grants[i] != NULL && stream->grants[i]->shape.id != grant->shape.id)
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the event map was replaced; stream its events again");
	if (stream->grants[i] != NULL)
		return stream_go_on(stream, err);
	stream->grants[i] = TAKE_PTR(grant);
	if (grant_lacks_btf(stream->grants[i])) {
		Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;

		request.name = stream->grants[i]->map->name;
		return job_ask_message(&stream->job, "GetMap", &request.base, on_btf, err);
	}
	return ask_about(stream, "GrantCounter", on_counter, err);
}

/* Of the maps of an instance those that the caller may not see are left out. */
static bool may_skip(const struct stream *stream, const struct error *error)
{
	return !stream->live && stream->n_maps > 1 &&
	       (error->code == ERROR_MAP_PRIVATE || error->code == ERROR_PERMISSION_DENIED);
}

static void skip_map(struct stream *stream)
{
	size_t i = stream->asking;

	free(stream->names[i]);
	stream->n_maps--;
	memmove(&stream->names[i], &stream->names[i + 1],
		(stream->n_maps - i) * sizeof(stream->names[0]));
	stream->names[stream->n_maps] = NULL;
}

static void on_grant(void *arg, const struct core_reply *reply)
{
	struct stream *stream = arg;
	struct error err = { 0 };
	int r = 0;

	stream->job.asked = 0;
	if (reply->error == NULL) {
		r = take_grant(stream, reply, &err);
	} else if (may_skip(stream, reply->error) && stream->grants[stream->asking] == NULL) {
		skip_map(stream);
		r = stream->asking < stream->n_maps ? stream_ask(stream, &err)
						    : stream_start(stream, &err);
	} else {
		stream_fail(stream, reply->error);
	}
	if (r < 0)
		stream_fail(stream, &err);
}

static int stream_ask(struct stream *stream, struct error *err)
{
	return ask_about(stream, "GrantMap", on_grant, err);
}

static bool has_events(const char *type)
{
	const struct map_type *row = map_type_find(type);

	return row != NULL && (row->flags & MAP_EVENTS) != 0;
}

static int take_maps(struct stream *stream, const struct core_reply *reply, struct error *err)
{
	const Bpfleet__V1__ListMapsResponse *list;
	ProtobufCMessage *message = NULL;
	int r = core_reply_unpack(reply, &bpfleet__v1__list_maps_response__descriptor, &message,
				  err);

	if (r < 0)
		return r;
	list = (const Bpfleet__V1__ListMapsResponse *)message;
	for (size_t i = 0; i < list->n_maps && r == 0; i++)
		if (has_events(list->maps[i]->type) &&
		    list->maps[i]->access != BPFLEET__V1__ACCESS__ACCESS_PRIVATE)
			r = take_name(stream, list->maps[i]->name, err);
	if (r < 0)
		return r;
	if (stream->n_maps == 0)
		return error_raise(err, ERROR_NOT_FOUND,
				   "the instance has no event map that you may read");
	return stream_ask(stream, err);
}

static void on_maps(void *arg, const struct core_reply *reply)
{
	struct stream *stream = arg;
	struct error err = { 0 };

	stream->job.asked = 0;
	if (reply->error != NULL)
		stream_fail(stream, reply->error);
	else if (take_maps(stream, reply, &err) < 0)
		stream_fail(stream, &err);
}

static int stream_begin(struct stream *stream, const Bpfleet__V1__StreamEventsRequest *request,
			struct error *err)
{
	Bpfleet__V1__ListMapsRequest list = BPFLEET__V1__LIST_MAPS_REQUEST__INIT;
	const char *source = request->source;
	int r;

	stream->json = request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON;
	stream->sample_every = request->sample_every;
	stream->max_per_second = request->max_per_second;
	if (request->filter[0] != '\0') {
		stream->condition = strdup(request->filter);
		if (stream->condition == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY,
					   "no memory for a stream of events");
	}
	if (strstr(source, "/maps/") != NULL) {
		r = take_name(stream, source, err);
		return r < 0 ? r : stream_ask(stream, err);
	}
	list.page_size = N_MAPS_LISTED;
	list.instance = (char *)(uintptr_t)source;
	if (source[0] == '\0')
		return error_raise(err, ERROR_INVALID_ARGUMENT, "source is empty");
	return job_ask_message(&stream->job, "ListMaps", &list.base, on_maps, err);
}

/* ---- callbacks of the row */

void events_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__StreamEventsRequest *stream_request =
		(const Bpfleet__V1__StreamEventsRequest *)request;
	struct stream *stream = job_new(call, sizeof(*stream));
	struct error err = { 0 };

	(void)user;
	if (stream == NULL)
		return;
	stream->events = stream->job.front->events;
	stream->next = stream->events->streams;
	stream->prev = &stream->events->streams;
	if (stream->next != NULL)
		stream->next->prev = &stream->next;
	stream->events->streams = stream;
	if (stream_begin(stream, stream_request, &err) < 0)
		stream_fail(stream, &err);
}

void events_on_writable(struct rpc_call *call, void *user)
{
	struct stream *stream = rpc_call_state(call);

	(void)user;
	if (stream != NULL && stream->live)
		stream_pump(stream);
}

void events_on_cancelled(struct rpc_call *call, void *user)
{
	struct stream *stream = rpc_call_state(call);

	(void)user;
	if (stream != NULL)
		job_cancel(&stream->job);
}

void events_on_done(struct rpc_call *call, void *user)
{
	struct stream *stream = rpc_call_state(call);

	(void)user;
	if (stream == NULL)
		return;
	*stream->prev = stream->next;
	if (stream->next != NULL)
		stream->next->prev = stream->prev;
	for (size_t i = 0; i < N_MAPS_MAX; i++) {
		outlet_done(&stream->outlets[i]);
		grant_unref(stream->grants[i]);
		free(stream->names[i]);
	}
	free(stream->condition);
	job_free(&stream->job);
}

/* ---- all streams */

int events_new(struct front *front, struct events **ret, struct error *err)
{
	const struct sources_limits limits = { .n_sources = N_SOURCES_MAX,
					       .window_bytes = WINDOW_BYTES,
					       .total_bytes = TOTAL_BYTES,
					       .tallies = front->tallies };
	_cleanup_(events_freep) struct events *events = calloc(1, sizeof(*events));
	int r;

	if (events == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for events");
	events->front = front;
	r = reader_new(front->loop, &events->reader, err);
	if (r < 0)
		return r;
	events->sources = sources_new(front, events->reader, &limits);
	if (events->sources == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for events");
	*ret = TAKE_PTR(events);
	return 0;
}

void events_free(struct events *events)
{
	if (events == NULL)
		return;
	sources_free(events->sources);
	reader_free(events->reader);
	free(events);
}

size_t events_n_sources(const struct events *events)
{
	return sources_n(events->sources);
}

size_t events_held_bytes(const struct events *events)
{
	return sources_held_bytes(events->sources);
}

void events_new_epoch(struct events *events)
{
	for (struct stream *stream = events->streams; stream != NULL; stream = stream->next) {
		struct error err = { 0 };

		if (!rpc_call_alive(stream->job.call))
			continue;
		if (stream->job.asked != 0 || stream->opening) {
			/* What is being asked may have been answered by the old policy. */
			stream->recheck = stream->n_maps > 0;
			continue;
		}
		stream->asking = 0;
		if (stream_ask(stream, &err) < 0)
			stream_fail(stream, &err);
	}
}

void events_end_instance(struct events *events, const char *instance)
{
	sources_end_instance(events->sources, instance);
}

void events_stop(struct events *events)
{
	struct error err = { 0 };

	(void)error_raise(&err, ERROR_UNAVAILABLE, "the daemon is stopping");
	for (struct stream *stream = events->streams; stream != NULL; stream = stream->next)
		stream_fail(stream, &err);
}
