#include "exporter/exposition.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
	const char *name;   /* in OpenMetrics */
	const char *suffix; /* of its one sample */
	bool is_old;	    /* text format 0.0.4 knows it */
} types[] = {
	[FAMILY_GAUGE] = { "gauge", "", true },
	[FAMILY_COUNTER] = { "counter", "_total", true },
	[FAMILY_INFO] = { "info", "_info", false },
	[FAMILY_HISTOGRAM] = { "histogram", "", true },
};

const char *exposition_suffix(enum family_type type)
{
	return types[type].suffix;
}

const char *exposition_type_name(enum family_type type)
{
	return types[type].name;
}

/* One line of text for people: of a manifest, too. */
static void append_help(struct str *out, const char *help, enum exposition_format format)
{
	for (; *help != '\0'; help++) {
		if (*help == '\n')
			(void)str_append(out, "\\n");
		else if (*help == '\\' || (*help == '"' && format == EXPOSITION_OPENMETRICS))
			(void)str_appendf(out, "\\%c", *help);
		else
			(void)str_append_bytes(out, help, 1);
	}
}

void exposition_family(struct exposition *e, const char *name, enum family_type type,
		       const char *unit, const char *help)
{
	/* The older format names a family as its samples. */
	const bool old = e->format == EXPOSITION_TEXT;
	const char *suffix = old ? types[type].suffix : "";

	e->family = name;
	e->type = type;
	(void)str_appendf(e->out, "# TYPE %s%s %s\n", name, suffix,
			  old && !types[type].is_old ? "gauge" : types[type].name);
	if (unit != NULL && !old)
		(void)str_appendf(e->out, "# UNIT %s %s\n", name, unit);
	(void)str_appendf(e->out, "# HELP %s%s ", name, suffix);
	append_help(e->out, help, e->format);
	(void)str_append(e->out, "\n");
}

static void append_value(struct str *out, uint64_t value, bool is_signed, unsigned int digits)
{
	uint64_t unit = 1;

	if (is_signed && (int64_t)value < 0) {
		(void)str_append(out, "-");
		value = -value;
	}
	for (unsigned int i = 0; i < digits; i++)
		unit *= 10;
	(void)str_appendf(out, "%" PRIu64, value / unit);
	if (digits > 0)
		(void)str_appendf(out, ".%0*" PRIu64, (int)digits, value % unit);
	(void)str_append(out, "\n");
}

void exposition_sample_text(struct exposition *e, const char *suffix, const char *labels,
			    uint64_t value, bool is_signed, unsigned int digits)
{
	const bool bare = labels[0] == '\0';

	(void)str_appendf(e->out, "%s%s%s", e->family, suffix, bare ? "" : "{");
	(void)str_append(e->out, labels);
	(void)str_append(e->out, bare ? " " : "} ");
	append_value(e->out, value, is_signed, digits);
}

void exposition_sample(struct exposition *e, const struct label *labels, size_t n_labels,
		       uint64_t value, unsigned int digits)
{
	struct str text = { 0 };

	exposition_labels(&text, labels, n_labels);
	if (text.failed)
		e->out->failed = true;
	else
		exposition_sample_text(e, types[e->type].suffix, n_labels == 0 ? "" : text.data,
				       value, false, digits);
	str_done(&text);
}

static void append_label(struct str *out, const struct label *label)
{
	struct str shown = { 0 };
	const char *value = label->value;

	if (!str_is_utf8(value, strlen(value))) {
		(void)str_append_escaped(&shown, value, SIZE_MAX);
		value = shown.failed ? "" : shown.data;
	}
	(void)str_appendf(out, "%s=\"", label->name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			(void)str_append(out, "\\n");
		else if (*value == '"' || *value == '\\')
			(void)str_appendf(out, "\\%c", *value);
		else
			(void)str_append_bytes(out, value, 1);
	}
	(void)str_append(out, "\"");
	str_done(&shown);
}

void exposition_labels(struct str *out, const struct label *labels, size_t n_labels)
{
	for (size_t i = 0; i < n_labels; i++) {
		if (i > 0)
			(void)str_append(out, ",");
		append_label(out, &labels[i]);
	}
}

void exposition_end(struct exposition *e)
{
	if (e->format == EXPOSITION_OPENMETRICS)
		(void)str_append(e->out, "# EOF\n");
}

/* ---- negotiation */

static const char *const media_types[EXPOSITION_N_FORMATS] = {
	[EXPOSITION_OPENMETRICS] = "application/openmetrics-text",
	[EXPOSITION_TEXT] = "text/plain",
};

const char *exposition_content_type(enum exposition_format format)
{
	return format == EXPOSITION_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}

/* The weight of one element of an Accept header (RFC 9110, 12.4.2): 1 unless it has a q. */
static double weight(const char *element, size_t n)
{
	for (size_t i = 0; i + 2 < n; i++) {
		if (element[i] == ';') {
			const char *parameter = element + i + 1;

			parameter += strspn(parameter, " \t");
			if (strncmp(parameter, "q=", 2) == 0)
				return strtod(parameter + 2, NULL);
		}
	}
	return 1;
}

enum exposition_format exposition_negotiate(const char *accept)
{
	double best[EXPOSITION_N_FORMATS] = { 0 };

	while (accept != NULL && *accept != '\0') {
		size_t n;

		accept += strspn(accept, ", \t");
		n = strcspn(accept, ",");
		for (size_t i = 0; i < EXPOSITION_N_FORMATS; i++) {
			size_t type = strlen(media_types[i]);
			double w = weight(accept, n);

			if (n >= type && strncmp(accept, media_types[i], type) == 0 &&
			    strchr("; ,", accept[type]) != NULL && w > best[i])
				best[i] = w;
		}
		accept += n;
	}
	return best[EXPOSITION_OPENMETRICS] > 0 &&
			       best[EXPOSITION_OPENMETRICS] >= best[EXPOSITION_TEXT]
		       ? EXPOSITION_OPENMETRICS
		       : EXPOSITION_TEXT;
}
