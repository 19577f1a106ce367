/* What the daemon lists, all of it at once, and whether kernel and bpffs show exactly that. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/bpfleet.h"

struct view;

struct lists {
	const struct bpfleet_status *status;
	const struct bpfleet_bundle *bundles;
	const struct bpfleet_instance *instances;
	const struct bpfleet_program *programs;
	const struct bpfleet_link *links;
	const struct bpfleet_map *maps;
	size_t n_bundles, n_instances, n_programs, n_links, n_maps;
};

/* False: why says which list failed. Release with lists_done() in either case. */
bool lists_take(struct bpfleet *node, struct lists *ret, char *why, size_t size);
void lists_done(struct lists *lists);

/* Whether `name` ("instances/ID/programs/x") is a part of the instance ("instances/ID"). */
bool lists_belongs(const char *name, const char *instance);

/*
 * Programs, maps and links of the kernel are those listed, each pinned unless it is a lease's, and
 * there is no other pin, no orphan and no alarm.
 */
bool lists_agree(const struct lists *lists, const struct view *view, char *why, size_t size);
