/*
 * Figures of the bench: samples by figure and column, medians, and the report as a table or JSON.
 * One sample a round; what a round measures often goes through a series first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum figure {
#define X(name, title, unit, bound, target, bpfman) FIGURE_##name,
#include "tests/bench/figures.def"
#undef X
	N_FIGURES,
};

enum column {
	COLUMN_BPFLEET,
	COLUMN_RAW, /* the same by libbpf or SQLite in this process */
	COLUMN_BPFTOOL,
	N_COLUMNS,
};

#define SAMPLES_MAX 64

struct samples {
	double values[SAMPLES_MAX];
	size_t n;
};

struct figures {
	struct samples samples[N_FIGURES][N_COLUMNS];
};

/* Adds the sample of a round; beyond SAMPLES_MAX it is dropped. */
void figure_add(struct figures *figures, enum figure figure, enum column column, double value);

/* What a table cannot hold: where the figures come from. */
struct report_context {
	const char *kernel;
	long n_cpus;
	size_t n_rounds;
	bool quick;
	size_t n_entries;   /* of the dumped map */
	double load_before; /* load average of the machine, one minute */
	double load_after;
};

/* Those of which the median is on the wrong side of the target. */
size_t figures_n_missed(const struct figures *figures);

/* Medians, ratios, targets and whether they are met. */
void figures_print(const struct figures *figures, const struct report_context *context, FILE *file);
/* The same with every sample, as one JSON object. Returns -ENOMEM, or 0. */
int figures_print_json(const struct figures *figures, const struct report_context *context,
		       FILE *file);

#define SERIES_MAX 20000

/* Many measurements of one round, allocated once. */
struct series {
	double *values; /* SERIES_MAX of them */
	size_t n;
};

int series_init(struct series *series);
void series_done(struct series *series);
void series_add(struct series *series, double value);
/* The p-th part (0..1) of what was added since the last call, which empties the series. 0 if none.
 */
double series_take(struct series *series, double p);

/* Of elapsed CLOCK_MONOTONIC time. */
double ms_since(uint64_t start_ns);
double us_since(uint64_t start_ns);
