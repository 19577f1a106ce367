/* Commands that do one thing to each of their arguments. */
#pragma once

#include "base/cleanup.h"
#include "client/ref.h"

struct cli;
struct error;

struct each {
	const char *done; /* "detached" */
	/* The resource name of an argument. Errors: those of the command line. */
	int (*resolve)(struct cli *cli, const char *text, char name[static REF_SIZE],
		       struct error *err);
	/* The daemon's part. */
	int (*act)(struct cli *cli, const char *name, struct error *err);
};

/*
 * Resolves every argument, so that a mistyped one is found before anything is done. Then acts on
 * each, going on after a failure; failures but the last are printed, the last is returned. Prints
 * "DONE ARGUMENT", or with JSON one object {"name": RESOURCE NAME} a line.
 */
_must_check_ int each_argument(struct cli *cli, const struct each *each, struct error *err);

/* For arguments that are instances. */
_must_check_ int each_instance(struct cli *cli, const char *text, char name[static REF_SIZE],
			       struct error *err);
