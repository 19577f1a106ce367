#include "decode/types.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "base/error.h"
#include "bundle/map-type.h"
#include "decode/emit.h"
#include "decode/parse.h"
#include "decode/plan.h"
#include "decode/variants.h"

#define CPUS_MAX 65536

struct decoder {
	struct btf *btf; /* enum names point into it */
	struct enumeration *enumerations;
	struct plan plans[DECODER_N_PARTS];
	struct variants variants; /* of records; n 0: all are of one type */
	bool section;
	uint32_t n_cpus;
	size_t stride; /* from one CPU's value to the next */
};

void decoder_free(struct decoder *decoder)
{
	if (decoder == NULL)
		return;
	for (size_t i = 0; i < DECODER_N_PARTS; i++)
		plan_done(&decoder->plans[i]);
	variants_done(&decoder->variants);
	enumerations_free(decoder->enumerations);
	btf__free(decoder->btf);
	free(decoder);
}

static int build_part(struct decoder *d, enum decoder_part part, uint32_t type_id, uint32_t size,
		      struct error *err)
{
	if (d->btf == NULL || type_id == 0) {
		plan_build_opaque(&d->plans[part], size);
		return 0;
	}
	return plan_build(&d->plans[part], d->btf, type_id, size, part, &d->enumerations, err);
}

/* The map of a data section is an array with one element: its key is an index, though without a
 * type. */
static bool is_section(const struct decoder *d, const struct decoder_options *options)
{
	const struct btf_type *t =
		d->btf == NULL ? NULL : btf__type_by_id(d->btf, options->value_type_id);

	return t != NULL && btf_is_datasec(t) && options->key_type_id == 0 &&
	       options->key_size == 4;
}

/* A row about records is for those variants that it fits. */
static int apply_display(struct decoder *d, enum decoder_part part,
			 const Bpfleet__V1__Display *display, struct error *err)
{
	int r = 0, n_fits = 0;

	if (part != DECODER_EVENT || d->variants.n == 0)
		return plan_display(&d->plans[part], part, display, err);
	for (size_t i = 0; i < d->variants.n; i++) {
		r = plan_display(&d->variants.items[i].plan, part, display, err);
		n_fits += r == 0;
	}
	return n_fits > 0 ? 0 : r;
}

static int apply_displays(struct decoder *d, const struct decoder_options *options,
			  struct error *err)
{
	for (size_t i = 0; i < options->n_display; i++) {
		const Bpfleet__V1__Display *display = options->display[i];
		const char *rest;
		enum decoder_part part = plan_part_of_path(display->path, &rest);
		int r;

		if (part == DECODER_N_PARTS)
			r = error_raise(options->strict ? err : NULL, ERROR_MANIFEST_INVALID,
					"display: '%s' does not start with key, value or event",
					display->path);
		else
			r = apply_display(d, part, display, options->strict ? err : NULL);
		if (r < 0 && options->strict)
			return r;
	}
	return 0;
}

