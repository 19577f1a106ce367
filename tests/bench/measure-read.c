/* Lists, lookups, dumps. */
#include <bpf/bpf.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/raw.h"

#define P50 0.5
#define P99 0.99
#define N_BPFTOOL 5

static int bpftool_median(struct bench *bench, const char *const *arguments, int n,
			  enum figure figure, double scale, struct error *err)
{
	double ms = 0;
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++) {
		r = bpftool_run(arguments, &ms, err);
		series_add(&bench->others, ms * scale);
	}
	if (r == 0)
		figure_add(&bench->figures, figure, COLUMN_BPFTOOL,
			   series_take(&bench->others, P50));
	return r;
}

/* ---- lists */

static int list_once(struct bench *bench, struct error *err)
{
	const struct bpfleet_instance *instances = NULL;
	struct bpfleet_error failure;
	const uint64_t start = clock_monotonic_ns();
	size_t n = 0;
	int r = bpfleet_list_instances(bench->many.client, NULL, &instances, &n, &failure);

	series_add(&bench->ours, ms_since(start));
	bpfleet_free(instances);
	if (r == 0 && n != MANY_PROGRAMS)
		return error_raise(err, ERROR_INTERNAL, "%zu instances are listed", n);
	return daemon_failed(r, &failure, "list instances", err);
}

int measure_list(struct bench *bench, struct error *err)
{
	const char *const arguments[] = { "-j", "prog", "show", NULL };
	int r = 0;

	for (int i = 0; r == 0 && i < (bench->quick ? 10 : 30); i++) {
		uint64_t start;
		size_t n;

		r = list_once(bench, err);
		start = clock_monotonic_ns();
		if (r == 0)
			r = raw_list_programs(&n, err);
		series_add(&bench->theirs, ms_since(start));
	}
	if (r < 0)
		return r;
	figure_add(&bench->figures, FIGURE_LIST, COLUMN_BPFLEET, series_take(&bench->ours, P50));
	figure_add(&bench->figures, FIGURE_LIST, COLUMN_RAW, series_take(&bench->theirs, P50));
	return bpftool_median(bench, arguments, N_BPFTOOL, FIGURE_LIST, 1, err);
}

/* ---- lookups */

struct flow {
	uint64_t packets;
	uint64_t bytes;
};

static int lookup_once(struct bench *bench, uint64_t key, struct error *err)
{
	struct flow flow = { 0 };
	struct bpfleet_error failure;
	const uint64_t start = clock_monotonic_ns();
	int r = bpfleet_map_lookup(bench->many.client, bench->table, &key, sizeof(key), &flow,
				   sizeof(flow), &failure);

	series_add(&bench->ours, us_since(start));
	if (r == 0 && flow.packets != key)
		return error_raise(err, ERROR_INTERNAL, "a lookup found another entry");
	return daemon_failed(r, &failure, "look a key up", err);
}

static int raw_lookup_once(struct bench *bench, int fd, uint64_t key, struct error *err)
{
	struct flow flow;
	const uint64_t start = clock_monotonic_ns();

	if (bpf_map_lookup_elem(fd, &key, &flow) < 0)
		return error_raise(err, ERROR_IO, "look a key up");
	series_add(&bench->theirs, us_since(start));
	return 0;
}

static void add_lookups(struct bench *bench)
{
	struct figures *figures = &bench->figures;
	/* A series empties when it is taken: p99 needs a copy of what p50 sorted. */
	const size_t n_ours = bench->ours.n, n_theirs = bench->theirs.n, n_empty = bench->others.n;
	const double ours = series_take(&bench->ours, P50);
	const double theirs = series_take(&bench->theirs, P50);
	const double empty = series_take(&bench->others, P50);

	figure_add(figures, FIGURE_EMPTY_P50, COLUMN_BPFLEET, empty);
	figure_add(figures, FIGURE_LOOKUP_P50, COLUMN_BPFLEET, ours);
	figure_add(figures, FIGURE_LOOKUP_P50, COLUMN_RAW, theirs);
	figure_add(figures, FIGURE_LOOKUP_RATIO, COLUMN_BPFLEET, ours / empty);
	bench->ours.n = n_ours;
	bench->theirs.n = n_theirs;
	bench->others.n = n_empty;
	figure_add(figures, FIGURE_EMPTY_P99, COLUMN_BPFLEET, series_take(&bench->others, P99));
	figure_add(figures, FIGURE_LOOKUP_P99, COLUMN_BPFLEET, series_take(&bench->ours, P99));
	figure_add(figures, FIGURE_LOOKUP_P99, COLUMN_RAW, series_take(&bench->theirs, P99));
}

