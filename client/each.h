/* Commands that do one thing to each of their arguments. */
#pragma once

#include "base/cleanup.h"

struct cli;
struct error;

/*
 * Calls act() for every argument, going on after a failure; failures but the last are printed, the
 * last is returned. Prints "DONE NAME", or with JSON one object {"name": NAME} a line.
 */
_must_check_ int each_argument(struct cli *cli, const char *done,
			       int (*act)(struct cli *cli, const char *text, struct error *err),
			       struct error *err);
