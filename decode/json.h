/*
 * Protobuf messages as canonical proto3 JSON (https://protobuf.dev/programming-guides/json): names
 * in lowerCamelCase, 64-bit integers as strings, bytes in base64, enums by name.
 */
#pragma once

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "base/str.h"

struct error;

enum json_flags {
	/* Members that hold their default are printed too (never absent messages or oneofs). */
	JSON_DEFAULTS = 1 << 0,
	/* Line breaks and two spaces of indentation a level; otherwise one line. */
	JSON_PRETTY = 1 << 1,
};

/*
 * Appends a message, without a line end. Unknown fields are left out; an unknown enum value is its
 * number; google.protobuf.Any is expanded when it holds google.rpc.ErrorInfo, else "value" is
 * base64. flags: json_flags. Errors: OUT_OF_MEMORY, INVALID_ARGUMENT (nested deeper than 64).
 */
_must_check_ int json_append_message(struct str *out, const ProtobufCMessage *message,
				     unsigned int flags, struct error *err);
