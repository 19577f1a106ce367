/*
 * The bundle file (FORMAT.md): a 16-byte header, then one protobuf bpfleet.v1.Bundle. Parse only
 * bytes whose signatures trust_verify() accepted.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct arena;
struct error;

#define BUNDLE_SIZE_MAX ((size_t)16 << 20)
#define BUNDLE_HEADER_LEN 16
#define BUNDLE_FORMAT_VERSION 1
#define BUNDLE_DIGEST_LEN 64
/* A limit for the arena of bundle_parse(): every accepted bundle fits. */
#define BUNDLE_ARENA_LIMIT ((size_t)40 << 20)

/* Limits of a manifest. */
#define BUNDLE_OBJECTS_MAX 32
#define BUNDLE_PROGRAMS_MAX 256
#define BUNDLE_MAPS_MAX 256
#define BUNDLE_PARAMETERS_MAX 256
#define BUNDLE_HOOKS_MAX 64    /* patterns, or default hooks, of one program */
#define BUNDLE_DISPLAYS_MAX 64 /* of one map */
#define BUNDLE_MERGES_MAX 64   /* of one map */
#define BUNDLE_VARIANTS_MAX 64 /* of the events of one map */
#define BUNDLE_BUDGET_WINDOWS_MAX 1000
#define BUNDLE_METRICS_MAX 64
#define BUNDLE_METRIC_LABELS_MAX 8
#define BUNDLE_METRIC_NAME_MAX 64
#define BUNDLE_METRIC_SERIES_MAX 10000
#define BUNDLE_METRIC_SLOTS_MAX 64 /* of a histogram */
#define BUNDLE_DESCRIPTION_MAX 4096
#define BUNDLE_PATH_MAX 255

/* What a signed file is; the second field of its header. */
enum signed_kind {
	SIGNED_BUNDLE = 1,
	SIGNED_KEY_SET = 2,
	SIGNED_REVOCATION_LIST = 3,
	SIGNED_ROLLBACK_PERMIT = 4,
};

/* BLAKE2b-512 (RFC 7693) of a whole file: what b2sum prints and minisign signs. */
struct digest {
	uint8_t bytes[BUNDLE_DIGEST_LEN];
};

void digest_compute(const uint8_t *bytes, size_t n, struct digest *ret);

/*
 * Parses and validates the n verified bytes into the arena, where everything returned lives.
 * Errors: BUNDLE_TOO_LARGE, BUNDLE_MALFORMED (header, protobuf), UNKNOWN_FIELD, MANIFEST_INVALID
 * (the field is named).
 */
_must_check_ int bundle_parse(struct arena *arena, const uint8_t *bytes, size_t n,
			      Bpfleet__V1__Bundle **ret, struct error *err);

/*
 * Validates, then writes header and message; the result is new (free it). The same bundle gives the
 * same bytes. Errors: MANIFEST_INVALID, BUNDLE_TOO_LARGE, OUT_OF_MEMORY.
 */
_must_check_ int bundle_pack(const Bpfleet__V1__Bundle *bundle, uint8_t **ret_bytes, size_t *ret_n,
			     struct error *err);

/* Everything a manifest must hold to, against its objects (manifest.c). Errors: MANIFEST_INVALID.
 */
_must_check_ int manifest_validate(const Bpfleet__V1__Bundle *bundle, struct error *err);

/* The part of it about budgets and metrics (manifest-cost.c). */
_must_check_ int manifest_check_cost(const Bpfleet__V1__Manifest *manifest, struct error *err);

/* Look-ups by name; NULL if there is none. They live as long as the manifest or the bundle. */
const Bpfleet__V1__ProgramSpec *manifest_program(const Bpfleet__V1__Manifest *manifest,
						 const char *name);
const Bpfleet__V1__MapSpec *manifest_map(const Bpfleet__V1__Manifest *manifest, const char *name);
const Bpfleet__V1__ParameterSpec *manifest_parameter(const Bpfleet__V1__Manifest *manifest,
						     const char *name);
const Bpfleet__V1__Object *bundle_object(const Bpfleet__V1__Bundle *bundle, const char *name);
