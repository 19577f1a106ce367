/* How the memfd of daemon/config/settings.h begins; the offsets of pointers come last. */
#pragma once

#include <stdint.h>

#include "base/version.h"
#include "daemon/config/settings.h"

struct settings_image {
	char version[24];      /* BPFLEET_VERSION */
	uint64_t struct_bytes; /* SETTINGS_STRUCT_BYTES */
	uint64_t size;	       /* of the whole */
	uint64_t pointers;     /* where the n_pointers offsets are, each a uint64_t */
	uint64_t n_pointers;
	struct settings settings;
};

#define SETTINGS_STRUCT_BYTES                                                            \
	(sizeof(struct settings_image) + sizeof(struct config) + sizeof(struct policy) + \
	 sizeof(struct policy_row) + sizeof(struct trust_file) + sizeof(struct trust_file_key))
