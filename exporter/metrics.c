#include "exporter/metrics.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/version.h"
#include "exporter/maps.h"

/* MethodCalls.within, as Prometheus writes it. */
static const char *const bounds[] = { "0.0001", "0.001", "0.01", "0.1", "1.0", "10.0" };

struct family {
	const char *name;
	enum family_type type;
	const char *unit;
	const char *labels; /* for people */
	const char *help;
	void (*write)(struct exposition *e, const struct metrics_snapshot *s);
	bool always; /* also when the node is down: then the snapshot has nothing else */
};

struct name_parts name_split(const char *name)
{
	const char *id = strchr(name, '/'), *last = strrchr(name, '/');
	struct name_parts parts = { .last = last == NULL ? name : last + 1 };

	if (id != NULL)
		(void)snprintf(parts.id, sizeof(parts.id), "%.*s", (int)strcspn(id + 1, "/"),
			       id + 1);
	return parts;
}

#define SAMPLE(e, labels, value, digits) \
	exposition_sample(e, labels, ARRAY_SIZE(labels), value, digits)
#define SCALAR(name, value, digits)                                              \
	static void name(struct exposition *e, const struct metrics_snapshot *s) \
	{                                                                        \
		(void)s;                                                         \
		exposition_sample(e, NULL, 0, value, digits);                    \
	}

/* ---- the node */

SCALAR(write_up, s->down == NULL, 0)
SCALAR(write_start, s->status->started_at_ns, 9)
SCALAR(write_bundles, s->status->n_bundles, 0)
SCALAR(write_programs, s->n_programs, 0)
SCALAR(write_revision, s->status->revision, 0)
SCALAR(write_orphans, s->status->n_orphan_pins, 0)
SCALAR(write_alarms, s->status->n_alarms, 0)
SCALAR(write_audit_sequence, s->status->audit_sequence, 0)
SCALAR(write_audit_time, s->status->audit_at_ns, 9)

static void write_down(struct exposition *e, const struct metrics_snapshot *s)
{
	const struct label labels[] = { { "reason", s->down } };

	if (s->down != NULL)
		SAMPLE(e, labels, 1, 0);
}

static void write_exporter_build(struct exposition *e, const struct metrics_snapshot *s)
{
	const struct label labels[] = { { "version", BPFLEET_VERSION } };

	(void)s;
	SAMPLE(e, labels, 1, 0);
}

static void write_build(struct exposition *e, const struct metrics_snapshot *s)
{
	const struct label labels[] = {
		{ "version", s->status->version },
		{ "node", s->status->node_id },
		{ "kernel", s->status->kernel_release },
	};

	SAMPLE(e, labels, 1, 0);
}

/* As many bits as every reader of the format keeps exactly. */
static void write_audit_head(struct exposition *e, const struct metrics_snapshot *s)
{
	uint64_t head = 0;

	for (size_t i = 0; i < 6 && i < s->status->audit_head.len; i++)
		head = head << 8 | s->status->audit_head.data[i];
	exposition_sample(e, NULL, 0, head, 0);
}

static void write_alarm_info(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->status->n_alarms; i++) {
		const struct label labels[] = { { "alarm", s->status->alarms[i] } };

		SAMPLE(e, labels, 1, 0);
	}
}

/* ---- objects and their states */

/* "attached" of INSTANCE_STATE_ATTACHED; a state that a newer daemon has is "unknown". */
struct state_text {
	char text[32];
};

static struct state_text state_name(const ProtobufCEnumDescriptor *states, int state)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(states, state);
	struct state_text name = { "unknown" };
	const char *word, *at;

	if (value == NULL || state == 0)
		return name;
	/* What all values of the enum begin with ends where the first one says UNSPECIFIED. */
	word = value->name + strlen(states->values[0].name) - strlen("UNSPECIFIED");
	for (at = word; *at != '\0' && (size_t)(at - word) < sizeof(name.text) - 1; at++)
		name.text[at - word] = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
	name.text[at - word] = '\0';
	return name;
}

/* A sample for each state that there is, and for unknown ones if there are any. */
static void write_counts(struct exposition *e, const ProtobufCEnumDescriptor *states,
			 const uint64_t *counts)
{
	for (unsigned int i = 0; i < states->n_values; i++) {
		const struct state_text name = state_name(states, states->values[i].value);
		const struct label labels[] = { { "state", name.text } };

		if (states->values[i].value != 0 || counts[i] > 0)
			SAMPLE(e, labels, counts[i], 0);
	}
}

