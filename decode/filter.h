/*
 * Conditions on records, in the grammar of docs/events.md: `pid == 1234 && comm != "sh"`. Compiled
 * once against the type of a map's records; matching looks neither at text nor at BTF. A filter
 * does not change once made: any number of threads may use it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct decoder;
struct error;
struct filter;

#define FILTER_TEXT_MAX 4096
#define FILTER_TERMS_MAX 64
#define FILTER_DEPTH_MAX 32

/*
 * A new filter (free with filter_free()) for the records of the decoder, which must live as long.
 * Errors: INVALID_FILTER, saying where and what was expected; OUT_OF_MEMORY.
 */
_must_check_ int filter_new(const struct decoder *decoder, const char *text, struct filter **ret,
			    struct error *err);
void filter_free(struct filter *filter);
DEFINE_CLEANUP(struct filter, filter_free)

/*
 * Whether the condition holds for a record. False for one shorter than its type, and for one of a
 * variant that is not known. A comparison of a member that a record's variant does not have does
 * not hold.
 */
bool filter_matches(const struct filter *filter, const uint8_t *record, size_t n);
