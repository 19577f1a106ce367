/*
 * Symbols of target binaries, found by bpfleet-resolver: a child that is handed the open file and
 * nothing else, and gets two seconds. Each resolution waits in a short-lived thread, since opening
 * a path may block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/ipc/ipc.pb-c.h"

struct error;
struct resolver;
struct resolving;
struct rpc_loop;

/* error NULL: found. Loop thread. */
typedef void (*resolver_fn)(void *arg, const Bpfleet__Ipc__ResolvedTarget *target,
			    const struct error *error);

/* program (copied) is the path of bpfleet-resolver. NULL when out of memory. */
struct resolver *resolver_new(struct rpc_loop *loop, const char *program);
/* What still runs is forgotten, and ends by itself. NULL is fine. */
void resolver_free(struct resolver *resolver);
DEFINE_CLEANUP(struct resolver, resolver_free)

/*
 * Resolves `symbol` ("malloc", "main+0x10"; with usdt "PROVIDER:NAME") in the regular file at path;
 * fn is called once, later, unless resolver_cancel() comes first. Errors here: RATE_LIMITED (too
 * many at once), OUT_OF_MEMORY; by fn: TARGET_NOT_FOUND, SYMBOL_NOT_FOUND, INVALID_ARGUMENT,
 * UNAVAILABLE.
 */
_must_check_ int resolver_start(struct resolver *resolver, const char *path, const char *symbol,
				bool usdt, resolver_fn fn, void *arg, struct resolving **ret,
				struct error *err);
/* fn will not be called. Only before it was. */
void resolver_cancel(struct resolving *resolving);
