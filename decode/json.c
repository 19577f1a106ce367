#include "decode/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "google/protobuf/any.pb-c.h"
#include "google/rpc/status.pb-c.h"

#define DEPTH_MAX 64
/* An Any larger than that is not expanded. */
#define ANY_SIZE_MAX 65536

struct printer {
	struct str *out;
	unsigned int flags;
	unsigned int depth;
	bool too_deep;
};

static void print_message(struct printer *p, const ProtobufCMessage *message);
static void print_members(struct printer *p, const ProtobufCMessage *message, bool *first);

static void line(struct printer *p)
{
	if ((p->flags & JSON_PRETTY) == 0)
		return;
	(void)str_append(p->out, "\n");
	for (unsigned int i = 0; i < p->depth; i++)
		(void)str_append(p->out, "  ");
}

static void open_bracket(struct printer *p, const char *bracket)
{
	(void)str_append(p->out, bracket);
	p->depth++;
}

static void close_bracket(struct printer *p, const char *bracket, bool empty)
{
	p->depth--;
	if (!empty)
		line(p);
	(void)str_append(p->out, bracket);
}

static void separate(struct printer *p, bool *first)
{
	if (!*first)
		(void)str_append(p->out, ",");
	*first = false;
	line(p);
}

static void colon(struct printer *p)
{
	(void)str_append(p->out, p->flags & JSON_PRETTY ? ": " : ":");
}

/* `n_links` to "nLinks". */
static void print_name(struct printer *p, const char *name)
{
	bool upper = false;

	(void)str_append(p->out, "\"");
	for (; *name != '\0'; name++) {
		char c = *name;

		if (c == '_') {
			upper = true;
			continue;
		}
		if (upper && c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		upper = false;
		(void)str_append_bytes(p->out, &c, 1);
	}
	(void)str_append(p->out, "\"");
	colon(p);
}

/* Standard base 64 with padding (RFC 4648, 4), as proto3 JSON has it. */
static void print_base64(struct str *out, const uint8_t *bytes, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	(void)str_append(out, "\"");
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t group = (uint32_t)bytes[i] << 16 |
				 (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
				 (left > 2 ? bytes[i + 2] : 0);
		char text[4] = { digits[group >> 18], digits[group >> 12 & 63],
				 left > 1 ? digits[group >> 6 & 63] : '=',
				 left > 2 ? digits[group & 63] : '=' };

		(void)str_append_bytes(out, text, sizeof(text));
	}
	(void)str_append(out, "\"");
}

static void print_double(struct str *out, double value, bool single)
{
	int precision = single ? 6 : 15, last = single ? 9 : 17;
	char text[40];

	if (isnan(value) || isinf(value)) {
		(void)str_append(out, isnan(value) ? "\"NaN\""
				      : value < 0  ? "\"-Infinity\""
						   : "\"Infinity\"");
		return;
	}
	do {
		(void)snprintf(text, sizeof(text), "%.*g", precision, value);
	} while (precision++ < last &&
		 (single ? strtof(text, NULL) != (float)value : strtod(text, NULL) != value));
	(void)str_append(out, text);
}

static void print_enum(struct str *out, const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *named = protobuf_c_enum_descriptor_get_value(descriptor, value);

	if (named != NULL)
		(void)str_append_json(out, named->name, SIZE_MAX);
	else
		(void)str_appendf(out, "%d", value);
}

/* One value of the field's type at `at`. */
static void print_value(struct printer *p, const ProtobufCFieldDescriptor *field, const void *at)
{
	const ProtobufCBinaryData *data = at;
	const char *text;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		(void)str_appendf(p->out, "%" PRId32, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		(void)str_appendf(p->out, "%" PRIu32, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		(void)str_appendf(p->out, "\"%" PRId64 "\"", *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		(void)str_appendf(p->out, "\"%" PRIu64 "\"", *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		print_double(p->out, (double)*(const float *)at, true);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		print_double(p->out, *(const double *)at, false);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		(void)str_append(p->out, *(const protobuf_c_boolean *)at ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_ENUM:
		print_enum(p->out, field->descriptor, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		text = *(const char *const *)at;
		(void)str_append_json(p->out, text == NULL ? "" : text, SIZE_MAX);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		print_base64(p->out, data->data, data->len);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		print_message(p, *(const ProtobufCMessage *const *)at);
		break;
	}
}

static size_t element_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return sizeof(uint32_t);
	case PROTOBUF_C_TYPE_FLOAT:
		return sizeof(float);
	case PROTOBUF_C_TYPE_ENUM:
		return sizeof(int);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(double);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	}
	return sizeof(void *);
}

/*
 * protobuf-c does not say which repeated messages are the entries of a map; protoc names them after
 * the field, `metadata` to `MetadataEntry`, with the members `key` = 1 and `value` = 2.
 */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	const char *name = field->name, *camel;
	bool upper = true;

	if (field->type != PROTOBUF_C_TYPE_MESSAGE || entry->n_fields != 2 ||
	    entry->fields[0].id != 1 || strcmp(entry->fields[0].name, "key") != 0 ||
	    entry->fields[1].id != 2 || strcmp(entry->fields[1].name, "value") != 0)
		return false;
	camel = strrchr(entry->name, '.');
	camel = camel == NULL ? entry->name : camel + 1;
	for (; *name != '\0'; name++) {
		char c = *name;

		if (c == '_') {
			upper = true;
			continue;
		}
		if (upper && c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		upper = false;
		if (*camel++ != c)
			return false;
	}
	return strcmp(camel, "Entry") == 0;
}

/* A map's key is a JSON string, whatever its type. */
static void print_map_key(struct printer *p, const ProtobufCFieldDescriptor *field, const void *at)
{
	size_t start = p->out->len;

	if (field->type != PROTOBUF_C_TYPE_STRING)
		(void)str_append(p->out, "\"");
	print_value(p, field, at);
	if (field->type == PROTOBUF_C_TYPE_STRING)
		return;
	if (!p->out->failed && p->out->data[start + 1] == '"') /* 64-bit: quoted already */
		memmove(p->out->data + start, p->out->data + start + 1, p->out->len-- - start);
	else
		(void)str_append(p->out, "\"");
}

static void print_map(struct printer *p, const ProtobufCFieldDescriptor *field,
		      ProtobufCMessage *const *entries, size_t n)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	bool first = true;

	open_bracket(p, "{");
	for (size_t i = 0; i < n; i++) {
		const uint8_t *base = (const uint8_t *)entries[i];

		separate(p, &first);
		print_map_key(p, &entry->fields[0], base + entry->fields[0].offset);
		colon(p);
		print_value(p, &entry->fields[1], base + entry->fields[1].offset);
	}
	close_bracket(p, "}", first);
}

static void print_repeated(struct printer *p, const ProtobufCFieldDescriptor *field,
			   const uint8_t *elements, size_t n)
{
	bool first = true;

	if (is_map(field)) {
		print_map(p, field, (ProtobufCMessage *const *)(const void *)elements, n);
		return;
	}
	open_bracket(p, "[");
	for (size_t i = 0; i < n; i++) {
		separate(p, &first);
		print_value(p, field, elements + i * element_size(field->type));
	}
	close_bracket(p, "]", first);
}

static bool is_default(const ProtobufCFieldDescriptor *field, const void *at)
{
	static const uint8_t zero[8];
	const ProtobufCBinaryData *data = at;
	const char *text;

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		text = *(const char *const *)at;
		return text == NULL || text[0] == '\0';
	case PROTOBUF_C_TYPE_BYTES:
		return data->len == 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(const void *const *)at == NULL;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_ENUM:
		return memcmp(at, zero, element_size(field->type)) == 0;
	}
	return true;
}

/* Whether a field that is not repeated is set, and if not, whether it may be shown as its default.
 */
static bool is_shown(const struct printer *p, const ProtobufCFieldDescriptor *field,
		     const uint8_t *message)
{
	const void *at = message + field->offset;

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		uint32_t which;

		memcpy(&which, message + field->quantifier_offset, sizeof(which));
		return which == field->id &&
		       (field->type != PROTOBUF_C_TYPE_MESSAGE || !is_default(field, at));
	}
	return !is_default(field, at) ||
	       ((p->flags & JSON_DEFAULTS) && field->type != PROTOBUF_C_TYPE_MESSAGE);
}

static void print_members(struct printer *p, const ProtobufCMessage *message, bool *first)
{
	const uint8_t *base = (const uint8_t *)message;

	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const uint8_t *const *elements;
		size_t n;

		if (field->label != PROTOBUF_C_LABEL_REPEATED) {
			if (is_shown(p, field, base)) {
				separate(p, first);
				print_name(p, field->name);
				print_value(p, field, base + field->offset);
			}
			continue;
		}
		memcpy(&n, base + field->quantifier_offset, sizeof(n));
		elements = (const uint8_t *const *)(const void *)(base + field->offset);
		if (n > 0 || (p->flags & JSON_DEFAULTS)) {
			separate(p, first);
			print_name(p, field->name);
			print_repeated(p, field, *elements, n);
		}
	}
}

