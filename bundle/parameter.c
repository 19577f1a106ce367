#include "bundle/parameter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

/* A number of a parameter: its sign apart, so that all of int64 and uint64 fit. */
struct number {
	bool negative;
	uint64_t magnitude;
};

/* What a number may be, bounds included. */
struct range {
	struct number min;
	struct number max;
};

static int number_compare(struct number a, struct number b)
{
	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	if (a.magnitude == b.magnitude)
		return 0;
	return (a.magnitude < b.magnitude) != a.negative ? -1 : 1;
}

static bool number_parse(const char *text, struct number *ret)
{
	bool negative = text[0] == '-';
	uint64_t magnitude;

	if (str_to_u64(text + (negative ? 1 : 0), UINT64_MAX, &magnitude) < 0)
		return false;
	*ret = (struct number){ .negative = negative && magnitude != 0, .magnitude = magnitude };
	return true;
}

static bool is_number(const Bpfleet__V1__ParameterSpec *spec)
{
	return spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED ||
	       spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED;
}

static int incoherent(const Bpfleet__V1__ParameterSpec *spec, struct error *err, const char *what)
{
	return error_raise(err, ERROR_MANIFEST_INVALID, "parameter '%.64s': %s", spec->name, what);
}

static int check_size(const Bpfleet__V1__ParameterSpec *spec, struct error *err)
{
	uint32_t n = spec->size_bytes;
	bool fits;

	switch (spec->type) {
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL:
		fits = n == 1;
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED:
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED:
		fits = n == 1 || n == 2 || n == 4 || n == 8;
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING:
		fits = n >= 1 && n <= PARAMETER_SIZE_MAX;
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV4:
		fits = n == 4;
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV6:
		fits = n == 16;
		break;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED:
	case _BPFLEET__V1__PARAMETER_TYPE_IS_INT_SIZE:
	default:
		return incoherent(spec, err, "its type is none that parameters have");
	}
	return fits ? 0 : incoherent(spec, err, "its size is none that its type has");
}

/* The bounds of the C type, narrowed by those of the manifest. */
static int read_range(const Bpfleet__V1__ParameterSpec *spec, struct range *ret, struct error *err)
{
	bool is_signed = spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED;
	uint64_t most = UINT64_MAX >> (64 - 8 * spec->size_bytes);
	struct range type = { .max = { .magnitude = is_signed ? most >> 1 : most } }, range;

	if (is_signed)
		type.min = (struct number){ .negative = true, .magnitude = (most >> 1) + 1 };
	range = type;
	if ((spec->min[0] != '\0' && !number_parse(spec->min, &range.min)) ||
	    (spec->max[0] != '\0' && !number_parse(spec->max, &range.max)))
		return incoherent(spec, err, "its bounds are not numbers");
	if (number_compare(range.min, range.max) > 0 || number_compare(range.min, type.min) < 0 ||
	    number_compare(range.max, type.max) > 0)
		return incoherent(spec, err, "its bounds are out of order or beyond its C type");
	*ret = range;
	return 0;
}

static void append_number(struct str *out, struct number number)
{
	(void)str_appendf(out, "%s%" PRIu64, number.negative ? "-" : "", number.magnitude);
}

int parameter_describe(const Bpfleet__V1__ParameterSpec *spec, struct str *out)
{
	struct range range;

	if (is_number(spec) && check_size(spec, NULL) == 0 && read_range(spec, &range, NULL) == 0) {
		(void)str_append(out, "a number from ");
		append_number(out, range.min);
		(void)str_append(out, " to ");
		append_number(out, range.max);
	} else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL) {
		(void)str_append(out, "true or false");
	} else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING) {
		(void)str_appendf(out, "a text of at most %u bytes",
				  spec->size_bytes > 0 ? spec->size_bytes - 1 : 0);
	} else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV4) {
		(void)str_append(out, "an IPv4 address");
	} else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV6) {
		(void)str_append(out, "an IPv6 address");
	} else {
		(void)str_append(out, "a value of an unknown type");
	}
	return out->failed ? -ENOMEM : 0;
}

static int refuse(const Bpfleet__V1__ParameterSpec *spec, const char *text, struct error *err)
{
	struct str expected = { 0 }, given = { 0 };
	int r;

	(void)parameter_describe(spec, &expected);
	(void)str_append(&given, "");
	(void)str_append_escaped(&given, text, strnlen(text, 60));
	if (expected.failed || given.failed) {
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	} else {
		r = error_raise(err, ERROR_INVALID_PARAMETER,
				"parameter '%.64s' must be %s, not '%s'", spec->name, expected.data,
				given.data);
		error_detail(err, "parameter", "%.64s", spec->name);
		error_detail(err, "expected", "%s", expected.data);
	}
	str_done(&expected);
	str_done(&given);
	return r;
}

