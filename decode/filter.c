#include "decode/filter.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "decode/leaf.h"
#include "decode/plan.h"
#include "decode/types.h"

enum term_kind {
	TERM_AND,
	TERM_OR,
	TERM_NOT,
	TERM_COMPARE,
	TERM_NEVER, /* compares a member that these records do not have */
};

enum comparison {
	OPERATOR_NOT_ZERO, /* a member alone */
	OPERATOR_EQUAL,
	OPERATOR_NOT_EQUAL,
	OPERATOR_AT_MOST,
	OPERATOR_AT_LEAST,
	OPERATOR_LESS,
	OPERATOR_MORE,
	OPERATOR_ANY_BIT,
};

/* Longer before what they begin with. */
static const struct {
	const char *text;
	enum comparison comparison;
} operators[] = {
	{ "==", OPERATOR_EQUAL },    { "!=", OPERATOR_NOT_EQUAL }, { "<=", OPERATOR_AT_MOST },
	{ ">=", OPERATOR_AT_LEAST }, { "<", OPERATOR_LESS },	   { ">", OPERATOR_MORE },
};

/* How values of a node compare. */
enum domain {
	DOMAIN_NONE,
	DOMAIN_UNSIGNED,
	DOMAIN_SIGNED,
	DOMAIN_FLOAT,
	DOMAIN_TEXT,
	DOMAIN_BYTES, /* equal or not */
};

static const enum domain domains[] = {
	[NODE_UNSIGNED] = DOMAIN_UNSIGNED,
	[NODE_SIGNED] = DOMAIN_SIGNED,
	[NODE_BOOL] = DOMAIN_UNSIGNED,
	[NODE_ENUM] = DOMAIN_UNSIGNED,
	[NODE_FLOAT] = DOMAIN_FLOAT,
	[NODE_INT128] = DOMAIN_BYTES,
	[NODE_POINTER] = DOMAIN_UNSIGNED,
	[NODE_TEXT] = DOMAIN_TEXT,
	[NODE_STRUCT] = DOMAIN_NONE,
	[NODE_ARRAY] = DOMAIN_NONE,
	[NODE_OPAQUE] = DOMAIN_NONE,
	[NODE_KERNEL] = DOMAIN_NONE,
	[NODE_BIG_ENDIAN] = DOMAIN_UNSIGNED,
	[NODE_HEX] = DOMAIN_UNSIGNED,
	[NODE_IPV4] = DOMAIN_BYTES,
	[NODE_IPV6] = DOMAIN_BYTES,
	[NODE_IP] = DOMAIN_BYTES,
	[NODE_CIDR] = DOMAIN_NONE,
	[NODE_MAC] = DOMAIN_BYTES,
	[NODE_BYTES] = DOMAIN_BYTES,
	[NODE_IP_PROTOCOL] = DOMAIN_UNSIGNED,
	[NODE_DURATION] = DOMAIN_UNSIGNED,
	[NODE_TEXT_LIST] = DOMAIN_NONE,
};

struct term {
	enum term_kind kind;
	uint8_t left, right; /* indices; TERM_NOT has left only */
	/* TERM_COMPARE */
	enum comparison comparison;
	enum domain domain;
	const struct node *node;
	uint32_t offset; /* of the node in the record */
	uint64_t number;
	double real;
	uint8_t *bytes; /* of DOMAIN_TEXT and DOMAIN_BYTES */
	size_t n_bytes;
};

/* The condition for records of one type. */
struct condition {
	uint32_t size_min;
	uint8_t root;
	uint8_t n_terms;
	struct term terms[FILTER_TERMS_MAX];
};

struct filter {
	const struct decoder *decoder;
	size_t n; /* types of records */
	struct condition *conditions[];
};

/* Which of the members that are compared, in the order of the text, some type of records has. */
struct members {
	size_t n;
	bool found[FILTER_TERMS_MAX];
	const char *at[FILTER_TERMS_MAX];
};

