/*
 * What the kernel's verifier says of programs, for people: its figures, its log, and a refusal as
 * compilers tell of one, with the line of the source.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct cli;
struct error;
struct sheet;
struct str;

/* Prints what a load that keeps nothing found: a table of programs with their figures, the memory
 * (0: not known), and the end of the log of the program that was refused. */
_must_check_ int trial_print(const struct cli *cli, Bpfleet__V1__Program *const *programs, size_t n,
			     uint64_t memory_bytes, struct error *err);

/* Raises a refusal with the details that an error of the daemon has; rejection may be NULL. */
int trial_refuse(const char *reason, const char *message, const Bpfleet__V1__Rejection *rejection,
		 struct error *err);

/* Adds rows of name and value with the figures; none for NULL. */
void trial_figures(struct sheet *sheet, const Bpfleet__V1__VerifierFigures *figures);

/* "drop.bpf.c:42:" and the line of source below it, of an error that has them as details. */
void trial_append_source(struct str *s, const struct error *err);

/* What to do about a verdict of the verifier's; NULL: nothing is known. */
const char *trial_advice(const struct error *err);
