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

#define YAML_SIZE_MAX (1u << 20)
#define YAML_DEPTH_MAX 16
#define YAML_NODES_MAX 65536

enum yaml_kind {
	YAML_SCALAR,
	YAML_MAP,
	YAML_LIST,
};

/* One node; a map has n pairs (keys[i], values[i]), a list n values, a scalar its text. */
struct yaml_node {
	enum yaml_kind kind;
	unsigned int line; /* from 1 */
	char *text;	   /* scalar only */
	size_t n;	   /* values */
	char **keys;	   /* map only */
	struct yaml_node **values;
};

/* A parsed file; `name` is what error messages call it. root is NULL for an empty document. */
struct yaml {
	char *name;
	struct yaml_node *root;
};

/*
 * Parses len bytes. Raises CONFIG_INVALID with "NAME:LINE: ..." and OUT_OF_MEMORY. Returns new
 * (yaml_free).
 */
int yaml_parse(const char *name, const char *text, size_t len, struct yaml **ret,
	       struct error *err) _must_check_;

/*
 * Reads and parses a file that must be a regular file of root's, writable by nobody else. Raises
 * CONFIG_INVALID, also when the file is missing or not readable.
 */
int yaml_load(const char *path, struct yaml **ret, struct error *err) _must_check_;

/* Reads such a file whole: at most YAML_SIZE_MAX bytes, terminated. Returns new (free). */
int yaml_read_root_file(const char *path, char **ret_text, size_t *ret_len,
			struct error *err) _must_check_;

void yaml_free(struct yaml *yaml);
DEFINE_CLEANUP(struct yaml, yaml_free)

/* Value of a key; NULL if node is not a map or has no such key. Borrows from the tree. */
const struct yaml_node *yaml_get(const struct yaml_node *node, const char *key);

/* Refuses what is not a map, or a key outside `known`, with a "did you mean". */
int yaml_check_keys(const struct yaml *yaml, const struct yaml_node *node, const char *const *known,
		    size_t n_known, struct error *err) _must_check_;

/* Scalar as text; empty text is refused. Borrows. */
int yaml_text(const struct yaml *yaml, const struct yaml_node *node, const char *what,
	      const char **ret, struct error *err) _must_check_;

/* Scalar as a decimal (or 0x, or with `octal` a 0-prefixed octal) number in [min, max]. */
int yaml_number(const struct yaml *yaml, const struct yaml_node *node, const char *what,
		uint64_t min, uint64_t max, uint64_t *ret, struct error *err) _must_check_;

/* "NAME:LINE: message", CONFIG_INVALID. */
int yaml_raise(const struct yaml *yaml, const struct yaml_node *node, struct error *err,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));
