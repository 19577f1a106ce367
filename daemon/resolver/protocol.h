/*
 * What bpfleet-resolver prints: one struct resolver_result on fd 1, then it exits 0.
 *
 *     bpfleet-resolver SYMBOL[+OFFSET]            fd 0: the target binary, open for reading
 *     bpfleet-resolver --usdt PROVIDER:NAME       the same; n_places struct resolver_place follow
 *
 * SYMBOL may carry a version ("memcpy@GLIBC_2.2.5", "memcpy@@GLIBC_2.14"); without one the default
 * version is taken. OFFSET is decimal or 0x hex. Exit 2: wrong command line; killed: its limits.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define RESOLVER_PROTOCOL 2
#define RESOLVER_SYMBOL_MAX 512
#define RESOLVER_PLACES_MAX 128
#define RESOLVER_ARGUMENTS_MAX 12

enum resolver_status {
	RESOLVER_OK = 0,
	RESOLVER_NOT_ELF = 1,	       /* no ELF executable or shared object of this machine */
	RESOLVER_MALFORMED = 2,	       /* ELF, but its headers or tables contradict themselves */
	RESOLVER_SYMBOL_NOT_FOUND = 3, /* no such function symbol, or no symbol table */
	RESOLVER_SYMBOL_AMBIGUOUS =
		4, /* several local functions of that name, at several addresses */
	RESOLVER_OFFSET_OUTSIDE = 5, /* SYMBOL+OFFSET lies beyond the function */
	RESOLVER_NOT_EXECUTABLE = 6, /* the address is in no executable segment of the file */
	RESOLVER_SYMBOL_UNSUPPORTED =
		7,		 /* an indirect function (IFUNC), which has no code of its own */
	RESOLVER_BAD_SYMBOL = 8, /* the argument is not SYMBOL[+OFFSET] */
	RESOLVER_IO = 9,	 /* reading failed; `sys_errno` says how */
	RESOLVER_PROBE_NOT_FOUND = 10,	    /* no USDT probe of that provider and name */
	RESOLVER_ARGUMENT_UNSUPPORTED = 11, /* an argument of the probe is where programs cannot
					       look */
	RESOLVER_TOO_MANY_PLACES = 12,	    /* the probe is at more places than are taken */
};

struct resolver_result {
	uint32_t protocol; /* RESOLVER_PROTOCOL */
	uint32_t status;   /* enum resolver_status */
	int32_t sys_errno;
	uint32_t n_places; /* of a USDT probe */
	uint64_t offset;   /* in the file, what uprobes attach to; the rest 0 unless RESOLVER_OK */
	uint64_t dev;	   /* st_dev of fd 0 */
	uint64_t inode;	   /* st_ino of fd 0 */
	uint64_t size_bytes; /* of the symbol, 0 if unknown */
};
static_assert(sizeof(struct resolver_result) == 48, "the result has one size");

enum resolver_argument_type {
	RESOLVER_ARGUMENT_CONSTANT = 0, /* value */
	RESOLVER_ARGUMENT_REGISTER = 1,
	RESOLVER_ARGUMENT_MEMORY = 2, /* at the register plus value */
};

/* Where a probe's argument is. */
struct resolver_argument {
	uint64_t value;
	uint32_t type;		  /* enum resolver_argument_type */
	uint32_t register_offset; /* in struct pt_regs */
	uint32_t size;		  /* 1, 2, 4 or 8 */
	uint32_t is_signed;
};

/* One place of a USDT probe. */
struct resolver_place {
	uint64_t offset;    /* in the file */
	uint64_t semaphore; /* in the file, 0: none */
	uint64_t n_arguments;
	struct resolver_argument arguments[RESOLVER_ARGUMENTS_MAX];
};
static_assert(sizeof(struct resolver_place) == 24 + RESOLVER_ARGUMENTS_MAX * 24, "no padding");
