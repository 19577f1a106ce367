/*
 * Attaches by 32 clients, each on its own connection, each of a program of its own. One at a time,
 * in turn with libbpf; then all at once, then 32 threads with libbpf. Of these the figure is the
 * slowest of each.
 */
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/place.h"
#include "tests/bench/raw.h"

#define N_MEMBERS PLACE_N_DEVICES

enum side {
	SIDE_TRACEPOINT,
	SIDE_XDP,
	N_SIDES,
};

static const char *const programs[] = { "wait", "trivial" };
static const char *const functions[] = { "on_wait", "pass" };

struct member {
	struct herd *herd;
	struct bpfleet *client;
	char device[16];
	char instances[N_SIDES][80];
	struct bpf_object *objects[N_SIDES];
	char pins[N_SIDES][96];
	char link_pin[96];
	const struct bpfleet_link *link;
	struct bpf_link *raw_link;
	double ms;
	int r;
	struct error err;
};

struct herd {
	struct member members[N_MEMBERS];
	enum side side; /* of what runs now */
	pthread_barrier_t barrier;
};

/* ---- what each does */

static void attach(struct member *m)
{
	struct bpfleet_error failure;
	const enum side side = m->herd->side;
	char hook[64] = "tracepoint:sched:sched_process_wait";

	if (side == SIDE_XDP)
		(void)snprintf(hook, sizeof(hook), "xdp:%s", m->device);
	m->r = bpfleet_attach(m->client, m->instances[side], functions[side], hook, &m->link,
			      &failure);
	m->r = daemon_failed(m->r, &failure, "attach", &m->err);
}

static void detach(struct member *m)
{
	struct bpfleet_error failure;

	if (m->link == NULL)
		return;
	m->r = bpfleet_detach(m->client, m->link->name, &failure);
	m->r = daemon_failed(m->r, &failure, "detach", &m->err);
	bpfleet_free(TAKE_PTR(m->link));
}

static void raw_attach(struct member *m)
{
	const enum side side = m->herd->side;

	if (side == SIDE_XDP)
		m->r = raw_attach_xdp(m->objects[side], m->device, m->link_pin, &m->raw_link,
				      &m->err);
	else
		m->r = raw_attach_tracepoint(m->objects[side], m->link_pin, &m->raw_link, &m->err);
}

static void raw_release(struct member *m)
{
	if (m->raw_link == NULL)
		return;
	raw_detach(TAKE_PTR(m->raw_link));
	m->r = 0;
}

/* ---- all at once */

struct errand {
	struct member *member;
	void (*fn)(struct member *member);
	pthread_t thread;
};

static void *errand_main(void *arg)
{
	struct errand *errand = arg;
	struct member *m = errand->member;
	uint64_t start;

	(void)pthread_barrier_wait(&m->herd->barrier);
	start = clock_monotonic_ns();
	errand->fn(m);
	m->ms = ms_since(start);
	return NULL;
}

/* Every member runs fn at the same time; *ret_ms: the slowest. */
static int together(struct herd *herd, void (*fn)(struct member *member), double *ret_ms,
		    struct error *err)
{
	struct errand errands[N_MEMBERS];
	double worst = 0;
	int r = 0;

	/* A member that has no thread would leave the others at the barrier. */
	for (size_t i = 0; i < N_MEMBERS; i++) {
		errands[i] = (struct errand){ .member = &herd->members[i], .fn = fn };
		if (pthread_create(&errands[i].thread, NULL, errand_main, &errands[i]) != 0)
			abort();
	}
	for (size_t i = 0; i < N_MEMBERS; i++) {
		const struct member *m = &herd->members[i];

		(void)pthread_join(errands[i].thread, NULL);
		if (m->r < 0) {
			r = m->r;
			*err = m->err;
		}
		if (m->ms > worst)
			worst = m->ms;
	}
	*ret_ms = worst;
	return r;
}

/* After a failure: what did attach is detached, so that the next measurement finds nothing. */
static int give_up(struct herd *herd, int r)
{
	struct error ignored = { 0 };
	double ms;

	if (together(herd, detach, &ms, &ignored) < 0 ||
	    together(herd, raw_release, &ms, &ignored) < 0)
		(void)fprintf(stderr, "bench: after a failure: %s\n", ignored.message);
	return r;
}

