/*
 * What a scrape says of a node: one table of metric families, and behind them what manifests want
 * shown of maps. Pure: a snapshot of the node goes in, text comes out.
 */
#pragma once

#include <stddef.h>

#include "bpfleet/v1/node.pb-c.h"
#include "exporter/exposition.h"

struct map_metrics;

/* What the node said. Borrowed until metrics_write() returns. */
struct metrics_snapshot {
	const char *down; /* reason (base/errors.def) why it said nothing; NULL: it answered */
	const Bpfleet__V1__GetStatusResponse *status;
	Bpfleet__V1__Instance *const *instances;
	size_t n_instances;
	Bpfleet__V1__Program *const *programs;
	size_t n_programs;
	Bpfleet__V1__Link *const *links;
	size_t n_links;
	const Bpfleet__V1__Statistics *statistics; /* NULL: there are none */
	const struct map_metrics *maps;
};

/*
 * Appends the whole exposition. Of a node that is down bpfleet_up says so and nothing else is there
 * but the reason.
 */
void metrics_write(const struct metrics_snapshot *snapshot, enum exposition_format format,
		   struct str *out);

/* Appends the table of docs/metrics.md. */
void metrics_document(struct str *out);

/* Ids and names in `instances/ID/programs/NAME`: the id, and what is behind the last slash. */
struct name_parts {
	char id[64];
	const char *last;
};
struct name_parts name_split(const char *name);