static int open_btf(struct decoder *d, const struct decoder_options *options, struct error *err)
{
	if (options->n_btf == 0)
		return 0;
	if (options->n_btf > UINT32_MAX)
		return error_raise(err, ERROR_OBJECT_MALFORMED,
				   "the type information is too large");
	errno = 0;
	d->btf = btf__new(options->btf, (uint32_t)options->n_btf);
	if (d->btf != NULL)
		return 0;
	if (errno == ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for type information");
	return error_raise(err, ERROR_OBJECT_MALFORMED, "the type information is not BTF");
}

int decoder_new(const struct decoder_options *options, struct decoder **ret, struct error *err)
{
	_cleanup_(decoder_freep) struct decoder *d = calloc(1, sizeof(*d));
	int r;

	if (d == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for a decoder");
	if (options->key_size > PLAN_SIZE_MAX || options->value_size > PLAN_SIZE_MAX ||
	    options->n_cpus > CPUS_MAX)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "no map has keys or values of that size");
	d->n_cpus = options->n_cpus;
	d->stride = ((size_t)options->value_size + 7) / 8 * 8;
	r = open_btf(d, options, err);
	if (r < 0)
		return r;
	r = build_part(d, DECODER_KEY, options->key_type_id, options->key_size, err);
	if (r == 0)
		r = build_part(d, DECODER_VALUE, options->value_type_id, options->value_size, err);
	if (r == 0)
		r = build_part(d, DECODER_EVENT, options->event_type_id, 0, err);
	if (r == 0 && d->btf != NULL && options->n_event_variants > 0)
		r = variants_build(d->btf, options->event_tag, options->event_variants,
				   options->n_event_variants, &d->enumerations, &d->variants, err);
	if (r < 0)
		return r;
	d->section = is_section(d, options);
	if (d->section || (options->key_is_index && options->key_type_id == 0 &&
			   options->key_size == sizeof(uint32_t)))
		plan_build_number(&d->plans[DECODER_KEY], 4);
	r = apply_displays(d, options, err);
	for (size_t i = 0; i < DECODER_N_PARTS && r == 0; i++)
		r = plan_finish(&d->plans[i], err);
	for (size_t i = 0; i < d->variants.n && r == 0; i++)
		r = plan_finish(&d->variants.items[i].plan, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

int decoder_new_for_map(const Bpfleet__V1__Map *map, const uint8_t *btf, size_t n_btf,
			struct decoder **ret, struct error *err)
{
	const struct map_type *type = map_type_find(map->type);
	const struct decoder_options options = {
		.btf = btf,
		.n_btf = n_btf,
		.key_type_id = map->key_type_id,
		/* The kernel wraps the struct that the object declares in one of its own. */
		.value_type_id = type != NULL && type->number == BPF_MAP_TYPE_STRUCT_OPS
					 ? 0
					 : map->value_type_id,
		.event_type_id = map->event_type_id,
		.event_tag = map->event_tag,
		.event_variants = map->event_variants,
		.n_event_variants = map->n_event_variants,
		.key_size = map->key_size,
		.value_size = map->value_size,
		.n_cpus = map->n_cpus,
		.key_is_index = type != NULL && (type->flags & MAP_INDEXED) != 0,
		.display = map->display,
		.n_display = map->n_display,
	};

	return decoder_new(&options, ret, err);
}

const struct node *decoder_root(const struct decoder *d, enum decoder_part part)
{
	return &d->plans[part].root;
}

size_t decoder_n_event_types(const struct decoder *d)
{
	return d->variants.n > 0 ? d->variants.n : 1;
}

size_t decoder_event_type(const struct decoder *d, const uint8_t *record, size_t n)
{
	return d->variants.n > 0 ? variants_find(&d->variants, record, n) : 0;
}

const struct node *decoder_event_root(const struct decoder *d, size_t type)
{
	return type < d->variants.n ? &d->variants.items[type].plan.root
				    : &d->plans[DECODER_EVENT].root;
}

/* What these bytes are. */
static const struct node *root_of(const struct decoder *d, enum decoder_part part,
				  const uint8_t *bytes, size_t n)
{
	return part == DECODER_EVENT ? decoder_event_root(d, decoder_event_type(d, bytes, n))
				     : &d->plans[part].root;
}

static bool is_per_cpu(const struct decoder *d, enum decoder_part part)
{
	return part == DECODER_VALUE && d->n_cpus > 0;
}

size_t decoder_size(const struct decoder *d, enum decoder_part part)
{
	return is_per_cpu(d, part) ? d->stride * d->n_cpus : d->plans[part].root.size;
}

static int finish(const struct str *out)
{
	return out->failed ? -ENOMEM : 0;
}

bool decoder_is_per_cpu(const struct decoder *d)
{
	return d->n_cpus > 0;
}

size_t decoder_value_size(const struct decoder *d)
{
	return d->plans[DECODER_VALUE].root.size;
}

static const struct node *variable_node(const struct decoder *d, const char *name)
{
	const struct node *root = &d->plans[DECODER_VALUE].root;

	for (uint32_t i = 0; d->section && i < root->n_children; i++) {
		if (strcmp(root->children[i].name, name) == 0)
			return &root->children[i];
	}
	return NULL;
}

bool decoder_is_section(const struct decoder *d)
{
	return d->section;
}

bool decoder_variable(const struct decoder *d, const char *name, uint32_t *ret_offset,
		      size_t *ret_size)
{
	const struct node *node = variable_node(d, name);

	if (node == NULL)
		return false;
	*ret_offset = node->offset;
	*ret_size = node->size;
	return true;
}

int decoder_variable_json(const struct decoder *d, const char *name, const uint8_t *bytes,
			  struct str *out)
{
	const struct emission emission = { .out = out, .json = true, .n_copies = 1 };
	const struct node *node = variable_node(d, name);

	if (node != NULL)
		emit_node(&emission, node, bytes, node->size);
	return finish(out);
}

int decoder_variable_parse(const struct decoder *d, const char *name, const char *text,
			   uint8_t *ret_bytes, size_t n, struct error *err)
{
	const struct node *node = variable_node(d, name);
	struct plan plan = { 0 };

	if (node == NULL)
		return error_raise(err, ERROR_KEY_NOT_IN_MAP, "there is no variable '%.128s'",
				   name);
	plan.root = *node;
	return parse_text(&plan, DECODER_VALUE, text, ret_bytes, n, err);
}

static bool has_size(const struct decoder *d, enum decoder_part part, const struct node *root,
		     size_t n)
{
	if (part != DECODER_EVENT)
		return n == decoder_size(d, part);
	return n >= root->size && root->kind != NODE_OPAQUE;
}

static struct emission sum_of(const struct decoder *d, enum decoder_part part, struct str *out,
			      bool json)
{
	struct emission emission = { .out = out, .json = json, .n_copies = 1 };

	if (is_per_cpu(d, part)) {
		emission.n_copies = d->n_cpus;
		emission.stride = d->stride;
	}
	return emission;
}

static void emit_per_cpu(const struct decoder *d, const uint8_t *bytes, struct str *out)
{
	const struct emission each = { .out = out, .json = true, .n_copies = 1 };
	const struct emission sum = sum_of(d, DECODER_VALUE, out, true);
	const struct node *root = &d->plans[DECODER_VALUE].root;

	(void)str_append(out, "{\"cpus\":[");
	for (uint32_t i = 0; i < d->n_cpus; i++) {
		if (i > 0)
			put_char(out, ',');
		emit_node(&each, root, bytes + i * d->stride, root->size);
	}
	(void)str_append(out, "],\"sum\":");
	emit_node(&sum, root, bytes, root->size);
	put_char(out, '}');
}

int decoder_json(const struct decoder *d, enum decoder_part part, const uint8_t *bytes, size_t n,
		 struct str *out)
{
	const struct emission emission = { .out = out, .json = true, .n_copies = 1 };
	const struct node *root = root_of(d, part, bytes, n);

	if (!has_size(d, part, root, n))
		leaf_print_hex(out, bytes, n, "0x", LEAF_JSON);
	else if (is_per_cpu(d, part))
		emit_per_cpu(d, bytes, out);
	else
		emit_node(&emission, root, bytes, n);
	return finish(out);
}

int decoder_entry_json(const struct decoder *d, const uint8_t *key, const uint8_t *value,
		       struct str *out)
{
	put(out, "{\"key\":", 7);
	(void)decoder_json(d, DECODER_KEY, key, decoder_size(d, DECODER_KEY), out);
	put(out, ",\"value\":", 9);
	(void)decoder_json(d, DECODER_VALUE, value, decoder_size(d, DECODER_VALUE), out);
	put(out, "}", 1);
	return finish(out);
}

int decoder_text(const struct decoder *d, enum decoder_part part, const uint8_t *bytes, size_t n,
		 struct str *out)
{
	const struct emission emission = sum_of(d, part, out, false);
	const struct node *root = root_of(d, part, bytes, n);

	if (!has_size(d, part, root, n))
		leaf_print_hex(out, bytes, n, "0x", LEAF_ALONE);
	else
		emit_node(&emission, root, bytes, is_per_cpu(d, part) ? root->size : n);
	return finish(out);
}

size_t decoder_n_columns(const struct decoder *d, enum decoder_part part)
{
	const struct node *root = &d->plans[part].root;

	return root->kind == NODE_STRUCT && root->n_children > 0 ? root->n_children : 1;
}

/* The node of a column; the root itself when it has no members. */
static const struct node *column_node(const struct decoder *d, enum decoder_part part,
				      size_t column)
{
	const struct node *root = &d->plans[part].root;

	if (root->kind != NODE_STRUCT || root->n_children == 0)
		return root;
	return column < root->n_children ? &root->children[column] : NULL;
}

const char *decoder_column_name(const struct decoder *d, enum decoder_part part, size_t column)
{
	const struct node *node = column_node(d, part, column);

	return node == NULL || node->name == NULL ? plan_part_names[part] : node->name;
}

bool decoder_column_is_number(const struct decoder *d, enum decoder_part part, size_t column)
{
	const struct node *node = column_node(d, part, column);

	return node != NULL && (node->kind == NODE_UNSIGNED || node->kind == NODE_SIGNED ||
				node->kind == NODE_FLOAT || node->kind == NODE_BIG_ENDIAN ||
				node->kind == NODE_DURATION || node->kind == NODE_INT128);
}

size_t decoder_column_width(const struct decoder *d, enum decoder_part part, size_t column)
{
	static const uint8_t digits[] = { 0, 3, 5, 5, 7, 7, 7, 7, 10 };
	const struct node *node = column_node(d, part, column);
	size_t size = node == NULL ? 0 : node->size;

	if (node == NULL)
		return 0;
	switch (node->kind) {
	case NODE_UNSIGNED:
	case NODE_SIGNED:
	case NODE_BIG_ENDIAN:
		return size < ARRAY_SIZE(digits) ? digits[size] : 0;
	case NODE_BOOL:
	case NODE_IP_PROTOCOL:
		return 5;
	case NODE_TEXT:
		return size < 16 ? size : 16;
	case NODE_IPV4:
	case NODE_IP:
		return 15;
	case NODE_CIDR:
		return 18;
	case NODE_MAC:
		return 17;
	case NODE_IPV6:
		return 25;
	case NODE_DURATION:
		return 16;
	case NODE_ENUM:
	case NODE_FLOAT:
		return 8;
	case NODE_POINTER:
		return 18;
	case NODE_BYTES:
		return size < 16 ? 2 * size : 32;
	case NODE_INT128:
	case NODE_HEX:
	case NODE_STRUCT:
	case NODE_ARRAY:
	case NODE_KERNEL:
	case NODE_OPAQUE:
	case NODE_TEXT_LIST:
		return 0;
	}
	return 0;
}

int decoder_column_text(const struct decoder *d, enum decoder_part part, size_t column,
			const uint8_t *bytes, size_t n, struct str *out)
{
	const struct emission emission = sum_of(d, part, out, false);
	const struct node *node = column_node(d, part, column);
	size_t offset;

	if (part == DECODER_EVENT && d->variants.n > 0)
		return column == 0 ? decoder_text(d, part, bytes, n, out) : finish(out);
	if (!has_size(d, part, &d->plans[part].root, n)) {
		if (column == 0)
			leaf_print_hex(out, bytes, n, "0x", LEAF_ALONE);
		return finish(out);
	}
	if (node == NULL)
		return finish(out);
	offset = node == &d->plans[part].root ? 0 : node->offset;
	emit_node(&emission, node, bytes + offset, node->to_end ? n - offset : node->size);
	return finish(out);
}

int decoder_parse(const struct decoder *d, enum decoder_part part, const char *text,
		  uint8_t *ret_bytes, size_t n, struct error *err)
{
	return parse_text(&d->plans[part], part, text, ret_bytes, n, err);
}

int decoder_describe(const struct decoder *d, enum decoder_part part, struct str *out)
{
	parse_describe(&d->plans[part].root, out);
	return finish(out);
}
