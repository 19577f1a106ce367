/*
 * Scope-bound release of resources, and explicit hand-over of them. `_cleanup_(f)` runs f on the
 * address of the variable when it leaves scope; TAKE_PTR and TAKE_FD empty the variable first.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))

/* Defines f##p(T **), which releases *p with f and accepts NULL. */
#define DEFINE_CLEANUP(type, f)             \
	static inline void f##p(type **ptr) \
	{                                   \
		if (*ptr != NULL)           \
			f(*ptr);            \
	}

static inline void cleanup_freep(void *ptr)
{
	free(*(void **)ptr);
}

static inline void cleanup_closep(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void cleanup_fclosep(FILE **file)
{
	if (*file != NULL)
		(void)fclose(*file);
}

#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)
#define _cleanup_fclose_ _cleanup_(cleanup_fclosep)

#define TAKE_PTR(ptr)                       \
	({                                  \
		__typeof__(ptr) _p = (ptr); \
		(ptr) = NULL;               \
		_p;                         \
	})

#define TAKE_FD(fd)            \
	({                     \
		int _f = (fd); \
		(fd) = -1;     \
		_f;            \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
