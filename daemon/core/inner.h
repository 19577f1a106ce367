/*
 * Maps in maps of maps, and programs in maps of programs. The kernel tells user space their ids,
 * and with our capabilities no fd can be had by id: so core keeps an fd or pin of each that it puts
 * in.
 */
#pragma once

#include "daemon/core/core.h"
#include "store/instances.h"

struct arena;
struct mapread_map;

/* A map of maps, or of programs, of an instance. Borrowed. */
struct outer {
	struct core *core;
	const char *instance;
	const struct store_map *map;
	const struct mapread_map *shape;
};

/*
 * An fd of what a client wants to put in: the name of a map or program of the same instance, or "+"
 * for a fresh map by the manifest's template, which is pinned, or held for a lease. Errors:
 * NOT_FOUND, MAP_TYPE_UNSUPPORTED (there is no template), KERNEL_REFUSED, OUT_OF_MEMORY.
 */
_must_check_ int outer_resolve(const struct outer *outer, const char *reference,
			       struct arena *arena, int *ret_fd, struct error *err);

/* An fd of the inner map with that kernel id: a fresh one, or one that the manifest declares, whose
 * row is then returned as well (free()), else *ret_map is NULL. Errors: NOT_FOUND. */
_must_check_ int outer_open_inner(const struct outer *outer, uint32_t id, int *ret_fd,
				  struct store_map **ret_map, struct error *err);

/* Forgets a fresh inner map that is in the outer one no more. */
void outer_drop_inner(const struct outer *outer, uint32_t id);
