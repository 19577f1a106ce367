#include "bundle/parameter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/format.h"

struct bounds {
	bool is_signed;
	uint64_t magnitude_min; /* of the lowest negative number */
	uint64_t max;
};

/* A number as sign and magnitude, so that one code serves int64 and uint64. */
struct number {
	bool negative;
	uint64_t magnitude;
};

static int invalid(const Bpfleet__V1__ParameterSpec *spec, const char *text, const char *expected,
		   struct error *err)
{
	struct str shown = { 0 };
	int r;

	(void)str_append_escaped(&shown, text, strnlen(text, 64));
	r = error_raise(err, ERROR_INVALID_PARAMETER, "parameter '%s': '%s' is not %s", spec->name,
			shown.data != NULL ? shown.data : "", expected);
	str_done(&shown);
	return r;
}

static int encode_bool(const Bpfleet__V1__ParameterSpec *spec, const char *text, uint8_t *out,
		       struct error *err)
{
	static const char *const words[2][4] = { { "false", "no", "off", "0" },
						 { "true", "yes", "on", "1" } };

	for (uint8_t value = 0; value < 2; value++) {
		for (size_t i = 0; i < 4; i++) {
			if (strcmp(text, words[value][i]) == 0) {
				out[0] = value;
				return 0;
			}
		}
	}
	return invalid(spec, text, "one of true, false, yes, no, on, off, 1, 0", err);
}

static struct bounds bounds_of(bool is_signed, uint32_t size)
{
	unsigned int bits = size * 8 - (is_signed ? 1 : 0);
	uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

	return (struct bounds){ is_signed, is_signed ? max + 1 : 0, max };
}

static int parse_number(const Bpfleet__V1__ParameterSpec *spec, const char *text,
			struct number *ret, struct error *err)
{
	bool is_signed = spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED;
	struct bounds bounds = bounds_of(is_signed, spec->size_bytes);
	struct number number = { .negative = is_signed && text[0] == '-' };
	int r;

	r = str_to_u64(text + number.negative, number.negative ? bounds.magnitude_min : bounds.max,
		       &number.magnitude);
	if (r == -ERANGE)
		return error_raise(err, ERROR_INVALID_PARAMETER,
				   "parameter '%s': %.64s does not fit in %u %s bytes", spec->name,
				   text, spec->size_bytes, is_signed ? "signed" : "unsigned");
	if (r < 0)
		return invalid(spec, text,
			       is_signed ? "a whole number" : "a whole number without sign", err);
	number.negative = number.negative && number.magnitude != 0;
	*ret = number;
	return 0;
}

static bool is_below(struct number a, struct number b)
{
	if (a.negative != b.negative)
		return a.negative;
	return a.negative ? a.magnitude > b.magnitude : a.magnitude < b.magnitude;
}

static int check_bounds(const Bpfleet__V1__ParameterSpec *spec, const char *text,
			struct number number, struct error *err)
{
	struct number bound;
	int r;

	if (spec->min[0] != '\0') {
		r = parse_number(spec, spec->min, &bound, err);
		if (r < 0)
			return error_context(err, r, "its lower bound");
		if (is_below(number, bound))
			return error_raise(err, ERROR_INVALID_PARAMETER,
					   "parameter '%s': %.64s is below its least value %s",
					   spec->name, text, spec->min);
	}
	if (spec->max[0] != '\0') {
		r = parse_number(spec, spec->max, &bound, err);
		if (r < 0)
			return error_context(err, r, "its upper bound");
		if (is_below(bound, number))
			return error_raise(err, ERROR_INVALID_PARAMETER,
					   "parameter '%s': %.64s is above its greatest value %s",
					   spec->name, text, spec->max);
	}
	return 0;
}

static int encode_number(const Bpfleet__V1__ParameterSpec *spec, const char *text, uint8_t *out,
			 struct error *err)
{
	struct number number;
	uint64_t value;
	int r;

	r = parse_number(spec, text, &number, err);
	if (r == 0)
		r = check_bounds(spec, text, number, err);
	if (r < 0)
		return r;
	value = number.negative ? 0 - number.magnitude : number.magnitude;
	for (uint32_t i = 0; i < spec->size_bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
	return 0;
}

static int encode_string(const Bpfleet__V1__ParameterSpec *spec, const char *text, uint8_t *out,
			 struct error *err)
{
	size_t n = strlen(text);

	if (n >= spec->size_bytes)
		return error_raise(
			err, ERROR_INVALID_PARAMETER,
			"parameter '%s': a text of %zu bytes does not fit in %u with its "
			"terminating NUL",
			spec->name, n, spec->size_bytes);
	memset(out, 0, spec->size_bytes);
	memcpy(out, text, n);
	return 0;
}

static bool is_number_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

int parameter_check_type(const Bpfleet__V1__ParameterSpec *spec, struct error *err)
{
	const char *expected = NULL;
	uint32_t size = spec->size_bytes;

	switch (spec->type) {
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL:
		expected = size == 1 ? NULL : "1";
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED:
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED:
		expected = is_number_size(size) ? NULL : "1, 2, 4 or 8";
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING:
		expected = size >= 1 && size <= BUNDLE_PARAMETER_SIZE_MAX ? NULL : "1 to 4096";
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV4:
		expected = size == 4 ? NULL : "4";
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV6:
		expected = size == 16 ? NULL : "16";
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED:
	case _BPFLEET__V1__PARAMETER_TYPE_IS_INT_SIZE:
	default:
		return error_raise(err, ERROR_INVALID_PARAMETER, "parameter '%s' has no known type",
				   spec->name);
	}
	if (expected != NULL)
		return error_raise(err, ERROR_INVALID_PARAMETER,
				   "parameter '%s' has %u bytes; its type has %s", spec->name, size,
				   expected);
	return 0;
}

int parameter_encode(const Bpfleet__V1__ParameterSpec *spec, const char *text, uint8_t *out,
		     size_t size, struct error *err)
{
	int r = parameter_check_type(spec, err);

	if (r < 0)
		return r;
	if (spec->size_bytes > size)
		return error_raise(err, ERROR_INVALID_PARAMETER,
				   "parameter '%s' has %u bytes, its variable %zu", spec->name,
				   spec->size_bytes, size);
	switch (spec->type) {
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL:
		return encode_bool(spec, text, out, err);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED:
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED:
		return encode_number(spec, text, out, err);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING:
		return encode_string(spec, text, out, err);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV4:
		return inet_pton(AF_INET, text, out) == 1
			       ? 0
			       : invalid(spec, text, "an IPv4 address", err);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV6:
		return inet_pton(AF_INET6, text, out) == 1
			       ? 0
			       : invalid(spec, text, "an IPv6 address", err);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED:
	case _BPFLEET__V1__PARAMETER_TYPE_IS_INT_SIZE:
	default:
		return error_raise(err, ERROR_INTERNAL, "parameter '%s' has no type", spec->name);
	}
}
