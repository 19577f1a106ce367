#include "daemon/front/source.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/front/chunk.h"
#include "daemon/front/front.h"
#include "daemon/front/percpu.h"
#include "daemon/front/reader.h"
#include "daemon/front/session.h"
#include "daemon/front/tally.h"
#include "rpc/loop.h"

/* Besides its records, an entry costs this much, about. */
#define ENTRY_OVERHEAD 160
/* After an instance has gone its last records are on their way through the reader for 10 ms at
 * most. */
#define LINGER_MS 50
#define COUNTER_VALUE_MAX 65536
/* When most listeners are that far behind, records wait in the buffer rather than here. */
#define HOLD_BYTES ((size_t)1 << 20)

struct source {
	struct sources *sources;
	struct source *next;
	struct grant *grant;
	struct reader_buffer *buffer;
	struct percpu *percpu; /* of a perf buffer */
	bool open;
	bool ended;
	struct error failure;
	struct rpc_timer *linger;
	struct listening *listeners;
	unsigned int n_listeners;
	struct window_entry *first, *last;
	size_t held_bytes;
	uint64_t n_records;
	uint64_t n_bytes;
	uint64_t kernel_lost; /* that an entry told of */
	int counter_fd;
	struct mapread_map counter;
	uint32_t counter_offset;
	uint8_t *counter_value;
	struct tally *tally; /* NULL: not counted */
};

struct sources {
	struct front *front;
	struct reader *reader;
	struct sources_limits limits;
	struct source *first;
	size_t n;
	size_t held_bytes;
};

struct sources *sources_new(struct front *front, struct reader *reader,
			    const struct sources_limits *limits)
{
	struct sources *sources = calloc(1, sizeof(*sources));

	if (sources != NULL)
		*sources = (struct sources){ .front = front, .reader = reader, .limits = *limits };
	return sources;
}

void sources_free(struct sources *sources)
{
	free(sources);
}

size_t sources_n(const struct sources *sources)
{
	return sources->n;
}

size_t sources_held_bytes(const struct sources *sources)
{
	return sources->held_bytes;
}

bool source_ended(const struct source *source)
{
	return source->ended;
}

bool source_is_open(const struct source *source)
{
	return source->open;
}

const struct error *source_failure(const struct source *source)
{
	return source->failure.code != ERROR_NONE ? &source->failure : NULL;
}

bool source_counter_known(const struct source *source)
{
	return source->percpu != NULL || source->counter_value != NULL;
}

bool source_unobserved_known(const struct source *source)
{
	return source->percpu == NULL;
}

/* ---- the window */

static size_t entry_cost(const struct window_entry *entry)
{
	return entry->chunk->size_bytes + ENTRY_OVERHEAD;
}

static void window_pop(struct source *source)
{
	struct window_entry *entry = source->first;

	source->first = entry->next;
	if (source->first == NULL)
		source->last = NULL;
	source->held_bytes -= entry_cost(entry);
	source->sources->held_bytes -= entry_cost(entry);
	chunk_unref(entry->chunk);
	free(entry);
}

static void listening_pass(struct listening *listening)
{
	struct window_entry *entry = listening->at;

	listening->counts.front_lost += entry->chunk->n_too_large;
	listening->counts.unobserved += entry->chunk->n_unobserved;
	listening->at = entry->next;
	listening->offset_bytes = 0;
	listening->offset_records = 0;
	entry->n_behind--;
}

static void window_drop_sent(struct source *source)
{
	while (source->first != NULL && source->first->n_behind == 0)
		window_pop(source);
}

/* Who has not been sent the oldest entry loses it. */
static void window_drop_oldest(struct source *source)
{
	struct window_entry *entry = source->first;

	for (struct listening *l = source->listeners; l != NULL; l = l->next) {
		if (l->at != entry)
			continue;
		l->counts.subscriber_lost += entry->chunk->n_records - l->offset_records;
		if (source->tally != NULL)
			source->tally->counts.subscriber_lost +=
				entry->chunk->n_records - l->offset_records;
		listening_pass(l);
	}
	window_pop(source);
}

