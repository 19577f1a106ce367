#include "daemon/core/statistics.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/config/config.h"
#include "daemon/core/budget.h"
#include "daemon/core/convert.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "daemon/core/supervisor_link.h"
#include "daemon/supervisor/protocol.h"
#include "proto/arena.h"

#define ROWS_MAX 65536
#define INTERVAL_MIN_NS (100 * NS_PER_MS)
#define INTERVAL_MAX_NS (60 * NS_PER_SEC)
#define RETRY_NS (5 * NS_PER_SEC)

/* A program looked at twice. */
struct sample_program {
	int fd; /* of a lease, else -1: each look opens the pin */
	bool good;
	uint64_t at_ns; /* monotonic: the first look, then the time between the two */
	struct kernel_program_info counts; /* the same for its counters */
	uint64_t memory_bytes;
	uint64_t n_runs, run_time_ns; /* since its instance was judged last */
};

struct sample_instance {
	size_t first, n_programs; /* in the sample's programs */
	size_t first_map, n_maps;
	uint64_t memory_bytes;
	uint64_t cpu_ppm;
	uint64_t judged_ns; /* of windows since it was judged last */
	uint32_t n_over;    /* windows in a row */
};

/* One window. Rows and what was measured of each, in the order of instances' ids. */
struct sample {
	struct job job;
	struct statistics *statistics;
	int counting_fd; /* while it is open the kernel counts */
	bool keep;	 /* another window follows at once */
	uint64_t started_at_ns, started_ns, window_ns;
	struct store_instance *instances;
	struct store_program *programs;
	struct store_map *maps;
	size_t n_instances, n_programs, n_maps;
	struct sample_instance *of_instances;
	struct sample_program *of_programs;
	uint64_t *map_bytes;
	int *map_fds; /* of leases, else -1 */
	struct error err;
};

/* A StreamStatistics that is answered when the window ends. */
struct waiter {
	struct waiter *next;
	struct request *request;
	char instance[NAME_ID_LEN + 1]; /* "": all */
	uint64_t interval_ns;
};

struct statistics {
	struct core *core;
	struct loop_timer timer; /* the next window, or the end of this one */
	struct sample *current;	 /* NULL: between windows */
	bool working;		 /* a job has the current one */
	struct sample *last;	 /* NULL: none yet, or nothing was loaded */
	struct waiter *waiters;
};

static void sample_free(struct sample *sample)
{
	if (sample == NULL)
		return;
	for (size_t i = 0; sample->of_programs != NULL && i < sample->n_programs; i++)
		cleanup_closep(&sample->of_programs[i].fd);
	for (size_t i = 0; sample->map_fds != NULL && i < sample->n_maps; i++)
		cleanup_closep(&sample->map_fds[i]);
	cleanup_closep(&sample->counting_fd);
	free(sample->instances);
	free(sample->programs);
	free(sample->maps);
	free(sample->of_instances);
	free(sample->of_programs);
	free(sample->map_bytes);
	free(sample->map_fds);
	free(sample);
}
DEFINE_CLEANUP(struct sample, sample_free)

/* ---- what there is to look at */

static int sample_list(struct sample *sample, struct store *store, struct error *err)
{
	int r = store_instance_list(store, NULL, NULL, ROWS_MAX, &sample->instances,
				    &sample->n_instances, err);

	if (r >= 0)
		r = store_program_list(store, NULL, NULL, SIZE_MAX >> 1, &sample->programs,
				       &sample->n_programs, err);
	if (r >= 0)
		r = store_map_list(store, NULL, NULL, SIZE_MAX >> 1, &sample->maps, &sample->n_maps,
				   err);
	if (r < 0)
		return r;
	sample->of_instances = calloc(sample->n_instances + 1, sizeof(*sample->of_instances));
	sample->of_programs = calloc(sample->n_programs + 1, sizeof(*sample->of_programs));
	sample->map_bytes = calloc(sample->n_maps + 1, sizeof(*sample->map_bytes));
	sample->map_fds = malloc((sample->n_maps + 1) * sizeof(int));
	if (sample->of_instances == NULL || sample->of_programs == NULL ||
	    sample->map_bytes == NULL || sample->map_fds == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "sample the programs");
	return 0;
}

