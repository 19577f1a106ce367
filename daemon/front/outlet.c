#include "daemon/front/outlet.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/chunk.h"
#include "daemon/front/grant.h"
#include "decode/filter.h"
#include "decode/types.h"
#include "proto/arena.h"
#include "rpc/server.h"

#define LENGTH_SIZE sizeof(uint32_t)
#define JSON_SIZE_MAX ((size_t)512 << 10)
#define MESSAGE_ARENA_MAX ((size_t)16 << 20)
/* Where nothing passes the filter, its client is still told how much that was. */
#define TELL_NS NS_PER_SEC
/* Keys of StreamEventsResponse.batch and EventBatch.events, and the longest varint. */
#define KEY_BATCH 0x12
#define KEY_EVENTS 0x1a
#define VARINT_MAX 10

int outlet_set_filter(struct outlet *outlet, const char *condition, struct error *err)
{
	const struct decoder *decoder = NULL;
	int r = grant_decoder(outlet->grant, &decoder, err);

	if (r == 0)
		r = filter_new(decoder, condition, &outlet->choice.filter, err);
	return r < 0 ? error_context(err, r, "%s", outlet->grant->map->name) : 0;
}

void outlet_done(struct outlet *outlet)
{
	source_leave(&outlet->listening);
	filter_free(TAKE_PTR(outlet->choice.filter));
}

/* ---- choosing */

static bool choice_is_all(const struct choice *choice)
{
	return choice->filter == NULL && choice->sample_every <= 1 && choice->max_per_second == 0;
}

static bool choice_samples(struct choice *choice)
{
	if (choice->sample_every <= 1 || ++choice->n_passed_over == choice->sample_every) {
		choice->n_passed_over = 0;
		return true;
	}
	return false;
}

static bool choice_has_room(struct choice *choice, uint64_t now_ns)
{
	if (choice->max_per_second == 0)
		return true;
	/* The clock is UTC, and may be set back. */
	if (now_ns - choice->second_began_ns >= NS_PER_SEC) {
		choice->second_began_ns = now_ns;
		choice->n_in_second = 0;
	}
	if (choice->n_in_second >= choice->max_per_second)
		return false;
	choice->n_in_second++;
	return true;
}

static bool choice_takes(struct choice *choice, const uint8_t *record, size_t size, uint64_t now_ns,
			 struct event_counts *counts)
{
	if (choice->filter != NULL && !filter_matches(choice->filter, record, size))
		counts->filtered_out++;
	else if (!choice_samples(choice))
		counts->sampled_out++;
	else if (!choice_has_room(choice, now_ns))
		counts->rate_limited++;
	else
		return true;
	return false;
}

/* ---- making a message */

struct message {
	struct arena *arena;
	Bpfleet__V1__EventBatch batch;
	size_t used_bytes; /* of the chunk, from where the listener is */
	uint32_t n_used;
	size_t json_bytes;
};

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a batch of events");
}

static int add_json(struct message *message, const struct decoder *decoder, const uint8_t *record,
		    uint32_t size, struct error *err)
{
	_cleanup_(str_done) struct str json = { 0 };
	char *text;

	(void)decoder_json(decoder, DECODER_EVENT, record, size, &json);
	text = json.failed ? NULL : arena_strndup(message->arena, json.data, json.len);
	if (text == NULL)
		return no_memory(err);
	message->json_bytes += json.len;
	message->batch.json[message->batch.n_json++] = text;
	return 0;
}

static void add_packed(struct message *message, const uint8_t *at, size_t size)
{
	memcpy(message->batch.events.data + message->batch.events.len, at, size);
	message->batch.events.len += size;
}

/* Room for everything that waits in the chunk. */
static int message_prepare(struct message *message, const struct outlet *outlet, struct error *err)
{
	const struct listening *listening = &outlet->listening;
	const struct chunk *chunk = listening->at->chunk;
	const size_t n = chunk->n_records - listening->offset_records;
	Bpfleet__V1__EventBatch *batch = &message->batch;

	if (n == 0)
		return 0;
	if (outlet->json)
		batch->json = arena_alloc(message->arena, n * sizeof(*batch->json));
	else
		batch->events.data =
			arena_alloc(message->arena, chunk->size_bytes - listening->offset_bytes);
	if (!choice_is_all(&outlet->choice))
		batch->sequence_offsets =
			arena_alloc(message->arena, n * sizeof(*batch->sequence_offsets));
	if ((outlet->json ? (void *)batch->json : (void *)batch->events.data) == NULL ||
	    (!choice_is_all(&outlet->choice) && batch->sequence_offsets == NULL))
		return no_memory(err);
	return 0;
}

/* Goes through records one by one, until the message is large enough. */
static int message_choose(struct message *message, struct outlet *outlet, struct error *err)
{
	struct listening *listening = &outlet->listening;
	const struct chunk *chunk = listening->at->chunk;
	const uint8_t *const begin = chunk->bytes + listening->offset_bytes, *at = begin;
	const uint32_t n_left = chunk->n_records - listening->offset_records;
	Bpfleet__V1__EventBatch *batch = &message->batch;
	const struct decoder *decoder = NULL;
	int r = message_prepare(message, outlet, err);

	if (r == 0 && outlet->json)
		r = grant_decoder(outlet->grant, &decoder, err);
	for (; r == 0 && message->n_used < n_left && message->json_bytes < JSON_SIZE_MAX;
	     message->n_used++) {
		const uint8_t *record = at + LENGTH_SIZE;
		uint32_t size;

		memcpy(&size, at, sizeof(size));
		size = le32toh(size);
		at = record + size;
		if (!choice_takes(&outlet->choice, record, size, chunk->received_at_ns,
				  &listening->counts))
			continue;
		if (batch->n_events == 0)
			batch->first_sequence += message->n_used;
		if (batch->sequence_offsets != NULL)
			batch->sequence_offsets[batch->n_sequence_offsets++] =
				(uint32_t)(listening_sequence(listening) + message->n_used -
					   batch->first_sequence);
		batch->n_events++;
		if (outlet->json)
			r = add_json(message, decoder, record, size, err);
		else
			add_packed(message, record - LENGTH_SIZE, LENGTH_SIZE + size);
	}
	message->used_bytes = (size_t)(at - begin);
	return r;
}

