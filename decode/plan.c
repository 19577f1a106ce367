#include "decode/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "base/error.h"

const char *const plan_part_names[DECODER_N_PARTS] = {
	[DECODER_KEY] = "key",
	[DECODER_VALUE] = "value",
	[DECODER_EVENT] = "event",
};

struct builder {
	const struct btf *btf;
	enum decoder_part part;
	uint32_t n_nodes;
	struct enumeration **enumerations;
	struct error *err;
};

static int build_type(struct builder *b, uint32_t type_id, unsigned int depth, struct node *node);

static int malformed(struct builder *b, uint32_t type_id, const char *what)
{
	return error_raise(b->err, ERROR_OBJECT_MALFORMED, "the type information, at type %u: %s",
			   type_id, what);
}

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for the plan of a type");
}

/* The type behind typedefs, qualifiers and variables; NULL if there is none. */
static const struct btf_type *type_resolve(const struct btf *btf, uint32_t type_id,
					   uint32_t *ret_type_id)
{
	for (unsigned int i = 0; i < PLAN_DEPTH_MAX; i++) {
		const struct btf_type *t = btf__type_by_id(btf, type_id);

		if (t == NULL || btf_is_void(t))
			return NULL;
		if (!btf_is_mod(t) && !btf_is_typedef(t) && !btf_is_var(t)) {
			*ret_type_id = type_id;
			return t;
		}
		type_id = t->type;
	}
	return NULL;
}

void node_clear(struct node *node)
{
	for (uint32_t i = 0; i < node->n_children; i++) {
		node_clear(&node->children[i]);
		free(node->children[i].name);
		free(node->children[i].literal);
	}
	free(node->children);
	node->children = NULL;
	node->n_children = 0;
}

static void node_make_opaque(struct node *node)
{
	node_clear(node);
	node->kind = NODE_OPAQUE;
	node->leaves = 1;
}

void enumerations_free(struct enumeration *enumerations)
{
	while (enumerations != NULL) {
		struct enumeration *next = enumerations->next;

		free(enumerations->items);
		free(enumerations);
		enumerations = next;
	}
}

static int enumerator_compare(const void *a, const void *b)
{
	const struct enumerator *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return (x->name > y->name) - (x->name < y->name);
}

static int64_t enumerator_value(const struct btf_type *t, uint32_t i)
{
	if (btf_is_enum64(t)) {
		uint64_t bits = btf_enum64_value(&btf_enum64(t)[i]);

		if (t->size < 8 && !btf_kflag(t))
			bits &= (UINT64_C(1) << (8 * t->size)) - 1;
		return (int64_t)bits;
	}
	return btf_kflag(t) ? btf_enum(t)[i].val : (int64_t)(uint32_t)btf_enum(t)[i].val;
}

static int build_enumeration(struct builder *b, uint32_t type_id, const struct btf_type *t,
			     struct node *node)
{
	struct enumeration *e;

	for (e = *b->enumerations; e != NULL; e = e->next) {
		if (e->type_id == type_id) {
			node->enumeration = e;
			return 0;
		}
	}
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return out_of_memory(b->err);
	e->type_id = type_id;
	e->items = calloc((size_t)btf_vlen(t) + 1, sizeof(*e->items));
	if (e->items == NULL) {
		free(e);
		return out_of_memory(b->err);
	}
	for (uint32_t i = 0; i < btf_vlen(t); i++) {
		uint32_t name_off =
			btf_is_enum64(t) ? btf_enum64(t)[i].name_off : btf_enum(t)[i].name_off;
		const char *name = btf__name_by_offset(b->btf, name_off);

		if (name == NULL || name[0] == '\0')
			continue;
		e->items[e->n++] = (struct enumerator){ enumerator_value(t, i), name };
	}
	qsort(e->items, e->n, sizeof(*e->items), enumerator_compare);
	e->next = *b->enumerations;
	*b->enumerations = e;
	node->enumeration = e;
	return 0;
}

static int build_enum(struct builder *b, uint32_t type_id, const struct btf_type *t,
		      struct node *node)
{
	if (t->size != 1 && t->size != 2 && t->size != 4 && t->size != 8)
		return malformed(b, type_id, "an enum of an odd size");
	node->kind = NODE_ENUM;
	node->is_signed = btf_kflag(t);
	node->size = t->size;
	return build_enumeration(b, type_id, t, node);
}

static int build_int(struct builder *b, uint32_t type_id, const struct btf_type *t,
		     struct node *node)
{
	const char *name = btf__name_by_offset(b->btf, t->name_off);
	uint8_t encoding = btf_int_encoding(t), bits = btf_int_bits(t);

