/*
 * The event maps that somebody listens to, and what each listener has not been sent yet. The chunks
 * of a source are kept once, however many listen; a listener is a place in them. Who falls behind
 * the bounded window loses the oldest, and is told how many. Loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/front/grant.h"

struct chunk;
struct error;
struct front;
struct reader;
struct session;
struct source;
struct sources;
struct tallies;

struct sources_limits {
	size_t n_sources;
	size_t window_bytes;	 /* of one source */
	size_t total_bytes;	 /* of all */
	struct tallies *tallies; /* NULL: nothing is counted */
};

/* Chunks of one buffer, in the order they came. */
struct window_entry {
	struct window_entry *next;
	struct chunk *chunk;
	uint64_t first;	       /* number, since the source was opened, of its first record */
	uint64_t bytes_before; /* of all entries since the source was opened */
	unsigned int n_behind; /* listeners that have not passed it */
	uint64_t kernel_lost;
};

/* What a subscription did not get, and why; see EventBatch in node.proto. */
struct event_counts {
	uint64_t subscriber_lost;
	uint64_t front_lost;
	uint64_t unobserved;
	uint64_t filtered_out;
	uint64_t sampled_out;
	uint64_t rate_limited;
};

/* One listener's place. The owner keeps it; source_leave() before it goes. */
struct listening {
	struct source *source; /* NULL: not joined */
	struct listening *next;
	const struct session *session;
	uint64_t base;		     /* number of the first record after it joined */
	uint64_t kernel_lost_before; /* what entries say that it does not count */
	struct window_entry *at;     /* next to be sent, NULL: nothing is there */
	size_t offset_bytes;	     /* in it, what was sent already */
	uint32_t offset_records;
	struct event_counts counts;  /* the owner counts what it does not send */
	void (*on_event)(void *arg); /* something to send is there, or the source opened or ended */
	void *arg;
};

/* NULL when out of memory. Borrows both. */
struct sources *sources_new(struct front *front, struct reader *reader,
			    const struct sources_limits *limits);
/* Nobody may listen any more. NULL is fine. */
void sources_free(struct sources *sources);
DEFINE_CLEANUP(struct sources, sources_free)

/*
 * Listens to the ring buffer or perf buffer of a grant from now on (session, on_event and arg are
 * set); it is opened for the first listener and its fd taken from the grant. counter_fd, taken in
 * any case: -1, or a map whose key 0 holds at counter_offset how many records the program could not
 * place. Errors: MAP_TYPE_UNSUPPORTED, LIMIT_EXCEEDED, KERNEL_REFUSED, OUT_OF_MEMORY.
 */
_must_check_ int source_join(struct sources *sources, struct grant *grant, int counter_fd,
			     uint32_t counter_offset, struct listening *listening,
			     struct error *err);
/* Stops listening; the last one closes the buffer. Harmless if not joined. */
void source_leave(struct listening *listening);

/* Number, within the subscription, of the record that is next; something waits. */
uint64_t listening_sequence(const struct listening *listening);
/* n records of the entry it is at have been sent or passed over, size_bytes of them; passes it
 * when it is finished. */
void listening_advance(struct listening *listening, size_t size_bytes, uint32_t n);

/* All of it is open: a perf buffer is opened CPU by CPU. */
bool source_is_open(const struct source *source);
/* Why it could not be opened, and ended; NULL otherwise. */
const struct error *source_failure(const struct source *source);
/* Its instance is gone and everything has been read: no record will come. */
bool source_ended(const struct source *source);
/* kernel_lost of an entry says something. */
bool source_counter_known(const struct source *source);
/* It is known how much came before anybody listened: perf buffers keep nothing then. */
bool source_unobserved_known(const struct source *source);

/* `instances/ID` is gone. */
void sources_end_instance(struct sources *sources, const char *instance);

size_t sources_n(const struct sources *sources);
size_t sources_held_bytes(const struct sources *sources);
