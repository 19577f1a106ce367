#include "proto/apart.h"

#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "proto/arena.h"

#define VARINT_MAX 10

enum wire {
	WIRE_VARINT = 0,
	WIRE_64_BITS = 1,
	WIRE_BYTES = 2,
	WIRE_32_BITS = 5,
};

struct span {
	const uint8_t *at, *end;
};

/* False: it is cut off, or none. */
static bool take_varint(struct span *span, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < VARINT_MAX && span->at < span->end; i++) {
		const uint8_t byte = *span->at++;

		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if ((byte & 0x80) == 0) {
			*ret = value;
			return true;
		}
	}
	return false;
}

/* Takes a key and its value; *ret_value is the value, without its length. False: what is there is
 * no field. */
static bool take_field(struct span *span, uint64_t *ret_key, struct span *ret_value)
{
	uint64_t n = 0;

	if (!take_varint(span, ret_key))
		return false;
	ret_value->at = span->at;
	switch (*ret_key & 7) {
	case WIRE_VARINT:
		if (!take_varint(span, &n))
			return false;
		n = 0;
		break;
	case WIRE_64_BITS:
		n = 8;
		break;
	case WIRE_32_BITS:
		n = 4;
		break;
	case WIRE_BYTES:
		if (!take_varint(span, &n))
			return false;
		ret_value->at = span->at;
		break;
	default:
		return false;
	}
	if (n > (size_t)(span->end - span->at))
		return false;
	span->at += n;
	ret_value->end = span->at;
	return true;
}

/* Without the field; NULL: no memory, or no message. */
static uint8_t *copy_rest(struct arena *arena, uint64_t key, struct span span, size_t n_rest,
			  size_t *ret_n)
{
	uint8_t *rest = arena_alloc(arena, n_rest + 1);
	size_t n = 0;

	while (rest != NULL && span.at < span.end) {
		const uint8_t *begin = span.at;
		struct span value;
		uint64_t k;

		if (!take_field(&span, &k, &value))
			return NULL;
		if (k == key)
			continue;
		memcpy(rest + n, begin, (size_t)(span.at - begin));
		n += (size_t)(span.at - begin);
	}
	*ret_n = n;
	return rest;
}

int apart_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor, uint32_t number,
		 const uint8_t *bytes, size_t n, ProtobufCBinaryData *ret_apart,
		 ProtobufCMessage **ret, struct error *err)
{
	const uint64_t key = (uint64_t)number << 3 | WIRE_BYTES;
	struct span span = { bytes, bytes + n }, value;
	ProtobufCBinaryData apart = { 0 };
	size_t n_apart = 0;
	int r;

	while (span.at < span.end) {
		uint64_t k;

		/* protobuf-c says what is wrong. */
		if (!take_field(&span, &k, &value))
			break;
		if (k != key)
			continue;
		apart.data = (uint8_t *)(uintptr_t)value.at;
		apart.len = (size_t)(value.end - value.at);
		n_apart += apart.len;
	}
	if (span.at == span.end && apart.data != NULL) {
		span.at = bytes;
		bytes = copy_rest(arena, key, span, n - n_apart, &n);
		if (bytes == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a %s",
					   descriptor->name);
	}
	r = arena_unpack(arena, descriptor, bytes, n, ret, err);
	if (r == 0)
		*ret_apart = apart;
	return r;
}