/* Leases have no pins: their fds are copied for the worker. */
static void sample_take_leases(struct sample *sample, struct core *core)
{
	struct error ignored = { 0 };

	for (size_t i = 0; i < sample->n_programs; i++) {
		const struct store_program *row = &sample->programs[i];

		sample->of_programs[i].fd = -1;
		if (core->held != NULL && held_find(core, row->instance) != NULL &&
		    instance_program_fd(core, row->instance, row->ordinal,
					&sample->of_programs[i].fd, &ignored) < 0)
			sample->of_programs[i].fd = -1;
	}
	for (size_t i = 0; i < sample->n_maps; i++) {
		const struct store_map *row = &sample->maps[i];

		sample->map_fds[i] = -1;
		if (core->held != NULL && held_find(core, row->instance) != NULL &&
		    instance_map_fd(core, row->instance, row->ordinal, false, &sample->map_fds[i],
				    &ignored) < 0)
			sample->map_fds[i] = -1;
	}
}

/* What is not judged yet is carried over from the last window; all lists are in the same order. */
static void sample_carry_over(struct sample *sample, const struct sample *last)
{
	size_t p = 0, m = 0, k = 0;

	for (size_t i = 0; i < sample->n_instances; i++) {
		struct sample_instance *of = &sample->of_instances[i];
		const struct sample_instance *before;

		of->first_map = m;
		while (m < sample->n_maps &&
		       strcmp(sample->maps[m].instance, sample->instances[i].id) == 0)
			m++;
		of->n_maps = m - of->first_map;

		of->first = p;
		while (p < sample->n_programs &&
		       strcmp(sample->programs[p].instance, sample->instances[i].id) == 0)
			p++;
		of->n_programs = p - of->first;
		while (last != NULL && k < last->n_instances &&
		       strcmp(last->instances[k].id, sample->instances[i].id) < 0)
			k++;
		if (last == NULL || k == last->n_instances ||
		    strcmp(last->instances[k].id, sample->instances[i].id) != 0 ||
		    last->instances[k].generation != sample->instances[i].generation)
			continue;
		before = &last->of_instances[k];
		of->judged_ns = before->judged_ns;
		of->n_over = before->n_over;
		for (size_t n = 0; n < of->n_programs && n < before->n_programs; n++) {
			sample->of_programs[of->first + n].n_runs =
				last->of_programs[before->first + n].n_runs;
			sample->of_programs[of->first + n].run_time_ns =
				last->of_programs[before->first + n].run_time_ns;
		}
	}
}

static int sample_new(struct statistics *statistics, struct sample **ret, struct error *err)
{
	struct core *core = statistics->core;
	_cleanup_(sample_freep) struct sample *sample = calloc(1, sizeof(*sample));
	int r;

	if (sample == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "sample the programs");
	sample->counting_fd = -1;
	sample->statistics = statistics;
	r = sample_list(sample, core->store, err);
	if (r < 0)
		return r;
	sample_take_leases(sample, core);
	sample_carry_over(sample, statistics->last);
	*ret = TAKE_PTR(sample);
	return 0;
}

/* ---- on a worker */

/* The fd of a lease, or a new one from the pin; -1: there is none. */
static int open_part(const struct sample *sample, const struct store_instance *row,
		     enum kernel_pin_kind kind, uint32_t ordinal, int held_fd)
{
	const struct kernel_pin pin = {
		.instance = row->id, .kind = kind, .generation = row->generation, .ordinal = ordinal
	};
	struct error ignored = { 0 };
	int fd = -1;

	if (held_fd >= 0)
		return held_fd;
	if (kernel_pin_open(sample->statistics->core->pins, &pin, false, &fd, &ignored) < 0)
		return -1;
	return fd;
}

