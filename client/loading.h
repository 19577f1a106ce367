/* Loading for `load` and `run`: the request from the options, the answer for people, leases held.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct cli;
struct error;

/*
 * Calls Load with what the command line says, for the bundle `text` as typed. The answer lives in
 * the arena. Errors: the daemon's, and those of the command line.
 */
_must_check_ int loading_call(struct cli *cli, const char *text, bool attach_defaults,
			      struct arena *arena, Bpfleet__V1__LoadResponse **ret,
			      struct error *err);

/* What --param says, in the arena. */
_must_check_ int loading_parameters(const struct cli *cli, struct arena *arena,
				    Bpfleet__V1__Parameter ***ret, size_t *ret_n,
				    struct error *err);

/* Prints the answer: what is loaded, programs, links. */
_must_check_ int loading_print(const struct cli *cli, const Bpfleet__V1__LoadResponse *response,
			       struct error *err);

/* Whether the command line asks for a lease. */
bool loading_is_lease(const struct cli *cli);

/*
 * With --socket-fd: hands that descriptor over, for the call that carries the ticket while
 * *ret_connection is open. After cli_connect().
 */
_must_check_ int loading_hand_over(struct cli *cli, struct arena *arena, int *ret_connection,
				   ProtobufCBinaryData *ret_ticket, struct error *err);

/* Attaches a program of an instance, with --socket-fd to that socket; the link lives in the arena.
 */
_must_check_ int loading_attach(struct cli *cli, const char *instance, const char *program,
				const char *hook, struct arena *arena, Bpfleet__V1__Link **ret,
				struct error *err);

/* Unloads an instance by its resource name, after cli_connect(). */
_must_check_ int loading_unload(struct cli *cli, const char *name, struct error *err);

/*
 * Holds a lease until Ctrl-C, which unloads it, or until it has ended by itself. Comes back to a
 * restarted front with the lease's token. After cli_follow(). Returns an exit code. Errors: what
 * lost the lease.
 */
_must_check_ int lease_hold(struct cli *cli, const Bpfleet__V1__LoadResponse *loaded,
			    struct error *err);
