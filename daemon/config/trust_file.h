/*
 * trust.yaml: which keys may sign bundles for this host, what for, and what is revoked. Strings
 * only: core turns them into keys (bundle/trust.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct doc;

struct trust_file_key {
	unsigned int line; /* in trust.yaml */
	char *name;	   /* for people */
	char *key;	   /* minisign public key, the base64 line ("RW...") */
	char **scope;	   /* globs of bundle names; at least one */
	size_t n_scope;
};

struct trust_file {
	uint32_t threshold; /* distinct keys that must have signed; 1..n_keys */
	struct trust_file_key *keys;
	size_t n_keys;
	char **revoked; /* BLAKE2b-512 of bundle files, 128 lower-case hex digits */
	size_t n_revoked;
};

/*
 * Reads trust.yaml; `file:` of a key is a root-owned .pub file, relative to the folder of path.
 * CONFIG_INVALID. Returns new.
 */
int trust_file_load(const char *path, struct trust_file **ret, struct error *err) _must_check_;
int trust_file_from_doc(const struct doc *doc, const char *path, struct trust_file **ret,
			struct error *err) _must_check_;

void trust_file_free(struct trust_file *trust);
DEFINE_CLEANUP(struct trust_file, trust_file_free)
