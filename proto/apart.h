/* Messages of which one field is nearly all: it is not copied. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct arena;
struct error;

/*
 * Unpacks a message as arena_unpack() does, but for the field of that number, which has to be of
 * bytes or a message and not repeated: it is left out of the message, and *ret_apart is where it
 * is within `bytes`; .data NULL: it is not there. Errors: as arena_unpack().
 */
_must_check_ int apart_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
			      uint32_t number, const uint8_t *bytes, size_t n,
			      ProtobufCBinaryData *ret_apart, ProtobufCMessage **ret,
			      struct error *err);
