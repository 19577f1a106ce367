/*
 * The states of instances and links, and the one table of which event leads from which to which.
 * Pure: nothing here touches the store. The rows are in states.def; docs/states.md is printed from
 * them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str;

/* INSTANCE_LOADING ...: numbers of bpfleet.v1.InstanceState; INSTANCE_NONE = 0 does not exist. */
enum instance_state {
#define INSTANCE_STATE(name, number, text) INSTANCE_##name = number,
#include "store/states.def"
#undef INSTANCE_STATE
	INSTANCE_N_STATES,
};

enum instance_event {
#define INSTANCE_EVENT(name, text) INSTANCE_EVENT_##name,
#include "store/states.def"
#undef INSTANCE_EVENT
	INSTANCE_N_EVENTS,
};

/* LINK_ATTACHED ...: numbers of bpfleet.v1.LinkState; LINK_NONE = 0 does not exist. */
enum link_state {
#define LINK_STATE(name, number, text) LINK_##name = number,
#include "store/states.def"
#undef LINK_STATE
	LINK_N_STATES,
};

enum link_event {
#define LINK_EVENT(name, text) LINK_EVENT_##name,
#include "store/states.def"
#undef LINK_EVENT
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

/* Its programs are in the kernel, and it is not on its way out or to another version. */
bool instance_state_is_loaded(uint32_t state);

/* "READY", "LINKS_GOOD"; "?" outside the enums. */
const char *instance_state_name(enum instance_state state);
const char *instance_event_name(enum instance_event event);
const char *link_state_name(enum link_state state);
const char *link_event_name(enum link_event event);

/* Appends both tables as Markdown: the text of docs/states.md. */
void states_print(struct str *out);
