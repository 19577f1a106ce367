/* The filters that generate.c makes of profiles.c when bpfleet is built. */
#pragma once

#include <linux/filter.h>

extern const struct sock_filter sandbox_filter_supervisor[], sandbox_filter_core[],
	sandbox_filter_front[], sandbox_filter_resolver[], sandbox_filter_netns[];
extern const unsigned short sandbox_filter_supervisor_len, sandbox_filter_core_len,
	sandbox_filter_front_len, sandbox_filter_resolver_len, sandbox_filter_netns_len;

/* 1 in a build with sanitizers, whose filters are wider and whose processes stay dumpable. */
extern const int sandbox_sanitized;

/* 1 once this process is locked in. */
extern int sandbox_entered;
