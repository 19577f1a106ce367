/* One number, text or address of a plan: reading it from bytes, printing it, parsing it. Internal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "decode/plan.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bundles hold little-endian objects");

/* How strings and words are written. */
enum leaf_style {
	LEAF_JSON,   /* quoted */
	LEAF_NESTED, /* bare, quoted when a blank, a comma or a bracket would end it */
	LEAF_ALONE,  /* bare, quoted when it could not be told from something else */
};

/* The integer of a node of up to 8 bytes, sign-extended if the node is signed; bit-fields too. */
uint64_t leaf_integer(const struct node *node, const uint8_t *p);

/* The same, of a big-endian number what it says. */
uint64_t leaf_number(const struct node *node, const uint8_t *p);

/* The bytes of a node, without those that belong to neighbours of a bit-field, compare equal. */
bool leaf_equal(const struct node *node, const uint8_t *a, const uint8_t *b);
bool leaf_is_zero(const struct node *node, const uint8_t *p);

/* Appends a leaf; n: bytes at p, at least node->size, more for a node that takes what is left. */
void leaf_print(struct str *out, const struct node *node, const uint8_t *p, size_t n,
		enum leaf_style style);
/* Append numbers, as leaf_print() does; in JSON those beyond 2^53 - 1 as strings. */
void leaf_print_unsigned(struct str *out, uint64_t value, enum leaf_style style);
void leaf_print_signed(struct str *out, int64_t value, enum leaf_style style);
void leaf_print_double(struct str *out, double value, bool single, enum leaf_style style);
void leaf_print_duration(struct str *out, uint64_t ns, enum leaf_style style);
void leaf_print_hex(struct str *out, const uint8_t *bytes, size_t n, const char *prefix,
		    enum leaf_style style);

/*
 * Parses text into the node's bytes at p and sets the bits it wrote in `mask` (both node->size
 * bytes, from the key's or value's own start for NODE_CIDR: see node.back). False: not such a text.
 */
bool leaf_parse(const struct node *node, const char *text, size_t n, uint8_t *p, uint8_t *mask);

/* Appends what leaf_parse() takes: "a number from 0 to 255". */
void leaf_describe(const struct node *node, struct str *out);

/* Name of an IP protocol number, NULL if it has none here; and back, -1 if there is none. */
const char *ip_protocol_name(uint64_t number);
int ip_protocol_number(const char *name, size_t n);

/* str_append_bytes() without the call where there is room. */
static inline void put(struct str *out, const void *bytes, size_t n)
{
	if (out->capacity - out->len > n && !out->failed) {
		memcpy(out->data + out->len, bytes, n);
		out->len += n;
		out->data[out->len] = '\0';
	} else {
		(void)str_append_bytes(out, bytes, n);
	}
}

static inline void put_char(struct str *out, char c)
{
	put(out, &c, 1);
}
