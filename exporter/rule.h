/* One rule of a manifest for one map of one instance, and the series that it has made so far. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/format.h"
#include "decode/member.h"
#include "exporter/exposition.h"
#include "exporter/series.h"

struct error;

#define RULE_PREFIX "bpfleet_map_"

struct rule {
	const Bpfleet__V1__MetricSpec *spec; /* borrowed */
	const Bpfleet__V1__Map *map;	     /* borrowed */
	struct str labels;		     /* instance, label, bundle and map, written */
	const char *reason;		     /* why it is not shown; NULL: it is */
	char family[sizeof(RULE_PREFIX) + BUNDLE_METRIC_NAME_MAX];
	enum family_type type;
	bool is_signed;
	struct member value; /* of the decoder */
	struct member keys[BUNDLE_METRIC_LABELS_MAX];
	struct series_table series;
	struct str scratch;
};

/*
 * Zero it before. Borrows all it is given; rule_done() in any case. Errors: OUT_OF_MEMORY,
 * PROTOCOL (a rule that no manifest may have).
 */
_must_check_ int rule_init(struct rule *rule, const Bpfleet__V1__Instance *instance,
			   const Bpfleet__V1__Map *map, const Bpfleet__V1__MetricSpec *spec,
			   struct error *err);
void rule_done(struct rule *rule);

/* Finds its members. Borrows the decoder until the last entry is added. Errors: MANIFEST_MISMATCH,
 * OUT_OF_MEMORY. */
_must_check_ int rule_bind(struct rule *rule, const struct decoder *decoder, struct error *err);

/* Adds an entry of the sizes that the decoder says. Errors: OUT_OF_MEMORY. */
_must_check_ int rule_add(struct rule *rule, const uint8_t *key, const uint8_t *value,
			  struct error *err);

/* Appends the samples. */
void rule_write(const struct rule *rule, struct exposition *e);
