#include "tests/bench/signing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "bundle/build/build.h"
#include "bundle/minisign.h"

const char *const signing_programs[SIGNING_N_PROGRAMS] = { "trivial", "wait",	"fifty",
							   "table",   "events", "frozen" };

struct signing {
	struct minisign_secret_key *secret;
	char *public_file;
	const char *public_line; /* within public_file */
	struct signed_bundle bundles[SIGNING_N_PROGRAMS];
};

void signing_object_path(const char *program, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/%s.bpf.o", BENCH_OBJECTS, program);
}

int signing_read_object(const char *program, uint8_t **ret, size_t *ret_n, struct error *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	_cleanup_free_ uint8_t *bytes = NULL;
	char path[4096];
	struct stat st;

	signing_object_path(program, path, sizeof(path));
	file = fopen(path, "re");
	if (file == NULL || fstat(fileno(file), &st) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "open %s", path);
	bytes = malloc((size_t)st.st_size);
	if (bytes == NULL || fread(bytes, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
		return error_raise(err, ERROR_IO, "read %s", path);
	*ret = TAKE_PTR(bytes);
	*ret_n = (size_t)st.st_size;
	return 0;
}

/* What bundle.yaml says beyond the objects. */
static const char *maps_of(const char *program)
{
	if (strcmp(program, "table") == 0)
		return "maps: {flows: {access: write}}\n";
	if (strcmp(program, "frozen") == 0)
		return "maps: {numbers: {access: read}}\n";
	if (strcmp(program, "events") == 0)
		return "maps: {records: {access: read, events: {type: record, drops: dropped}}}\n";
	return "";
}

static int build(const char *program, struct signed_bundle *bundle, struct error *err)
{
	char path[64], yaml[256];
	struct build_object object = { .path = path };
	int n = snprintf(yaml, sizeof(yaml), "name: %s\nversion: 1.0.0\nobjects: [%s.bpf.o]\n%s",
			 program, program, maps_of(program));
	int r;

	(void)snprintf(path, sizeof(path), "%s.bpf.o", program);
	r = signing_read_object(program, &object.elf, &object.size, err);
	if (r == 0)
		r = bundle_build_from_memory(program, yaml, (size_t)n, &object, 1, &bundle->bytes,
					     &bundle->size, err);
	free(object.elf);
	return r;
}

static int make_key(struct signing *signing, struct error *err)
{
	struct minisign_public_key key;
	char *line;
	int r = minisign_generate(&signing->secret, &key, err);

	if (r == 0)
		r = minisign_public_key_format(&key, NULL, &signing->public_file, err);
	if (r < 0)
		return r;
	line = strchr(signing->public_file, '\n');
	if (line == NULL)
		return error_raise(err, ERROR_INTERNAL, "a public key of one line");
	line++;
	line[strcspn(line, "\n")] = '\0';
	signing->public_line = line;
	return 0;
}

int signing_new(struct signing **ret, struct error *err)
{
	_cleanup_(signing_freep) struct signing *signing = calloc(1, sizeof(*signing));
	int r;

	if (signing == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "sign bundles");
	r = make_key(signing, err);
	for (size_t i = 0; r == 0 && i < SIGNING_N_PROGRAMS; i++) {
		struct signed_bundle *bundle = &signing->bundles[i];
		struct digest digest;

		r = build(signing_programs[i], bundle, err);
		if (r < 0)
			return r;
		digest_compute(bundle->bytes, bundle->size, &digest);
		r = minisign_sign(signing->secret, &digest, "bench", NULL, &bundle->signature, err);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(signing);
	return 0;
}

void signing_free(struct signing *signing)
{
	if (signing == NULL)
		return;
	minisign_secret_key_free(signing->secret);
	free(signing->public_file);
	for (size_t i = 0; i < SIGNING_N_PROGRAMS; i++) {
		free(signing->bundles[i].bytes);
		free(signing->bundles[i].signature);
	}
	free(signing);
}

const char *signing_public_key(const struct signing *signing)
{
	return signing->public_line;
}

const struct signed_bundle *signing_bundle(const struct signing *signing, size_t i)
{
	return &signing->bundles[i];
}
