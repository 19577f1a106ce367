/*
 * The daemon's configuration, /etc/bpfleet/bpfleetd.yaml: where things are, under which uids the
 * processes run, and limits. Read by supervisor, core and front from the same root-owned file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/log.h"

struct error;
struct doc;

/* The path used when --config is not given. */
extern const char *const CONFIG_PATH_DEFAULT;

/* Bounds of what one daemon holds; every one can be set under `limits:`. */
struct config_limits {
	uint32_t n_connections;	     /* local clients at once; 256 */
	uint32_t n_calls;	     /* calls under way for each connection; 64 */
	uint32_t n_instances;	     /* 1024 */
	uint64_t bundles_size_bytes; /* all stored bundles together; 512 MiB */
	uint64_t n_audit_rows;	     /* 1,000,000 */
	uint32_t n_workers;	     /* threads of core for slow kernel work; 4 */
};

/* A name that the owner gives to things of this host; selectors use it: `labels: {uplink: [eth0]}`.
 */
struct config_label {
	char *name;
	char **values;
	size_t n_values;
};

/* When the kernel counts runs of programs, under `statistics:`. */
struct config_statistics {
	uint32_t window_ms; /* 1000 */
	uint32_t
		every_s; /* 30; 0: never by itself, so that nothing but memory is held to budgets */
};

/* All strings are set, absolute paths without a slash at the end. */
struct config {
	char *state_dir;    /* /var/lib/bpfleet; core's uid, 0700 */
	char *run_dir;	    /* /run/bpfleet; root's, 0755 */
	char *bpffs_dir;    /* /sys/fs/bpf/bpfleet; core's uid, 0700 */
	char *socket;	    /* run_dir/bpfleet.sock: gRPC */
	char *fd_socket;    /* run_dir/fd.sock: FdService */
	char *libexec_dir;  /* where bpfleet-core, bpfleet-front, bpfleet-resolver are */
	char *policy;	    /* policy.yaml beside the configuration file */
	char *trust;	    /* trust.yaml beside the configuration file */
	mode_t socket_mode; /* of both sockets; 0666: policy decides who may do what */
	uid_t core_uid;
	gid_t core_gid;
	uid_t front_uid; /* never core_uid, neither is ever 0 */
	gid_t front_gid;
	enum log_level log_level;
	struct config_limits limits;
	struct config_label *labels;
	size_t n_labels;
	struct config_statistics statistics;
};

/*
 * Reads a configuration file (see deploy/etc/bpfleetd.yaml for every key). User and group names are
 * looked up in /etc/passwd and /etc/group alone, without NSS. Raises CONFIG_INVALID. Returns new.
 */
int config_load(const char *path, struct config **ret, struct error *err) _must_check_;

/* The same from a parsed tree; files beside `path` are the defaults of policy and trust. */
int config_from_doc(const struct doc *doc, const char *path, struct config **ret,
		    struct error *err) _must_check_;

void config_free(struct config *config);
DEFINE_CLEANUP(struct config, config_free)

/* Reads the policy and trust files that config names, to say what is wrong. CONFIG_INVALID. */
int config_check(const struct config *config, struct error *err) _must_check_;

/*
 * True while `bpfleetd --detach-all` holds this host: state_dir/held exists (run_dir/held where the
 * state directory could not be written). Core then starts without applying recorded state.
 */
bool config_is_held(const struct config *config);
