#include "decode/emit.h"

/* The members that lead to the one being printed as text: a.b.c=1. */
struct trail {
	const struct trail *above;
	const struct node *node;
};

static void print_trail(struct str *out, const struct trail *trail)
{
	if (trail->above != NULL) {
		print_trail(out, trail->above);
		put_char(out, '.');
	}
	(void)str_append(out, trail->node->name);
}

static void emit(const struct emission *e, const struct node *node, const uint8_t *p, size_t n,
		 const struct trail *trail);

/* What the copies agree on, or nothing. */
static void print_agreed(const struct emission *e, const struct node *node, const uint8_t *p,
			 size_t n, enum leaf_style style)
{
	const uint8_t *agreed = NULL;

	for (uint32_t i = 0; i < e->n_copies; i++) {
		const uint8_t *copy = p + i * e->stride;

		if (leaf_is_zero(node, copy))
			continue;
		if (agreed != NULL && !leaf_equal(node, agreed, copy)) {
			(void)str_append(e->out, style == LEAF_JSON ? "null" : "-");
			return;
		}
		agreed = copy;
	}
	leaf_print(e->out, node, agreed != NULL ? agreed : p, n, style);
}

static double read_float(const struct node *node, const uint8_t *p)
{
	double value;
	float single;

	if (node->size == 4) {
		memcpy(&single, p, sizeof(single));
		return (double)single;
	}
	memcpy(&value, p, sizeof(value));
	return value;
}

static void print_sum(const struct emission *e, const struct node *node, const uint8_t *p, size_t n,
		      enum leaf_style style)
{
	uint64_t sum = 0, latest = 0;
	double total = 0;

	if (node->kind != NODE_UNSIGNED && node->kind != NODE_SIGNED &&
	    node->kind != NODE_DURATION && node->kind != NODE_FLOAT) {
		print_agreed(e, node, p, n, style);
		return;
	}
	for (uint32_t i = 0; i < e->n_copies; i++) {
		const uint8_t *copy = p + i * e->stride;

		if (node->kind == NODE_FLOAT) {
			total += read_float(node, copy);
		} else {
			uint64_t value = leaf_integer(node, copy);

			sum += value;
			latest = value > latest ? value : latest;
		}
	}
	if (node->kind == NODE_FLOAT)
		leaf_print_double(e->out, total, false, style);
	else if (node->kind == NODE_DURATION)
		leaf_print_duration(e->out, latest, style);
	else if (node->kind == NODE_SIGNED)
		leaf_print_signed(e->out, (int64_t)sum, style);
	else
		leaf_print_unsigned(e->out, sum, style);
}

static void emit_leaf(const struct emission *e, const struct node *node, const uint8_t *p, size_t n,
		      enum leaf_style style)
{
	if (e->n_copies > 1)
		print_sum(e, node, p, n, style);
	else if (node->kind == NODE_UNSIGNED && node->bit_size == 0)
		leaf_print_unsigned(e->out, leaf_integer(node, p), style);
	else
		leaf_print(e->out, node, p, n, style);
}

static void emit_array(const struct emission *e, const struct node *node, const uint8_t *p,
		       size_t n)
{
	const struct node *element = &node->children[0];
	size_t count = node->n;

	if (node->to_end) {
		size_t most = PLAN_LEAVES_MAX / (element->leaves == 0 ? 1 : element->leaves);

		count = n / element->size;
		count = count < most ? count : most;
	}
	put_char(e->out, '[');
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			put_char(e->out, ',');
		emit(e, element, p + i * element->size, element->size, NULL);
	}
	put_char(e->out, ']');
}

static void emit_struct_json(const struct emission *e, const struct node *node, const uint8_t *p,
			     size_t n)
{
	if (node->n_children == 0)
		put_char(e->out, '{');
	for (uint32_t i = 0; i < node->n_children; i++) {
		const struct node *child = &node->children[i];

		put(e->out, child->literal, child->literal_len);
		emit(e, child, p + child->offset, child->to_end ? n - child->offset : child->size,
		     NULL);
	}
	put_char(e->out, '}');
}

static void emit_struct_text(const struct emission *e, const struct node *node, const uint8_t *p,
			     size_t n, const struct trail *above)
{
	for (uint32_t i = 0; i < node->n_children; i++) {
		const struct node *child = &node->children[i];
		struct trail trail = { .above = above, .node = child };

		if (i > 0)
			put_char(e->out, ' ');
		if (child->kind != NODE_STRUCT) {
			print_trail(e->out, &trail);
			put_char(e->out, '=');
		}
		emit(e, child, p + child->offset, child->to_end ? n - child->offset : child->size,
		     &trail);
	}
}

/* trail: the members that led here, NULL at the top and in elements of arrays. */
static void emit(const struct emission *e, const struct node *node, const uint8_t *p, size_t n,
		 const struct trail *trail)
{
	if (node->kind == NODE_ARRAY) {
		emit_array(e, node, p, n);
	} else if (node->kind == NODE_STRUCT && e->json) {
		emit_struct_json(e, node, p, n);
	} else if (node->kind == NODE_STRUCT) {
		bool is_element = trail == NULL;

		if (is_element)
			put_char(e->out, '{');
		emit_struct_text(e, node, p, n, trail);
		if (is_element)
			put_char(e->out, '}');
	} else {
		emit_leaf(e, node, p, n, e->json ? LEAF_JSON : LEAF_NESTED);
	}
}

void emit_node(const struct emission *emission, const struct node *node, const uint8_t *p, size_t n)
{
	if (emission->json || node->kind == NODE_ARRAY)
		emit(emission, node, p, n, NULL);
	else if (node->kind == NODE_STRUCT)
		emit_struct_text(emission, node, p, n, NULL);
	else
		emit_leaf(emission, node, p, n, LEAF_ALONE);
}
