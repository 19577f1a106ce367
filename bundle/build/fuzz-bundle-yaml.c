/* bundle.yaml over one real object, "o". */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "bundle/build/build.h"
#include "bundle/format.h"
#include "proto/arena.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t elf[1 << 18];

static size_t read_sample(void)
{
	FILE *file = fopen(SAMPLE_OBJECT, "re");
	size_t n = file != NULL ? fread(elf, 1, sizeof(elf), file) : 0;

	if (n == 0)
		abort();
	(void)fclose(file);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static size_t n_elf;
	struct build_object object = { (char *)"o", elf, 0 };
	struct error err = { 0 };
	uint8_t *bytes;
	size_t n;

	if (n_elf == 0)
		n_elf = read_sample();
	object.size = n_elf;
	if (bundle_build_from_memory("fuzz", (const char *)data, size, &object, 1, &bytes, &n,
				     &err) == 0) {
		_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
		Bpfleet__V1__Bundle *bundle;

		/* What we build, a host accepts. */
		if (arena == NULL || bundle_parse(arena, bytes, n, &bundle, &err) < 0)
			__builtin_trap();
		free(bytes);
	}
	return 0;
}
