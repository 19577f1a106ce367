#define _GNU_SOURCE
#include "client/upload.h"

#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/minisign.h"
#include "client/file.h"
#include "client/node.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define ATTEMPTS_MAX 4
#define ATTEMPT_PAUSE_MS 300

/* Where to go on: what the daemon holds of these bytes. A daemon that does not know: from the
 * start. */
static int resume_offset(struct node *node, const struct digest *digest, size_t size,
			 struct arena *arena, uint64_t *ret, struct error *err)
{
	Bpfleet__V1__GetUploadRequest request = BPFLEET__V1__GET_UPLOAD_REQUEST__INIT;
	ProtobufCMessage *response;
	struct error failure = { 0 };
	uint64_t received;
	int r;

	request.digest.data = (uint8_t *)digest->bytes;
	request.digest.len = sizeof(digest->bytes);
	r = node_call(node, "GetUpload", &request.base, arena, &response, &failure);
	if (r < 0 && failure.code != ERROR_NOT_FOUND && failure.code != ERROR_UNIMPLEMENTED) {
		if (err != NULL)
			*err = failure;
		return r;
	}
	received = r < 0 ? 0 : ((Bpfleet__V1__GetUploadResponse *)response)->received_bytes;
	*ret = received > size ? 0 : received;
	return 0;
}

static int send_parts(struct rpc_stream *stream, const struct upload *upload,
		      Bpfleet__V1__PushBundleHeader *header, struct error *err)
{
	Bpfleet__V1__PushBundleRequest part = BPFLEET__V1__PUSH_BUNDLE_REQUEST__INIT;
	size_t at = (size_t)header->offset_bytes;
	int r;

	part.part_case = BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_HEADER;
	part.header = header;
	r = rpc_stream_send(stream, &part.base, err);
	if (r < 0)
		return r;
	part.part_case = BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_CHUNK;
	while (at < upload->size) {
		size_t n = upload->size - at;

		if (n > UPLOAD_CHUNK_BYTES)
			n = UPLOAD_CHUNK_BYTES;
		part.chunk.data = (uint8_t *)(upload->bytes + at);
		part.chunk.len = n;
		r = rpc_stream_send(stream, &part.base, err);
		if (r < 0)
			return r;
		at += n;
		if (upload->progress != NULL)
			upload->progress(at, upload->size, upload->user);
	}
	return rpc_stream_half_close(stream, err);
}

static int push_once(struct node *node, const struct upload *upload,
		     Bpfleet__V1__PushBundleHeader *header, struct arena *arena,
		     Bpfleet__V1__PushBundleResponse **ret, struct error *err)
{
	struct rpc_stream *stream = NULL;
	ProtobufCMessage *response = NULL;
	struct error sending = { 0 };
	int r;

	r = node_stream_open(node, "PushBundle", UINT64_MAX, &stream, err);
	if (r < 0)
		return r;
	node_stream_limit(node, stream);
	/* A daemon may answer before it has everything: its answer counts, not the failed send. */
	(void)send_parts(stream, upload, header, &sending);
	r = rpc_stream_receive(stream, arena, &response, err);
	if (r == 0)
		r = error_raise(err, ERROR_PROTOCOL, "the daemon ended a push without an answer");
	node_stream_free(node, stream);
	if (r < 0)
		return r;
	*ret = (Bpfleet__V1__PushBundleResponse *)response;
	return 0;
}

