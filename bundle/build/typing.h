/* What BTF says about the types of variables and members. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct bpf_object;
struct btf;
struct btf_var_secinfo;
struct error;

/*
 * Describes a variable as a parameter: name (of the BTF), type and size. A variable that is not
 * `const volatile` is none (false). One of a type that a parameter cannot have has type
 * UNSPECIFIED; bundle.yaml can say that its bytes are an address.
 */
bool typing_parameter(const struct btf *btf, const struct btf_var_secinfo *info,
		      Bpfleet__V1__ParameterSpec *ret);

/* The size of a global variable of any data section; 0 if there is none of that name. */
uint32_t typing_global_size(const struct btf *btf, const char *name);

/* A member that tells structs apart. */
struct typing_tag {
	uint32_t type_id; /* an integer or an enum */
	uint32_t offset;
	uint32_t size;
};

/* Finds the member ("kind", "header.kind") of a struct. Errors: CONFIG_INVALID. */
_must_check_ int typing_event_tag(const struct btf *btf, const char *record_type, const char *path,
				  struct typing_tag *ret, struct error *err);
/* The bits of a value: a number, or a name of the enum. Errors: CONFIG_INVALID. */
_must_check_ int typing_tag_value(const struct btf *btf, const struct typing_tag *tag,
				  const char *text, uint64_t *ret, struct error *err);

/*
 * Checks that a display path exists below the map's key or value or the event's record, and that
 * its format suits its size. Errors: CONFIG_INVALID.
 */
_must_check_ int typing_check_display(const struct bpf_object *object,
				      const Bpfleet__V1__MapSpec *map,
				      const Bpfleet__V1__Display *display, struct error *err);

/*
 * Checks that a merge path is a member of the map's value and, for sum and max, made of integers of
 * 4 or 8 bytes. Errors: CONFIG_INVALID.
 */
_must_check_ int typing_check_merge(const struct bpf_object *object,
				    const Bpfleet__V1__MapSpec *map,
				    const Bpfleet__V1__MergeRule *merge, struct error *err);

enum typing_wanted {
	TYPING_ANY,
	TYPING_INTEGER,
	TYPING_INTEGERS, /* an array of at most 64 */
};

/*
 * Checks that a path below the map's key or value exists, and that what is wanted is there. Errors:
 * CONFIG_INVALID.
 */
_must_check_ int typing_check_member(const struct bpf_object *object,
				     const Bpfleet__V1__MapSpec *map, const char *path,
				     enum typing_wanted wanted, struct error *err);
