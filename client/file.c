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

static int read_all(int fd, const char *path, size_t limit, struct str *out, struct error *err)
{
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_raise_errno(err, ERROR_IO, errno, "cannot read %s",
						 shown(path).text);
		if (n == 0)
			return 0;
		if ((size_t)n > limit - out->len)
			return error_raise(err, ERROR_REQUEST_TOO_LARGE,
					   "%s is larger than %zu bytes", shown(path).text, limit);
		if (str_append_bytes(out, chunk, (size_t)n) < 0)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	}
}

int file_read(const char *path, size_t limit_bytes, uint8_t **ret_bytes, size_t *ret_n,
	      struct error *err)
{
	_cleanup_close_ int opened = -1;
	_cleanup_(str_done) struct str content = { 0 };
	int fd = STDIN_FILENO, r;
	size_t n;

	if (strcmp(path, "-") != 0) {
		opened = open(path, O_RDONLY | O_CLOEXEC);
		if (opened < 0)
			return error_raise_errno(err, ERROR_IO, errno, "cannot open %s",
						 shown(path).text);
		fd = opened;
	}
	r = read_all(fd, path, limit_bytes, &content, err);
	if (r < 0)
		return r;
	n = content.len;
	*ret_bytes = (uint8_t *)str_take(&content);
	if (*ret_bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	*ret_n = n;
	return 0;
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
		return error_raise_errno(err, ERROR_IO, -r, "cannot write %s", shown(path).text);
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
	return error_raise_errno(err, ERROR_IO, r, "cannot write %s", shown(path).text);
}