int measure_lookup(struct bench *bench, struct error *err)
{
	char id[16];
	const char *const arguments[] = { "map", "lookup", "id", id,   "key", "hex", "07", "00",
					  "00",	 "00",	   "00", "00", "00",  "00",  NULL };
	_cleanup_close_ int fd = -1;
	int r = raw_open_map(bench->table_id, &fd, err);

	for (uint64_t i = 0; r == 0 && i < (bench->quick ? 500 : 2000); i++) {
		const uint64_t key = i * 37 % bench->n_entries;
		uint64_t start;

		r = lookup_once(bench, key, err);
		start = clock_monotonic_ns();
		if (r == 0)
			r = daemon_check_health(&bench->many, err);
		series_add(&bench->others, us_since(start));
		if (r == 0)
			r = raw_lookup_once(bench, fd, key, err);
	}
	if (r < 0)
		return r;
	add_lookups(bench);
	(void)snprintf(id, sizeof(id), "%u", bench->table_id);
	return bpftool_median(bench, arguments, N_BPFTOOL, FIGURE_LOOKUP_P50, 1000, err);
}

/* ---- dumps */

static int dump_once(struct bench *bench, bool as_json, enum figure figure, double *ret_ms,
		     struct error *err)
{
	struct bpfleet_dump *dump = NULL;
	struct bpfleet_entry entry;
	struct bpfleet_error failure;
	const uint64_t start = clock_monotonic_ns();
	size_t n = 0;
	int r = bpfleet_dump_open(bench->many.client, bench->table, as_json, &dump, &failure);

	if (r < 0)
		return daemon_failed(r, &failure, "dump", err);
	while ((r = bpfleet_dump_next(dump, &entry, &failure)) > 0)
		n++;
	bpfleet_dump_close(dump);
	if (r == 0 && n != bench->n_entries)
		return error_raise(err, ERROR_INTERNAL, "a dump of %zu entries", n);
	*ret_ms = ms_since(start);
	figure_add(&bench->figures, figure, COLUMN_BPFLEET, *ret_ms);
	return daemon_failed(r, &failure, "dump", err);
}

static void add_rates(struct bench *bench, double packed_ms, double raw_ms, double bpftool_ms)
{
	figure_add(&bench->figures, FIGURE_DUMP, COLUMN_RAW, raw_ms);
	figure_add(&bench->figures, FIGURE_DUMP, COLUMN_BPFTOOL, bpftool_ms);
	figure_add(&bench->figures, FIGURE_DUMP_RATE, COLUMN_BPFLEET, raw_ms / packed_ms);
	figure_add(&bench->figures, FIGURE_DUMP_BPFTOOL, COLUMN_BPFLEET, bpftool_ms / packed_ms);
	figure_add(&bench->figures, FIGURE_DUMP_JSON, COLUMN_BPFTOOL, bpftool_ms);
}

int measure_dump(struct bench *bench, struct error *err)
{
	char id[16];
	const char *const arguments[] = { "-j", "map", "dump", "id", id, NULL };
	double packed_ms, raw_ms, json_ms, bpftool_ms;
	uint64_t start;
	size_t n = 0;
	int r = dump_once(bench, false, FIGURE_DUMP, &packed_ms, err);

	start = clock_monotonic_ns();
	if (r == 0)
		r = raw_dump_map(bench->table_id, &n, err);
	if (r == 0 && n != bench->n_entries)
		return error_raise(err, ERROR_INTERNAL, "libbpf dumps %zu entries", n);
	raw_ms = ms_since(start);
	if (r == 0)
		r = dump_once(bench, true, FIGURE_DUMP_JSON, &json_ms, err);
	(void)snprintf(id, sizeof(id), "%u", bench->table_id);
	if (r == 0)
		r = bpftool_run(arguments, &bpftool_ms, err);
	if (r == 0)
		add_rates(bench, packed_ms, raw_ms, bpftool_ms);
	return r;
}
