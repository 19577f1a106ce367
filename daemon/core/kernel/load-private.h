/* One load under way, shared by the sources load*.c. */
#pragma once

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/messages.h"

#define NO_PROGRAM SIZE_MAX
/* A failing program's log; older kernels keep only its start when it is longer. */
#define LOAD_LOG_SIZE (1u << 20)

enum load_choice {
	LOAD_WANTED,  /* to be loaded */
	LOAD_HELD,    /* a fallback whose turn has not come */
	LOAD_REFUSED, /* tried, refused by the kernel */
};

struct load_program {
	enum load_choice choice;
	bool want_log; /* of a successful verification, too */
};

struct load {
	const struct kernel_load_options *options;
	const Bpfleet__V1__Manifest *manifest;
	struct kernel_object *object;  /* what becomes the result */
	struct load_program *programs; /* in manifest order */
	uint8_t **parameters;	       /* bytes of each ParameterSpec, NULL: as the object has it */
	char *log;		       /* LOAD_LOG_SIZE, of the program that fails */
	uint32_t n_possible_cpus;
	struct messages messages;
};

/* load-parameter.c: reads what the caller gave into load->parameters. */
_must_check_ int load_parameters_read(struct load *load, struct error *err);
/* Writes them into an opened object. Errors: MANIFEST_MISMATCH. */
_must_check_ int load_parameters_write(const struct load *load, const char *object_name,
				       struct bpf_object *object, struct error *err);

/* Where a global variable is. */
struct load_variable {
	const char *section; /* ".rodata"; lives as long as the BTF */
	uint32_t offset;
	uint32_t size;
};

/* load-check.c: finds a global variable in the sections whose name starts with prefix. */
bool load_find_variable(const struct bpf_object *object, const char *prefix, const char *name,
			struct load_variable *ret);
/* The name that a manifest gives a map. */
const char *load_map_name(const struct bpf_map *map);
/* Index of the program or map in the manifest, SIZE_MAX if it is not there. *hint speeds up a walk
 * in the manifest's order; starts at 0. */
size_t load_program_ordinal(const struct load *load, const char *object_name, const char *name,
			    size_t *hint);
size_t load_map_ordinal(const struct load *load, const char *object_name, const char *name,
			size_t *hint);
/* Compares an opened object with the manifest, both ways. Errors: MANIFEST_MISMATCH,
 * MANIFEST_INVALID, KERNEL_UNSUPPORTED. */
_must_check_ int load_check_object(const struct load *load, const char *object_name,
				   struct bpf_object *object, struct error *err);

/* hook-struct-ops.c: whether a table can be hosted. Errors: KERNEL_UNSUPPORTED. */
_must_check_ int load_check_struct_ops(const struct bpf_object *object, const struct bpf_map *map,
				       struct error *err);
/* Has the kernel take the tables of a loaded object. Errors: KERNEL_REFUSED. */
_must_check_ int load_take_struct_ops(const struct bpf_object *object, struct error *err);

/* load-program.c: sets what the kernel must know of a program before it is loaded, by the hooks
 * that the manifest allows. Errors: MANIFEST_INVALID, KERNEL_UNSUPPORTED. */
_must_check_ int load_program_configure(const Bpfleet__V1__ProgramSpec *spec,
					struct bpf_program *program, struct error *err);
/* Raises what a failed load of a program, or of its object (program NULL), means. */
int load_raise(const struct load *load, const struct bpf_program *program, int sys_errno,
	       struct error *err);

/*
 * load-object.c: loads the wanted programs of object i and notes them and its maps in load->object.
 * On failure *ret_culprit is the program that the kernel refused, or NO_PROGRAM.
 */
_must_check_ int load_object(struct load *load, size_t i, size_t *ret_culprit, struct error *err);
/* Takes object i out of the kernel again. */
void load_object_undo(struct load *load, size_t i);

/*
 * load-log.c: why the verifier refused, from the end of its log: the first two of the lines that
 * follow the last instruction, joined by "; ". Empty if the log ends otherwise. Always terminated.
 */
void load_log_verdict(const char *log, char *out, size_t size);
