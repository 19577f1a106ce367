/* A daemon of the bench, installed elsewhere, with its state below a folder of its own. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <protobuf-c/protobuf-c.h>

#include "base/cleanup.h"
#include "client/bpfleet.h"

struct error;
struct rpc_channel;
struct signing;

struct daemon {
	char folder[128];
	char socket[160];
	pid_t supervisor;
	struct bpfleet *client;
	struct rpc_channel *channel; /* for what libbpfleet does not do: health, raw calls */
};

/*
 * Starts bpfleetd of the installation at prefix with everything below folder, pushes the bundles,
 * and returns when it serves. daemon_stop() it.
 */
_must_check_ int daemon_start(const char *prefix, const char *folder, const struct signing *signing,
			      struct daemon *ret, struct error *err);
void daemon_stop(struct daemon *daemon);

/* Loads the trivial program until n instances of it are there. */
_must_check_ int daemon_fill(struct daemon *daemon, size_t n, struct error *err);

/* The pid of a process that the supervisor started, or -1. */
pid_t daemon_child(const struct daemon *daemon, const char *name);

/* Resident and proportional memory of its three processes, bytes. */
_must_check_ int daemon_memory(const struct daemon *daemon, uint64_t *ret_rss, uint64_t *ret_pss,
			       struct error *err);

/* One more connection, as another client. bpfleet_close() it. */
_must_check_ int daemon_connect(const struct daemon *daemon, struct bpfleet **ret,
				struct error *err);

/* One unary call of NodeService on daemon->channel; what it answers is dropped. */
_must_check_ int daemon_call(struct daemon *daemon, const char *method,
			     const ProtobufCMessage *request, struct error *err);

/* One grpc.health Check on daemon->channel. */
_must_check_ int daemon_check_health(struct daemon *daemon, struct error *err);

/* One GetStatus on a new connection. */
_must_check_ int daemon_probe(const struct daemon *daemon, struct error *err);

/* Turns a failed call of libbpfleet into an error. */
int daemon_failed(int r, const struct bpfleet_error *failure, const char *what, struct error *err);
