/*
 * What a scrape says: one table of metric families, written as OpenMetrics 1.0 or as the older
 * Prometheus text format 0.0.4. Pure: a snapshot of the node goes in, text comes out.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"
#include "client/bpfleet.h"

enum metrics_format {
	METRICS_OPENMETRICS, /* https://prometheus.io/docs/specs/om/open_metrics_spec/ */
	METRICS_TEXT,	     /* text format 0.0.4 */
	METRICS_N_FORMATS,
};

/* What the node said. Borrowed until metrics_write() returns. */
struct metrics_snapshot {
	const struct bpfleet_status *status;
	const struct bpfleet_instance *instances;
	size_t n_instances;
	const struct bpfleet_program *programs;
	size_t n_programs;
	const struct bpfleet_link *links;
	size_t n_links;
};

/* The format that the value of an Accept header prefers; NULL: there is none, METRICS_TEXT. */
enum metrics_format metrics_negotiate(const char *accept);

/* The Content-Type of a format. */
const char *metrics_content_type(enum metrics_format format);

/*
 * Appends the whole exposition. snapshot NULL: the node does not answer, which bpfleet_up says and
 * nothing else. On lack of memory out->failed is set.
 */
void metrics_write(const struct metrics_snapshot *snapshot, enum metrics_format format,
		   struct str *out);

/* Appends the table of docs/metrics.md. */
void metrics_document(struct str *out);
