/*
 * Core's end of the pair with the supervisor (daemon/supervisor/FORMAT.md). Questions may come from
 * any thread and block it until the main thread has read the answer, also from the main thread
 * itself, at the start, when what was left half-done is undone; notices come to a handler.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct loop;
struct settings;
struct supervisor_link;

struct supervisor_handler {
	void (*new_front)(void *user, int fd);	     /* takes the fd */
	void (*reload)(void *user, int settings_fd); /* borrows the fd, of settings_open() */
	void (*gone)(void *user);		     /* the supervisor ended: so must core */
	void *user;
};

/* The settings that lie in the pair from the start on. Errors: PROTOCOL, those of settings_open().
 */
_must_check_ int supervisor_settings(int fd, struct settings **ret, struct error *err);

/* Takes the fd. Errors: OUT_OF_MEMORY, IO. */
_must_check_ int supervisor_link_new(struct loop *loop, int fd,
				     const struct supervisor_handler *handler,
				     struct supervisor_link **ret, struct error *err);
void supervisor_link_free(struct supervisor_link *link);
DEFINE_CLEANUP(struct supervisor_link, supervisor_link_free)

/* From now on questions fail at once: nobody reads the answers any more. */
void supervisor_link_stop(struct supervisor_link *link);

void supervisor_core_ready(struct supervisor_link *link);
void supervisor_front_ready(struct supervisor_link *link);
void supervisor_restart_front(struct supervisor_link *link);

/* A new fd of the list of functions that ftrace can trace. Errors:
 * KERNEL_UNSUPPORTED, UNAVAILABLE. */
_must_check_ int supervisor_traceable(struct supervisor_link *link, int *ret_fd, struct error *err);

/* An fd of /proc/kallsyms that shows addresses, where root may see them.
 * All of them share one offset. Errors: KERNEL_UNSUPPORTED, UNAVAILABLE. */
_must_check_ int supervisor_kallsyms(struct supervisor_link *link, int *ret_fd, struct error *err);

/* Lets the kernel count runs and their time until *ret_fd, the caller's, is closed; window_ms says
 * how long that is meant to be. Not from the main thread. Errors: UNAVAILABLE. */
_must_check_ int supervisor_stats_on(struct supervisor_link *link, uint32_t window_ms, int *ret_fd,
				     struct error *err);

/* The kernel's id of a classic tracepoint. Errors: TARGET_NOT_FOUND,
 * INVALID_HOOK, UNAVAILABLE. */
_must_check_ int supervisor_tracepoint_id(struct supervisor_link *link, const char *category,
					  const char *name, uint32_t *ret, struct error *err);
/* A fresh bpfleet-netns: our end of the pair with it, to be closed. One at a time.
 * Errors: UNAVAILABLE. */
_must_check_ int supervisor_netns(struct supervisor_link *link, int *ret_fd, struct error *err);
