/* Replace of an attached program, and what of it the kernel does. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "tests/bench/bench.h"
#include "tests/bench/place.h"
#include "tests/bench/raw.h"

#define P50 0.5

static int replace_once(struct bench *bench, char *instance, struct error *err)
{
	Bpfleet__V1__ReplaceRequest request = BPFLEET__V1__REPLACE_REQUEST__INIT;
	Bpfleet__V1__CommitRequest commit = BPFLEET__V1__COMMIT_REQUEST__INIT;
	const uint64_t start = clock_monotonic_ns();
	int r;

	request.instance = instance;
	request.bundle = (char *)(uintptr_t) "bundles/trivial";
	r = daemon_call(&bench->busy, "Replace", &request.base, err);
	if (r < 0)
		return r;
	series_add(&bench->ours, ms_since(start));
	commit.instance = instance;
	return daemon_call(&bench->busy, "Commit", &commit.base, err);
}

/* Loads and pins another, puts it behind the link, and drops the one before. */
static int raw_replace_once(struct bench *bench, struct bpf_link *link, size_t i,
			    struct bpf_object **object, struct error *err)
{
	struct bpf_object *next;
	char pins[96], pins_before[96];
	uint64_t start;
	double ms, ms_update;
	int r;

	bench_pin_path(bench, "replace", i, pins_before, sizeof(pins_before));
	bench_pin_path(bench, "replace", i + 1, pins, sizeof(pins));
	r = raw_load("trivial", pins, &next, &ms, err);
	if (r < 0)
		return r;
	start = clock_monotonic_ns();
	if (bpf_link__update_program(link, bpf_object__next_program(next, NULL)) < 0)
		r = error_raise_errno(err, ERROR_IO, errno, "update a link");
	ms_update = ms_since(start);
	series_add(&bench->theirs, ms + ms_update);
	series_add(&bench->others, ms_update);
	raw_unload(*object, pins_before);
	*object = next;
	return r;
}

static void add(struct bench *bench)
{
	struct figures *figures = &bench->figures;

	figure_add(figures, FIGURE_REPLACE, COLUMN_BPFLEET, series_take(&bench->ours, P50));
	figure_add(figures, FIGURE_REPLACE, COLUMN_RAW, series_take(&bench->theirs, P50));
	figure_add(figures, FIGURE_LINK_UPDATE, COLUMN_RAW, series_take(&bench->others, P50));
}

static int compare(struct bench *bench, char *instance, const char *device, struct error *err)
{
	const size_t n = bench->quick ? 10 : 30;
	struct bpf_object *object = NULL;
	struct bpf_link *link = NULL;
	char pins[96], link_pin[96];
	size_t i = 0;
	double ms;
	int r;

	bench_pin_path(bench, "replace", 0, pins, sizeof(pins));
	bench_pin_path(bench, "replaced_link", 0, link_pin, sizeof(link_pin));
	r = raw_load("trivial", pins, &object, &ms, err);
	if (r == 0)
		r = raw_attach_xdp(object, device, link_pin, &link, err);
	for (; r == 0 && i < n; i++) {
		r = replace_once(bench, instance, err);
		if (r == 0)
			r = raw_replace_once(bench, link, i, &object, err);
	}
	if (link != NULL)
		raw_detach(link);
	bench_pin_path(bench, "replace", i, pins, sizeof(pins));
	if (object != NULL)
		raw_unload(object, pins);
	if (r == 0)
		add(bench);
	return r;
}

/* Ours on one device, theirs on its peer: both are veth. */
int measure_replace(struct bench *bench, struct error *err)
{
	const struct bpfleet_link *link = NULL;
	struct bpfleet_error failure;
	char instance[80], device[16], hook[32];
	int r = bench_load(bench->busy.client, "trivial", instance, sizeof(instance), err);

	if (r < 0)
		return r;
	place_device(0, device);
	(void)snprintf(hook, sizeof(hook), "xdp:%s", device);
	r = bpfleet_attach(bench->busy.client, instance, "pass", hook, &link, &failure);
	if (r < 0)
		return daemon_failed(r, &failure, "attach", err);
	bpfleet_free(link);
	place_device(1, device);
	r = compare(bench, instance, device, err);
	return r < 0 ? r : bench_unload(bench->busy.client, instance, err);
}
