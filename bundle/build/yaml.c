#include "bundle/build/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

#define WORDS_MAX 32

int yaml_load(struct yaml *yaml, const char *name, const char *text, size_t n, struct error *err)
{
	yaml_parser_t parser;
	int r = 0;

	if (!yaml_parser_initialize(&parser))
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to read %s", name);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	yaml->name = name;
	if (!yaml_parser_load(&parser, &yaml->document))
		r = error_raise(err, ERROR_CONFIG_INVALID, "%s:%zu: %s", name,
				parser.problem_mark.line + 1,
				parser.problem != NULL ? parser.problem : "not YAML");
	else if (yaml_document_get_root_node(&yaml->document) == NULL)
		r = error_raise(err, ERROR_CONFIG_INVALID, "%s:1: the file is empty", name);
	yaml_parser_delete(&parser);
	if (r < 0)
		yaml_document_delete(&yaml->document);
	return r;
}

void yaml_done(struct yaml *yaml)
{
	yaml_document_delete(&yaml->document);
}

yaml_node_t *yaml_root(struct yaml *yaml)
{
	return yaml_document_get_root_node(&yaml->document);
}

int yaml_context(const struct yaml *yaml, const yaml_node_t *node, struct error *err, int r)
{
	return error_context(err, r, "%s:%zu", yaml->name, node->start_mark.line + 1);
}

int yaml_error(const struct yaml *yaml, const yaml_node_t *node, struct error *err,
	       const char *format, ...)
{
	char message[ERROR_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	return yaml_context(yaml, node, err, error_raise(err, ERROR_CONFIG_INVALID, "%s", message));
}

const char *yaml_guess(const char *text, const char *const *words, size_t n_words)
{
	const char *guess = NULL;
	unsigned int best = 3;

	for (size_t i = 0; i < n_words; i++) {
		unsigned int distance = str_distance(text, words[i]);

		if (distance < best && distance < strlen(words[i])) {
			best = distance;
			guess = words[i];
		}
	}
	return guess;
}

static int unknown_word(const struct yaml *yaml, const yaml_node_t *node, const char *what,
			const char *text, const char *const *words, size_t n_words,
			struct error *err)
{
	const char *guess = yaml_guess(text, words, n_words);
	struct str list = { 0 }, shown = { 0 };
	int r;

	(void)str_append_escaped(&shown, text, strnlen(text, 64));
	for (size_t i = 0; i < n_words; i++)
		(void)str_appendf(&list, "%s%s", i > 0 ? ", " : "", words[i]);
	if (guess != NULL)
		r = yaml_error(yaml, node, err, "unknown %s '%s'; did you mean '%s'?", what,
			       shown.data, guess);
	else
		r = yaml_error(yaml, node, err, "unknown %s '%s': expected one of %s", what,
			       shown.data, list.data != NULL ? list.data : "none");
	str_done(&list);
	str_done(&shown);
	return r;
}

static int check_mapping(struct yaml *yaml, yaml_node_t *node, struct error *err)
{
	if (node->type != YAML_MAPPING_NODE)
		return yaml_error(yaml, node, err, "expected a mapping, as 'key: value'");
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++) {
		const char *key, *earlier;
		yaml_node_t *key_node = yaml_document_get_node(&yaml->document, p->key);
		int r = yaml_text(yaml, key_node, &key, err);

		if (r < 0)
			return r;
		for (yaml_node_pair_t *q = node->data.mapping.pairs.start; q < p; q++) {
			r = yaml_text(yaml, yaml_document_get_node(&yaml->document, q->key),
				      &earlier, err);
			if (r < 0)
				return r;
			if (strcmp(key, earlier) == 0)
				return yaml_error(yaml, key_node, err, "'%.64s' is there twice",
						  key);
		}
	}
	return 0;
}

int yaml_each_pair(struct yaml *yaml, yaml_node_t *node,
		   int (*each)(struct yaml *yaml, yaml_node_t *key, const char *name,
			       yaml_node_t *value, void *context, struct error *err),
		   void *context, struct error *err)
{
	int r;

	if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0)
		return 0;
	r = check_mapping(yaml, node, err);
	if (r < 0)
		return r;
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
	     r == 0 && p < node->data.mapping.pairs.top; p++) {
		yaml_node_t *key = yaml_document_get_node(&yaml->document, p->key);

		r = each(yaml, key, (const char *)key->data.scalar.value,
			 yaml_document_get_node(&yaml->document, p->value), context, err);
	}
	return r;
}

struct table {
	const struct yaml_key *keys;
	size_t n_keys;
	void *context;
};

static int apply_pair(struct yaml *yaml, yaml_node_t *key, const char *name, yaml_node_t *value,
		      void *context, struct error *err)
{
	const struct table *table = context;
	const char *words[WORDS_MAX];

	for (size_t i = 0; i < table->n_keys && i < WORDS_MAX; i++) {
		if (strcmp(table->keys[i].key, name) == 0)
			return table->keys[i].apply(yaml, value, table->context, err);
		words[i] = table->keys[i].key;
	}
	return unknown_word(yaml, key, "key", name, words, table->n_keys, err);
}

int yaml_apply(struct yaml *yaml, yaml_node_t *node, const struct yaml_key *keys, size_t n_keys,
	       void *context, struct error *err)
{
	struct table table = { keys, n_keys, context };

	return yaml_each_pair(yaml, node, apply_pair, &table, err);
}

int yaml_each_item(struct yaml *yaml, yaml_node_t *node,
		   int (*each)(struct yaml *yaml, yaml_node_t *item, void *context,
			       struct error *err),
		   void *context, struct error *err)
{
	int r = 0;

	if (node->type != YAML_SEQUENCE_NODE)
		return yaml_error(yaml, node, err, "expected a list, as '[one, two]'");
	for (yaml_node_item_t *item = node->data.sequence.items.start;
	     r == 0 && item < node->data.sequence.items.top; item++)
		r = each(yaml, yaml_document_get_node(&yaml->document, *item), context, err);
	return r;
}

int yaml_text(struct yaml *yaml, yaml_node_t *node, const char **ret, struct error *err)
{
	const char *text;

	if (node->type != YAML_SCALAR_NODE)
		return yaml_error(yaml, node, err, "expected text");
	text = (const char *)node->data.scalar.value;
	if (strlen(text) != node->data.scalar.length)
		return yaml_error(yaml, node, err, "text with a NUL character is not accepted");
	*ret = text;
	return 0;
}

int yaml_word(struct yaml *yaml, yaml_node_t *node, const char *const *words, size_t n_words,
	      size_t *ret, struct error *err)
{
	const char *text;
	int r = yaml_text(yaml, node, &text, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n_words; i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = i;
			return 0;
		}
	}
	return unknown_word(yaml, node, "value", text, words, n_words, err);
}

int yaml_bool(struct yaml *yaml, yaml_node_t *node, bool *ret, struct error *err)
{
	static const char *const words[] = { "false", "true" };
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	*ret = index == 1;
	return 0;
}
