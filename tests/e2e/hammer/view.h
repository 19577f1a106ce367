/*
 * What the kernel and bpffs show of the daemon under test, read as root behind its back: programs
 * made by core's uid (which no other daemon on the machine shares), their links, their maps, pins.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/e2e/hammer/process.h"

struct id_set {
	uint32_t *ids; /* ascending, each once */
	size_t n;
};

void id_set_add(struct id_set *set, uint32_t id);
bool id_set_has(const struct id_set *set, uint32_t id);
void id_set_done(struct id_set *set);

struct view {
	struct id_set programs, maps, links;
	char **pins; /* "INSTANCE/p_0", sorted */
	size_t n_pins;
};

/* bpffs: the configured directory. Fds of the daemon's processes count as holders of maps. */
void view_take(uid_t core_uid, const char *bpffs, const struct daemon *daemon, struct view *ret);
void view_done(struct view *view);

/*
 * The kernel's link is attached to what the hook's text names, and runs the program of that id, or
 * with struct_ops holds the table. why holds 256 bytes.
 */
bool view_link_fits(uint32_t link_id, uint32_t id, const char *hook, char *why);

/* Programs, links and pins of somebody else, right beside ours. */
struct foreign;
/* A tcx program before and one after ours on `shared`, XDP on `other`, pins in bpffs. */
struct foreign *foreign_make(const char *bpffs, const char *shared, const char *other);
/* All of it is as it was made; else says what is not. why holds 256 bytes. */
bool foreign_is_whole(const struct foreign *foreign, char *why);
void foreign_remove(struct foreign *foreign);
