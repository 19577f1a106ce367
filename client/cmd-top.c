#define _GNU_SOURCE
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/keys.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"
#include "rpc/client.h"

enum order { ORDER_CPU, ORDER_RUNS, ORDER_NS, ORDER_MEMORY, ORDER_DROPS };

/* One line: an instance as a whole, or one of its programs. */
struct line {
	const Bpfleet__V1__InstanceStatistics *instance;
	const Bpfleet__V1__ProgramStatistics *program; /* NULL: the whole */
	uint64_t n_runs, run_time_ns, window_ns, memory_bytes;
	uint32_t cpu_ppm;
	double events_per_s; /* below 0: unknown */
	uint64_t n_lost;
	bool listened, kernel_lost_unknown; /* somebody reads its events, or did */
	size_t group;			    /* of the instance, after sorting */
};

struct top {
	struct cli *cli;
	enum order order;
	bool redraw;
	uint64_t limit, n_windows; /* limit 0: none */
	/* The window before, for what is only counted up. */
	struct arena *before_arena;
	const Bpfleet__V1__Statistics *before;
};

/* ---- figures */

static bool belongs_to(const char *name, const char *instance)
{
	const size_t n = strlen(instance);

	return strncmp(name, instance, n) == 0 && name[n] == '/';
}

static uint64_t lost_of(const Bpfleet__V1__EventStatistics *events)
{
	return events->subscriber_lost + events->front_lost +
	       (events->kernel_lost_known ? events->kernel_lost : 0);
}

static uint64_t records_before(const struct top *top, const char *map, bool *ret_known)
{
	*ret_known = false;
	for (size_t i = 0; top->before != NULL && i < top->before->n_events; i++) {
		if (strcmp(top->before->events[i]->map, map) == 0) {
			*ret_known = true;
			return top->before->events[i]->records;
		}
	}
	return 0;
}

static bool is_of(const struct line *line, const char *map)
{
	if (line->program == NULL)
		return belongs_to(map, line->instance->instance);
	for (size_t i = 0; i < line->program->n_event_maps; i++) {
		if (strcmp(line->program->event_maps[i], map) == 0)
			return true;
	}
	return false;
}

static void add_events(const struct top *top, const Bpfleet__V1__Statistics *now, struct line *line)
{
	double seconds = (double)now->window_ns / (double)NS_PER_SEC;

	line->events_per_s = -1;
	if (top->before != NULL && now->started_at_ns > top->before->started_at_ns)
		seconds = (double)(now->started_at_ns + now->window_ns -
				   top->before->started_at_ns - top->before->window_ns) /
			  (double)NS_PER_SEC;
	for (size_t i = 0; i < now->n_events; i++) {
		const Bpfleet__V1__EventStatistics *events = now->events[i];
		uint64_t before;
		bool known;

		if (!is_of(line, events->map))
			continue;
		line->listened = true;
		line->kernel_lost_unknown |= !events->kernel_lost_known;
		line->n_lost += lost_of(events);
		before = records_before(top, events->map, &known);
		if (known && events->records >= before && seconds > 0)
			line->events_per_s = (line->events_per_s < 0 ? 0 : line->events_per_s) +
					     (double)(events->records - before) / seconds;
	}
}

static struct line line_of_program(const Bpfleet__V1__InstanceStatistics *instance,
				   const Bpfleet__V1__ProgramStatistics *program)
{
	return (struct line){ .instance = instance,
			      .program = program,
			      .n_runs = program->n_runs,
			      .run_time_ns = program->run_time_ns,
			      .window_ns = program->window_ns,
			      .memory_bytes = program->memory_bytes,
			      .cpu_ppm = program->cpu_ppm };
}

static double key_of(const struct line *line, enum order order)
{
	switch (order) {
	case ORDER_CPU:
		return line->cpu_ppm;
	case ORDER_RUNS:
		return (double)line->n_runs;
	case ORDER_NS:
		return line->n_runs == 0 ? 0 : (double)line->run_time_ns / (double)line->n_runs;
	case ORDER_MEMORY:
		return (double)line->memory_bytes;
	case ORDER_DROPS:
		return (double)line->n_lost;
	}
	return 0;
}

static int compare(const struct line *a, const struct line *b, enum order order)
{
	double x = key_of(a, order), y = key_of(b, order);

	return x != y ? (x < y) - (x > y) : strcmp(a->instance->instance, b->instance->instance);
}

static int by_instance(const void *a, const void *b, void *order)
{
	return compare(a, b, *(const enum order *)order);
}

