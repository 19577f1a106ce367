#include "tests/bench/figure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"

enum bound {
	NONE,
	MOST,
	LEAST,
};

struct figure_info {
	const char *name;
	const char *title;
	const char *unit;
	enum bound bound;
	double target;
	double bpfman;
};

static const struct figure_info infos[] = {
#define X(name, title, unit, bound, target, bpfman) { #name, title, unit, bound, target, bpfman },
#include "tests/bench/figures.def"
#undef X
};

static const char *const column_names[] = { "bpfleet", "raw", "bpftool" };

double ms_since(uint64_t start_ns)
{
	return (double)(clock_monotonic_ns() - start_ns) / 1e6;
}

double us_since(uint64_t start_ns)
{
	return (double)(clock_monotonic_ns() - start_ns) / 1e3;
}

/* ---- samples */

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void figure_add(struct figures *figures, enum figure figure, enum column column, double value)
{
	struct samples *samples = &figures->samples[figure][column];

	if (samples->n < SAMPLES_MAX)
		samples->values[samples->n++] = value;
}

int series_init(struct series *series)
{
	*series = (struct series){ .values = calloc(SERIES_MAX, sizeof(double)) };
	return series->values == NULL ? -ENOMEM : 0;
}

void series_done(struct series *series)
{
	free(series->values);
}

void series_add(struct series *series, double value)
{
	if (series->n < SERIES_MAX)
		series->values[series->n++] = value;
}

double series_take(struct series *series, double p)
{
	size_t n = series->n;

	series->n = 0;
	if (n == 0)
		return 0;
	qsort(series->values, n, sizeof(double), compare);
	return series->values[(size_t)(p * (double)(n - 1))];
}

static struct samples sorted(const struct samples *samples)
{
	struct samples copy = *samples;

	qsort(copy.values, copy.n, sizeof(double), compare);
	return copy;
}

static double median(const struct samples *samples)
{
	const struct samples s = sorted(samples);

	if (s.n == 0)
		return 0;
	return s.n % 2 == 1 ? s.values[s.n / 2] : (s.values[s.n / 2 - 1] + s.values[s.n / 2]) / 2;
}

/* Median of the ratios, round by round: what shook the machine shook both. */
static double ratio(const struct samples *ours, const struct samples *theirs)
{
	struct samples ratios = { 0 };

	for (size_t i = 0; i < ours->n && i < theirs->n; i++)
		if (theirs->values[i] > 0)
			ratios.values[ratios.n++] = ours->values[i] / theirs->values[i];
	return median(&ratios);
}

/* Some measurements may have been left out, and one that failed has said so. */
static bool is_measured(const struct samples *columns)
{
	bool any = false;

	for (int i = 0; i < N_COLUMNS; i++)
		any = any || columns[i].n > 0;
	return any;
}

/* ---- the table */

static void print_value(FILE *file, double value, bool present)
{
	if (!present)
		(void)fprintf(file, " %9s", "");
	else
		(void)fprintf(file, " %9.*f", value >= 100 ? 0 : value >= 10 ? 1 : 2, value);
}

static void print_ratio(FILE *file, const struct samples *ours, const struct samples *theirs)
{
	if (ours->n > 0 && theirs->n > 0)
		(void)fprintf(file, " %7.2fx", ratio(ours, theirs));
	else
		(void)fprintf(file, " %8s", "");
}

static const char *verdict(const struct figure_info *info, const struct samples *ours)
{
	if (info->bound == NONE || ours->n == 0)
		return "";
	return (info->bound == MOST ? median(ours) <= info->target : median(ours) >= info->target)
		       ? "ok"
		       : "miss";
}

size_t figures_n_missed(const struct figures *figures)
{
	size_t n = 0;

	for (size_t i = 0; i < N_FIGURES; i++)
		n += strcmp(verdict(&infos[i], &figures->samples[i][COLUMN_BPFLEET]), "miss") == 0;
	return n;
}

static void print_target(FILE *file, const struct figure_info *info)
{
	if (info->bound == NONE)
		(void)fprintf(file, " %9s", "");
	else
		(void)fprintf(file, "  %s %4g", info->bound == MOST ? "<=" : ">=", info->target);
}

