/*
 * Inside libbpfleet: how protobuf-c messages become the plain structs of bpfleet.h. A block is an
 * arena that holds the answer as it was unpacked and, in it, the structs that point into it.
 */
#pragma once

#include <stddef.h>

#include "bpfleet/v1/node.pb-c.h"
#include "client/bpfleet.h"
#include "client/node.h"
#include "proto/arena.h"

struct error;

struct bpfleet {
	struct node *node;
};

/* The end of each public function: fills the caller's error if r is negative; returns r. */
int lib_result(int r, const struct error *err, struct bpfleet_error *error);

/*
 * The caller's options over the defaults in `all`: as many bytes as both versions of the struct
 * have. NULL leaves the defaults. Errors: INVALID_ARGUMENT when the size is not set, or when the
 * caller knows an option that we do not, and uses it.
 */
_must_check_ int lib_options(void *all, size_t all_size, const void *options, struct error *err);

/*
 * n zeroed structs of that size in the arena, as a block that bpfleet_free() releases together with
 * the arena. NULL at the arena's limit. Until it is given away the arena is still the caller's.
 */
void *lib_block(struct arena *arena, size_t n, size_t size);

/*
 * Each turns one message of its type into one struct of its type at `ret`, memory from the arena.
 * Errors: OUT_OF_MEMORY.
 */
_must_check_ int lib_bundle(struct arena *arena, const ProtobufCMessage *base, void *ret,
			    struct error *err);
_must_check_ int lib_instance(struct arena *arena, const ProtobufCMessage *base, void *ret,
			      struct error *err);
_must_check_ int lib_program(struct arena *arena, const ProtobufCMessage *base, void *ret,
			     struct error *err);
_must_check_ int lib_link(struct arena *arena, const ProtobufCMessage *base, void *ret,
			  struct error *err);
_must_check_ int lib_map(struct arena *arena, const ProtobufCMessage *base, void *ret,
			 struct error *err);
/* Parameters of a request, in the arena. Errors: OUT_OF_MEMORY. */
_must_check_ int lib_parameters(struct arena *arena, const struct bpfleet_parameter *parameters,
				size_t n, Bpfleet__V1__Parameter ***ret, struct error *err);
/* Lower-case hex of bytes, "" for none; NULL at the limit. */
const char *lib_hex(struct arena *arena, ProtobufCBinaryData bytes);