static size_t state_slot(const ProtobufCEnumDescriptor *states, int state)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(states, state);

	return value == NULL ? 0 : (size_t)(value - states->values);
}

#define STATES_MAX 32

static void write_instances(struct exposition *e, const struct metrics_snapshot *s)
{
	const ProtobufCEnumDescriptor *states = &bpfleet__v1__instance_state__descriptor;
	uint64_t counts[STATES_MAX] = { 0 };

	for (size_t i = 0; i < s->n_instances; i++)
		counts[state_slot(states, (int)s->instances[i]->state) % STATES_MAX]++;
	write_counts(e, states, counts);
}

static void write_links(struct exposition *e, const struct metrics_snapshot *s)
{
	const ProtobufCEnumDescriptor *states = &bpfleet__v1__link_state__descriptor;
	uint64_t counts[STATES_MAX] = { 0 };

	for (size_t i = 0; i < s->n_links; i++)
		counts[state_slot(states, (int)s->links[i]->state) % STATES_MAX]++;
	write_counts(e, states, counts);
}

static void write_instance_info(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->n_instances; i++) {
		const Bpfleet__V1__Instance *instance = s->instances[i];
		const struct state_text state =
			state_name(&bpfleet__v1__instance_state__descriptor, (int)instance->state);
		const struct name_parts parts = name_split(instance->name);
		const struct label labels[] = {
			{ "instance", parts.id },	{ "label", instance->label },
			{ "bundle", instance->bundle }, { "owner", instance->owner },
			{ "state", state.text },
		};

		SAMPLE(e, labels, 1, 0);
	}
}

static void write_program_info(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->n_programs; i++) {
		const Bpfleet__V1__Program *program = s->programs[i];
		const struct name_parts parts = name_split(program->name);
		char kernel_id[16];
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "program", parts.last },
			{ "type", program->type },
			{ "kernel_id", kernel_id },
		};

		(void)snprintf(kernel_id, sizeof(kernel_id), "%u", program->kernel_id);
		SAMPLE(e, labels, 1, 0);
	}
}

static void write_program_insns(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->n_programs; i++) {
		const struct name_parts parts = name_split(s->programs[i]->name);
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "program", parts.last },
		};

		SAMPLE(e, labels, s->programs[i]->verified_insns, 0);
	}
}

static void write_link_info(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->n_links; i++) {
		const Bpfleet__V1__Link *link = s->links[i];
		const struct state_text state =
			state_name(&bpfleet__v1__link_state__descriptor, (int)link->state);
		const struct name_parts parts = name_split(link->program);
		const struct label labels[] = {
			{ "link", name_split(link->name).last },
			{ "instance", parts.id },
			{ "program", parts.last },
			{ "hook", link->hook_text },
			{ "state", state.text },
		};

		SAMPLE(e, labels, 1, 0);
	}
}

/* ---- what programs cost, in the last window that was sampled */

static void write_window(struct exposition *e, const struct metrics_snapshot *s)
{
	if (s->statistics != NULL)
		exposition_sample(e, NULL, 0, s->statistics->window_ns, 9);
}

static void write_window_start(struct exposition *e, const struct metrics_snapshot *s)
{
	if (s->statistics != NULL)
		exposition_sample(e, NULL, 0, s->statistics->started_at_ns, 9);
}

typedef uint64_t program_figure(const Bpfleet__V1__ProgramStatistics *program);

static uint64_t runs_milli(const Bpfleet__V1__ProgramStatistics *program)
{
	return program->window_ns == 0 ? 0
				       : (uint64_t)((unsigned __int128)program->n_runs * 1000 *
						    NS_PER_SEC / program->window_ns);
}

static uint64_t ns_per_run(const Bpfleet__V1__ProgramStatistics *program)
{
	return program->ns_per_run;
}

static uint64_t cpu_ppm(const Bpfleet__V1__ProgramStatistics *program)
{
	return program->cpu_ppm;
}

static uint64_t memory_bytes(const Bpfleet__V1__ProgramStatistics *program)
{
	return program->memory_bytes;
}

static uint64_t recursion_misses(const Bpfleet__V1__ProgramStatistics *program)
{
	return program->n_recursion_misses;
}

