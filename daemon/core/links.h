/* What attach, detach, unload and the reconciler share about links. */
#pragma once

#include <stdbool.h>

#include "bundle/hook.h"
#include "daemon/core/core.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/ipc/ipc.pb-c.h"
#include "store/instances.h"

struct arena;
struct request;

/* Whether the program is loaded and its manifest allows the hook. INSTANCE_NOT_READY,
 * HOOK_NOT_ALLOWED. */
_must_check_ int links_check_program(const struct store_program *program, const struct hook *hook,
				     struct arena *arena, struct error *err);

/* What front's resolver found, held to its bounds; what it points to is in the arena. Errors:
 * PROTOCOL, OUT_OF_MEMORY. */
_must_check_ int links_take_resolved(const Bpfleet__Ipc__ResolvedTarget *target,
				     struct arena *arena, struct kernel_resolved *ret,
				     struct error *err);
/* The same as it was recorded. *ret_block holds what ret points to (free()). Errors: OUT_OF_MEMORY.
 */
_must_check_ int links_stored_resolved(const struct store_link *row, struct kernel_resolved *ret,
				       void **ret_block, struct error *err);

/* Opens the map that a hook needs to be attached; *ret_fd stays if it needs none. Errors:
 * TARGET_NOT_FOUND, and those of instance_map_fd(). */
_must_check_ int links_open_map(struct core *core, const char *instance, const struct hook *hook,
				int *ret_fd, struct error *err);

/* Sets the state that follows from the instance's links, in the caller's transaction. */
_must_check_ int instance_follow_links(struct core *core, struct store_tx *tx, const char *id,
				       struct error *err);

/* Sets the state of every link of an instance, in the caller's transaction. */
_must_check_ int links_set_all(struct core *core, struct store_tx *tx, const char *instance,
			       enum link_state state, const char *reason, struct error *err);

/* The hook of a recorded link; new (hook_free()). Errors: as hook_from_message(). */
_must_check_ int link_hook(const struct store_link *row, struct hook **ret, struct error *err);

/* A link that shall go: what a worker needs to detach it. */
struct link_removal {
	char id[17];
	struct hook *hook; /* owned */
	struct kernel_attach attach;
	struct kernel_link link; /* lease: taken over; else opened from the pin by the worker */
	struct kernel_resolved resolved;
	void *places; /* owned: what resolved points to */
};

/* Prepares the removal of a recorded link: from a lease its fd is taken. Errors: as
 * hook_from_message(). */
_must_check_ int link_removal_init(struct core *core, const struct store_link *row,
				   struct link_removal *ret, struct error *err);
void link_removal_done(struct link_removal *removal);
/* On a worker: unpins and detaches; a link that is not there any more is success. */
_must_check_ int link_removal_run(struct kernel_pins *pins, const char *instance,
				  struct link_removal *removal, struct error *err);

/*
 * Where a hook is busy: says whose program has it. The detail holder_program_id that the kernel
 * layer added stays for a program that is not ours, becomes `holder`, its resource name, for one
 * that the caller may view, and goes otherwise. The detail holder_program, a foreign one's name, is
 * for those who may read the audit log.
 */
void links_name_holder(const struct request *request, struct error *err);