	if (t->size == 0 || t->size > 16 || (t->size & (t->size - 1)) != 0 || bits == 0 ||
	    btf_int_offset(t) + bits > t->size * 8)
		return malformed(b, type_id, "an integer of an odd size");
	node->size = t->size;
	if (t->size == 16) {
		node->kind = NODE_INT128;
		node->is_signed = encoding & BTF_INT_SIGNED;
		return 0;
	}
	if (encoding & BTF_INT_BOOL)
		node->kind = NODE_BOOL;
	else
		node->kind = encoding & BTF_INT_SIGNED ? NODE_SIGNED : NODE_UNSIGNED;
	node->is_char = t->size == 1 &&
			((encoding & BTF_INT_CHAR) || (name != NULL && strcmp(name, "char") == 0));
	if (bits != t->size * 8) {
		node->offset += btf_int_offset(t) / 8;
		node->bit_offset = btf_int_offset(t) % 8;
		node->bit_size = bits;
		node->size = (uint32_t)(node->bit_offset + bits + 7) / 8;
	}
	return 0;
}

static int build_array(struct builder *b, uint32_t type_id, const struct btf_type *t,
		       unsigned int depth, struct node *node)
{
	const struct btf_array *array = btf_array(t);
	struct node *element;
	uint64_t size;
	int r;

	node->children = calloc(1, sizeof(*node->children));
	if (node->children == NULL)
		return out_of_memory(b->err);
	node->kind = NODE_ARRAY;
	node->n_children = 1;
	node->n = array->nelems;
	element = node->children;
	r = build_type(b, array->type, depth + 1, element);
	if (r < 0)
		return r;
	size = (uint64_t)element->size * array->nelems;
	if (size > PLAN_SIZE_MAX || element->bit_size != 0)
		return malformed(b, type_id, "an array of what cannot be in one, or too many");
	node->size = (uint32_t)size;
	if (element->is_char) {
		node_clear(node);
		node->kind = NODE_TEXT;
		node->exact = b->part == DECODER_KEY;
		node->leaves = 1;
		return 0;
	}
	if ((uint64_t)element->leaves * array->nelems > PLAN_LEAVES_MAX) {
		node_make_opaque(node);
		return 0;
	}
	node->leaves = element->leaves * array->nelems;
	return 0;
}

/* Turns a member into a bit-field of `bits` at `bit` of its struct; only whole numbers can be one.
 */
static int make_bitfield(struct builder *b, uint32_t type_id, struct node *node, uint64_t bit,
			 uint32_t bits)
{
	if ((node->kind != NODE_UNSIGNED && node->kind != NODE_SIGNED && node->kind != NODE_BOOL &&
	     node->kind != NODE_ENUM) ||
	    bits > 64 || bits > node->size * 8)
		return malformed(b, type_id, "a bit-field that is no number");
	node->offset = (uint32_t)(bit / 8);
	node->bit_offset = bit % 8;
	node->bit_size = (uint8_t)bits;
	node->size = (node->bit_offset + bits + 7) / 8;
	node->is_char = false;
	return 0;
}

/* Takes over the child; room grows at every power of two. */
static int append_child(struct builder *b, struct node *node, struct node *child)
{
	uint32_t n = node->n_children;

	if ((n & (n - 1)) == 0) {
		size_t capacity = n == 0 ? 1 : (size_t)n * 2;
		struct node *children = realloc(node->children, capacity * sizeof(*children));

		if (children == NULL)
			return out_of_memory(b->err);
		node->children = children;
	}
	node->children[node->n_children++] = *child;
	memset(child, 0, sizeof(*child));
	return 0;
}

