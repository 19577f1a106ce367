/* Bundle files of the offline commands: read, signatures beside them, verified with keys given by
 * hand. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/format.h"
#include "bundle/trust.h"

struct arena;
struct cli;
struct error;
struct str;

/* bytes are freed by bundle_file_done(), the rest lives in the arena. */
struct bundle_file {
	const char *path;
	uint8_t *bytes;
	size_t size;
	struct digest digest;
	Bpfleet__V1__Signature **signatures;
	size_t n_signatures;
};

void bundle_file_done(struct bundle_file *file);

/* Reads the file. Errors: IO, REQUEST_TOO_LARGE. */
_must_check_ int bundle_file_read(const char *path, struct bundle_file *ret, struct error *err);

/* Reads its signatures, those of --signature or those beside it. Errors: upload_read_signatures().
 */
_must_check_ int bundle_file_signatures(struct cli *cli, struct arena *arena,
					struct bundle_file *file, struct error *err);

/*
 * Verifies the file with the keys of --public-key and --threshold. New; free with
 * trust_verified_free(). Errors: trust_verify(), KEY_MALFORMED, IO.
 */
_must_check_ int bundle_file_verify(struct cli *cli, const struct bundle_file *file,
				    struct trust_verified **ret, struct error *err);

/*
 * What is known of it as a message in the arena: name, digest, size, description, expiry, and its
 * signers if verified is not NULL. Errors: OUT_OF_MEMORY.
 */
_must_check_ int bundle_file_info(const struct bundle_file *file,
				  const Bpfleet__V1__Manifest *manifest,
				  const struct trust_verified *verified, struct arena *arena,
				  Bpfleet__V1__BundleInfo **ret, struct error *err);

/* A trusted comment for people: its tabs are spaces, the rest escaped. */
void bundle_file_append_comment(struct str *s, const char *comment);

/* "packet_count@1.0.0" */
void bundle_file_label(const Bpfleet__V1__Manifest *manifest,
		       char out[static NAME_BUNDLE_REF_MAX + 1]);
