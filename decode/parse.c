#include "decode/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "decode/leaf.h"

#define DESCRIBE_MAX 400

struct parser {
	const char *at;
	const struct node *root;
	enum decoder_part part;
	struct str word; /* the last word or string read */
	bool quoted;	 /* it was a string in quotes */
	struct error *err;
};

/* The members that lead to a node, for messages. */
struct place {
	const struct place *above;
	const struct node *node;
};

static int parse_value(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
		       const struct place *place);

static void print_place(const struct place *place, struct str *out)
{
	if (place == NULL)
		return;
	print_place(place->above, out);
	if (place->node->name != NULL) {
		(void)str_append(out, ".");
		(void)str_append(out, place->node->name);
	} else {
		(void)str_append(out, "[]");
	}
}

void parse_describe(const struct node *node, struct str *out)
{
	if (out->len > DESCRIBE_MAX) {
		(void)str_append(out, "...");
	} else if (node->kind == NODE_ARRAY) {
		(void)str_appendf(out, "[%u times ", node->n);
		parse_describe(&node->children[0], out);
		(void)str_append(out, "]");
	} else if (node->kind == NODE_STRUCT) {
		for (uint32_t i = 0; i < node->n_children && out->len <= DESCRIBE_MAX; i++) {
			(void)str_append(out, i == 0 ? "{" : ", ");
			(void)str_append(out, node->children[i].name);
			(void)str_append(out, ": ");
			parse_describe(&node->children[i], out);
		}
		(void)str_append(out, node->n_children == 0 ? "{}" : "}");
	} else {
		leaf_describe(node, out);
	}
}

/*
 * INVALID_KEY: where, what was expected there, what was given (NULL: nothing), what the whole
 * should look like.
 */
static int refuse(struct parser *ps, const struct node *node, const struct place *place,
		  const char *given)
{
	struct str where = { 0 }, expected = { 0 }, whole = { 0 }, shown = { 0 };
	int r;

	print_place(place, &where);
	parse_describe(node, &expected);
	parse_describe(ps->root, &whole);
	(void)str_append(&shown, given == NULL ? "and is missing" : "not '");
	(void)str_append_escaped(&shown, given == NULL ? "" : given,
				 given == NULL ? 0 : strnlen(given, 60));
	(void)str_append(&shown, given == NULL ? "" : "'");
	if (where.failed || expected.failed || whole.failed || shown.failed)
		r = error_raise(ps->err, ERROR_OUT_OF_MEMORY, "out of memory");
	else if (node == ps->root)
		r = error_raise(ps->err, ERROR_INVALID_KEY, "the %s must be %s, %s",
				plan_part_names[ps->part], expected.data, shown.data);
	else
		r = error_raise(ps->err, ERROR_INVALID_KEY, "%s%s must be %s, %s; the %s is %s",
				plan_part_names[ps->part], where.data == NULL ? "" : where.data,
				expected.data, shown.data, plan_part_names[ps->part], whole.data);
	str_done(&where);
	str_done(&expected);
	str_done(&whole);
	str_done(&shown);
	return r;
}

static void skip_blanks(struct parser *ps)
{
	ps->at += strspn(ps->at, " \t\r\n");
}