static struct source *sources_largest(const struct sources *sources)
{
	struct source *largest = sources->first;

	for (struct source *s = sources->first; s != NULL; s = s->next)
		if (s->held_bytes > largest->held_bytes)
			largest = s;
	return largest;
}

static void windows_trim(struct source *source)
{
	struct sources *sources = source->sources;

	while (source->held_bytes > sources->limits.window_bytes)
		window_drop_oldest(source);
	while (sources->held_bytes > sources->limits.total_bytes)
		window_drop_oldest(sources_largest(sources));
}

/* Bytes that it has not been sent. */
static uint64_t listening_lag(const struct listening *listening)
{
	const struct window_entry *at = listening->at;

	return at == NULL ? 0
			  : listening->source->n_bytes - at->bytes_before - listening->offset_bytes;
}

/* The quicker half of the listeners sets the pace. */
static void source_set_pace(struct source *source)
{
	unsigned int n_slow = 0;

	for (struct listening *l = source->listeners; l != NULL; l = l->next)
		n_slow += listening_lag(l) > HOLD_BYTES;
	reader_hold(source->buffer, 2 * n_slow > source->n_listeners);
}

uint64_t listening_sequence(const struct listening *listening)
{
	return listening->at->first + listening->offset_records - listening->base;
}

void listening_advance(struct listening *listening, size_t size_bytes, uint32_t n)
{
	struct source *source = listening->source;

	listening->offset_bytes += size_bytes;
	listening->offset_records += n;
	if (listening->offset_records < listening->at->chunk->n_records)
		return;
	listening_pass(listening);
	window_drop_sent(source);
	source_set_pace(source);
}

/* ---- the buffer */

static uint64_t counter_read(const struct source *source)
{
	struct error err = { 0 };
	uint64_t n_lost = 0;
	uint32_t key = 0;

	if (source->percpu != NULL)
		return reader_kernel_lost(source->buffer);
	if (source->counter_value != NULL &&
	    mapread_lookup(&source->counter, &key, source->counter_value, &err) == 0)
		memcpy(&n_lost, source->counter_value + source->counter_offset, sizeof(n_lost));
	return n_lost;
}

static void tell(struct source *source)
{
	struct listening *next;

	/* A listener may leave from within on_event, but only itself. */
	for (struct listening *l = source->listeners; l != NULL; l = next) {
		next = l->next;
		l->on_event(l->arg);
	}
}

/* Nobody gets what is in it. */
static void chunk_lose(struct source *source, struct chunk *chunk)
{
	for (struct listening *l = source->listeners; l != NULL; l = l->next)
		l->counts.front_lost += (uint64_t)chunk->n_records + chunk->n_too_large;
	chunk_unref(chunk);
}

static void count(struct source *source, const struct chunk *chunk, bool is_lost)
{
	struct tally *tally = source->tally;
	const uint64_t kernel_lost = source->kernel_lost;

	source->kernel_lost = counter_read(source);
	if (tally == NULL)
		return;
	tally->counts.unobserved += chunk->n_unobserved;
	tally->counts.front_lost += chunk->n_too_large;
	tally->counts.kernel_lost_known = source_counter_known(source);
	/* The kernel begins anew whenever the first one listens. */
	tally->counts.kernel_lost =
		source->percpu == NULL
			? source->kernel_lost
			: tally->counts.kernel_lost + source->kernel_lost - kernel_lost;
	if (is_lost)
		tally->counts.front_lost += chunk->n_records;
	else
		tally_read(tally, chunk->n_records, chunk->size_bytes);
}

