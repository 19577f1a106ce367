#include "exporter/maps.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/node.h"
#include "exporter/metrics.h"
#include "exporter/rule.h"
#include "proto/arena.h"
#include "rpc/client.h"

/* Of one answer: a page of a dump, or the types of a map. */
#define ARENA_BYTES ((size_t)32 << 20)

struct map_metrics {
	struct rule *rules;  /* those of one map follow each other */
	struct rule **order; /* by family */
	size_t n_rules;
};

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for metrics");
}

void map_metrics_free(struct map_metrics *metrics)
{
	if (metrics == NULL)
		return;
	for (size_t i = 0; i < metrics->n_rules; i++)
		rule_done(&metrics->rules[i]);
	free(metrics->rules);
	free(metrics->order);
	free(metrics);
}

/* ---- rules */

static const Bpfleet__V1__Instance *instance_of(const struct map_metrics_source *source,
						const char *map)
{
	for (size_t i = 0; i < source->n_instances; i++) {
		const char *name = source->instances[i]->name;
		const size_t n = strlen(name);

		if (strncmp(map, name, n) == 0 && map[n] == '/')
			return source->instances[i];
	}
	return NULL;
}

static void refuse(struct rule *rules, size_t n, enum error_code code)
{
	for (size_t i = 0; i < n; i++) {
		if (rules[i].reason == NULL)
			rules[i].reason = error_info(code)->reason;
	}
}

static int make_rules(const struct map_metrics_source *source, struct map_metrics *metrics,
		      struct error *err)
{
	size_t n = 0;

	for (size_t i = 0; i < source->n_maps; i++)
		n += source->maps[i]->n_metrics;
	metrics->rules = calloc(n + 1, sizeof(*metrics->rules));
	metrics->order = calloc(n + 1, sizeof(struct rule *));
	if (metrics->rules == NULL || metrics->order == NULL)
		return no_memory(err);
	for (size_t i = 0; i < source->n_maps; i++) {
		const Bpfleet__V1__Map *map = source->maps[i];

		for (size_t m = 0; m < map->n_metrics; m++) {
			struct rule *rule = &metrics->rules[metrics->n_rules++];
			int r = rule_init(rule, instance_of(source, map->name), map,
					  map->metrics[m], err);

			if (r < 0 && err->code == ERROR_OUT_OF_MEMORY)
				return r;
			if (r < 0)
				refuse(rule, 1, err->code);
		}
	}
	return 0;
}

/* ---- reading */

static bool is_fatal(enum error_code code)
{
	return code == ERROR_UNAVAILABLE || code == ERROR_CANCELLED || code == ERROR_OUT_OF_MEMORY;
}

static int bind(struct rule *rules, size_t n, struct node *node, struct decoder **ret,
		struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;
	const Bpfleet__V1__GetMapResponse *response;
	ProtobufCMessage *answer;
	struct decoder *decoder;
	int r;

	if (arena == NULL)
		return no_memory(err);
	request.name = rules[0].map->name;
	r = node_call(node, "GetMap", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__GetMapResponse *)answer;
	r = decoder_new_for_map(rules[0].map, response->btf.data, response->btf.len, &decoder, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct error refused = { 0 };

		if (rules[i].reason == NULL && rule_bind(&rules[i], decoder, &refused) < 0)
			refuse(&rules[i], 1, refused.code);
	}
	*ret = decoder;
	return 0;
}

static int add_entry(struct rule *rules, size_t n, const uint8_t *key, const uint8_t *value,
		     bool beyond, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (rules[i].reason != NULL)
			continue;
		if (beyond)
			rules[i].series.n_left_out++;
		else
			r = rule_add(&rules[i], key, value, err);
	}
	return r;
}

/* 1: there is more to read. */
static int read_page(struct rule *rules, size_t n, const struct decoder *decoder,
		     struct rpc_stream *stream, size_t *n_read, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	const size_t key_size = decoder_size(decoder, DECODER_KEY);
	const size_t size = key_size + decoder_size(decoder, DECODER_VALUE);
	const Bpfleet__V1__DumpMapResponse *page;
	ProtobufCMessage *message;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = rpc_stream_receive(stream, arena, &message, err);
	if (r <= 0)
		return r;
	page = (const Bpfleet__V1__DumpMapResponse *)message;
	if (page->entries.len != page->n_entries * size)
		return error_raise(err, ERROR_PROTOCOL,
				   "a dump's entries do not have the map's sizes");
	r = 0;
	for (size_t i = 0; r == 0 && i < page->n_entries && *n_read <= MAP_ENTRIES_MAX; i++) {
		const uint8_t *entry = page->entries.data + i * size;

		r = add_entry(rules, n, entry, entry + key_size, *n_read == MAP_ENTRIES_MAX, err);
		(*n_read)++;
	}
	return r < 0 ? r : *n_read <= MAP_ENTRIES_MAX;
}

