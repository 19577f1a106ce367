#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "decode/types.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define SOURCES_MAX 256U

struct source {
	const Bpfleet__V1__Map *map;
	struct decoder *decoder;
	bool seen;		      /* a batch has come */
	Bpfleet__V1__EventBatch last; /* only its counts are good */
	uint64_t kernel_lost_before;  /* us: a program counts since its load */
	uint64_t n_events;
};

struct events {
	struct cli *cli;
	uint64_t limit; /* 0: none */
	uint64_t n_events;
	struct arena *arena; /* of the sources */
	struct source *sources;
	size_t n_sources;
	struct sheet *sheet;
};

static void events_done(struct events *events)
{
	for (size_t i = 0; i < events->n_sources; i++)
		decoder_free(events->sources[i].decoder);
	sheet_free(events->sheet);
	arena_free(events->arena);
}

static int make_sheet(struct events *events, struct error *err)
{
	const struct decoder *decoder = events->sources[0].decoder;
	int r = cli_sheet(events->cli, &events->sheet, err);

	if (r < 0)
		return r;
	sheet_column(events->sheet, "TIME", 0);
	sheet_widen(events->sheet, strlen("14:03:07.123"));
	if (events->n_sources > 1) {
		sheet_column(events->sheet, "MAP", 0);
		sheet_column(events->sheet, "EVENT", 0);
	}
	for (size_t i = 0; events->n_sources == 1 && i < decoder_n_columns(decoder, DECODER_EVENT);
	     i++) {
		sheet_column(events->sheet, decoder_column_name(decoder, DECODER_EVENT, i),
			     decoder_column_is_number(decoder, DECODER_EVENT, i) ? SHEET_RIGHT : 0);
		sheet_widen(events->sheet, decoder_column_width(decoder, DECODER_EVENT, i));
	}
	return 0;
}

/* Takes the arena that the message lives in. */
static int take_sources(struct events *events, const Bpfleet__V1__EventSources *message,
			struct arena *arena, struct error *err)
{
	int r;

	if (events->arena != NULL || message->n_maps == 0 || message->n_maps > SOURCES_MAX ||
	    message->n_btfs != message->n_maps) {
		arena_free(arena);
		return error_raise(err, ERROR_PROTOCOL, "the daemon names no sources of events");
	}
	events->arena = arena;
	events->sources = arena_alloc(arena, message->n_maps * sizeof(*events->sources));
	if (events->sources == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < message->n_maps; i++) {
		struct source *source = &events->sources[i];

		source->map = message->maps[i];
		r = decoder_new_for_map(source->map, message->btfs[i].data, message->btfs[i].len,
					&source->decoder, err);
		if (r < 0)
			return r;
		events->n_sources++;
	}
	return events->cli->json ? 0 : make_sheet(events, err);
}

/* "14:03:07.123": the day is today, or the reader knows. */
static void time_cell(struct sheet *sheet, uint64_t at_ns)
{
	char text[CLOCK_RFC3339_LEN];

	clock_format_rfc3339(at_ns, text);
	sheet_bytes(sheet, text + 11, 12);
}

static void add_row(struct events *events, const struct source *source, uint64_t at_ns,
		    const uint8_t *record, size_t n)
{
	time_cell(events->sheet, at_ns);
	if (events->n_sources == 1) {
		for (size_t i = 0; i < decoder_n_columns(source->decoder, DECODER_EVENT); i++) {
			struct str s = { 0 };

			(void)decoder_column_text(source->decoder, DECODER_EVENT, i, record, n, &s);
			sheet_take(events->sheet, &s);
		}
	} else {
		const char *slash = strrchr(source->map->name, '/');
		struct str s = { 0 };

		sheet_text(events->sheet, slash == NULL ? source->map->name : slash + 1);
		(void)decoder_text(source->decoder, DECODER_EVENT, record, n, &s);
		sheet_take(events->sheet, &s);
	}
}

