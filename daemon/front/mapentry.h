/*
 * Keys and entries of maps as clients write and read them: text to bytes, bytes to JSON, for every
 * form of key and value that bundle/map-type.h knows.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct decoder;
struct error;
struct grant;
struct map_type;
struct str;
struct symbols;

/*
 * A key, in the arena, from what a client typed: of a bloom filter the value that is asked for, of
 * a task its process id, of a cgroup its path. Errors: INVALID_KEY, OUT_OF_MEMORY.
 */
_must_check_ int mapentry_key(const struct map_type *type, const struct decoder *decoder,
			      const char *text, struct arena *arena, ProtobufCBinaryData *ret,
			      struct error *err);

/*
 * An entry of UpdateMap, in the arena, from one line of a dump; of a data section also
 * {"key":"VARIABLE","value":...}, of maps that hold maps or programs {"value":{"map":NAME}} or
 * {"value":{"program":NAME}}. Errors: as mapentry_key(), KEY_NOT_IN_MAP (no such variable).
 */
_must_check_ int mapentry_parse(const struct map_type *type, const struct decoder *decoder,
				const char *line, struct arena *arena, Bpfleet__V1__MapEntry **ret,
				struct error *err);

/*
 * Appends {"key":...,"value":...}; key NULL and value NULL are left out. symbols: for stacks, NULL
 * without. -ENOMEM or 0.
 */
int mapentry_json(struct grant *grant, const struct decoder *decoder, const struct symbols *symbols,
		  const ProtobufCBinaryData *key, const uint8_t *value, struct str *out);
