/*
 * Entries as text on their way in: {"key":...,"value":...} as a dump prints them, where a string
 * may also hold the text of what is no string ("10.0.0.0/8", "a=1 b=2"). The values of a per-CPU
 * map are one for all CPUs, or {"cpus":[...]} with one for each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decode/types.h"

struct error;

/*
 * The JSON text of one member of an object: new (free()), NULL if there is no such member. Errors:
 * INVALID_KEY (not a JSON object), OUT_OF_MEMORY.
 */
_must_check_ int entry_member(const char *object, const char *name, char **ret, struct error *err);
/* The characters of a JSON string, or of any other text as it is: new (free()), NULL if not
 * well-formed. */
char *entry_string(const char *text);

/*
 * Bytes of a key or value. ret_bytes has room for decoder_size(); *ret_n is that, or of a per-CPU
 * map's value the size of one if it is for all CPUs. Errors as decoder_parse().
 */
_must_check_ int entry_parse(const struct decoder *decoder, enum decoder_part part,
			     const char *text, uint8_t *ret_bytes, size_t *ret_n,
			     struct error *err);
