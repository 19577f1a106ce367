/*
 * User and group names from /etc/passwd and /etc/group alone: NSS would load modules and open
 * sockets in processes that must do neither.
 */
#pragma once

#include <sys/types.h>

#include "base/cleanup.h"

/* A user's uid and primary gid; -ENOENT if the file has no such user. */
int names_user(const char *name, uid_t *ret_uid, gid_t *ret_gid) _must_check_;

/* A group's gid; -ENOENT if the file has no such group. */
int names_group(const char *name, gid_t *ret_gid) _must_check_;
