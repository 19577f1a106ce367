#define _GNU_SOURCE
#include "client/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

/* A path for messages: escaped and cut; not for opening. */
struct shown {
	char text[512];
};

static struct shown shown(const char *path)
{
	struct shown out = { "" };
	struct str s = { 0 };

	if (str_append_escaped(&s, path, SIZE_MAX) == 0 && s.len > 0)
		(void)snprintf(out.text, sizeof(out.text), "%s", s.data);
	str_done(&s);
	return out;
}

/* IO, in words where people meet it daily; `what` is "open", "read" or "write". */
static int failed(struct error *err, int sys_errno, const char *what, const char *path)
{
	static const struct {
		int sys_errno;
		const char *text;
	} words[] = {
		{ ENOENT, "no such file or directory" },
		{ EACCES, "permission denied" },
		{ EISDIR, "it is a directory" },
		{ ENOTDIR, "a part of the path is no directory" },
		{ ENOSPC, "no space is left" },
	};
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (words[i].sys_errno != sys_errno)
			continue;
		r = error_raise(err, ERROR_IO, "cannot %s %s: %s", what, shown(path).text,
				words[i].text);
		if (err != NULL)
			err->sys_errno = sys_errno;
		return r;
	}
	return error_raise_errno(err, ERROR_IO, sys_errno, "cannot %s %s", what, shown(path).text);
}

static int too_large(struct error *err, const char *path, size_t limit)
{
	return error_raise(err, ERROR_REQUEST_TOO_LARGE, "%s is larger than %zu bytes",
			   shown(path).text, limit);
}

/* The fd of the file, or a new one of standard input. */
static int open_to_read(const char *path, int *ret_fd, struct error *err)
{
	int fd;

	if (strcmp(path, "-") == 0)
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failed(err, errno, "open", path);
	*ret_fd = fd;
	return 0;
}

static int read_all(int fd, const char *path, size_t limit, struct str *out, struct error *err)
{
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(err, errno, "read", path);
		if (n == 0)
			return 0;
		if ((size_t)n > limit - out->len)
			return too_large(err, path, limit);
		if (str_append_bytes(out, chunk, (size_t)n) < 0)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	}
}

int file_read(const char *path, size_t limit_bytes, uint8_t **ret_bytes, size_t *ret_n,
	      struct error *err)
{
	_cleanup_(str_done) struct str content = { 0 };
	_cleanup_close_ int fd = -1;
	uint8_t *bytes;
	size_t n;
	int r;

	r = open_to_read(path, &fd, err);
	if (r == 0)
		r = read_all(fd, path, limit_bytes, &content, err);
	if (r < 0)
		return r;
	n = content.len;
	bytes = (uint8_t *)str_take(&content);
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	*ret_bytes = bytes;
	*ret_n = n;
	return 0;
}

int file_read_into(const char *path, void *buffer, size_t size, size_t *ret_n, struct error *err)
{
	_cleanup_close_ int fd = -1;
	char *text = buffer;
	size_t n = 0;
	int r;

	r = open_to_read(path, &fd, err);
	if (r < 0)
		return r;
	while (n < size) {
		ssize_t got = read(fd, text + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return failed(err, errno, "read", path);
		if (got == 0) {
			text[n] = '\0';
			*ret_n = n;
			return 0;
		}
		n += (size_t)got;
	}
	return too_large(err, path, size - 1);
}

static int write_all(int fd, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, bytes, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		bytes += written;
		n -= (size_t)written;
	}
	return 0;
}

static int fill(const char *temporary, const void *bytes, size_t n, unsigned int mode)
{
	_cleanup_close_ int fd = -1;
	int r;

	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, n);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(temporary);
	return r;
}

int file_write(const char *path, const void *bytes, size_t n, unsigned int mode, bool replace,
	       struct error *err)
{
	_cleanup_free_ char *temporary = NULL;
	char suffix[9];
	int r;

	if (str_random_id(suffix, sizeof(suffix) - 1) < 0)
		return error_raise(err, ERROR_INTERNAL, "no random numbers");
	if (asprintf(&temporary, "%s.%s.tmp", path, suffix) < 0) {
		temporary = NULL;
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	}
	r = fill(temporary, bytes, n, mode);
	if (r < 0)
		return failed(err, -r, "write", path);
	if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, replace ? 0 : RENAME_NOREPLACE) == 0)
		return 0;
	r = errno;
	if (r == EINVAL && !replace) {
		/* A file system without RENAME_NOREPLACE: link(2) never replaces either. */
		if (link(temporary, path) == 0) {
			(void)unlink(temporary);
			return 0;
		}
		r = errno;
	}
	(void)unlink(temporary);
	if (r == EEXIST)
		return error_raise(err, ERROR_ALREADY_EXISTS, "%s exists already",
				   shown(path).text);
	return failed(err, r, "write", path);
}