static void on_chunk(void *arg, struct chunk *chunk)
{
	struct source *source = arg;
	struct window_entry *entry = calloc(1, sizeof(*entry));
	const uint64_t first = source->n_records;

	source->n_records += (uint64_t)chunk->n_records + chunk->n_too_large;
	count(source, chunk, entry == NULL);
	if (entry == NULL) {
		chunk_lose(source, chunk);
		return;
	}
	*entry = (struct window_entry){ .chunk = chunk,
					.first = first,
					.bytes_before = source->n_bytes,
					.n_behind = source->n_listeners,
					.kernel_lost = source->kernel_lost };
	*(source->last != NULL ? &source->last->next : &source->first) = entry;
	source->last = entry;
	source->n_bytes += chunk->size_bytes;
	source->held_bytes += entry_cost(entry);
	source->sources->held_bytes += entry_cost(entry);
	for (struct listening *l = source->listeners; l != NULL; l = l->next)
		if (l->at == NULL)
			l->at = entry;
	windows_trim(source);
	source_set_pace(source);
	tell(source);
}

/* ---- life */

static void source_free(struct source *source)
{
	struct sources *sources = source->sources;
	struct source **at = &sources->first;

	while (*at != NULL && *at != source)
		at = &(*at)->next;
	if (*at == source) {
		*at = source->next;
		sources->n--;
	}
	while (source->first != NULL)
		window_pop(source);
	rpc_timer_cancel(source->linger);
	percpu_free(source->percpu);
	if (source->buffer != NULL)
		reader_remove(source->buffer);
	if (source->counter_fd >= 0)
		(void)close(source->counter_fd);
	free(source->counter_value);
	tally_leave(source->tally);
	grant_unref(source->grant);
	free(source);
}

