/*
 * What each process of the daemon may still do once it runs. The supervisor gives a child its uid,
 * capabilities and no_new_privs between fork and exec (sandbox_become); the child locks itself with
 * seccomp and Landlock first thing in main (sandbox_enter_*). Profiles are data: profiles.def.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct error;

/* A capability set: bit 1 << CAP_x of linux/capability.h. */
#define SANDBOX_CAP(cap) (UINT64_C(1) << (cap))

/* Exactly these (docs/security.md says why each). */
extern const uint64_t SANDBOX_CAPS_CORE;       /* BPF, PERFMON, NET_ADMIN */
extern const uint64_t SANDBOX_CAPS_NETNS;      /* SYS_ADMIN, SYS_PTRACE, until it is inside */
extern const uint64_t SANDBOX_CAPS_SUPERVISOR; /* those and what it takes to start and stop them */

struct sandbox_identity {
	uid_t uid;
	gid_t gid;
	uint64_t caps; /* permitted = effective = bounding; also inheritable and ambient if uid != 0
			*/
};

/*
 * Makes the calling single-threaded process that identity and no more: no supplementary groups, the
 * bounding set cut, securebits locked so that uid 0 means nothing to exec, no_new_privs. Raises IO.
 */
int sandbox_become(const struct sandbox_identity *identity, struct error *err) _must_check_;

/* Gives up every capability of the calling single-threaded process. Raises IO. */
int sandbox_drop_all(struct error *err) _must_check_;

#define SANDBOX_FIRST_FD 3

/* A program to start. It finds its fds from SANDBOX_FIRST_FD on and no others but 0, 1, 2. */
struct sandbox_program {
	const char *path;
	char *const *argv;
	const int *fds; /* borrowed */
	int n_fds;	/* at most 8 */
	int folder_fd;	/* working directory, entered with the new identity; -1: / */
};

/*
 * Starts a program under an identity, in the caller's single thread, all signals unblocked. It is
 * killed when the caller ends. The child exits with 126 when a step fails, 127 when exec does.
 * ret_pidfd: poll it, then waitid; the caller closes it. Raises IO.
 */
int sandbox_start(const struct sandbox_program *program, const struct sandbox_identity *identity,
		  pid_t *ret_pid, int *ret_pidfd, struct error *err) _must_check_;

/*
 * Each locks the calling process into its profile: no_new_privs if not yet set, not dumpable, the
 * seccomp filter on all threads. To be called before threads start and before any input is read.
 * IO.
 */
int sandbox_enter_supervisor(struct error *err) _must_check_;
int sandbox_enter_core(struct error *err) _must_check_;
int sandbox_enter_resolver(struct error *err) _must_check_;
int sandbox_enter_netns(struct error *err) _must_check_;

struct sandbox_front {
	const char *resolver; /* path of bpfleet-resolver, the one program front may execute */
};

/*
 * As above, and Landlock: read files, execute the resolver, nothing else. ret_landlock_abi is 0
 * where the kernel has no Landlock; the caller says so in its log.
 */
int sandbox_enter_front(const struct sandbox_front *front, int *ret_landlock_abi,
			struct error *err) _must_check_;

/* Whether this build has sanitizers, which need address space, tracing and wider filters. */
bool sandbox_is_sanitized(void);