static void close_part(int fd, int held_fd)
{
	if (fd >= 0 && fd != held_fd)
		(void)close(fd);
}

static void first_look(const struct sample *sample, size_t i)
{
	const struct sample_instance *instance = &sample->of_instances[i];
	struct error ignored = { 0 };

	for (size_t p = instance->first; p < instance->first + instance->n_programs; p++) {
		struct sample_program *of = &sample->of_programs[p];
		int fd = open_part(sample, &sample->instances[i], KERNEL_PIN_PROGRAM,
				   sample->programs[p].ordinal, of->fd);

		of->at_ns = clock_monotonic_ns();
		of->good = fd >= 0 && kernel_program_info(fd, &of->counts, &ignored) >= 0;
		close_part(fd, of->fd);
	}
}

static void second_look(const struct sample *sample, size_t i)
{
	const struct sample_instance *instance = &sample->of_instances[i];
	struct error ignored = { 0 };

	for (size_t p = instance->first; p < instance->first + instance->n_programs; p++) {
		struct sample_program *of = &sample->of_programs[p];
		struct kernel_program_info *counts = &of->counts, now;
		int fd = open_part(sample, &sample->instances[i], KERNEL_PIN_PROGRAM,
				   sample->programs[p].ordinal, of->fd);

		of->at_ns = clock_monotonic_ns() - of->at_ns;
		of->good = of->good && fd >= 0 && kernel_program_info(fd, &now, &ignored) >= 0 &&
			   now.id == counts->id &&
			   kernel_memory(fd, &of->memory_bytes, &ignored) >= 0;
		if (of->good) {
			counts->n_runs = now.n_runs - counts->n_runs;
			counts->run_time_ns = now.run_time_ns - counts->run_time_ns;
			counts->n_recursion_misses =
				now.n_recursion_misses - counts->n_recursion_misses;
		}
		close_part(fd, of->fd);
	}
	for (size_t m = instance->first_map; m < instance->first_map + instance->n_maps; m++) {
		int fd = open_part(sample, &sample->instances[i], KERNEL_PIN_MAP,
				   sample->maps[m].ordinal, sample->map_fds[m]);

		if (fd < 0 || kernel_memory(fd, &sample->map_bytes[m], &ignored) < 0)
			sample->map_bytes[m] = 0;
		close_part(fd, sample->map_fds[m]);
	}
}

static struct sample *sample_of(struct job *job)
{
	return (struct sample *)(void *)job;
}

static void open_work(struct job *job)
{
	struct sample *sample = sample_of(job);
	struct core *core = sample->statistics->core;

	if (sample->counting_fd < 0 && sample->n_programs > 0 &&
	    supervisor_stats_on(core->supervisor, SUPERVISOR_STATS_WINDOW_MAX_MS,
				&sample->counting_fd, &sample->err) < 0)
		return;
	for (size_t i = 0; i < sample->n_instances; i++)
		first_look(sample, i);
}

static void close_work(struct job *job)
{
	struct sample *sample = sample_of(job);

	for (size_t i = 0; i < sample->n_instances; i++)
		second_look(sample, i);
	if (!sample->keep) {
		cleanup_closep(&sample->counting_fd);
		sample->counting_fd = -1;
	}
}

/* ---- what it comes to */

static void add_up(struct sample *sample)
{
	for (size_t i = 0; i < sample->n_instances; i++) {
		struct sample_instance *of = &sample->of_instances[i];

		for (size_t p = of->first; p < of->first + of->n_programs; p++) {
			struct sample_program *program = &sample->of_programs[p];

			if (!program->good)
				continue;
			of->memory_bytes += program->memory_bytes;
			of->cpu_ppm += budget_cpu_ppm(program->counts.run_time_ns, program->at_ns);
			program->n_runs += program->counts.n_runs;
			program->run_time_ns += program->counts.run_time_ns;
		}
		for (size_t m = of->first_map; m < of->first_map + of->n_maps; m++)
			of->memory_bytes += sample->map_bytes[m];
		of->judged_ns += sample->window_ns;
	}
}

