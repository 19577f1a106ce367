/*
 * Bounded memory for protobuf-c: everything one message unpacks into lives in one arena, is freed
 * at once, and cannot grow past a limit (a hostile 4 MiB message makes protobuf-c ask for 239 MiB).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"

struct error;
struct arena;

/* A new arena that hands out at most limit_bytes; NULL when out of memory. Free with arena_free().
 */
struct arena *arena_new(size_t limit_bytes);
void arena_free(struct arena *arena);
DEFINE_CLEANUP(struct arena, arena_free)

/* Zeroed memory, aligned for any type, that lives as long as the arena; NULL at the limit. */
void *arena_alloc(struct arena *arena, size_t size);
/* A terminated copy of n bytes; NULL at the limit. */
char *arena_strndup(struct arena *arena, const char *text, size_t n);
char *arena_printf(struct arena *arena, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
size_t arena_used(const struct arena *arena);

/* For protobuf-c; valid as long as the arena. */
ProtobufCAllocator *arena_allocator(struct arena *arena);

/*
 * Unpacks n bytes into the arena. The message lives as long as the arena; never call
 * protobuf_c_message_free_unpacked() on it. Errors: INVALID_ARGUMENT (not such a message, or a
 * string that is not UTF-8), REQUEST_TOO_LARGE (the arena's limit).
 */
_must_check_ int arena_unpack(struct arena *arena, const ProtobufCMessageDescriptor *descriptor,
			      const uint8_t *bytes, size_t n, ProtobufCMessage **ret,
			      struct error *err);

/* Packs a message into the arena. Errors: OUT_OF_MEMORY (the limit). */
_must_check_ int arena_pack(struct arena *arena, const ProtobufCMessage *message,
			    uint8_t **ret_bytes, size_t *ret_n, struct error *err);

/*
 * Refuses unknown fields and enum values that the descriptors do not name, at any depth: for signed
 * messages. Errors: UNKNOWN_FIELD, with the message's name in the text.
 */
_must_check_ int arena_refuse_unknown(const ProtobufCMessage *message, struct error *err);