static bool parse_bool(const char *text, uint8_t *out)
{
	static const char *const words[] = { "false", "true", "0", "1", "no", "yes", "off", "on" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(text, words[i]) == 0) {
			out[0] = i % 2;
			return true;
		}
	}
	return false;
}

static void write_number(struct number number, uint8_t *out, size_t n)
{
	uint64_t bits = number.negative ? -number.magnitude : number.magnitude;

	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(bits >> (8 * i));
}

static struct number read_number(const uint8_t *bytes, size_t n, bool is_signed)
{
	uint64_t bits = is_signed && (bytes[n - 1] & 0x80) != 0 ? UINT64_MAX : 0;
	bool negative = bits != 0;

	for (size_t i = n; i > 0; i--)
		bits = bits << 8 | bytes[i - 1];
	return (struct number){ .negative = negative, .magnitude = negative ? -bits : bits };
}

/* Parses into out, of spec->size_bytes zeroed bytes; the spec's size and range are checked. */
static bool parse_value(const Bpfleet__V1__ParameterSpec *spec, const struct range *range,
			const char *text, uint8_t *out)
{
	struct number number;
	size_t n;

	switch (spec->type) {
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL:
		return parse_bool(text, out);
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSIGNED:
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED:
		if (!number_parse(text, &number) || number_compare(number, range->min) < 0 ||
		    number_compare(number, range->max) > 0)
			return false;
		write_number(number, out, spec->size_bytes);
		return true;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING:
		n = strlen(text);
		if (n >= spec->size_bytes)
			return false;
		memcpy(out, text, n);
		return true;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV4:
		return inet_pton(AF_INET, text, out) == 1;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_IPV6:
		return inet_pton(AF_INET6, text, out) == 1;
	case BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED:
	case _BPFLEET__V1__PARAMETER_TYPE_IS_INT_SIZE:
	default:
		return false;
	}
}

static int check(const Bpfleet__V1__ParameterSpec *spec, struct range *ret_range, struct error *err)
{
	int r = check_size(spec, err);

	if (r < 0)
		return r;
	if (is_number(spec))
		return read_range(spec, ret_range, err);
	if (spec->min[0] != '\0' || spec->max[0] != '\0')
		return incoherent(spec, err, "only numbers have bounds");
	return 0;
}

int parameter_check(const Bpfleet__V1__ParameterSpec *spec, struct error *err)
{
	uint8_t bytes[PARAMETER_SIZE_MAX] = { 0 };
	struct range range = { 0 };
	int r;

	if (spec->name[0] == '\0')
		return incoherent(spec, err, "it has no name");
	r = check(spec, &range, err);
	if (r < 0)
		return r;
	if (spec->default_value[0] != '\0' &&
	    !parse_value(spec, &range, spec->default_value, bytes))
		return incoherent(spec, err, "its default is none of its values");
	return 0;
}

int parameter_parse(const Bpfleet__V1__ParameterSpec *spec, const char *text, uint8_t *ret_bytes,
		    size_t n, struct error *err)
{
	uint8_t bytes[PARAMETER_SIZE_MAX] = { 0 };
	struct range range = { 0 };
	int r;

	r = check(spec, &range, err);
	if (r < 0)
		return r;
	if (n != spec->size_bytes)
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "parameter '%.64s' has %u bytes, the variable %zu", spec->name,
				   spec->size_bytes, n);
	if (!parse_value(spec, &range, text, bytes))
		return refuse(spec, text, err);
	memcpy(ret_bytes, bytes, n);
	return 0;
}

int parameter_format(const Bpfleet__V1__ParameterSpec *spec, const uint8_t *bytes, size_t n,
		     struct str *out, struct error *err)
{
	struct range range = { 0 };
	char text[INET6_ADDRSTRLEN];
	int r;

	r = check(spec, &range, err);
	if (r < 0)
		return r;
	if (n != spec->size_bytes)
		return error_raise(err, ERROR_INVALID_PARAMETER,
				   "parameter '%.64s' has %u bytes, not %zu", spec->name,
				   spec->size_bytes, n);
	if (is_number(spec))
		append_number(
			out,
			read_number(bytes, n,
				    spec->type ==
					    BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_SIGNED));
	else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL)
		(void)str_append(out, bytes[0] != 0 ? "true" : "false");
	else if (spec->type == BPFLEET__V1__PARAMETER_TYPE__PARAMETER_TYPE_STRING)
		(void)str_append_bytes(out, bytes, strnlen((const char *)bytes, n));
	else
		(void)str_append(out,
				 inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)));
	if (out->failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	return 0;
}
