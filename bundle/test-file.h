/* What the tests of this folder share: files, temporary folders, commands. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test_file {
	uint8_t *data;
	size_t size;
};

/* Reads a file whole, ended by NUL; free data. */
static inline struct test_file test_read(const char *path)
{
	struct test_file file = { 0 };
	FILE *stream = fopen(path, "re");
	size_t got;

	if (stream == NULL) {
		perror(path);
		abort();
	}
	file.data = calloc(1, 1 << 20);
	got = file.data != NULL ? fread(file.data, 1, (1 << 20) - 1, stream) : 0;
	file.size = got;
	(void)fclose(stream);
	return file;
}

static inline void test_write(const char *path, const void *data, size_t size)
{
	FILE *stream = fopen(path, "we");

	if (stream == NULL || fwrite(data, 1, size, stream) != size || fclose(stream) != 0) {
		perror(path);
		abort();
	}
}
