/* What an object's ELF and BTF tell about its programs, maps and parameters. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct arena;
struct bpf_object;
struct btf;
struct error;

/* An object opened by libbpf and not loaded; close it with bpf_object__close(). */
struct infer_object {
	char name[49];
	const uint8_t *elf;
	size_t size;
	struct bpf_object *bpf;
};

/* Errors: OBJECT_MALFORMED, with what libbpf said. */
_must_check_ int infer_open(struct infer_object *object, struct error *err);

/*
 * Appends what the object holds to the manifest, whose arrays have room for the limits of
 * bundle/format.h. Programs that nothing can host are appended without hooks. Everything new lives
 * in the arena. Errors: OBJECT_MALFORMED, MANIFEST_INVALID (a limit), OUT_OF_MEMORY.
 */
_must_check_ int infer_manifest(struct arena *arena, const struct infer_object *object,
				Bpfleet__V1__Manifest *manifest, struct error *err);

/* Where the section of a program says that it attaches, NULL if nowhere that has a hook. */
const char *infer_hook(struct arena *arena, const char *section);
