#define _GNU_SOURCE
#include "daemon/front/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

struct upload {
	char identity[UPLOAD_IDENTITY_MAX];
	uint8_t digest[UPLOAD_DIGEST_LEN];
	uint64_t size_bytes;
	uint64_t received;
	uint64_t touched_ns;
	int fd;
	bool sealed;
	struct upload_writer *writer;
	struct upload *next;
};

struct upload_writer {
	struct uploads *uploads;
	struct upload *upload; /* NULL: another push took over */
};

struct uploads {
	struct upload_limits limits;
	struct upload *first;
};

struct uploads *uploads_new(const struct upload_limits *limits)
{
	struct uploads *uploads = calloc(1, sizeof(*uploads));

	if (uploads != NULL)
		uploads->limits = *limits;
	return uploads;
}

static void upload_remove(struct uploads *uploads, struct upload *upload)
{
	struct upload **at = &uploads->first;

	while (*at != upload)
		at = &(*at)->next;
	*at = upload->next;
	if (upload->writer != NULL)
		upload->writer->upload = NULL;
	(void)close(upload->fd);
	free(upload);
}

void uploads_free(struct uploads *uploads)
{
	if (uploads == NULL)
		return;
	while (uploads->first != NULL)
		upload_remove(uploads, uploads->first);
	free(uploads);
}

static struct upload *upload_find(const struct uploads *uploads, const char *identity,
				  const uint8_t *digest)
{
	for (struct upload *u = uploads->first; u != NULL; u = u->next)
		if (strcmp(u->identity, identity) == 0 &&
		    memcmp(u->digest, digest, UPLOAD_DIGEST_LEN) == 0)
			return u;
	return NULL;
}

static uint64_t upload_sum(const struct uploads *uploads, const char *identity)
{
	uint64_t sum = 0;

	for (const struct upload *u = uploads->first; u != NULL; u = u->next)
		if (identity == NULL || strcmp(u->identity, identity) == 0)
			sum += u->size_bytes;
	return sum;
}

/* The push without a writer that was touched longest ago, of one identity or of all. */
static struct upload *upload_idlest(const struct uploads *uploads, const char *identity)
{
	struct upload *idlest = NULL;

	for (struct upload *u = uploads->first; u != NULL; u = u->next) {
		if (u->writer != NULL || (identity != NULL && strcmp(u->identity, identity) != 0))
			continue;
		if (idlest == NULL || u->touched_ns < idlest->touched_ns)
			idlest = u;
	}
	return idlest;
}

static int upload_make_room(struct uploads *uploads, const char *identity, uint64_t limit,
			    uint64_t size_bytes, struct error *err)
{
	while (upload_sum(uploads, identity) + size_bytes > limit) {
		struct upload *idlest = upload_idlest(uploads, identity);

		if (idlest == NULL)
			return error_raise(
				err, ERROR_LIMIT_EXCEEDED,
				"pushes under way %s hold as much as they may (%llu bytes)",
				identity != NULL ? "of this identity" : "on this host",
				(unsigned long long)limit);
		upload_remove(uploads, idlest);
	}
	return 0;
}

