/*
 * What bpfleet-resolver prints: one struct resolver_result on fd 1, then it exits 0.
 *
 *     bpfleet-resolver SYMBOL[+OFFSET]     fd 0: the target binary, open for reading
 *
 * SYMBOL may carry a version ("memcpy@GLIBC_2.2.5", "memcpy@@GLIBC_2.14"); without one the default
 * version is taken. OFFSET is decimal or 0x hex. Exit 2: wrong command line; killed: its limits.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define RESOLVER_PROTOCOL 1
#define RESOLVER_SYMBOL_MAX 512

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
};

struct resolver_result {
	uint32_t protocol; /* RESOLVER_PROTOCOL */
	uint32_t status;   /* enum resolver_status */
	int32_t sys_errno;
	uint32_t reserved;
	uint64_t offset; /* in the file, what uprobes attach to; the rest 0 unless RESOLVER_OK */
	uint64_t dev;	 /* st_dev of fd 0 */
	uint64_t inode;	 /* st_ino of fd 0 */
	uint64_t size_bytes; /* of the symbol, 0 if unknown */
};
static_assert(sizeof(struct resolver_result) == 48, "the result has one size");
