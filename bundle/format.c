#include "bundle/format.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/error.h"
#include "proto/arena.h"

static const uint8_t magic[8] = { 0x89, 'B', 'P', 'F', 'L', 'E', 'E', 'T' };

static uint32_t load_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_le32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

void digest_compute(const uint8_t *bytes, size_t n, struct digest *ret)
{
	/* Chooses fast code for this CPU; if it cannot, the portable code hashes as well. */
	int r = sodium_init();

	(void)r;
	(void)crypto_generichash(ret->bytes, sizeof(ret->bytes), bytes, n, NULL, 0);
}

static const char *kind_name(uint32_t kind)
{
	switch (kind) {
	case SIGNED_BUNDLE:
		return "a bundle";
	case SIGNED_KEY_SET:
		return "a key set";
	case SIGNED_REVOCATION_LIST:
		return "a revocation list";
	case SIGNED_ROLLBACK_PERMIT:
		return "a rollback permit";
	default:
		return "of a kind that this version does not know";
	}
}

static int check_header(const uint8_t *bytes, size_t n, struct error *err)
{
	uint32_t kind, version;

	if (n > BUNDLE_SIZE_MAX)
		return error_raise(err, ERROR_BUNDLE_TOO_LARGE,
				   "the bundle has %zu bytes; at most %zu are allowed", n,
				   BUNDLE_SIZE_MAX);
	if (n < BUNDLE_HEADER_LEN || memcmp(bytes, magic, sizeof(magic)) != 0)
		return error_raise(err, ERROR_BUNDLE_MALFORMED,
				   "these %zu bytes do not begin with the header of a bundle", n);
	kind = load_le32(bytes + 8);
	version = load_le32(bytes + 12);
	if (kind != SIGNED_BUNDLE)
		return error_raise(err, ERROR_BUNDLE_MALFORMED, "this file is %s, not a bundle",
				   kind_name(kind));
	if (version != BUNDLE_FORMAT_VERSION)
		return error_raise(
			err, ERROR_BUNDLE_MALFORMED,
			"the bundle has format version %u; this bpfleet reads version %d", version,
			BUNDLE_FORMAT_VERSION);
	return 0;
}

int bundle_parse(struct arena *arena, const uint8_t *bytes, size_t n, Bpfleet__V1__Bundle **ret,
		 struct error *err)
{
	struct error inner = { 0 };
	ProtobufCMessage *message;
	Bpfleet__V1__Bundle *bundle;
	int r;

	r = check_header(bytes, n, err);
	if (r < 0)
		return r;
	r = arena_unpack(arena, &bpfleet__v1__bundle__descriptor, bytes + BUNDLE_HEADER_LEN,
			 n - BUNDLE_HEADER_LEN, &message, &inner);
	if (r < 0)
		return error_raise(err, ERROR_BUNDLE_MALFORMED, "behind the header: %s",
				   inner.message);
	r = arena_refuse_unknown(message, err);
	if (r < 0)
		return r;
	/* Every second way to write a message (a field twice, a default, a long varint) is longer.
	 */
	if (protobuf_c_message_get_packed_size(message) != n - BUNDLE_HEADER_LEN)
		return error_raise(
			err, ERROR_BUNDLE_MALFORMED,
			"behind the header: the message is not in its shortest encoding");
	bundle = (Bpfleet__V1__Bundle *)message;
	r = manifest_validate(bundle, err);
	if (r < 0)
		return r;
	*ret = bundle;
	return 0;
}

int bundle_pack(const Bpfleet__V1__Bundle *bundle, uint8_t **ret_bytes, size_t *ret_n,
		struct error *err)
{
	size_t n = BUNDLE_HEADER_LEN + bpfleet__v1__bundle__get_packed_size(bundle);
	uint8_t *bytes;
	int r;

	if (n > BUNDLE_SIZE_MAX)
		return error_raise(
			err, ERROR_BUNDLE_TOO_LARGE,
			"the bundle would have %zu bytes; at most %zu are allowed (strip "
			"the objects with `llvm-strip -g`)",
			n, BUNDLE_SIZE_MAX);
	r = manifest_validate(bundle, err);
	if (r < 0)
		return r;
	bytes = malloc(n);
	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a bundle of %zu bytes",
				   n);
	memcpy(bytes, magic, sizeof(magic));
	store_le32(bytes + 8, SIGNED_BUNDLE);
	store_le32(bytes + 12, BUNDLE_FORMAT_VERSION);
	(void)bpfleet__v1__bundle__pack(bundle, bytes + BUNDLE_HEADER_LEN);
	*ret_bytes = bytes;
	*ret_n = n;
	return 0;
}

const Bpfleet__V1__ProgramSpec *manifest_program(const Bpfleet__V1__Manifest *manifest,
						 const char *name)
{
	for (size_t i = 0; i < manifest->n_programs; i++) {
		if (strcmp(manifest->programs[i]->name, name) == 0)
			return manifest->programs[i];
	}
	return NULL;
}

const Bpfleet__V1__MapSpec *manifest_map(const Bpfleet__V1__Manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->n_maps; i++) {
		if (strcmp(manifest->maps[i]->name, name) == 0)
			return manifest->maps[i];
	}
	return NULL;
}

const Bpfleet__V1__ParameterSpec *manifest_parameter(const Bpfleet__V1__Manifest *manifest,
						     const char *name)
{
	for (size_t i = 0; i < manifest->n_parameters; i++) {
		if (strcmp(manifest->parameters[i]->name, name) == 0)
			return manifest->parameters[i];
	}
	return NULL;
}

const Bpfleet__V1__Object *bundle_object(const Bpfleet__V1__Bundle *bundle, const char *name)
{
	for (size_t i = 0; i < bundle->n_objects; i++) {
		if (strcmp(bundle->objects[i]->name, name) == 0)
			return bundle->objects[i];
	}
	return NULL;
}
