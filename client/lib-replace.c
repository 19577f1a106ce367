/* Versions of an instance: replace, rollback, commit. */
#include "base/error.h"
#include "client/lib.h"
#include "client/ref.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

static int convert(struct arena *arena, const Bpfleet__V1__ReplaceResponse *response,
		   const struct bpfleet_replaced **ret, struct error *err)
{
	struct bpfleet_replaced *replaced = lib_block(arena, 1, sizeof(*replaced));
	struct bpfleet_instance *instance = arena_alloc(arena, sizeof(*instance));
	struct bpfleet_link *links = arena_alloc(arena, (response->n_links + 1) * sizeof(*links));
	struct bpfleet_map_replacement *maps =
		arena_alloc(arena, (response->n_maps + 1) * sizeof(*maps));
	int r;

	if (replaced == NULL || instance == NULL || links == NULL || maps == NULL)
		return no_memory(err);
	if (response->instance == NULL)
		return error_raise(err, ERROR_PROTOCOL, "the answer lacks the instance");
	r = lib_instance(arena, &response->instance->base, instance, err);
	for (size_t i = 0; r == 0 && i < response->n_links; i++)
		r = lib_link(arena, &response->links[i]->base, &links[i], err);
	for (size_t i = 0; i < response->n_maps; i++) {
		const Bpfleet__V1__MapReplacement *map = response->maps[i];

		maps[i] = (struct bpfleet_map_replacement){
			.map = map->map,
			.outcome = (enum bpfleet_map_outcome)map->outcome,
			.difference = map->n_differences > 0 ? map->differences[0] : "",
			.n_entries = map->n_entries,
			.n_merged = map->n_merged,
			.window_ns = map->window_ns,
		};
	}
	*replaced = (struct bpfleet_replaced){ instance, links, response->n_links, maps,
					       response->n_maps };
	if (r == 0)
		*ret = replaced;
	return r;
}

static int replace(struct bpfleet *node, const char *instance, const char *bundle,
		   const struct bpfleet_replace_options *options,
		   const struct bpfleet_replaced **ret, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__ReplaceRequest request = BPFLEET__V1__REPLACE_REQUEST__INIT;
	char name[REF_SIZE], version[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	const Bpfleet__V1__ReplaceResponse *response;
	ProtobufCMessage *answer;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_instance(instance, name, err);
	if (r == 0)
		r = ref_bundle(bundle, version, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = lib_parameters(arena, options->parameters, options->n_parameters,
				   &request.parameters, err);
	if (r < 0)
		return r;
	request.instance = name;
	request.bundle = version;
	request.request_id = request_id;
	request.n_parameters = options->n_parameters;
	request.keep_parameters = !options->forget_parameters;
	request.reset_maps = (char **)(uintptr_t)options->reset_maps;
	request.n_reset_maps = options->n_reset_maps;
	request.soak_ns = options->soak_ns;
	request.validate_only = options->validate_only;
	r = node_call(node->node, "Replace", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__ReplaceResponse *)answer;
	if (response->refused_reason[0] != '\0') {
		enum error_code code = error_code_from_reason(response->refused_reason);

		return error_raise(err, code != ERROR_NONE ? code : ERROR_REPLACE_REFUSED, "%s",
				   response->refused_message);
	}
	if (ret == NULL)
		return 0;
	r = convert(arena, response, ret, err);
	if (r == 0)
		(void)TAKE_PTR(arena);
	return r;
}

int bpfleet_replace(struct bpfleet *node, const char *instance, const char *bundle,
		    const struct bpfleet_replace_options *options,
		    const struct bpfleet_replaced **ret_replaced, struct bpfleet_error *error)
{
	struct bpfleet_replace_options all = BPFLEET_REPLACE_OPTIONS_INIT;
	struct error err = { 0 };
	int r = lib_options(&all, sizeof(all), options, &err);

	if (r == 0)
		r = replace(node, instance, bundle, &all, ret_replaced, &err);
	return lib_result(r, &err, error);
}
