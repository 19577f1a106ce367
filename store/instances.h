/*
 * Instances and what they consist of: parameters, programs, maps, links, and the entries of durable
 * maps. Deleting an instance deletes all of these, with a change for each object.
 */
#pragma once

#include "store/states.h"
#include "store/store.h"

/* ---- instances */

struct store_instance {
	const char *id;			  /* STORE_ID_LEN characters, made by core */
	const char *label;		  /* unique per owner unless "" */
	const char *owner;		  /* identity: "uid:1000" */
	uint8_t digest[STORE_DIGEST_LEN]; /* of its bundle, which must be stored */
	const char *bundle_name;	  /* read only */
	uint32_t bundle_version[3];	  /* read only */
	uint32_t durability;		  /* numbers of bpfleet.v1.Durability: 1..3 */
	uint32_t state;			  /* enum instance_state */
	const char *reason;
	uint64_t created_at_ns;
	uint64_t loaded_at_ns;	   /* 0: never yet */
	const char *boot_id;	   /* of the boot in which it was loaded last */
	uint64_t lease_ends_at_ns; /* 0: no time limit */
	bool has_lease_token;
	uint8_t lease_token_hash[STORE_HASH_LEN];
	struct store_bytes budget;	   /* bpfleet.v1.LoadBudget of its caller; opaque here */
	struct store_bytes bundle_budgets; /* read only: bpfleet.v1.Budgets of its bundle */
	uint32_t n_programs;		   /* read only */
	uint32_t n_links;		   /* read only */
	uint32_t n_parameters;		   /* read only */
	/* All read only from here: store/versions.c writes them. */
	uint32_t generation; /* of the version that runs; 0: the first */
	bool has_previous;   /* a version is kept beside it: */
	uint8_t previous_digest[STORE_DIGEST_LEN];
	uint32_t previous_generation;
	uint64_t soak_ends_at_ns; /* 0: never */
	const char *previous_name;
	uint32_t previous_version[3];
	uint64_t revision;
};

struct store_parameter {
	const char *name;
	const char *value; /* as text */
};

/* LABEL_IN_USE, ALREADY_EXISTS (the id), NOT_FOUND (no bundle of that digest). */
int store_instance_insert(struct store_tx *tx, const struct store_instance *row,
			  const struct store_parameter *parameters, size_t n_parameters,
			  struct error *err) _must_check_;

/* Writes state, reason, loaded_at_ns, boot_id and the lease fields of the row with row->id.
 * NOT_FOUND. */
int store_instance_update(struct store_tx *tx, const struct store_instance *row,
			  struct error *err) _must_check_;
/* Only the state and its reason (NULL or "": none). NOT_FOUND. */
int store_instance_set_state(struct store_tx *tx, const char *id, enum instance_state state,
			     const char *reason, struct error *err) _must_check_;
int store_instance_delete(struct store_tx *tx, const char *id, struct error *err) _must_check_;

int store_instance_get(struct store *store, const char *id, struct store_instance **ret,
		       struct error *err) _must_check_;
/*
 * The instance that a label means to a caller: the caller's own of that label, else the only one
 * that has it. NOT_FOUND otherwise.
 */
int store_instance_get_label(struct store *store, const char *label, const char *caller,
			     struct store_instance **ret, struct error *err) _must_check_;

/* Each field NULL or 0: any. */
struct store_instance_filter {
	const char *bundle_name;
	const uint32_t *bundle_version; /* with bundle_name */
	const char *owner;
	uint32_t durability;
	uint32_t state;
};

/* By id; filter and after_id may be NULL. */
int store_instance_list(struct store *store, const struct store_instance_filter *filter,
			const char *after_id, size_t limit, struct store_instance **ret_rows,
			size_t *ret_n, struct error *err) _must_check_;

/* In the order they were given. */
int store_parameter_list(struct store *store, const char *instance,
			 struct store_parameter **ret_rows, size_t *ret_n,
			 struct error *err) _must_check_;

/* ---- programs and maps */

/* Where a page of programs or maps starts: after this one, in the order (instance, ordinal). */
struct store_position {
	const char *instance;
	uint32_t ordinal;
};

struct store_program {
	const char *instance;
	const char *name;
	uint32_t ordinal;   /* index in the manifest */
	const char *object; /* name of the object that holds it */
	const char *type;
	uint32_t kernel_id; /* 0: not loaded */
	uint8_t tag[8];
	uint32_t verified_insns;
	const char *skipped_reason;
	struct store_bytes spec;     /* bpfleet.v1.ProgramSpec of the manifest; opaque here */
	struct store_bytes verifier; /* bpfleet.v1.VerifierFigures; empty: none; opaque here */
	uint32_t n_links;	     /* read only */
	uint64_t revision;	     /* read only */
};

/* Inserts, or replaces the program of that instance and name. NOT_FOUND: no such instance. */
int store_program_put(struct store_tx *tx, const struct store_program *row,
		      struct error *err) _must_check_;
int store_program_get(struct store *store, const char *instance, const char *name,
		      struct store_program **ret, struct error *err) _must_check_;
/* The program that is loaded under this id of the kernel's, not 0. NOT_FOUND: none of ours. */
int store_program_of_kernel(struct store *store, uint32_t kernel_id, struct store_program **ret,
			    struct error *err) _must_check_;
/* instance NULL: of all; after NULL: from the start. */
int store_program_list(struct store *store, const char *instance,
		       const struct store_position *after, size_t limit,
		       struct store_program **ret_rows, size_t *ret_n,
		       struct error *err) _must_check_;