struct parser {
	const char *text, *at;
	const struct node *record;
	struct condition *condition;
	struct members *members; /* NULL: a member that is not there is refused */
	size_t n_members;
	unsigned int depth;
	struct error *err;
};

static int parse_or(struct parser *p, uint8_t *ret);

void filter_free(struct filter *filter)
{
	if (filter == NULL)
		return;
	for (size_t i = 0; i < filter->n; i++) {
		struct condition *condition = filter->conditions[i];

		for (size_t j = 0; condition != NULL && j < condition->n_terms; j++)
			free(condition->terms[j].bytes);
		free(condition);
	}
	free(filter);
}

/* ---- parsing */

static void skip_blanks(struct parser *p)
{
	while (*p->at == ' ' || *p->at == '\t')
		p->at++;
}

static bool take(struct parser *p, const char *token)
{
	const size_t n = strlen(token);

	skip_blanks(p);
	if (strncmp(p->at, token, n) != 0)
		return false;
	p->at += n;
	return true;
}

static int refuse(const struct parser *p, const char *what)
{
	return error_raise(p->err, ERROR_INVALID_FILTER, "filter, character %zu: %s",
			   (size_t)(p->at - p->text) + 1, what);
}

static int no_memory(const struct parser *p)
{
	return error_raise(p->err, ERROR_OUT_OF_MEMORY, "no memory for a filter");
}

static int term_new(struct parser *p, const struct term *term, uint8_t *ret)
{
	struct condition *condition = p->condition;

	if (condition->n_terms >= FILTER_TERMS_MAX) {
		free(term->bytes);
		return refuse(p, "too many conditions; 64 with all && || !");
	}
	condition->terms[condition->n_terms] = *term;
	*ret = condition->n_terms++;
	return 0;
}

static bool is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static const struct node *find_child(const struct node *node, const char *name, size_t n)
{
	for (uint32_t i = 0; node->kind == NODE_STRUCT && i < node->n_children; i++) {
		const struct node *child = &node->children[i];

		if (child->name != NULL && strlen(child->name) == n &&
		    memcmp(child->name, name, n) == 0)
			return child;
	}
	return NULL;
}

static int take_index(struct parser *p, struct term *term)
{
	const struct node *element;
	unsigned long index;
	char *end;

	if (term->node->kind != NODE_ARRAY || term->node->n_children == 0 || term->node->to_end)
		return refuse(p, "this member is no array of a fixed length");
	if (!isdigit((unsigned char)*p->at))
		return refuse(p, "a number was expected after [");
	index = strtoul(p->at, &end, 10);
	if (index >= term->node->n)
		return refuse(p, "the array has fewer elements");
	p->at = end;
	if (*p->at != ']')
		return refuse(p, "a ] was expected");
	p->at++;
	element = &term->node->children[0];
	term->offset += (uint32_t)index * element->size;
	term->node = element;
	return 0;
}

static int refuse_member(const struct parser *p, const char *at)
{
	size_t n = 0;

	while (is_name(at[n]))
		n++;
	return error_raise(p->err, ERROR_INVALID_FILTER,
			   "filter, character %zu: the record has no member '%.*s'",
			   (size_t)(at - p->text) + 1, (int)n, at);
}

/* A member that records of this type do not have, those of another may. */
static int pass_member(struct parser *p, struct term *term)
{
	const char *begin = p->at;

	if (p->members == NULL || !is_name(*begin))
		return refuse_member(p, begin);
	while (is_name(*p->at) || *p->at == '.' || *p->at == '[' || *p->at == ']')
		p->at++;
	term->kind = TERM_NEVER;
	return 0;
}

/* NAME { .NAME | [N] } */
static int take_member(struct parser *p, struct term *term)
{
	int r = 0;

	term->node = p->record;
	do {
		const char *name = p->at;
		size_t n = 0;
		const struct node *child;

		while (is_name(name[n]))
			n++;
		child = find_child(term->node, name, n);
		if (child == NULL)
			return pass_member(p, term);
		p->at += n;
		term->node = child;
		term->offset += child->offset;
		while (r == 0 && *p->at == '[') {
			p->at++;
			r = take_index(p, term);
		}
	} while (r == 0 && *p->at == '.' && p->at++);
	if (r < 0)
		return r;
	term->domain = domains[term->node->kind];
	if (term->domain == DOMAIN_UNSIGNED && term->node->kind == NODE_ENUM &&
	    term->node->is_signed)
		term->domain = DOMAIN_SIGNED;
	if (term->domain == DOMAIN_NONE)
		return refuse(p, "this member is no single value to compare");
	return 0;
}

