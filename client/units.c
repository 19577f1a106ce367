#define _GNU_SOURCE
#include "client/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

#define DURATION_MAX_NS (UINT64_C(100) * 365 * 24 * 3600 * NS_PER_SEC)

struct unit {
	const char *name;
	uint64_t ns;
};

/* Longer names before their prefixes. */
static const struct unit units[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "ms", NS_PER_MS },
	{ "s", NS_PER_SEC },
	{ "m", 60 * NS_PER_SEC },
	{ "h", 3600 * NS_PER_SEC },
	{ "d", 86400 * NS_PER_SEC },
};

static const struct unit *unit_at(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t n = strlen(units[i].name);

		if (strncmp(text, units[i].name, n) == 0 && !isalpha((unsigned char)text[n]))
			return &units[i];
	}
	return NULL;
}

/* Digits and an optional fraction, as a multiple of unit_ns; advances *text. */
static int scaled_number(const char **text, uint64_t *ret_whole, uint64_t *ret_billionths)
{
	uint64_t whole = 0, fraction = 0, scale = NS_PER_SEC;
	const char *p = *text;

	if (!isdigit((unsigned char)*p))
		return -EINVAL;
	for (; isdigit((unsigned char)*p); p++) {
		whole = whole * 10 + (uint64_t)(*p - '0');
		if (whole > DURATION_MAX_NS)
			return -ERANGE;
	}
	if (*p == '.') {
		if (!isdigit((unsigned char)*++p))
			return -EINVAL;
		for (; isdigit((unsigned char)*p); p++) {
			scale /= 10;
			fraction += scale * (uint64_t)(*p - '0');
		}
	}
	*text = p;
	*ret_whole = whole;
	*ret_billionths = fraction;
	return 0;
}

int units_parse_duration(const char *text, uint64_t *ret_ns)
{
	uint64_t total = 0;

	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	if (*text == '\0')
		return -EINVAL;
	while (*text != '\0') {
		const struct unit *unit;
		uint64_t whole, billionths, part;
		int r = scaled_number(&text, &whole, &billionths);

		if (r < 0)
			return r;
		unit = unit_at(text);
		if (unit == NULL)
			return -EINVAL;
		if (whole > DURATION_MAX_NS / unit->ns)
			return -ERANGE;
		/* billionths < 1e9 and a day has 86400 s: this cannot overflow when split so. */
		part = whole * unit->ns;
		if (unit->ns >= NS_PER_SEC)
			part += billionths * (unit->ns / NS_PER_SEC);
		else
			part += billionths * unit->ns / NS_PER_SEC;
		total += part;
		if (total > DURATION_MAX_NS)
			return -ERANGE;
		text += strlen(unit->name);
	}
	*ret_ns = total;
	return 0;
}