int upload_push(struct node *node, const struct upload *upload, struct arena *arena,
		Bpfleet__V1__PushBundleResponse **ret, struct error *err)
{
	Bpfleet__V1__PushBundleHeader header = BPFLEET__V1__PUSH_BUNDLE_HEADER__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	struct error failure = { 0 };
	struct digest digest;
	int r;

	r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	digest_compute(upload->bytes, upload->size, &digest);
	header.digest.data = digest.bytes;
	header.digest.len = sizeof(digest.bytes);
	header.size_bytes = upload->size;
	header.signatures = upload->signatures;
	header.n_signatures = upload->n_signatures;
	header.request_id = request_id;
	for (unsigned int i = 0; i < ATTEMPTS_MAX; i++) {
		r = resume_offset(node, &digest, upload->size, arena, &header.offset_bytes, err);
		if (r < 0)
			return r;
		/* What the daemon holds may have been cut from other bytes by a broken disk. */
		if (failure.code == ERROR_BUNDLE_DIGEST_MISMATCH)
			header.offset_bytes = 0;
		failure = (struct error){ 0 };
		r = push_once(node, upload, &header, arena, ret, &failure);
		if (r >= 0)
			return 0;
		if (failure.code != ERROR_UNAVAILABLE &&
		    (failure.code != ERROR_BUNDLE_DIGEST_MISMATCH || header.offset_bytes == 0))
			break;
		(void)poll(NULL, 0, ATTEMPT_PAUSE_MS);
	}
	r = node_explain(node, r, &failure);
	if (err != NULL)
		*err = failure;
	return r;
}

static int read_signature(const char *path, struct arena *arena, Bpfleet__V1__Signature **ret,
			  struct error *err)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	Bpfleet__V1__Signature *signature;
	size_t n;
	int r;

	r = file_read(path, MINISIGN_SIGNATURE_FILE_MAX, &bytes, &n, err);
	if (r < 0)
		return r;
	signature = arena_alloc(arena, sizeof(*signature));
	if (signature == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	bpfleet__v1__signature__init(signature);
	signature->minisig.data = (uint8_t *)arena_strndup(arena, (const char *)bytes, n);
	signature->minisig.len = n;
	if (signature->minisig.data == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	*ret = signature;
	return 0;
}

static int read_listed(const char *const *paths, size_t n, struct arena *arena,
		       Bpfleet__V1__Signature ***ret, size_t *ret_n, struct error *err)
{
	Bpfleet__V1__Signature **signatures;
	int r;

	if (n > UPLOAD_SIGNATURES_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "%zu signature files; at most %d are sent with a bundle", n,
				   UPLOAD_SIGNATURES_MAX);
	signatures = arena_alloc(arena, (n + 1) * sizeof(struct signature *));
	if (signatures == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		r = read_signature(paths[i], arena, &signatures[i], err);
		if (r < 0)
			return r;
	}
	*ret = signatures;
	*ret_n = n;
	return 0;
}

/* A path as a glob(3) pattern that matches itself only. */
static char *glob_escape(struct arena *arena, const char *path)
{
	char *out = arena_alloc(arena, 2 * strlen(path) + 1), *at = out;

	if (out == NULL)
		return NULL;
	for (; *path != '\0'; path++) {
		if (strchr("*?[]\\", *path) != NULL)
			*at++ = '\\';
		*at++ = *path;
	}
	*at = '\0';
	return out;
}

int upload_read_signatures(const char *path, const char *const *paths, size_t n,
			   struct arena *arena, Bpfleet__V1__Signature ***ret, size_t *ret_n,
			   struct error *err)
{
	const char *escaped, *patterns[2];
	glob_t found = { 0 };
	int r;

	if (n > 0)
		return read_listed(paths, n, arena, ret, ret_n, err);
	escaped = glob_escape(arena, path);
	if (escaped == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	patterns[0] = arena_printf(arena, "%s.minisig", escaped);
	patterns[1] = arena_printf(arena, "%s.*.minisig", escaped);
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		r = patterns[i] == NULL ? GLOB_NOSPACE
					: glob(patterns[i], i == 0 ? 0 : GLOB_APPEND, NULL, &found);
		if (r == GLOB_NOSPACE) {
			globfree(&found);
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		}
	}
	r = read_listed((const char *const *)found.gl_pathv, found.gl_pathc, arena, ret, ret_n,
			err);
	globfree(&found);
	return r;
}