static int counter_open(struct source *source, uint32_t offset, struct error *err)
{
	int r;

	if (source->counter_fd < 0)
		return 0;
	r = mapread_open(source->counter_fd, 1, &source->counter, err);
	if (r < 0)
		return r;
	if (source->counter.key_size != sizeof(uint32_t) ||
	    source->counter.value_bytes > COUNTER_VALUE_MAX ||
	    offset + sizeof(uint64_t) > source->counter.value_size)
		return error_raise(err, ERROR_PROTOCOL, "core granted a counter that is none");
	source->counter_offset = offset;
	source->counter_value = malloc(source->counter.value_bytes);
	if (source->counter_value == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a counter");
	return 0;
}

/* ---- perf buffers */

static const uint8_t *session_of(void *arg)
{
	const struct source *source = arg;

	return source->listeners->session->id;
}

static void on_opened(void *arg, const struct error *error)
{
	struct source *source = arg;

	source->open = error == NULL;
	source->ended = error != NULL;
	if (error != NULL)
		source->failure = *error;
	tell(source);
}

/* What the kernel lost is told with the next records, or now if none came. */
static void on_counted(void *arg)
{
	struct source *source = arg;
	struct chunk *chunk;

	if (reader_kernel_lost(source->buffer) == source->kernel_lost)
		return;
	chunk = calloc(1, sizeof(*chunk));
	if (chunk == NULL)
		return;
	chunk->n_refs = 1;
	chunk->received_at_ns = clock_realtime_ns();
	on_chunk(source, chunk);
}

static int source_open_perf(struct source *source, struct error *err)
{
	struct sources *sources = source->sources;
	const struct mapread_map *shape = &source->grant->shape;
	const uint32_t n_cpus = sources->front->options.n_possible_cpus;
	struct percpu_options options = {
		.front = sources->front,
		.map = source->grant->map->name,
		.map_fd = TAKE_FD(source->grant->fd),
		.n_cpus = n_cpus < shape->max_entries ? n_cpus : shape->max_entries,
		.session = session_of,
		.on_opened = on_opened,
		.on_counted = on_counted,
		.arg = source,
	};

	int r = reader_add_perf(sources->reader, options.n_cpus, on_chunk, source, &source->buffer,
				err);

	if (r < 0) {
		(void)close(options.map_fd);
		return r;
	}
	options.buffer = source->buffer;
	return percpu_new(&options, &source->percpu, err);
}

static int source_open(struct source *source, struct error *err)
{
	struct grant *grant = source->grant;
	struct reader *reader = source->sources->reader;

	if (grant->shape.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		return source_open_perf(source, err);
	source->open = true;
	return reader_add(reader, TAKE_FD(grant->fd), grant->shape.max_entries, on_chunk, source,
			  &source->buffer, err);
}

static int source_new(struct sources *sources, struct grant *grant, int counter_fd,
		      uint32_t counter_offset, struct source **ret, struct error *err)
{
	struct source *source = calloc(1, sizeof(*source));
	int r;

	if (source == NULL) {
		cleanup_closep(&counter_fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a source of events");
	}
	source->sources = sources;
	source->grant = grant_ref(grant);
	source->counter_fd = counter_fd;
	r = counter_open(source, counter_offset, err);
	if (r == 0 && sources->n >= sources->limits.n_sources)
		r = error_raise(err, ERROR_LIMIT_EXCEEDED, "%zu event maps are open already",
				sources->n);
	if (r == 0)
		r = source_open(source, err);
	if (r < 0) {
		source_free(source);
		return r;
	}
	if (sources->limits.tallies != NULL)
		source->tally = tallies_join(sources->limits.tallies, grant->map->name);
	source->next = sources->first;
	sources->first = source;
	sources->n++;
	*ret = source;
	return 0;
}

static struct source *source_find(const struct sources *sources, uint32_t map_id)
{
	for (struct source *s = sources->first; s != NULL; s = s->next)
		if (s->grant->shape.id == map_id && !s->ended)
			return s;
	return NULL;
}

int source_join(struct sources *sources, struct grant *grant, int counter_fd,
		uint32_t counter_offset, struct listening *listening, struct error *err)
{
	struct source *source = source_find(sources, grant->shape.id);
	int r;

	if ((map_type_of(grant->shape.type)->flags & MAP_EVENTS) == 0) {
		cleanup_closep(&counter_fd);
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "%s has no events",
				   grant->map->name);
	}
	if (source == NULL) {
		r = source_new(sources, grant, counter_fd, counter_offset, &source, err);
		if (r < 0)
			return r;
	} else {
		cleanup_closep(&counter_fd);
	}
	listening->source = source;
	listening->base = source->n_records;
	/* A program counts since its load, the kernel since somebody listens. */
	listening->kernel_lost_before =
		source->percpu != NULL ? reader_kernel_lost(source->buffer) : 0;
	listening->at = NULL;
	listening->next = source->listeners;
	source->listeners = listening;
	source->n_listeners++;
	if (source->tally != NULL)
		source->tally->counts.n_subscribers = source->n_listeners;
	source_set_pace(source);
	return 0;
}

void source_leave(struct listening *listening)
{
	struct source *source = listening->source;
	struct listening **at;

	if (source == NULL)
		return;
	for (struct window_entry *e = listening->at; e != NULL; e = e->next)
		e->n_behind--;
	at = &source->listeners;
	while (*at != listening)
		at = &(*at)->next;
	*at = listening->next;
	listening->source = NULL;
	listening->at = NULL;
	if (source->tally != NULL)
		source->tally->counts.n_subscribers--;
	if (--source->n_listeners == 0) {
		source_free(source);
		return;
	}
	window_drop_sent(source);
	source_set_pace(source);
}

static void source_end(void *arg)
{
	struct source *source = arg;

	source->linger = NULL;
	source->ended = true;
	tell(source);
}

void sources_end_instance(struct sources *sources, const char *instance)
{
	size_t n = strlen(instance);

	for (struct source *s = sources->first; s != NULL; s = s->next) {
		if (strncmp(s->grant->map->name, instance, n) != 0 || s->grant->map->name[n] != '/')
			continue;
		if (s->linger == NULL && !s->ended)
			s->linger = rpc_loop_after(sources->front->loop, LINGER_MS, source_end, s);
	}
}