/* Appends the members of an anonymous struct or union to the struct around it. */
static int inline_members(struct builder *b, struct node *node, struct node *member)
{
	for (uint32_t i = 0; i < member->n_children; i++) {
		struct node *child = &member->children[i];
		int r;

		child->offset += member->offset;
		child->in_union = child->in_union || member->in_union;
		r = append_child(b, node, child);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Adds a member to its struct: by its name, or without one by its own members. */
static int add_member(struct builder *b, struct node *node, const char *name, struct node *member)
{
	if (name == NULL || name[0] == '\0')
		return member->kind == NODE_STRUCT ? inline_members(b, node, member) : 0;
	member->name = strdup(name);
	return member->name == NULL ? out_of_memory(b->err) : append_child(b, node, member);
}

static void member_done(struct node *member)
{
	node_clear(member);
	free(member->name);
}

static int build_member(struct builder *b, uint32_t type_id, const struct btf_type *t, uint32_t i,
			unsigned int depth, struct node *node)
{
	_cleanup_(member_done) struct node member = { .in_union = btf_is_union(t) };
	const struct btf_member *m = &btf_members(t)[i];
	uint32_t bit = btf_member_bit_offset(t, i), bits = btf_member_bitfield_size(t, i);
	int r;

	member.offset = bit / 8;
	r = build_type(b, m->type, depth + 1, &member);
	if (r < 0)
		return r;
	if (bits != 0)
		r = make_bitfield(b, type_id, &member, bit, bits);
	else if (bit % 8 != 0)
		r = make_bitfield(b, type_id, &member, (uint64_t)bit + member.bit_offset,
				  member.bit_size == 0 ? member.size * 8 : member.bit_size);
	if (r < 0)
		return r;
	if ((uint64_t)member.offset + member.size > t->size)
		return malformed(b, type_id, "a member that lies outside its struct");
	return add_member(b, node, btf__name_by_offset(b->btf, m->name_off), &member);
}

static int build_variable(struct builder *b, uint32_t type_id, const struct btf_type *t, uint32_t i,
			  unsigned int depth, struct node *node)
{
	const struct btf_var_secinfo *v = &btf_var_secinfos(t)[i];
	const struct btf_type *var = btf__type_by_id(b->btf, v->type);
	_cleanup_(member_done) struct node member = { .offset = v->offset };
	int r;

	if (var == NULL || !btf_is_var(var))
		return 0;
	r = build_type(b, v->type, depth + 1, &member);
	if (r < 0)
		return r;
	if ((uint64_t)member.offset + member.size > t->size)
		return malformed(b, type_id, "a variable that lies outside its section");
	return add_member(b, node, btf__name_by_offset(b->btf, var->name_off), &member);
}

static int build_struct(struct builder *b, uint32_t type_id, const struct btf_type *t,
			unsigned int depth, struct node *node)
{
	uint64_t leaves = 0;
	int r = 0;

	if (t->size > PLAN_SIZE_MAX)
		return malformed(b, type_id, "a struct that is too large");
	node->kind = NODE_STRUCT;
	node->size = t->size;
	b->n_nodes += btf_vlen(t);
	if (b->n_nodes > PLAN_NODES_MAX) {
		node_make_opaque(node);
		return 0;
	}
	for (uint32_t i = 0; i < btf_vlen(t) && r == 0; i++)
		r = btf_is_datasec(t) ? build_variable(b, type_id, t, i, depth, node)
				      : build_member(b, type_id, t, i, depth, node);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < node->n_children; i++)
		leaves += node->children[i].leaves;
	if (leaves > PLAN_LEAVES_MAX)
		node_make_opaque(node);
	else
		node->leaves = leaves == 0 ? 1 : (uint32_t)leaves;
	return 0;
}

/* A pointer that the kernel keeps a reference with; user space reads zeros there. */
static bool is_kernel_pointer(const struct btf *btf, const struct btf_type *t)
{
	const struct btf_type *tag = btf__type_by_id(btf, t->type);
	const char *name = tag != NULL && btf_is_type_tag(tag)
				   ? btf__name_by_offset(btf, tag->name_off)
				   : NULL;

	return name != NULL && (strncmp(name, "kptr", 4) == 0 || strcmp(name, "uptr") == 0 ||
				strcmp(name, "percpu_kptr") == 0);
}

/* The kernel's own fields in values, enum btf_field_type in its include/linux/bpf.h. */
static bool is_kernel_struct(const struct btf *btf, const struct btf_type *t)
{
	static const char *const names[] = { "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer",
					     "bpf_wq",	      "bpf_task_work",	   "bpf_list_head",
					     "bpf_list_node", "bpf_rb_root",	   "bpf_rb_node",
					     "bpf_refcount" };
	const char *name = btf__name_by_offset(btf, t->name_off);

	for (size_t i = 0; name != NULL && i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* The kinds that have no members. */
static int build_plain(struct builder *b, uint32_t type_id, const struct btf_type *t,
		       struct node *node)
{
	switch (btf_kind(t)) {
	case BTF_KIND_INT:
		return build_int(b, type_id, t, node);
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		return build_enum(b, type_id, t, node);
	case BTF_KIND_PTR:
		node->kind = is_kernel_pointer(b->btf, t) ? NODE_KERNEL : NODE_POINTER;
		node->size = 8;
		return 0;
	case BTF_KIND_FLOAT:
		if (t->size > 16)
			return malformed(b, type_id, "a floating-point number of an odd size");
		node->kind = t->size == 4 || t->size == 8 ? NODE_FLOAT : NODE_OPAQUE;
		node->size = t->size;
		return 0;
	default:
		return malformed(b, type_id, "not a type that a value can have");
	}
}

/* Fills kind, size, leaves and children; keeps offset and in_union, adds to offset. */
static int build_type(struct builder *b, uint32_t type_id, unsigned int depth, struct node *node)
{
	const struct btf_type *t = type_resolve(b->btf, type_id, &type_id);

	if (t == NULL)
		return malformed(b, type_id, "no such type, or one without a size");
	if (depth > PLAN_DEPTH_MAX)
		return malformed(b, type_id, "nested too deeply");
	node->leaves = 1;
	if (btf_is_struct(t) && b->part == DECODER_VALUE && is_kernel_struct(b->btf, t)) {
		node->kind = NODE_KERNEL;
		node->size = t->size;
		return 0;
	}
	if (btf_is_composite(t) || btf_is_datasec(t))
		return build_struct(b, type_id, t, depth, node);
	if (btf_is_array(t))
		return build_array(b, type_id, t, depth, node);
	return build_plain(b, type_id, t, node);
}

/* A last member without elements of its own takes the rest of a record. */
static void mark_to_end(struct node *root)
{
	struct node *last;

	if (root->kind != NODE_STRUCT || root->n_children == 0)
		return;
	last = &root->children[root->n_children - 1];
	if (last->size == 0 &&
	    (last->kind == NODE_TEXT || (last->kind == NODE_ARRAY && last->children[0].size > 0)))
		last->to_end = true;
}

int plan_build(struct plan *plan, const struct btf *btf, uint32_t type_id, uint32_t size,
	       enum decoder_part part, struct enumeration **enumerations, struct error *err)
{
	struct builder b = { .btf = btf, .part = part, .enumerations = enumerations, .err = err };
	uint32_t resolved;
	const struct btf_type *t = type_resolve(btf, type_id, &resolved);
	bool is_section;
	int r;

	*plan = (struct plan){ .type_id = type_id };
	if (t == NULL)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "the %s's type %u is not in the type information",
				   plan_part_names[part], type_id);
	is_section = btf_is_datasec(t);
	if (is_section && t->size == 0) { /* as clang leaves it, before libbpf fills it in */
		plan_build_opaque(plan, size);
		return 0;
	}
	r = build_type(&b, type_id, 0, &plan->root);
	if (r < 0)
		return error_context(err, r, "%s", plan_part_names[part]);
	plan->n_nodes = b.n_nodes;
	if (part == DECODER_EVENT) {
		mark_to_end(&plan->root);
		return 0;
	}
	if (plan->root.size != size && !(is_section && plan->root.size < size))
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "the %s has %u bytes, its type %u has %u", plan_part_names[part],
				   size, type_id, plan->root.size);
	plan->root.size = size;
	return 0;
}

void plan_build_opaque(struct plan *plan, uint32_t size)
{
	*plan = (struct plan){ .root = { .kind = NODE_OPAQUE, .size = size, .leaves = 1 } };
}

void plan_build_number(struct plan *plan, uint32_t size)
{
	*plan = (struct plan){ .root = { .kind = NODE_UNSIGNED, .size = size, .leaves = 1 } };
}

void plan_done(struct plan *plan)
{
	node_clear(&plan->root);
	memset(plan, 0, sizeof(*plan));
}

static int finish_members(struct node *node)
{
	for (uint32_t i = 0; i < node->n_children; i++) {
		struct node *child = &node->children[i];
		struct str s = { 0 };
		int r = finish_members(child);

		if (r < 0 || node->kind == NODE_ARRAY)
			return r;
		(void)str_append(&s, i == 0 ? "{" : ",");
		(void)str_append_json(&s, child->name, SIZE_MAX);
		(void)str_append(&s, ":");
		child->literal_len = s.len;
		child->literal = str_take(&s);
		(void)str_append_escaped(&s, child->name, SIZE_MAX);
		free(child->name);
		child->name = str_take(&s);
		if (child->literal == NULL || child->name == NULL)
			return -ENOMEM;
	}
	return 0;
}

int plan_finish(struct plan *plan, struct error *err)
{
	return finish_members(&plan->root) < 0 ? out_of_memory(err) : 0;
}
