/*
 * Makes a bundle from bundle.yaml and compiled BPF objects (docs/bundle-yaml.md). What ELF and BTF
 * tell is inferred: programs and their types, hooks from section names, map shapes, global
 * variables; the YAML adds what they cannot. Command line only: this reads files and links libbpf.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

#define BUNDLE_YAML_MAX ((size_t)1 << 20)

/* The bytes of an object that bundle.yaml names by path. */
struct build_object {
	char *path; /* as written in the YAML */
	uint8_t *elf;
	size_t size;
};

/*
 * Builds from a YAML file; object paths are relative to object_dir, or if that is NULL to the
 * YAML's folder. The bundle file is new (free it); the same input gives the same bytes. Errors:
 * CONFIG_INVALID (YAML, with "path:line:"), OBJECT_MALFORMED, MANIFEST_INVALID, BUNDLE_TOO_LARGE,
 * IO, OUT_OF_MEMORY.
 */
_must_check_ int bundle_build(const char *yaml_path, const char *object_dir, uint8_t **ret_bytes,
			      size_t *ret_n, struct error *err);

/* The same from memory; yaml_name is for messages. */
_must_check_ int bundle_build_from_memory(const char *yaml_name, const char *yaml, size_t yaml_n,
					  const struct build_object *objects, size_t n_objects,
					  uint8_t **ret_bytes, size_t *ret_n, struct error *err);