static void write_figure(struct exposition *e, const struct metrics_snapshot *s,
			 program_figure *figure, unsigned int digits)
{
	for (size_t i = 0; s->statistics != NULL && i < s->statistics->n_programs; i++) {
		const Bpfleet__V1__ProgramStatistics *program = s->statistics->programs[i];
		const struct name_parts parts = name_split(program->program);
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "program", parts.last },
		};

		SAMPLE(e, labels, figure(program), digits);
	}
}

#define PROGRAM_FIGURE(name, figure, digits)                                     \
	static void name(struct exposition *e, const struct metrics_snapshot *s) \
	{                                                                        \
		write_figure(e, s, figure, digits);                              \
	}
PROGRAM_FIGURE(write_runs, runs_milli, 3)
PROGRAM_FIGURE(write_run_time, ns_per_run, 9)
PROGRAM_FIGURE(write_cpu, cpu_ppm, 6)
PROGRAM_FIGURE(write_memory, memory_bytes, 0)
PROGRAM_FIGURE(write_misses, recursion_misses, 0)

#define INSTANCE_FIGURE(name, member, digits)                                                      \
	static void name(struct exposition *e, const struct metrics_snapshot *s)                   \
	{                                                                                          \
		for (size_t i = 0; s->statistics != NULL && i < s->statistics->n_instances; i++) { \
			const Bpfleet__V1__InstanceStatistics *of = s->statistics->instances[i];   \
			const struct label labels[] = { { "instance",                              \
							  name_split(of->instance).last } };       \
                                                                                                   \
			SAMPLE(e, labels, of->member, digits);                                     \
		}                                                                                  \
	}
INSTANCE_FIGURE(write_instance_cpu, cpu_ppm, 6)
INSTANCE_FIGURE(write_instance_memory, memory_bytes, 0)
INSTANCE_FIGURE(write_windows_over, n_windows_over, 0)

/* ---- events */

#define EVENT_FIGURE(name, value)                                                               \
	static void name(struct exposition *e, const struct metrics_snapshot *s)                \
	{                                                                                       \
		for (size_t i = 0; s->statistics != NULL && i < s->statistics->n_events; i++) { \
			const Bpfleet__V1__EventStatistics *of = s->statistics->events[i];      \
			const struct name_parts parts = name_split(of->map);                    \
			const struct label labels[] = { { "instance", parts.id },               \
							{ "map", parts.last } };                \
                                                                                                \
			SAMPLE(e, labels, value, 0);                                            \
		}                                                                               \
	}
EVENT_FIGURE(write_subscribers, of->n_subscribers)
EVENT_FIGURE(write_events, of->records)
EVENT_FIGURE(write_event_bytes, of->bytes)
EVENT_FIGURE(write_unobserved, of->unobserved)

static void write_lost(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; s->statistics != NULL && i < s->statistics->n_events; i++) {
		const Bpfleet__V1__EventStatistics *of = s->statistics->events[i];
		const struct name_parts parts = name_split(of->map);
		const struct {
			const char *place;
			bool known;
			uint64_t n;
		} places[] = {
			{ "kernel", of->kernel_lost_known != 0, of->kernel_lost },
			{ "front", true, of->front_lost },
			{ "subscriber", true, of->subscriber_lost },
		};

		for (size_t p = 0; p < ARRAY_SIZE(places); p++) {
			const struct label labels[] = { { "instance", parts.id },
							{ "map", parts.last },
							{ "place", places[p].place } };

			if (places[p].known)
				SAMPLE(e, labels, places[p].n, 0);
		}
	}
}

/* ---- calls */

static void write_calls(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->status->n_calls; i++) {
		const Bpfleet__V1__MethodCalls *calls = s->status->calls[i];
		const struct label ok[] = { { "method", calls->method }, { "status", "OK" } };

		SAMPLE(e, ok, calls->n_ok, 0);
		for (size_t f = 0; f < calls->n_failures; f++) {
			const struct label labels[] = { { "method", calls->method },
							{ "status", calls->failures[f]->status } };

			SAMPLE(e, labels, calls->failures[f]->n, 0);
		}
	}
}

static void write_bucket(struct exposition *e, const char *method, const char *bound, uint64_t n)
{
	const struct label labels[] = { { "method", method }, { "le", bound } };
	struct str text = { 0 };

	exposition_labels(&text, labels, ARRAY_SIZE(labels));
	exposition_sample_text(e, "_bucket", text.failed ? "" : text.data, n, false, 0);
	e->out->failed = e->out->failed || text.failed;
	str_done(&text);
}

