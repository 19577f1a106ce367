/*
 * What kernel_load() costs beside raw libbpf, interleaved in one process: open, load and close of
 * the same objects. Prints medians in microseconds and the ratio.
 */
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/test-fixture.h"

#define N_ROUNDS 301

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static double median_us(uint64_t *ns)
{
	qsort(ns, N_ROUNDS, sizeof(*ns), compare);
	return (double)ns[N_ROUNDS / 2] / 1000.0;
}

static void raw_load(const Bpfleet__V1__Object *bytes)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = bytes->name);
	struct bpf_object *object = bpf_object__open_mem(bytes->elf.data, bytes->elf.len, &opts);

	assert_non_null(object);
	assert_int_equal(bpf_object__load(object), 0);
	bpf_object__close(object);
}

static void our_load(const struct fixture *fixture)
{
	const struct kernel_load_options options = { .bundle = &fixture->bundle };
	struct kernel_object *object = NULL;

	assert_int_equal(kernel_load(&options, &object, NULL), 0);
	kernel_object_free(object);
}

static void bench(const char *name)
{
	static uint64_t raw[N_ROUNDS], ours[N_ROUNDS];
	struct fixture fixture;
	double raw_us, our_us;

	fixture_init(&fixture, &name, 1);
	for (size_t i = 0; i < N_ROUNDS; i++) {
		const uint64_t start = clock_monotonic_ns();
		uint64_t middle;

		raw_load(fixture.bundle.objects[0]);
		middle = clock_monotonic_ns();
		our_load(&fixture);
		raw[i] = middle - start;
		ours[i] = clock_monotonic_ns() - middle;
	}
	raw_us = median_us(raw);
	our_us = median_us(ours);
	(void)printf("%-10s libbpf %8.1f us   kernel_load %8.1f us   ratio %.2f\n", name, raw_us,
		     our_us, our_us / raw_us);
	fixture_done(&fixture);
}

static int run(void)
{
	kernel_init();
	bench("trivial");
	bench("many");
	bench("hooks");
	return 0;
}

int main(int argc, char **argv)
{
	return place_run(place_role(argc, argv), run);
}
