#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static int reserve(struct str *s, size_t extra)
{
	size_t want, capacity;
	char *data;

	if (s->failed)
		return -ENOMEM;
	if (extra > SIZE_MAX / 4 || s->len > SIZE_MAX / 4) {
		s->failed = true;
		return -ENOMEM;
	}
	want = s->len + extra + 1;
	if (want <= s->capacity)
		return 0;
	capacity = s->capacity < 64 ? 64 : s->capacity;
	while (capacity < want)
		capacity *= 2;
	data = realloc(s->data, capacity);
	if (data == NULL) {
		s->failed = true;
		return -ENOMEM;
	}
	s->data = data;
	s->capacity = capacity;
	return 0;
}

int str_append_bytes(struct str *s, const void *bytes, size_t n)
{
	int r = reserve(s, n);

	if (r < 0)
		return r;
	if (n > 0)
		memcpy(s->data + s->len, bytes, n);
	s->len += n;
	s->data[s->len] = '\0';
	return 0;
}

int str_append(struct str *s, const char *text)
{
	return str_append_bytes(s, text, strlen(text));
}

int str_appendf(struct str *s, const char *format, ...)
{
	va_list args;
	int n, r;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return -EINVAL;
	r = reserve(s, (size_t)n);
	if (r < 0)
		return r;
	va_start(args, format);
	(void)vsnprintf(s->data + s->len, (size_t)n + 1, format, args);
	va_end(args);
	s->len += (size_t)n;
	return 0;
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), 0 if there is none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	size_t len;
	uint32_t c;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (n < len)
		return 0;
	c = p[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = (c << 6) | (p[i] & 0x3f);
	}
	if ((len == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) ||
	    (len == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return len;
}

bool str_is_utf8(const char *bytes, size_t n)
{
	const uint8_t *p = (const uint8_t *)bytes;

	for (size_t i = 0; i < n;) {
		size_t len = utf8_length(p + i, n - i);

		if (len == 0)
			return false;
		i += len;
	}
	return true;
}

/* U+0080..U+009F are the C1 controls: some terminals obey them. */
static bool is_c1_control(const uint8_t *p, size_t len)
{
	return len == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

int str_append_escaped(struct str *s, const char *bytes, size_t n)
{
	const uint8_t *p = (const uint8_t *)bytes;
	size_t len;

	if (n == SIZE_MAX)
		n = strlen(bytes);
	for (size_t i = 0; i < n; i += len) {
		len = utf8_length(p + i, n - i);
		if (p[i] == '\\')
			(void)str_append(s, "\\\\");
		else if (p[i] == '\n')
			(void)str_append(s, "\\n");
		else if (p[i] == '\t')
			(void)str_append(s, "\\t");
		else if (p[i] == '\r')
			(void)str_append(s, "\\r");
		else if (len > 0 && p[i] >= 0x20 && p[i] != 0x7f && !is_c1_control(p + i, len))
			(void)str_append_bytes(s, p + i, len);
		else {
			len = 1;
			(void)str_appendf(s, "\\x%02x", p[i]);
		}
	}
	return s->failed ? -ENOMEM : 0;
}

int str_append_json(struct str *s, const char *bytes, size_t n)
{
	const uint8_t *p = (const uint8_t *)bytes;
	size_t len;

	if (n == SIZE_MAX)
		n = strlen(bytes);
	(void)str_append(s, "\"");
	for (size_t i = 0; i < n; i += len) {
		len = utf8_length(p + i, n - i);
		if (len == 0) {
			len = 1;
			(void)str_append(s, "\xef\xbf\xbd");
		} else if (p[i] == '"' || p[i] == '\\') {
			(void)str_appendf(s, "\\%c", p[i]);
		} else if (p[i] == '\n') {
			(void)str_append(s, "\\n");
		} else if (p[i] == '\t') {
			(void)str_append(s, "\\t");
		} else if (p[i] == '\r') {
			(void)str_append(s, "\\r");
		} else if (p[i] < 0x20 || p[i] == 0x7f || is_c1_control(p + i, len)) {
			uint8_t c = len == 2 ? p[i + 1] : p[i];

			(void)str_appendf(s, "\\u%04x", c);
		} else {
			(void)str_append_bytes(s, p + i, len);
		}
	}
	(void)str_append(s, "\"");
	return s->failed ? -ENOMEM : 0;
}

char *str_take(struct str *s)
{
	char *data;

	if (!s->failed && s->data == NULL)
		(void)str_append(s, "");
	if (s->failed) {
		str_done(s);
		return NULL;
	}
	data = s->data;
	*s = (struct str){ 0 };
	return data;
}

void str_done(struct str *s)
{
	free(s->data);
	*s = (struct str){ 0 };
}

void str_hex(const uint8_t *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int str_unhex(const char *hex, uint8_t *out, size_t n)
{
	if (strlen(hex) != 2 * n)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int str_to_u64(const char *text, uint64_t max, uint64_t *ret)
{
	bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	unsigned int radix = is_hex ? 16 : 10;
	uint64_t value = 0;

	if (is_hex)
		text += 2;
	if (*text == '\0')
		return -EINVAL;
	for (; *text != '\0'; text++) {
		int digit = hex_digit(*text);

		if (digit < 0 || (unsigned int)digit >= radix)
			return -EINVAL;
		if (value > (UINT64_MAX - (uint64_t)digit) / radix)
			return -ERANGE;
		value = value * radix + (uint64_t)digit;
	}
	if (value > max)
		return -ERANGE;
	*ret = value;
	return 0;
}

bool str_glob(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	/* Greedy with one point of return: the last star is the only one that need be retried. */
	while (*text != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			resume = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star != NULL) {
			pattern = star + 1;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

#define DISTANCE_MAX 63u

unsigned int str_distance(const char *a, const char *b)
{
	size_t na = strnlen(a, DISTANCE_MAX), nb = strnlen(b, DISTANCE_MAX);
	unsigned int rows[3][DISTANCE_MAX + 1];
	unsigned int *before = rows[0], *last = rows[1], *now = rows[2], *spare;

	for (size_t j = 0; j <= nb; j++) {
		before[j] = 0;
		last[j] = (unsigned int)j;
	}
	for (size_t i = 1; i <= na; i++) {
		now[0] = (unsigned int)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned int best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[nb];
}

int str_random_id(char *out, size_t n)
{
	static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

	uint8_t bytes[64];

	if (n > sizeof(bytes))
		return -EINVAL;
	if (getrandom(bytes, n, 0) != (ssize_t)n)
		return -errno;
	for (size_t i = 0; i < n; i++)
		out[i] = digits[bytes[i] & 31];
	out[n] = '\0';
	return 0;
}