/* A word, a number, an address, or a text in quotes, where \ makes the next character plain. */
static int take_literal(struct parser *p, struct str *out)
{
	skip_blanks(p);
	if (*p->at != '"') {
		const char *begin = p->at;

		while (is_name(*p->at) || (*p->at != '\0' && strchr(".:-+/%", *p->at) != NULL))
			p->at++;
		if (p->at == begin)
			return refuse(p, "a value was expected");
		return str_append_bytes(out, begin, (size_t)(p->at - begin)) < 0 ? no_memory(p) : 0;
	}
	p->at++;
	for (; *p->at != '"'; p->at++) {
		if (*p->at == '\\')
			p->at++;
		if (*p->at == '\0')
			return refuse(p, "a text is not ended by \"");
		if (str_append_bytes(out, p->at, 1) < 0)
			return no_memory(p);
	}
	p->at++;
	return 0;
}

static double real_of(const struct node *node, const uint8_t *bytes)
{
	double value = 0;
	float single = 0;

	if (node->size == sizeof(value)) {
		memcpy(&value, bytes, sizeof(value));
		return value;
	}
	memcpy(&single, bytes, sizeof(single));
	return (double)single;
}

static int refuse_literal(const struct parser *p, const struct node *node)
{
	_cleanup_(str_done) struct str expected = { 0 };

	leaf_describe(node, &expected);
	return error_raise(p->err, ERROR_INVALID_FILTER, "filter, character %zu: expected %s",
			   (size_t)(p->at - p->text) + 1,
			   expected.data != NULL ? expected.data : "another value");
}

static int term_set_value(struct parser *p, struct term *term, const char *text, size_t n)
{
	const struct node *node = term->node;
	_cleanup_free_ uint8_t *mask = NULL;

	if (term->domain == DOMAIN_FLOAT && node->size != sizeof(double) &&
	    node->size != sizeof(float))
		return refuse(p, "a number of this size cannot be compared");
	term->n_bytes = term->domain == DOMAIN_TEXT ? n : node->size;
	term->bytes = calloc(1, term->n_bytes + 1);
	mask = calloc(1, (size_t)node->size + 1);
	if (term->bytes == NULL || mask == NULL)
		return no_memory(p);
	if (term->domain == DOMAIN_TEXT) {
		memcpy(term->bytes, text, n);
		return 0;
	}
	if (!leaf_parse(node, text, n, term->bytes, mask))
		return refuse_literal(p, node);
	if (term->domain == DOMAIN_FLOAT)
		term->real = real_of(node, term->bytes);
	else if (term->domain != DOMAIN_BYTES)
		term->number = leaf_number(node, term->bytes);
	return 0;
}

static int take_operator(struct parser *p, struct term *term)
{
	skip_blanks(p);
	for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
		if (!take(p, operators[i].text))
			continue;
		term->comparison = operators[i].comparison;
		return 0;
	}
	if (p->at[0] == '&' && p->at[1] != '&') {
		p->at++;
		term->comparison = OPERATOR_ANY_BIT;
	}
	return 0;
}

static bool operator_fits(const struct term *term)
{
	const bool number = term->domain == DOMAIN_UNSIGNED || term->domain == DOMAIN_SIGNED;

	if (term->comparison == OPERATOR_EQUAL || term->comparison == OPERATOR_NOT_EQUAL)
		return true;
	if (term->comparison == OPERATOR_NOT_ZERO || term->comparison == OPERATOR_ANY_BIT)
		return number;
	return number || term->domain == DOMAIN_FLOAT;
}

