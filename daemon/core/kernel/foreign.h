/* Programs and links of the host that somebody else made: seen, and never touched. */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "daemon/core/kernel/foreign-record.h"

struct error;

/*
 * All of them, new (free()): the programs in the order of their ids, then the links. Takes some 20
 * ms, so call it from a worker. Errors: KERNEL_UNSUPPORTED, KERNEL_REFUSED, LIMIT_EXCEEDED,
 * OUT_OF_MEMORY.
 */
_must_check_ int kernel_foreign_list(struct foreign_record **ret, size_t *ret_n, struct error *err);
