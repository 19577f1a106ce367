/*
 * Map keys, map values and ring buffer records as the C types they are, found in the object's BTF.
 * A decoder is a plan made once from BTF and the manifest's Display rows; it then turns bytes into
 * JSON or text, and text back into bytes, without looking at BTF again. What each type looks like
 * is written in decode/FORMAT.md.
 *
 * A decoder does not change after decoder_new(): any number of threads may use it at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "bpfleet/v1/bundle.pb-c.h"
#include "bpfleet/v1/node.pb-c.h"

struct decoder;
struct error;

enum decoder_part {
	DECODER_KEY,
	DECODER_VALUE,
	DECODER_EVENT,
	DECODER_N_PARTS,
};

/* What a decoder is made of. Borrowed during decoder_new() only. */
struct decoder_options {
	const uint8_t *btf; /* raw little-endian BTF; n_btf 0: none, everything is shown in hex */
	size_t n_btf;
	uint32_t key_type_id; /* 0: no type is known, the bytes are shown in hex */
	uint32_t value_type_id;
	uint32_t event_type_id;
	const char *event_tag; /* as in EventSpec; used where there are variants */
	Bpfleet__V1__EventVariant *const *event_variants;
	size_t n_event_variants;
	uint32_t key_size; /* bytes; 0 for a map without keys */
	uint32_t value_size;
	uint32_t n_cpus;   /* 0, or a value is that many values, each padded to 8 bytes */
	bool key_is_index; /* without a type it is a number all the same */
	Bpfleet__V1__Display *const *display;
	size_t n_display;
	/*
	 * A Display row that names no member, or whose format does not fit it, is an error (for
	 * builders of bundles); otherwise the row is passed over (for readers).
	 */
	bool strict;
};

/*
 * A new decoder (free with decoder_free()). Errors: OBJECT_MALFORMED (the bytes are not BTF, or it
 * contradicts itself), MANIFEST_MISMATCH (no such type, or it does not have the size of the key or
 * the value, or the variants of records cannot be told apart), MANIFEST_INVALID (strict, a Display
 * row), OUT_OF_MEMORY.
 */
_must_check_ int decoder_new(const struct decoder_options *options, struct decoder **ret,
			     struct error *err);
/* The same from GetMapResponse or EventSources; not strict. */
_must_check_ int decoder_new_for_map(const Bpfleet__V1__Map *map, const uint8_t *btf, size_t n_btf,
				     struct decoder **ret, struct error *err);
void decoder_free(struct decoder *decoder);
DEFINE_CLEANUP(struct decoder, decoder_free)

/*
 * Bytes that the part has: the key's size, the value's (for a per-CPU map of all CPUs), the fixed
 * part of a record (0 where records are of several structs).
 */
size_t decoder_size(const struct decoder *decoder, enum decoder_part part);

/* Whether a value is one for each CPU, and the size of one. */
bool decoder_is_per_cpu(const struct decoder *decoder);
size_t decoder_value_size(const struct decoder *decoder);

/* ---- bytes to JSON; all return 0 or -ENOMEM (out->failed is set then too) */

/*
 * Appends a JSON value. Bytes of another length than the type's (a record may be longer) are shown
 * in hex, so that there is nothing to fail on. A per-CPU value is {"cpus":[...],"sum":...}.
 */
int decoder_json(const struct decoder *decoder, enum decoder_part part, const uint8_t *bytes,
		 size_t n, struct str *out);
/* Appends {"key":...,"value":...}; decoder_size() bytes each. */
int decoder_entry_json(const struct decoder *decoder, const uint8_t *key, const uint8_t *value,
		       struct str *out);

/* ---- bytes to one line for people; 0 or -ENOMEM */

/* Appends "a=1 b.c=2" for a struct, a bare word for anything else; a per-CPU value as its sum. */
int decoder_text(const struct decoder *decoder, enum decoder_part part, const uint8_t *bytes,
		 size_t n, struct str *out);
/*
 * Columns for a table: the members of a struct, else (also for records of several structs) one
 * named "key", "value" or "event". Names are
 * terminated, printable and live as long as the decoder.
 */
size_t decoder_n_columns(const struct decoder *decoder, enum decoder_part part);
const char *decoder_column_name(const struct decoder *decoder, enum decoder_part part,
				size_t column);
/* True for numbers, which tables align to the right. */
bool decoder_column_is_number(const struct decoder *decoder, enum decoder_part part, size_t column);
/* How wide most cells will be, by their type: for tables that begin before their rows are known. */
size_t decoder_column_width(const struct decoder *decoder, enum decoder_part part, size_t column);
/* Appends one cell; the bytes are those of the whole part. Bytes of a wrong length: hex, in column
 * 0. */
int decoder_column_text(const struct decoder *decoder, enum decoder_part part, size_t column,
			const uint8_t *bytes, size_t n, struct str *out);

/* ---- text to bytes */

/*
 * Parses what decoder_json() and decoder_text() print: JSON, "a=1 b=2", a bare word for a plain
 * type or for a struct of one member, and "0x" with two digits a byte for the whole (of a plain
 * number, 0x... is the number). For a per-CPU value, one CPU's. All members must be given. n must
 * be the size of the key or of one value.
 * ret_bytes is untouched on failure. Errors: INVALID_KEY, saying what the type is and what was
 * expected; OUT_OF_MEMORY.
 */
_must_check_ int decoder_parse(const struct decoder *decoder, enum decoder_part part,
			       const char *text, uint8_t *ret_bytes, size_t n, struct error *err);
/* Appends what a text of the part should look like: "{addr: IPv4 address, port: 0..65535}". */
int decoder_describe(const struct decoder *decoder, enum decoder_part part, struct str *out);

/* ---- data sections, whose variables are found by name */

bool decoder_is_section(const struct decoder *decoder);
/* Where a variable lies in the section. False: there is no such variable. */
bool decoder_variable(const struct decoder *decoder, const char *name, uint32_t *ret_offset,
		      size_t *ret_size);
/* Appends the JSON of a variable, whose bytes these are. 0 or -ENOMEM. */
int decoder_variable_json(const struct decoder *decoder, const char *name, const uint8_t *bytes,
			  struct str *out);
/* As decoder_parse(); n is the variable's size. Errors also: KEY_NOT_IN_MAP. */
_must_check_ int decoder_variable_parse(const struct decoder *decoder, const char *name,
					const char *text, uint8_t *ret_bytes, size_t n,
					struct error *err);
