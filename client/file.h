/* Whole files: read with a limit, written so that a reader never sees half of one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

/*
 * A file's bytes (new, free them; one NUL follows that is not counted). "-" is standard input.
 * Errors: IO with the errno, REQUEST_TOO_LARGE above limit_bytes.
 */
_must_check_ int file_read(const char *path, size_t limit_bytes, uint8_t **ret_bytes, size_t *ret_n,
			   struct error *err);

/*
 * The same into a buffer of the caller, for what must not be copied about: at most size - 1 bytes,
 * and the NUL. The buffer's content is undefined on failure.
 */
_must_check_ int file_read_into(const char *path, void *buffer, size_t size, size_t *ret_n,
				struct error *err);

/*
 * Writes beside the path and renames (or links, when it must not replace), with that mode whatever
 * the umask takes away. Errors: ALREADY_EXISTS unless replace, IO.
 */
_must_check_ int file_write(const char *path, const void *bytes, size_t n, unsigned int mode,
			    bool replace, struct error *err);
