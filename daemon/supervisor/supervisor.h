/* bpfleetd after it has dropped its privileges: starts, restarts and serves core, starts front. */
#pragma once

#include "base/cleanup.h"

struct config;
struct error;
struct host;

/* Runs core and front until SIGTERM or SIGINT has ended them in order. */
int supervise(const struct config *config, const char *config_path, const struct host *host,
	      struct error *err) _must_check_;
