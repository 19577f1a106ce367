/* Lists and single objects: one row a kind, one function for all. */
#include "base/error.h"
#include "client/lib.h"
#include "client/ref.h"

struct kind {
	const char *list_method;
	const char *get_method;
	size_t size;
	int (*convert)(struct arena *arena, const ProtobufCMessage *base, void *ret,
		       struct error *err);
	/* The resource name from what the caller wrote. */
	int (*ref)(const char *text, char out[static REF_SIZE], struct error *err);
};

static const struct kind bundles = {
	"ListBundles", "GetBundle", sizeof(struct bpfleet_bundle), lib_bundle, ref_bundle,
};
static const struct kind instances = {
	"ListInstances", "GetInstance", sizeof(struct bpfleet_instance), lib_instance, ref_instance,
};
static const struct kind programs = {
	"ListPrograms", "GetProgram", sizeof(struct bpfleet_program), lib_program, ref_program,
};
static const struct kind links = {
	"ListLinks", "GetLink", sizeof(struct bpfleet_link), lib_link, ref_link,
};
static const struct kind maps = {
	"ListMaps", "GetMap", sizeof(struct bpfleet_map), lib_map, ref_map,
};

static int convert_all(const struct kind *kind, struct arena *arena, ProtobufCMessage **items,
		       size_t n, void **ret, struct error *err)
{
	char *out = lib_block(arena, n, kind->size);
	int r;

	if (out == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory for the answer");
	for (size_t i = 0; i < n; i++) {
		r = kind->convert(arena, items[i], out + i * kind->size, err);
		if (r < 0)
			return r;
	}
	*ret = out;
	return 0;
}

static int list(struct bpfleet *node, const struct kind *kind, ProtobufCMessage *request,
		const void **ret, size_t *ret_n, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	ProtobufCMessage **items;
	void *block;
	size_t n;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = node_list(node->node, kind->list_method, request, 0, arena, &items, &n, err);
	if (r < 0)
		return r;
	r = convert_all(kind, arena, items, n, &block, err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(arena);
	*ret = block;
	*ret_n = n;
	return 0;
}

/* All Get requests hold one string, and all their answers begin with the one object. */
struct get_request {
	ProtobufCMessage base;
	char *name;
};
struct get_response {
	ProtobufCMessage base;
	ProtobufCMessage *object;
};
_Static_assert(sizeof(struct get_request) == sizeof(Bpfleet__V1__GetMapRequest) &&
		       offsetof(struct get_request, name) ==
			       offsetof(Bpfleet__V1__GetMapRequest, name) &&
		       offsetof(struct get_request, name) ==
			       offsetof(Bpfleet__V1__GetBundleRequest, name) &&
		       offsetof(struct get_request, name) ==
			       offsetof(Bpfleet__V1__GetInstanceRequest, name) &&
		       offsetof(struct get_request, name) ==
			       offsetof(Bpfleet__V1__GetProgramRequest, name) &&
		       offsetof(struct get_request, name) ==
			       offsetof(Bpfleet__V1__GetLinkRequest, name),
	       "Get requests");
_Static_assert(offsetof(struct get_response, object) ==
			       offsetof(Bpfleet__V1__GetMapResponse, map) &&
		       offsetof(struct get_response, object) ==
			       offsetof(Bpfleet__V1__GetBundleResponse, bundle) &&
		       offsetof(struct get_response, object) ==
			       offsetof(Bpfleet__V1__GetInstanceResponse, instance) &&
		       offsetof(struct get_response, object) ==
			       offsetof(Bpfleet__V1__GetProgramResponse, program) &&
		       offsetof(struct get_response, object) ==
			       offsetof(Bpfleet__V1__GetLinkResponse, link),
	       "Get answers");

static int get(struct bpfleet *node, const struct kind *kind, const char *text,
	       const ProtobufCMessageDescriptor *descriptor, const void **ret, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	struct get_request request = { .base = { .descriptor = descriptor } };
	ProtobufCMessage *response;
	char name[REF_SIZE];
	void *block;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = kind->ref(text, name, err);
	if (r < 0)
		return r;
	request.name = name;
	r = node_call(node->node, kind->get_method, &request.base, arena, &response, err);
	if (r < 0)
		return r;
	if (((struct get_response *)response)->object == NULL)
		return error_raise(err, ERROR_PROTOCOL, "%s was answered without an object",
				   kind->get_method);
	r = convert_all(kind, arena, &((struct get_response *)response)->object, 1, &block, err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(arena);
	*ret = block;
	return 0;
}

int bpfleet_list_bundles(struct bpfleet *node, const struct bpfleet_bundle **ret_bundles,
			 size_t *ret_n, struct bpfleet_error *error)
{
	Bpfleet__V1__ListBundlesRequest request = BPFLEET__V1__LIST_BUNDLES_REQUEST__INIT;
	struct error err = { 0 };
	const void *block;
	int r;

	r = list(node, &bundles, &request.base, &block, ret_n, &err);
	if (r == 0)
		*ret_bundles = block;
	return lib_result(r, &err, error);
}

int bpfleet_list_instances(struct bpfleet *node, const char *bundle,
			   const struct bpfleet_instance **ret_instances, size_t *ret_n,
			   struct bpfleet_error *error)
{
	Bpfleet__V1__ListInstancesRequest request = BPFLEET__V1__LIST_INSTANCES_REQUEST__INIT;
	struct error err = { 0 };
	char name[REF_SIZE];
	const void *block;
	int r = 0;

	if (bundle != NULL) {
		r = ref_bundle(bundle, name, &err);
		request.bundle = name;
	}
	if (r == 0)
		r = list(node, &instances, &request.base, &block, ret_n, &err);
	if (r == 0)
		*ret_instances = block;
	return lib_result(r, &err, error);
}

int bpfleet_list_programs(struct bpfleet *node, const char *instance,
			  const struct bpfleet_program **ret_programs, size_t *ret_n,
			  struct bpfleet_error *error)
{
	Bpfleet__V1__ListProgramsRequest request = BPFLEET__V1__LIST_PROGRAMS_REQUEST__INIT;
	struct error err = { 0 };
	char name[REF_SIZE];
	const void *block;
	int r = 0;

	if (instance != NULL) {
		r = ref_instance(instance, name, &err);
		request.instance = name;
	}
	if (r == 0)
		r = list(node, &programs, &request.base, &block, ret_n, &err);
	if (r == 0)
		*ret_programs = block;
	return lib_result(r, &err, error);
}

int bpfleet_list_links(struct bpfleet *node, const char *instance,
		       const struct bpfleet_link **ret_links, size_t *ret_n,
		       struct bpfleet_error *error)
{
	Bpfleet__V1__ListLinksRequest request = BPFLEET__V1__LIST_LINKS_REQUEST__INIT;
	struct error err = { 0 };
	char name[REF_SIZE];
	const void *block;
	int r = 0;

	if (instance != NULL) {
		r = ref_instance(instance, name, &err);
		request.instance = name;
	}
	if (r == 0)
		r = list(node, &links, &request.base, &block, ret_n, &err);
	if (r == 0)
		*ret_links = block;
	return lib_result(r, &err, error);
}

int bpfleet_list_maps(struct bpfleet *node, const char *instance,
		      const struct bpfleet_map **ret_maps, size_t *ret_n,
		      struct bpfleet_error *error)
{
	Bpfleet__V1__ListMapsRequest request = BPFLEET__V1__LIST_MAPS_REQUEST__INIT;
	struct error err = { 0 };
	char name[REF_SIZE];
	const void *block;
	int r = 0;

	if (instance != NULL) {
		r = ref_instance(instance, name, &err);
		request.instance = name;
	}
	if (r == 0)
		r = list(node, &maps, &request.base, &block, ret_n, &err);
	if (r == 0)
		*ret_maps = block;
	return lib_result(r, &err, error);
}

int bpfleet_get_bundle(struct bpfleet *node, const char *bundle,
		       const struct bpfleet_bundle **ret_bundle, struct bpfleet_error *error)
{
	struct error err = { 0 };
	const void *block;
	int r;

	r = get(node, &bundles, bundle, &bpfleet__v1__get_bundle_request__descriptor, &block, &err);
	if (r == 0)
		*ret_bundle = block;
	return lib_result(r, &err, error);
}

int bpfleet_get_instance(struct bpfleet *node, const char *instance,
			 const struct bpfleet_instance **ret_instance, struct bpfleet_error *error)
{
	struct error err = { 0 };
	const void *block;
	int r;

	r = get(node, &instances, instance, &bpfleet__v1__get_instance_request__descriptor, &block,
		&err);
	if (r == 0)
		*ret_instance = block;
	return lib_result(r, &err, error);
}

int bpfleet_get_program(struct bpfleet *node, const char *program,
			const struct bpfleet_program **ret_program, struct bpfleet_error *error)
{
	struct error err = { 0 };
	const void *block;
	int r;

	r = get(node, &programs, program, &bpfleet__v1__get_program_request__descriptor, &block,
		&err);
	if (r == 0)
		*ret_program = block;
	return lib_result(r, &err, error);
}

int bpfleet_get_link(struct bpfleet *node, const char *link, const struct bpfleet_link **ret_link,
		     struct bpfleet_error *error)
{
	struct error err = { 0 };
	const void *block;
	int r;

	r = get(node, &links, link, &bpfleet__v1__get_link_request__descriptor, &block, &err);
	if (r == 0)
		*ret_link = block;
	return lib_result(r, &err, error);
}

int bpfleet_get_map(struct bpfleet *node, const char *map, const struct bpfleet_map **ret_map,
		    struct bpfleet_error *error)
{
	struct error err = { 0 };
	const void *block;
	int r;

	r = get(node, &maps, map, &bpfleet__v1__get_map_request__descriptor, &block, &err);
	if (r == 0)
		*ret_map = block;
	return lib_result(r, &err, error);
}