/* Everything that waits in the chunk, where it is. */
static void message_take_all(struct message *message, const struct listening *listening)
{
	const struct chunk *chunk = listening->at->chunk;

	message->used_bytes = chunk->size_bytes - listening->offset_bytes;
	message->n_used = chunk->n_records - listening->offset_records;
	message->batch.n_events = message->n_used;
}

static void message_count(struct message *message, const struct outlet *outlet)
{
	const struct listening *listening = &outlet->listening;
	const struct window_entry *entry = listening->at;
	const bool finishes =
		listening->offset_records + message->n_used == entry->chunk->n_records;
	Bpfleet__V1__EventBatch *batch = &message->batch;

	batch->subscriber_lost = listening->counts.subscriber_lost;
	batch->front_lost =
		listening->counts.front_lost + (finishes ? entry->chunk->n_too_large : 0);
	batch->unobserved = listening->counts.unobserved + entry->chunk->n_unobserved;
	batch->unobserved_known = source_unobserved_known(listening->source);
	batch->kernel_lost = entry->kernel_lost - listening->kernel_lost_before;
	batch->kernel_lost_known = source_counter_known(listening->source);
	batch->filtered_out = listening->counts.filtered_out;
	batch->sampled_out = listening->counts.sampled_out;
	batch->rate_limited = listening->counts.rate_limited;
}

/* ---- sending */

static size_t put_varint(uint8_t *out, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		out[n++] = (uint8_t)(value | 0x80);
	out[n++] = (uint8_t)value;
	return n;
}

/* Packs all but the records, which go out of the chunk as they are, behind it. */
static int send_shared(struct rpc_call *call, struct message *message, struct listening *listening)
{
	struct chunk *chunk = listening->at->chunk;
	const struct rpc_shared records = { .bytes = chunk->bytes + listening->offset_bytes,
					    .n = message->used_bytes,
					    .unref = chunk_unref,
					    .owner = chunk_ref(chunk) };
	const size_t n_counts = protobuf_c_message_get_packed_size(&message->batch.base);
	uint8_t length[VARINT_MAX];
	const size_t n_length = put_varint(length, records.n);
	_cleanup_free_ uint8_t *head = malloc(n_counts + 3 * VARINT_MAX);
	size_t n = 0;

	if (head == NULL) {
		chunk_unref(chunk);
		return -ENOMEM;
	}
	head[n++] = KEY_BATCH;
	n += put_varint(head + n, n_counts + 1 + n_length + records.n);
	n += protobuf_c_message_pack(&message->batch.base, head + n);
	head[n++] = KEY_EVENTS;
	memcpy(head + n, length, n_length);
	return rpc_call_send_shared(call, head, n + n_length, &records);
}

static int send_copied(struct rpc_call *call, struct message *message)
{
	Bpfleet__V1__StreamEventsResponse response = BPFLEET__V1__STREAM_EVENTS_RESPONSE__INIT;

	response.part_case = BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_BATCH;
	response.batch = &message->batch;
	return rpc_call_send(call, &response.base);
}

/* A message without events is worth sending when it tells of a loss, or of a long time. */
static bool is_worth_it(struct outlet *outlet, const Bpfleet__V1__EventBatch *batch)
{
	const uint64_t lost =
		batch->subscriber_lost + batch->front_lost + batch->unobserved + batch->kernel_lost;
	const uint64_t now = clock_monotonic_ns();

	if (batch->n_events == 0 && lost == outlet->told_lost && now < outlet->told_at + TELL_NS)
		return false;
	outlet->told_lost = lost;
	outlet->told_at = now;
	return true;
}

int outlet_send(struct outlet *outlet, struct rpc_call *call, struct error *err)
{
	struct listening *listening = &outlet->listening;
	_cleanup_(arena_freep) struct arena *arena = arena_new(MESSAGE_ARENA_MAX);
	struct message message = { .arena = arena, .batch = BPFLEET__V1__EVENT_BATCH__INIT };
	const bool shared = !outlet->json && choice_is_all(&outlet->choice);
	int r = 0;

	if (arena == NULL)
		return no_memory(err);
	message.batch.source = outlet->index;
	message.batch.first_sequence = listening_sequence(listening);
	message.batch.received_at_ns = listening->at->chunk->received_at_ns;
	if (shared)
		message_take_all(&message, listening);
	else
		r = message_choose(&message, outlet, err);
	if (r < 0)
		return r;
	message_count(&message, outlet);
	r = 1;
	if (is_worth_it(outlet, &message.batch)) {
		r = shared ? send_shared(call, &message, listening) : send_copied(call, &message);
		if (r == -ENOMEM)
			return no_memory(err);
	}
	listening_advance(listening, message.used_bytes, message.n_used);
	return r < 0 ? 0 : r;
}
