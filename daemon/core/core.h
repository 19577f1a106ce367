/*
 * What bpfleet-core consists of while it runs. Only the main thread touches it; workers get jobs
 * that own what they need.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundle/hook.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/loop.h"
#include "store/store.h"

struct channel;
struct config;
struct error;
struct held_instance;
struct jobs;
struct kernel_pins;
struct observe;
struct policy;
struct request;
struct select_wait;
struct session;
struct sessions;
struct settings;
struct statistics;
struct supervisor_link;
struct ticket;
struct trusted_bundles;

/* Requests that front may have outstanding: bounds the queues between the processes. */
#define CORE_CREDITS 512u

struct core {
	struct settings *settings;   /* of the start */
	const struct config *config; /* theirs */
	struct loop *loop;
	struct jobs *jobs;
	struct supervisor_link *supervisor;
	struct sessions *sessions;
	struct store *store;
	struct kernel_pins *pins;
	struct observe *observe; /* of targets */
	struct kernel_context kernel;
	pthread_mutex_t netns_lock; /* one bpfleet-netns at a time */
	struct kernel_support support[HOOK_N_KINDS];
	struct kernel_support map_support[MAP_TYPES_MAX]; /* by index into map_types */

	struct settings *rules; /* whose policy is in force */
	uint64_t policy_epoch;	/* counts the policies and trusts of this process */
	struct trusted_bundles *bundles;
	char audit_alarm[256]; /* what is wrong with the audit log; empty: nothing was found */
	char trust_alarm[256]; /* why the files on disk are not in force; empty: they are */

	struct channel *front; /* NULL: none at the moment */
	struct loop_fd front_source;
	bool front_greeted;
	uint32_t n_outstanding;
	struct request *requests; /* under way */
	struct busy *busy;	  /* instances and links that a change holds */
	uint64_t noticed_revision;

	struct held_instance *held; /* leases: their fds are the only references */
	struct ticket *tickets;
	struct statistics *statistics;
	struct select_wait *select_waits; /* replies that wait for selected links */
	struct loop_timer chores;	  /* audit minutes, old answers, checkpoints */
	struct loop_timer retry;	  /* instances and links that wait for something */
	size_t n_retry_pending;

	char boot_id[STORE_UUID_LEN + 1];
	uint32_t n_cpus; /* possible ones */
	uint64_t started_at_ns;
	uint32_t n_orphan_pins;	     /* when they were counted last */
	uint64_t orphans_counted_at; /* monotonic; 0: not yet */
	uint32_t n_loading;	     /* Loads between their intent and their end */
	size_t verify_bytes;	     /* stored files in memory, waiting to be verified */
	uint32_t retry_tick;
	char describe_after[STORE_ID_LEN + 1]; /* the link described last */
	bool held_by_owner; /* `bpfleetd --detach-all` is in force: nothing is applied */
	bool stopping;
	int exit_code;
};

/* Starts everything up to the point where requests can be served. */
struct core_options {
	int front_fd;
	int supervisor_fd;
};
_must_check_ int core_start(struct core *core, const struct core_options *options,
			    struct error *err);
_must_check_ int core_run(struct core *core, struct error *err);
void core_done(struct core *core);

/* Tells front, once for each turn of events, that the revision has moved or a policy is new. */
void core_notice(struct core *core);
/* Front has broken the protocol, or does not read: it is let go, and the supervisor starts another.
 */
void core_front_failed(struct core *core, const struct error *err);

/* Front's grants for an instance are void. */
void core_notice_ended_instance(struct core *core, const char *id);

/* A link's file is another one: front looks for the symbol again (serve_resolve_link()). */
void core_notice_unresolved(struct core *core, const char *link, const struct hook *hook);

/* Puts the policy and trust of settings_open(fd) in force; on an error the old ones stay and an
 * alarm is shown. */
void core_reload(struct core *core, int settings_fd);

/* BLAKE2b-256, as the store's hash function. */
void core_hash(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN]);
