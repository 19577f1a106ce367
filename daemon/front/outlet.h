/* One event map of one stream: which of its records the client wants, and the messages that bring
 * them. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "daemon/front/source.h"

struct error;
struct filter;
struct grant;
struct rpc_call;

/* Asked in this order. */
struct choice {
	struct filter *filter;	 /* NULL: all */
	uint32_t sample_every;	 /* one in so many; 0 and 1: all */
	uint32_t max_per_second; /* 0: no limit */
	uint32_t n_passed_over;	 /* since the last that was taken as a sample */
	uint32_t n_in_second;
	uint64_t second_began_ns;
};

/* The owner fills in the first part, and joins the listening to a source. */
struct outlet {
	uint32_t index; /* in EventSources */
	bool json;
	struct grant *grant;
	struct choice choice;
	struct listening listening;
	/* What the last message said, and when (monotonic). */
	uint64_t told_lost;
	uint64_t told_at;
};

/* Wants only records for which the condition holds. Errors as filter_new(), grant_decoder(). */
_must_check_ int outlet_set_filter(struct outlet *outlet, const char *condition, struct error *err);
/* Leaves the source, if it has joined one. The grant is the owner's. */
void outlet_done(struct outlet *outlet);

/*
 * Works through records that wait (listening.at) and sends what of them is wanted, if anything, in
 * one message. Returns as rpc_call_send() does, 0 also when the call has ended, and 1 when nothing
 * was sent. Errors: OUT_OF_MEMORY.
 */
_must_check_ int outlet_send(struct outlet *outlet, struct rpc_call *call, struct error *err);
