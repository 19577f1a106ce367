/* One part of a hook (target, argument, option value): percent escapes, forms and globs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "bundle/hook.h"

struct error;

struct hook_part {
	char *plain;   /* unescaped, NUL-terminated; NULL if the part holds a wildcard */
	char *escaped; /* canonical; a bare `*` is a wildcard */
};

/*
 * Unescapes n bytes of text. Bare wildcards are let through only in a pattern, and in globs, where
 * they are plain. The part owns memory even after a failure; hook_part_done() frees it. Errors:
 * INVALID_HOOK, OUT_OF_MEMORY.
 */
_must_check_ int hook_part_read(struct hook_part *part, const char *text, size_t n, bool is_pattern,
				enum hook_form form, struct error *err);
/* From plain bytes, as a message holds them. */
_must_check_ int hook_part_from_bytes(struct hook_part *part, const uint8_t *bytes, size_t n,
				      struct error *err);
/*
 * Holds the part to its form, brings it into canonical spelling and escapes it; `what` names the
 * part in errors.
 */
_must_check_ int hook_part_settle(struct hook_part *part, enum hook_form form, const char *words,
				  const char *what, struct error *err);
void hook_part_done(struct hook_part *part);

bool hook_part_matches(const struct hook_part *pattern, const struct hook_part *part);
