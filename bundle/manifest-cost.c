/* What a manifest says of cost and of metrics; declared in bundle/format.h, tabled in
 * bundle/FORMAT.md. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/name.h"

#define invalid(err, ...) error_raise(err, ERROR_MANIFEST_INVALID, __VA_ARGS__)

/* `[a-z][a-z0-9_]{0,63}`: legal to Prometheus as it is, and behind any prefix. */
static bool is_metric_name(const char *name)
{
	const size_t n = strlen(name);

	return n >= 1 && n <= BUNDLE_METRIC_NAME_MAX && name[0] >= 'a' && name[0] <= 'z' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

static bool ends_in(const char *name, const char *suffix)
{
	const size_t n = strlen(name), k = strlen(suffix);

	return n > k && strcmp(name + n - k, suffix) == 0;
}

/* "key", "key.source.port" below the root. */
static bool is_path_below(const char *path, const char *root)
{
	const size_t n = strlen(root);

	if (strncmp(path, root, n) != 0 || strlen(path) > BUNDLE_PATH_MAX)
		return false;
	for (path += n; *path == '.'; path += strcspn(path, ".")) {
		char member[NAME_SYMBOL_MAX + 1];
		size_t length = strcspn(++path, ".");

		if (length > NAME_SYMBOL_MAX)
			return false;
		(void)snprintf(member, sizeof(member), "%.*s", (int)length, path);
		if (!name_is_symbol(member))
			return false;
	}
	return *path == '\0';
}

static int check_labels(const Bpfleet__V1__MetricSpec *metric, size_t index, struct error *err)
{
	static const char *const taken[] = { "instance", "label", "bundle", "map", "le" };

	if (metric->n_labels > BUNDLE_METRIC_LABELS_MAX)
		return invalid(err, "manifest.metrics[%zu].labels: at most %d are allowed", index,
			       BUNDLE_METRIC_LABELS_MAX);
	for (size_t i = 0; i < metric->n_labels; i++) {
		const Bpfleet__V1__MetricLabel *label = metric->labels[i];

		if (!is_metric_name(label->name) || strncmp(label->name, "__", 2) == 0)
			return invalid(err,
				       "manifest.metrics[%zu].labels[%zu].name: '%.64s' is not "
				       "[a-z][a-z0-9_]{0,63}",
				       index, i, label->name);
		for (size_t k = 0; k < ARRAY_SIZE(taken); k++) {
			if (strcmp(label->name, taken[k]) == 0)
				return invalid(err,
					       "manifest.metrics[%zu].labels[%zu].name: '%s' is "
					       "set by the exporter",
					       index, i, label->name);
		}
		for (size_t k = 0; k < i; k++) {
			if (strcmp(metric->labels[k]->name, label->name) == 0)
				return invalid(err,
					       "manifest.metrics[%zu].labels[%zu].name: '%s' is "
					       "there twice",
					       index, i, label->name);
		}
		if (!is_path_below(label->key, "key"))
			return invalid(err,
				       "manifest.metrics[%zu].labels[%zu].key: '%.255s' is not a "
				       "dotted path below key",
				       index, i, label->key);
	}
	return 0;
}

/* What Prometheus puts behind the names of families: a name that ends so could be another's. */
static bool is_taken_name(const char *name)
{
	static const char *const suffixes[] = { "_bucket", "_count", "_sum", "_created", "_info" };

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		if (ends_in(name, suffixes[i]))
			return true;
	}
	return false;
}

static int check_metric(const Bpfleet__V1__Manifest *manifest, size_t index, struct error *err)
{
	const Bpfleet__V1__MetricSpec *metric = manifest->metrics[index];
	const Bpfleet__V1__MapSpec *map = manifest_map(manifest, metric->map);
	const bool counter = metric->type == BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER;

	if (!is_metric_name(metric->name))
		return invalid(err,
			       "manifest.metrics[%zu].name: '%.64s' is not [a-z][a-z0-9_]{0,63}",
			       index, metric->name);
	if (metric->type == BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_UNSPECIFIED)
		return invalid(err,
			       "manifest.metrics[%zu].type: must be counter, gauge or histogram",
			       index);
	if (counter != ends_in(metric->name, "_total"))
		return invalid(err,
			       "manifest.metrics[%zu].name: '%s': a counter's name ends in _total, "
			       "and no other's",
			       index, metric->name);
	if (is_taken_name(metric->name))
		return invalid(
			err,
			"manifest.metrics[%zu].name: '%s': Prometheus gives _bucket, _count, "
			"_sum, _created and _info to names itself",
			index, metric->name);
	for (size_t i = 0; i < index; i++) {
		if (strcmp(manifest->metrics[i]->name, metric->name) == 0)
			return invalid(err, "manifest.metrics[%zu].name: '%s' is there twice",
				       index, metric->name);
	}
	if (metric->help[0] == '\0' || strlen(metric->help) > BUNDLE_PATH_MAX ||
	    strpbrk(metric->help, "\n\r") != NULL)
		return invalid(err, "manifest.metrics[%zu].help: one line of 1 to %d bytes", index,
			       BUNDLE_PATH_MAX);
	if (map == NULL)
		return invalid(err, "manifest.metrics[%zu].map: there is no map '%.64s'", index,
			       metric->map);
	if (map->access == BPFLEET__V1__ACCESS__ACCESS_PRIVATE)
		return invalid(err,
			       "manifest.metrics[%zu].map: nobody may read '%s'; give it access",
			       index, metric->map);
	if (!is_path_below(metric->value, "value"))
		return invalid(err,
			       "manifest.metrics[%zu].value: '%.255s' is not a dotted path below "
			       "value",
			       index, metric->value);
	if (metric->max_series > BUNDLE_METRIC_SERIES_MAX)
		return invalid(err, "manifest.metrics[%zu].max_series: at most %d", index,
			       BUNDLE_METRIC_SERIES_MAX);
	return check_labels(metric, index, err);
}

int manifest_check_cost(const Bpfleet__V1__Manifest *manifest, struct error *err)
{
	int r = 0;

	if (manifest->budgets != NULL && manifest->budgets->windows > BUNDLE_BUDGET_WINDOWS_MAX)
		return invalid(err, "manifest.budgets.windows: at most %d",
			       BUNDLE_BUDGET_WINDOWS_MAX);
	if (manifest->n_metrics > BUNDLE_METRICS_MAX)
		return invalid(err, "manifest.metrics: %zu entries; at most %d are allowed",
			       manifest->n_metrics, BUNDLE_METRICS_MAX);
	for (size_t i = 0; r == 0 && i < manifest->n_metrics; i++)
		r = check_metric(manifest, i, err);
	return r;
}
