#include "exporter/rule.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "exporter/maps.h"
#include "exporter/metrics.h"

static const struct {
	enum family_type type;
	const char *suffix; /* that the manifest's name has */
} types[] = {
	[BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER] = { FAMILY_COUNTER, "_total" },
	[BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_GAUGE] = { FAMILY_GAUGE, "" },
	[BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_HISTOGRAM] = { FAMILY_HISTOGRAM, "" },
};

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for metrics");
}

int rule_init(struct rule *rule, const Bpfleet__V1__Instance *instance, const Bpfleet__V1__Map *map,
	      const Bpfleet__V1__MetricSpec *spec, struct error *err)
{
	const struct name_parts parts = name_split(map->name);
	const struct label labels[] = {
		{ "instance", parts.id },
		{ "label", instance == NULL ? "" : instance->label },
		{ "bundle", instance == NULL ? "" : instance->bundle },
		{ "map", parts.last },
	};
	size_t n = strlen(spec->name), suffix;

	rule->spec = spec;
	rule->map = map;
	exposition_labels(&rule->labels, labels, ARRAY_SIZE(labels));
	if (rule->labels.failed)
		return no_memory(err);
	if (spec->type <= 0 || (size_t)spec->type >= ARRAY_SIZE(types) ||
	    n > BUNDLE_METRIC_NAME_MAX || spec->n_labels > BUNDLE_METRIC_LABELS_MAX)
		return error_raise(err, ERROR_PROTOCOL, "a metric of %s makes no sense", map->name);
	suffix = strlen(types[spec->type].suffix);
	if (n <= suffix || strcmp(spec->name + n - suffix, types[spec->type].suffix) != 0)
		return error_raise(err, ERROR_PROTOCOL, "a metric of %s has the wrong name",
				   map->name);
	rule->type = types[spec->type].type;
	(void)snprintf(rule->family, sizeof(rule->family), RULE_PREFIX "%.*s", (int)(n - suffix),
		       spec->name);
	return 0;
}

void rule_done(struct rule *rule)
{
	str_done(&rule->labels);
	str_done(&rule->scratch);
	series_done(&rule->series);
}

int rule_bind(struct rule *rule, const struct decoder *decoder, struct error *err)
{
	const Bpfleet__V1__MetricSpec *spec = rule->spec;
	const size_t max = spec->max_series == 0 ? MAP_SERIES_DEFAULT : spec->max_series;
	size_t n;
	int r = member_find(decoder, spec->value, &rule->value, err);

	for (size_t i = 0; r == 0 && i < spec->n_labels; i++)
		r = member_find(decoder, spec->labels[i]->key, &rule->keys[i], err);
	if (r < 0)
		return r;
	rule->is_signed = member_is_signed(&rule->value);
	n = member_n_integers(&rule->value);
	if (n == 0 || n > BUNDLE_METRIC_SLOTS_MAX || (n > 1 && rule->type != FAMILY_HISTOGRAM))
		return error_raise(err, ERROR_MANIFEST_MISMATCH, "'%s' of %s is no number",
				   spec->value, rule->map->name);
	if (series_init(&rule->series,
			max < BUNDLE_METRIC_SERIES_MAX ? max : BUNDLE_METRIC_SERIES_MAX, n) < 0)
		return no_memory(err);
	return 0;
}

static int write_labels(struct rule *rule, const uint8_t *key)
{
	struct str text = { 0 };

	rule->scratch.len = 0;
	(void)str_append(&rule->scratch, "");
	for (size_t i = 0; i < rule->spec->n_labels; i++) {
		struct label label = { .name = rule->spec->labels[i]->name };

		text.len = 0;
		(void)member_text(&rule->keys[i], key, &text);
		label.value = text.failed ? "" : text.data;
		(void)str_append(&rule->scratch, ",");
		exposition_labels(&rule->scratch, &label, 1);
		rule->scratch.failed = rule->scratch.failed || text.failed;
	}
	str_done(&text);
	return rule->scratch.failed ? -1 : 0;
}

int rule_add(struct rule *rule, const uint8_t *key, const uint8_t *value, struct error *err)
{
	uint64_t values[BUNDLE_METRIC_SLOTS_MAX];

	if (write_labels(rule, key) < 0)
		return no_memory(err);
	for (size_t i = 0; i < rule->series.n_values; i++)
		values[i] = member_integer(&rule->value, value, i);
	return series_add(&rule->series, rule->scratch.data, values) < 0 ? no_memory(err) : 0;
}

static void write_sample(struct exposition *e, const char *suffix, const char *a, const char *b,
			 const char *c, uint64_t value, bool is_signed)
{
	struct str labels = { 0 };

	(void)str_append(&labels, a);
	(void)str_append(&labels, b);
	(void)str_append(&labels, c);
	if (labels.failed)
		e->out->failed = true;
	else
		exposition_sample_text(e, suffix, labels.data, value, is_signed, 0);
	str_done(&labels);
}

/* Slot i counts what has its highest bit there: values up to 2^(i+1) - 1. */
static void write_buckets(const struct rule *rule, const struct series *series,
			  struct exposition *e)
{
	const char *labels = rule->labels.data;
	uint64_t n = 0;

	for (size_t i = 0; i < rule->series.n_values; i++) {
		char le[40];

		n += series->values[i];
		if (i + 1 < rule->series.n_values) {
			(void)snprintf(le, sizeof(le), ",le=\"%" PRIu64 ".0\"",
				       (UINT64_C(2) << i) - 1);
			write_sample(e, "_bucket", labels, series->labels, le, n, false);
		}
	}
	/* The last slot has what is larger, too. */
	write_sample(e, "_bucket", labels, series->labels, ",le=\"+Inf\"", n, false);
	write_sample(e, "_count", labels, series->labels, "", n, false);
}

void rule_write(const struct rule *rule, struct exposition *e)
{
	for (size_t i = 0; i < rule->series.n; i++) {
		const struct series *series = rule->series.items[i];

		if (rule->type == FAMILY_HISTOGRAM)
			write_buckets(rule, series, e);
		else
			write_sample(e, exposition_suffix(rule->type), rule->labels.data,
				     series->labels, "", series->values[0], rule->is_signed);
	}
}
