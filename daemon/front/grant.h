/*
 * Maps that core let a session read: the read-only fd with the map's description, kept until the
 * policy changes, the instance or the session ends, or room is needed. A holder of a reference may
 * finish what it does with the fd; `voided` tells that it has to ask again before it goes on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/core.h"
#include "daemon/ipc/ipc.pb-c.h"
#include "daemon/mapread/mapread.h"
#include "proto/arena.h"

struct decoder;
struct error;
struct grant;
struct grants;
struct session;

#define GRANT_NAME_MAX 256

struct grant {
	unsigned int n_refs;
	bool voided;
	struct arena *arena; /* holds map and btf */
	const Bpfleet__V1__Map *map;
	const uint8_t *btf;
	size_t n_btf;
	uint8_t *own_btf;	 /* when it did not come with the grant */
	struct decoder *decoder; /* NULL until grant_decoder() */
	struct mapread_map shape;
	int fd;
	uint64_t policy_epoch;
	/* Of a map of maps or programs: ids and names of what it may hold, in the arena. */
	const uint32_t *held_ids;
	char *const *held_names;
	size_t n_held;
	/* In the cache: */
	struct session *session;
	char name[GRANT_NAME_MAX]; /* as the client said it */
	struct grant *session_next;
	struct grant *older, *newer;
};

struct grants_limits {
	size_t n_grants; /* in all */
	size_t n_grants_per_session;
	uint32_t n_possible_cpus;
};

/* NULL when out of memory. */
struct grants *grants_new(const struct grants_limits *limits);
/* No session may have grants. */
void grants_free(struct grants *grants);
DEFINE_CLEANUP(struct grants, grants_free)

/*
 * A grant from core's GrantMapReply, whose fd it takes; one reference is the caller's.
 * shape.n_possible_cpus decides how per-CPU values are laid out. Errors: PROTOCOL, OUT_OF_MEMORY,
 * KERNEL_REFUSED.
 */
_must_check_ int grant_from_reply(const struct core_reply *reply, uint32_t n_possible_cpus,
				  struct grant **ret, struct error *err);
struct grant *grant_ref(struct grant *grant);
/* NULL is fine. */
void grant_unref(struct grant *grant);
DEFINE_CLEANUP(struct grant, grant_unref)

/* The map has types, but their BTF was too large to come along: it is asked for with GetMap. */
bool grant_lacks_btf(const struct grant *grant);
/* Takes it from core's GetMapResponse. Errors: PROTOCOL, OUT_OF_MEMORY. */
_must_check_ int grant_take_btf(struct grant *grant, const struct core_reply *reply,
				struct error *err);

/* The decoder of the map's types, made at the first use. Errors as decoder_new(). */
_must_check_ int grant_decoder(struct grant *grant, const struct decoder **ret, struct error *err);

/* What the session may read under that name without asking, borrowed; NULL: ask core. */
struct grant *grants_find(struct grants *grants, struct session *session, const char *name);
/* Keeps a reference for the session. Too long a name, or one voided already, is not kept. */
void grants_keep(struct grants *grants, struct session *session, const char *name,
		 struct grant *grant);

void grants_drop_session(struct grants *grants, struct session *session);
/* Voids what was granted under an older policy. */
void grants_drop_epoch(struct grants *grants, uint64_t policy_epoch);
/* Voids the grants of `instances/ID`. */
void grants_drop_instance(struct grants *grants, const char *instance);

uint32_t grants_n_possible_cpus(const struct grants *grants);
size_t grants_n(const struct grants *grants);
