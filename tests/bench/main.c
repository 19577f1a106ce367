/*
 * bpfleet-bench: what the daemon costs, side by side with raw libbpf and bpftool, interleaved. Run
 * by tools/bench, which installs a build for it.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/place.h"

#define N_ROUNDS 7
#define N_ROUNDS_QUICK 5
#define N_ENTRIES 1000000
#define N_ENTRIES_QUICK 100000

static const struct {
	const char *name;
	int (*measure)(struct bench *bench, struct error *err);
} measurements[] = {
	{ "memory", measure_memory },	{ "load", measure_load },
	{ "fifty", measure_fifty },	{ "attach", measure_attach },
	{ "herd", measure_herd },	{ "list", measure_list },
	{ "lookup", measure_lookup },	{ "dump", measure_dump },
	{ "frozen", measure_frozen },	{ "replace", measure_replace },
	{ "events", measure_events },	{ "installed", measure_installed },
	{ "restart", measure_restart },
};

struct options {
	const char *prefix;
	const char *only; /* a measurement, or NULL */
	size_t n_rounds;
	bool quick;
	bool json;
};

/* The measurements of a round one after the other, round after round. One that failed is not tried
 * again; returns how many did. */
static size_t run_rounds(struct bench *bench, const struct options *options)
{
	bool failed[ARRAY_SIZE(measurements)] = { false };
	size_t n_failed = 0;

	for (bench->round = 0; bench->round < options->n_rounds; bench->round++) {
		for (size_t i = 0; i < ARRAY_SIZE(measurements); i++) {
			struct error err = { 0 };

			if (failed[i] || (options->only != NULL &&
					  strcmp(options->only, measurements[i].name) != 0))
				continue;
			if (measurements[i].measure(bench, &err) >= 0)
				continue;
			(void)fprintf(stderr, "bench: %s: %s\n", measurements[i].name, err.message);
			bench->ours.n = bench->theirs.n = bench->others.n = 0;
			failed[i] = true;
			n_failed++;
		}
		(void)fprintf(stderr, "round %zu of %zu\n", bench->round + 1, options->n_rounds);
	}
	return n_failed;
}

static double load_average(void)
{
	double load = 0;

	return getloadavg(&load, 1) == 1 ? load : 0;
}

static int report(const struct bench *bench, const struct options *options, double load_before)
{
	struct utsname host;
	struct report_context context = {
		.n_cpus = sysconf(_SC_NPROCESSORS_ONLN),
		.n_rounds = options->n_rounds,
		.quick = options->quick,
		.n_entries = bench->n_entries,
		.load_before = load_before,
		.load_after = load_average(),
	};

	(void)uname(&host);
	context.kernel = host.release;
	if (options->json)
		return figures_print_json(&bench->figures, &context, stdout);
	figures_print(&bench->figures, &context, stdout);
	return 0;
}

static int run(const char *folder, void *arg)
{
	const struct options *options = arg;
	const double load_before = load_average();
	static struct bench bench;
	struct error err = { 0 };
	size_t n_failed = 0;
	int r;

	bench.folder = folder;
	bench.prefix = options->prefix;
	bench.quick = options->quick;
	bench.n_entries = options->quick ? N_ENTRIES_QUICK : N_ENTRIES;
	r = bench_prepare(&bench, &err);
	if (r < 0)
		(void)fprintf(stderr, "bench: %s\n", err.message);
	else
		n_failed = run_rounds(&bench, options);
	if (r == 0)
		r = report(&bench, options, load_before);
	if (r == 0 && figures_n_missed(&bench.figures) > 0) {
		(void)fprintf(stderr, "bench: %zu targets missed\n",
			      figures_n_missed(&bench.figures));
		n_failed++;
	}
	bench_done(&bench);
	return r < 0 || n_failed > 0 ? -1 : 0;
}

static int usage(void)
{
	(void)fprintf(stderr, "usage: bpfleet-bench --prefix DIR [--quick] [--json] [--rounds N] "
			      "[--only MEASUREMENT]\ntools/bench runs it.\nMeasurements:");
	for (size_t i = 0; i < ARRAY_SIZE(measurements); i++)
		(void)fprintf(stderr, " %s", measurements[i].name);
	(void)fputc('\n', stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option rows[] = {
		{ "prefix", required_argument, NULL, 'p' },
		{ "quick", no_argument, NULL, 'q' },
		{ "json", no_argument, NULL, 'j' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { 0 };
	struct error err = { 0 };
	int option, status;

	while ((option = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		if (option == 'p')
			options.prefix = optarg;
		else if (option == 'q')
			options.quick = true;
		else if (option == 'j')
			options.json = true;
		else if (option == 'r')
			options.n_rounds = strtoul(optarg, NULL, 10);
		else if (option == 'o')
			options.only = optarg;
		else
			return usage();
	}
	if (options.prefix == NULL || optind != argc || options.n_rounds > SAMPLES_MAX)
		return usage();
	if (options.n_rounds == 0)
		options.n_rounds = options.quick ? N_ROUNDS_QUICK : N_ROUNDS;
	status = place_run(run, &options, &err);
	if (err.code != ERROR_NONE)
		(void)fprintf(stderr, "bench: %s\n", err.message);
	return status;
}