struct store_map {
	const char *instance;
	const char *name;
	uint32_t ordinal;
	const char *object; /* name of the object that declares it: key of its BTF */
	const char *type;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
	uint32_t access;   /* numbers of bpfleet.v1.Access */
	uint32_t contents; /* numbers of bpfleet.v1.Contents */
	uint32_t kernel_id;
	bool frozen;
	uint32_t key_type_id;
	uint32_t value_type_id;
	uint32_t event_type_id;
	struct store_bytes spec; /* bpfleet.v1.MapSpec of the manifest; opaque here */
	uint64_t revision;	 /* read only */
};

/* As for programs. A replaced map keeps its durable entries. */
int store_map_put(struct store_tx *tx, const struct store_map *row, struct error *err) _must_check_;
int store_map_get(struct store *store, const char *instance, const char *name,
		  struct store_map **ret, struct error *err) _must_check_;
int store_map_list(struct store *store, const char *instance, const struct store_position *after,
		   size_t limit, struct store_map **ret_rows, size_t *ret_n,
		   struct error *err) _must_check_;

/* ---- versions: what runs, and what ran before, kept for a way back */

/* Of the version that runs. NOT_FOUND. */
int store_instance_generation(struct store *store, const char *id, uint32_t *ret,
			      struct error *err) _must_check_;

/*
 * A new version takes the place of the one that runs, which is kept (there must be none kept
 * before): digest, generation, loaded_at_ns, soak_ends_at_ns and state of the row are those of the
 * new version, as the parameters are. Put its programs and maps next, part the maps that are not
 * the same ones as before, then call store_version_sweep(). NOT_FOUND.
 */
int store_version_switch(struct store_tx *tx, const struct store_instance *row,
			 const struct store_parameter *parameters, size_t n_parameters,
			 struct error *err) _must_check_;
/* The two versions have a map each of that name: the durable entries stay with the old one. */
int store_version_part_map(struct store_tx *tx, const char *instance, const char *map,
			   struct error *err) _must_check_;
/* Removes the programs and maps that were not put since the switch. */
int store_version_sweep(struct store_tx *tx, const char *instance, struct error *err) _must_check_;
/* The version kept takes the place of the one that runs, which is forgotten. Entries of parted maps
 * are again what they were. NOT_FOUND: nothing is kept. */
int store_version_switch_back(struct store_tx *tx, const char *instance,
			      struct error *err) _must_check_;
/* Forgets the version kept, if there is one. */
int store_version_forget_previous(struct store_tx *tx, const char *instance,
				  struct error *err) _must_check_;
/* What is kept, by ordinal. */
int store_previous_program_list(struct store *store, const char *instance, size_t limit,
				struct store_program **ret_rows, size_t *ret_n,
				struct error *err) _must_check_;
int store_previous_map_list(struct store *store, const char *instance, size_t limit,
			    struct store_map **ret_rows, size_t *ret_n,
			    struct error *err) _must_check_;

/* ---- entries of durable maps; no changes are appended for them */

struct store_entry {
	struct store_bytes key;
	struct store_bytes value;
};

/* Inserts or replaces. NOT_FOUND: no such map. */
int store_entry_put(struct store_tx *tx, const char *instance, const char *map, const void *key,
		    size_t key_size, const void *value, size_t value_size,
		    struct error *err) _must_check_;
/* *ret_deleted (may be NULL): whether it was there. */
int store_entry_delete(struct store_tx *tx, const char *instance, const char *map, const void *key,
		       size_t key_size, bool *ret_deleted, struct error *err) _must_check_;
/* In the order of the keys as bytes; after NULL: from the start. */
int store_entry_list(struct store *store, const char *instance, const char *map,
		     const struct store_bytes *after, size_t limit, struct store_entry **ret_rows,
		     size_t *ret_n, struct error *err) _must_check_;

/* ---- links */

struct store_link {
	const char *id; /* STORE_ID_LEN characters, made by core */
	const char *instance;
	const char *program;
	const char *hook_kind;
	const char *hook;	   /* canonical text */
	struct store_bytes target; /* as the host has it; empty: the hook has a selector */
	struct store_bytes spec;   /* bpfleet.v1.Hook; opaque here */
	struct store_bytes places; /* of a USDT probe: struct kernel_place each; opaque here */
	uint32_t state;		   /* enum link_state */
	const char *reason;
	uint32_t kernel_id; /* 0: none */
	uint64_t attached_at_ns;
	uint64_t resolved_offset; /* uprobes, else 0 */
	uint64_t resolved_dev;
	uint64_t resolved_inode;
	const char *selected_by; /* id of the link with the selector; NULL or empty: none */
	uint64_t revision;	 /* read only */
};

/* ALREADY_EXISTS (the id), NOT_FOUND (the program). */
int store_link_insert(struct store_tx *tx, const struct store_link *row,
		      struct error *err) _must_check_;
/* Writes state, reason, kernel_id, attached_at_ns and resolved_* of the row with row->id.
 * NOT_FOUND. */
int store_link_update(struct store_tx *tx, const struct store_link *row,
		      struct error *err) _must_check_;
int store_link_set_state(struct store_tx *tx, const char *id, enum link_state state,
			 const char *reason, struct error *err) _must_check_;
int store_link_delete(struct store_tx *tx, const char *id, struct error *err) _must_check_;
int store_link_get(struct store *store, const char *id, struct store_link **ret,
		   struct error *err) _must_check_;

/* Each field NULL or 0: any. */
struct store_link_filter {
	const char *instance;
	const char *program; /* with instance */
	uint32_t state;
	bool selected;		   /* those with selected_by, of any instance: without the others */
	struct store_bytes target; /* data not NULL: of any instance, not with the first two */
};

/* By id; filter and after_id may be NULL. */
int store_link_list(struct store *store, const struct store_link_filter *filter,
		    const char *after_id, size_t limit, struct store_link **ret_rows, size_t *ret_n,
		    struct error *err) _must_check_;