static void write_durations(struct exposition *e, const struct metrics_snapshot *s)
{
	for (size_t i = 0; i < s->status->n_calls; i++) {
		const Bpfleet__V1__MethodCalls *calls = s->status->calls[i];
		const struct label method = { "method", calls->method };
		const uint64_t n = calls->n_ok + calls->n_failed;
		struct str text = { 0 };

		for (size_t b = 0; b < ARRAY_SIZE(bounds) && b < calls->n_within; b++)
			write_bucket(e, calls->method, bounds[b], calls->within[b]);
		write_bucket(e, calls->method, "+Inf", n);
		exposition_labels(&text, &method, 1);
		if (!text.failed) {
			exposition_sample_text(e, "_count", text.data, n, false, 0);
			exposition_sample_text(e, "_sum", text.data, calls->duration_ns, false, 9);
		}
		e->out->failed = e->out->failed || text.failed;
		str_done(&text);
	}
}

/* ---- maps */

static void write_metric_shown(struct exposition *e, const struct metrics_snapshot *s)
{
	map_metrics_write_shown(s->maps, e);
}

static void write_metric_left_out(struct exposition *e, const struct metrics_snapshot *s)
{
	map_metrics_write_left_out(s->maps, e);
}

/* ---- the table */

#define PROGRAM "instance program"
#define RULE "instance label bundle map metric"

