/* Bundles: the file itself, who signed it, the type information of its objects, and version floors.
 */
#pragma once

#include "store/store.h"

#define STORE_BUNDLE_MAX (16u << 20)

/* A stored bundle. Its key in the API is name and version; the digest is as unique. */
struct store_bundle {
	const char *name;
	uint32_t version[3]; /* major, minor, patch */
	uint8_t digest[STORE_DIGEST_LEN];
	uint64_t size_bytes;
	const char *description;
	uint64_t expires_at_ns; /* 0: never */
	uint64_t pushed_at_ns;
	const char *pushed_by;
	bool has_obsoletes_below;
	uint32_t obsoletes_below[3];
	struct store_bytes budgets; /* bpfleet.v1.Budgets of its manifest; opaque here */
	uint32_t n_instances;	    /* read only */
	uint64_t revision;	    /* read only: of its last change */
};

/* One signature of a bundle, in the order they were pushed. */
struct store_signature {
	struct store_bytes minisig; /* the whole .minisig file */
	const char *key_id;	    /* 16 upper-case hex digits */
	const char *signer;	    /* name of the key in the trust file; "": not a trusted key */
	const char *trusted_comment;
};

/*
 * Stores a bundle (bytes: row->size_bytes of them, 1..STORE_BUNDLE_MAX) with its signatures, and
 * raises the version floor of its name to obsoletes_below. ALREADY_EXISTS when the same name,
 * version and digest are there; BUNDLE_VERSION_TAKEN when that name and version have another
 * digest.
 */
int store_bundle_insert(struct store_tx *tx, const struct store_bundle *row,
			const struct store_signature *signatures, size_t n_signatures,
			const void *bytes, struct error *err) _must_check_;

/* BUNDLE_IN_USE while instances use it, NOT_FOUND. Its floor stays. */
int store_bundle_delete(struct store_tx *tx, const char *name, const uint32_t version[static 3],
			struct error *err) _must_check_;

/* Each returns new (free()); NOT_FOUND. version NULL: the highest. */
int store_bundle_get(struct store *store, const char *name, const uint32_t *version,
		     struct store_bundle **ret, struct error *err) _must_check_;
int store_bundle_get_digest(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
			    struct store_bundle **ret, struct error *err) _must_check_;

/* By name, then version; after_name NULL: from the start. */
int store_bundle_list(struct store *store, const char *after_name, const uint32_t *after_version,
		      size_t limit, struct store_bundle **ret_rows, size_t *ret_n,
		      struct error *err) _must_check_;

/* Reads the whole file into out, which has the row's size_bytes; another size is INVALID_ARGUMENT.
 */
int store_bundle_read(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN], void *out,
		      size_t size_bytes, struct error *err) _must_check_;

/* Adds signatures to a stored bundle, behind those it has (n_present). NOT_FOUND. */
int store_signature_add(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
			size_t n_present, const struct store_signature *signatures,
			size_t n_signatures, struct error *err) _must_check_;

/* Returns new (free()), in the order of the push; an unknown bundle has none. */
int store_signature_list(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
			 struct store_signature **ret_rows, size_t *ret_n,
			 struct error *err) _must_check_;

/* Raw BTF of an object of a bundle, kept from the first load on; it goes with the bundle. */
int store_btf_put(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
		  const char *object, const void *btf, size_t size_bytes,
		  struct error *err) _must_check_;
/* Returns new: one block, the bytes behind the struct (free()). NOT_FOUND. */
int store_btf_get(struct store *store, const uint8_t digest[static STORE_DIGEST_LEN],
		  const char *object, struct store_bytes **ret, struct error *err) _must_check_;

/* Raises the lowest version of a name that may be loaded; a lower one than now changes nothing. */
int store_floor_raise(struct store_tx *tx, const char *name, const uint32_t version[static 3],
		      struct error *err) _must_check_;
/* 0.0.0 when no statement was seen. */
int store_floor_get(struct store *store, const char *name, uint32_t ret_version[static 3],
		    struct error *err) _must_check_;

/* ---- quarantine: digests that this host does not load, whether they are stored or not */

struct store_quarantine {
	uint8_t digest[STORE_DIGEST_LEN];
	const char *bundle; /* `bundles/NAME@VERSION` */
	uint64_t at_ns;
	const char *reason;
	const char *figures; /* for people */
	const char *instance;
};

/* What is quarantined stays so, for its first reason. */
int store_quarantine_put(struct store_tx *tx, const struct store_quarantine *row,
			 struct error *err) _must_check_;
/* NOT_FOUND. */
int store_quarantine_delete(struct store_tx *tx, const uint8_t digest[static STORE_DIGEST_LEN],
			    struct error *err) _must_check_;
/* By digest; after NULL: from the start; digest not NULL: that one alone. */
int store_quarantine_list(struct store *store, const uint8_t *digest, const uint8_t *after,
			  size_t limit, struct store_quarantine **ret_rows, size_t *ret_n,
			  struct error *err) _must_check_;
