#include <string.h>

#include "base/error.h"
#include "daemon/core/convert.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"
#include "store/bundles.h"

#define CHANGES_AT_ONCE 256u

/* Fills in an object as it is now. Returns 1, 0 if it is gone or may not be seen, or an error. */
static int fill_bundle(struct request *request, const struct resource_name *name,
		       Bpfleet__V1__Change *change, struct error *err)
{
	const uint32_t version[3] = { name->bundle.version.major, name->bundle.version.minor,
				      name->bundle.version.patch };
	_cleanup_free_ struct store_bundle *row = NULL;
	int r;

	if (!request_may_view(request, name->bundle.name, NULL))
		return 0;
	r = store_bundle_get(request->core->store, name->bundle.name, version, &row, err);
	if (r < 0)
		return r;
	change->object_case = BPFLEET__V1__CHANGE__OBJECT_BUNDLE;
	r = convert_bundle(request->core, request->arena, row, &change->bundle, err);
	return r < 0 ? r : 1;
}

static int fill_link(struct request *request, const struct resource_name *name,
		     Bpfleet__V1__Change *change, struct error *err)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_link *row = NULL;
	int r = store_link_get(request->core->store, name->id, &row, err);

	if (r >= 0)
		r = store_instance_get(request->core->store, row->instance, &instance, err);
	if (r < 0)
		return r;
	if (!request_may_view(request, instance->bundle_name, instance->owner))
		return 0;
	change->object_case = BPFLEET__V1__CHANGE__OBJECT_LINK;
	r = convert_link(request->arena, row, &change->link, err);
	return r < 0 ? r : 1;
}

static int fill_part(struct request *request, const struct resource_name *name,
		     Bpfleet__V1__Change *change, struct error *err)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	struct core *core = request->core;
	int r = store_instance_get(core->store, name->id, &instance, err);

	if (r < 0)
		return r;
	if (!request_may_view(request, instance->bundle_name, instance->owner))
		return 0;
	if (name->kind == RESOURCE_INSTANCE) {
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_INSTANCE;
		r = convert_instance(core, request->arena, instance, &change->instance, err);
	} else if (name->kind == RESOURCE_PROGRAM) {
		r = store_program_get(core->store, name->id, name->member, &program, err);
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_PROGRAM;
		if (r >= 0)
			r = convert_program(request->arena, program, &change->program, err);
	} else {
		r = store_map_get(core->store, name->id, name->member, &map, err);
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_MAP;
		if (r >= 0)
			r = convert_map(core, request->arena, map, &change->map, err);
	}
	return r < 0 ? r : 1;
}

/*
 * Of what is gone only the name is left. The ids of instances and links are random and say nothing;
 * the name of a bundle is shown to those who might have seen it; parts go with their instance.
 */
static int fill_deleted(struct request *request, const struct resource_name *name, const char *text,
			Bpfleet__V1__Change *change, struct error *err)
{
	struct arena *arena = request->arena;
	char *copy = convert_text(arena, text);

	change->kind = BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED;
	if (name->kind == RESOURCE_INSTANCE) {
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_INSTANCE;
		change->instance = arena_alloc(arena, sizeof(*change->instance));
		if (change->instance != NULL && copy != NULL) {
			bpfleet__v1__instance__init(change->instance);
			change->instance->name = copy;
			return 1;
		}
	} else if (name->kind == RESOURCE_LINK) {
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_LINK;
		change->link = arena_alloc(arena, sizeof(*change->link));
		if (change->link != NULL && copy != NULL) {
			bpfleet__v1__link__init(change->link);
			change->link->name = copy;
			return 1;
		}
	} else if (name->kind == RESOURCE_BUNDLE &&
		   request_may_view(request, name->bundle.name, NULL)) {
		change->object_case = BPFLEET__V1__CHANGE__OBJECT_BUNDLE;
		change->bundle = arena_alloc(arena, sizeof(*change->bundle));
		if (change->bundle != NULL && copy != NULL) {
			bpfleet__v1__bundle_info__init(change->bundle);
			change->bundle->name = copy;
			return 1;
		}
	} else {
		return 0;
	}
	return error_raise(err, ERROR_OUT_OF_MEMORY, "list changes");
}

static int fill(struct request *request, const struct store_change *row,
		Bpfleet__V1__Change *change, struct error *err)
{
	struct resource_name name;
	int r = resource_parse(row->name, &name, err);

	if (r < 0)
		return r;
	change->revision = row->revision;
	change->kind = BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_PUT;
	if (row->deleted)
		return fill_deleted(request, &name, row->name, change, err);
	if (name.kind == RESOURCE_BUNDLE)
		r = fill_bundle(request, &name, change, err);
	else if (name.kind == RESOURCE_LINK)
		r = fill_link(request, &name, change, err);
	else
		r = fill_part(request, &name, change, err);
	/* Gone since: its own change follows. */
	return r < 0 && err->code == ERROR_NOT_FOUND ? 0 : r;
}

static bool changes_again(const struct store_change *rows, size_t i, size_t n)
{
	for (size_t k = i + 1; k < n; k++) {
		if (rows[k].kind == rows[i].kind && strcmp(rows[k].name, rows[i].name) == 0)
			return true;
	}
	return false;
}

int serve_changes(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__ChangesRequest *message = (const void *)request->message;
	Bpfleet__Ipc__ChangesReply *reply = arena_alloc(request->arena, sizeof(*reply));
	_cleanup_free_ struct store_change *rows = NULL;
	size_t n = 0;
	int r = 0;

	if (reply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list changes");
	bpfleet__ipc__changes_reply__init(reply);
	reply->revision = store_revision(request->core->store);
	*ret_response = &reply->base;
	if (message->since_revision == 0)
		return REQUEST_DONE;
	r = store_change_list(request->core->store, message->since_revision, CHANGES_AT_ONCE, &rows,
			      &n, err);
	if (r < 0)
		return r;
	reply->changes = arena_alloc(request->arena, n * sizeof(*reply->changes));
	reply->more = n == CHANGES_AT_ONCE;
	if (n > 0)
		reply->revision = rows[n - 1].revision;
	for (size_t i = 0; i < n; i++) {
		Bpfleet__V1__Change *change = arena_alloc(request->arena, sizeof(*change));

		if (reply->changes == NULL || change == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "list changes");
		if (changes_again(rows, i, n))
			continue;
		bpfleet__v1__change__init(change);
		r = fill(request, &rows[i], change, err);
		if (r < 0)
			return r;
		if (r > 0)
			reply->changes[reply->n_changes++] = change;
	}
	return REQUEST_DONE;
}