static int dump(struct rule *rules, size_t n, const struct decoder *decoder, struct node *node,
		uint64_t deadline, struct error *err)
{
	Bpfleet__V1__DumpMapRequest request = BPFLEET__V1__DUMP_MAP_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	size_t n_read = 0;
	int r;

	request.map = rules[0].map->name;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_PACKED;
	r = node_subscribe(node, "DumpMap", &request.base, deadline, &stream, err);
	if (r < 0)
		return r;
	do
		r = read_page(rules, n, decoder, stream, &n_read, err);
	while (r > 0);
	node_stream_free(node, stream);
	return r;
}

static int read_map(struct rule *rules, size_t n, struct node *node, uint64_t deadline,
		    struct error *err)
{
	_cleanup_(decoder_freep) struct decoder *decoder = NULL;
	int r;

	if (clock_monotonic_ns() >= deadline) {
		refuse(rules, n, ERROR_DEADLINE_EXCEEDED);
		return 0;
	}
	r = bind(rules, n, node, &decoder, err);
	if (r == 0)
		r = dump(rules, n, decoder, node, deadline, err);
	if (r < 0 && is_fatal(err->code))
		return r;
	if (r < 0)
		refuse(rules, n, err->code);
	for (size_t i = 0; i < n; i++)
		series_sort(&rules[i].series);
	return 0;
}

/* ---- families, which rules of several maps may share */

static int by_family(const void *a, const void *b)
{
	const struct rule *const *x = a, *const *y = b;
	const int r = strcmp((*x)->family, (*y)->family);

	return r != 0 ? r : strcmp((*x)->map->name, (*y)->map->name);
}

/* A family has one type: that of its first rule that is shown. */
static void settle_families(struct map_metrics *metrics)
{
	const struct rule *first = NULL;

	for (size_t i = 0; i < metrics->n_rules; i++)
		metrics->order[i] = &metrics->rules[i];
	if (metrics->n_rules > 0)
		qsort(metrics->order, metrics->n_rules, sizeof(*metrics->order), by_family);
	for (size_t i = 0; i < metrics->n_rules; i++) {
		struct rule *rule = metrics->order[i];

		if (rule->reason != NULL)
			continue;
		if (first == NULL || strcmp(first->family, rule->family) != 0)
			first = rule;
		else if (first->type != rule->type)
			refuse(rule, 1, ERROR_ALREADY_EXISTS);
	}
}

int map_metrics_read(const struct map_metrics_source *source, struct node *node, uint64_t deadline,
		     struct map_metrics **ret, struct error *err)
{
	_cleanup_(map_metrics_freep) struct map_metrics *metrics = calloc(1, sizeof(*metrics));
	int r;

	if (metrics == NULL)
		return no_memory(err);
	r = make_rules(source, metrics, err);
	for (size_t i = 0, n; r == 0 && i < metrics->n_rules; i += n) {
		n = metrics->rules[i].map->n_metrics;
		r = read_map(&metrics->rules[i], n, node, deadline, err);
	}
	if (r < 0)
		return r;
	settle_families(metrics);
	*ret = TAKE_PTR(metrics);
	return 0;
}

/* ---- writing */

void map_metrics_write(const struct map_metrics *metrics, struct exposition *e)
{
	const char *family = "";

	for (size_t i = 0; metrics != NULL && i < metrics->n_rules; i++) {
		const struct rule *rule = metrics->order[i];

		if (rule->reason != NULL)
			continue;
		if (strcmp(family, rule->family) != 0)
			exposition_family(e, rule->family, rule->type, NULL, rule->spec->help);
		family = rule->family;
		rule_write(rule, e);
	}
}

static void write_about(const struct rule *rule, struct exposition *e, const char *reason,
			uint64_t value)
{
	const struct label more[] = { { "metric", rule->spec->name }, { "reason", reason } };
	struct str labels = { 0 };

	(void)str_appendf(&labels, "%s,", rule->labels.data);
	exposition_labels(&labels, more, reason == NULL ? 1 : 2);
	if (labels.failed)
		e->out->failed = true;
	else
		exposition_sample_text(e, "", labels.data, value, false, 0);
	str_done(&labels);
}

void map_metrics_write_shown(const struct map_metrics *metrics, struct exposition *e)
{
	for (size_t i = 0; metrics != NULL && i < metrics->n_rules; i++) {
		const struct rule *rule = metrics->order[i];

		write_about(rule, e, rule->reason == NULL ? "" : rule->reason,
			    rule->reason == NULL);
	}
}

void map_metrics_write_left_out(const struct map_metrics *metrics, struct exposition *e)
{
	for (size_t i = 0; metrics != NULL && i < metrics->n_rules; i++) {
		const struct rule *rule = metrics->order[i];

		if (rule->reason == NULL)
			write_about(rule, e, NULL, rule->series.n_left_out);
	}
}
