/* Text to the bytes of a plan. Internal; the forms are in decode/FORMAT.md. */
#pragma once

#include "decode/plan.h"

_must_check_ int parse_text(const struct plan *plan, enum decoder_part part, const char *text,
			    uint8_t *ret_bytes, size_t n, struct error *err);

/* Appends the characters of a JSON string that is all of the text. */
bool parse_string(const char *text, struct str *out);

/* Appends the expected form, cut at about 400 characters. */
void parse_describe(const struct node *node, struct str *out);
