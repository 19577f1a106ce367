#define _GNU_SOURCE
#include "bundle/name.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

static_assert(NAME_RESOURCE_MAX >= sizeof("instances/") + NAME_LABEL_MAX + sizeof("/programs/") +
					   NAME_SYMBOL_MAX,
	      "the longest resource name fits");

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Characters that may come first and later, and the bounds of the length. */
struct grammar {
	const char *first;
	const char *rest;
	size_t min;
	size_t max;
	const char *what;
	const char *expected;
};

static const struct grammar bundle_grammar = {
	LOWER, LOWER DIGITS "_", 1, NAME_BUNDLE_MAX, "bundle name", "[a-z][a-z0-9_]{0,47}"
};
static const struct grammar label_grammar = { LOWER,   LOWER DIGITS "_-",      1, NAME_LABEL_MAX,
					      "label", "[a-z][a-z0-9_-]{0,47}" };
static const struct grammar id_grammar = { "234567",	LOWER "234567", NAME_ID_LEN,
					   NAME_ID_LEN, "id",		"[2-7][a-z2-7]{15}" };
static const struct grammar symbol_grammar = {
	UPPER LOWER "_", UPPER LOWER DIGITS "_",	1, NAME_SYMBOL_MAX,
	"name",		 "[A-Za-z_][A-Za-z0-9_]{0,126}"
};
static const struct grammar section_grammar = {
	".",	    UPPER LOWER DIGITS "_.",
	2,	    NAME_SYMBOL_MAX,
	"map name", "[A-Za-z_][A-Za-z0-9_]{0,126} or a section as .bss"
};

static bool grammar_accepts(const struct grammar *grammar, const char *text)
{
	size_t n = strnlen(text, grammar->max + 1);

	return n >= grammar->min && n <= grammar->max && strchr(grammar->first, text[0]) != NULL &&
	       strspn(text + 1, grammar->rest) == n - 1;
}

static int refuse(const struct grammar *grammar, const char *text, struct error *err)
{
	struct str shown = { 0 };
	int r;

	(void)str_append_escaped(&shown, text, strnlen(text, 64));
	r = error_raise(err, ERROR_INVALID_NAME, "'%s' is not a %s: expected %s",
			shown.data != NULL ? shown.data : "", grammar->what, grammar->expected);
	str_done(&shown);
	return r;
}

static int check(const struct grammar *grammar, const char *text, struct error *err)
{
	return grammar_accepts(grammar, text) ? 0 : refuse(grammar, text, err);
}

bool name_is_bundle(const char *text)
{
	return grammar_accepts(&bundle_grammar, text);
}

bool name_is_label(const char *text)
{
	return grammar_accepts(&label_grammar, text);
}

bool name_is_id(const char *text)
{
	return grammar_accepts(&id_grammar, text);
}

bool name_is_symbol(const char *text)
{
	return grammar_accepts(&symbol_grammar, text);
}

bool name_is_map(const char *text)
{
	return name_is_symbol(text) || grammar_accepts(&section_grammar, text);
}

int name_check_bundle(const char *text, struct error *err)
{
	return check(&bundle_grammar, text, err);
}

int name_check_label(const char *text, struct error *err)
{
	return check(&label_grammar, text, err);
}

int name_check_id(const char *text, struct error *err)
{
	return check(&id_grammar, text, err);
}

int name_check_symbol(const char *text, struct error *err)
{
	return check(&symbol_grammar, text, err);
}

int name_check_map(const char *text, struct error *err)
{
	return name_is_symbol(text) ? 0 : check(&section_grammar, text, err);
}

int name_new_id(char out[static NAME_ID_LEN + 1], struct error *err)
{
	char id[NAME_ID_LEN + 1];
	int r = str_random_id(id, NAME_ID_LEN);

	if (r < 0)
		return error_raise_errno(err, ERROR_INTERNAL, -r, "draw a random id");
	/* Six of the 32 digits may come first; that some come a little more often does no harm. */
	id[0] = (char)('2' + (unsigned char)id[0] % 6);
	memcpy(out, id, sizeof(id));
	return 0;
}

const char *name_map_from_libbpf(const char *libbpf_name)
{
	const char *dot = strchr(libbpf_name, '.');

	return dot != NULL ? dot : libbpf_name;
}

/* One uint32 in canonical decimal; advances *text behind it. */
static bool parse_number(const char **text, uint32_t *ret)
{
	const char *p = *text;
	uint64_t value = 0;

	if (*p < '0' || *p > '9' || (*p == '0' && p[1] >= '0' && p[1] <= '9'))
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT32_MAX)
			return false;
	}
	*text = p;
	*ret = (uint32_t)value;
	return true;
}

int version_parse(const char *text, struct version *ret, struct error *err)
{
	static const struct grammar grammar = { NULL,
						NULL,
						0,
						0,
						"version",
						"MAJOR.MINOR.PATCH, as 1.2.3, each "
						"0..4294967295 without leading zero" };
	struct version version;
	const char *p = text;

	if (!parse_number(&p, &version.major) || *p++ != '.' || !parse_number(&p, &version.minor) ||
	    *p++ != '.' || !parse_number(&p, &version.patch) || *p != '\0')
		return refuse(&grammar, text, err);
	*ret = version;
	return 0;
}

void version_format(const struct version *version, char out[static NAME_VERSION_MAX + 1])
{
	(void)snprintf(out, NAME_VERSION_MAX + 1, "%u.%u.%u", version->major, version->minor,
		       version->patch);
}

static int compare_u32(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

int version_compare(const struct version *a, const struct version *b)
{
	int r = compare_u32(a->major, b->major);

	if (r == 0)
		r = compare_u32(a->minor, b->minor);
	if (r == 0)
		r = compare_u32(a->patch, b->patch);
	return r;
}

int bundle_ref_parse(const char *text, struct bundle_ref *ret, struct error *err)
{
	struct bundle_ref ref = { 0 };
	const char *at = strchrnul(text, '@');
	size_t n = (size_t)(at - text);
	int r;

	if (n > NAME_BUNDLE_MAX)
		return refuse(&bundle_grammar, text, err);
	memcpy(ref.name, text, n);
	r = name_check_bundle(ref.name, err);
	if (r < 0)
		return r;
	if (*at == '@') {
		ref.has_version = true;
		r = version_parse(at + 1, &ref.version, err);
		if (r < 0)
			return r;
	}
	*ret = ref;
	return 0;
}

void bundle_ref_format(const struct bundle_ref *ref, char out[static NAME_BUNDLE_REF_MAX + 1])
{
	char version[NAME_VERSION_MAX + 1];

	version_format(&ref->version, version);
	(void)snprintf(out, NAME_BUNDLE_REF_MAX + 1, "%s%s%s", ref->name,
		       ref->has_version ? "@" : "", ref->has_version ? version : "");
}
