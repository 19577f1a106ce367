#include "daemon/front/mapentry.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/map-type.h"
#include "daemon/front/grant.h"
#include "decode/entry.h"
#include "decode/symbols.h"
#include "proto/arena.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for an entry");
}

static int take_bytes(struct arena *arena, const void *bytes, size_t n, ProtobufCBinaryData *ret,
		      struct error *err)
{
	ret->data = arena_alloc(arena, n + 1);
	if (ret->data == NULL)
		return no_memory(err);
	memcpy(ret->data, bytes, n);
	ret->len = n;
	return 0;
}

static int parse_part(const struct decoder *decoder, enum decoder_part part, const char *text,
		      struct arena *arena, ProtobufCBinaryData *ret, struct error *err)
{
	ret->data = arena_alloc(arena, decoder_size(decoder, part) + 1);
	if (ret->data == NULL)
		return no_memory(err);
	return entry_parse(decoder, part, text, ret->data, &ret->len, err);
}

int mapentry_key(const struct map_type *type, const struct decoder *decoder, const char *text,
		 struct arena *arena, ProtobufCBinaryData *ret, struct error *err)
{
	_cleanup_free_ char *word = NULL;
	uint64_t number;
	uint32_t pid;

	if (type->key == MAP_KEY_NONE)
		return parse_part(decoder, DECODER_VALUE, text, arena, ret, err);
	if (type->key != MAP_KEY_TASK && type->key != MAP_KEY_CGROUP)
		return parse_part(decoder, DECODER_KEY, text, arena, ret, err);
	word = entry_string(text);
	if (word == NULL)
		return error_raise(err, ERROR_INVALID_KEY, "the key is no text");
	if (type->key == MAP_KEY_CGROUP)
		return take_bytes(arena, word, strlen(word), ret, err);
	if (str_to_u64(word, UINT32_MAX, &number) < 0)
		return error_raise(err, ERROR_INVALID_KEY, "the key must be a process id");
	pid = (uint32_t)number;
	return take_bytes(arena, &pid, sizeof(pid), ret, err);
}

/* What a value refers to by name. */
static const char *referred(const struct map_type *type)
{
	return type->value == MAP_VALUE_MAP	  ? "map"
	       : type->value == MAP_VALUE_PROGRAM ? "program"
	       : type->value == MAP_VALUE_CGROUP  ? "cgroup"
						  : NULL;
}

/* The name in {"map":NAME}, {"program":NAME} or {"cgroup":PATH}, or a string. */
static int parse_reference(const struct map_type *type, const char *value, struct arena *arena,
			   char **ret, struct error *err)
{
	_cleanup_free_ char *member = NULL, *name = NULL;
	int r = 0;

	if (*value == '{')
		r = entry_member(value, referred(type), &member, err);
	if (r < 0)
		return r;
	name = entry_string(member != NULL ? member : value);
	if (name == NULL || (member == NULL && *value == '{'))
		return error_raise(err, ERROR_INVALID_KEY,
				   "the value must name a %s%s: {\"%s\":\"NAME\"}", referred(type),
				   type->value == MAP_VALUE_CGROUP ? "" : " of the same instance",
				   referred(type));
	*ret = arena_strndup(arena, name, strlen(name));
	return *ret == NULL ? no_memory(err) : 0;
}

/* {"key":"VARIABLE"}: only its bytes are written. 1: it is one. */
static int parse_variable(const struct decoder *decoder, const char *key, const char *value,
			  struct arena *arena, Bpfleet__V1__MapEntry *entry, struct error *err)
{
	_cleanup_free_ char *name = entry_string(key), *text = NULL;
	static const uint32_t zero;
	uint64_t number;
	int r;

	if (name == NULL || str_to_u64(name, UINT32_MAX, &number) == 0)
		return 0;
	if (!decoder_variable(decoder, name, &entry->value_offset, &entry->value.len))
		return error_raise(err, ERROR_KEY_NOT_IN_MAP, "there is no variable '%.128s'",
				   name);
	r = take_bytes(arena, &zero, sizeof(zero), &entry->key, err);
	entry->value.data = arena_alloc(arena, entry->value.len + 1);
	if (r == 0 && entry->value.data == NULL)
		r = no_memory(err);
	if (r < 0)
		return r;
	if (decoder_variable_parse(decoder, name, value, entry->value.data, entry->value.len,
				   NULL) == 0)
		return 1;
	text = entry_string(value);
	r = decoder_variable_parse(decoder, name, text == NULL ? value : text, entry->value.data,
				   entry->value.len, err);
	return r < 0 ? r : 1;
}