static int note_member(struct parser *p, const char *at, bool found)
{
	const size_t i = p->n_members++;

	if (i >= FILTER_TERMS_MAX)
		return refuse(p, "too many conditions; 64 with all && || !");
	if (p->members == NULL)
		return 0;
	p->members->n = p->n_members > p->members->n ? p->n_members : p->members->n;
	p->members->at[i] = at;
	p->members->found[i] |= found;
	return 0;
}

static int parse_compare(struct parser *p, uint8_t *ret)
{
	_cleanup_(str_done) struct str literal = { 0 };
	struct term term = { .kind = TERM_COMPARE };
	const char *at;
	int r;

	skip_blanks(p);
	at = p->at;
	r = take_member(p, &term);
	if (r == 0)
		r = note_member(p, at, term.kind != TERM_NEVER);
	if (r == 0)
		r = take_operator(p, &term);
	if (r == 0 && term.kind != TERM_NEVER && !operator_fits(&term))
		return refuse(p, "this member compares with == or != only");
	if (r == 0 && term.comparison != OPERATOR_NOT_ZERO)
		r = take_literal(p, &literal);
	if (r == 0 && term.comparison != OPERATOR_NOT_ZERO && term.kind != TERM_NEVER)
		r = term_set_value(p, &term, literal.data != NULL ? literal.data : "", literal.len);
	if (r < 0) {
		free(term.bytes);
		return r;
	}
	return term_new(p, &term, ret);
}

static int parse_not(struct parser *p, uint8_t *ret)
{
	struct term term = { .kind = TERM_NOT };
	bool negated;
	int r;

	if (++p->depth > FILTER_DEPTH_MAX)
		return refuse(p, "too many ! and ( within each other");
	skip_blanks(p);
	negated = take(p, "!");
	if (negated) {
		r = parse_not(p, &term.left);
		if (r == 0)
			r = term_new(p, &term, ret);
	} else if (take(p, "(")) {
		r = parse_or(p, ret);
		if (r == 0 && !take(p, ")"))
			r = refuse(p, "a ) was expected");
	} else {
		r = parse_compare(p, ret);
	}
	p->depth--;
	return r;
}

static int parse_and(struct parser *p, uint8_t *ret)
{
	struct term term = { .kind = TERM_AND };
	int r = parse_not(p, ret);

	while (r == 0 && take(p, "&&")) {
		term.left = *ret;
		r = parse_not(p, &term.right);
		if (r == 0)
			r = term_new(p, &term, ret);
	}
	return r;
}

static int parse_or(struct parser *p, uint8_t *ret)
{
	struct term term = { .kind = TERM_OR };
	int r = parse_and(p, ret);

	while (r == 0 && take(p, "||")) {
		term.left = *ret;
		r = parse_and(p, &term.right);
		if (r == 0)
			r = term_new(p, &term, ret);
	}
	return r;
}

/* For records of one type. */
static int compile(struct parser *p, struct condition **ret)
{
	int r;

	if (p->record->kind != NODE_STRUCT)
		return error_raise(p->err, ERROR_INVALID_FILTER,
				   "the manifest tells no type for these records: they cannot be "
				   "filtered");
	*ret = p->condition = calloc(1, sizeof(*p->condition));
	if (p->condition == NULL)
		return no_memory(p);
	p->condition->size_min = p->record->size;
	r = parse_or(p, &p->condition->root);
	if (r < 0)
		return r;
	skip_blanks(p);
	if (*p->at != '\0')
		r = refuse(p, "&&, || or the end was expected");
	return r;
}

int filter_new(const struct decoder *decoder, const char *text, struct filter **ret,
	       struct error *err)
{
	const size_t n = decoder_n_event_types(decoder);
	_cleanup_(filter_freep) struct filter *filter =
		calloc(1, sizeof(*filter) + n * sizeof(filter->conditions[0]));
	struct members members = { 0 };
	int r = 0;

