/* Display rows of the manifest: which member of a plan is shown otherwise than its C type says. */
#include "decode/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static bool is_whole(const struct node *node)
{
	return node->bit_size == 0 && !node->to_end;
}

static bool is_integer(const struct node *node)
{
	return node->kind == NODE_UNSIGNED || node->kind == NODE_SIGNED || node->kind == NODE_ENUM;
}

/* Texts, and arrays of bytes. */
static bool is_byte_array(const struct node *node)
{
	if (node->kind == NODE_TEXT)
		return true;
	return node->kind == NODE_ARRAY && node->children[0].size == 1 &&
	       node->children[0].bit_size == 0;
}

static bool make(struct node *node, enum node_kind kind, bool fits)
{
	if (!fits)
		return false;
	node_clear(node);
	node->kind = kind;
	node->leaves = 1;
	node->exact = false;
	return true;
}

static bool format_node(struct node *node, Bpfleet__V1__Format format)
{
	uint32_t size = is_whole(node) ? node->size : 0;

	switch (format) {
	case BPFLEET__V1__FORMAT__FORMAT_IPV4:
		return make(node, NODE_IPV4, size == 4);
	case BPFLEET__V1__FORMAT__FORMAT_IPV6:
		return make(node, NODE_IPV6, size == 16);
	case BPFLEET__V1__FORMAT__FORMAT_IP:
		return make(node, NODE_IP, size == 16);
	case BPFLEET__V1__FORMAT__FORMAT_MAC:
		return make(node, NODE_MAC, size == 6);
	case BPFLEET__V1__FORMAT__FORMAT_BIG_ENDIAN:
		return make(node, NODE_BIG_ENDIAN,
			    is_integer(node) && (size == 2 || size == 4 || size == 8));
	case BPFLEET__V1__FORMAT__FORMAT_STRING:
		return make(node, NODE_TEXT, is_byte_array(node));
	case BPFLEET__V1__FORMAT__FORMAT_STRING_LIST:
		return make(node, NODE_TEXT_LIST, is_byte_array(node));
	case BPFLEET__V1__FORMAT__FORMAT_HEX:
		return make(node, NODE_HEX, is_integer(node));
	case BPFLEET__V1__FORMAT__FORMAT_IP_PROTOCOL:
		return make(node, NODE_IP_PROTOCOL, is_integer(node));
	case BPFLEET__V1__FORMAT__FORMAT_BYTES:
		return make(node, NODE_BYTES, size > 0 || is_byte_array(node));
	case BPFLEET__V1__FORMAT__FORMAT_DURATION:
		return make(node, NODE_DURATION, node->kind == NODE_UNSIGNED && size == 8);
	case BPFLEET__V1__FORMAT__FORMAT_CIDR:
	case BPFLEET__V1__FORMAT__FORMAT_UNSPECIFIED:
	case _BPFLEET__V1__FORMAT_IS_INT_SIZE:
	default:
		return false;
	}
}

static void drop_first_child(struct node *node)
{
	struct node *first = &node->children[0];

	node_clear(first);
	free(first->name);
	node->n_children--;
	node->leaves--;
	memmove(first, first + 1, node->n_children * sizeof(*first));
}

/*
 * An LPM key: its first member is the prefix length, counted in bits from behind itself. A key of
 * nothing else than length and address becomes a CIDR as a whole; else the address becomes one, and
 * the bits of the members before it are taken off what is shown.
 */
static bool format_cidr(struct plan *plan, struct node *address)
{
	struct node *root = &plan->root, *length;
	uint32_t offset = address->offset, size = address->size;

	if (root->kind != NODE_STRUCT || root->n_children < 2)
		return false;
	length = &root->children[0];
	if (length->kind != NODE_UNSIGNED || length->size != 4 || length->offset != 0 ||
	    length->bit_size != 0 || offset < 4 || !is_whole(address) ||
	    (size != 4 && size != 16) || address <= length ||
	    address >= root->children + root->n_children)
		return false;
	if (root->n_children == 2) {
		node_clear(root);
		root->kind = NODE_CIDR;
		root->leaves = 1;
		root->data_offset = offset;
		root->n = size;
		return true;
	}
	(void)make(address, NODE_CIDR, true);
	address->back = offset;
	address->data_offset = offset;
	address->n = size;
	drop_first_child(root);
	return true;
}

enum decoder_part plan_part_of_path(const char *path, const char **ret_rest)
{
	unsigned int part;

	for (part = 0; part < DECODER_N_PARTS; part++) {
		size_t n = strlen(plan_part_names[part]);

		if (strncmp(path, plan_part_names[part], n) == 0 &&
		    (path[n] == '.' || path[n] == '\0')) {
			*ret_rest = path[n] == '.' ? path + n + 1 : path + n;
			break;
		}
	}
	return (enum decoder_part)part;
}

static struct node *find_child(struct node *node, const char *name, size_t n)
{
	while (node->kind == NODE_ARRAY)
		node = &node->children[0];
	for (uint32_t i = 0; i < node->n_children; i++) {
		const char *candidate = node->children[i].name;

		if (strlen(candidate) == n && memcmp(candidate, name, n) == 0)
			return &node->children[i];
	}
	return NULL;
}

int plan_display(struct plan *plan, enum decoder_part part, const Bpfleet__V1__Display *display,
		 struct error *err)
{
	const ProtobufCEnumValue *format;
	struct node *node = &plan->root;
	const char *rest;
	bool fits;

	(void)plan_part_of_path(display->path, &rest);
	while (*rest != '\0' && node != NULL) {
		size_t n = strcspn(rest, ".");

		node = find_child(node, rest, n);
		rest += rest[n] == '.' ? n + 1 : n;
	}
	if (node == NULL)
		return error_raise(err, ERROR_MANIFEST_INVALID,
				   "display: the %s has no member '%s'", plan_part_names[part],
				   display->path);
	if (display->format == BPFLEET__V1__FORMAT__FORMAT_CIDR) {
		fits = part == DECODER_KEY && format_cidr(plan, node);
	} else {
		fits = format_node(node, display->format);
		while (!fits && node->kind == NODE_ARRAY) {
			node = &node->children[0];
			fits = format_node(node, display->format);
		}
	}
	if (fits)
		return 0;
	format = protobuf_c_enum_descriptor_get_value(&bpfleet__v1__format__descriptor,
						      (int)display->format);
	return error_raise(err, ERROR_MANIFEST_INVALID, "display: '%s' cannot be shown as %s",
			   display->path, format != NULL ? format->name : "an unknown format");
}
