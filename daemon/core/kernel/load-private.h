/* One load under way, shared by the sources load*.c. */
#pragma once

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpfleet/v1/node.pb-c.h"
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

/* Levels of the verifier's log. */
enum load_log_level {
	LOAD_LOG_FAILURE = 0,	 /* steps, but of a second try by libbpf, after a failure */
	LOAD_LOG_STEPS = 1,	 /* BPF_LOG_LEVEL1 */
	LOAD_LOG_STATISTICS = 4, /* BPF_LOG_STATS, and the reason of a failure: never long */
};

struct load_program {
	enum load_choice choice;
	enum load_log_level level;
	char *statistics; /* KERNEL_LOG_MAX; NULL: not tried yet */
	uint32_t n_insns; /* its own, without those of functions it calls */
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
/* Raises what a failed load of a program, or of its object (culprit NO_PROGRAM), means. */
int load_raise(const struct load *load, const struct bpf_object *object, size_t culprit,
	       int sys_errno, struct error *err);

/*
 * load-object.c: loads the wanted programs of object i and notes them and its maps in load->object.
 * On failure *ret_culprit is the program that the kernel refused, or NO_PROGRAM.
 */
_must_check_ int load_object(struct load *load, size_t i, size_t *ret_culprit, struct error *err);
/* Takes object i out of the kernel again. */
void load_object_undo(struct load *load, size_t i);

#define LOAD_SOURCE_MAX 160

/* What a log says of a refusal; strings are empty, and line 0, where it says nothing. */
struct load_log {
	/* The first two of the lines that follow the last instruction, joined by "; ". */
	char verdict[480];
	char source[LOAD_SOURCE_MAX]; /* the line of source that the instruction is of */
	char file[LOAD_SOURCE_MAX];   /* without folders */
	uint32_t line;
	uint32_t insn; /* the last one, if source is not known sooner; UINT32_MAX: none */
};

/* load-log.c: reads the end of a log, which may begin and break off anywhere. Pure. */
void load_log_read(const char *log, struct load_log *ret);
/* What a log of level LOAD_LOG_STATISTICS counts; 0 what it does not. ret->stack_depths has room
 * for n_max. Pure. */
void load_log_figures(const char *log, Bpfleet__V1__VerifierFigures *ret, size_t n_max);
/* Overwrites kernel addresses with '?'. */
void load_log_hide_addresses(char *log);

/*
 * load-line.c: file, line and source of a refusal whose log lacks them (before Linux 6.9, or when
 * the log is too long), from the line information of the object.
 */
void load_line_find(const Bpfleet__V1__Object *object, const struct btf *btf, const char *program,
		    uint32_t n_insns, struct load_log *log);
