/*
 * The names of bpfleet: bundles, versions, labels, ids and resource names, parsed strictly and
 * printed in one form each. docs/naming.md holds the grammars. Nothing here allocates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

/* Longest text, without the terminating NUL. */
#define NAME_BUNDLE_MAX 48
#define NAME_VERSION_MAX 32 /* "4294967295.4294967295.4294967295" */
#define NAME_LABEL_MAX 48
#define NAME_SYMBOL_MAX 127
#define NAME_ID_LEN 16
#define NAME_RESOURCE_MAX 207

/* `[a-z][a-z0-9_]{0,47}`: a bundle, an object within one, a fallback group. */
bool name_is_bundle(const char *text);
/* `[a-z][a-z0-9_-]{0,47}`: what an owner calls an instance. */
bool name_is_label(const char *text);
/* `[2-7][a-z2-7]{15}`: an instance or a link. It begins with a digit and a label does not. */
bool name_is_id(const char *text);
/* `[A-Za-z_][A-Za-z0-9_]{0,126}`: a program, a parameter. */
bool name_is_symbol(const char *text);
/* A symbol, or a section as `.bss` and `.rodata.tail`, at most 127 bytes. */
bool name_is_map(const char *text);

/* The same as errors: INVALID_NAME, saying what is wrong and what is expected. */
_must_check_ int name_check_bundle(const char *text, struct error *err);
_must_check_ int name_check_label(const char *text, struct error *err);
_must_check_ int name_check_id(const char *text, struct error *err);
_must_check_ int name_check_symbol(const char *text, struct error *err);
_must_check_ int name_check_map(const char *text, struct error *err);

/* A fresh random id (77 bits); not a secret. Errors: INTERNAL (no random numbers). */
_must_check_ int name_new_id(char out[static NAME_ID_LEN + 1], struct error *err);

/* libbpf calls a data section's map "objname.bss"; ours is ".bss". Points into libbpf_name. */
const char *name_map_from_libbpf(const char *libbpf_name);

struct version {
	uint32_t major;
	uint32_t minor;
	uint32_t patch;
};

/* "1.2.3": three decimal uint32 without sign or leading zero. Errors: INVALID_NAME. */
_must_check_ int version_parse(const char *text, struct version *ret, struct error *err);
void version_format(const struct version *version, char out[static NAME_VERSION_MAX + 1]);
/* As numbers, from major to patch: below, equal, above as <0, 0, >0. */
int version_compare(const struct version *a, const struct version *b);

/* NAME or NAME@VERSION. */
struct bundle_ref {
	char name[NAME_BUNDLE_MAX + 1];
	bool has_version;
	struct version version;
};

#define NAME_BUNDLE_REF_MAX (NAME_BUNDLE_MAX + 1 + NAME_VERSION_MAX)

/* Errors: INVALID_NAME. */
_must_check_ int bundle_ref_parse(const char *text, struct bundle_ref *ret, struct error *err);
void bundle_ref_format(const struct bundle_ref *ref, char out[static NAME_BUNDLE_REF_MAX + 1]);

enum resource_kind {
	RESOURCE_BUNDLE = 1, /* bundles/NAME, bundles/NAME@VERSION */
	RESOURCE_INSTANCE,   /* instances/ID */
	RESOURCE_PROGRAM,    /* instances/ID/programs/NAME */
	RESOURCE_MAP,	     /* instances/ID/maps/NAME */
	RESOURCE_LINK,	     /* links/ID */
};

struct resource_name {
	enum resource_kind kind;
	struct bundle_ref bundle; /* of a bundle */
	/* Of an instance, its parts, or a link. For the first two a label may stand here. */
	char id[NAME_LABEL_MAX + 1];
	char member[NAME_SYMBOL_MAX + 1]; /* the program or the map */
};

/* Errors: INVALID_NAME. */
_must_check_ int resource_parse(const char *text, struct resource_name *ret, struct error *err);
/* The same, of one kind only. */
_must_check_ int resource_parse_kind(const char *text, enum resource_kind kind,
				     struct resource_name *ret, struct error *err);
void resource_format(const struct resource_name *name, char out[static NAME_RESOURCE_MAX + 1]);

/* Shorthands that print one resource name. */
void resource_format_bundle(const char *name, const struct version *version,
			    char out[static NAME_RESOURCE_MAX + 1]);
void resource_format_instance(const char *id, char out[static NAME_RESOURCE_MAX + 1]);
void resource_format_program(const char *id, const char *program,
			     char out[static NAME_RESOURCE_MAX + 1]);
void resource_format_map(const char *id, const char *map, char out[static NAME_RESOURCE_MAX + 1]);
void resource_format_link(const char *id, char out[static NAME_RESOURCE_MAX + 1]);
