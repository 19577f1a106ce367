#include "exporter/metrics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/version.h"

struct family;
typedef void write_fn(const struct family *family, const struct metrics_snapshot *snapshot,
		      struct str *out);

struct family {
	const char *name; /* of an info without its _info */
	bool is_info;
	const char *unit;
	const char *labels; /* for people */
	const char *help;
	write_fn *write;
	bool always; /* also when the node does not answer; snapshot is NULL then */
};

struct label {
	const char *name;
	const char *value;
};

/* Backslash, quote and newline are escaped in both formats; both are UTF-8 throughout. */
static void append_label(struct str *out, const struct label *label)
{
	struct str shown = { 0 };
	const char *value = label->value;

	if (!str_is_utf8(value, strlen(value))) {
		(void)str_append_escaped(&shown, value, SIZE_MAX);
		value = shown.failed ? "" : shown.data;
	}
	(void)str_appendf(out, "%s=\"", label->name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			(void)str_append(out, "\\n");
		else if (*value == '"' || *value == '\\')
			(void)str_appendf(out, "\\%c", *value);
		else
			(void)str_append_bytes(out, value, 1);
	}
	(void)str_append(out, "\"");
	str_done(&shown);
}

static void sample(struct str *out, const struct family *family, const struct label *labels,
		   size_t n_labels, uint64_t value)
{
	(void)str_appendf(out, "%s%s", family->name, family->is_info ? "_info" : "");
	for (size_t i = 0; i < n_labels; i++) {
		(void)str_append(out, i == 0 ? "{" : ",");
		append_label(out, &labels[i]);
	}
	(void)str_appendf(out, "%s %" PRIu64 "\n", n_labels > 0 ? "}" : "", value);
}

/* ---- names of the API and states as label values */

static const char *const instance_states[] = {
	[BPFLEET_INSTANCE_LOADING] = "loading",	    [BPFLEET_INSTANCE_READY] = "ready",
	[BPFLEET_INSTANCE_ATTACHED] = "attached",   [BPFLEET_INSTANCE_DEGRADED] = "degraded",
	[BPFLEET_INSTANCE_FAILED] = "failed",	    [BPFLEET_INSTANCE_UNLOADING] = "unloading",
	[BPFLEET_INSTANCE_REPLACING] = "replacing", [BPFLEET_INSTANCE_SOAKING] = "soaking",
};

static const char *const link_states[] = {
	[BPFLEET_LINK_PENDING_TARGET] = "pending_target",
	[BPFLEET_LINK_ATTACHED] = "attached",
	[BPFLEET_LINK_TARGET_GONE] = "target_gone",
	[BPFLEET_LINK_DRIFTED] = "drifted",
	[BPFLEET_LINK_DETACHED] = "detached",
};

/* A state that a newer daemon has counts as "unknown", slot 0. */
static size_t state_slot(unsigned int state, size_t n_names)
{
	return state < n_names ? state : 0;
}

static const char *state_name(const char *const *names, size_t n_names, unsigned int state)
{
	const char *name = names[state_slot(state, n_names)];

	return name == NULL ? "unknown" : name;
}

/* `instances/ID/programs/NAME` in its parts; missing ones are empty. */
struct parts {
	char id[64];
	const char *last;
};

static struct parts split(const char *name)
{
	const char *id = strchr(name, '/'), *last = strrchr(name, '/');
	struct parts parts = { .last = last == NULL ? name : last + 1 };

	if (id != NULL)
		(void)snprintf(parts.id, sizeof(parts.id), "%.*s", (int)strcspn(id + 1, "/"),
			       id + 1);
	return parts;
}

/* ---- one function for each kind of family */

static void write_up(const struct family *family, const struct metrics_snapshot *snapshot,
		     struct str *out)
{
	sample(out, family, NULL, 0, snapshot != NULL);
}

static void write_exporter_build(const struct family *family,
				 const struct metrics_snapshot *snapshot, struct str *out)
{
	const struct label labels[] = { { "version", BPFLEET_VERSION } };

	(void)snapshot;
	sample(out, family, labels, ARRAY_SIZE(labels), 1);
}

static void write_build(const struct family *family, const struct metrics_snapshot *snapshot,
			struct str *out)
{
	const struct label labels[] = {
		{ "version", snapshot->status->version },
		{ "node", snapshot->status->node_id },
		{ "kernel", snapshot->status->kernel_release },
	};

	sample(out, family, labels, ARRAY_SIZE(labels), 1);
}

static void write_start(const struct family *family, const struct metrics_snapshot *snapshot,
			struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->started_at_ns / NS_PER_SEC);
}

static void write_bundles(const struct family *family, const struct metrics_snapshot *snapshot,
			  struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->n_bundles);
}

