/* A line on the terminal about work that takes longer than a second; gone when it is done. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool enabled;
	const char *what;
	bool in_bytes;
	uint64_t started; /* CLOCK_MONOTONIC ns */
	uint64_t drawn;
	bool shown;
};

struct cli;

/* `what` is borrowed: "pushing". */
void progress_init(struct progress *progress, const struct cli *cli, const char *what,
		   bool in_bytes);
/* So much is done, of `total` (0: not known). Draws at most five times a second. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);
/* Removes the line. */
void progress_done(struct progress *progress);
