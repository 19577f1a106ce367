#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/build/apply.h"
#include "bundle/format.h"
#include "bundle/name.h"
#include "proto/arena.h"

int apply_text(struct yaml *yaml, yaml_node_t *node, struct arena *arena, char **ret,
	       struct error *err)
{
	const char *text;
	char *copy;
	int r = yaml_text(yaml, node, &text, err);

	if (r < 0)
		return r;
	copy = arena_strndup(arena, text, strlen(text));
	if (copy == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
	*ret = copy;
	return 0;
}

static int apply_name(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;
	int r = apply_text(yaml, node, apply->arena, &apply->manifest->name, err);

	if (r == 0) {
		r = name_check_bundle(apply->manifest->name, err);
		if (r < 0)
			return yaml_context(yaml, node, err, r);
	}
	return r;
}

static int apply_description(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;

	return apply_text(yaml, node, apply->arena, &apply->manifest->description, err);
}

static int parse_version(struct yaml *yaml, yaml_node_t *node, struct apply *apply,
			 Bpfleet__V1__Version **ret, struct error *err)
{
	Bpfleet__V1__Version *message;
	struct version version;
	const char *text;
	int r = yaml_text(yaml, node, &text, err);

	if (r < 0)
		return r;
	r = version_parse(text, &version, err);
	if (r < 0)
		return yaml_context(yaml, node, err, r);
	message = arena_alloc(apply->arena, sizeof(*message));
	if (message == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
	bpfleet__v1__version__init(message);
	message->major = version.major;
	message->minor = version.minor;
	message->patch = version.patch;
	*ret = message;
	return 0;
}

static int apply_version(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;

	return parse_version(yaml, node, apply, &apply->manifest->version, err);
}

static int apply_obsoletes(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;

	return parse_version(yaml, node, apply, &apply->manifest->obsoletes_below, err);
}

static int apply_expiry(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;
	struct tm tm = { 0 };
	const char *text, *end;
	time_t at;
	int r = yaml_text(yaml, node, &text, err);

	if (r < 0)
		return r;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	at = end != NULL && *end == '\0' ? timegm(&tm) : -1;
	if (at <= 0 || (uint64_t)at > UINT64_MAX / NS_PER_SEC)
		return yaml_error(yaml, node, err,
				  "'%.40s' is not a time in UTC as 2027-01-31T00:00:00Z", text);
	apply->manifest->expires_at_ns = (uint64_t)at * NS_PER_SEC;
	return 0;
}

static int apply_access(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	static const char *const words[] = { "private", "read" };
	struct apply *apply = context;
	size_t index;
	int r = yaml_word(yaml, node, words, ARRAY_SIZE(words), &index, err);

	if (r < 0)
		return r;
	apply->default_access =
		index == 0 ? BPFLEET__V1__ACCESS__ACCESS_PRIVATE : BPFLEET__V1__ACCESS__ACCESS_READ;
	return 0;
}

static int apply_min_kernel(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply *apply = context;
	Bpfleet__V1__Requirements *requirements = arena_alloc(apply->arena, sizeof(*requirements));

	if (requirements == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
	bpfleet__v1__requirements__init(requirements);
	apply->manifest->requirements = requirements;
	return apply_text(yaml, node, apply->arena, &requirements->min_kernel, err);
}

static int apply_requirements(struct yaml *yaml, yaml_node_t *node, void *context,
			      struct error *err)
{
	static const struct yaml_key keys[] = { { "min_kernel", apply_min_kernel } };

	return yaml_apply(yaml, node, keys, ARRAY_SIZE(keys), context, err);
}

/* "dir/Packet-Count.bpf.o" is called packet_count. */
static char *name_from_path(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	char *name = arena_strndup(arena, base, strcspn(base, "."));

	for (char *p = name; p != NULL && *p != '\0'; p++) {
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
		else if (*p == '-')
			*p = '_';
	}
	return name;
}

static int apply_object_name(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply_object *declared = context;

	return yaml_text(yaml, node, &declared->name, err);
}

static int apply_object_file(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	struct apply_object *declared = context;

	return yaml_text(yaml, node, &declared->path, err);
}

static int apply_object_item(struct yaml *yaml, yaml_node_t *item, void *context, struct error *err)
{
	static const struct yaml_key keys[] = { { "name", apply_object_name },
						{ "file", apply_object_file } };
	struct apply *apply = context;
	struct apply_object declared = { .node = item };
	int r;

	if (apply->n_declared >= BUNDLE_OBJECTS_MAX)
		return yaml_error(yaml, item, err, "more than %d objects", BUNDLE_OBJECTS_MAX);
	if (item->type == YAML_SCALAR_NODE)
		r = yaml_text(yaml, item, &declared.path, err);
	else
		r = yaml_apply(yaml, item, keys, ARRAY_SIZE(keys), &declared, err);
	if (r < 0)
		return r;
	if (declared.path == NULL || declared.path[0] == '\0')
		return yaml_error(yaml, item, err, "an object needs its file");
	if (declared.name == NULL)
		declared.name = name_from_path(apply->arena, declared.path);
	if (declared.name == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
	r = name_check_bundle(declared.name, err);
	if (r < 0)
		return yaml_context(yaml, item, err, error_context(err, r, "the object's name"));
	for (size_t i = 0; i < apply->n_declared; i++) {
		if (strcmp(apply->declared[i].name, declared.name) == 0)
			return yaml_error(yaml, item, err, "two objects are called '%s'; name one",
					  declared.name);
	}
	apply->declared[apply->n_declared++] = declared;
	return 0;
}

static int apply_objects(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	return yaml_each_item(yaml, node, apply_object_item, context, err);
}

static int keep_programs(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct apply *)context)->programs = node;
	return 0;
}

static int keep_maps(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct apply *)context)->maps = node;
	return 0;
}

