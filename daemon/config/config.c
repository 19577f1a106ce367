#include "daemon/config/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/config/doc.h"
#include "daemon/config/names.h"

#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "none" to the kernel */

const char *const CONFIG_PATH_DEFAULT = BPFLEET_CONFDIR "/bpfleetd.yaml";

struct config_builder {
	const struct doc *doc;
	const char *path;
	struct config *config;
};

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	free(config->state_dir);
	free(config->run_dir);
	free(config->bpffs_dir);
	free(config->socket);
	free(config->fd_socket);
	free(config->libexec_dir);
	free(config->policy);
	free(config->trust);
	for (size_t i = 0; i < config->n_labels; i++) {
		free(config->labels[i].name);
		doc_strings_free(config->labels[i].values, config->labels[i].n_values);
	}
	free(config->labels);
	free(config);
}

/* Joins without a doubled slash; NULL: out of memory. */
static char *join(const char *folder, size_t folder_len, const char *name)
{
	struct str path = { 0 };

	(void)str_append_bytes(&path, folder, folder_len);
	(void)str_append(&path, name);
	return str_take(&path);
}

/* A path of the file, or its default (taken over); a path is absolute and has no "..". */
static int set_path(const struct config_builder *b, const char *key, char *fallback, size_t max,
		    char **ret, struct error *err)
{
	const struct doc_node *node = doc_get(b->doc->root, key);
	_cleanup_free_ char *path = fallback;
	const char *text;
	size_t len;
	int r;

	if (node != NULL) {
		r = doc_text(b->doc, node, key, &text, err);
		if (r < 0)
			return r;
		free(TAKE_PTR(path));
		path = strdup(text);
	}
	if (path == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", b->path);
	len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	if (path[0] != '/' || len == 1 || strstr(path, "/../") != NULL ||
	    (len >= 3 && strcmp(path + len - 3, "/..") == 0))
		return doc_raise(b->doc, node, err, "%s must be an absolute path below /", key);
	if (len > max)
		return doc_raise(b->doc, node, err, "%s is longer than %zu bytes", key, max);
	*ret = TAKE_PTR(path);
	return 0;
}

static int set_paths(const struct config_builder *b, struct error *err)
{
	const size_t socket_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	const char *slash = strrchr(b->path, '/');
	size_t folder_len = slash != NULL ? (size_t)(slash - b->path) : 0;
	struct config *c = b->config;
	const size_t path_max = 1024;
	int r;

	r = set_path(b, "state_dir", strdup("/var/lib/bpfleet"), path_max, &c->state_dir, err);
	if (r == 0)
		r = set_path(b, "run_dir", strdup("/run/bpfleet"), path_max, &c->run_dir, err);
	if (r == 0)
		r = set_path(b, "bpffs_dir", strdup("/sys/fs/bpf/bpfleet"), path_max, &c->bpffs_dir,
			     err);
	if (r == 0)
		r = set_path(b, "libexec_dir", strdup(BPFLEET_LIBEXECDIR), path_max,
			     &c->libexec_dir, err);
	if (r == 0)
		r = set_path(b, "socket", join(c->run_dir, strlen(c->run_dir), "/bpfleet.sock"),
			     socket_max, &c->socket, err);
	if (r == 0)
		r = set_path(b, "fd_socket", join(c->run_dir, strlen(c->run_dir), "/fd.sock"),
			     socket_max, &c->fd_socket, err);
	if (r == 0)
		r = set_path(b, "policy", join(b->path, folder_len, "/policy.yaml"), path_max,
			     &c->policy, err);
	if (r == 0)
		r = set_path(b, "trust", join(b->path, folder_len, "/trust.yaml"), path_max,
			     &c->trust, err);
	return r;
}

/* gid_key: a number or a group's name; without it `fallback`, and with none of both an error. */
static int set_group(const struct config_builder *b, const char *gid_key, const gid_t *fallback,
		     gid_t *ret, struct error *err)
{
	const struct doc_node *node = doc_get(b->doc->root, gid_key);
	uint64_t number;
	int r;

	if (node == NULL && fallback != NULL) {
		*ret = *fallback;
		return 0;
	}
	if (node == NULL || node->kind != DOC_SCALAR)
		return doc_raise(b->doc, node, err, "%s must be given, as a number or a name",
				 gid_key);
	if (str_to_u64(node->text, ID_MAX, &number) == 0) {
		*ret = (gid_t)number;
		return 0;
	}
	r = names_group(node->text, ret);
	if (r < 0)
		return doc_raise(b->doc, node, err, "%s: no group '%.64s' in /etc/group", gid_key,
				 node->text);
	return 0;
}

/* A number, or a user's name, which brings its group along. */
static int set_user(const struct config_builder *b, const char *uid_key, const char *gid_key,
		    const char *name, uid_t *ret_uid, gid_t *ret_gid, struct error *err)
{
	const struct doc_node *node = doc_get(b->doc->root, uid_key);
	uint64_t number;
	gid_t group;
	int r;

	if (node != NULL) {
		r = doc_text(b->doc, node, uid_key, &name, err);
		if (r < 0)
			return r;
	}
	if (str_to_u64(name, ID_MAX, &number) == 0) {
		*ret_uid = (uid_t)number;
		r = set_group(b, gid_key, NULL, ret_gid, err);
	} else {
		r = names_user(name, ret_uid, &group);
		if (r < 0)
			return doc_raise(
				b->doc, node, err,
				"%s: no user '%.64s' in /etc/passwd; give a number or make "
				"the user (deploy/systemd/bpfleet.sysusers)",
				uid_key, name);
		r = set_group(b, gid_key, &group, ret_gid, err);
	}
	if (r < 0)
		return r;
	if (*ret_uid == 0 || *ret_gid == 0)
		return doc_raise(b->doc, node, err, "%s and %s must not be root's", uid_key,
				 gid_key);
	return 0;
}

static int set_number(const struct config_builder *b, const struct doc_node *map, const char *key,
		      uint64_t fallback, uint64_t min, uint64_t max, uint64_t *ret,
		      struct error *err)
{
	const struct doc_node *node = doc_get(map, key);

	*ret = fallback;
	return node == NULL ? 0 : doc_number(b->doc, node, key, min, max, ret, err);
}

/* A number of a section of the file, and where it goes. */
struct config_number {
	const char *key;
	size_t offset;
	size_t size; /* of the field: 4 or 8 */
	uint64_t fallback, min, max;
};

#define NUMBER(key, field, fallback, min, max)                                               \
	{                                                                                    \
		key, offsetof(struct config, field), sizeof(((struct config *)NULL)->field), \
			fallback, min, max                                                   \
	}

static const struct config_number limits[] = {
	NUMBER("connections", limits.n_connections, 256, 1, 16384),
	NUMBER("calls_per_connection", limits.n_calls, 64, 1, 4096),
	NUMBER("instances", limits.n_instances, 1024, 1, 65536),
	NUMBER("bundles_bytes", limits.bundles_size_bytes, UINT64_C(512) << 20, UINT64_C(16) << 20,
	       UINT64_C(1) << 40),
	NUMBER("audit_rows", limits.n_audit_rows, 1000000, 1000, UINT32_MAX),
	NUMBER("workers", limits.n_workers, 4, 1, 64),
};

static const struct config_number statistics[] = {
	NUMBER("window_ms", statistics.window_ms, 1000, 100, 60000),
	NUMBER("every_s", statistics.every_s, 30, 0, 86400),
};

static int set_numbers(const struct config_builder *b, const char *section,
		       const struct config_number *numbers, size_t n, struct error *err)
{
	const struct doc_node *map = doc_get(b->doc->root, section);
	const char *known[8];
	uint64_t value;
	int r = 0;

	for (size_t i = 0; i < n; i++)
		known[i] = numbers[i].key;
	if (map != NULL)
		r = doc_check_keys(b->doc, map, known, n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		char *field = (char *)b->config + numbers[i].offset;

		r = set_number(b, map, numbers[i].key, numbers[i].fallback, numbers[i].min,
			       numbers[i].max, &value, err);
		if (numbers[i].size == sizeof(uint64_t))
			memcpy(field, &value, sizeof(value));
		else
			memcpy(field, &(uint32_t){ (uint32_t)value }, sizeof(uint32_t));
	}
	return r;
}

static int set_log_level(const struct config_builder *b, struct error *err)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "error", LOG_LEVEL_ERROR },
		{ "warning", LOG_LEVEL_WARNING },
		{ "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG },
	};
	const struct doc_node *node = doc_get(b->doc->root, "log_level");

	b->config->log_level = LOG_LEVEL_INFO;
	if (node == NULL)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(levels) && node->kind == DOC_SCALAR; i++) {
		if (strcmp(levels[i].name, node->text) == 0) {
			b->config->log_level = levels[i].level;
			return 0;
		}
	}
	return doc_raise(b->doc, node, err, "log_level must be error, warning, info or debug");
}