	if (filter == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a filter");
	if (strnlen(text, FILTER_TEXT_MAX + 1) > FILTER_TEXT_MAX)
		return error_raise(err, ERROR_INVALID_FILTER, "a filter has at most %d characters",
				   FILTER_TEXT_MAX);
	filter->decoder = decoder;
	filter->n = n;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct parser p = { .text = text,
				    .at = text,
				    .record = decoder_event_root(decoder, i),
				    .members = n > 1 ? &members : NULL,
				    .err = err };

		r = compile(&p, &filter->conditions[i]);
	}
	for (size_t i = 0; r == 0 && i < members.n; i++) {
		const struct parser p = { .text = text, .err = err };

		if (!members.found[i])
			r = refuse_member(&p, members.at[i]);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(filter);
	return 0;
}

/* ---- matching */

static bool orders(enum comparison comparison, bool less, bool more)
{
	switch (comparison) {
	case OPERATOR_EQUAL:
		return !less && !more;
	case OPERATOR_NOT_EQUAL:
		return less || more;
	case OPERATOR_AT_MOST:
		return !more;
	case OPERATOR_AT_LEAST:
		return !less;
	case OPERATOR_LESS:
		return less;
	case OPERATOR_MORE:
		return more;
	case OPERATOR_NOT_ZERO:
	case OPERATOR_ANY_BIT:
		break;
	}
	return false;
}

static bool number_holds(const struct term *term, uint64_t value)
{
	if (term->comparison == OPERATOR_NOT_ZERO)
		return value != 0;
	if (term->comparison == OPERATOR_ANY_BIT)
		return (value & term->number) != 0;
	if (term->domain == DOMAIN_SIGNED)
		return orders(term->comparison,
			      (int64_t)value<(int64_t)term->number, (int64_t)value>(int64_t)
				      term->number);
	return orders(term->comparison, value<term->number, value> term->number);
}

static bool text_equals(const struct term *term, const uint8_t *at, size_t n)
{
	n = strnlen((const char *)at, n);
	return n == term->n_bytes && memcmp(at, term->bytes, n) == 0;
}

static bool comparison_holds(const struct term *term, const uint8_t *record, size_t n)
{
	const uint8_t *at = record + term->offset;
	const struct node *node = term->node;
	double real;

	switch (term->domain) {
	case DOMAIN_UNSIGNED:
	case DOMAIN_SIGNED:
		return number_holds(term, leaf_number(node, at));
	case DOMAIN_FLOAT:
		real = real_of(node, at);
		/* What is no number is unequal to all, and neither less nor more. */
		if (real != real)
			return term->comparison == OPERATOR_NOT_EQUAL;
		return orders(term->comparison, real<term->real, real> term->real);
	case DOMAIN_TEXT:
		return text_equals(term, at, node->to_end ? n - term->offset : node->size) ==
		       (term->comparison == OPERATOR_EQUAL);
	case DOMAIN_BYTES:
		return (memcmp(at, term->bytes, node->size) == 0) ==
		       (term->comparison == OPERATOR_EQUAL);
	case DOMAIN_NONE:
		break;
	}
	return false;
}

/* As deep as conditions are many, at most. */
static bool term_holds(const struct condition *condition, uint8_t index, const uint8_t *record,
		       size_t n)
{
	const struct term *term = &condition->terms[index];

	switch (term->kind) {
	case TERM_AND:
		return term_holds(condition, term->left, record, n) &&
		       term_holds(condition, term->right, record, n);
	case TERM_OR:
		return term_holds(condition, term->left, record, n) ||
		       term_holds(condition, term->right, record, n);
	case TERM_NOT:
		return !term_holds(condition, term->left, record, n);
	case TERM_COMPARE:
		return comparison_holds(term, record, n);
	case TERM_NEVER:
		return false;
	}
	return false;
}

bool filter_matches(const struct filter *filter, const uint8_t *record, size_t n)
{
	const size_t type = decoder_event_type(filter->decoder, record, n);
	const struct condition *condition = type < filter->n ? filter->conditions[type] : NULL;

	return condition != NULL && n >= condition->size_min &&
	       term_holds(condition, condition->root, record, n);
}