static void append_utf8(struct str *s, uint32_t c)
{
	uint8_t bytes[4];
	size_t n = 0;

	if (c < 0x80) {
		bytes[n++] = (uint8_t)c;
	} else if (c < 0x800) {
		bytes[n++] = (uint8_t)(0xc0 | c >> 6);
		bytes[n++] = (uint8_t)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		bytes[n++] = (uint8_t)(0xe0 | c >> 12);
		bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		bytes[n++] = (uint8_t)(0x80 | (c & 0x3f));
	} else {
		bytes[n++] = (uint8_t)(0xf0 | c >> 18);
		bytes[n++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
		bytes[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		bytes[n++] = (uint8_t)(0x80 | (c & 0x3f));
	}
	(void)str_append_bytes(s, bytes, n);
}

/* Four hex digits behind "\u"; -1 if there are not. */
static int32_t read_unit(const char *at)
{
	uint8_t bytes[2];
	char digits[5] = { 0 };

	memcpy(digits, at, strnlen(at, 4));
	return str_unhex(digits, bytes, 2) < 0 ? -1 : bytes[0] << 8 | bytes[1];
}

static bool read_unicode_escape(struct parser *ps)
{
	int32_t high = read_unit(ps->at), low;

	if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
		return false;
	ps->at += 4;
	if (high < 0xd800 || high > 0xdbff) {
		append_utf8(&ps->word, (uint32_t)high);
		return true;
	}
	if (ps->at[0] != '\\' || ps->at[1] != 'u')
		return false;
	low = read_unit(ps->at + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return false;
	ps->at += 6;
	append_utf8(&ps->word,
		    0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
	return true;
}

static bool read_escape(struct parser *ps)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = *ps->at;
	const char *found = c == '\0' ? NULL : strchr(from, c);

	if (found == NULL && c != 'u')
		return false;
	ps->at++;
	if (c == 'u')
		return read_unicode_escape(ps);
	(void)str_append_bytes(&ps->word, &to[found - from], 1);
	return true;
}

/* A JSON string into ps->word. */
static bool read_string(struct parser *ps)
{
	ps->word.len = 0;
	(void)str_append(&ps->word, "");
	ps->quoted = true;
	ps->at++;
	while (*ps->at != '"') {
		size_t n = strcspn(ps->at, "\"\\");

		(void)str_append_bytes(&ps->word, ps->at, n);
		ps->at += n;
		if (*ps->at == '\0')
			return false;
		if (*ps->at == '\\') {
			ps->at++;
			if (!read_escape(ps))
				return false;
		}
	}
	ps->at++;
	return true;
}

bool parse_string(const char *text, struct str *out)
{
	struct parser ps = { .at = text };
	bool good = read_string(&ps) && !ps.word.failed;

	if (good)
		(void)str_append_bytes(out, ps.word.data, ps.word.len);
	str_done(&ps.word);
	return good && !out->failed;
}

/* A string in quotes, or a bare word: at the top all that is left, below up to a separator. */
static bool read_word(struct parser *ps, bool alone)
{
	size_t n;

	skip_blanks(ps);
	if (*ps->at == '"')
		return read_string(ps);
	n = alone ? strlen(ps->at) : strcspn(ps->at, " \t\r\n,[]{}");
	while (n > 0 && isspace((unsigned char)ps->at[n - 1]))
		n--;
	ps->word.len = 0;
	ps->quoted = false;
	(void)str_append_bytes(&ps->word, ps->at, n);
	ps->at += n;
	return n > 0 || alone;
}

static int parse_leaf(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
		      const struct place *place)
{
	const char *start = ps->at;

	if (!read_word(ps, place == NULL))
		return refuse(ps, node, place, start);
	if (ps->word.failed)
		return error_raise(ps->err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (!leaf_parse(node, ps->word.data, ps->word.len, p, mask))
		return refuse(ps, node, place, ps->word.data);
	return 0;
}

static int parse_array(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
		       const struct place *place)
{
	const struct node *element = &node->children[0];
	struct place here = { .above = place, .node = element };
	const char *start = ps->at++;
	int r;

	skip_blanks(ps);
	for (uint32_t i = 0; *ps->at != ']'; i++) {
		if (i > 0 && *ps->at == ',')
			ps->at++;
		if (i == node->n)
			return refuse(ps, node, place, start);
		r = parse_value(ps, element, p + (size_t)i * element->size,
				mask + (size_t)i * element->size, &here);
		if (r < 0)
			return r;
		skip_blanks(ps);
	}
	ps->at++;
	return 0;
}

/* ["a","b"] into texts that end with NUL; the last may do without one. */
static int parse_text_list(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
			   const struct place *place)
{
	const char *start = ps->at++;
	size_t used = 0;

	memset(p, 0, node->size);
	skip_blanks(ps);
	while (*ps->at != ']') {
		if (used > 0 && *ps->at == ',')
			ps->at++;
		if (!read_word(ps, false))
			return refuse(ps, node, place, start);
		if (ps->word.failed)
			return error_raise(ps->err, ERROR_OUT_OF_MEMORY, "out of memory");
		if (memchr(ps->word.data, '\0', ps->word.len) != NULL || used > node->size ||
		    ps->word.len > node->size - used)
			return refuse(ps, node, place, start);
		memcpy(p + used, ps->word.data, ps->word.len);
		used += ps->word.len + 1;
		skip_blanks(ps);
	}
	ps->at++;
	memset(mask, 0xff, node->size);
	return 0;
}

static const struct node *find_member(const struct node *node, const char *name, size_t n)
{
	for (uint32_t i = 0; node->kind == NODE_STRUCT && i < node->n_children; i++) {
		const char *candidate = node->children[i].name;

		if (strlen(candidate) == n && memcmp(candidate, name, n) == 0)
			return &node->children[i];
	}
	return NULL;
}

/* `name = value`, where the name may be a path a.b.c into nested structs. */
static int parse_named(struct parser *ps, const struct node *node, const char *name, uint8_t *p,
		       uint8_t *mask, const struct place *place)
{
	size_t n = strlen(name);
	const struct node *child = find_member(node, name, n);
	struct place here = { .above = place };

	if (child == NULL) {
		n = strcspn(name, ".");
		child = find_member(node, name, n);
	}
	if (child == NULL)
		return refuse(ps, node, place, name);
	here.node = child;
	p += child->offset;
	mask += child->offset;
	if (name[n] == '.')
		return parse_named(ps, child, name + n + 1, p, mask, &here);
	return parse_value(ps, child, p, mask, &here);
}

/* Reads `name=` or `"name":`; a copy of the name, NULL if there is none such. */
static char *read_name(struct parser *ps)
{
	char *name = NULL;

	if (*ps->at == '"') {
		if (read_string(ps))
			name = strdup(ps->word.data == NULL ? "" : ps->word.data);
	} else {
		size_t n = strcspn(ps->at, " \t\r\n=:,[]{}\"");

		if (n > 0)
			name = strndup(ps->at, n);
		ps->at += n;
	}
	skip_blanks(ps);
	if (name != NULL && (*ps->at == '=' || *ps->at == ':')) {
		ps->at++;
		return name;
	}
	free(name);
	return NULL;
}

static int parse_members(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
			 const struct place *place)
{
	bool braced = *ps->at == '{';
	const char *start = ps->at;

	if (braced)
		ps->at++;
	for (bool first = true;; first = false) {
		_cleanup_free_ char *name = NULL;
		int r;

		skip_blanks(ps);
		if (!first && *ps->at == ',') {
			ps->at++;
			skip_blanks(ps);
		}
		if (*ps->at == (braced ? '}' : '\0'))
			break;
		name = read_name(ps);
		if (name == NULL)
			return refuse(ps, node, place, start);
		r = parse_named(ps, node, name, p, mask, place);
		if (r < 0)
			return r;
	}
	if (braced)
		ps->at++;
	return 0;
}

static bool starts_with_name(const struct parser *ps, const struct node *child)
{
	size_t n = strlen(child->name);

	return *ps->at == '"' || (strncmp(ps->at, child->name, n) == 0 &&
				  (ps->at[n] == '=' || ps->at[n] == ':' || ps->at[n] == '.'));
}

/* A struct without braces: its members by name, or the bare value of its only member. */
static int parse_top(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask)
{
	struct place here = { .node = node->children };

	if (node->n_children != 1 || starts_with_name(ps, here.node))
		return parse_members(ps, node, p, mask, NULL);
	return parse_value(ps, here.node, p + here.node->offset, mask + here.node->offset, &here);
}

static int parse_value(struct parser *ps, const struct node *node, uint8_t *p, uint8_t *mask,
		       const struct place *place)
{
	skip_blanks(ps);
	if (node->kind == NODE_ARRAY && *ps->at == '[')
		return parse_array(ps, node, p, mask, place);
	if (node->kind == NODE_TEXT_LIST && *ps->at == '[')
		return parse_text_list(ps, node, p, mask, place);
	if (node->kind == NODE_STRUCT && *ps->at == '{')
		return parse_members(ps, node, p, mask, place);
	if (node->kind == NODE_STRUCT && place == NULL && strncmp(ps->at, "0x", 2) != 0)
		return parse_top(ps, node, p, mask);
	return parse_leaf(ps, node, p, mask, place);
}

static bool is_covered(const struct node *node, const uint8_t *mask, bool wholly)
{
	static const struct node unsigned_template = { .kind = NODE_UNSIGNED };
	struct node bits = unsigned_template;

	if (node->bit_size != 0) {
		bits.bit_offset = node->bit_offset;
		bits.bit_size = node->bit_size;
		bits.size = node->size;
		return leaf_integer(&bits, mask) == ~UINT64_C(0) >> (64 - node->bit_size);
	}
	for (uint32_t i = 0; i < node->size; i++) {
		if ((mask[i] == 0xff) != wholly)
			return !wholly;
	}
	return wholly;
}

/* Appends the members that no text was given for: "port, peer.addr". */
static void list_missing(const struct node *node, const uint8_t *mask, const struct place *place,
			 struct str *out)
{
	bool is_array = node->kind == NODE_ARRAY;
	uint32_t n = is_array ? node->n : node->n_children;
	struct str name = { 0 };

	if (node->kind == NODE_KERNEL)
		return;
	if (!is_array && node->kind != NODE_STRUCT) {
		if (is_covered(node, mask, true))
			return;
		print_place(place, &name);
		(void)str_append(out, out->len == 0 ? "" : ", ");
		(void)str_append(out, name.data == NULL ? "" : name.data + (name.data[0] == '.'));
		out->failed = out->failed || name.failed;
		str_done(&name);
		return;
	}
	for (uint32_t i = 0; i < n && out->len <= DESCRIBE_MAX; i++) {
		const struct node *child = &node->children[is_array ? 0 : i];
		size_t offset = is_array ? (size_t)i * child->size : child->offset,
		       before = out->len;
		struct place here = { .above = place, .node = child };

		if (child->in_union && is_covered(child, mask + offset, false))
			continue;
		list_missing(child, mask + offset, &here, out);
		/* One element speaks for the others. */
		if (is_array && out->len > before)
			return;
	}
}

/*
 * A key with a member left out would silently find nothing, and a value with one would silently
 * lose what was in it.
 */
static int require_all(struct parser *ps, const uint8_t *mask)
{
	_cleanup_(str_done) struct str missing = { 0 }, whole = { 0 };

	if (ps->root->kind != NODE_STRUCT && ps->root->kind != NODE_ARRAY)
		return is_covered(ps->root, mask, true) ? 0 : refuse(ps, ps->root, NULL, NULL);
	list_missing(ps->root, mask, NULL, &missing);
	if (missing.len == 0 && !missing.failed)
		return 0;
	parse_describe(ps->root, &whole);
	if (missing.failed || whole.failed)
		return error_raise(ps->err, ERROR_OUT_OF_MEMORY, "out of memory");
	return error_raise(ps->err, ERROR_INVALID_KEY, "the %s lacks %s; it must be %s",
			   plan_part_names[ps->part], missing.data, whole.data);
}

int parse_text(const struct plan *plan, enum decoder_part part, const char *text,
	       uint8_t *ret_bytes, size_t n, struct error *err)
{
	_cleanup_free_ uint8_t *bytes = NULL, *mask = NULL;
	struct parser ps = { .at = text, .root = &plan->root, .part = part, .err = err };
	int r;

	if (part == DECODER_EVENT || n != plan->root.size)
		return error_raise(err, ERROR_INVALID_KEY, "a %s of this map has %u bytes, not %zu",
				   plan_part_names[part], plan->root.size, n);
	bytes = calloc(1, n + 1);
	mask = calloc(1, n + 1);
	if (bytes == NULL || mask == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for a text");
	r = parse_value(&ps, &plan->root, bytes, mask, NULL);
	skip_blanks(&ps);
	if (r == 0 && *ps.at != '\0')
		r = refuse(&ps, &plan->root, NULL, text);
	if (r == 0)
		r = require_all(&ps, mask);
	str_done(&ps.word);
	if (r < 0)
		return r;
	memcpy(ret_bytes, bytes, n);
	return 0;
}
