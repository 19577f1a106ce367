#include <string.h>

#include <bpf/btf.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/build/typing.h"

/* A member of a struct, by name; its type behind typedefs, or 0. */
static uint32_t find_member(const struct btf *btf, uint32_t id, const char *name, size_t n,
			    uint32_t *offset)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	for (uint16_t i = 0; type != NULL && btf_is_struct(type) && i < btf_vlen(type); i++) {
		const struct btf_member *member = &btf_members(type)[i];
		const char *own = btf__name_by_offset(btf, member->name_off);

		if (own == NULL || strlen(own) != n || memcmp(own, name, n) != 0 ||
		    btf_member_bitfield_size(type, i) != 0)
			continue;
		*offset += btf_member_bit_offset(type, i) / 8;
		id = (uint32_t)btf__resolve_type(btf, member->type);
		return (int)id > 0 ? id : 0;
	}
	return 0;
}

int typing_event_tag(const struct btf *btf, const char *record_type, const char *path,
		     struct typing_tag *ret, struct error *err)
{
	const int root =
		btf == NULL ? -1 : btf__find_by_name_kind(btf, record_type, BTF_KIND_STRUCT);
	const struct btf_type *type;
	struct typing_tag tag = { .type_id = root > 0 ? (uint32_t)root : 0 };

	if (root <= 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "the object's type information has no 'struct %.64s'; a type "
				   "that only local pointers use needs a global one: struct %.64s "
				   "*unused;",
				   record_type, record_type);
	for (const char *name = path; *name != '\0' && tag.type_id != 0;) {
		const size_t n = strcspn(name, ".");

		tag.type_id = find_member(btf, tag.type_id, name, n, &tag.offset);
		name += n + (name[n] == '.');
	}
	type = tag.type_id == 0 ? NULL : btf__type_by_id(btf, tag.type_id);
	if (type == NULL || (!btf_is_int(type) && !btf_is_any_enum(type)) || type->size > 8)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "struct '%.64s' has no integer or enum '%.128s'", record_type,
				   path);
	tag.size = type->size;
	*ret = tag;
	return 0;
}

int typing_tag_value(const struct btf *btf, const struct typing_tag *tag, const char *text,
		     uint64_t *ret, struct error *err)
{
	const struct btf_type *type = btf__type_by_id(btf, tag->type_id);
	const uint64_t max = tag->size < 8 ? (1ULL << 8 * tag->size) - 1 : UINT64_MAX;

	for (uint16_t i = 0; btf_is_enum(type) && i < btf_vlen(type); i++) {
		const struct btf_enum *item = &btf_enum(type)[i];

		if (strcmp(btf__str_by_offset(btf, item->name_off), text) == 0) {
			*ret = (uint64_t)(int64_t)item->val & max;
			return 0;
		}
	}
	for (uint16_t i = 0; btf_is_enum64(type) && i < btf_vlen(type); i++) {
		const struct btf_enum64 *item = &btf_enum64(type)[i];

		if (strcmp(btf__str_by_offset(btf, item->name_off), text) == 0) {
			*ret = btf_enum64_value(item) & max;
			return 0;
		}
	}
	if (str_to_u64(text, max, ret) == 0)
		return 0;
	return error_raise(err, ERROR_CONFIG_INVALID,
			   "'%.64s' is no value of the tag: a number of %u bytes%s", text,
			   tag->size, btf_is_int(type) ? "" : ", or a name of its enum");
}
