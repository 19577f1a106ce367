/*
 * The text of a scrape: OpenMetrics 1.0 or the older Prometheus text format 0.0.4, one family of
 * metrics after the other. Numbers are written exactly, as integers and decimal fractions. On lack
 * of memory out->failed is set, and nothing else happens.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum exposition_format {
	EXPOSITION_OPENMETRICS, /* https://prometheus.io/docs/specs/om/open_metrics_spec/ */
	EXPOSITION_TEXT,	/* text format 0.0.4 */
	EXPOSITION_N_FORMATS,
};

enum family_type {
	FAMILY_GAUGE,
	FAMILY_COUNTER,
	FAMILY_INFO,
	FAMILY_HISTOGRAM,
};

struct exposition {
	struct str *out;
	enum exposition_format format;
	const char *family; /* the one being written */
	enum family_type type;
};

struct label {
	const char *name;
	const char *value;
};

/*
 * Begins a family. The name is without the suffix that the type brings (_total, _info). unit is the
 * last word of the name, or NULL.
 */
void exposition_family(struct exposition *e, const char *name, enum family_type type,
		       const char *unit, const char *help);

/* A sample of the family, of a value divided by ten to the power of `digits`. */
void exposition_sample(struct exposition *e, const struct label *labels, size_t n_labels,
		       uint64_t value, unsigned int digits);

/* The same with labels that exposition_labels() wrote, and a suffix in place of the type's. */
void exposition_sample_text(struct exposition *e, const char *suffix, const char *labels,
			    uint64_t value, bool is_signed, unsigned int digits);

/* Appends `name="value",name="value"`: escaped, and UTF-8 whatever the values are. */
void exposition_labels(struct str *out, const struct label *labels, size_t n_labels);

/* Ends the whole. */
void exposition_end(struct exposition *e);

/* What a type appends to a family's name in its one sample: "_total"; "" if nothing. */
const char *exposition_suffix(enum family_type type);
/* "counter" */
const char *exposition_type_name(enum family_type type);

/* The format that the value of an Accept header prefers; NULL: there is none, EXPOSITION_TEXT. */
enum exposition_format exposition_negotiate(const char *accept);

/* The Content-Type of a format. */
const char *exposition_content_type(enum exposition_format format);