/* Instances in their order, and below each its programs in theirs. */
static int by_group(const void *a, const void *b, void *order)
{
	const struct line *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if ((x->program == NULL) != (y->program == NULL))
		return x->program == NULL ? -1 : 1;
	return compare(x, y, *(const enum order *)order);
}

static size_t make_lines(const struct top *top, const Bpfleet__V1__Statistics *now,
			 struct line *lines)
{
	size_t n_wholes = now->n_instances, n = n_wholes;
	enum order order = top->order;

	for (size_t i = 0; i < n_wholes; i++) {
		lines[i] = (struct line){ .instance = now->instances[i],
					  .window_ns = now->window_ns,
					  .memory_bytes = now->instances[i]->memory_bytes,
					  .cpu_ppm = now->instances[i]->cpu_ppm };
		add_events(top, now, &lines[i]);
		for (size_t p = 0; p < now->n_programs; p++) {
			if (!belongs_to(now->programs[p]->program, now->instances[i]->instance))
				continue;
			lines[i].n_runs += now->programs[p]->n_runs;
			lines[i].run_time_ns += now->programs[p]->run_time_ns;
		}
	}
	qsort_r(lines, n_wholes, sizeof(*lines), by_instance, &order);
	for (size_t i = 0; i < n_wholes; i++) {
		lines[i].group = i;
		for (size_t p = 0; p < now->n_programs; p++) {
			if (!belongs_to(now->programs[p]->program, lines[i].instance->instance))
				continue;
			lines[n] = line_of_program(lines[i].instance, now->programs[p]);
			add_events(top, now, &lines[n]);
			lines[n++].group = i;
		}
	}
	qsort_r(lines, n, sizeof(*lines), by_group, &order);
	return n;
}

/* ---- printing */

static void rate_cell(struct sheet *sheet, double per_s)
{
	if (per_s < 0)
		sheet_text(sheet, "-");
	else
		sheet_textf(sheet, per_s > 0 && per_s < 10 ? "%.1f" : "%.0f", per_s);
}

static void print_line(struct sheet *sheet, const struct line *line)
{
	const Bpfleet__V1__InstanceStatistics *instance = line->instance;
	struct str memory = { 0 };

	sheet_text(sheet,
		   instance->label[0] != '\0' ? instance->label : ref_short(instance->instance));
	sheet_text(sheet, line->program == NULL ? ref_short(instance->bundle)
						: strrchr(line->program->program, '/') + 1);
	rate_cell(sheet, line->window_ns == 0 ? -1
					      : (double)line->n_runs * (double)NS_PER_SEC /
							(double)line->window_ns);
	if (line->n_runs == 0)
		sheet_text(sheet, "-");
	else
		sheet_textf(sheet, "%" PRIu64,
			    (line->run_time_ns + line->n_runs / 2) / line->n_runs);
	sheet_textf(sheet, "%.2f", line->cpu_ppm / 10000.0);
	(void)units_append_bytes(&memory, line->memory_bytes);
	sheet_take(sheet, &memory);
	rate_cell(sheet, line->events_per_s);
	if (line->listened)
		sheet_textf(sheet, "%" PRIu64 "%s", line->n_lost,
			    line->kernel_lost_unknown ? "+" : "");
	else
		sheet_text(sheet, "-");
	if (line->program != NULL && line->program->n_recursion_misses > 0)
		sheet_textf(sheet, "%" PRIu64, line->program->n_recursion_misses);
	else
		sheet_text(sheet, "");
	if (instance->n_windows_over > 0 && line->program == NULL)
		sheet_coloured(sheet, SHEET_BAD, "over budget");
	else
		sheet_text(sheet, "");
}

static unsigned int terminal_lines(const struct cli *cli)
{
	struct winsize size = { 0 };

	if (ioctl(fileno(cli->out), TIOCGWINSZ, &size) < 0 || size.ws_row == 0)
		return 24;
	return size.ws_row;
}

/* "3 instances, 7 programs, in a window of 1.0s" */
static int print_head(const struct top *top, const Bpfleet__V1__Statistics *now, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	if (top->redraw)
		(void)str_append(&s, "\033[H\033[J");
	(void)units_append_time(&s, now->started_at_ns + now->window_ns);
	(void)str_appendf(&s, "  %zu instance%s, %zu program%s, window ", now->n_instances,
			  now->n_instances == 1 ? "" : "s", now->n_programs,
			  now->n_programs == 1 ? "" : "s");
	(void)units_append_duration(&s, now->window_ns / NS_PER_MS * NS_PER_MS);
	if (top->redraw)
		(void)str_append(&s, ", q ends");
	return cli_print_str(top->cli, &s, err);
}

