/*
 * Pushed bundles on their way in: each lies in a memfd until it is whole, is kept for ten minutes
 * when its connection breaks, and is sealed before core sees it. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct uploads;
struct upload_writer;

#define UPLOAD_DIGEST_LEN 64
#define UPLOAD_SIZE_MAX (16u << 20)
#define UPLOAD_CHUNK_MAX (64u << 10)
#define UPLOAD_IDENTITY_MAX 64

struct upload_limits {
	uint64_t total_bytes;	 /* of announced sizes, over all identities */
	uint64_t identity_bytes; /* the same of one identity */
	uint64_t keep_ns;	 /* how long a broken push is kept */
};

/* NULL when out of memory. */
struct uploads *uploads_new(const struct upload_limits *limits);
/* No writer may be left. */
void uploads_free(struct uploads *uploads);
DEFINE_CLEANUP(struct uploads, uploads_free)

/*
 * Starts (offset 0) or continues (offset as far as the kept bytes reach) the push of one file. A
 * push of the same identity and digest that is still under way loses its place: its next call fails
 * with CANCELLED. Room is made by dropping the kept pushes that were idle longest. now_ns is
 * monotonic. End the writer with upload_end(). Errors: INVALID_ARGUMENT (size 0, an offset that is
 * not 0 and not where the kept bytes end), BUNDLE_TOO_LARGE, LIMIT_EXCEEDED, OUT_OF_MEMORY, IO.
 */
_must_check_ int upload_begin(struct uploads *uploads, const char *identity,
			      const uint8_t digest[static UPLOAD_DIGEST_LEN], uint64_t size_bytes,
			      uint64_t offset, uint64_t now_ns, struct upload_writer **ret,
			      struct error *err);

/* Appends. Errors: REQUEST_TOO_LARGE (over UPLOAD_CHUNK_MAX), INVALID_ARGUMENT (over the size),
 * CANCELLED, IO. */
_must_check_ int upload_write(struct upload_writer *writer, const uint8_t *bytes, size_t n,
			      uint64_t now_ns, struct error *err);

/*
 * Seals the whole file against every change and returns a new fd of it, which the caller owns.
 * Errors: INVALID_ARGUMENT (bytes are missing), CANCELLED, IO.
 */
_must_check_ int upload_seal(struct upload_writer *writer, int *ret_fd, struct error *err);

enum upload_outcome {
	UPLOAD_KEEP, /* to go on later */
	UPLOAD_DROP, /* its bytes have been delivered, or will never be good */
};

/* Ends and frees the writer (NULL is none). */
void upload_end(struct upload_writer *writer, enum upload_outcome outcome, uint64_t now_ns);

/* Bytes kept of a push, 0 if there is none. */
uint64_t uploads_received(const struct uploads *uploads, const char *identity,
			  const uint8_t digest[static UPLOAD_DIGEST_LEN]);
/* Drops what was idle for too long. */
void uploads_expire(struct uploads *uploads, uint64_t now_ns);
/* Drops every push without a writer; returns the bytes that were received of them. */
uint64_t uploads_drop_idle(struct uploads *uploads);
/* Sum of the announced sizes held. */
uint64_t uploads_total(const struct uploads *uploads);