static int print_json(struct events *events, const struct source *source, uint64_t sequence,
		      uint64_t at_ns, const uint8_t *record, size_t n, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_append(&s, "{\"map\":");
	(void)str_append_json(&s, source->map->name, SIZE_MAX);
	(void)str_appendf(
		&s, ",\"sequence\":\"%" PRIu64 "\",\"receivedAtNs\":\"%" PRIu64 "\",\"event\":",
		sequence, at_ns);
	(void)decoder_json(source->decoder, DECODER_EVENT, record, n, &s);
	(void)str_append(&s, "}");
	return cli_print_str(events->cli, &s, err);
}

static void append_count(struct str *out, const char *name, bool known, uint64_t n)
{
	if (known)
		(void)str_appendf(out, "%s\"%s\":\"%" PRIu64 "\"",
				  out->data[out->len - 1] == '{' ? "" : ",", name, n);
	else
		(void)str_appendf(out, "%s\"%s\":null", out->data[out->len - 1] == '{' ? "" : ",",
				  name);
}

/* The first batch may tell of what was lost before us. */
static void note_first(const struct events *events, struct source *source,
		       const Bpfleet__V1__EventBatch *batch)
{
	source->seen = true;
	source->last = *batch;
	source->last.subscriber_lost = source->last.front_lost = 0;
	/* Of a perf buffer the kernel counts, for us alone. */
	if (strcmp(source->map->type, "perf_event_array") == 0)
		source->last.kernel_lost = 0;
	source->kernel_lost_before = source->last.kernel_lost;
	if (!events->cli->json && batch->unobserved_known && batch->unobserved > 0)
		cli_warn("%" PRIu64 " events waited where nobody listened: they are not shown",
			 batch->unobserved);
}

static int print_losses(const struct events *events, struct source *source,
			const Bpfleet__V1__EventBatch *batch, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };
	uint64_t kernel_lost, front_lost, subscriber_lost;

	if (!source->seen)
		note_first(events, source, batch);
	kernel_lost = batch->kernel_lost_known ? batch->kernel_lost - source->last.kernel_lost : 0;
	front_lost = batch->front_lost - source->last.front_lost;
	subscriber_lost = batch->subscriber_lost - source->last.subscriber_lost;
	source->last = *batch;
	if (kernel_lost == 0 && subscriber_lost == 0 && front_lost == 0)
		return 0;
	if (!events->cli->json) {
		cli_warn("%" PRIu64 " events lost: %" PRIu64 " found the buffer full, %" PRIu64
			 " the daemon could not keep, %" PRIu64 " came too fast for this reader",
			 kernel_lost + subscriber_lost + front_lost, kernel_lost, front_lost,
			 subscriber_lost);
		return 0;
	}
	(void)str_append(&s, "{\"map\":");
	(void)str_append_json(&s, source->map->name, SIZE_MAX);
	append_count(&s, "kernelLost", true, kernel_lost);
	append_count(&s, "frontLost", true, front_lost);
	append_count(&s, "subscriberLost", true, subscriber_lost);
	(void)str_append(&s, "}");
	return cli_print_str(events->cli, &s, err);
}

/* What became of everything that the subscription is about, for a program that reads us. */
static int print_end(const struct events *events, const struct source *source, struct error *err)
{
	const Bpfleet__V1__EventBatch *last = &source->last;
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_append(&s, "{\"map\":");
	(void)str_append_json(&s, source->map->name, SIZE_MAX);
	(void)str_append(&s, ",\"ended\":{");
	append_count(&s, "shown", true, source->n_events);
	append_count(&s, "filteredOut", true, last->filtered_out);
	append_count(&s, "sampledOut", true, last->sampled_out);
	append_count(&s, "rateLimited", true, last->rate_limited);
	append_count(&s, "subscriberLost", true, last->subscriber_lost);
	append_count(&s, "frontLost", true, last->front_lost);
	append_count(&s, "kernelLost", last->kernel_lost_known,
		     last->kernel_lost - source->kernel_lost_before);
	append_count(&s, "unobserved", last->unobserved_known, last->unobserved);
	(void)str_append(&s, "}}");
	return cli_print_str(events->cli, &s, err);
}

static int print_ends(const struct events *events, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && events->cli->json && i < events->n_sources; i++)
		if (events->sources[i].seen)
			r = print_end(events, &events->sources[i], err);
	return r;
}

