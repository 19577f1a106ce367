/*
 * Parameters of a bundle: the text of `--param NAME=VALUE` to the bytes of the C variable, and
 * back. Knows the manifest only; core links it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct error;

/* The largest parameter: of type string, its NUL included. */
#define PARAMETER_SIZE_MAX 4096

/*
 * Checks what a manifest says about a parameter: a known type, a size that the type can have,
 * bounds in order, a default that lies within them. Errors: MANIFEST_INVALID.
 */
_must_check_ int parameter_check(const Bpfleet__V1__ParameterSpec *spec, struct error *err);

/*
 * Parses text into the spec->size_bytes bytes of the variable, little-endian for numbers, network
 * order for addresses, zero-padded for strings. n is the room at ret_bytes and must be
 * spec->size_bytes. Numbers may be written in decimal or as 0x...; bools as true, false, yes, no,
 * on, off, 1 or 0. ret_bytes is untouched on failure. Errors: INVALID_PARAMETER with the name, what
 * was given, what was expected; MANIFEST_INVALID when the spec is not coherent.
 */
_must_check_ int parameter_parse(const Bpfleet__V1__ParameterSpec *spec, const char *text,
				 uint8_t *ret_bytes, size_t n, struct error *err);

/* Appends the text of a value, as parameter_parse() takes it. Errors: as above. */
_must_check_ int parameter_format(const Bpfleet__V1__ParameterSpec *spec, const uint8_t *bytes,
				  size_t n, struct str *out, struct error *err);

/* Appends what a value should look like: "a number from 0 to 32". */
int parameter_describe(const Bpfleet__V1__ParameterSpec *spec, struct str *out);
