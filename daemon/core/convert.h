/* Rows of the store as messages of the API, in the caller's arena. NULL: out of memory. */
#pragma once

#include <stddef.h>

#include "bpfleet/v1/node.pb-c.h"
#include "store/audit.h"
#include "store/bundles.h"
#include "store/instances.h"

struct arena;
struct core;
struct error;

/* A copy of a text that may be NULL; "" shares protobuf-c's empty string. */
char *convert_text(struct arena *arena, const char *text);
_must_check_ int convert_bytes(struct arena *arena, const void *bytes, size_t n,
			       ProtobufCBinaryData *ret, struct error *err);

/* With the signers and what the trust in force says of it today. */
_must_check_ int convert_bundle(struct core *core, struct arena *arena,
				const struct store_bundle *row, Bpfleet__V1__BundleInfo **ret,
				struct error *err);
/* With its parameters. */
_must_check_ int convert_instance(struct core *core, struct arena *arena,
				  const struct store_instance *row, Bpfleet__V1__Instance **ret,
				  struct error *err);
_must_check_ int convert_program(struct arena *arena, const struct store_program *row,
				 Bpfleet__V1__Program **ret, struct error *err);
_must_check_ int convert_map(const struct core *core, struct arena *arena,
			     const struct store_map *row, Bpfleet__V1__Map **ret,
			     struct error *err);
_must_check_ int convert_link(struct arena *arena, const struct store_link *row,
			      Bpfleet__V1__Link **ret, struct error *err);
_must_check_ int convert_audit(struct arena *arena, const struct store_audit *row,
			       Bpfleet__V1__AuditRow **ret, struct error *err);

/* "NAME@1.2.3" resource of a bundle row. */
char *convert_bundle_name(struct arena *arena, const char *name, const uint32_t version[static 3]);
