/*
 * Configuration, policy and trust as bpfleetd has read them, for core, which parses no text of
 * files: one memfd with the structs as they lie in memory, their pointers as offsets beside a list
 * of where they are. bpfleetd and core are of one build; what another one made is refused.
 */
#pragma once

#include "base/error.h"
#include "daemon/config/config.h"
#include "daemon/config/policy.h"
#include "daemon/config/trust_file.h"

struct settings {
	struct config *config;
	struct policy *policy; /* NULL, as trust is: one of the two files is not as it must be */
	struct trust_file *trust;
	struct error err; /* what is wrong with it */
};

/*
 * Reads policy and trust, and puts all into a memfd. Returns the fd, the caller's to close, or a
 * negative errno. For bpfleetd.
 */
_must_check_ int settings_pack(const struct config *config);

/*
 * Maps what settings_pack() made. Lives until settings_close(); the caller keeps the fd. Errors:
 * PROTOCOL (made by another build), IO.
 */
_must_check_ int settings_open(int fd, struct settings **ret, struct error *err);
void settings_close(struct settings *settings);