static uint32_t little_endian_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t sequence_of(const Bpfleet__V1__EventBatch *batch, size_t i)
{
	return batch->first_sequence +
	       (i < batch->n_sequence_offsets ? batch->sequence_offsets[i] : i);
}

static bool enough(const struct events *events)
{
	return events->limit != 0 && events->n_events >= events->limit;
}

static int take_batch(struct events *events, const Bpfleet__V1__EventBatch *batch,
		      struct error *err)
{
	const uint8_t *at = batch->events.data;
	size_t left = batch->events.len, i = 0;
	struct source *source;
	int r;

	if (batch->source >= events->n_sources)
		return error_raise(err, ERROR_PROTOCOL, "events of a map that was not announced");
	source = &events->sources[batch->source];
	r = print_losses(events, source, batch, err);
	while (r == 0 && left > 0 && !enough(events)) {
		uint32_t n = left < 4 ? UINT32_MAX : little_endian_u32(at);

		if (left < 4 || n > left - 4)
			return error_raise(err, ERROR_PROTOCOL, "a batch of events is cut off");
		if (events->cli->json)
			r = print_json(events, source, sequence_of(batch, i), batch->received_at_ns,
				       at + 4, n, err);
		else
			add_row(events, source, batch->received_at_ns, at + 4, n);
		at += 4 + n;
		left -= 4 + n;
		i++;
		events->n_events++;
		source->n_events++;
	}
	/* The header comes with the first rows, which say how wide they are. */
	if (r == 0 && !events->cli->json && sheet_n_rows(events->sheet) > 0)
		r = cli_flush(events->sheet, err);
	(void)fflush(events->cli->out);
	return r;
}

/* 1: the stream has ended. */
static int step(struct events *events, struct rpc_stream *stream, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__StreamEventsResponse *response;
	ProtobufCMessage *message;
	int r;

	r = cli_arena(&arena, err);
	if (r < 0)
		return r;
	r = rpc_stream_receive(stream, arena, &message, err);
	if (r <= 0)
		return r < 0 ? r : 1;
	response = (const Bpfleet__V1__StreamEventsResponse *)message;
	if (response->part_case == BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_SOURCES)
		return take_sources(events, response->sources, TAKE_PTR(arena), err);
	if (response->part_case == BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_BATCH)
		return take_batch(events, response->batch, err);
	return 0;
}

static int take_limit(struct cli *cli, enum cli_option_id option, uint32_t *ret, struct error *err)
{
	const uint64_t n = cli_number(&cli->args, option, 0);

	if (n > UINT32_MAX)
		return cli_usage_if(cli, error_raise(err, ERROR_INVALID_ARGUMENT,
						     "%" PRIu64 " is too large a number", n));
	*ret = (uint32_t)n;
	return 0;
}

int cmd_events(struct cli *cli, struct error *err)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	_cleanup_(events_done) struct events events = {
		.cli = cli, .limit = cli_number(&cli->args, OPTION_COUNT, 0)
	};
	uint64_t deadline = cli_deadline(cli);
	struct rpc_stream *stream = NULL;
	char name[REF_SIZE];
	int r;

	r = cli_usage_if(cli, ref_source(cli_argument(&cli->args, 0), name, err));
	if (r == 0)
		r = cli_follow_printing(cli, err);
	if (r < 0)
		return r;
	request.source = name;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_PACKED;
	request.filter = (char *)(uintptr_t)cli_text(&cli->args, OPTION_FILTER, "");
	r = take_limit(cli, OPTION_SAMPLE, &request.sample_every, err);
	if (r == 0)
		r = take_limit(cli, OPTION_RATE, &request.max_per_second, err);
	if (r < 0)
		return r;
	r = cli_subscribe(cli, "StreamEvents", &request.base, deadline, &stream, err);
	while (r == 0 && !enough(&events))
		r = step(&events, stream, err);
	r = cli_stream_end(cli, r, deadline, err);
	node_stream_free(cli->node, stream);
	return r < 0 ? r : print_ends(&events, err);
}
