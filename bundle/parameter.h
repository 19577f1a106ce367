/*
 * Values of bundle parameters: from the text that `--param` takes to the bytes of the C variable.
 * The manifest's defaults and bounds are held to the same rules as a caller's values.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct error;

/* Whether size_bytes is one that the type has. Errors: INVALID_PARAMETER. */
_must_check_ int parameter_check_type(const Bpfleet__V1__ParameterSpec *spec, struct error *err);

/*
 * Writes the value as spec->size_bytes bytes of the object's byte order (little-endian) to out,
 * which holds size of them. Bool: true, false, yes, no, on, off, 1, 0. Numbers: decimal or 0x
 * hexadecimal, within the C type and min..max. String: with NUL within size_bytes; the rest is
 * zero. IPv4 and IPv6: as inet_pton(3). out may be written to on failure. Errors:
 * INVALID_PARAMETER.
 */
_must_check_ int parameter_encode(const Bpfleet__V1__ParameterSpec *spec, const char *text,
				  uint8_t *out, size_t size, struct error *err);