/* {"@type": ..., members} for a type that is known here, else its bytes as "value". */
static void print_any(struct printer *p, const Google__Protobuf__Any *any, bool *first)
{
	const char *slash = any->type_url == NULL ? NULL : strrchr(any->type_url, '/');
	ProtobufCMessage *message = NULL;

	separate(p, first);
	(void)str_append(p->out, "\"@type\"");
	colon(p);
	(void)str_append_json(p->out, any->type_url == NULL ? "" : any->type_url, SIZE_MAX);
	if (slash != NULL && strcmp(slash + 1, google__rpc__error_info__descriptor.name) == 0 &&
	    any->value.len <= ANY_SIZE_MAX)
		message = protobuf_c_message_unpack(&google__rpc__error_info__descriptor, NULL,
						    any->value.len, any->value.data);
	if (message != NULL) {
		print_members(p, message, first);
		protobuf_c_message_free_unpacked(message, NULL);
		return;
	}
	separate(p, first);
	print_name(p, "value");
	print_base64(p->out, any->value.data, any->value.len);
}

static void print_message(struct printer *p, const ProtobufCMessage *message)
{
	bool first = true;

	if (message == NULL || p->depth >= DEPTH_MAX) {
		p->too_deep = p->too_deep || message != NULL;
		(void)str_append(p->out, "null");
		return;
	}
	open_bracket(p, "{");
	if (message->descriptor == &google__protobuf__any__descriptor)
		print_any(p, (const Google__Protobuf__Any *)message, &first);
	else
		print_members(p, message, &first);
	close_bracket(p, "}", first);
}

int json_append_message(struct str *out, const ProtobufCMessage *message, unsigned int flags,
			struct error *err)
{
	struct printer p = { .out = out, .flags = flags };

	print_message(&p, message);
	if (p.too_deep)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "a message is nested deeper than %d", DEPTH_MAX);
	if (out->failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for JSON");
	return 0;
}
