/* A manifest for people: description, requirements, programs, maps and parameters as tables. */
#pragma once

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"

struct cli;
struct error;

_must_check_ int manifest_view_print(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
				     struct error *err);
