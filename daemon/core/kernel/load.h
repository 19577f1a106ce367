/*
 * A verified bundle into the kernel: objects opened from memory, the manifest compared with what
 * they really hold, parameters written, programs verified and loaded, maps frozen. Nothing is
 * attached and nothing pinned here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"
#include "bpfleet/v1/node.pb-c.h"

struct btf;
struct error;
struct str;

#define KERNEL_TAG_LEN 8
/* Of a verifier log, at most this much is kept: its end, where the verdict is. */
#define KERNEL_LOG_MAX 8192
/* MAX_USED_MAPS and BPF_MAX_SUBPROGS of the kernel. */
#define KERNEL_PROGRAM_MAPS_MAX 64
#define KERNEL_FUNCTIONS_MAX 256

/* Sends libbpf's messages to the load that caused them. Once, before the first thread. */
void kernel_init(void);

struct kernel_parameter {
	const char *name;
	const char *value; /* as text, in the form of LoadRequest */
};

/* Where a map of a load comes from. */
struct kernel_map_choice {
	int fd;	     /* that of another load, borrowed until the load has ended; -1: a new map */
	bool frozen; /* with fd: user space cannot write it */
	bool filled_later; /* a new map that its loader fills: it is not frozen here */
};

/*
 * Decides it: asked, maybe more than once, about each map of an opened object, whose types are in
 * btf (NULL: it has none). What it gives must be the same in all that kernel and programs see:
 * libbpf does not compare.
 */
struct kernel_map_chooser {
	int (*choose)(struct kernel_map_chooser *chooser, const Bpfleet__V1__MapSpec *spec,
		      const struct btf *btf, uint32_t key_type_id, uint32_t value_type_id,
		      struct kernel_map_choice *ret, struct error *err);
};

struct kernel_load_options {
	/* Unpacked from verified bytes; borrowed for the call. */
	const Bpfleet__V1__Bundle *bundle;
	const struct kernel_parameter *parameters;
	size_t n_parameters;
	struct kernel_map_chooser *chooser; /* NULL: every map is new */
	/* May be NULL; after VERIFIER_REJECTED it holds the end of that program's log, from the
	 * start of a line, without addresses of the kernel's. */
	struct str *rejection_log;
};

/* A program of the manifest. */
struct kernel_program {
	char *name;
	uint32_t ordinal; /* index into manifest.programs, and into kernel_object.programs */
	int fd;		  /* owned; -1: skipped */
	uint32_t id;	  /* kernel's; 0: skipped */
	uint8_t tag[KERNEL_TAG_LEN];
	uint32_t verified_insns;
	uint32_t type;		       /* enum bpf_prog_type */
	uint32_t expected_attach_type; /* enum bpf_attach_type */
	char *skipped_reason; /* why an optional or fallback program is not loaded; NULL: it is */
	Bpfleet__V1__VerifierFigures verifier; /* all 0: nothing is known */
	uint32_t stack_depths[KERNEL_FUNCTIONS_MAX];
};

/* A map of the manifest. */
struct kernel_map {
	char *name;	  /* as in the manifest: sections without libbpf's prefix (".bss") */
	uint32_t ordinal; /* index into manifest.maps, and into kernel_object.maps */
	uint32_t object;  /* index into kernel_object.btfs */
	int fd;		  /* owned, read and write */
	uint32_t id;	  /* kernel's */
	uint32_t type;	  /* enum bpf_map_type */
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries; /* as the kernel has it */
	uint32_t flags;
	Bpfleet__V1__Access access;
	bool frozen;
	bool shared; /* with another load: options->choose_map gave it */
	bool filled_later;
	uint32_t n_cpus;      /* possible CPUs if per-CPU, else 0 */
	uint32_t key_type_id; /* into the object's BTF; 0: none */
	uint32_t value_type_id;
	uint32_t event_type_id;	    /* of the records of a ring buffer; 0: none */
	uint32_t inner_key_type_id; /* of the maps in a map of maps; 0: none */
	uint32_t inner_value_type_id;
	/* Where a ring buffer's programs count records that did not fit: a u64 at this offset of
	 * key 0's value. counter_map is an index into kernel_object.maps, UINT32_MAX: no counter.
	 */
	uint32_t counter_map;
	uint32_t counter_offset;
};

/* The type information of one object of the bundle. */
struct kernel_btf {
	char *object;
	uint8_t *bytes; /* raw, little-endian; NULL: the object has none */
	size_t size;
};

/* A loaded bundle. Only kernel_load() makes one; fields may be read, fds taken with TAKE_FD. */
struct kernel_object {
	struct kernel_program *programs;
	size_t n_programs;
	struct kernel_map *maps;
	size_t n_maps;
	struct kernel_btf *btfs;
	size_t n_btfs;
};

/*
 * Loads every program of a bundle. All or nothing: after an error the kernel holds nothing of it.
 * Returns a new object, freed with kernel_object_free(). May be called from several threads at
 * once. Errors: KERNEL_TOO_OLD, OBJECT_MALFORMED, MANIFEST_INVALID, MANIFEST_MISMATCH (the message
 * names the item), INVALID_PARAMETER, VERIFIER_REJECTED (details "program",
 * "object", "verdict", and where known "file", "line", "source"), KERNEL_UNSUPPORTED,
 * KERNEL_REFUSED, LIMIT_EXCEEDED, OUT_OF_MEMORY.
 */
_must_check_ int kernel_load(const struct kernel_load_options *options, struct kernel_object **ret,
			     struct error *err);

/* Closes every fd that was not taken; what is neither pinned nor attached is gone from the kernel.
 */
void kernel_object_free(struct kernel_object *object);
DEFINE_CLEANUP(struct kernel_object, kernel_object_free)

/* Checks the running kernel against "MAJOR.MINOR" or "MAJOR.MINOR.PATCH"; "" passes. Errors:
 * KERNEL_TOO_OLD, MANIFEST_INVALID. */
_must_check_ int kernel_check_release(const char *min_kernel, struct error *err);

/* What the kernel says of a program or map fd that was opened from a pin. */
struct kernel_program_info {
	uint32_t id;
	uint32_t type;
	uint8_t tag[KERNEL_TAG_LEN];
	uint32_t verified_insns; /* 0 before Linux 5.16 */
	/* Of the times at which the kernel counted (BPF_ENABLE_STATS). */
	uint64_t n_runs, run_time_ns;
	uint64_t n_recursion_misses;
	char name[16];
	uint32_t map_ids[KERNEL_PROGRAM_MAPS_MAX]; /* that it uses */
	uint32_t n_map_ids;
};

struct kernel_map_info {
	uint32_t id;
	uint32_t type;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
	uint32_t n_cpus;
	char name[16];
};

/* Errors: KERNEL_REFUSED. */
_must_check_ int kernel_program_info(int program_fd, struct kernel_program_info *ret,
				     struct error *err);
/* What the kernel charges for a program or a map: `memlock` of its fdinfo. Errors: KERNEL_REFUSED.
 */
_must_check_ int kernel_memory(int fd, uint64_t *ret_bytes, struct error *err);
_must_check_ int kernel_map_info(int map_fd, struct kernel_map_info *ret, struct error *err);
