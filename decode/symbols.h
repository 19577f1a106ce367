/*
 * Names of kernel addresses, and stacks as clients read them. A table is made once from the text of
 * /proc/kallsyms and does not change: any number of threads may use it at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct str;
struct symbols;

struct symbol {
	const char *name;   /* as long as the table */
	const char *module; /* "bpf" for BPF programs; NULL: the kernel itself */
	uint64_t offset;    /* of the address, from the symbol's start */
};

/*
 * A table of the functions in the text of /proc/kallsyms (lines ADDRESS TYPE NAME [MODULE], in any
 * order), which is borrowed during the call; free with symbols_free(). Lines of another form are
 * passed over. Errors: KERNEL_UNSUPPORTED (no function has an address: the kernel hides them),
 * OUT_OF_MEMORY.
 */
_must_check_ int symbols_new(const char *text, size_t n, struct symbols **ret, struct error *err);
/* NULL is fine. */
void symbols_free(struct symbols *symbols);
DEFINE_CLEANUP(struct symbols, symbols_free)
size_t symbols_n(const struct symbols *symbols);

/*
 * The function an address lies in. False: in none. kallsyms tells no sizes, so a function ends
 * where the next one starts, and behind the last one of a module or program 64 KiB after its start.
 */
bool symbols_find(const struct symbols *symbols, uint64_t address, struct symbol *ret);

/*
 * Appends the value of a stack_trace map as a JSON array of strings, the innermost frame first:
 * "NAME+0xOFFSET" or "NAME+0xOFFSET [MODULE]" for functions of the kernel, "BUILD-ID+0xOFFSET" for
 * places in files (of maps with BPF_F_STACK_BUILD_ID), "0x..." for the addresses of processes, and
 * for those of the kernel that have no name or without a table (NULL). 0 or -ENOMEM.
 */
int stack_json(const struct symbols *symbols, const uint8_t *value, size_t n, bool build_ids,
	       struct str *out);
