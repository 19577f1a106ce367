/*
 * What user space can do with maps of each type, measured on the kernel: one row a type. Front,
 * core and the builder of bundles all decide by it, and docs/maps.md prints it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum map_type_flag {
	MAP_LOOKS_UP = 1 << 0,	     /* BPF_MAP_LOOKUP_ELEM */
	MAP_WALKS = 1 << 1,	     /* BPF_MAP_GET_NEXT_KEY */
	MAP_READS_BATCHES = 1 << 2,  /* BPF_MAP_LOOKUP_BATCH */
	MAP_UPDATES = 1 << 3,	     /* BPF_MAP_UPDATE_ELEM */
	MAP_DELETES = 1 << 4,	     /* BPF_MAP_DELETE_ELEM */
	MAP_WRITES_BATCHES = 1 << 5, /* BPF_MAP_UPDATE_BATCH */
	MAP_EVENTS = 1 << 6,	     /* records to be streamed, by StreamEvents */
	MAP_POPS = 1 << 7,	     /* BPF_MAP_LOOKUP_AND_DELETE_ELEM, without a key */
	MAP_PER_CPU = 1 << 8,	     /* one value for each possible CPU */
	MAP_FREEZES = 1 << 9,	     /* BPF_MAP_FREEZE makes sense: entries are data */
	MAP_DURABLE = 1 << 10,	     /* contents may be kept over a restart of the host */
	MAP_INDEXED = 1 << 11,	     /* keys are indexes, whether they have a type or not */
	MAP_ITERATES = 1 << 12,	     /* walked by an iterator of core's own, as JSON */
};

/* What a key is. */
enum map_key_form {
	MAP_KEY_TYPED, /* bytes of the declared type */
	MAP_KEY_NONE,
	MAP_KEY_TASK,	/* a process id; the kernel takes a pidfd */
	MAP_KEY_CGROUP, /* a path of a cgroup; the kernel takes an fd */
	MAP_KEY_SOCKET, /* a socket's cookie; the kernel takes the socket's fd */
	MAP_KEY_FILE,	/* the kernel takes a file's fd */
};

/* What a value is. */
enum map_value_form {
	MAP_VALUE_TYPED,   /* bytes of the declared type */
	MAP_VALUE_MAP,	   /* read: a kernel id; written: a map of the same instance */
	MAP_VALUE_PROGRAM, /* read: a kernel id; written: a program of the same instance */
	MAP_VALUE_CGROUP,  /* never read; written: a path of a cgroup */
	MAP_VALUE_STACK,   /* addresses, the innermost first */
	MAP_VALUE_TARGET,  /* a number, then (with 8 bytes) a program's id that only programs' fds
			      set */
	MAP_VALUE_COOKIE,  /* of a socket, where values have 8 bytes */
};

struct map_type {
	const char *name; /* the kernel's, lower case */
	uint32_t number;  /* enum bpf_map_type */
	uint32_t flags;	  /* enum map_type_flag */
	enum map_key_form key;
	enum map_value_form value;
	const char *instead; /* what to do where the type cannot; NULL: nothing is missing */
};

#define MAP_TYPES_MAX 48
extern const struct map_type map_types[];
extern const size_t n_map_types;

/* NULL: no such type is known here. */
const struct map_type *map_type_find(const char *name);
/* The same by the kernel's number; never NULL: of an unknown one a row without flags. */
const struct map_type *map_type_of(uint32_t number);
