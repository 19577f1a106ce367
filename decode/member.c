#include "decode/member.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "decode/emit.h"
#include "decode/plan.h"

/* Kinds that are integers, whatever a Display row makes of them. */
static bool is_integer(const struct node *node)
{
	static const bool integers[] = {
		[NODE_UNSIGNED] = true,	  [NODE_SIGNED] = true,	     [NODE_BOOL] = true,
		[NODE_ENUM] = true,	  [NODE_POINTER] = true,     [NODE_BIG_ENDIAN] = true,
		[NODE_HEX] = true,	  [NODE_IP_PROTOCOL] = true, [NODE_DURATION] = true,
		[NODE_TEXT_LIST] = false,
	};

	/* What has no type is a number by its size. */
	if (node->kind == NODE_OPAQUE)
		return node->size == 1 || node->size == 2 || node->size == 4 || node->size == 8;
	return integers[node->kind] && node->size <= 8;
}

static const struct node *child_named(const struct node *node, const char *name, size_t n)
{
	for (uint32_t i = 0; node->kind == NODE_STRUCT && i < node->n_children; i++) {
		const char *of = node->children[i].name;

		if (of != NULL && strlen(of) == n && memcmp(of, name, n) == 0)
			return &node->children[i];
	}
	return NULL;
}

int member_find(const struct decoder *decoder, const char *path, struct member *ret,
		struct error *err)
{
	const char *rest = path;
	struct member member = { .decoder = decoder, .part = plan_part_of_path(path, &rest) };

	if (member.part != DECODER_KEY && member.part != DECODER_VALUE)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "'%.255s' starts with neither key nor value", path);
	member.node = decoder_root(decoder, member.part);
	while (member.node != NULL && *rest != '\0') {
		const size_t n = strcspn(rest, ".");

		member.node = child_named(member.node, rest, n);
		if (member.node != NULL)
			member.offset += member.node->offset;
		rest += rest[n] == '.' ? n + 1 : n;
	}
	if (member.node == NULL || path[strlen(path) - 1] == '.')
		return error_raise(err, ERROR_MANIFEST_MISMATCH, "the map has no '%.255s'", path);
	*ret = member;
	return 0;
}

static const struct node *integer_node(const struct member *member)
{
	const struct node *node = member->node;

	if (node->kind == NODE_ARRAY && node->n_children > 0 && !node->to_end)
		node = &node->children[0];
	return is_integer(node) ? node : NULL;
}

size_t member_n_integers(const struct member *member)
{
	if (integer_node(member) == NULL)
		return 0;
	return member->node->kind == NODE_ARRAY ? member->node->n : 1;
}

bool member_is_signed(const struct member *member)
{
	const struct node *node = integer_node(member);

	return node != NULL &&
	       (node->kind == NODE_SIGNED || (node->kind == NODE_ENUM && node->is_signed));
}

/* From one CPU's value to the next; 0: there is one only. */
static size_t copies(const struct member *member, size_t *ret_n)
{
	const size_t size = decoder_size(member->decoder, member->part);
	const size_t stride = (decoder_value_size(member->decoder) + 7) / 8 * 8;

	*ret_n = 1;
	if (member->part != DECODER_VALUE || !decoder_is_per_cpu(member->decoder) || stride == 0)
		return 0;
	*ret_n = size / stride;
	return stride;
}

uint64_t member_integer(const struct member *member, const uint8_t *bytes, size_t index)
{
	const struct node *node = integer_node(member);
	size_t n, stride = copies(member, &n);
	uint64_t sum = 0;

	bytes += member->offset + index * node->size;
	for (size_t i = 0; i < n; i++)
		sum += leaf_number(node, bytes + i * stride);
	return sum;
}

/* A text that tells every byte of its member. */
static bool is_whole_text(const struct member *member, const uint8_t *text, size_t *ret_n)
{
	const size_t size = member->node->size;

	if (member->node->kind != NODE_TEXT)
		return false;
	*ret_n = strnlen((const char *)text, size);
	for (size_t i = *ret_n; i < size; i++) {
		if (text[i] != 0)
			return false;
	}
	return true;
}

int member_text(const struct member *member, const uint8_t *bytes, struct str *out)
{
	struct emission emission = { .out = out };
	size_t n;

	emission.stride = copies(member, &n);
	emission.n_copies = (uint32_t)n;
	if (n == 1 && is_whole_text(member, bytes + member->offset, &n)) {
		(void)str_append_bytes(out, bytes + member->offset, n);
		return out->failed ? -ENOMEM : 0;
	}
	emit_node(&emission, member->node, bytes + member->offset, member->node->size);
	return out->failed ? -ENOMEM : 0;
}
