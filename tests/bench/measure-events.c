/*
 * Events of a program that puts records of 64 bytes into a ring buffer as fast as it can: to
 * subscribers of the daemon, and to libbpf's epoll consumer in this process.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "tests/bench/bench.h"
#include "tests/bench/raw.h"

#define N_SUBSCRIBERS 8
#define RECORD_SIZE 64
#define PATIENCE_NS (60 * NS_PER_SEC)
#define STANDSTILL_NS (1 * NS_PER_SEC)

#define MAP "records"
#define PER_RUN 1000  /* as in events.bpf.c */
#define N_RUNS_MAX 20 /* of the program at a time */
/* With three quarters of the ring full: no consumer empties that much in it. */
#define FULL_US 500
/* Both sides in turn, so often a round, with so many events a turn. */
#define N_TURNS 3
#define N_EVENTS 3000000
#define N_EVENTS_QUICK 1000000

struct consumer {
	pthread_t thread;
	struct bpfleet *client; /* NULL: libbpf in this process */
	const char *source;
	struct ring_buffer *ring;
	atomic_ulong n_received, n_lost;
	atomic_ulong last_ns;
	atomic_bool ready, stop;
};

/* The program and its counters, whoever loaded it. */
struct producer {
	int program_fd, counters_fd;
	uint32_t placed_offset, dropped_offset, value_size;
};

/* Of one run, or of several added up. */
struct outcome {
	uint64_t ns;
	uint64_t n_placed, n_received, n_expected;
	uint64_t n_lost_worst; /* by one consumer */
};

static int failed(const char *what, struct error *err)
{
	return error_raise_errno(err, ERROR_IO, errno, "%s", what);
}

/* ---- consumers */

/* Counts one; nobody else does, so no locked instruction is needed. */
static void received(struct consumer *consumer, bool whole)
{
	const uint64_t n =
		atomic_load_explicit(&consumer->n_received, memory_order_relaxed) + whole;

	atomic_store_explicit(&consumer->n_received, n, memory_order_relaxed);
	/* A look at the clock for each would cost more than the record. */
	if (n % 1000 == 0)
		atomic_store_explicit(&consumer->last_ns, clock_monotonic_ns(),
				      memory_order_relaxed);
}

static int on_raw_record(void *context, void *data, size_t size)
{
	(void)data;
	received(context, size == RECORD_SIZE);
	return 0;
}

static void *consume_raw(void *arg)
{
	struct consumer *consumer = arg;

	atomic_store(&consumer->ready, true);
	while (!atomic_load(&consumer->stop))
		(void)ring_buffer__poll(consumer->ring, 50);
	return NULL;
}

static int on_event(const struct bpfleet_event *event, void *user_data)
{
	struct consumer *consumer = user_data;

	if (event == NULL) {
		atomic_store(&consumer->ready, true);
	} else {
		atomic_store_explicit(&consumer->n_lost, event->subscriber_lost,
				      memory_order_relaxed);
		received(consumer, event->size >= RECORD_SIZE);
	}
	return atomic_load_explicit(&consumer->stop, memory_order_relaxed);
}

static void *consume(void *arg)
{
	struct consumer *consumer = arg;
	struct bpfleet_error failure;

	if (bpfleet_events(consumer->client, consumer->source, false, on_event, consumer,
			   &failure) < 0 &&
	    !atomic_load(&consumer->stop))
		(void)fprintf(stderr, "bench: events: %s\n", failure.message);
	return NULL;
}

static int consumers_start(struct consumer *consumers, size_t n, struct error *err)
{
	const uint64_t deadline = clock_monotonic_ns() + PATIENCE_NS;

	for (size_t i = 0; i < n; i++) {
		struct consumer *consumer = &consumers[i];

		if (pthread_create(&consumer->thread, NULL,
				   consumer->client != NULL ? consume : consume_raw, consumer) != 0)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "start a thread");
		while (!atomic_load(&consumer->ready) && clock_monotonic_ns() < deadline)
			(void)usleep(1000);
	}
	return 0;
}