static int upload_create(struct uploads *uploads, const char *identity, const uint8_t *digest,
			 uint64_t size_bytes, struct upload **ret, struct error *err)
{
	struct upload *upload = NULL;
	int r;

	r = upload_make_room(uploads, identity, uploads->limits.identity_bytes, size_bytes, err);
	if (r == 0)
		r = upload_make_room(uploads, NULL, uploads->limits.total_bytes, size_bytes, err);
	if (r < 0)
		return r;
	upload = calloc(1, sizeof(*upload));
	if (upload == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a push");
	strcpy(upload->identity, identity);
	memcpy(upload->digest, digest, UPLOAD_DIGEST_LEN);
	upload->size_bytes = size_bytes;
	upload->fd = memfd_create("bundle", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (upload->fd < 0) {
		r = error_raise_errno(err, ERROR_IO, errno, "cannot create a memfd for a push");
		free(upload);
		return r;
	}
	upload->next = uploads->first;
	uploads->first = upload;
	*ret = upload;
	return 0;
}

int upload_begin(struct uploads *uploads, const char *identity,
		 const uint8_t digest[static UPLOAD_DIGEST_LEN], uint64_t size_bytes,
		 uint64_t offset, uint64_t now_ns, struct upload_writer **ret, struct error *err)
{
	struct upload *upload = upload_find(uploads, identity, digest);
	_cleanup_free_ struct upload_writer *writer = NULL;
	uint64_t received = upload != NULL ? upload->received : 0;
	int r;

	if (size_bytes == 0 || strlen(identity) >= UPLOAD_IDENTITY_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "size_bytes is 0");
	if (size_bytes > UPLOAD_SIZE_MAX)
		return error_raise(err, ERROR_BUNDLE_TOO_LARGE,
				   "%llu bytes are announced, a bundle is at most %u",
				   (unsigned long long)size_bytes, UPLOAD_SIZE_MAX);
	if (offset != 0 && (offset != received || upload->size_bytes != size_bytes))
		return error_raise(
			err, ERROR_INVALID_ARGUMENT,
			"offset_bytes is %llu, but %llu bytes of this push are kept; start "
			"there, or at 0",
			(unsigned long long)offset, (unsigned long long)received);
	writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a push");
	if (upload != NULL && offset == 0) {
		upload_remove(uploads, upload);
		upload = NULL;
	}
	if (upload == NULL) {
		r = upload_create(uploads, identity, digest, size_bytes, &upload, err);
		if (r < 0)
			return r;
	}
	if (upload->writer != NULL)
		upload->writer->upload = NULL;
	writer->uploads = uploads;
	writer->upload = upload;
	upload->writer = writer;
	upload->touched_ns = now_ns;
	*ret = TAKE_PTR(writer);
	return 0;
}

static int upload_superseded(struct error *err)
{
	return error_raise(err, ERROR_CANCELLED, "another push of the same bundle took over");
}

int upload_write(struct upload_writer *writer, const uint8_t *bytes, size_t n, uint64_t now_ns,
		 struct error *err)
{
	struct upload *upload = writer->upload;

	if (upload == NULL)
		return upload_superseded(err);
	if (n > UPLOAD_CHUNK_MAX)
		return error_raise(err, ERROR_REQUEST_TOO_LARGE, "a chunk of %zu bytes; at most %u",
				   n, UPLOAD_CHUNK_MAX);
	if (n > upload->size_bytes - upload->received)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "more than the %llu bytes announced",
				   (unsigned long long)upload->size_bytes);
	while (n > 0) {
		ssize_t done = write(upload->fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return error_raise_errno(err, ERROR_IO, errno,
						 "cannot keep a pushed chunk");
		upload->received += (uint64_t)done;
		bytes += done;
		n -= (size_t)done;
	}
	upload->touched_ns = now_ns;
	return 0;
}

int upload_seal(struct upload_writer *writer, int *ret_fd, struct error *err)
{
	struct upload *upload = writer->upload;
	int fd;

	if (upload == NULL)
		return upload_superseded(err);
	if (upload->received != upload->size_bytes)
		return error_raise(
			err, ERROR_INVALID_ARGUMENT,
			"the stream ended after %llu of %llu bytes; GetUpload tells where to "
			"go on",
			(unsigned long long)upload->received,
			(unsigned long long)upload->size_bytes);
	if (!upload->sealed && fcntl(upload->fd, F_ADD_SEALS,
				     F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot seal a pushed bundle");
	upload->sealed = true;
	fd = fcntl(upload->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot duplicate a descriptor");
	*ret_fd = fd;
	return 0;
}

void upload_end(struct upload_writer *writer, enum upload_outcome outcome, uint64_t now_ns)
{
	struct upload *upload = NULL;

	if (writer == NULL)
		return;
	upload = writer->upload;
	if (upload != NULL && outcome == UPLOAD_DROP) {
		upload_remove(writer->uploads, upload);
	} else if (upload != NULL) {
		upload->writer = NULL;
		upload->touched_ns = now_ns;
	}
	free(writer);
}

uint64_t uploads_received(const struct uploads *uploads, const char *identity,
			  const uint8_t digest[static UPLOAD_DIGEST_LEN])
{
	const struct upload *upload = upload_find(uploads, identity, digest);

	return upload != NULL ? upload->received : 0;
}

void uploads_expire(struct uploads *uploads, uint64_t now_ns)
{
	struct upload *next = NULL;

	for (struct upload *u = uploads->first; u != NULL; u = next) {
		next = u->next;
		if (u->writer == NULL && now_ns >= u->touched_ns + uploads->limits.keep_ns)
			upload_remove(uploads, u);
	}
}

uint64_t uploads_drop_idle(struct uploads *uploads)
{
	uint64_t dropped = 0;
	struct upload *next = NULL;

	for (struct upload *u = uploads->first; u != NULL; u = next) {
		next = u->next;
		if (u->writer != NULL)
			continue;
		dropped += u->received;
		upload_remove(uploads, u);
	}
	return dropped;
}

uint64_t uploads_total(const struct uploads *uploads)
{
	return upload_sum(uploads, NULL);
}
