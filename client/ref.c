#include "client/ref.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

static const char *without_prefix(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(text, prefix, n) == 0 ? text + n : text;
}

static int malformed(const char *text, const char *expected, struct error *err)
{
	struct str shown = { 0 };
	int r;

	(void)str_append_escaped(&shown, text, SIZE_MAX);
	r = error_raise(err, ERROR_INVALID_NAME, "'%s' is not %s",
			shown.failed || shown.len == 0 ? "" : shown.data, expected);
	str_done(&shown);
	return r;
}

int ref_bundle(const char *text, char out[static REF_SIZE], struct error *err)
{
	char printed[NAME_BUNDLE_REF_MAX + 1];
	struct bundle_ref ref;
	int r;

	r = bundle_ref_parse(without_prefix(text, "bundles/"), &ref, err);
	if (r < 0)
		return r;
	bundle_ref_format(&ref, printed);
	(void)snprintf(out, REF_SIZE, "bundles/%s", printed);
	return 0;
}

int ref_instance(const char *text, char out[static REF_SIZE], struct error *err)
{
	const char *id = without_prefix(text, "instances/");

	if (!name_is_id(id) && !name_is_label(id))
		return malformed(text, "an instance: its id or its label is expected", err);
	(void)snprintf(out, REF_SIZE, "instances/%s", id);
	return 0;
}

/* Splits INSTANCE/MEMBER and instances/INSTANCE/KIND/MEMBER; the instance is copied to id. */
static int split_member(const char *text, const char *kind, char id[static NAME_LABEL_MAX + 1],
			const char **ret_member)
{
	const char *rest = without_prefix(text, "instances/");
	const char *slash = strchr(rest, '/');
	size_t n;

	if (slash == NULL)
		return -1;
	n = (size_t)(slash - rest);
	if (n > NAME_LABEL_MAX)
		return -1;
	memcpy(id, rest, n);
	id[n] = '\0';
	if (!name_is_id(id) && !name_is_label(id))
		return -1;
	*ret_member = rest == text ? slash + 1 : without_prefix(slash + 1, kind);
	return 0;
}

int ref_program_of(const char *instance, const char *program, char out[static REF_SIZE],
		   struct error *err)
{
	char name[REF_SIZE];
	int r;

	r = ref_instance(instance, name, err);
	if (r < 0)
		return r;
	if (!name_is_symbol(program))
		return malformed(program, "the name of a program", err);
	resource_format_program(ref_short(name), program, out);
	return 0;
}

int ref_program(const char *text, char out[static REF_SIZE], struct error *err)
{
	char id[NAME_LABEL_MAX + 1];
	const char *member;

	if (split_member(text, "programs/", id, &member) < 0 || !name_is_symbol(member))
		return malformed(text, "a program: INSTANCE/PROGRAM is expected", err);
	resource_format_program(id, member, out);
	return 0;
}

int ref_map(const char *text, char out[static REF_SIZE], struct error *err)
{
	char id[NAME_LABEL_MAX + 1];
	const char *member;

	if (split_member(text, "maps/", id, &member) < 0 || !name_is_map(member))
		return malformed(text, "a map: INSTANCE/MAP is expected", err);
	resource_format_map(id, member, out);
	return 0;
}

int ref_source(const char *text, char out[static REF_SIZE], struct error *err)
{
	if (strchr(without_prefix(text, "instances/"), '/') != NULL)
		return ref_map(text, out, err);
	return ref_instance(text, out, err);
}

int ref_link(const char *text, char out[static REF_SIZE], struct error *err)
{
	const char *id = without_prefix(text, "links/");

	if (!name_is_id(id))
		return malformed(text, "a link: an id as `bpfleet list links` shows is expected",
				 err);
	resource_format_link(id, out);
	return 0;
}

const char *ref_short(const char *name)
{
	static const char *const prefixes[] = { "bundles/", "instances/", "links/" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		const char *rest = without_prefix(name, prefixes[i]);

		if (rest != name)
			return rest;
	}
	return name;
}
