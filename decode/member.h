/*
 * One member of keys or values by its dotted path, as manifests name it: "key.source",
 * "value.packets". Found once, then read from any number of entries.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "decode/types.h"

struct error;
struct node;

struct member {
	const struct decoder *decoder;
	enum decoder_part part;
	const struct node *node;
	uint32_t offset; /* within the key or one value */
};

/* Finds it; borrows the decoder. Errors: MANIFEST_MISMATCH (there is no such member). */
_must_check_ int member_find(const struct decoder *decoder, const char *path, struct member *ret,
			     struct error *err);

/* How many integers it has: 1 if it is one, more for an array of them; 0: it is none. */
size_t member_n_integers(const struct member *member);
bool member_is_signed(const struct member *member);
/*
 * One of the integers, of a per-CPU value the sum, in 64 bits (two's complement if signed). bytes
 * are those of the whole part, decoder_size() many. index < member_n_integers().
 */
uint64_t member_integer(const struct member *member, const uint8_t *bytes, size_t index);

/* Appends it as decoder_text() shows it, but a string as it is, never quoted. 0 or -ENOMEM. */
int member_text(const struct member *member, const uint8_t *bytes, struct str *out);