/* Holds an instance to its budget. Returns whether it is over, with the figures. */
static bool is_over(const struct sample *sample, size_t i, const Bpfleet__V1__Budgets *budgets,
		    struct budget_figures *figures)
{
	const struct sample_instance *of = &sample->of_instances[i];
	uint64_t run_time_ns = 0;

	*figures = (struct budget_figures){ .window_ns = of->judged_ns };
	for (size_t p = of->first; p < of->first + of->n_programs; p++) {
		const struct sample_program *program = &sample->of_programs[p];
		uint64_t mean = budget_mean_ns(program->run_time_ns, program->n_runs);

		run_time_ns += program->run_time_ns;
		if (mean > figures->ns_per_run) {
			figures->ns_per_run = mean;
			figures->program = sample->programs[p].name;
		}
	}
	figures->cpu_ppm = budget_cpu_ppm(run_time_ns, of->judged_ns);
	return budget_is_over(budgets, figures);
}

/* Returns whether some instance is over its budget: then the next window follows at once. */
static bool judge(struct sample *sample)
{
	struct core *core = sample->statistics->core;
	const uint64_t window_ns = core->config->statistics.window_ms * NS_PER_MS;
	bool any = false;

	for (size_t i = 0; i < sample->n_instances; i++) {
		const struct store_instance *row = &sample->instances[i];
		struct sample_instance *of = &sample->of_instances[i];
		_cleanup_(arena_freep) struct arena *arena = arena_new(BUDGET_ARENA);
		const Bpfleet__V1__LoadBudget *budget = budget_of(row, arena);
		struct budget_figures figures;

		/* Short windows of somebody who watches count together. */
		if (of->judged_ns >= window_ns - window_ns / 10) {
			bool over = budget != NULL && row->state != INSTANCE_QUARANTINED &&
				    is_over(sample, i, budget->budgets, &figures);

			of->n_over = over ? of->n_over + 1 : 0;
			if (over && of->n_over >= budget_n_windows(budget->budgets) &&
			    quarantine_begin(core, row, budget->budgets, &figures, of->n_over))
				of->n_over = 0;
			of->judged_ns = 0;
			for (size_t p = of->first; p < of->first + of->n_programs; p++) {
				sample->of_programs[p].n_runs = 0;
				sample->of_programs[p].run_time_ns = 0;
			}
		}
		any = any || of->n_over > 0;
	}
	return any;
}

/* ---- answers */

static bool is_used(const struct kernel_program_info *program, const struct store_map *map)
{
	for (size_t i = 0; i < program->n_map_ids; i++) {
		if (program->map_ids[i] == map->kernel_id)
			return strcmp(map->type, "ringbuf") == 0 ||
			       strcmp(map->type, "perf_event_array") == 0;
	}
	return false;
}

/* Names of the event maps that a program uses. False: out of memory. */
static bool tell_event_maps(const struct sample *sample, const struct sample_instance *instance,
			    const struct sample_program *of, struct arena *arena,
			    Bpfleet__V1__ProgramStatistics *message)
{
	message->event_maps = arena_alloc(arena, instance->n_maps * sizeof(char *));
	for (size_t i = 0; message->event_maps != NULL && i < instance->n_maps; i++) {
		const struct store_map *map = &sample->maps[instance->first_map + i];
		char name[NAME_RESOURCE_MAX + 1];

		if (!is_used(&of->counts, map))
			continue;
		resource_format_map(map->instance, map->name, name);
		message->event_maps[message->n_event_maps] = convert_text(arena, name);
		if (message->event_maps[message->n_event_maps++] == NULL)
			return false;
	}
	return message->event_maps != NULL;
}

