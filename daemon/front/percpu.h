/*
 * The perf events of a perf buffer that somebody listens to, one for each CPU: asked of core, which
 * puts them into the map, one after the other, in the name of who listens. Every second they are
 * looked at, and CPUs that came online are asked for. Loop thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct front;
struct percpu;
struct reader_buffer;

struct percpu_options {
	struct front *front;
	struct reader_buffer *buffer; /* gets the events; borrowed */
	const char *map;	      /* resource name; borrowed */
	int map_fd;		      /* of GrantMap; taken in any case. Its entries go with it */
	uint32_t n_cpus;
	/* Id of a session that may read the map. */
	const uint8_t *(*session)(void *arg);
	/* Once: all CPUs that are online deliver, or not, for the reason error. */
	void (*on_opened)(void *arg, const struct error *error);
	/* After that every second, when losses have been counted. */
	void (*on_counted)(void *arg);
	void *arg;
};

/* Begins to ask. Errors: OUT_OF_MEMORY. */
_must_check_ int percpu_new(const struct percpu_options *options, struct percpu **ret,
			    struct error *err);
/* Empties the map's entries. NULL is fine. */
void percpu_free(struct percpu *percpu);
DEFINE_CLEANUP(struct percpu, percpu_free)
