/* What differs between two manifests, for `bpfleet bundle diff` and for people who approve
 * upgrades. */
#pragma once

#include <stddef.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct error;

enum bundle_change {
	BUNDLE_CHANGE_ADDED = 1,
	BUNDLE_CHANGE_REMOVED,
	BUNDLE_CHANGE_CHANGED,
};

/* "program count_xdp", "hooks", "xdp:*", "xdp:eth0"; field empty when the whole object came or
 * went. */
struct bundle_difference {
	enum bundle_change change;
	char *object;
	char *field;
	char *before; /* empty if added */
	char *after;  /* empty if removed */
};

struct bundle_diff {
	size_t n_differences;
	struct bundle_difference
		*differences; /* in manifest order: bundle, objects, programs ... */
};

/* New; free with bundle_diff_free(). Errors: OUT_OF_MEMORY. */
_must_check_ int bundle_diff_new(const Bpfleet__V1__Manifest *a, const Bpfleet__V1__Manifest *b,
				 struct bundle_diff **ret, struct error *err);
void bundle_diff_free(struct bundle_diff *diff);
DEFINE_CLEANUP(struct bundle_diff, bundle_diff_free)

/* One line without newline: "~ program count_xdp: hooks: xdp:* -> xdp:eth0". New; NULL without
 * memory. */
char *bundle_difference_text(const struct bundle_difference *difference);
