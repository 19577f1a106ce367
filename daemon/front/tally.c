#include "daemon/front/tally.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "daemon/front/front.h"
#include "proto/arena.h"
#include "rpc/loop.h"

#define TELL_MS 500
#define TELL_ARENA ((size_t)4 << 20)

struct tallies {
	struct front *front;
	struct tally *first;
	size_t n;
	bool stopped;
	struct rpc_timer *timer; /* when core is told; NULL: there is nothing to tell */
};

static void tally_free(struct tally *tally)
{
	struct tally **at = &tally->tallies->first;

	while (*at != tally)
		at = &(*at)->next;
	*at = tally->next;
	tally->tallies->n--;
	free(tally->counts.map);
	free(tally);
}

struct tallies *tallies_new(struct front *front)
{
	struct tallies *tallies = calloc(1, sizeof(*tallies));

	if (tallies != NULL)
		tallies->front = front;
	return tallies;
}

void tallies_stop(struct tallies *tallies)
{
	if (tallies == NULL)
		return;
	rpc_timer_cancel(TAKE_PTR(tallies->timer));
	tallies->stopped = true;
}

void tallies_free(struct tallies *tallies)
{
	if (tallies == NULL)
		return;
	while (tallies->first != NULL)
		tally_free(tallies->first);
	free(tallies);
}

/* One that nobody needs makes room. */
static void make_room(struct tallies *tallies)
{
	for (struct tally *tally = tallies->first; tally != NULL; tally = tally->next) {
		if (tally->n_sources == 0) {
			tally_free(tally);
			return;
		}
	}
}

struct tally *tallies_join(struct tallies *tallies, const char *map)
{
	struct tally *tally = tallies->first;

	while (tally != NULL && (tally->ended || strcmp(tally->counts.map, map) != 0))
		tally = tally->next;
	if (tally == NULL && tallies->n >= TALLIES_MAX)
		make_room(tallies);
	if (tally == NULL && tallies->n < TALLIES_MAX) {
		tally = calloc(1, sizeof(*tally));
		if (tally == NULL)
			return NULL;
		bpfleet__v1__event_statistics__init(&tally->counts);
		tally->counts.map = strdup(map);
		if (tally->counts.map == NULL) {
			free(tally);
			return NULL;
		}
		tally->tallies = tallies;
		tally->next = tallies->first;
		tallies->first = tally;
		tallies->n++;
	}
	if (tally != NULL)
		tally->n_sources++;
	return tally;
}

void tally_leave(struct tally *tally)
{
	if (tally == NULL)
		return;
	tally->n_sources--;
	tally->counts.n_subscribers = 0;
	if (tally->ended && tally->n_sources == 0)
		tally_free(tally);
}

/* The name of the instance within that of a map, as a length. */
static size_t instance_length(const char *map)
{
	const char *maps = strstr(map, "/maps/");

	return maps == NULL ? strlen(map) : (size_t)(maps - map);
}

void tallies_end_instance(struct tallies *tallies, const char *instance)
{
	const size_t n = strlen(instance);
	struct tally *next;

	for (struct tally *tally = tallies->first; tally != NULL; tally = next) {
		next = tally->next;
		if (instance_length(tally->counts.map) != n ||
		    strncmp(tally->counts.map, instance, n) != 0)
			continue;
		tally->ended = true;
		if (tally->n_sources == 0)
			tally_free(tally);
	}
}

int tallies_tell(const struct tallies *tallies, Bpfleet__V1__Statistics *statistics,
		 struct arena *arena, struct error *err)
{
	statistics->events = arena_alloc(arena, tallies->n * sizeof(*statistics->events));
	if (statistics->events == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell statistics");
	for (struct tally *tally = tallies->first; tally != NULL; tally = tally->next) {
		const size_t n = instance_length(tally->counts.map);

		for (size_t i = 0; !tally->ended && i < statistics->n_instances; i++) {
			const char *instance = statistics->instances[i]->instance;

			if (strncmp(instance, tally->counts.map, n) == 0 && instance[n] == '\0') {
				statistics->events[statistics->n_events++] = &tally->counts;
				break;
			}
		}
	}
	return 0;
}

/* ---- core */

static void on_told(void *arg, const struct core_reply *reply)
{
	(void)arg;
	if (reply->error != NULL && reply->error->code != ERROR_UNAVAILABLE)
		log_error(LOG_LEVEL_WARNING, reply->error, "tell core of events");
}

static int send_counts(struct tallies *tallies, struct arena *arena, struct error *err)
{
	Bpfleet__Ipc__CountEventsRequest message = BPFLEET__IPC__COUNT_EVENTS_REQUEST__INIT;
	struct core_request request = { .method = "CountEvents", .deadline = UINT64_MAX, .fd = -1 };
	uint8_t *bytes = NULL;
	int r;

	message.counts = arena_alloc(arena, tallies->n * sizeof(*message.counts));
	for (struct tally *tally = tallies->first; tally != NULL; tally = tally->next) {
		const Bpfleet__V1__EventStatistics *counts = &tally->counts;
		Bpfleet__Ipc__EventCount *count = arena_alloc(arena, sizeof(*count));

		if (message.counts == NULL || count == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell core of events");
		if (counts->records == tally->told_records)
			continue;
		bpfleet__ipc__event_count__init(count);
		count->instance = arena_strndup(arena, counts->map, instance_length(counts->map));
		count->records = counts->records - tally->told_records;
		count->bytes = counts->bytes - tally->told_bytes;
		if (count->instance == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "tell core of events");
		message.counts[message.n_counts++] = count;
	}
	r = arena_pack(arena, &message.base, &bytes, &request.body_size, err);
	if (r < 0)
		return r;
	request.body = bytes;
	return core_call(tallies->front->core, &request, on_told, NULL, NULL, err);
}

static void tell_core(void *arg)
{
	struct tallies *tallies = arg;
	_cleanup_(arena_freep) struct arena *arena = arena_new(TELL_ARENA);
	struct error err = { 0 };

	tallies->timer = NULL;
	if (tallies->front->core == NULL || tallies->front->stopping)
		return;
	if (arena == NULL || send_counts(tallies, arena, &err) < 0) {
		/* Core's queue is full, for one: the counts are told the next time. */
		tallies->timer = rpc_loop_after(tallies->front->loop, TELL_MS, tell_core, tallies);
		return;
	}
	for (struct tally *tally = tallies->first; tally != NULL; tally = tally->next) {
		tally->told_records = tally->counts.records;
		tally->told_bytes = tally->counts.bytes;
	}
}

void tally_read(struct tally *tally, uint64_t n_records, uint64_t size_bytes)
{
	struct tallies *tallies;

	if (tally == NULL)
		return;
	tallies = tally->tallies;
	tally->counts.records += n_records;
	tally->counts.bytes += size_bytes;
	if (tallies->timer == NULL && !tallies->stopped)
		tallies->timer = rpc_loop_after(tallies->front->loop, TELL_MS, tell_core, tallies);
}
