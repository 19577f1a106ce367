/*
 * Server reflection, v1 and v1alpha, as service tables, so that stock tools
 * (grpcurl and the like) can call a server without its .proto files. The
 * descriptors come from protoc's descriptor set.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;
struct rpc_reflection;
struct rpc_service;

/*
 * Answers from a serialised FileDescriptorSet (protoc --descriptor_set_out
 * --include_imports), borrowed until freed, and lists the n services by their
 * names. Errors: INVALID_ARGUMENT (not such a set), OUT_OF_MEMORY.
 */
_must_check_ int rpc_reflection_new(const uint8_t *descriptor_set, size_t n_descriptor_set,
				    const char *const *services, size_t n_services,
				    struct rpc_reflection **ret, struct error *err);
/* After the last connection that serves it has closed. NULL is fine. */
void rpc_reflection_free(struct rpc_reflection *reflection);
DEFINE_CLEANUP(struct rpc_reflection, rpc_reflection_free)

const struct rpc_service *rpc_reflection_v1(const struct rpc_reflection *reflection);
const struct rpc_service *rpc_reflection_v1alpha(const struct rpc_reflection *reflection);

/* The set of all .proto files of bpfleet and of health and reflection, embedded
 * at build. */
extern const uint8_t rpc_descriptor_set[];
extern const size_t rpc_descriptor_set_size;