static void write_states(const struct family *family, const char *const *names,
			 const uint64_t *counts, size_t n, struct str *out)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct label label = { "state", state_name(names, n, i) };

		if (names[i] != NULL || counts[i] > 0)
			sample(out, family, &label, 1, counts[i]);
	}
}

static void write_instances(const struct family *family, const struct metrics_snapshot *snapshot,
			    struct str *out)
{
	uint64_t counts[ARRAY_SIZE(instance_states)] = { 0 };

	for (size_t i = 0; i < snapshot->n_instances; i++)
		counts[state_slot(snapshot->instances[i].state, ARRAY_SIZE(counts))]++;
	write_states(family, instance_states, counts, ARRAY_SIZE(counts), out);
}

static void write_links(const struct family *family, const struct metrics_snapshot *snapshot,
			struct str *out)
{
	uint64_t counts[ARRAY_SIZE(link_states)] = { 0 };

	for (size_t i = 0; i < snapshot->n_links; i++)
		counts[state_slot(snapshot->links[i].state, ARRAY_SIZE(counts))]++;
	write_states(family, link_states, counts, ARRAY_SIZE(counts), out);
}

static void write_programs(const struct family *family, const struct metrics_snapshot *snapshot,
			   struct str *out)
{
	sample(out, family, NULL, 0, snapshot->n_programs);
}

static void write_instance_info(const struct family *family,
				const struct metrics_snapshot *snapshot, struct str *out)
{
	for (size_t i = 0; i < snapshot->n_instances; i++) {
		const struct bpfleet_instance *instance = &snapshot->instances[i];
		const struct parts parts = split(instance->name);
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "label", instance->label },
			{ "bundle", instance->bundle },
			{ "owner", instance->owner },
			{ "state", state_name(instance_states, ARRAY_SIZE(instance_states),
					      instance->state) },
		};

		sample(out, family, labels, ARRAY_SIZE(labels), 1);
	}
}

static void write_program_info(const struct family *family, const struct metrics_snapshot *snapshot,
			       struct str *out)
{
	for (size_t i = 0; i < snapshot->n_programs; i++) {
		const struct bpfleet_program *program = &snapshot->programs[i];
		const struct parts parts = split(program->name);
		char kernel_id[16];
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "program", parts.last },
			{ "type", program->type },
			{ "kernel_id", kernel_id },
		};

		(void)snprintf(kernel_id, sizeof(kernel_id), "%" PRIu32, program->kernel_id);
		sample(out, family, labels, ARRAY_SIZE(labels), 1);
	}
}

static void write_program_insns(const struct family *family,
				const struct metrics_snapshot *snapshot, struct str *out)
{
	for (size_t i = 0; i < snapshot->n_programs; i++) {
		const struct bpfleet_program *program = &snapshot->programs[i];
		const struct parts parts = split(program->name);
		const struct label labels[] = {
			{ "instance", parts.id },
			{ "program", parts.last },
		};

		sample(out, family, labels, ARRAY_SIZE(labels), program->verified_insns);
	}
}

static void write_link_info(const struct family *family, const struct metrics_snapshot *snapshot,
			    struct str *out)
{
	for (size_t i = 0; i < snapshot->n_links; i++) {
		const struct bpfleet_link *link = &snapshot->links[i];
		const struct parts parts = split(link->program);
		const struct label labels[] = {
			{ "link", split(link->name).last },
			{ "instance", parts.id },
			{ "program", parts.last },
			{ "hook", link->hook },
			{ "state", state_name(link_states, ARRAY_SIZE(link_states), link->state) },
		};

		sample(out, family, labels, ARRAY_SIZE(labels), 1);
	}
}

static void write_audit(const struct family *family, const struct metrics_snapshot *snapshot,
			struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->audit_sequence);
}

static void write_revision(const struct family *family, const struct metrics_snapshot *snapshot,
			   struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->revision);
}

static void write_orphans(const struct family *family, const struct metrics_snapshot *snapshot,
			  struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->n_orphan_pins);
}

static void write_alarms(const struct family *family, const struct metrics_snapshot *snapshot,
			 struct str *out)
{
	sample(out, family, NULL, 0, snapshot->status->n_alarms);
}

static void write_alarm_info(const struct family *family, const struct metrics_snapshot *snapshot,
			     struct str *out)
{
	for (size_t i = 0; i < snapshot->status->n_alarms; i++) {
		const struct label label = { "alarm", snapshot->status->alarms[i] };

		sample(out, family, &label, 1, 1);
	}
}