static int print_table(const struct top *top, const Bpfleet__V1__Statistics *now,
		       struct arena *arena, struct error *err)
{
	struct line *lines =
		arena_alloc(arena, (now->n_instances + now->n_programs + 1) * sizeof(*lines));
	size_t room = top->redraw ? terminal_lines(top->cli) : SIZE_MAX, n;
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(top->cli, &sheet, err);

	if (r < 0)
		return r;
	if (lines == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	n = make_lines(top, now, lines);
	sheet_column(sheet, "INSTANCE", 0);
	sheet_column(sheet, "PROGRAM", 0);
	sheet_column(sheet, "RUNS/S", SHEET_RIGHT);
	sheet_column(sheet, "NS/RUN", SHEET_RIGHT);
	sheet_column(sheet, "CPU%", SHEET_RIGHT);
	sheet_column(sheet, "MEMORY", SHEET_RIGHT);
	sheet_column(sheet, "EVENTS/S", SHEET_RIGHT);
	sheet_column(sheet, "DROPS", SHEET_RIGHT);
	sheet_column(sheet, "MISSED", SHEET_RIGHT | SHEET_OPTIONAL);
	sheet_column(sheet, "", SHEET_OPTIONAL);
	/* The head, the titles and the cursor take a line each. */
	for (size_t i = 0; i < n && (room == SIZE_MAX || i + 3 < room); i++)
		print_line(sheet, &lines[i]);
	return cli_flush(sheet, err);
}

static int print_window(const struct top *top,
			const Bpfleet__V1__StreamStatisticsResponse *response, struct arena *arena,
			struct error *err)
{
	const Bpfleet__V1__Statistics *now = response->statistics;
	int r;

	if (top->cli->json)
		return cli_print_line(top->cli, &response->base, err);
	r = print_head(top, now, err);
	if (r == 0)
		r = print_table(top, now, arena, err);
	if (r == 0 && !top->redraw)
		cli_say(top->cli, "%s", "");
	(void)fflush(top->cli->out);
	return r;
}

static int step(struct top *top, struct rpc_stream *stream, struct error *err)
{
	const Bpfleet__V1__StreamStatisticsResponse *response;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *message;
	int r = cli_arena(&arena, err);

	if (r == 0)
		r = rpc_stream_receive(stream, arena, &message, err);
	if (r <= 0)
		return r < 0 ? r : 1;
	response = (const Bpfleet__V1__StreamStatisticsResponse *)message;
	if (response->statistics == NULL)
		return error_raise(err, ERROR_PROTOCOL, "a window without statistics");
	r = print_window(top, response, arena, err);
	if (r < 0)
		return r;
	top->n_windows++;
	arena_free(top->before_arena);
	top->before_arena = TAKE_PTR(arena);
	top->before = response->statistics;
	return 0;
}

static enum order order_of(const struct cli *cli)
{
	static const char *const words[] = { "cpu", "runs", "ns", "memory", "drops" };
	const char *text = cli_text(&cli->args, OPTION_SORT, "cpu");

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0)
			return (enum order)i;
	}
	return ORDER_CPU;
}

int cmd_top(struct cli *cli, struct error *err)
{
	Bpfleet__V1__StreamStatisticsRequest request = BPFLEET__V1__STREAM_STATISTICS_REQUEST__INIT;
	const char *instance = cli_argument(&cli->args, 0);
	_cleanup_(keys_freep) struct keys *keys = NULL;
	const bool once = cli_has(&cli->args, OPTION_ONCE);
	struct top top = { .cli = cli,
			   .order = order_of(cli),
			   .redraw = !once && !cli->json && isatty(fileno(cli->out)),
			   .limit = once ? 1 : cli_number(&cli->args, OPTION_COUNT, 0) };
	struct rpc_stream *stream = NULL;
	char name[REF_SIZE] = "";
	int r = 0;

	if (instance != NULL)
		r = cli_usage_if(cli, ref_instance(instance, name, err));
	if (r == 0)
		r = cli_follow_printing(cli, err);
	if (r == 0 && top.redraw)
		r = keys_new(&keys, err);
	if (r < 0)
		return r;
	request.instance = name;
	request.interval_ns = cli_number(&cli->args, OPTION_INTERVAL, 0);
	r = cli_subscribe(cli, "StreamStatistics", &request.base, UINT64_MAX, &stream, err);
	while (r == 0 && (top.limit == 0 || top.n_windows < top.limit))
		r = step(&top, stream, err);
	r = cli_stream_end(cli, r, UINT64_MAX, err);
	node_stream_free(cli->node, stream);
	arena_free(top.before_arena);
	return r;
}
