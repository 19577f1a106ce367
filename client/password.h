/*
 * Secrets of people, in memory that is locked and wiped: passwords, from the terminal without echo
 * or from the first line of a file, and key files.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct cli;
struct error;

/*
 * A password (free with password_free()). From --password-file, or asked for on /dev/tty; `confirm`
 * asks twice. Errors: KEY_PASSWORD (the two differ, too long), CANCELLED (Ctrl-C), IO; an empty one
 * and a missing terminal are errors of the command line.
 */
_must_check_ int password_get(struct cli *cli, const char *prompt, bool confirm, char **ret,
			      struct error *err);
void password_free(char *password);

/* A file that holds a secret key; ends with a NUL, free with password_free(). Errors: those of
 * file_read(). */
_must_check_ int password_read_key(const char *path, char **ret, size_t *ret_n, struct error *err);

static inline void password_freep(char **password)
{
	password_free(*password);
}
