/* What Load, Replace and Rollback answer: an instance as it is recorded, or what a trial found. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct apply;
struct arena;
struct core;
struct error;

/* Under the names of LoadResponse and ReplaceResponse; lives in the caller's arena. */
struct told {
	Bpfleet__V1__Instance *instance;
	Bpfleet__V1__Program **programs;
	Bpfleet__V1__Link **links;
	size_t n_programs, n_links;
	char *refused_reason, *refused_message;
	Bpfleet__V1__Rejection *rejection;
	uint64_t memory_bytes;
};

/* Hands it on to a response that has the fields of the first or of the second half. */
#define TOLD_PUT(response, told)                                                           \
	((response)->instance = (told)->instance, (response)->programs = (told)->programs, \
	 (response)->n_programs = (told)->n_programs, (response)->links = (told)->links,   \
	 (response)->n_links = (told)->n_links)
#define TOLD_PUT_TRIAL(response, told)                          \
	((response)->refused_reason = (told)->refused_reason,   \
	 (response)->refused_message = (told)->refused_message, \
	 (response)->rejection = (told)->rejection,             \
	 (response)->memory_bytes = (told)->memory_bytes)

/* The instance, its programs and links as they are now. Errors: those of the store. */
_must_check_ int tell_instance(struct core *core, const char *id, struct arena *arena,
			       struct told *ret, struct error *err);
/* What a trial load (apply->validate_only) found; refusal NULL: that it would succeed. Adds to what
 * *ret has, and borrows from apply. Errors: OUT_OF_MEMORY. */
_must_check_ int tell_trial(struct apply *apply, const struct error *refusal, struct arena *arena,
			    struct told *ret, struct error *err);
