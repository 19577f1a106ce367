/* Walks a plan over bytes and prints what it finds. Internal. */
#pragma once

#include "decode/leaf.h"

/*
 * How to print. With n_copies > 1 there are that many copies of the bytes, `stride` bytes apart,
 * and their sum is printed: numbers added, durations the latest, and anything else what the copies
 * agree on (those that are all zero aside), or null.
 */
struct emission {
	struct str *out;
	bool json;
	uint32_t n_copies;
	size_t stride;
};

void emit_node(const struct emission *emission, const struct node *node, const uint8_t *p,
	       size_t n);