static void print_row(FILE *file, const struct figure_info *info, const struct samples *columns)
{
	const struct samples *ours = &columns[COLUMN_BPFLEET];

	(void)fprintf(file, "%-54s %-3s", info->title, info->unit);
	print_value(file, median(ours), ours->n > 0);
	for (int i = COLUMN_RAW; i < N_COLUMNS; i++) {
		print_value(file, median(&columns[i]), columns[i].n > 0);
		print_ratio(file, ours, &columns[i]);
	}
	print_target(file, info);
	(void)fprintf(file, "  %-4s", verdict(info, ours));
	print_value(file, info->bpfman, info->bpfman > 0);
	(void)fputc('\n', file);
}

void figures_print(const struct figures *figures, const struct report_context *context, FILE *file)
{
	(void)fprintf(
		file,
		"bpfleet bench: Linux %s, %ld CPUs, %zu rounds, interleaved%s; load average "
		"%.1f before, %.1f after\nMedians of the rounds. raw: libbpf (commits: SQLite) "
		"in this process. Dumps: %zu entries. bpfman: as published, not run here.\n\n",
		context->kernel, context->n_cpus, context->n_rounds,
		context->quick ? ", quick" : "", context->load_before, context->load_after,
		context->n_entries);
	(void)fprintf(file, "%-58s %9s %9s %8s %9s %8s %9s  %-4s %9s\n", "", "bpfleet", "raw",
		      "ratio", "bpftool", "ratio", "target", "ok", "bpfman");
	for (size_t i = 0; i < N_FIGURES; i++)
		if (is_measured(figures->samples[i]))
			print_row(file, &infos[i], figures->samples[i]);
}

/* ---- JSON */

static void append_column(struct str *out, const char *name, const struct samples *samples)
{
	const struct samples s = sorted(samples);

	if (s.n == 0)
		return;
	(void)str_appendf(
		out, ", \"%s\": {\"median\": %.6g, \"min\": %.6g, \"max\": %.6g, \"rounds\": [",
		name, median(samples), s.values[0], s.values[s.n - 1]);
	for (size_t i = 0; i < samples->n; i++)
		(void)str_appendf(out, "%s%.6g", i > 0 ? ", " : "", samples->values[i]);
	(void)str_append(out, "]}");
}

static void append_figure(struct str *out, const struct figure_info *info,
			  const struct samples *columns)
{
	const struct samples *ours = &columns[COLUMN_BPFLEET];

	(void)str_append(out, "\n    {\"name\": ");
	(void)str_append_json(out, info->name, SIZE_MAX);
	(void)str_append(out, ", \"title\": ");
	(void)str_append_json(out, info->title + strspn(info->title, " "), SIZE_MAX);
	(void)str_appendf(out, ", \"unit\": \"%s\"", info->unit);
	for (int i = 0; i < N_COLUMNS; i++)
		append_column(out, column_names[i], &columns[i]);
	for (int i = COLUMN_RAW; i < N_COLUMNS; i++)
		if (ours->n > 0 && columns[i].n > 0)
			(void)str_appendf(out, ", \"over_%s\": %.4g", column_names[i],
					  ratio(ours, &columns[i]));
	if (info->bound != NONE)
		(void)str_appendf(out, ", \"target\": %g, \"at\": \"%s\", \"verdict\": \"%s\"",
				  info->target, info->bound == MOST ? "most" : "least",
				  verdict(info, ours));
	if (info->bpfman > 0)
		(void)str_appendf(out, ", \"bpfman_published\": %g", info->bpfman);
	(void)str_append(out, "}");
}

int figures_print_json(const struct figures *figures, const struct report_context *context,
		       FILE *file)
{
	struct str out = { 0 };
	_cleanup_free_ char *text = NULL;
	bool any = false;

	(void)str_append(&out, "{\n  \"kernel\": ");
	(void)str_append_json(&out, context->kernel, SIZE_MAX);
	(void)str_appendf(&out,
			  ",\n  \"cpus\": %ld,\n  \"rounds\": %zu,\n  \"quick\": %s,\n"
			  "  \"dumped_entries\": %zu,\n  \"load_average\": [%.2f, %.2f],\n"
			  "  \"figures\": [",
			  context->n_cpus, context->n_rounds, context->quick ? "true" : "false",
			  context->n_entries, context->load_before, context->load_after);
	for (size_t i = 0; i < N_FIGURES; i++) {
		if (!is_measured(figures->samples[i]))
			continue;
		(void)str_append(&out, any ? "," : "");
		append_figure(&out, &infos[i], figures->samples[i]);
		any = true;
	}
	(void)str_append(&out, "\n  ]\n}\n");
	text = str_take(&out);
	if (text == NULL)
		return -ENOMEM;
	(void)fputs(text, file);
	return 0;
}
