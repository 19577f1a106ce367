/*
 * Short names that people type, as the resource names of the API. INSTANCE is an id or a label,
 * with or without `instances/`. `out` holds NAME_RESOURCE_MAX + 1 bytes. Errors: INVALID_NAME,
 * saying what is expected. Any thread.
 */
#pragma once

#include "base/cleanup.h"
#include "bundle/name.h"

struct error;

#define REF_SIZE (NAME_RESOURCE_MAX + 1)

/* NAME, NAME@VERSION, with or without `bundles/`. */
_must_check_ int ref_bundle(const char *text, char out[static REF_SIZE], struct error *err);
_must_check_ int ref_instance(const char *text, char out[static REF_SIZE], struct error *err);
/* INSTANCE and the program's name. */
_must_check_ int ref_program_of(const char *instance, const char *program,
				char out[static REF_SIZE], struct error *err);
/* INSTANCE/PROGRAM or instances/ID/programs/PROGRAM. */
_must_check_ int ref_program(const char *text, char out[static REF_SIZE], struct error *err);
/* INSTANCE/MAP or instances/ID/maps/MAP. */
_must_check_ int ref_map(const char *text, char out[static REF_SIZE], struct error *err);
/* INSTANCE or one of its maps. */
_must_check_ int ref_source(const char *text, char out[static REF_SIZE], struct error *err);
/* ID or links/ID. */
_must_check_ int ref_link(const char *text, char out[static REF_SIZE], struct error *err);

/* The part of a resource name that people type: "bundles/a@1.2.3" gives "a@1.2.3". Points into
 * name. */
const char *ref_short(const char *name);