static void consumers_stop(struct consumer *consumers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (consumers[i].thread == 0)
			continue;
		atomic_store(&consumers[i].stop, true);
		if (consumers[i].client != NULL)
			bpfleet_cancel(consumers[i].client);
		(void)pthread_join(consumers[i].thread, NULL);
		consumers[i].thread = 0;
	}
}

/* ---- producing */

static int read_counters(const struct producer *producer, uint64_t *ret_placed,
			 uint64_t *ret_dropped, struct error *err)
{
	uint8_t value[4096];
	const uint32_t key = 0;

	if (producer->value_size > sizeof(value) ||
	    bpf_map_lookup_elem(producer->counters_fd, &key, value) < 0)
		return failed("read counters", err);
	memcpy(ret_placed, value + producer->placed_offset, sizeof(*ret_placed));
	memcpy(ret_dropped, value + producer->dropped_offset, sizeof(*ret_dropped));
	return 0;
}

/* As many as that, a multiple of PER_RUN, as fast as the consumers make room. */
static int produce(const struct producer *producer, size_t n_events, struct error *err)
{
	const uint64_t limit = clock_monotonic_ns() + PATIENCE_NS;
	static uint8_t packet[64];
	uint64_t first, placed, dropped;
	int r = read_counters(producer, &first, &dropped, err);

	for (placed = first; r == 0 && placed - first < n_events;) {
		const uint64_t n_runs = (n_events - (placed - first)) / PER_RUN;
		LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet,
			    .data_size_in = sizeof(packet),
			    .repeat = (int)(n_runs < N_RUNS_MAX ? n_runs : N_RUNS_MAX));

		if (bpf_prog_test_run_opts(producer->program_fd, &options) < 0)
			return failed("produce", err);
		if (clock_monotonic_ns() > limit)
			return error_raise(err, ERROR_INTERNAL, "the consumers stand still");
		if (options.retval == TC_ACT_SHOT)
			(void)usleep(FULL_US);
		r = read_counters(producer, &placed, &dropped, err);
	}
	return r;
}

/* Waits until each consumer has what was placed, or stands still. */
static uint64_t consumers_wait(struct consumer *consumers, size_t n, uint64_t n_placed)
{
	uint64_t last = 0;

	for (size_t i = 0; i < n; i++) {
		struct consumer *c = &consumers[i];
		uint64_t before = 0, moved = clock_monotonic_ns();

		while (atomic_load(&c->n_received) + atomic_load(&c->n_lost) < n_placed &&
		       clock_monotonic_ns() < moved + STANDSTILL_NS) {
			if (atomic_load(&c->n_received) != before)
				moved = clock_monotonic_ns();
			before = atomic_load(&c->n_received);
			(void)usleep(200);
		}
		if (atomic_load(&c->last_ns) > last)
			last = atomic_load(&c->last_ns);
	}
	return last;
}

static int run(const struct producer *producer, struct consumer *consumers, size_t n,
	       size_t n_events, struct outcome *ret, struct error *err)
{
	uint64_t placed[2], dropped[2], start, n_received = 0;
	int r = read_counters(producer, &placed[0], &dropped[0], err);

	if (r == 0)
		r = consumers_start(consumers, n, err);
	start = clock_monotonic_ns();
	if (r == 0)
		r = produce(producer, n_events, err);
	if (r == 0)
		r = read_counters(producer, &placed[1], &dropped[1], err);
	if (r < 0)
		return r;
	placed[1] -= placed[0];
	ret->ns += consumers_wait(consumers, n, placed[1]) - start;
	for (size_t i = 0; i < n; i++) {
		const uint64_t got = atomic_load(&consumers[i].n_received);

		n_received += got;
		if (placed[1] - got > ret->n_lost_worst)
			ret->n_lost_worst = placed[1] - got;
	}
	if (n_received == 0)
		return error_raise(err, ERROR_INTERNAL, "no event came");
	ret->n_placed += placed[1];
	ret->n_received += n_received;
	ret->n_expected += n * placed[1];
	return 0;
}

