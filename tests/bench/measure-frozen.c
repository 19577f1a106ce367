/* A frozen map through the fd that OpenMap gave, and the same map loaded in this process. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/raw.h"

#define N_NUMBERS 65536U
#define N_LOOKUPS 20000U
#define N_TURNS 15
#define P50 0.5

static int failed(const char *what, struct error *err)
{
	return error_raise_errno(err, ERROR_IO, errno, "%s", what);
}

static int look_up(int fd, struct series *series, struct error *err)
{
	const uint64_t start = clock_monotonic_ns();
	uint64_t number;

	for (uint32_t i = 0; i < N_LOOKUPS; i++) {
		const uint32_t key = i * 37 % N_NUMBERS;

		if (bpf_map_lookup_elem(fd, &key, &number) < 0)
			return failed("look a key up", err);
	}
	series_add(series, (double)(clock_monotonic_ns() - start) / N_LOOKUPS);
	return 0;
}

static void sum(const volatile uint64_t *numbers, struct series *series)
{
	const uint64_t start = clock_monotonic_ns();
	uint64_t total = 0;

	for (uint32_t i = 0; i < N_NUMBERS; i++)
		total += numbers[i];
	(void)total;
	series_add(series, us_since(start));
}

static int map_numbers(int fd, const volatile uint64_t **ret, struct error *err)
{
	void *mapping = mmap(NULL, N_NUMBERS * sizeof(uint64_t), PROT_READ, MAP_SHARED, fd, 0);

	if (mapping == MAP_FAILED)
		return failed("map a map", err);
	*ret = mapping;
	return 0;
}

static void unmap_numbers(const volatile uint64_t *numbers)
{
	if (numbers != NULL)
		(void)munmap((void *)(uintptr_t)numbers, N_NUMBERS * sizeof(uint64_t));
}

static void add(struct bench *bench, enum figure figure, enum figure ratio)
{
	const double ours = series_take(&bench->ours, P50);
	const double theirs = series_take(&bench->theirs, P50);

	figure_add(&bench->figures, figure, COLUMN_BPFLEET, ours);
	figure_add(&bench->figures, figure, COLUMN_RAW, theirs);
	figure_add(&bench->figures, ratio, COLUMN_BPFLEET, ours / theirs);
}

static int compare(struct bench *bench, int fd, int raw_fd, struct error *err)
{
	const volatile uint64_t *numbers = NULL, *raw_numbers = NULL;
	int r = 0;

	for (int i = 0; r == 0 && i < N_TURNS; i++) {
		r = look_up(fd, &bench->ours, err);
		if (r == 0)
			r = look_up(raw_fd, &bench->theirs, err);
	}
	if (r == 0)
		add(bench, FIGURE_FROZEN_LOOKUP, FIGURE_FROZEN_LOOKUP_RATIO);
	if (r == 0)
		r = map_numbers(fd, &numbers, err);
	if (r == 0)
		r = map_numbers(raw_fd, &raw_numbers, err);
	for (int i = 0; r == 0 && i < N_TURNS; i++) {
		sum(numbers, &bench->ours);
		sum(raw_numbers, &bench->theirs);
	}
	if (r == 0)
		add(bench, FIGURE_FROZEN_MMAP, FIGURE_FROZEN_MMAP_RATIO);
	unmap_numbers(numbers);
	unmap_numbers(raw_numbers);
	return r;
}

static int open_both(struct bench *bench, const char *instance, const struct bpf_object *object,
		     int *ret_fd, int *ret_raw_fd, struct error *err)
{
	struct bpfleet_error failure;
	char name[128];
	int r;

	*ret_raw_fd = bpf_object__find_map_fd_by_name(object, "numbers");
	if (*ret_raw_fd < 0 || bpf_map_freeze(*ret_raw_fd) < 0)
		return failed("freeze a map", err);
	(void)snprintf(name, sizeof(name), "%s/maps/numbers", instance);
	r = bpfleet_open_map(bench->busy.client, name, ret_fd, &failure);
	return daemon_failed(r, &failure, "open a map", err);
}

int measure_frozen(struct bench *bench, struct error *err)
{
	_cleanup_close_ int fd = -1;
	struct bpf_object *object = NULL;
	char instance[80];
	double ms;
	int raw_fd = -1;
	int r = bench_load(bench->busy.client, "frozen", instance, sizeof(instance), err);

	if (r < 0)
		return r;
	r = raw_load("frozen", NULL, &object, &ms, err);
	if (r < 0)
		return r;
	r = open_both(bench, instance, object, &fd, &raw_fd, err);
	if (r == 0)
		r = compare(bench, fd, raw_fd, err);
	bpf_object__close(object);
	return r < 0 ? r : bench_unload(bench->busy.client, instance, err);
}
