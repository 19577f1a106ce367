/* `budgets:` and `metrics:` of bundle.yaml. */
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/build/apply.h"
#include "bundle/build/typing.h"
#include "bundle/format.h"
#include "proto/arena.h"

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
}

static int apply_number(struct yaml *yaml, yaml_node_t *node, uint64_t max, uint64_t *ret,
			struct error *err)
{
	const char *text;
	int r = yaml_text(yaml, node, &text, err);

	if (r < 0)
		return r;
	if (str_to_u64(text, max, ret) < 0)
		return yaml_error(yaml, node, err, "'%.40s' is not a number from 0 to %llu", text,
				  (unsigned long long)max);
	return 0;
}

/* ---- budgets */

static int apply_memory(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	return apply_number(yaml, node, UINT64_MAX,
			    &((Bpfleet__V1__Budgets *)context)->max_memory_bytes, err);
}

static int apply_ns_per_run(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	return apply_number(yaml, node, UINT64_MAX,
			    &((Bpfleet__V1__Budgets *)context)->max_ns_per_run, err);
}

static int apply_cpu(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	Bpfleet__V1__Budgets *budgets = context;
	uint64_t number = 0;
	int r = apply_number(yaml, node, UINT32_MAX, &number, err);

	budgets->max_cpu_ppm = (uint32_t)number;
	return r;
}

static int apply_windows(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	Bpfleet__V1__Budgets *budgets = context;
	uint64_t number = 0;
	int r = apply_number(yaml, node, BUNDLE_BUDGET_WINDOWS_MAX, &number, err);

	budgets->windows = (uint32_t)number;
	return r;
}

static int apply_budgets(struct yaml *yaml, struct apply *apply, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "max_memory_bytes", apply_memory },
		{ "max_ns_per_run", apply_ns_per_run },
		{ "max_cpu_ppm", apply_cpu },
		{ "windows", apply_windows },
	};
	Bpfleet__V1__Budgets *budgets = arena_alloc(apply->arena, sizeof(*budgets));

	if (budgets == NULL)
		return out_of_memory(err);
	bpfleet__v1__budgets__init(budgets);
	apply->manifest->budgets = budgets;
	return yaml_apply(yaml, apply->budgets, keys, ARRAY_SIZE(keys), budgets, err);
}

/* ---- metrics */

struct metric {
	struct apply *apply;
	Bpfleet__V1__MetricSpec *spec;
};

static int apply_name(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;

	return apply_text(yaml, node, metric->apply->arena, &metric->spec->name, err);
}

static int apply_help(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;

	return apply_text(yaml, node, metric->apply->arena, &metric->spec->help, err);
}

static int apply_type(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	/* In the order of the enum, which starts at 1. */
	static const char *const words[] = { "counter", "gauge", "histogram" };
	struct metric *metric = context;
	size_t index = 0;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	metric->spec->type = (Bpfleet__V1__MetricType)(index + 1);
	return r;
}

static int apply_map(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;

	return apply_text(yaml, node, metric->apply->arena, &metric->spec->map, err);
}

static int apply_value(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;

	return apply_text(yaml, node, metric->apply->arena, &metric->spec->value, err);
}

static int apply_max_series(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;
	uint64_t number = 0;
	int r = apply_number(yaml, node, BUNDLE_METRIC_SERIES_MAX, &number, err);

	metric->spec->max_series = (uint32_t)number;
	return r;
}

static int apply_label(struct yaml *yaml, yaml_node_t *key, const char *name, yaml_node_t *value,
		       void *context, struct error *err)
{
	struct metric *metric = context;
	Bpfleet__V1__MetricSpec *spec = metric->spec;
	Bpfleet__V1__MetricLabel *label = arena_alloc(metric->apply->arena, sizeof(*label));

	if (label == NULL)
		return out_of_memory(err);
	if (spec->n_labels == BUNDLE_METRIC_LABELS_MAX)
		return yaml_error(yaml, key, err, "more than %d labels", BUNDLE_METRIC_LABELS_MAX);
	bpfleet__v1__metric_label__init(label);
	label->name = arena_strndup(metric->apply->arena, name, strlen(name));
	if (label->name == NULL)
		return out_of_memory(err);
	spec->labels[spec->n_labels++] = label;
	return apply_text(yaml, value, metric->apply->arena, &label->key, err);
}

static int apply_labels(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct metric *metric = context;

	metric->spec->labels = arena_alloc(
		metric->apply->arena, BUNDLE_METRIC_LABELS_MAX * sizeof(*metric->spec->labels));
	if (metric->spec->labels == NULL)
		return out_of_memory(err);
	return yaml_each_pair(yaml, node, apply_label, metric, err);
}

/* The members that it names exist, and its value is a number. */
static int check_members(struct yaml *yaml, yaml_node_t *item, const struct metric *metric,
			 struct error *err)
{
	const Bpfleet__V1__MapSpec *map = manifest_map(metric->apply->manifest, metric->spec->map);
	const struct bpf_object *object;
	int r;

	if (map == NULL)
		return yaml_error(yaml, item, err, "the objects hold no map '%.64s'",
				  metric->spec->map);
	object = apply_object(metric->apply, map->object)->bpf;
	r = typing_check_member(object, map, metric->spec->value,
				metric->spec->type ==
						BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_HISTOGRAM
					? TYPING_INTEGERS
					: TYPING_INTEGER,
				err);
	for (size_t i = 0; r == 0 && i < metric->spec->n_labels; i++)
		r = typing_check_member(object, map, metric->spec->labels[i]->key, TYPING_ANY, err);
	return r < 0 ? yaml_context(yaml, item, err, r) : 0;
}

static int apply_metric(struct yaml *yaml, yaml_node_t *item, void *context, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "name", apply_name },
		{ "help", apply_help },
		{ "type", apply_type },
		{ "map", apply_map },
		{ "value", apply_value },
		{ "labels", apply_labels },
		{ "max_series", apply_max_series },
	};
	struct apply *apply = context;
	struct metric metric = { .apply = apply };
	int r;

	metric.spec = arena_alloc(apply->arena, sizeof(*metric.spec));
	if (metric.spec == NULL)
		return out_of_memory(err);
	if (apply->manifest->n_metrics == BUNDLE_METRICS_MAX)
		return yaml_error(yaml, item, err, "more than %d metrics", BUNDLE_METRICS_MAX);
	bpfleet__v1__metric_spec__init(metric.spec);
	apply->manifest->metrics[apply->manifest->n_metrics++] = metric.spec;
	r = yaml_apply(yaml, item, keys, ARRAY_SIZE(keys), &metric, err);
	return r < 0 ? r : check_members(yaml, item, &metric, err);
}

int apply_cost(struct yaml *yaml, struct apply *apply, struct error *err)
{
	int r = 0;

	if (apply->budgets != NULL)
		r = apply_budgets(yaml, apply, err);
	if (r < 0 || apply->metrics == NULL)
		return r;
	apply->manifest->metrics =
		arena_alloc(apply->arena, BUNDLE_METRICS_MAX * sizeof(*apply->manifest->metrics));
	if (apply->manifest->metrics == NULL)
		return out_of_memory(err);
	return yaml_each_item(yaml, apply->metrics, apply_metric, apply, err);
}
