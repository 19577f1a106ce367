/*
 * The states of instances and links, and the one table of which event leads from which to which.
 * Pure: nothing here touches the store. docs/states.md is printed from the tables.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct str;

/* Numbers of bpfleet.v1.InstanceState. */
enum instance_state {
	INSTANCE_NONE = 0, /* does not exist */
	INSTANCE_LOADING = 1,
	INSTANCE_READY = 2,
	INSTANCE_ATTACHED = 3,
	INSTANCE_DEGRADED = 4,
	INSTANCE_FAILED = 5,
	INSTANCE_UNLOADING = 6,
	INSTANCE_N_STATES,
};

enum instance_event {
	INSTANCE_EVENT_LOAD,	       /* the intent to load is recorded */
	INSTANCE_EVENT_LOADED,	       /* every required program is in the kernel and pinned */
	INSTANCE_EVENT_LOAD_FAILED,    /* a first load failed and was undone */
	INSTANCE_EVENT_REAPPLY,	       /* new boot, or its kernel objects are gone: load it again */
	INSTANCE_EVENT_REAPPLY_FAILED, /* that failed; tried again later */
	INSTANCE_EVENT_LINKS_NONE,     /* its links were counted: there is none */
	INSTANCE_EVENT_LINKS_GOOD,     /* all of them are attached */
	INSTANCE_EVENT_LINKS_BAD,      /* some are not */
	INSTANCE_EVENT_PINS_BAD,       /* a pin is missing or is not what was recorded */
	INSTANCE_EVENT_UNLOAD,	       /* the intent to unload is recorded, or the lease ended */
	INSTANCE_EVENT_UNLOADED,       /* nothing of it is left in the kernel */
	INSTANCE_N_EVENTS,
};

/* Numbers of bpfleet.v1.LinkState. */
enum link_state {
	LINK_NONE = 0, /* does not exist */
	LINK_PENDING_TARGET = 1,
	LINK_ATTACHED = 2,
	LINK_TARGET_GONE = 3,
	LINK_DRIFTED = 4,
	LINK_DETACHED = 5,
	LINK_N_STATES,
};

enum link_event {
	LINK_EVENT_ATTACH_WAITS,  /* recorded, the target does not exist yet */
	LINK_EVENT_ATTACHED,	  /* the kernel has the link */
	LINK_EVENT_ATTACH_FAILED, /* a first attach failed and was undone */
	LINK_EVENT_TARGET_GONE,	  /* the target went away under it */
	LINK_EVENT_TARGET_BACK,	  /* a target of that name exists again; not attached yet */
	LINK_EVENT_DRIFT,	  /* the kernel shows something else than what was recorded */
	LINK_EVENT_REBOOT,	  /* new boot: nothing is attached any more */
	LINK_EVENT_DETACHED,	  /* the kernel no longer has the link, as asked */
	LINK_EVENT_REMOVED,	  /* its row is deleted */
	LINK_N_EVENTS,
};

/* What an event makes of a state; -EINVAL when it cannot happen there, otherwise the new state. */
int instance_state_after(enum instance_state state, enum instance_event event);
int link_state_after(enum link_state state, enum link_event event);

/* How many links of an instance are in each state, by enum link_state; LINK_NONE is ignored. */
struct link_census {
	uint32_t n[LINK_N_STATES];
};

/* Which of the three LINKS events the links of an instance amount to; detached ones do not count.
 */
enum instance_event link_census_event(const struct link_census *census);

/* The state of a loaded instance that follows from its links (READY, ATTACHED or DEGRADED). */
enum instance_state instance_state_of_links(const struct link_census *census);

/* "READY", "LINKS_GOOD"; "?" outside the enums. */
const char *instance_state_name(enum instance_state state);
const char *instance_event_name(enum instance_event event);
const char *link_state_name(enum link_state state);
const char *link_event_name(enum link_event event);

/* Appends both tables as Markdown: the text of docs/states.md. */
void states_print(struct str *out);
