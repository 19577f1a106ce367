/* Bundles of the bench's own programs, built and signed with a throwaway key in this process. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct signing;

/* The programs in tests/bench/programs. */
extern const char *const signing_programs[];
#define SIGNING_N_PROGRAMS 6

/* One bundle, NAME@1.0.0 of NAME.bpf.o. The map of `table` has a writer: else it would be frozen.
 */
struct signed_bundle {
	uint8_t *bytes;
	size_t size;
	char *signature; /* the .minisig file */
};

_must_check_ int signing_new(struct signing **ret, struct error *err);
void signing_free(struct signing *signing);
DEFINE_CLEANUP(struct signing, signing_free)

/* The base64 line for trust.yaml. */
const char *signing_public_key(const struct signing *signing);
/* The i-th of signing_programs, signed; owned by `signing`. */
const struct signed_bundle *signing_bundle(const struct signing *signing, size_t i);

/* Path of the compiled object of a program. */
void signing_object_path(const char *program, char *out, size_t size);
/* What is in it, new (free it). Errors: IO. */
_must_check_ int signing_read_object(const char *program, uint8_t **ret, size_t *ret_n,
				     struct error *err);
