/*
 * Who may do what, first form: rows of policy.yaml, default deny. A row names callers, verbs,
 * bundles, and whether it reaches other owners' instances; one matching row allows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

struct error;
struct doc;

/* X(name in C, name in policy.yaml and in audit rows) */
#define POLICY_VERBS(X)       \
	X(PUSH, "push")       \
	X(REMOVE, "remove")   \
	X(VIEW, "view")       \
	X(LOAD, "load")       \
	X(ATTACH, "attach")   \
	X(DETACH, "detach")   \
	X(UNLOAD, "unload")   \
	X(REPLACE, "replace") \
	X(READ, "read")       \
	X(WRITE, "write")     \
	X(RUN, "run")         \
	X(NETNS, "netns")     \
	X(SOCKET, "socket")   \
	X(AUDIT, "audit")     \
	X(GC, "gc")           \
	X(QUARANTINE, "quarantine")

enum policy_verb {
#define X(name, text) POLICY_VERB_##name,
	POLICY_VERBS(X)
#undef X
		POLICY_N_VERBS,
};

enum policy_who {
	POLICY_WHO_ANY,
	POLICY_WHO_UID,
	POLICY_WHO_GID,
};

struct policy_row {
	unsigned int line; /* in policy.yaml */
	enum policy_who who;
	uint32_t id;	/* uid or gid, by who */
	uint32_t verbs; /* bit 1 << enum policy_verb */
	char **bundles; /* globs; at least one */
	size_t n_bundles;
	bool any_owner; /* else only instances that the caller owns */
};

/* Zeroed it denies everything. */
struct policy {
	struct policy_row *rows;
	size_t n_rows;
};

/* Who asks, as the kernel tells it of a connection. */
struct policy_identity {
	uid_t uid;
	const gid_t *gids; /* the primary one and all others */
	size_t n_gids;
};

struct policy_decision {
	bool allowed;
	const struct policy_row *row; /* that allowed; NULL when denied. Borrows from the policy */
};

/* Reads policy.yaml. Group names are looked up in /etc/group alone. CONFIG_INVALID. Returns new. */
int policy_load(const char *path, struct policy **ret, struct error *err) _must_check_;
int policy_from_doc(const struct doc *doc, struct policy **ret, struct error *err) _must_check_;

void policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy, policy_free)

/*
 * Decides. bundle is the name of the bundle concerned, NULL if none is (status, audit, gc): then
 * the rows' bundles do not matter. owner is the owner of the instance concerned, NULL if none is.
 */
struct policy_decision policy_decide(const struct policy *policy,
				     const struct policy_identity *identity, enum policy_verb verb,
				     const char *bundle, const uid_t *owner);

/* "push"; NULL outside the table. */
const char *policy_verb_name(enum policy_verb verb);
