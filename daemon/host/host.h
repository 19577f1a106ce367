/*
 * What bpfleetd does to the host as root before it drops its privileges and listens to core, and
 * the off switch, which runs instead of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/config/config.h"

struct error;

/* What is opened as root, before privileges go. All CLOEXEC; -1: not there. */
struct host {
	int state_fd;	  /* state directory, holds the lock; core inherits it */
	int bpffs_fd;	  /* directory of the pins, locked too; core's working directory */
	int listen_fd;	  /* gRPC */
	int fdservice_fd; /* FdService */
	int notify_fd;	  /* the service manager's socket */
	int kallsyms_fd;
	int tracefs_fd;	       /* its directory events/ */
	bool sockets_are_ours; /* else the service manager's, which stay */
};

/* Directories, bpffs, tracefs, lock, sockets, pid file. Raises UNAVAILABLE when locked, IO. */
int host_prepare(const struct config *config, struct host *ret, struct error *err) _must_check_;

/* Locks state and bpffs directory of one daemon; retries until the deadline. UNAVAILABLE. */
int host_lock(const struct host *host, uint64_t deadline, struct error *err) _must_check_;

/* Opens a directory of uid's with mode 0700 or 0755, made if missing. IO. */
int host_open_folder(const char *path, uid_t uid, gid_t gid, mode_t mode, int *ret_fd,
		     struct error *err) _must_check_;

void host_notify(const struct host *host, const char *text);

/*
 * Id of the tracepoint category:name, each at most max bytes with its end. -EINVAL for what is no
 * name, -ENOENT for what does not exist.
 */
int host_tracepoint_id(const struct host *host, const char *category, const char *name, size_t max,
		       uint64_t *ret) _must_check_;

/* An fd that has the kernel count run time of programs until it is closed. Negative errno. */
int host_stats_fd(int *ret_fd) _must_check_;

/*
 * Starts bpfleet-netns. netns_fd: -1, then its pidfd; ret_fd: the other end of its pair. -EBUSY:
 * one runs, which is killed; else a negative errno.
 */
int host_netns_start(const struct config *config, int *netns_fd, int *ret_fd) _must_check_;
/* To be called when the pidfd says that it ended, which is -1 then. */
void host_netns_ended(int *netns_fd);

/*
 * The owner's off switch: marks the host held, ends a running daemon, removes every pin of ours.
 * Needs no database, no disk space, no core and no front.
 */
int detach_all(const struct config *config, struct error *err) _must_check_;

/* Takes the mark away; the next start applies recorded state again. */
int detach_resume(const struct config *config, struct error *err) _must_check_;
