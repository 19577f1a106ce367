#include "decode/variants.h"

#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "base/error.h"

void variants_done(struct variants *variants)
{
	for (size_t i = 0; i < variants->n; i++)
		plan_done(&variants->items[i].plan);
	free(variants->items);
	*variants = (struct variants){ 0 };
}

static uint64_t tag_bits(const struct variants *variants, uint64_t value)
{
	return variants->tag_size < 8 ? value & ((1ULL << 8 * variants->tag_size) - 1) : value;
}

/* Where the member is, or NULL. */
static const struct node *find_tag(const struct node *node, const char *path, uint32_t *ret_offset)
{
	uint32_t offset = 0;

	for (const char *name = path; node != NULL && *name != '\0';) {
		const size_t n = strcspn(name, ".");
		const struct node *found = NULL;

		for (uint32_t i = 0; node->kind == NODE_STRUCT && i < node->n_children; i++) {
			const struct node *child = &node->children[i];

			if (child->name != NULL && strlen(child->name) == n &&
			    memcmp(child->name, name, n) == 0)
				found = child;
		}
		offset += found != NULL ? found->offset : 0;
		node = found;
		name += n + (name[n] == '.');
	}
	*ret_offset = offset;
	return node;
}

static bool is_number(const struct node *node)
{
	return node->bit_size == 0 && (node->kind == NODE_UNSIGNED || node->kind == NODE_SIGNED ||
				       node->kind == NODE_ENUM || node->kind == NODE_BOOL);
}

static int place_tag(struct variants *variants, const struct variant *variant, const char *name,
		     const char *path, struct error *err)
{
	uint32_t offset;
	const struct node *node = find_tag(&variant->plan.root, path, &offset);

	if (node == NULL || !is_number(node))
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "events: struct '%.128s' has no integer or enum '%.128s' to "
				   "tell it by",
				   name, path);
	if (variants->tag_size == 0) {
		variants->tag_offset = offset;
		variants->tag_size = node->size;
	}
	if (variants->tag_offset != offset || variants->tag_size != node->size)
		return error_raise(
			err, ERROR_MANIFEST_MISMATCH,
			"events: '%.128s' is not at the same place in struct '%.128s' as "
			"in the first",
			path, name);
	return 0;
}

static int build_one(const struct btf *btf, const char *tag, const Bpfleet__V1__EventVariant *spec,
		     struct enumeration **enumerations, struct variants *variants,
		     struct error *err)
{
	const int id = btf__find_by_name_kind(btf, spec->record_type, BTF_KIND_STRUCT);
	struct variant *variant = &variants->items[variants->n];
	int r;

	if (id < 0)
		return error_raise(err, ERROR_MANIFEST_MISMATCH,
				   "events: there is no struct '%.128s'", spec->record_type);
	variants->n++;
	r = plan_build(&variant->plan, btf, (uint32_t)id, 0, DECODER_EVENT, enumerations, err);
	if (r == 0)
		r = place_tag(variants, variant, spec->record_type, tag, err);
	if (r < 0)
		return r;
	variant->tag = tag_bits(variants, spec->tag);
	for (size_t i = 0; i + 1 < variants->n; i++)
		if (variants->items[i].tag == variant->tag)
			return error_raise(err, ERROR_MANIFEST_MISMATCH,
					   "events: '%.128s' tells struct '%.128s' from no other",
					   tag, spec->record_type);
	return 0;
}

int variants_build(const struct btf *btf, const char *tag, Bpfleet__V1__EventVariant *const *specs,
		   size_t n, struct enumeration **enumerations, struct variants *ret,
		   struct error *err)
{
	int r = 0;

	ret->items = calloc(n, sizeof(*ret->items));
	if (ret->items == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for types of records");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = build_one(btf, tag, specs[i], enumerations, ret, err);
	return r;
}

size_t variants_find(const struct variants *variants, const uint8_t *record, size_t n)
{
	uint64_t tag = 0;

	if (n < variants->tag_offset || n - variants->tag_offset < variants->tag_size)
		return SIZE_MAX;
	/* All hosts are little-endian. */
	memcpy(&tag, record + variants->tag_offset, variants->tag_size);
	for (size_t i = 0; i < variants->n; i++)
		if (variants->items[i].tag == tag)
			return i;
	return SIZE_MAX;
}