static const struct family families[] = {
	{ "bpfleet_up", FAMILY_GAUGE, NULL, "", "1 if the daemon answered, 0 if it did not.",
	  write_up, true },
	{ "bpfleet_down", FAMILY_INFO, NULL, "reason",
	  "Only while the daemon does not answer: why, a reason of docs/cli.md.", write_down,
	  true },
	{ "bpfleet_exporter_build", FAMILY_INFO, NULL, "version", "The exporter itself; always 1.",
	  write_exporter_build, true },
	{ "bpfleet_build", FAMILY_INFO, NULL, "version node kernel",
	  "Version of the daemon, id of the node and release of its kernel; always 1.", write_build,
	  false },
	{ "bpfleet_start_time_seconds", FAMILY_GAUGE, "seconds", "",
	  "When the daemon started, in seconds since 1970.", write_start, false },
	{ "bpfleet_bundles", FAMILY_GAUGE, NULL, "", "Stored bundles.", write_bundles, false },
	{ "bpfleet_instances", FAMILY_GAUGE, NULL, "state", "Instances in a state.",
	  write_instances, false },
	{ "bpfleet_links", FAMILY_GAUGE, NULL, "state", "Links in a state.", write_links, false },
	{ "bpfleet_programs", FAMILY_GAUGE, NULL, "", "Programs of all instances.", write_programs,
	  false },
	{ "bpfleet_instance", FAMILY_INFO, NULL, "instance label bundle owner state",
	  "One for each instance; always 1.", write_instance_info, false },
	{ "bpfleet_program", FAMILY_INFO, NULL, PROGRAM " type kernel_id",
	  "One for each program; always 1. kernel_id 0: not loaded.", write_program_info, false },
	{ "bpfleet_program_verified_instructions", FAMILY_GAUGE, NULL, PROGRAM,
	  "Instructions that the verifier walked through when the program was loaded.",
	  write_program_insns, false },
	{ "bpfleet_link", FAMILY_INFO, NULL, "link instance program hook state",
	  "One for each link; always 1.", write_link_info, false },
	{ "bpfleet_window_start_time_seconds", FAMILY_GAUGE, "seconds", "",
	  "When the last window of statistics began, in seconds since 1970.", write_window_start,
	  false },
	{ "bpfleet_window_seconds", FAMILY_GAUGE, "seconds", "", "How long it was.", write_window,
	  false },
	{ "bpfleet_program_runs_per_second", FAMILY_GAUGE, NULL, PROGRAM,
	  "Runs per second in the last window.", write_runs, false },
	{ "bpfleet_program_run_seconds", FAMILY_GAUGE, "seconds", PROGRAM,
	  "Mean time of a run in the last window; 0: it did not run.", write_run_time, false },
	{ "bpfleet_program_cpu_ratio", FAMILY_GAUGE, "ratio", PROGRAM,
	  "Time of all runs over that of the last window; 1 is one CPU.", write_cpu, false },
	{ "bpfleet_program_recursion_misses", FAMILY_GAUGE, NULL, PROGRAM,
	  "Runs that the kernel left out in the last window, as the program ran on that CPU "
	  "already.",
	  write_misses, false },
	{ "bpfleet_program_memory_bytes", FAMILY_GAUGE, "bytes", PROGRAM,
	  "What the kernel charges for the program.", write_memory, false },
	{ "bpfleet_instance_cpu_ratio", FAMILY_GAUGE, "ratio", "instance",
	  "Time of all its programs over that of the last window; 1 is one CPU.",
	  write_instance_cpu, false },
	{ "bpfleet_instance_memory_bytes", FAMILY_GAUGE, "bytes", "instance",
	  "What the kernel charges for its programs and maps.", write_instance_memory, false },
	{ "bpfleet_instance_windows_over_budget", FAMILY_GAUGE, NULL, "instance",
	  "Windows in a row in which it was over its budget.", write_windows_over, false },
	{ "bpfleet_event_subscribers", FAMILY_GAUGE, NULL, "instance map",
	  "Who listens to an event map now.", write_subscribers, false },
	{ "bpfleet_events", FAMILY_COUNTER, NULL, "instance map",
	  "Events that were read for subscribers.", write_events, false },
	{ "bpfleet_event_bytes", FAMILY_COUNTER, "bytes", "instance map", "Bytes of these events.",
	  write_event_bytes, false },
	{ "bpfleet_events_lost", FAMILY_COUNTER, NULL, "instance map place",
	  "Events lost: the buffer was full (kernel; absent where the program does not count), "
	  "the daemon could not keep them (front), a subscriber was too slow (subscriber).",
	  write_lost, false },
	{ "bpfleet_events_unobserved", FAMILY_COUNTER, NULL, "instance map",
	  "Events that waited in the buffer before anybody listened.", write_unobserved, false },
	{ "bpfleet_rpc_calls", FAMILY_COUNTER, NULL, "method status",
	  "Calls of all clients that have ended, with which gRPC status.", write_calls, false },
	{ "bpfleet_rpc_duration_seconds", FAMILY_HISTOGRAM, "seconds", "method",
	  "From a call's arrival to its end; streams are as long as the client wants.",
	  write_durations, false },
	{ "bpfleet_audit_sequence", FAMILY_GAUGE, NULL, "",
	  "Number of the newest row of the audit log.", write_audit_sequence, false },
	{ "bpfleet_audit_head", FAMILY_GAUGE, NULL, "",
	  "The first 48 bits of that row's hash, as a number.", write_audit_head, false },
	{ "bpfleet_audit_time_seconds", FAMILY_GAUGE, "seconds", "",
	  "When that row was written, in seconds since 1970.", write_audit_time, false },
	{ "bpfleet_revision", FAMILY_GAUGE, NULL, "",
	  "Number of the newest change of the node's state.", write_revision, false },
	{ "bpfleet_orphan_pins", FAMILY_GAUGE, NULL, "", "Pins that no recorded object owns.",
	  write_orphans, false },
	{ "bpfleet_alarms", FAMILY_GAUGE, NULL, "", "Alarms that stand.", write_alarms, false },
	{ "bpfleet_alarm", FAMILY_INFO, NULL, "alarm", "One for each alarm that stands; always 1.",
	  write_alarm_info, false },
	{ "bpfleet_exporter_metric_shown", FAMILY_GAUGE, NULL, RULE " reason",
	  "1 if a metric of a manifest is shown below, 0 if not; reason says why.",
	  write_metric_shown, false },
	{ "bpfleet_exporter_metric_left_out", FAMILY_GAUGE, NULL, RULE,
	  "Entries of the map that it does not show, being too many.", write_metric_left_out,
	  false },
};

void metrics_write(const struct metrics_snapshot *snapshot, enum exposition_format format,
		   struct str *out)
{
	struct exposition e = { .out = out, .format = format };

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];

		if (snapshot->down != NULL && !family->always)
			continue;
		exposition_family(&e, family->name, family->type, family->unit, family->help);
		family->write(&e, snapshot);
	}
	if (snapshot->down == NULL)
		map_metrics_write(snapshot->maps, &e);
	exposition_end(&e);
}

void metrics_document(struct str *out)
{
	(void)str_append(out, "| metric | type | labels | what it says |\n|---|---|---|---|\n");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		(void)str_appendf(out, "| %s%s | %s | %s | %s |\n", families[i].name,
				  exposition_suffix(families[i].type),
				  exposition_type_name(families[i].type), families[i].labels,
				  families[i].help);
}
