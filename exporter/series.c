#define _GNU_SOURCE
#include "exporter/series.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

int series_init(struct series_table *table, size_t max, size_t n_values)
{
	struct series_table made = { .max = max, .n_values = n_values };

	made.items = calloc(max, sizeof(struct series *));
	made.hash = calloc(1, sizeof(*made.hash));
	/* glibc's table slows down as it fills up. */
	if (made.items == NULL || made.hash == NULL ||
	    hcreate_r(max + max / 2 + 1, made.hash) == 0) {
		free(made.items);
		free(made.hash);
		return -ENOMEM;
	}
	*table = made;
	return 0;
}

void series_done(struct series_table *table)
{
	if (table->items == NULL)
		return;
	for (size_t i = 0; i < table->n; i++) {
		free(table->items[i]->labels);
		free(table->items[i]);
	}
	free(table->items);
	hdestroy_r(table->hash);
	free(table->hash);
	*table = (struct series_table){ 0 };
}

static struct series *series_new(struct series_table *table, const char *labels)
{
	struct series *series = calloc(1, sizeof(*series) + table->n_values * sizeof(uint64_t));
	ENTRY *found;

	if (series == NULL)
		return NULL;
	series->labels = strdup(labels);
	if (series->labels == NULL || hsearch_r((ENTRY){ .key = series->labels, .data = series },
						ENTER, &found, table->hash) == 0) {
		free(series->labels);
		free(series);
		return NULL;
	}
	table->items[table->n++] = series;
	return series;
}

int series_add(struct series_table *table, const char *labels, const uint64_t *values)
{
	const ENTRY wanted = { .key = (char *)(uintptr_t)labels };
	struct series *series;
	ENTRY *found = NULL;

	if (hsearch_r(wanted, FIND, &found, table->hash) != 0) {
		series = found->data;
	} else if (table->n == table->max) {
		table->n_left_out++;
		return 0;
	} else {
		series = series_new(table, labels);
	}
	if (series == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_values; i++)
		series->values[i] += values[i];
	return 0;
}

static int by_labels(const void *a, const void *b)
{
	const struct series *const *x = a, *const *y = b;

	return strcmp((*x)->labels, (*y)->labels);
}

void series_sort(struct series_table *table)
{
	if (table->n > 0)
		qsort(table->items, table->n, sizeof(*table->items), by_labels);
}
