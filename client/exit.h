/* From an error to the exit code of the process, by tables. */
#pragma once

#include "base/error.h"

enum exit_code {
#define X(name, code, text) EXIT_CODE_##name = (code),
#include "client/exit-codes.def"
#undef X
};

struct exit_code_info {
	int code;
	const char *text;
};
extern const struct exit_code_info exit_codes[];
extern const unsigned int n_exit_codes;

/* By the error's reason if that says more than its status, else by its status. */
enum exit_code exit_code_of(enum error_code code);
