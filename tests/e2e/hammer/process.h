/*
 * The daemon as somebody sees it who kills it: bpfleetd as a child, its two processes by /proc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum victim {
	VICTIM_CORE,
	VICTIM_FRONT,
	VICTIM_SUPERVISOR,
	N_VICTIMS,
};

extern const char *const victim_names[N_VICTIMS];

struct daemon {
	const char *program, *config, *log;
	pid_t pids[N_VICTIMS]; /* as last seen; 0: not running */
};

/* Starts bpfleetd, with its output at the end of the log. */
void daemon_start(struct daemon *daemon);
/* Looks core and front up again; false while one of them is not there. */
bool daemon_look(struct daemon *daemon);
/* SIGKILL; a dead supervisor is waited for. */
void daemon_kill(struct daemon *daemon, enum victim victim);
/* SIGTERM, and waits; returns the exit status, -1 if it did not end by itself. */
int daemon_stop(struct daemon *daemon);

/* Open fds of a process; kinds of BPF fds by their kernel ids as fdinfo tells. */
struct fd_census {
	size_t n_fds;
	uint32_t *map_ids, *program_ids, *link_ids;
	size_t n_maps, n_programs, n_links;
};
void fd_census_take(pid_t pid, struct fd_census *ret);
void fd_census_done(struct fd_census *census);
