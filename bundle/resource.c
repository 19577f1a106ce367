/* Resource names; declared in bundle/name.h. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/name.h"

static const char *const expected[] = {
	[0] = "bundles/NAME@VERSION, instances/ID, instances/ID/programs/NAME, "
	      "instances/ID/maps/NAME "
	      "or links/ID",
	[RESOURCE_BUNDLE] = "bundles/NAME or bundles/NAME@VERSION",
	[RESOURCE_INSTANCE] = "instances/ID",
	[RESOURCE_PROGRAM] = "instances/ID/programs/NAME",
	[RESOURCE_MAP] = "instances/ID/maps/NAME",
	[RESOURCE_LINK] = "links/ID",
};

static int refuse(const char *text, unsigned int kind, struct error *err)
{
	struct str shown = { 0 };
	int r;

	(void)str_append_escaped(&shown, text, strnlen(text, 96));
	r = error_raise(err, ERROR_INVALID_NAME, "'%s' is not a resource name: expected %s",
			shown.data != NULL ? shown.data : "", expected[kind]);
	str_done(&shown);
	return r;
}

/* The text behind a prefix, NULL if it does not begin with it. */
static const char *after(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static int parse_member(const char *text, enum resource_kind kind, struct resource_name *name,
			struct error *err)
{
	int r = kind == RESOURCE_MAP ? name_check_map(text, err) : name_check_symbol(text, err);

	if (r < 0)
		return r;
	name->kind = kind;
	(void)snprintf(name->member, sizeof(name->member), "%s", text);
	return 0;
}

static int parse_instance(const char *text, struct resource_name *name, struct error *err)
{
	const char *slash = strchrnul(text, '/'), *member;
	size_t n = (size_t)(slash - text);

	if (n > NAME_LABEL_MAX)
		return name_check_label(text, err);
	memcpy(name->id, text, n);
	name->id[n] = '\0';
	if (!name_is_id(name->id) && !name_is_label(name->id))
		return error_context(err, name_check_label(name->id, err),
				     "no instance's id or label");
	if (*slash == '\0') {
		name->kind = RESOURCE_INSTANCE;
		return 0;
	}
	member = after(slash, "/programs/");
	if (member != NULL)
		return parse_member(member, RESOURCE_PROGRAM, name, err);
	member = after(slash, "/maps/");
	if (member != NULL)
		return parse_member(member, RESOURCE_MAP, name, err);
	return refuse(slash, RESOURCE_PROGRAM, err);
}

int resource_parse(const char *text, struct resource_name *ret, struct error *err)
{
	struct resource_name name = { 0 };
	const char *rest;
	int r;

	rest = after(text, "bundles/");
	if (rest != NULL) {
		name.kind = RESOURCE_BUNDLE;
		r = bundle_ref_parse(rest, &name.bundle, err);
	} else if ((rest = after(text, "instances/")) != NULL) {
		r = parse_instance(rest, &name, err);
	} else if ((rest = after(text, "links/")) != NULL) {
		name.kind = RESOURCE_LINK;
		r = name_check_id(rest, err);
		if (r == 0)
			memcpy(name.id, rest, NAME_ID_LEN + 1);
	} else {
		return refuse(text, 0, err);
	}
	if (r < 0)
		return r;
	*ret = name;
	return 0;
}

int resource_parse_kind(const char *text, enum resource_kind kind, struct resource_name *ret,
			struct error *err)
{
	struct resource_name name;
	int r = resource_parse(text, &name, err);

	if (r < 0)
		return r;
	if (name.kind != kind)
		return refuse(text, kind, err);
	*ret = name;
	return 0;
}

void resource_format(const struct resource_name *name, char out[static NAME_RESOURCE_MAX + 1])
{
	char ref[NAME_BUNDLE_REF_MAX + 1];

	switch (name->kind) {
	case RESOURCE_BUNDLE:
		bundle_ref_format(&name->bundle, ref);
		(void)snprintf(out, NAME_RESOURCE_MAX + 1, "bundles/%s", ref);
		break;
	case RESOURCE_INSTANCE:
		resource_format_instance(name->id, out);
		break;
	case RESOURCE_PROGRAM:
		resource_format_program(name->id, name->member, out);
		break;
	case RESOURCE_MAP:
		resource_format_map(name->id, name->member, out);
		break;
	case RESOURCE_LINK:
		resource_format_link(name->id, out);
		break;
	}
}

void resource_format_bundle(const char *name, const struct version *version,
			    char out[static NAME_RESOURCE_MAX + 1])
{
	char text[NAME_VERSION_MAX + 1];

	version_format(version, text);
	(void)snprintf(out, NAME_RESOURCE_MAX + 1, "bundles/%.48s@%s", name, text);
}

void resource_format_instance(const char *id, char out[static NAME_RESOURCE_MAX + 1])
{
	(void)snprintf(out, NAME_RESOURCE_MAX + 1, "instances/%.48s", id);
}

void resource_format_program(const char *id, const char *program,
			     char out[static NAME_RESOURCE_MAX + 1])
{
	(void)snprintf(out, NAME_RESOURCE_MAX + 1, "instances/%.48s/programs/%.127s", id, program);
}

void resource_format_map(const char *id, const char *map, char out[static NAME_RESOURCE_MAX + 1])
{
	(void)snprintf(out, NAME_RESOURCE_MAX + 1, "instances/%.48s/maps/%.127s", id, map);
}

void resource_format_link(const char *id, char out[static NAME_RESOURCE_MAX + 1])
{
	(void)snprintf(out, NAME_RESOURCE_MAX + 1, "links/%.48s", id);
}
