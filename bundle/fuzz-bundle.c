/* A bundle's bytes, as if their signature had verified; the digest of the objects is repaired. */
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "proto/arena.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(BUNDLE_ARENA_LIMIT);
	Bpfleet__V1__Bundle *bundle;
	ProtobufCMessage *message;
	struct error err = { 0 };

	if (arena == NULL)
		return 0;
	if (bundle_parse(arena, data, size, &bundle, &err) == 0) {
		uint8_t *packed;
		size_t n;

		/* What was accepted is what we would have written. */
		if (bundle_pack(bundle, &packed, &n, NULL) < 0 || n != size ||
		    memcmp(packed, data, BUNDLE_HEADER_LEN) != 0)
			__builtin_trap();
		free(packed);
	}
	/* A fuzzer does not find digests: let it get past them to the rest of the manifest. */
	if (size > BUNDLE_HEADER_LEN &&
	    arena_unpack(arena, &bpfleet__v1__bundle__descriptor, data + BUNDLE_HEADER_LEN,
			 size - BUNDLE_HEADER_LEN, &message, NULL) == 0) {
		bundle = (Bpfleet__V1__Bundle *)message;
		for (size_t i = 0; bundle->manifest != NULL && i < bundle->n_objects &&
				   i < bundle->manifest->n_objects;
		     i++) {
			struct digest *digest = arena_alloc(arena, sizeof(*digest));

			if (digest == NULL)
				return 0;
			digest_compute(bundle->objects[i]->elf.data, bundle->objects[i]->elf.len,
				       digest);
			bundle->manifest->objects[i]->digest.data = digest->bytes;
			bundle->manifest->objects[i]->digest.len = sizeof(digest->bytes);
			bundle->manifest->objects[i]->size_bytes = bundle->objects[i]->elf.len;
		}
		(void)!manifest_validate(bundle, &err);
	}
	return 0;
}