static int measure_side(struct bench *bench, enum side side, enum figure figure, struct error *err)
{
	struct herd *herd = bench->herd;
	double ours = 0, theirs = 0, ignored;
	int r;

	herd->side = side;
	r = together(herd, attach, &ours, err);
	if (r >= 0)
		r = together(herd, detach, &ignored, err);
	if (r >= 0)
		r = together(herd, raw_attach, &theirs, err);
	if (r >= 0)
		r = together(herd, raw_release, &ignored, err);
	if (r < 0)
		return give_up(herd, r);
	figure_add(&bench->figures, figure, COLUMN_BPFLEET, ours);
	figure_add(&bench->figures, figure, COLUMN_RAW, theirs);
	/* The next figure of the table is the difference. */
	figure_add(&bench->figures, figure + 1, COLUMN_BPFLEET, ours > theirs ? ours - theirs : 0);
	return 0;
}

int measure_herd(struct bench *bench, struct error *err)
{
	int r = measure_side(bench, SIDE_TRACEPOINT, FIGURE_HERD, err);

	return r < 0 ? r : measure_side(bench, SIDE_XDP, FIGURE_HERD_XDP, err);
}

/* ---- one at a time */

/* The kernel takes a tracepoint's links down on its own time, and attaches meanwhile wait for it.
 */
#define SETTLE_MS 200
/* The kernel takes 64 programs on one tracepoint, everybody's together. */
#define N_IN_TURN 16

static int timed(struct member *m, void (*fn)(struct member *member), struct series *series,
		 struct error *err)
{
	const uint64_t start = clock_monotonic_ns();

	fn(m);
	series_add(series, ms_since(start));
	if (m->r < 0)
		*err = m->err;
	return m->r;
}

int measure_attach(struct bench *bench, struct error *err)
{
	struct herd *herd = bench->herd;
	double ignored;
	int r = 0;

	(void)poll(NULL, 0, SETTLE_MS);
	herd->side = SIDE_TRACEPOINT;
	for (size_t i = 0; r >= 0 && i < N_IN_TURN; i++) {
		r = timed(&herd->members[i], attach, &bench->ours, err);
		if (r >= 0)
			r = timed(&herd->members[i], raw_attach, &bench->theirs, err);
	}
	if (r >= 0)
		r = together(herd, detach, &ignored, err);
	if (r >= 0)
		r = together(herd, raw_release, &ignored, err);
	if (r < 0)
		return give_up(herd, r);
	(void)poll(NULL, 0, SETTLE_MS);
	figure_add(&bench->figures, FIGURE_ATTACH, COLUMN_BPFLEET, series_take(&bench->ours, 0.5));
	figure_add(&bench->figures, FIGURE_ATTACH, COLUMN_RAW, series_take(&bench->theirs, 0.5));
	return 0;
}

/* ---- the herd */

static int member_init(const struct bench *bench, struct herd *herd, size_t i, struct error *err)
{
	struct member *m = &herd->members[i];
	double ms;
	int r;

	m->herd = herd;
	place_device(i, m->device);
	bench_pin_path(bench, "herd_link", i, m->link_pin, sizeof(m->link_pin));
	r = daemon_connect(&bench->busy, &m->client, err);
	for (int side = 0; r == 0 && side < N_SIDES; side++) {
		r = bench_load(m->client, programs[side], m->instances[side],
			       sizeof(m->instances[side]), err);
		bench_pin_path(bench, programs[side], 100 + i, m->pins[side],
			       sizeof(m->pins[side]));
		if (r == 0)
			r = raw_load(programs[side], m->pins[side], &m->objects[side], &ms, err);
	}
	return r;
}

int herd_new(const struct bench *bench, struct herd **ret, struct error *err)
{
	struct herd *herd = calloc(1, sizeof(*herd));
	int r = 0;

	if (herd == NULL || pthread_barrier_init(&herd->barrier, NULL, N_MEMBERS) != 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "gather 32 clients");
	for (size_t i = 0; r == 0 && i < N_MEMBERS; i++)
		r = member_init(bench, herd, i, err);
	if (r < 0) {
		herd_free(herd);
		return r;
	}
	*ret = herd;
	return 0;
}

void herd_free(struct herd *herd)
{
	if (herd == NULL)
		return;
	for (size_t i = 0; i < N_MEMBERS; i++) {
		struct member *m = &herd->members[i];

		bpfleet_close(m->client);
		for (int side = 0; side < N_SIDES; side++)
			if (m->objects[side] != NULL)
				raw_unload(m->objects[side], m->pins[side]);
	}
	(void)pthread_barrier_destroy(&herd->barrier);
	free(herd);
}
