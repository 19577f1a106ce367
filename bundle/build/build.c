#define _GNU_SOURCE
#include "bundle/build/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

#include "base/error.h"
#include "bundle/build/apply.h"
#include "bundle/format.h"
#include "proto/arena.h"

#define ARENA_LIMIT ((size_t)64 << 20)

/* Where objects come from: a folder, or memory. */
struct source {
	const char *folder;
	const struct build_object *objects;
	size_t n_objects;
};

static int out_of_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to build a bundle");
}

/* Reads a regular file whole; the result is new and one byte longer, ended by NUL. */
static int read_file(const char *path, size_t max, uint8_t **ret, size_t *ret_n, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 && errno == ENOENT)
		return error_raise(err, ERROR_IO, "cannot open %s: no such file or directory",
				   path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot open %s", path);
	if (!S_ISREG(st.st_mode))
		return error_raise(err, ERROR_IO, "%s is not a regular file", path);
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return error_raise(err, ERROR_BUNDLE_TOO_LARGE,
				   "%s has %lld bytes; at most %zu fit", path,
				   (long long)st.st_size, max);
	bytes = malloc((size_t)st.st_size + 1);
	if (bytes == NULL)
		return out_of_memory(err);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, bytes + n, (size_t)st.st_size - n);

		if (got < 0)
			return error_raise_errno(err, ERROR_IO, errno, "cannot read %s", path);
		if (got == 0)
			break;
		n += (size_t)got;
	}
	bytes[n] = '\0';
	*ret = TAKE_PTR(bytes);
	*ret_n = n;
	return 0;
}

static int copy_object(const struct source *source, const char *path, uint8_t **ret, size_t *ret_n,
		       struct error *err)
{
	for (size_t i = 0; i < source->n_objects; i++) {
		if (strcmp(source->objects[i].path, path) != 0)
			continue;
		*ret = malloc(source->objects[i].size + 1);
		if (*ret == NULL)
			return out_of_memory(err);
		memcpy(*ret, source->objects[i].elf, source->objects[i].size);
		*ret_n = source->objects[i].size;
		return 0;
	}
	return error_raise(err, ERROR_IO, "there is no object '%.255s'", path);
}

static int fetch_object(const struct source *source, const char *path, uint8_t **ret, size_t *ret_n,
			struct error *err)
{
	_cleanup_free_ char *full = NULL;

	if (source->folder == NULL)
		return copy_object(source, path, ret, ret_n, err);
	if (asprintf(&full, "%s%s%s", path[0] == '/' ? "" : source->folder,
		     path[0] == '/' ? "" : "/", path) < 0) {
		full = NULL;
		return out_of_memory(err);
	}
	return read_file(full, BUNDLE_SIZE_MAX, ret, ret_n, err);
}

static int open_objects(struct yaml *yaml, struct apply *apply, const struct source *source,
			struct error *err)
{
	int r;

	for (size_t i = 0; i < apply->n_declared; i++) {
		struct infer_object *object = &apply->objects[i];
		uint8_t *elf = NULL;

		(void)snprintf(object->name, sizeof(object->name), "%s", apply->declared[i].name);
		r = fetch_object(source, apply->declared[i].path, &elf, &object->size, err);
		if (r < 0)
			return yaml_context(yaml, apply->declared[i].node, err, r);
		object->elf = elf;
		apply->n_objects++;
		r = infer_open(object, err);
		if (r == 0)
			r = infer_manifest(apply->arena, object, apply->manifest, err);
		if (r < 0)
			return yaml_context(yaml, apply->declared[i].node, err, r);
	}
	return 0;
}

static void close_objects(struct infer_object *objects)
{
	for (size_t i = 0; i < BUNDLE_OBJECTS_MAX; i++) {
		bpf_object__close(objects[i].bpf);
		free((uint8_t *)objects[i].elf);
	}
}

static int pack(const struct apply *apply, uint8_t **ret_bytes, size_t *ret_n, struct error *err)
{
	Bpfleet__V1__Bundle bundle = BPFLEET__V1__BUNDLE__INIT;
	Bpfleet__V1__Object messages[BUNDLE_OBJECTS_MAX], *list[BUNDLE_OBJECTS_MAX];

	for (size_t i = 0; i < apply->n_objects; i++) {
		bpfleet__v1__object__init(&messages[i]);
		messages[i].name = (char *)apply->objects[i].name;
		messages[i].elf.data = (uint8_t *)apply->objects[i].elf;
		messages[i].elf.len = apply->objects[i].size;
		list[i] = &messages[i];
	}
	bundle.manifest = apply->manifest;
	bundle.objects = list;
	bundle.n_objects = apply->n_objects;
	return bundle_pack(&bundle, ret_bytes, ret_n, err);
}

