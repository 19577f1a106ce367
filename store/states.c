#include "store/states.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/str.h"

/* What states and events of either machine share, so that lookup and printing are written once. */
struct state_word {
	const char *name, *text;
};
struct state_transition {
	int from, event, to;
};

static const struct state_word instance_states[] = {
#define INSTANCE_STATE(name, number, text) [number] = { #name, text },
#include "store/states.def"
#undef INSTANCE_STATE
};
static const struct state_word instance_events[] = {
#define INSTANCE_EVENT(name, text) [INSTANCE_EVENT_##name] = { #name, text },
#include "store/states.def"
#undef INSTANCE_EVENT
};
static const struct state_transition instance_transitions[] = {
#define INSTANCE_TRANSITION(from, event, to) \
	{ INSTANCE_##from, INSTANCE_EVENT_##event, INSTANCE_##to },
#include "store/states.def"
#undef INSTANCE_TRANSITION
};
static const struct state_word link_states[] = {
#define LINK_STATE(name, number, text) [number] = { #name, text },
#include "store/states.def"
#undef LINK_STATE
};
static const struct state_word link_events[] = {
#define LINK_EVENT(name, text) [LINK_EVENT_##name] = { #name, text },
#include "store/states.def"
#undef LINK_EVENT
};
static const struct state_transition link_transitions[] = {
#define LINK_TRANSITION(from, event, to) { LINK_##from, LINK_EVENT_##event, LINK_##to },
#include "store/states.def"
#undef LINK_TRANSITION
};

static int state_after(const struct state_transition *rows, size_t n, int from, int event)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].from == from && rows[i].event == event)
			return rows[i].to;
	return -EINVAL;
}

int instance_state_after(enum instance_state state, enum instance_event event)
{
	return state_after(instance_transitions, ARRAY_SIZE(instance_transitions), (int)state,
			   (int)event);
}

int link_state_after(enum link_state state, enum link_event event)
{
	return state_after(link_transitions, ARRAY_SIZE(link_transitions), (int)state, (int)event);
}

enum instance_event link_census_event(const struct link_census *census)
{
	if (census->n[LINK_PENDING_TARGET] > 0 || census->n[LINK_TARGET_GONE] > 0 ||
	    census->n[LINK_DRIFTED] > 0)
		return INSTANCE_EVENT_LINKS_BAD;
	return census->n[LINK_ATTACHED] > 0 ? INSTANCE_EVENT_LINKS_GOOD : INSTANCE_EVENT_LINKS_NONE;
}

enum instance_state instance_state_of_links(const struct link_census *census)
{
	return (enum instance_state)instance_state_after(INSTANCE_READY, link_census_event(census));
}

static const char *word_name(const struct state_word *words, size_t n, unsigned int i)
{
	return i < n ? words[i].name : "?";
}

bool instance_state_is_loaded(uint32_t state)
{
	return (state >= INSTANCE_READY && state <= INSTANCE_DEGRADED) || state == INSTANCE_SOAKING;
}

const char *instance_state_name(enum instance_state state)
{
	return word_name(instance_states, ARRAY_SIZE(instance_states), state);
}

const char *instance_event_name(enum instance_event event)
{
	return word_name(instance_events, ARRAY_SIZE(instance_events), event);
}

const char *link_state_name(enum link_state state)
{
	return word_name(link_states, ARRAY_SIZE(link_states), state);
}

const char *link_event_name(enum link_event event)
{
	return word_name(link_events, ARRAY_SIZE(link_events), event);
}

static void print_words(struct str *out, const char *title, const struct state_word *words,
			size_t n)
{
	(void)str_appendf(out, "| %s | meaning |\n|---|---|\n", title);
	for (size_t i = 0; i < n; i++)
		(void)str_appendf(out, "| %s | %s |\n", words[i].name, words[i].text);
	(void)str_append(out, "\n");
}

/* A row for each event, a column for each state, in it the state that follows. */
static void print_matrix(struct str *out, const struct state_word *states, size_t n_states,
			 const struct state_word *events, size_t n_events,
			 const struct state_transition *rows, size_t n_rows)
{
	(void)str_append(out, "| event \\ state |");
	for (size_t s = 0; s < n_states; s++)
		(void)str_appendf(out, " %s |", states[s].name);
	(void)str_append(out, "\n|---|");
	for (size_t s = 0; s < n_states; s++)
		(void)str_append(out, "---|");
	for (size_t e = 0; e < n_events; e++) {
		(void)str_appendf(out, "\n| **%s** |", events[e].name);
		for (size_t s = 0; s < n_states; s++) {
			int to = state_after(rows, n_rows, (int)s, (int)e);

			(void)str_appendf(out, " %s |", to < 0 ? "" : states[to].name);
		}
	}
	(void)str_append(out, "\n");
}

void states_print(struct str *out)
{
	(void)str_append(out, "# States of instances and links\n\n"
			      "Printed from `store/states.def`; a test compares. An empty cell: "
			      "the event cannot happen "
			      "in that state.\nNONE is no state that is stored: the row does not "
			      "exist. States are "
			      "numbered as in `bpfleet/v1/node.proto`.\n\n"
			      "## Instances\n\n");
	print_words(out, "state", instance_states, ARRAY_SIZE(instance_states));
	print_words(out, "event", instance_events, ARRAY_SIZE(instance_events));
	print_matrix(out, instance_states, ARRAY_SIZE(instance_states), instance_events,
		     ARRAY_SIZE(instance_events), instance_transitions,
		     ARRAY_SIZE(instance_transitions));
	(void)str_append(out, "\nThe state of a loaded instance follows from its links: any "
			      "PENDING_TARGET, TARGET_GONE or "
			      "DRIFTED is LINKS_BAD;\notherwise any ATTACHED is LINKS_GOOD; "
			      "otherwise LINKS_NONE. "
			      "DETACHED links do not count.\n\n"
			      "## Links\n\n");
	print_words(out, "state", link_states, ARRAY_SIZE(link_states));
	print_words(out, "event", link_events, ARRAY_SIZE(link_events));
	print_matrix(out, link_states, ARRAY_SIZE(link_states), link_events,
		     ARRAY_SIZE(link_events), link_transitions, ARRAY_SIZE(link_transitions));
}