/* "Z", "+02:00" or nothing (UTC), as seconds east; -EINVAL. */
static int parse_offset(const char *text, int64_t *ret)
{
	static const char form[] = "+00:00";
	int64_t hours, minutes;

	*ret = 0;
	if (*text == '\0' || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return 0;
	if ((*text != '+' && *text != '-') || strlen(text) != strlen(form))
		return -EINVAL;
	for (size_t i = 1; form[i] != '\0'; i++) {
		if (form[i] == ':' ? text[i] != ':' : !isdigit((unsigned char)text[i]))
			return -EINVAL;
	}
	hours = (text[1] - '0') * 10 + (text[2] - '0');
	minutes = (text[4] - '0') * 10 + (text[5] - '0');
	if (hours > 23 || minutes > 59)
		return -EINVAL;
	*ret = hours * 3600 + minutes * 60;
	if (*text == '-')
		*ret = -*ret;
	return 0;
}

int units_parse_time(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
	struct tm tm = { 0 };
	uint64_t ago, fraction = 0, scale = NS_PER_SEC;
	int64_t offset = 0;
	const char *rest;
	time_t seconds;

	if (units_parse_duration(text, &ago) == 0) {
		*ret_ns = ago > now_ns ? 0 : now_ns - ago;
		return 0;
	}
	rest = strptime(text, "%Y-%m-%d", &tm);
	if (rest == NULL)
		return -EINVAL;
	if (*rest == 'T' || *rest == 't' || *rest == ' ') {
		rest = strptime(rest + 1, "%H:%M:%S", &tm);
		if (rest == NULL)
			return -EINVAL;
		if (*rest == '.') {
			for (rest++; isdigit((unsigned char)*rest); rest++) {
				scale /= 10;
				fraction += scale * (uint64_t)(*rest - '0');
			}
		}
		if (parse_offset(rest, &offset) < 0)
			return -EINVAL;
	} else if (*rest != '\0') {
		return -EINVAL;
	}
	seconds = timegm(&tm);
	if (seconds - offset < 0)
		return -ERANGE;
	*ret_ns = (uint64_t)(seconds - offset) * NS_PER_SEC + fraction;
	return 0;
}

int units_append_bytes(struct str *s, uint64_t bytes)
{
	static const char *const names[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	size_t i = 0;

	if (bytes < 1024)
		return str_appendf(s, "%" PRIu64 " B", bytes);
	for (value /= 1024; value >= 1024 && i + 1 < ARRAY_SIZE(names); i++)
		value /= 1024;
	if (value >= 100)
		return str_appendf(s, "%.0f %s", value, names[i]);
	return str_appendf(s, "%.1f %s", value, names[i]);
}

int units_append_duration(struct str *s, uint64_t ns)
{
	uint64_t seconds = ns / NS_PER_SEC;

	if (ns < 1000)
		return str_appendf(s, "%" PRIu64 "ns", ns);
	if (ns < NS_PER_MS)
		return str_appendf(s, "%" PRIu64 "us", ns / 1000);
	if (ns < NS_PER_SEC)
		return str_appendf(s, "%" PRIu64 "ms", ns / NS_PER_MS);
	if (seconds < 10)
		return str_appendf(s, "%" PRIu64 ".%" PRIu64 "s", seconds,
				   ns % NS_PER_SEC / (NS_PER_SEC / 10));
	if (seconds < 60)
		return str_appendf(s, "%" PRIu64 "s", seconds);
	if (seconds < 3600)
		return str_appendf(s, "%" PRIu64 "m %" PRIu64 "s", seconds / 60, seconds % 60);
	if (seconds < 86400)
		return str_appendf(s, "%" PRIu64 "h %" PRIu64 "m", seconds / 3600,
				   seconds % 3600 / 60);
	return str_appendf(s, "%" PRIu64 "d %" PRIu64 "h", seconds / 86400, seconds % 86400 / 3600);
}

/* Whole units read better than tenths of a second in "3s ago". */
static uint64_t whole_seconds(uint64_t ns)
{
	return ns < 10 * NS_PER_SEC ? ns / NS_PER_SEC : 0;
}

int units_append_relative(struct str *s, uint64_t at_ns, uint64_t now_ns)
{
	uint64_t distance = at_ns > now_ns ? at_ns - now_ns : now_ns - at_ns;

	if (at_ns == 0)
		return str_append(s, "-");
	if (distance < NS_PER_SEC)
		return str_append(s, "just now");
	if (at_ns > now_ns)
		(void)str_append(s, "in ");
	if (whole_seconds(distance) > 0)
		(void)str_appendf(s, "%" PRIu64 "s", whole_seconds(distance));
	else
		(void)units_append_duration(s, distance);
	if (at_ns <= now_ns)
		(void)str_append(s, " ago");
	return s->failed ? -ENOMEM : 0;
}

int units_append_time(struct str *s, uint64_t at_ns)
{
	char text[CLOCK_RFC3339_LEN];

	if (at_ns == 0)
		return str_append(s, "-");
	clock_format_rfc3339(at_ns, text);
	return str_appendf(s, "%.10s %.8sZ", text, text + 11);
}