static int set_socket_mode(const struct config_builder *b, struct error *err)
{
	const struct doc_node *node = doc_get(b->doc->root, "socket_mode");
	unsigned long mode = 0666;
	char *end = NULL;

	if (node != NULL) {
		if (node->kind == DOC_SCALAR)
			mode = strtoul(node->text, &end, 8);
		if (end == NULL || end == node->text || *end != '\0' || mode > 0777)
			return doc_raise(b->doc, node, err, "socket_mode must be octal, like 0660");
	}
	b->config->socket_mode = (mode_t)mode;
	return 0;
}

static int set_labels(const struct config_builder *b, struct error *err)
{
	const struct doc_node *node = doc_get(b->doc->root, "labels");
	struct config *c = b->config;
	int r = 0;

	if (node == NULL)
		return 0;
	if (node->kind != DOC_MAP)
		return doc_raise(b->doc, node, err, "labels must be a map, like {uplink: [eth0]}");
	c->labels = calloc(node->n + 1, sizeof(*c->labels));
	for (size_t i = 0; r >= 0 && i < node->n; i++) {
		struct config_label *label = c->labels != NULL ? &c->labels[c->n_labels++] : NULL;

		if (label == NULL || (label->name = strdup(node->keys[i])) == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", b->path);
		if (strlen(label->name) > 63)
			return doc_raise(b->doc, node->values[i], err,
					 "a label is at most 63 characters long");
		r = doc_strings(b->doc, node->values[i], "the values of a label", &label->values,
				&label->n_values, err);
	}
	return r;
}

int config_from_doc(const struct doc *doc, const char *path, struct config **ret, struct error *err)
{
	static const char *const known[] = {
		"state_dir", "run_dir",	  "bpffs_dir",	 "socket",	"fd_socket",  "core_uid",
		"core_gid",  "front_uid", "front_gid",	 "libexec_dir", "policy",     "trust",
		"limits",    "log_level", "socket_mode", "labels",	"statistics",
	};
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	struct config_builder b = { .doc = doc, .path = path, .config = c };
	int r = 0;

	if (c == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read %s", path);
	if (doc->root != NULL)
		r = doc_check_keys(doc, doc->root, known, ARRAY_SIZE(known), err);
	if (r == 0)
		r = set_paths(&b, err);
	if (r == 0)
		r = set_user(&b, "core_uid", "core_gid", "bpfleet-core", &c->core_uid, &c->core_gid,
			     err);
	if (r == 0)
		r = set_user(&b, "front_uid", "front_gid", "bpfleet-front", &c->front_uid,
			     &c->front_gid, err);
	if (r == 0 && c->core_uid == c->front_uid)
		r = doc_raise(doc, doc_get(doc->root, "front_uid"), err,
			      "front_uid must differ from core_uid");
	if (r == 0)
		r = set_socket_mode(&b, err);
	if (r == 0)
		r = set_numbers(&b, "limits", limits, ARRAY_SIZE(limits), err);
	if (r == 0)
		r = set_numbers(&b, "statistics", statistics, ARRAY_SIZE(statistics), err);
	if (r == 0)
		r = set_log_level(&b, err);
	if (r == 0)
		r = set_labels(&b, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(c);
	return 0;
}

int config_load(const char *path, struct config **ret, struct error *err)
{
	_cleanup_(doc_freep) struct doc *doc = NULL;
	int r;

	if (path[0] != '/')
		return error_raise(err, ERROR_CONFIG_INVALID,
				   "'%s' is not an absolute path of a configuration file", path);
	r = doc_load(path, &doc, err);
	if (r < 0)
		return r;
	return config_from_doc(doc, path, ret, err);
}
