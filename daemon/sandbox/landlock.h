/* Landlock, by system calls: Debian's libc has no wrappers. */
#pragma once

#include "base/cleanup.h"

struct error;

/*
 * From now on this process and its children may read files and execute `program` (and its ELF
 * interpreter), and change, make, remove, bind, connect nothing. ret_abi: the kernel's Landlock
 * ABI, 0 if it has none, which is no error. Raises IO.
 */
int landlock_enter(const char *program, int *ret_abi, struct error *err) _must_check_;