static double outcome_rate(const struct outcome *outcome)
{
	return 1e3 * (double)outcome->n_received / (double)outcome->ns;
}

static double outcome_lost_percent(const struct outcome *outcome)
{
	return 100 - 100 * (double)outcome->n_received / (double)outcome->n_expected;
}

/* ---- the two sides */

static int variable_offset(const struct bpf_object *object, const char *name, uint32_t *ret,
			   struct error *err)
{
	const struct btf *btf = bpf_object__btf(object);
	const int id = btf__find_by_name_kind(btf, ".bss", BTF_KIND_DATASEC);
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	const struct btf_var_secinfo *variable = section == NULL ? NULL : btf_var_secinfos(section);

	for (uint32_t i = 0; variable != NULL && i < btf_vlen(section); i++) {
		const struct btf_type *t = btf__type_by_id(btf, variable[i].type);

		if (strcmp(btf__name_by_offset(btf, t->name_off), name) != 0)
			continue;
		*ret = variable[i].offset;
		return 0;
	}
	return error_raise(err, ERROR_INTERNAL, "no variable %s", name);
}

static struct bpf_map *find_section(const struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map,
				 object) if (strstr(bpf_map__name(map), ".bss") != NULL) return map;
	return NULL;
}

static int producer_of_raw(struct bpf_object *object, struct producer *ret, struct error *err)
{
	const struct bpf_map *section = find_section(object);
	const struct bpf_program *program = bpf_object__find_program_by_name(object, "produce");
	int r;

	if (section == NULL || program == NULL)
		return error_raise(err, ERROR_INTERNAL, "find a program");
	*ret = (struct producer){ .program_fd = bpf_program__fd(program),
				  .counters_fd = bpf_map__fd(section),
				  .value_size = bpf_map__value_size(section) };
	r = variable_offset(object, "n_records", &ret->placed_offset, err);
	return r < 0 ? r : variable_offset(object, "dropped", &ret->dropped_offset, err);
}

/* The daemon's program is reached as root may: by its id. *ret owns its fds. */
static int producer_of_daemon(struct bpfleet *client, const char *instance,
			      const struct producer *like, struct producer *ret, struct error *err)
{
	const struct bpfleet_program *program = NULL;
	const struct bpfleet_map *section = NULL;
	struct bpfleet_error failure;
	char name[128];
	int r;

	*ret = *like;
	ret->program_fd = ret->counters_fd = -1;
	(void)snprintf(name, sizeof(name), "%s/programs/%s", instance, "produce");
	r = bpfleet_get_program(client, name, &program, &failure);
	(void)snprintf(name, sizeof(name), "%s/maps/.bss", instance);
	if (r == 0)
		r = bpfleet_get_map(client, name, &section, &failure);
	if (r == 0) {
		ret->program_fd = bpf_prog_get_fd_by_id(program->kernel_id);
		ret->counters_fd = bpf_map_get_fd_by_id(section->kernel_id);
	}
	bpfleet_free(program);
	bpfleet_free(section);
	if (r < 0)
		return daemon_failed(r, &failure, "look at a program", err);
	return ret->program_fd < 0 || ret->counters_fd < 0 ? failed("open a program", err) : 0;
}

static int run_raw(size_t n_events, struct producer *producer, struct bpf_object *object,
		   struct outcome *ret, struct error *err)
{
	struct consumer consumer = { 0 };
	const int fd = bpf_object__find_map_fd_by_name(object, MAP);
	int r = producer_of_raw(object, producer, err);

