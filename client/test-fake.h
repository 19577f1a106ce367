/*
 * For tests: a NodeService of clay at a socket of its own, on a thread. It holds one bundle, one
 * instance `web` with programs, a link, a typed hash map, a per-CPU map and a ring buffer; keeps
 * what is pushed and written; fails as it is told to.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"

struct rpc_loop;
struct rpc_listener;

#define FAKE_PUSH_MAX ((size_t)4 << 20)
#define FAKE_ID "2abcdefghijklmno"
#define FAKE_LINK "3abcdefghijklmno"
#define FAKE_KEYS 3U

struct fake {
	char directory[64];
	char socket[96];
	struct rpc_loop *loop;
	struct rpc_listener *listener;

	/* Set before the call under test; read by the thread. */
	_Atomic enum error_code fail_with; /* every method; ERROR_NONE: none */
	atomic_uint fail_times;		   /* so often; 0: always */
	atomic_uint drop_pushes; /* end so many pushes with UNAVAILABLE after the first chunk */
	atomic_uint n_events;	 /* that a subscription gets at once */
	atomic_bool refuse_validation;
	_Atomic(const char *) default_hook; /* of the bundle's program; NULL: none */
	atomic_uint n_listed;		    /* instances that there are beside `web` */
	atomic_bool silent;		    /* answer nothing */
	atomic_bool silent_streams;	    /* nothing to pushes and dumps */
	_Atomic enum error_code fail_dumps; /* ERROR_NONE: none */
	atomic_bool metrics;		    /* the manifest wants `counts` and `per_cpu` shown */
	atomic_bool end_lease;		    /* Watch tells at once that the instance is gone */

	/* What was seen. */
	atomic_uint n_resets;
	atomic_uint n_calls;
	atomic_uint n_streams; /* open now */
	atomic_uint n_loads;
	atomic_uint n_attaches;
	atomic_uint n_unloads;
	atomic_uint n_kept;
	uint8_t pushed[FAKE_PUSH_MAX];
	size_t n_pushed;
	uint64_t last_offset;
	size_t n_signatures;
	bool last_defaults;
	Bpfleet__V1__Durability last_durability;
	char last_parameter[64]; /* "name=value" */
	char last_hook[64];
	char last_identity[64];
	uint64_t last_since;
	/* Values of the map `counts`, u32 -> u64. */
	bool present[FAKE_KEYS];
	uint64_t counts[FAKE_KEYS];
	/* Raw BTF of it and of the events. */
	const void *btf;
	uint32_t n_btf;
};

/* Starts it; ends the program when that fails. */
struct fake *fake_start(void);
void fake_stop(struct fake *fake);
/* Back to what it was after the start. */
void fake_reset(struct fake *fake);
/* Closes every connection, as a front that is restarted does; the socket stays. */
void fake_drop(struct fake *fake);
/* Waits at most ten seconds until counter is n. */
bool fake_wait(const atomic_uint *counter, unsigned int n);
