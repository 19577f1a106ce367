#include "daemon/config/doc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "base/error.h"
#include "base/str.h"

struct builder {
	struct doc *doc;
	yaml_parser_t parser;
	size_t n_nodes;
};

static int node_raise(const struct doc *doc, size_t line, struct error *err, const char *text)
{
	return error_raise(err, ERROR_CONFIG_INVALID, "%s:%zu: %s", doc->name, line, text);
}

int doc_raise(const struct doc *doc, const struct doc_node *node, struct error *err,
	      const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return node_raise(doc, node != NULL ? node->line : 1, err, text);
}

static void node_free(struct doc_node *node)
{
	if (node == NULL)
		return;
	for (size_t i = 0; i < node->n; i++) {
		if (node->keys != NULL)
			free(node->keys[i]);
		node_free(node->values[i]);
	}
	free(node->keys);
	free(node->values);
	free(node->text);
	free(node);
}
DEFINE_CLEANUP(struct doc_node, node_free)

void doc_free(struct doc *doc)
{
	if (doc == NULL)
		return;
	node_free(doc->root);
	free(doc->name);
	free(doc);
}

/* The next event; the caller deletes it. */
static int next_event(struct builder *b, yaml_event_t *ret, struct error *err)
{
	const yaml_parser_t *p = &b->parser;

	if (yaml_parser_parse(&b->parser, ret))
		return 0;
	if (p->error == YAML_MEMORY_ERROR)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", b->doc->name);
	return node_raise(b->doc, p->problem_mark.line + 1, err,
			  p->problem != NULL ? p->problem : "not YAML");
}

/* Room for one more child; doubles. A map grows its keys alike. */
static int node_reserve(struct doc_node *node)
{
	size_t capacity = node->n * 2;
	struct doc_node **values;
	char **keys;

	if ((node->n & (node->n - 1)) != 0)
		return 0;
	if (capacity == 0)
		capacity = 1;
	values = reallocarray(node->values, capacity, sizeof(*values));
	if (values == NULL)
		return -ENOMEM;
	node->values = values;
	if (node->kind != DOC_MAP)
		return 0;
	keys = reallocarray(node->keys, capacity, sizeof(*keys));
	if (keys == NULL)
		return -ENOMEM;
	node->keys = keys;
	return 0;
}

static int build_node(struct builder *b, yaml_event_t *event, unsigned int depth,
		      struct doc_node **ret, struct error *err);

