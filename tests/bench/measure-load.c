/* Loads, one at a time. */
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/place.h"
#include "tests/bench/raw.h"
#include "tests/bench/signing.h"

#define P50 0.5
#define N_BPFTOOL 5

static int load_once(struct daemon *daemon, const char *bundle, struct series *series,
		     struct error *err)
{
	const uint64_t start = clock_monotonic_ns();
	char name[80];
	int r = bench_load(daemon->client, bundle, name, sizeof(name), err);

	if (r < 0)
		return r;
	series_add(series, ms_since(start));
	return bench_unload(daemon->client, name, err);
}

static int raw_load_once(const struct bench *bench, const char *program, struct series *series,
			 struct error *err)
{
	struct bpf_object *object = NULL;
	double ms = 0;
	char pins[96];
	int r;

	bench_pin_path(bench, program, 0, pins, sizeof(pins));
	r = raw_load(program, pins, &object, &ms, err);
	if (r < 0)
		return r;
	series_add(series, ms);
	raw_unload(object, pins);
	return 0;
}

static int bpftool_load(struct bench *bench, const char *program, enum figure figure,
			struct error *err)
{
	char object[4096], pins[96];
	const char *const arguments[] = { "prog", "loadall", object, pins, NULL };
	double ms = 0;
	int r = 0;

	signing_object_path(program, object, sizeof(object));
	bench_pin_path(bench, "bpftool", 0, pins, sizeof(pins));
	for (int i = 0; r == 0 && i < N_BPFTOOL; i++) {
		r = bpftool_run(arguments, &ms, err);
		series_add(&bench->others, ms);
		place_remove(pins);
	}
	if (r == 0)
		figure_add(&bench->figures, figure, COLUMN_BPFTOOL,
			   series_take(&bench->others, P50));
	return r;
}

int measure_load(struct bench *bench, struct error *err)
{
	struct figures *figures = &bench->figures;
	struct series many = { 0 };
	double none_ms, many_ms, raw_ms;
	int r = series_init(&many);

	if (r < 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "measure loads");
	for (int i = 0; r == 0 && i < (bench->quick ? 20 : 50); i++) {
		r = load_once(&bench->empty, "trivial", &bench->ours, err);
		if (r == 0)
			r = load_once(&bench->many, "trivial", &many, err);
		if (r == 0)
			r = raw_load_once(bench, "trivial", &bench->theirs, err);
		if (r == 0) {
			const uint64_t start = clock_monotonic_ns();

			r = raw_store_commit_twice(bench->store, err);
			series_add(&bench->others, ms_since(start));
		}
	}
	none_ms = series_take(&bench->ours, P50);
	many_ms = series_take(&many, P50);
	raw_ms = series_take(&bench->theirs, P50);
	series_done(&many);
	if (r < 0)
		return r;
	figure_add(figures, FIGURE_LOAD, COLUMN_BPFLEET, none_ms);
	figure_add(figures, FIGURE_LOAD, COLUMN_RAW, raw_ms);
	figure_add(figures, FIGURE_LOAD_MANY, COLUMN_BPFLEET, many_ms);
	figure_add(figures, FIGURE_LOAD_MANY, COLUMN_RAW, raw_ms);
	figure_add(figures, FIGURE_LOAD_MANY_RATIO, COLUMN_BPFLEET, many_ms / none_ms);
	figure_add(figures, FIGURE_COMMITS, COLUMN_RAW, series_take(&bench->others, P50));
	return bpftool_load(bench, "trivial", FIGURE_LOAD, err);
}

int measure_fifty(struct bench *bench, struct error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < (bench->quick ? 5 : 15); i++) {
		r = load_once(&bench->empty, "fifty", &bench->ours, err);
		if (r == 0)
			r = raw_load_once(bench, "fifty", &bench->theirs, err);
	}
	if (r < 0)
		return r;
	figure_add(&bench->figures, FIGURE_LOAD_FIFTY, COLUMN_BPFLEET,
		   series_take(&bench->ours, P50));
	figure_add(&bench->figures, FIGURE_LOAD_FIFTY, COLUMN_RAW,
		   series_take(&bench->theirs, P50));
	return bpftool_load(bench, "fifty", FIGURE_LOAD_FIFTY, err);
}
