/* Series by their labels, as entries of a map are added to them; bounded. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct hsearch_data;

struct series {
	char *labels; /* as exposition_labels() writes them */
	uint64_t values[];
};

/* Zero it to start with; series_done() in any case. */
struct series_table {
	struct series **items;
	size_t n, max;
	size_t n_values; /* of each */
	uint64_t n_left_out;
	struct hsearch_data *hash;
};

/* For at most max series of n_values each; -ENOMEM. */
_must_check_ int series_init(struct series_table *table, size_t max, size_t n_values);
void series_done(struct series_table *table);

/*
 * Adds values to the series with these labels, which is made if there is none; one too many is
 * counted as left out. -ENOMEM.
 */
_must_check_ int series_add(struct series_table *table, const char *labels, const uint64_t *values);

/* Puts items in the order of their labels; nothing may be added afterwards. */
void series_sort(struct series_table *table);