static Bpfleet__V1__ProgramStatistics *
tell_program(struct arena *arena, const struct store_program *row, const struct sample_program *of)
{
	Bpfleet__V1__ProgramStatistics *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];

	if (message == NULL)
		return NULL;
	bpfleet__v1__program_statistics__init(message);
	resource_format_program(row->instance, row->name, name);
	message->program = convert_text(arena, name);
	message->window_ns = of->at_ns;
	message->n_runs = of->counts.n_runs;
	message->run_time_ns = of->counts.run_time_ns;
	message->ns_per_run = budget_mean_ns(of->counts.run_time_ns, of->counts.n_runs);
	message->cpu_ppm = (uint32_t)budget_cpu_ppm(of->counts.run_time_ns, of->at_ns);
	message->n_recursion_misses = of->counts.n_recursion_misses;
	message->memory_bytes = of->memory_bytes;
	return message->program == NULL ? NULL : message;
}

static Bpfleet__V1__InstanceStatistics *tell_instance(struct arena *arena,
						      const struct store_instance *row,
						      const struct sample_instance *of)
{
	Bpfleet__V1__InstanceStatistics *message = arena_alloc(arena, sizeof(*message));
	char name[NAME_RESOURCE_MAX + 1];

	if (message == NULL)
		return NULL;
	bpfleet__v1__instance_statistics__init(message);
	resource_format_instance(row->id, name);
	message->instance = convert_text(arena, name);
	message->label = convert_text(arena, row->label);
	message->bundle = convert_bundle_name(arena, row->bundle_name, row->bundle_version);
	message->memory_bytes = of->memory_bytes;
	message->cpu_ppm = (uint32_t)of->cpu_ppm;
	message->n_windows_over = of->n_over;
	if (message->instance == NULL || message->label == NULL || message->bundle == NULL)
		return NULL;
	return message;
}

static bool tell_parts(const struct sample *sample, size_t i, struct arena *arena,
		       Bpfleet__V1__Statistics *message)
{
	const struct sample_instance *of = &sample->of_instances[i];

	message->instances[message->n_instances] = tell_instance(arena, &sample->instances[i], of);
	if (message->instances[message->n_instances++] == NULL)
		return false;
	for (size_t p = of->first; p < of->first + of->n_programs; p++) {
		if (!sample->of_programs[p].good)
			continue;
		message->programs[message->n_programs] =
			tell_program(arena, &sample->programs[p], &sample->of_programs[p]);
		if (message->programs[message->n_programs] == NULL ||
		    !tell_event_maps(sample, of, &sample->of_programs[p], arena,
				     message->programs[message->n_programs]))
			return false;
		message->n_programs++;
	}
	return true;
}

/* What the caller may see of a window; instance "": of all. */
static int tell(const struct request *request, const struct sample *sample, const char *instance,
		Bpfleet__V1__Statistics **ret, struct error *err)
{
	struct arena *arena = request->arena;
	Bpfleet__V1__Statistics *message = arena_alloc(arena, sizeof(*message));
	bool fits = message != NULL;

	if (fits) {
		bpfleet__v1__statistics__init(message);
		message->started_at_ns = sample->started_at_ns;
		message->window_ns = sample->window_ns;
		message->programs =
			arena_alloc(arena, sample->n_programs * sizeof(*message->programs));
		message->instances =
			arena_alloc(arena, sample->n_instances * sizeof(*message->instances));
		fits = message->programs != NULL && message->instances != NULL;
	}
	for (size_t i = 0; fits && i < sample->n_instances; i++) {
		const struct store_instance *row = &sample->instances[i];

		if ((instance[0] == '\0' || strcmp(instance, row->id) == 0) &&
		    request_may_view(request, row->bundle_name, row->owner))
			fits = tell_parts(sample, i, arena, message);
	}
	if (!fits)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell statistics");
	*ret = message;
	return 0;
}