static int keep_parameters(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct apply *)context)->parameters = node;
	return 0;
}

static int keep_budgets(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct apply *)context)->budgets = node;
	return 0;
}

static int keep_metrics(struct yaml *yaml, yaml_node_t *node, void *context, struct error *err)
{
	(void)yaml;
	(void)err;
	((struct apply *)context)->metrics = node;
	return 0;
}

int apply_head(struct yaml *yaml, struct apply *apply, struct error *err)
{
	static const struct yaml_key keys[] = {
		{ "name", apply_name },
		{ "version", apply_version },
		{ "description", apply_description },
		{ "objects", apply_objects },
		{ "requirements", apply_requirements },
		{ "expires_at", apply_expiry },
		{ "obsoletes_below", apply_obsoletes },
		{ "default_access", apply_access },
		{ "programs", keep_programs },
		{ "maps", keep_maps },
		{ "parameters", keep_parameters },
		{ "budgets", keep_budgets },
		{ "metrics", keep_metrics },
	};
	yaml_node_t *root = yaml_root(yaml);
	int r = yaml_apply(yaml, root, keys, ARRAY_SIZE(keys), apply, err);

	if (r < 0)
		return r;
	if (apply->manifest->name[0] == '\0')
		return yaml_error(yaml, root, err, "'name' is missing");
	if (apply->manifest->version == NULL)
		return yaml_error(yaml, root, err, "'version' is missing");
	if (apply->n_declared == 0)
		return yaml_error(yaml, root, err,
				  "'objects' is missing: the compiled .bpf.o files");
	return 0;
}

int apply_body(struct yaml *yaml, struct apply *apply, struct error *err)
{
	int r = apply_programs(yaml, apply, err);

	if (r == 0)
		r = apply_maps(yaml, apply, err);
	if (r == 0)
		r = apply_parameters(yaml, apply, err);
	return r < 0 ? r : apply_cost(yaml, apply, err);
}

const struct infer_object *apply_object(const struct apply *apply, const char *name)
{
	for (size_t i = 0; i < apply->n_objects; i++) {
		if (strcmp(apply->objects[i].name, name) == 0)
			return &apply->objects[i];
	}
	return NULL;
}

int apply_unknown(struct yaml *yaml, yaml_node_t *node, const char *what, const char *name,
		  const char *const *names, size_t n_names, struct error *err)
{
	const char *guess = yaml_guess(name, names, n_names);

	if (guess != NULL)
		return yaml_error(yaml, node, err,
				  "the objects hold no %s '%.64s'; did you mean '%s'?", what, name,
				  guess);
	return yaml_error(yaml, node, err, "the objects hold no %s '%.64s'", what, name);
}
