/* Pushing a bundle file, for `push` and for `run FILE`. */
#pragma once

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"

struct arena;
struct cli;
struct error;

/* Connects, reads the file and its signatures, sends them; the answer lives in the arena. */
_must_check_ int push_file(struct cli *cli, const char *path, struct arena *arena,
			   Bpfleet__V1__PushBundleResponse **ret, struct error *err);

/* "pushed NAME@VERSION (14.2 KiB), signed by ..." */
_must_check_ int push_say(const struct cli *cli, const Bpfleet__V1__PushBundleResponse *response,
			  struct error *err);