static void answer(struct waiter *waiter, const struct sample *sample, const struct error *cause)
{
	Bpfleet__V1__StreamStatisticsResponse response =
		BPFLEET__V1__STREAM_STATISTICS_RESPONSE__INIT;
	struct error err = { 0 };

	if (cause == NULL &&
	    tell(waiter->request, sample, waiter->instance, &response.statistics, &err) >= 0) {
		request_reply(waiter->request, &response.base);
	} else {
		request_fail(waiter->request, cause != NULL ? cause : &err);
	}
	free(waiter);
}

static void answer_all(struct statistics *statistics, const struct sample *sample,
		       const struct error *cause)
{
	struct waiter *waiter = TAKE_PTR(statistics->waiters), *next;

	for (; waiter != NULL; waiter = next) {
		next = waiter->next;
		answer(waiter, sample, cause);
	}
}

/* ---- windows */

static void begin(struct statistics *statistics, int counting_fd);

static void sleep_until_next(struct statistics *statistics, uint64_t retry_ns)
{
	struct core *core = statistics->core;
	uint64_t every_ns = core->config->statistics.every_s * NS_PER_SEC;

	if (statistics->waiters != NULL || (retry_ns > 0 && retry_ns < every_ns))
		every_ns = retry_ns;
	if (every_ns > 0 || statistics->waiters != NULL)
		loop_set_timer(core->loop, &statistics->timer, clock_monotonic_ns() + every_ns);
}

static uint64_t interval_ns(const struct statistics *statistics)
{
	uint64_t shortest = UINT64_MAX;

	for (const struct waiter *waiter = statistics->waiters; waiter != NULL;
	     waiter = waiter->next) {
		if (waiter->interval_ns < shortest)
			shortest = waiter->interval_ns;
	}
	return shortest != UINT64_MAX ? shortest
				      : statistics->core->config->statistics.window_ms * NS_PER_MS;
}

static void fail(struct statistics *statistics, struct sample *sample, const struct error *err)
{
	log_error(LOG_LEVEL_WARNING, err, "sample what programs cost");
	statistics->current = NULL;
	answer_all(statistics, NULL, err);
	sample_free(sample);
	sleep_until_next(statistics, RETRY_NS);
}

static void closed(struct job *job)
{
	struct sample *sample = sample_of(job);
	struct statistics *statistics = sample->statistics;
	bool go_on = sample->keep;

	statistics->working = false;
	add_up(sample);
	statistics->current = NULL;
	answer_all(statistics, sample, NULL);
	go_on = judge(sample) || go_on || statistics->waiters != NULL;
	sample_free(statistics->last);
	statistics->last = sample;
	if (go_on && !statistics->core->stopping)
		begin(statistics, TAKE_FD(sample->counting_fd));
	else
		sleep_until_next(statistics, 0);
}

/* The window ends. */
static void end(struct statistics *statistics)
{
	struct sample *sample = statistics->current;

	sample->window_ns = clock_monotonic_ns() - sample->started_ns;
	sample->keep = statistics->waiters != NULL;
	sample->job = (struct job){ .work = close_work, .done = closed };
	statistics->working = true;
	jobs_submit(statistics->core->jobs, &sample->job);
}

static void opened(struct job *job)
{
	struct sample *sample = sample_of(job);
	struct statistics *statistics = sample->statistics;

	statistics->working = false;
	if (sample->err.code != ERROR_NONE) {
		fail(statistics, sample, &sample->err);
		return;
	}
	sample->started_at_ns = clock_realtime_ns();
	sample->started_ns = clock_monotonic_ns();
	loop_set_timer(statistics->core->loop, &statistics->timer,
		       sample->started_ns + interval_ns(statistics));
}

/* Takes the fd, which may be -1. */
static void begin(struct statistics *statistics, int counting_fd)
{
	_cleanup_close_ int fd = counting_fd;
	struct sample *sample = NULL;
	struct error err = { 0 };

	if (sample_new(statistics, &sample, &err) < 0) {
		fail(statistics, NULL, &err);
		return;
	}
	if (sample->n_programs == 0 && statistics->waiters == NULL) {
		sample_free(sample);
		sample_free(TAKE_PTR(statistics->last));
		sleep_until_next(statistics, 0);
		return;
	}
	sample->counting_fd = TAKE_FD(fd);
	sample->job = (struct job){ .work = open_work, .done = opened };
	statistics->current = sample;
	statistics->working = true;
	jobs_submit(statistics->core->jobs, &sample->job);
}

