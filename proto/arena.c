#include "proto/arena.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define BLOCK_BYTES ((size_t)8192)
#define ALIGNMENT ((size_t)16)

struct block {
	struct block *next;
	size_t size;
	size_t used;
	_Alignas(16) unsigned char data[];
};

struct arena {
	ProtobufCAllocator allocator;
	struct block *blocks;
	size_t limit;
	size_t used;
	bool exhausted;
};

static void *protobuf_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void protobuf_free(void *data, void *ptr)
{
	(void)data;
	(void)ptr;
}

struct arena *arena_new(size_t limit_bytes)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	if (arena == NULL)
		return NULL;
	arena->allocator = (ProtobufCAllocator){ protobuf_alloc, protobuf_free, arena };
	arena->limit = limit_bytes;
	return arena;
}

void arena_free(struct arena *arena)
{
	struct block *next;

	if (arena == NULL)
		return;
	for (struct block *block = arena->blocks; block != NULL; block = next) {
		next = block->next;
		free(block);
	}
	free(arena);
}

/* A large request gets a block of its own behind the current one, which stays in use. */
static struct block *block_add(struct arena *arena, size_t size)
{
	size_t payload = size > BLOCK_BYTES / 4 ? size : BLOCK_BYTES;
	struct block *block = calloc(1, sizeof(*block) + payload);

	if (block == NULL)
		return NULL;
	block->size = payload;
	if (payload == BLOCK_BYTES || arena->blocks == NULL) {
		block->next = arena->blocks;
		arena->blocks = block;
	} else {
		block->next = arena->blocks->next;
		arena->blocks->next = block;
	}
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct block *block = arena->blocks;
	void *ptr;

	if (size > arena->limit || arena->used > arena->limit - size) {
		arena->exhausted = true;
		return NULL;
	}
	size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
	if (block == NULL || block->size - block->used < size) {
		block = block_add(arena, size);
		if (block == NULL) {
			arena->exhausted = true;
			return NULL;
		}
	}
	ptr = block->data + block->used;
	block->used += size;
	arena->used += size;
	return ptr;
}

char *arena_strndup(struct arena *arena, const char *text, size_t n)
{
	char *copy = arena_alloc(arena, n + 1);

	if (copy != NULL && n > 0)
		memcpy(copy, text, n);
	return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		return NULL;
	text = arena_alloc(arena, (size_t)n + 1);
	if (text == NULL)
		return NULL;
	va_start(args, format);
	(void)vsnprintf(text, (size_t)n + 1, format, args);
	va_end(args);
	return text;
}

size_t arena_used(const struct arena *arena)
{
	return arena->used;
}

ProtobufCAllocator *arena_allocator(struct arena *arena)
{
	return &arena->allocator;
}

typedef int visit_fn(const ProtobufCFieldDescriptor *field, const void *value, struct error *err);

static bool is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const char *base = (const char *)message;

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(const void *)(base + field->quantifier_offset) ==
		       field->id;
	return true;
}

static size_t element_size(const ProtobufCFieldDescriptor *field)
{
	if (field->type == PROTOBUF_C_TYPE_MESSAGE || field->type == PROTOBUF_C_TYPE_STRING)
		return sizeof(void *);
	return sizeof(int); /* enums; no other type is visited */
}

/*
 * Calls visit on every message, string and enum of a message tree. Messages come before their
 * fields. The depth is that of the schema, which has no recursive message.
 */
static int walk(const ProtobufCMessage *message, visit_fn *visit, struct error *err)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	int r = visit(NULL, message, err);

	for (unsigned int i = 0; i < descriptor->n_fields && r >= 0; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		const char *at = (const char *)message + field->offset;
		size_t n = 1;

		if (field->type != PROTOBUF_C_TYPE_MESSAGE &&
		    field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_ENUM)
			continue;
		if (!is_present(message, field))
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			n = *(const size_t *)(const void *)((const char *)message +
							    field->quantifier_offset);
			at = *(const char *const *)(const void *)at;
		}
		for (size_t k = 0; k < n && r >= 0; k++) {
			const void *value = at + k * element_size(field);

			if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
				const ProtobufCMessage *child =
					*(const ProtobufCMessage *const *)value;

				if (child != NULL)
					r = walk(child, visit, err);
			} else {
				r = visit(field, value, err);
			}
		}
	}
	return r;
}

static int check_utf8(const ProtobufCFieldDescriptor *field, const void *value, struct error *err)
{
	const char *text;

	if (field == NULL || field->type != PROTOBUF_C_TYPE_STRING)
		return 0;
	text = *(const char *const *)value;
	if (text == NULL || str_is_utf8(text, strlen(text)))
		return 0;
	return error_raise(err, ERROR_INVALID_ARGUMENT, "field '%s' is not UTF-8", field->name);
}

int arena_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
		 const uint8_t *bytes, size_t n, ProtobufCMessage **ret, struct error *err)
{
	ProtobufCMessage *message;
	int r;

	arena->exhausted = false;
	message = protobuf_c_message_unpack(descriptor, &arena->allocator, n, bytes);
	if (message == NULL && arena->exhausted)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE,
				   "%s of %zu bytes unpacks to more than %zu bytes",
				   descriptor->name, n, arena->limit);
	if (message == NULL)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "%zu bytes that are not a %s", n,
				   descriptor->name);
	r = walk(message, check_utf8, err);
	if (r < 0)
		return r;
	*ret = message;
	return 0;
}

int arena_pack(struct arena *arena, const ProtobufCMessage *message, uint8_t **ret_bytes,
	       size_t *ret_n, struct error *err)
{
	size_t n = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = arena_alloc(arena, n + 1);

	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no room for a %s of %zu bytes",
				   message->descriptor->name, n);
	*ret_n = protobuf_c_message_pack(message, bytes);
	*ret_bytes = bytes;
	return 0;
}

static int check_known(const ProtobufCFieldDescriptor *field, const void *value, struct error *err)
{
	if (field == NULL) {
		const ProtobufCMessage *message = value;

		if (message->n_unknown_fields == 0)
			return 0;
		return error_raise(err, ERROR_UNKNOWN_FIELD, "%s holds field %u",
				   message->descriptor->name, message->unknown_fields[0].tag);
	}
	if (field->type == PROTOBUF_C_TYPE_ENUM &&
	    protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)value) == NULL)
		return error_raise(err, ERROR_UNKNOWN_FIELD, "field '%s' holds value %d",
				   field->name, *(const int *)value);
	return 0;
}

int arena_refuse_unknown(const ProtobufCMessage *message, struct error *err)
{
	return walk(message, check_known, err);
}
