/* bundle.yaml laid over a manifest that the objects gave. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "bpfleet/v1/bundle.pb-c.h"
#include "bundle/build/infer.h"
#include "bundle/build/yaml.h"

struct arena;
struct error;

/* What bundle.yaml says about an object. */
struct apply_object {
	const char *name;
	const char *path;
	yaml_node_t *node;
};

/* The whole of a build, alive until the bundle is packed. */
struct apply {
	struct arena *arena;
	Bpfleet__V1__Manifest *manifest;
	struct apply_object *declared; /* arrays of BUNDLE_OBJECTS_MAX */
	size_t n_declared;
	struct infer_object *objects;
	size_t n_objects;
	Bpfleet__V1__Access default_access;
	/* Sections that speak about what the objects hold; NULL if not there. */
	yaml_node_t *programs, *maps, *parameters, *budgets, *metrics;
	bool has_version;
};

/* Reads everything that needs no object: name, version, which objects. Errors: CONFIG_INVALID. */
_must_check_ int apply_head(struct yaml *yaml, struct apply *apply, struct error *err);
/* Lays programs, maps and parameters over what was inferred. Errors: CONFIG_INVALID. */
_must_check_ int apply_body(struct yaml *yaml, struct apply *apply, struct error *err);

/* The parts of the body, each in a file of its own. */
_must_check_ int apply_programs(struct yaml *yaml, struct apply *apply, struct error *err);
_must_check_ int apply_maps(struct yaml *yaml, struct apply *apply, struct error *err);
_must_check_ int apply_cost(struct yaml *yaml, struct apply *apply, struct error *err);
_must_check_ int apply_parameters(struct yaml *yaml, struct apply *apply, struct error *err);

/* Copies the text of a node into the arena. */
_must_check_ int apply_text(struct yaml *yaml, yaml_node_t *node, struct arena *arena, char **ret,
			    struct error *err);
/* The opened object of a name; never NULL for names out of the manifest. */
const struct infer_object *apply_object(const struct apply *apply, const char *name);
/* CONFIG_INVALID: the objects hold no such program, map or parameter; "did you mean". */
int apply_unknown(struct yaml *yaml, yaml_node_t *node, const char *what, const char *name,
		  const char *const *names, size_t n_names, struct error *err);