static const struct family families[] = {
	{ "bpfleet_up", false, NULL, "", "1 if the daemon answered, 0 if it did not.", write_up,
	  true },
	{ "bpfleet_exporter_build", true, NULL, "version", "The exporter itself; always 1.",
	  write_exporter_build, true },
	{ "bpfleet_build", true, NULL, "version node kernel",
	  "Version of the daemon, id of the node and release of its kernel; always 1.", write_build,
	  false },
	{ "bpfleet_start_time_seconds", false, "seconds", "",
	  "When the daemon started, in seconds since 1970.", write_start, false },
	{ "bpfleet_bundles", false, NULL, "", "Stored bundles.", write_bundles, false },
	{ "bpfleet_instances", false, NULL, "state", "Instances in a state.", write_instances,
	  false },
	{ "bpfleet_links", false, NULL, "state", "Links in a state.", write_links, false },
	{ "bpfleet_programs", false, NULL, "", "Programs of all instances.", write_programs,
	  false },
	{ "bpfleet_instance", true, NULL, "instance label bundle owner state",
	  "One for each instance; always 1.", write_instance_info, false },
	{ "bpfleet_program", true, NULL, "instance program type kernel_id",
	  "One for each program; always 1. kernel_id 0: not loaded.", write_program_info, false },
	{ "bpfleet_program_verified_instructions", false, NULL, "instance program",
	  "Instructions that the verifier walked through when the program was loaded.",
	  write_program_insns, false },
	{ "bpfleet_link", true, NULL, "link instance program hook state",
	  "One for each link; always 1.", write_link_info, false },
	{ "bpfleet_audit_sequence", false, NULL, "", "Number of the newest row of the audit log.",
	  write_audit, false },
	{ "bpfleet_revision", false, NULL, "", "Number of the newest change of the node's state.",
	  write_revision, false },
	{ "bpfleet_orphan_pins", false, NULL, "", "Pins that no recorded object owns.",
	  write_orphans, false },
	{ "bpfleet_alarms", false, NULL, "", "Alarms that stand.", write_alarms, false },
	{ "bpfleet_alarm", true, NULL, "alarm", "One for each alarm that stands; always 1.",
	  write_alarm_info, false },
};

void metrics_write(const struct metrics_snapshot *snapshot, enum metrics_format format,
		   struct str *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *family = &families[i];
		/* The older format knows no infos, and names a family as its samples. */
		bool plain = format == METRICS_TEXT;
		const char *suffix = plain && family->is_info ? "_info" : "";

		if (snapshot == NULL && !family->always)
			continue;
		(void)str_appendf(out, "# TYPE %s%s %s\n", family->name, suffix,
				  family->is_info && !plain ? "info" : "gauge");
		if (family->unit != NULL && !plain)
			(void)str_appendf(out, "# UNIT %s %s\n", family->name, family->unit);
		(void)str_appendf(out, "# HELP %s%s %s\n", family->name, suffix, family->help);
		family->write(family, snapshot, out);
	}
	if (format == METRICS_OPENMETRICS)
		(void)str_append(out, "# EOF\n");
}

void metrics_document(struct str *out)
{
	(void)str_append(out, "| metric | labels | what it says |\n|---|---|---|\n");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		(void)str_appendf(out, "| %s%s | %s | %s |\n", families[i].name,
				  families[i].is_info ? "_info" : "", families[i].labels,
				  families[i].help);
}

/* ---- negotiation */

static const char *const media_types[METRICS_N_FORMATS] = {
	[METRICS_OPENMETRICS] = "application/openmetrics-text",
	[METRICS_TEXT] = "text/plain",
};

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}

/* The weight of one element of an Accept header (RFC 9110, 12.4.2): 1 unless it has a q. */
static double weight(const char *element, size_t n)
{
	for (size_t i = 0; i + 2 < n; i++) {
		if (element[i] == ';') {
			const char *parameter = element + i + 1;

			parameter += strspn(parameter, " \t");
			if (strncmp(parameter, "q=", 2) == 0)
				return strtod(parameter + 2, NULL);
		}
	}
	return 1;
}

enum metrics_format metrics_negotiate(const char *accept)
{
	double best[METRICS_N_FORMATS] = { 0 };

	while (accept != NULL && *accept != '\0') {
		size_t n;

		accept += strspn(accept, ", \t");
		n = strcspn(accept, ",");
		for (size_t i = 0; i < METRICS_N_FORMATS; i++) {
			size_t type = strlen(media_types[i]);
			double w = weight(accept, n);

			if (n >= type && strncmp(accept, media_types[i], type) == 0 &&
			    strchr("; ,", accept[type]) != NULL && w > best[i])
				best[i] = w;
		}
		accept += n;
	}
	return best[METRICS_OPENMETRICS] > 0 && best[METRICS_OPENMETRICS] >= best[METRICS_TEXT]
		       ? METRICS_OPENMETRICS
		       : METRICS_TEXT;
}
