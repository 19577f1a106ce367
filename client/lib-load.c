#include <string.h>

#include "base/error.h"
#include "client/lib.h"
#include "client/ref.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

int lib_parameters(struct arena *arena, const struct bpfleet_parameter *parameters, size_t n,
		   Bpfleet__V1__Parameter ***ret, struct error *err)
{
	Bpfleet__V1__Parameter *rows, **pointers;

	rows = arena_alloc(arena, (n + 1) * sizeof(*rows));
	pointers = arena_alloc(arena, (n + 1) * sizeof(Bpfleet__V1__Parameter *));
	if (rows == NULL || pointers == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		bpfleet__v1__parameter__init(&rows[i]);
		rows[i].name = (char *)parameters[i].name;
		rows[i].value = (char *)parameters[i].value;
		pointers[i] = &rows[i];
	}
	*ret = pointers;
	return 0;
}

static int convert(struct arena *arena, const Bpfleet__V1__LoadResponse *response,
		   const struct bpfleet_loaded **ret, struct error *err)
{
	struct bpfleet_loaded *loaded = lib_block(arena, 1, sizeof(*loaded));
	struct bpfleet_instance *instance = arena_alloc(arena, sizeof(*instance));
	struct bpfleet_program *programs =
		arena_alloc(arena, (response->n_programs + 1) * sizeof(*programs));
	struct bpfleet_link *links = arena_alloc(arena, (response->n_links + 1) * sizeof(*links));
	int r;

	if (loaded == NULL || instance == NULL || programs == NULL || links == NULL)
		return no_memory(err);
	if (response->instance != NULL) {
		r = lib_instance(arena, &response->instance->base, instance, err);
		if (r < 0)
			return r;
		loaded->instance = instance;
	}
	for (size_t i = 0; i < response->n_programs; i++) {
		r = lib_program(arena, &response->programs[i]->base, &programs[i], err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < response->n_links; i++) {
		r = lib_link(arena, &response->links[i]->base, &links[i], err);
		if (r < 0)
			return r;
	}
	loaded->programs = programs;
	loaded->n_programs = response->n_programs;
	loaded->links = links;
	loaded->n_links = response->n_links;
	if (response->lease_token.len == sizeof(loaded->lease_token))
		memcpy(loaded->lease_token, response->lease_token.data,
		       sizeof(loaded->lease_token));
	*ret = loaded;
	return 0;
}

static int load(struct bpfleet *node, const char *bundle,
		const struct bpfleet_load_options *options, const struct bpfleet_loaded **ret,
		struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_bundle(bundle, name, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = lib_parameters(arena, options->parameters, options->n_parameters,
				   &request.parameters, err);
	if (r < 0)
		return r;
	request.n_parameters = options->n_parameters;
	request.bundle = name;
	request.request_id = request_id;
	request.durability = (Bpfleet__V1__Durability)options->durability;
	if (options->label != NULL)
		request.label = (char *)options->label;
	request.validate_only = options->validate_only;
	request.lease_ttl_ns = options->lease_ttl_ns;
	request.attach_defaults = options->attach_defaults;
	r = node_call(node->node, "Load", &request.base, arena, &response, err);
	if (r < 0)
		return r;
	r = convert(arena, (const Bpfleet__V1__LoadResponse *)response, ret, err);
	if (r == 0)
		(void)TAKE_PTR(arena);
	return r;
}

int bpfleet_load(struct bpfleet *node, const char *bundle,
		 const struct bpfleet_load_options *options,
		 const struct bpfleet_loaded **ret_loaded, struct bpfleet_error *error)
{
	struct bpfleet_load_options all = BPFLEET_LOAD_OPTIONS_INIT;
	struct error err = { 0 };
	int r;

	r = lib_options(&all, sizeof(all), options, &err);
	if (r == 0)
		r = load(node, bundle, &all, ret_loaded, &err);
	return lib_result(r, &err, error);
}