/* The key of a map's next pair, from a scalar event. */
static int build_key(struct builder *b, const struct doc_node *node, const yaml_event_t *event,
		     char **ret, struct error *err)
{
	const char *key = (const char *)event->data.scalar.value;
	size_t line = event->start_mark.line + 1;

	if (event->type != YAML_SCALAR_EVENT || strlen(key) != event->data.scalar.length)
		return node_raise(b->doc, line, err, "a key must be plain text");
	if (doc_get(node, key) != NULL)
		return node_raise(b->doc, line, err, "this key appears twice");
	*ret = strdup(key);
	if (*ret == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", b->doc->name);
	return 0;
}

static int build_child(struct builder *b, struct doc_node *node, yaml_event_t *event,
		       unsigned int depth, struct error *err)
{
	_cleanup_(node_freep) struct doc_node *child = NULL;
	_cleanup_free_ char *key = NULL;
	int r;

	if (node_reserve(node) < 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", b->doc->name);
	if (node->kind == DOC_MAP) {
		yaml_event_t value;

		r = build_key(b, node, event, &key, err);
		if (r < 0)
			return r;
		r = next_event(b, &value, err);
		if (r < 0)
			return r;
		r = build_node(b, &value, depth + 1, &child, err);
		yaml_event_delete(&value);
	} else {
		r = build_node(b, event, depth + 1, &child, err);
	}
	if (r < 0)
		return r;
	if (node->kind == DOC_MAP)
		node->keys[node->n] = TAKE_PTR(key);
	node->values[node->n++] = TAKE_PTR(child);
	return 0;
}

/* Children up to the end event of node. */
static int build_children(struct builder *b, struct doc_node *node, unsigned int depth,
			  struct error *err)
{
	for (;;) {
		yaml_event_t event;
		bool end;
		int r;

		r = next_event(b, &event, err);
		if (r < 0)
			return r;
		end = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
		if (!end)
			r = build_child(b, node, &event, depth, err);
		yaml_event_delete(&event);
		if (r < 0 || end)
			return r;
	}
}

static int build_scalar(struct builder *b, const yaml_event_t *event, struct doc_node *node,
			struct error *err)
{
	const char *text = (const char *)event->data.scalar.value;

	if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
		return node_raise(b->doc, node->line, err, "anchors and tags are not allowed");
	if (strlen(text) != event->data.scalar.length)
		return node_raise(b->doc, node->line, err, "text must not hold a NUL byte");
	node->kind = DOC_SCALAR;
	node->text = strdup(text);
	if (node->text == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", b->doc->name);
	return 0;
}

static int build_node(struct builder *b, yaml_event_t *event, unsigned int depth,
		      struct doc_node **ret, struct error *err)
{
	_cleanup_(node_freep) struct doc_node *node = NULL;
	size_t line = event->start_mark.line + 1;
	int r;

	if (depth > DOC_DEPTH_MAX)
		return node_raise(b->doc, line, err, "nested too deep");
	if (++b->n_nodes > DOC_NODES_MAX)
		return node_raise(b->doc, line, err, "too many entries");
	node = calloc(1, sizeof(*node));
	if (node == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", b->doc->name);
	node->line = (unsigned int)line;
	if (event->type == YAML_SCALAR_EVENT) {
		r = build_scalar(b, event, node, err);
	} else if (event->type == YAML_MAPPING_START_EVENT ||
		   event->type == YAML_SEQUENCE_START_EVENT) {
		bool map = event->type == YAML_MAPPING_START_EVENT;

		/* Both kinds of event begin with anchor and tag. */
		if (map ? event->data.mapping_start.anchor || event->data.mapping_start.tag
			: event->data.sequence_start.anchor || event->data.sequence_start.tag)
			return node_raise(b->doc, line, err, "anchors and tags are not allowed");
		node->kind = map ? DOC_MAP : DOC_LIST;
		r = build_children(b, node, depth, err);
	} else {
		r = node_raise(b->doc, line, err, "aliases are not allowed");
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(node);
	return 0;
}

/* STREAM-START [DOCUMENT-START node DOCUMENT-END] STREAM-END. */
static int build_document(struct builder *b, struct error *err)
{
	unsigned int n_documents = 0;

	for (;;) {
		yaml_event_t event;
		bool end;
		int r;

		r = next_event(b, &event, err);
		if (r < 0)
			return r;
		end = event.type == YAML_STREAM_END_EVENT;
		if (event.type == YAML_DOCUMENT_START_EVENT && ++n_documents > 1)
			r = node_raise(b->doc, event.start_mark.line + 1, err,
				       "only one document is allowed");
		else if (event.type != YAML_STREAM_START_EVENT &&
			 event.type != YAML_DOCUMENT_START_EVENT &&
			 event.type != YAML_DOCUMENT_END_EVENT && !end)
			r = build_node(b, &event, 1, &b->doc->root, err);
		yaml_event_delete(&event);
		if (r < 0 || end)
			return r;
	}
}

int doc_parse(const char *name, const char *text, size_t len, struct doc **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = calloc(1, sizeof(*doc));
	struct builder b = { .doc = doc };
	int r;

	if (doc == NULL || (doc->name = strdup(name)) == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", name);
	if (len > DOC_SIZE_MAX)
		return error_raise(err, ERROR_CONFIG_INVALID, "%s: larger than %u bytes", name,
				   DOC_SIZE_MAX);
	if (!yaml_parser_initialize(&b.parser))
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", name);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
	r = build_document(&b, err);
	yaml_parser_delete(&b.parser);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(doc);
	return 0;
}

/* Refuses a file that somebody but root can change. */
static int check_owner(const char *path, int fd, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_raise_errno(err, ERROR_CONFIG_INVALID, errno, "%s: stat", path);
	if (!S_ISREG(st.st_mode))
		return error_raise(err, ERROR_CONFIG_INVALID, "%s: not a regular file", path);
	if (st.st_uid != 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "%s: owned by uid %u; it must be root's (chown root)", path,
				   st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "%s: mode %04o lets others write it (chmod go-w)", path,
				   st.st_mode & 07777);
	if (st.st_size > (off_t)DOC_SIZE_MAX)
		return error_raise(err, ERROR_CONFIG_INVALID, "%s: larger than %u bytes", path,
				   DOC_SIZE_MAX);
	return 0;
}

int doc_read_root_file(const char *path, char **ret_text, size_t *ret_len, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t len = 0;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return error_raise_errno(err, ERROR_CONFIG_INVALID, errno, "%s: open", path);
	r = check_owner(path, fd, err);
	if (r < 0)
		return r;
	text = malloc(DOC_SIZE_MAX + 1);
	if (text == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", path);
	while (len < DOC_SIZE_MAX) {
		ssize_t n = read(fd, text + len, DOC_SIZE_MAX - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_raise_errno(err, ERROR_CONFIG_INVALID, errno, "%s: read",
						 path);
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	*ret_len = len;
	return 0;
}

int doc_load(const char *path, struct doc **ret, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = doc_read_root_file(path, &text, &len, err);
	if (r < 0)
		return r;
	return doc_parse(path, text, len, ret, err);
}

const struct doc_node *doc_get(const struct doc_node *node, const char *key)
{
	if (node == NULL || node->kind != DOC_MAP)
		return NULL;
	for (size_t i = 0; i < node->n; i++) {
		if (strcmp(node->keys[i], key) == 0)
			return node->values[i];
	}
	return NULL;
}

static const char *nearest(const char *key, const char *const *known, size_t n_known)
{
	const char *best = NULL;
	unsigned int best_distance = 3;

	if (strlen(key) > 63)
		return NULL;
	for (size_t i = 0; i < n_known; i++) {
		unsigned int d = str_distance(key, known[i]);

		if (d < best_distance) {
			best_distance = d;
			best = known[i];
		}
	}
	return best;
}

static bool is_known(const char *key, const char *const *known, size_t n_known)
{
	for (size_t i = 0; i < n_known; i++) {
		if (strcmp(key, known[i]) == 0)
			return true;
	}
	return false;
}

int doc_check_keys(const struct doc *doc, const struct doc_node *node, const char *const *known,
		   size_t n_known, struct error *err)
{
	if (node == NULL || node->kind != DOC_MAP)
		return doc_raise(doc, node, err, "expected `key: value` pairs here");
	for (size_t i = 0; i < node->n; i++) {
		const char *guess;

		if (is_known(node->keys[i], known, n_known))
			continue;
		guess = nearest(node->keys[i], known, n_known);
		return doc_raise(doc, node->values[i], err, "unknown key '%.100s'%s%s%s",
				 node->keys[i], guess ? "; did you mean '" : "", guess ? guess : "",
				 guess ? "'?" : "");
	}
	return 0;
}

int doc_text(const struct doc *doc, const struct doc_node *node, const char *what, const char **ret,
	     struct error *err)
{
	if (node == NULL || node->kind != DOC_SCALAR || node->text[0] == '\0')
		return doc_raise(doc, node, err, "%s must be a text", what);
	*ret = node->text;
	return 0;
}

int doc_number(const struct doc *doc, const struct doc_node *node, const char *what, uint64_t min,
	       uint64_t max, uint64_t *ret, struct error *err)
{
	uint64_t value;

	if (node == NULL || node->kind != DOC_SCALAR || str_to_u64(node->text, max, &value) < 0 ||
	    value < min)
		return doc_raise(doc, node, err, "%s must be a number from %llu to %llu", what,
				 (unsigned long long)min, (unsigned long long)max);
	*ret = value;
	return 0;
}

void doc_strings_free(char **strings, size_t n)
{
	for (size_t i = 0; strings != NULL && i < n; i++)
		free(strings[i]);
	free(strings);
}

int doc_strings(const struct doc *doc, const struct doc_node *node, const char *what, char ***ret,
		size_t *ret_n, struct error *err)
{
	char **strings;
	int r = 0;

	if (node == NULL || node->kind != DOC_LIST || node->n == 0)
		return doc_raise(doc, node, err, "%s must be a list of at least one text", what);
	strings = calloc(node->n, sizeof(*strings));
	if (strings == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", doc->name);
	for (size_t i = 0; i < node->n && r == 0; i++) {
		const char *text;

		r = doc_text(doc, node->values[i], what, &text, err);
		if (r == 0 && (strings[i] = strdup(text)) == NULL)
			r = error_raise(err, ERROR_OUT_OF_MEMORY, "parse %s", doc->name);
	}
	if (r < 0) {
		doc_strings_free(strings, node->n);
		return r;
	}
	*ret = strings;
	*ret_n = node->n;
	return 0;
}
