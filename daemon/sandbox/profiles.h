/*
 * The seccomp profiles as tables, for the generator that turns them into filters at build time
 * (generate.c). No daemon process links libseccomp or assembles a filter when it starts.
 *
 * A call that no row allows fails with EPERM, so that a library which merely probes goes on, and a
 * forgotten row shows as an error in the log and not as a dead host. What no code path of ours ever
 * calls (profile->n_kill) ends the process: there, somebody else is running.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* One way in which a system call is allowed; several rows of a call add up. */
struct profile_rule {
	const char *call;
	struct {
		unsigned int arg;
		uint64_t mask;
		uint64_t value;
	} where[2]; /* argument & mask == value; mask 0: no condition */
};

/* A named set of rows. */
struct profile_set {
	const struct profile_rule *rules;
	size_t n_rules;
};

/* A process: sets of rows that add up, and the calls that end it. */
struct profile {
	const char *name;
	const struct profile_set *const *sets;
	size_t n_sets;
	const char *const *kill;
	size_t n_kill;
};

extern const struct profile profiles[];
extern const size_t n_profiles;

/* Added to every profile in a build with sanitizers, which fork, trace and symbolize; no kill then.
 */
extern const struct profile_set profile_sanitizers;
