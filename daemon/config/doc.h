/*
 * YAML for files that root writes: a tree of scalars, maps and lists with line numbers. A strict
 * subset: one document, no anchors, aliases or tags, no duplicate keys, bounded in size, depth and
 * nodes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

#define DOC_SIZE_MAX (1u << 20)
#define DOC_DEPTH_MAX 16
#define DOC_NODES_MAX 16384

enum doc_kind {
	DOC_SCALAR,
	DOC_MAP,
	DOC_LIST,
};

/* One node; a map has n pairs (keys[i], values[i]), a list n values, a scalar its text. */
struct doc_node {
	enum doc_kind kind;
	unsigned int line; /* from 1 */
	char *text;	   /* scalar only */
	size_t n;	   /* values */
	char **keys;	   /* map only */
	struct doc_node **values;
};

/* A parsed file; `name` is what error messages call it. root is NULL for an empty document. */
struct doc {
	char *name;
	struct doc_node *root;
};

/*
 * Parses len bytes. Raises CONFIG_INVALID with "NAME:LINE: ..." and OUT_OF_MEMORY. Returns new
 * (doc_free).
 */
int doc_parse(const char *name, const char *text, size_t len, struct doc **ret,
	      struct error *err) _must_check_;

/*
 * Reads and parses a file that must be a regular file of root's, writable by nobody else. Raises
 * CONFIG_INVALID, also when the file is missing or not readable.
 */
int doc_load(const char *path, struct doc **ret, struct error *err) _must_check_;

/* Reads such a file whole: at most DOC_SIZE_MAX bytes, terminated. Returns new (free). */
int doc_read_root_file(const char *path, char **ret_text, size_t *ret_len,
		       struct error *err) _must_check_;

void doc_free(struct doc *doc);
DEFINE_CLEANUP(struct doc, doc_free)

/* Copies of all texts of a list, which must hold at least one. Returns new (doc_strings_free). */
int doc_strings(const struct doc *doc, const struct doc_node *node, const char *what, char ***ret,
		size_t *ret_n, struct error *err) _must_check_;
void doc_strings_free(char **strings, size_t n);

/* Value of a key; NULL if node is not a map or has no such key. Borrows from the tree. */
const struct doc_node *doc_get(const struct doc_node *node, const char *key);

/* Refuses what is not a map, or a key outside `known`, with a "did you mean". */
int doc_check_keys(const struct doc *doc, const struct doc_node *node, const char *const *known,
		   size_t n_known, struct error *err) _must_check_;

/* Scalar as text; empty text is refused. Borrows. */
int doc_text(const struct doc *doc, const struct doc_node *node, const char *what, const char **ret,
	     struct error *err) _must_check_;

/* Scalar as a decimal or 0x number in [min, max]. */
int doc_number(const struct doc *doc, const struct doc_node *node, const char *what, uint64_t min,
	       uint64_t max, uint64_t *ret, struct error *err) _must_check_;

/* "NAME:LINE: message", CONFIG_INVALID. */
int doc_raise(const struct doc *doc, const struct doc_node *node, struct error *err,
	      const char *format, ...) __attribute__((format(printf, 4, 5)));