/* The manifest's lists, with room for the most that a bundle may have. */
static int prepare(struct apply *apply, struct error *err)
{
	Bpfleet__V1__Manifest *manifest = apply->manifest;

	manifest->objects = arena_alloc(apply->arena, BUNDLE_OBJECTS_MAX * sizeof(void *));
	manifest->programs = arena_alloc(apply->arena, BUNDLE_PROGRAMS_MAX * sizeof(void *));
	manifest->maps = arena_alloc(apply->arena, BUNDLE_MAPS_MAX * sizeof(void *));
	manifest->parameters = arena_alloc(apply->arena, BUNDLE_PARAMETERS_MAX * sizeof(void *));
	if (manifest->objects == NULL || manifest->programs == NULL || manifest->maps == NULL ||
	    manifest->parameters == NULL)
		return out_of_memory(err);
	return 0;
}

static int build(struct yaml *yaml, const struct source *source, uint8_t **ret_bytes, size_t *ret_n,
		 struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_LIMIT);
	struct infer_object objects[BUNDLE_OBJECTS_MAX] = { 0 };
	struct apply_object declared[BUNDLE_OBJECTS_MAX];
	Bpfleet__V1__Manifest manifest = BPFLEET__V1__MANIFEST__INIT;
	struct apply apply = {
		.arena = arena,
		.manifest = &manifest,
		.declared = declared,
		.objects = objects,
		.default_access = BPFLEET__V1__ACCESS__ACCESS_PRIVATE,
	};
	int r;

	if (arena == NULL)
		return out_of_memory(err);
	r = prepare(&apply, err);
	if (r == 0)
		r = apply_head(yaml, &apply, err);
	if (r == 0)
		r = open_objects(yaml, &apply, source, err);
	if (r == 0)
		r = apply_body(yaml, &apply, err);
	if (r == 0) {
		r = pack(&apply, ret_bytes, ret_n, err);
		if (r < 0)
			(void)error_context(err, r, "%s", yaml->name);
	}
	close_objects(objects);
	return r;
}

static int build_text(const char *name, const char *text, size_t n, const struct source *source,
		      uint8_t **ret_bytes, size_t *ret_n, struct error *err)
{
	struct yaml yaml;
	int r;

	if (n > BUNDLE_YAML_MAX)
		return error_raise(err, ERROR_CONFIG_INVALID, "%s is larger than 1 MiB", name);
	r = yaml_load(&yaml, name, text, n, err);
	if (r < 0)
		return r;
	r = build(&yaml, source, ret_bytes, ret_n, err);
	yaml_done(&yaml);
	return r;
}

int bundle_build_from_memory(const char *yaml_name, const char *yaml, size_t yaml_n,
			     const struct build_object *objects, size_t n_objects,
			     uint8_t **ret_bytes, size_t *ret_n, struct error *err)
{
	struct source source = { .objects = objects, .n_objects = n_objects };

	return build_text(yaml_name, yaml, yaml_n, &source, ret_bytes, ret_n, err);
}

int bundle_build(const char *yaml_path, const char *object_dir, uint8_t **ret_bytes, size_t *ret_n,
		 struct error *err)
{
	_cleanup_free_ char *folder = NULL;
	_cleanup_free_ uint8_t *text = NULL;
	const char *slash = strrchr(yaml_path, '/');
	struct source source;
	size_t n;
	int r;

	if (object_dir != NULL)
		folder = strdup(object_dir);
	else
		folder = slash != NULL ? strndup(yaml_path, (size_t)(slash - yaml_path + 1))
				       : strdup(".");
	if (folder == NULL)
		return out_of_memory(err);
	r = read_file(yaml_path, BUNDLE_YAML_MAX, &text, &n, err);
	if (r < 0)
		return r;
	source = (struct source){ .folder = folder };
	return build_text(yaml_path, (const char *)text, n, &source, ret_bytes, ret_n, err);
}
