/*
 * Metrics out of maps, by the rules of their manifests (MetricSpec): maps are read once, entry by
 * entry, and every rule adds what it wants to the series that its labels name.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"
#include "exporter/exposition.h"

struct error;
struct map_metrics;
struct node;

/* Entries of one map that are read at most. */
#define MAP_ENTRIES_MAX 65536U
#define MAP_SERIES_DEFAULT 1000U

/* What a node has. Borrowed until map_metrics_free(). */
struct map_metrics_source {
	Bpfleet__V1__Instance *const *instances;
	size_t n_instances;
	Bpfleet__V1__Map *const *maps; /* those of them that have metrics are read */
	size_t n_maps;
};

/*
 * Reads all maps with metrics through the node until the deadline (CLOCK_MONOTONIC ns). A map or a
 * rule that fails is not shown, with its reason, and fails nothing else. Free with
 * map_metrics_free(). Errors: UNAVAILABLE, CANCELLED (the node is gone), OUT_OF_MEMORY.
 */
_must_check_ int map_metrics_read(const struct map_metrics_source *source, struct node *node,
				  uint64_t deadline, struct map_metrics **ret, struct error *err);
void map_metrics_free(struct map_metrics *metrics);
DEFINE_CLEANUP(struct map_metrics, map_metrics_free)

/* Append the families bpfleet_map_..., and the samples of the two that tell of them. */
void map_metrics_write(const struct map_metrics *metrics, struct exposition *e);
void map_metrics_write_shown(const struct map_metrics *metrics, struct exposition *e);
void map_metrics_write_left_out(const struct map_metrics *metrics, struct exposition *e);
