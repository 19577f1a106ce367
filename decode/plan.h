/*
 * How one type is shown and parsed: a tree made from BTF once. Internal to decode/; everything in
 * it is checked when it is made (members lie within their struct, sizes are real, depth, width and
 * output are bounded), so that walking it over bytes of the right size needs no further checks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "decode/types.h"

struct btf;
struct error;

#define PLAN_DEPTH_MAX 32
#define PLAN_NODES_MAX 16384
/* Leaves that one value may show; wider types are shown in hex. */
#define PLAN_LEAVES_MAX (1u << 18)
/* Larger than any key or value of the kernel's that can be read at once. */
#define PLAN_SIZE_MAX (1u << 30)

enum node_kind {
	NODE_UNSIGNED,
	NODE_SIGNED,
	NODE_BOOL,
	NODE_ENUM,
	NODE_FLOAT,
	NODE_INT128,
	NODE_POINTER,
	NODE_TEXT,   /* bytes up to a NUL */
	NODE_STRUCT, /* unions and data sections too */
	NODE_ARRAY,
	NODE_OPAQUE, /* 0x... */
	NODE_KERNEL, /* a lock, timer or pointer of the kernel's: user space neither sees nor sets
			it */
	/* by a Display row */
	NODE_BIG_ENDIAN,
	NODE_HEX,
	NODE_IPV4,
	NODE_IPV6,
	NODE_IP,
	NODE_CIDR,
	NODE_MAC,
	NODE_BYTES,
	NODE_IP_PROTOCOL,
	NODE_DURATION,
	NODE_TEXT_LIST,
};

struct enumerator {
	int64_t value; /* of an unsigned 64-bit enum: its bits */
	const char *name;
};

/* The names of one enum, sorted by value. */
struct enumeration {
	struct enumeration *next;
	uint32_t type_id;
	uint32_t n;
	struct enumerator *items;
};

struct node {
	enum node_kind kind;
	bool is_signed; /* NODE_ENUM */
	bool is_char;	/* elements of this size and kind make a text */
	bool in_union;	/* overlaps other members */
	bool exact;	/* NODE_TEXT: shown in hex when the text would not tell every byte */
	bool to_end;	/* takes what is left of a record */
	uint8_t bit_offset;
	uint8_t bit_size;     /* 0: whole bytes */
	uint32_t offset;      /* bytes from the start of the node above */
	uint32_t size;	      /* bytes; of a bit-field: those it touches */
	uint32_t data_offset; /* NODE_CIDR: where the address is, from the LPM key's start */
	uint32_t back;	      /* NODE_CIDR: how far before this node the LPM key starts */
	uint32_t n;	      /* NODE_ARRAY: elements; NODE_CIDR: bytes of the address */
	uint32_t leaves;
	uint32_t n_children; /* NODE_ARRAY: 1, the element */
	struct node *children;
	const struct enumeration *enumeration;
	char *name;    /* as a member, printable; NULL for an element or a root */
	char *literal; /* `{"name":` or `,"name":` */
	size_t literal_len;
};

struct plan {
	struct node root;
	uint32_t type_id;
	uint32_t n_nodes;
};

/*
 * Builds the plan of a type. size: bytes that the map gives to it, 0 if unknown (a record). Errors:
 * OBJECT_MALFORMED, MANIFEST_MISMATCH, OUT_OF_MEMORY; the plan is then safe to plan_done().
 */
_must_check_ int plan_build(struct plan *plan, const struct btf *btf, uint32_t type_id,
			    uint32_t size, enum decoder_part part,
			    struct enumeration **enumerations, struct error *err);
/* A plan without a type: hex. */
void plan_build_opaque(struct plan *plan, uint32_t size);
/* A plan for one unsigned number of 1, 2, 4 or 8 bytes. */
void plan_build_number(struct plan *plan, uint32_t size);
void plan_done(struct plan *plan);
void enumerations_free(struct enumeration *enumerations);

/* Releases what a node holds below it and forgets it; its place and name stay. */
void node_clear(struct node *node);

/* Applies one Display row to the plan of its part. Errors: MANIFEST_INVALID. */
_must_check_ int plan_display(struct plan *plan, enum decoder_part part,
			      const Bpfleet__V1__Display *display, struct error *err);

/* Writes names and JSON literals of members, after the last Display row. Errors: OUT_OF_MEMORY. */
_must_check_ int plan_finish(struct plan *plan, struct error *err);

/* The part that a Display path starts with ("key.addr"), DECODER_N_PARTS if none. */
enum decoder_part plan_part_of_path(const char *path, const char **ret_rest);
extern const char *const plan_part_names[DECODER_N_PARTS];

/* The plan of the key or of the value, as long as the decoder lives. */
const struct node *decoder_root(const struct decoder *decoder, enum decoder_part part);

/*
 * What a decoder's records can be: one type, or the variants in the manifest's order. The type of a
 * record (SIZE_MAX: none that is known), and its plan (of a type that is not known: NODE_OPAQUE),
 * as long as the decoder lives.
 */
size_t decoder_n_event_types(const struct decoder *decoder);
size_t decoder_event_type(const struct decoder *decoder, const uint8_t *record, size_t n);
const struct node *decoder_event_root(const struct decoder *decoder, size_t type);
