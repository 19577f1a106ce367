#include "decode/entry.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "decode/parse.h"

#define DEPTH_MAX 64
#define BLANKS " \t\r\n"

static const char *skip_string(const char *at)
{
	for (at++; *at != '"'; at++) {
		if (*at == '\\')
			at++;
		if (*at == '\0')
			return NULL;
	}
	return at + 1;
}

/* Behind the value that begins at `at`; NULL: there is none. */
static const char *skip_value(const char *at)
{
	char closing[DEPTH_MAX];
	size_t depth = 0;

	at += strspn(at, BLANKS);
	do {
		const size_t n = strcspn(at, BLANKS ",:[]{}\"");

		if (*at == '"') {
			at = skip_string(at);
			if (at == NULL)
				return NULL;
		} else if (*at == '{' || *at == '[') {
			if (depth == DEPTH_MAX)
				return NULL;
			closing[depth++] = *at++ == '{' ? '}' : ']';
		} else if (depth > 0 && *at == closing[depth - 1]) {
			depth--;
			at++;
		} else if (depth > 0 && (*at == ',' || *at == ':')) {
			at++;
		} else if (n > 0) {
			at += n;
		} else {
			return NULL;
		}
		if (depth > 0)
			at += strspn(at, BLANKS);
	} while (depth > 0);
	return at;
}

char *entry_string(const char *text)
{
	struct str s = { 0 };

	text += strspn(text, BLANKS);
	if (*text != '"')
		return strdup(text);
	if (!parse_string(text, &s)) {
		str_done(&s);
		return NULL;
	}
	return str_take(&s);
}

static int no_object(struct error *err)
{
	return error_raise(err, ERROR_INVALID_KEY,
			   "an entry must be a JSON object as a dump prints it: {\"key\":...,"
			   "\"value\":...}");
}

int entry_member(const char *object, const char *name, char **ret, struct error *err)
{
	const char *at = object + strspn(object, BLANKS), *end;

	if (*at != '{')
		return no_object(err);
	for (at++; *(at += strspn(at, BLANKS)) != '}'; at = end) {
		_cleanup_free_ char *found = NULL;
		const char *value;

		value = *at == '"' ? skip_string(at) : NULL;
		if (value == NULL)
			return no_object(err);
		found = entry_string(at);
		value += strspn(value, BLANKS);
		end = *value == ':' ? skip_value(value + 1) : NULL;
		if (end == NULL || found == NULL)
			return no_object(err);
		if (strcmp(found, name) == 0) {
			value += 1 + strspn(value + 1, BLANKS);
			*ret = strndup(value, (size_t)(end - value));
			return *ret == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory")
					    : 0;
		}
		end += strspn(end, BLANKS);
		if (*end == ',')
			end++;
		else if (*end != '}')
			return no_object(err);
	}
	*ret = NULL;
	return 0;
}

/* As it is, or what a string holds. */
static int parse_one(const struct decoder *decoder, enum decoder_part part, const char *text,
		     uint8_t *bytes, size_t n, struct error *err)
{
	_cleanup_free_ char *held = NULL;
	struct error first = { 0 };
	int r = decoder_parse(decoder, part, text, bytes, n, &first);

	if (r < 0 && first.code == ERROR_INVALID_KEY && text[0] == '"')
		held = entry_string(text);
	if (held != NULL)
		return decoder_parse(decoder, part, held, bytes, n, err);
	if (r < 0 && err != NULL)
		*err = first;
	return r;
}

static int parse_cpus(const struct decoder *decoder, const char *list, uint8_t *bytes,
		      struct error *err)
{
	const size_t one = decoder_value_size(decoder), all = decoder_size(decoder, DECODER_VALUE);
	const size_t stride = (one + 7) / 8 * 8, n_cpus = stride == 0 ? 0 : all / stride;
	const char *at = list, *end;
	size_t i = 0;

	memset(bytes, 0, all);
	if (*at == '[')
		at++;
	for (; *(at += strspn(at, BLANKS)) != ']'; at = end + (*end == ',')) {
		_cleanup_free_ char *element = NULL;
		int r;

		end = skip_value(at);
		if (end == NULL || i == n_cpus)
			break;
		element = strndup(at, (size_t)(end - at));
		if (element == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		r = parse_one(decoder, DECODER_VALUE, element, bytes + i * stride, one, err);
		if (r < 0)
			return error_context(err, r, "CPU %zu", i);
		i++;
		end += strspn(end, BLANKS);
	}
	if (*at == ']' && i == n_cpus)
		return 0;
	return error_raise(err, ERROR_INVALID_KEY,
			   "\"cpus\" must be a list of %zu values, one for each CPU", n_cpus);
}

int entry_parse(const struct decoder *decoder, enum decoder_part part, const char *text,
		uint8_t *ret_bytes, size_t *ret_n, struct error *err)
{
	const size_t all = decoder_size(decoder, part);
	const size_t one = part == DECODER_VALUE ? decoder_value_size(decoder) : all;
	_cleanup_free_ char *cpus = NULL;
	int r = 0;

	text += strspn(text, BLANKS);
	if (part == DECODER_VALUE && decoder_is_per_cpu(decoder) && *text == '{')
		r = entry_member(text, "cpus", &cpus, err);
	if (r < 0)
		return r;
	*ret_n = cpus != NULL ? all : one;
	return cpus != NULL ? parse_cpus(decoder, cpus, ret_bytes, err)
			    : parse_one(decoder, part, text, ret_bytes, one, err);
}