	if (r < 0)
		return r;
	consumer.ring = ring_buffer__new(fd, on_raw_record, &consumer, NULL);
	if (consumer.ring == NULL)
		return failed("open a buffer", err);
	r = run(producer, &consumer, 1, n_events, ret, err);
	consumers_stop(&consumer, 1);
	ring_buffer__free(consumer.ring);
	return r;
}

static int run_daemon(struct bench *bench, const char *instance, const struct producer *like,
		      size_t n, size_t n_events, struct outcome *ret, struct error *err)
{
	struct consumer consumers[N_SUBSCRIBERS] = { 0 };
	struct producer producer;
	char source[128];
	int r = producer_of_daemon(bench->busy.client, instance, like, &producer, err);

	(void)snprintf(source, sizeof(source), "%s/maps/%s", instance, MAP);
	for (size_t i = 0; r == 0 && i < n; i++) {
		consumers[i].source = source;
		r = daemon_connect(&bench->busy, &consumers[i].client, err);
	}
	if (r == 0)
		r = run(&producer, consumers, n, n_events, ret, err);
	consumers_stop(consumers, n);
	for (size_t i = 0; i < n; i++)
		bpfleet_close(consumers[i].client);
	if (producer.program_fd >= 0)
		(void)close(producer.program_fd);
	if (producer.counters_fd >= 0)
		(void)close(producer.counters_fd);
	return r;
}

static void add_figures(struct figures *figures, const struct outcome *raw,
			const struct outcome *ours, const struct outcome *eight)
{
	figure_add(figures, FIGURE_EVENTS, COLUMN_RAW, outcome_rate(raw));
	figure_add(figures, FIGURE_EVENTS, COLUMN_BPFLEET, outcome_rate(ours));
	figure_add(figures, FIGURE_EVENTS_RATIO, COLUMN_BPFLEET,
		   outcome_rate(ours) / outcome_rate(raw));
	figure_add(figures, FIGURE_EVENTS_LOST, COLUMN_RAW, outcome_lost_percent(raw));
	figure_add(figures, FIGURE_EVENTS_LOST, COLUMN_BPFLEET, outcome_lost_percent(ours));
	figure_add(figures, FIGURE_EVENTS_EIGHT, COLUMN_BPFLEET, outcome_rate(eight));
	figure_add(figures, FIGURE_EVENTS_EIGHT_LOST, COLUMN_BPFLEET, outcome_lost_percent(eight));
	figure_add(figures, FIGURE_EVENTS_EIGHT_WORST, COLUMN_BPFLEET,
		   100 * (double)eight->n_lost_worst / (double)eight->n_placed);
}

static int measure_ring(struct bench *bench, struct bpf_object *object, const char *instance,
			struct error *err)
{
	const size_t n_events = bench->quick ? N_EVENTS_QUICK : N_EVENTS;
	struct outcome raw = { 0 }, ours = { 0 }, eight = { 0 };
	struct producer like;
	int r = 0;

	for (int i = 0; r == 0 && i < N_TURNS; i++) {
		r = run_raw(n_events, &like, object, &raw, err);
		if (r == 0)
			r = run_daemon(bench, instance, &like, 1, n_events, &ours, err);
	}
	if (r == 0)
		r = run_daemon(bench, instance, &like, N_SUBSCRIBERS, n_events, &eight, err);
	if (r == 0)
		add_figures(&bench->figures, &raw, &ours, &eight);
	return r;
}

int measure_events(struct bench *bench, struct error *err)
{
	struct bpf_object *object = NULL;
	char instance[80];
	double ms;
	int r = bench_load(bench->busy.client, "events", instance, sizeof(instance), err);

	if (r < 0)
		return r;
	r = raw_load("events", NULL, &object, &ms, err);
	if (r == 0)
		r = measure_ring(bench, object, instance, err);
	bpf_object__close(object);
	return r < 0 ? r : bench_unload(bench->busy.client, instance, err);
}
