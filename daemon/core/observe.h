/*
 * Hears when targets come and go: rtnetlink for network interfaces and routes, inotify for cgroups
 * and files. What it hears only says where to look: the reconciler compares recorded links with the
 * kernel, so that a notice that is lost, doubled or late costs time and nothing else. Main thread.
 */
#pragma once

#include "base/cleanup.h"

struct core;
struct error;
struct observe;

/* Starts listening. A host that lets core watch no files is served by the reconciler's tick alone.
 * Errors: OUT_OF_MEMORY, IO. */
_must_check_ int observe_new(struct core *core, struct observe **ret, struct error *err);
void observe_free(struct observe *observe);
DEFINE_CLEANUP(struct observe, observe_free)

/* Watches for the targets of the links there are now; cheap if no link has changed. */
void observe_follow(struct observe *observe);
