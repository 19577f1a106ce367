/* Passwords: from the terminal without echo, or from the first line of a file. */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct cli;
struct error;

/*
 * A password in memory that is locked and wiped (free with password_free()). From --password-file,
 * or asked for on /dev/tty; `confirm` asks twice. Errors: KEY_PASSWORD (no terminal, the two
 * differ, empty), CANCELLED (Ctrl-C), IO.
 */
_must_check_ int password_get(struct cli *cli, const char *prompt, bool confirm, char **ret,
			      struct error *err);
void password_free(char *password);

static inline void password_freep(char **password)
{
	password_free(*password);
}