static void on_timer(struct loop_timer *timer)
{
	struct statistics *statistics =
		(struct statistics *)(void *)((char *)timer - offsetof(struct statistics, timer));

	if (statistics->core->stopping)
		return;
	if (statistics->current == NULL)
		begin(statistics, -1);
	else
		end(statistics);
}

int statistics_new(struct core *core, struct statistics **ret, struct error *err)
{
	struct statistics *statistics = calloc(1, sizeof(*statistics));

	if (statistics == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "sample what programs cost");
	statistics->core = core;
	statistics->timer = (struct loop_timer){ .deadline = UINT64_MAX, .due = on_timer };
	sleep_until_next(statistics, 0);
	*ret = statistics;
	return 0;
}

void statistics_free(struct statistics *statistics)
{
	struct error err = { 0 };

	if (statistics == NULL)
		return;
	(void)error_raise(&err, ERROR_UNAVAILABLE, "the daemon is stopping");
	loop_unset_timer(statistics->core->loop, &statistics->timer);
	answer_all(statistics, NULL, &err);
	sample_free(statistics->current);
	sample_free(statistics->last);
	free(statistics);
}

/* ---- methods */

/* "" for all, or the id of an instance that the caller may see. */
static int find_instance(struct request *request, const char *name, char id[static NAME_ID_LEN + 1],
			 struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int r = 0;

	id[0] = '\0';
	if (name[0] != '\0')
		r = request_find_named_instance(request, name, POLICY_VERB_VIEW, &row, err);
	if (r >= 0 && row != NULL)
		(void)snprintf(id, NAME_ID_LEN + 1, "%s", row->id);
	return r;
}

int serve_get_statistics(struct request *request, ProtobufCMessage **ret_response,
			 struct error *err)
{
	const Bpfleet__V1__GetStatisticsRequest *message = (const void *)request->message;
	const struct sample *last = request->core->statistics->last;
	Bpfleet__V1__GetStatisticsResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	char id[NAME_ID_LEN + 1];
	int r = find_instance(request, message->instance, id, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "tell statistics");
	bpfleet__v1__get_statistics_response__init(response);
	if (last != NULL)
		r = tell(request, last, id, &response->statistics, err);
	*ret_response = &response->base;
	return r;
}

int serve_stream_statistics(struct request *request, ProtobufCMessage **ret_response,
			    struct error *err)
{
	const Bpfleet__V1__StreamStatisticsRequest *message = (const void *)request->message;
	struct statistics *statistics = request->core->statistics;
	struct waiter *waiter;
	uint64_t now = clock_monotonic_ns(), ends;
	char id[NAME_ID_LEN + 1];
	int r = find_instance(request, message->instance, id, err);

	(void)ret_response;
	if (r < 0)
		return r;
	if (message->interval_ns != 0 &&
	    (message->interval_ns < INTERVAL_MIN_NS || message->interval_ns > INTERVAL_MAX_NS))
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "interval_ns must be from 100 ms to 60 s");
	waiter = calloc(1, sizeof(*waiter));
	if (waiter == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "wait for statistics");
	waiter->request = request;
	waiter->interval_ns = message->interval_ns == 0 ? NS_PER_SEC : message->interval_ns;
	memcpy(waiter->instance, id, sizeof(id));
	waiter->next = statistics->waiters;
	statistics->waiters = waiter;
	if (statistics->current == NULL) {
		loop_set_timer(request->core->loop, &statistics->timer, now);
	} else if (!statistics->working) {
		ends = statistics->current->started_ns + interval_ns(statistics);
		loop_set_timer(request->core->loop, &statistics->timer, ends > now ? ends : now);
	}
	return REQUEST_PENDING;
}
