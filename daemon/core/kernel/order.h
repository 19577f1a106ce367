/*
 * The order of our links on a hook that runs several programs one after the other (tcx, cgroups):
 * by priority, lower first, and within one priority in the order they were attached. Programs of
 * others stay where they are. The kernel knows positions and no priorities, so the table here maps
 * its link ids to them; it is filled again from the pinned links after a restart.
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

struct bpf_link_info;
struct hook;
struct kernel_attach;
struct order;

#define ORDER_PRIORITY_DEFAULT 1000

/* The priority of a hook, ORDER_PRIORITY_DEFAULT if it states none. */
uint32_t order_priority(const struct hook *hook);

/* Thread-safe from here on. Errors: NULL on lack of memory. */
struct order *order_new(void);
void order_free(struct order *order);
DEFINE_CLEANUP(struct order, order_free)

/*
 * Makes a link in its place. target: an ifindex, or the fd of a cgroup; target_id: what the link's
 * info will say of it (the ifindex, or the cgroup's id). Compares and swaps on the revision of the
 * hook where the kernel has one, so that a change made by anybody else in between leads to another
 * look and not to a wrong place. Returns the link's fd or a negative errno: ESTALE (others change
 * the hook all the time), EOPNOTSUPP (this kernel can put no program before another one there), and
 * what the kernel has to say.
 */
_must_check_ int order_link_create(const struct kernel_attach *attach, uint32_t attach_type,
				   int target, uint64_t target_id);

/* Learns of a link that was found pinned, and forgets one that is to go. order may be NULL. */
void order_learn(struct order *order, const struct hook *hook, const struct bpf_link_info *info);
void order_forget(struct order *order, uint32_t link_id);