static int parse_entry(const struct map_type *type, const struct decoder *decoder, const char *key,
		       const char *value, struct arena *arena, Bpfleet__V1__MapEntry *entry,
		       struct error *err)
{
	int r = 0;

	if (decoder_is_section(decoder))
		r = parse_variable(decoder, key, value, arena, entry, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (type->key != MAP_KEY_NONE)
		r = mapentry_key(type, decoder, key, arena, &entry->key, err);
	if (r < 0 || type->value == MAP_VALUE_COOKIE)
		return r;
	if (referred(type) != NULL)
		return parse_reference(type, value, arena, &entry->reference, err);
	return parse_part(decoder, DECODER_VALUE, value, arena, &entry->value, err);
}

int mapentry_parse(const struct map_type *type, const struct decoder *decoder, const char *line,
		   struct arena *arena, Bpfleet__V1__MapEntry **ret, struct error *err)
{
	_cleanup_free_ char *key = NULL, *value = NULL;
	Bpfleet__V1__MapEntry *entry = arena_alloc(arena, sizeof(*entry));
	int r;

	if (entry == NULL)
		return no_memory(err);
	bpfleet__v1__map_entry__init(entry);
	r = entry_member(line, "key", &key, err);
	if (r == 0)
		r = entry_member(line, "value", &value, err);
	if (r == 0 && value != NULL && type->value == MAP_VALUE_COOKIE)
		r = error_raise(err, ERROR_INVALID_KEY,
				"the value is the socket that is handed over: give a key alone");
	else if (r == 0 && key == NULL && type->key != MAP_KEY_NONE)
		r = error_raise(err, ERROR_INVALID_KEY, "an entry has a \"key\"");
	else if (r == 0 && value == NULL && type->value != MAP_VALUE_COOKIE)
		r = error_raise(err, ERROR_INVALID_KEY, "an entry has a \"value\"");
	if (r == 0)
		r = parse_entry(type, decoder, key, value, arena, entry, err);
	*ret = entry;
	return r;
}

/* ---- bytes to JSON */

static void append_key(struct grant *grant, const struct decoder *decoder,
		       const ProtobufCBinaryData *key, struct str *out)
{
	uint64_t cookie;
	uint32_t pid;

	if (grant->shape.kind->key == MAP_KEY_CGROUP) {
		(void)str_append_json(out, (const char *)key->data, key->len);
	} else if (grant->shape.kind->key == MAP_KEY_TASK) {
		memcpy(&pid, key->data, sizeof(pid));
		(void)str_appendf(out, "%" PRIu32, pid);
	} else if (grant->shape.kind->key == MAP_KEY_SOCKET) {
		memcpy(&cookie, key->data, sizeof(cookie));
		(void)str_appendf(out, "%" PRIu64, cookie);
	} else {
		(void)decoder_json(decoder, DECODER_KEY, key->data, key->len, out);
	}
}

/* The kernel shows an id; what has it is one of the instance's, or a fresh map. */
static void append_held(const struct grant *grant, const uint8_t *value, struct str *out)
{
	const char *what = referred(grant->shape.kind);
	uint32_t id;

	memcpy(&id, value, sizeof(id));
	(void)str_append(out, "{");
	for (size_t i = 0; i < grant->n_held; i++) {
		if (grant->held_ids[i] == id) {
			(void)str_appendf(out, "\"%s\":", what);
			(void)str_append_json(out, grant->held_names[i], SIZE_MAX);
			(void)str_append(out, ",");
			break;
		}
	}
	(void)str_appendf(out, "\"id\":%" PRIu32 "}", id);
}

int mapentry_json(struct grant *grant, const struct decoder *decoder, const struct symbols *symbols,
		  const ProtobufCBinaryData *key, const uint8_t *value, struct str *out)
{
	const struct map_type *type = grant->shape.kind;

	(void)str_append(out, "{");
	if (key != NULL) {
		(void)str_append(out, "\"key\":");
		append_key(grant, decoder, key, out);
	}
	if (value != NULL) {
		(void)str_append(out, key != NULL ? ",\"value\":" : "\"value\":");
		if (referred(type) != NULL)
			append_held(grant, value, out);
		else if (type->value == MAP_VALUE_STACK)
			(void)stack_json(symbols, value, grant->shape.value_bytes,
					 (grant->shape.flags & BPF_F_STACK_BUILD_ID) != 0, out);
		else
			(void)decoder_json(decoder, DECODER_VALUE, value, grant->shape.value_bytes,
					   out);
	}
	(void)str_append(out, "}");
	return out->failed ? -ENOMEM : 0;
}
