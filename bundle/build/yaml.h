/* A YAML document read by tables: each mapping has a table of its keys; errors name the line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

#include "base/cleanup.h"

struct error;

struct yaml {
	yaml_document_t document;
	const char *name; /* of the file, for errors */
};

/* A key of a mapping and what to do with its value; `context` is the caller's. */
struct yaml_key {
	const char *key;
	int (*apply)(struct yaml *yaml, yaml_node_t *value, void *context, struct error *err);
};

/* Loads one document; yaml_done() only after success. Errors: CONFIG_INVALID, OUT_OF_MEMORY. */
_must_check_ int yaml_load(struct yaml *yaml, const char *name, const char *text, size_t n,
			   struct error *err);
void yaml_done(struct yaml *yaml);
yaml_node_t *yaml_root(struct yaml *yaml);

/* Raises CONFIG_INVALID with "name:line: " before the message. */
int yaml_error(const struct yaml *yaml, const yaml_node_t *node, struct error *err,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same place before an error that something else raised. */
int yaml_context(const struct yaml *yaml, const yaml_node_t *node, struct error *err, int r);

/* Applies a mapping whose keys are those of a table; others are refused with "did you mean". */
_must_check_ int yaml_apply(struct yaml *yaml, yaml_node_t *node, const struct yaml_key *keys,
			    size_t n_keys, void *context, struct error *err);
/* Calls each with every pair of a mapping of free keys; an empty value is an empty mapping. */
_must_check_ int yaml_each_pair(struct yaml *yaml, yaml_node_t *node,
				int (*each)(struct yaml *yaml, yaml_node_t *key, const char *name,
					    yaml_node_t *value, void *context, struct error *err),
				void *context, struct error *err);
/* Calls each with every item of a sequence. */
_must_check_ int yaml_each_item(struct yaml *yaml, yaml_node_t *node,
				int (*each)(struct yaml *yaml, yaml_node_t *item, void *context,
					    struct error *err),
				void *context, struct error *err);

/* Text that lives as long as the document. */
_must_check_ int yaml_text(struct yaml *yaml, yaml_node_t *node, const char **ret,
			   struct error *err);
/* true or false */
_must_check_ int yaml_bool(struct yaml *yaml, yaml_node_t *node, bool *ret, struct error *err);
/* The index of the text in a list of words. */
_must_check_ int yaml_word(struct yaml *yaml, yaml_node_t *node, const char *const *words,
			   size_t n_words, size_t *ret, struct error *err);

/* The word nearest to text, NULL if none is near. */
const char *yaml_guess(const char *text, const char *const *words, size_t n_words);
