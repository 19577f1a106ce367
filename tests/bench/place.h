/*
 * Where the bench runs: a pid, mount and network namespace of its own and a temporary directory, so
 * that nothing is left whatever happens to it. Inside, /proc is its own, FOLDER/raw is a BPF file
 * system for what libbpf and bpftool pin, tracefs is there.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct error;

#define PLACE_FOLDER_MAX 64
#define PLACE_N_DEVICES 32

/*
 * Runs fn in such a place and returns its result as an exit status (1 if the place could not be
 * made, with err filled). SIGINT and SIGTERM end it.
 */
int place_run(int (*fn)(const char *folder, void *arg), void *arg, struct error *err);

/* Makes PLACE_N_DEVICES network devices that take XDP; the i-th is named by place_device(). */
_must_check_ int place_make_devices(struct error *err);
void place_device(size_t i, char out[static 16]);

/* Starts a program with its output in a file (NULL: nowhere). argv ends with NULL. */
_must_check_ int place_spawn(const char *const *argv, const char *output, pid_t *ret,
			     struct error *err);
/* The same, and waits until it ends with status 0. */
_must_check_ int place_command(const char *const *argv, const char *output, struct error *err);

/* Removes a directory and what is in it. */
void place_remove(const char *path);
