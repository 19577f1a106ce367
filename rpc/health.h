/*
 * grpc.health.v1.Health (Check and Watch) as a service table, for stock health
 * probes. Clients may ask for the services that have been set; "" stands for
 * the whole server. Loop thread.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"

struct error;
struct rpc_health;
struct rpc_service;

/* A new table of statuses in which nothing is known yet. Errors: OUT_OF_MEMORY.
 */
_must_check_ int rpc_health_new(struct rpc_health **ret, struct error *err);
/* After the last connection that serves it has closed. NULL is fine. */
void rpc_health_free(struct rpc_health *health);
DEFINE_CLEANUP(struct rpc_health, rpc_health_free)

/* Says whether a service serves; watchers are told of a change. Errors:
 * OUT_OF_MEMORY. */
_must_check_ int rpc_health_set(struct rpc_health *health, const char *service, bool serving,
				struct error *err);

const struct rpc_service *rpc_health_service(const struct rpc_health *health);
