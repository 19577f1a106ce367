/* Rules about bundles that a push and a load share. */
#pragma once

#include "bpfleet/v1/bundle.pb-c.h"
#include "daemon/core/request.h"
#include "store/bundles.h"

struct trusted_bundle;

/* Expiry is asked at a push and at a first load, never of what was acknowledged. BUNDLE_EXPIRED. */
_must_check_ int rules_check_expiry(const Bpfleet__V1__Manifest *manifest, struct error *err);
/* The floor that signed statements gave this name. BUNDLE_BELOW_FLOOR. */
_must_check_ int rules_check_floor(struct core *core, const Bpfleet__V1__Manifest *manifest,
				   struct error *err);

/* Puts name, digest and signers of a verified bundle into the request's audit row. */
void rules_note_bundle(struct request *request, const struct trusted_bundle *bundle);

/* What is asked of a verified bundle before it may run anew: trust now, expiry, floor, quarantine.
 * Notes it for the audit row. Errors: those of the four. */
_must_check_ int rules_check_bundle(struct request *request, const struct trusted_bundle *bundle,
				    struct error *err);

/* A stored bundle by resource name (without a version: the highest), for a verb. New (free()). */
_must_check_ int rules_find_bundle(struct request *request, const char *name, enum policy_verb verb,
				   struct store_bundle **ret, struct error *err);

/* Whether the manifest lets the program be attached to the hook. HOOK_NOT_ALLOWED. */
_must_check_ int rules_check_hook(const Bpfleet__V1__ProgramSpec *program, const struct hook *hook,
				  struct error *err);
