#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/convert.h"
#include "daemon/core/methods.h"
#include "proto/arena.h"
#include "store/bundles.h"

#define PAGE_DEFAULT 100u
#define PAGE_MAX 1000u
/* Rows read from the store at once; what the caller may not see is passed over. */
#define ROWS_AT_ONCE 256u

/* A list being made: rows that may be seen, up to a page, then the token of the next one. */
struct page {
	struct request *request;
	struct store *store;
	const char *instance; /* whose rows alone; NULL: all */
	struct store_instance_filter filter;
	ProtobufCMessage **items;
	size_t n, size;
	char token[NAME_RESOURCE_MAX + 1]; /* key of the last row looked at */
	/* Programs, maps and links are seen by whoever may view their instance, which is asked once
	 * for each: its rows come one after the other. */
	char memo_id[NAME_LABEL_MAX + 1];
	bool memo_visible, memo_readable;
};

/* What a list consists of. */
struct view {
	const ProtobufCMessageDescriptor *response; /* first field: the items */
	bool by_id;				    /* the key is an id */
	size_t row_size;
	/* Up to ROWS_AT_ONCE rows behind the token: new (free()). */
	int (*read)(const struct page *page, void **ret_rows, size_t *ret_n, struct error *err);
	/* Sets the token to the row's key; *ret stays NULL where the caller may not see it. */
	int (*show)(struct page *page, const void *row, ProtobufCMessage **ret, struct error *err);
};

static int refuse_token(struct error *err)
{
	return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
}

static const char *after_key(const struct page *page)
{
	return page->token[0] == '\0' ? NULL : page->token;
}

/* Key "INSTANCE/ORDINAL" of the lists in the order of manifests; *ret NULL: from the start. */
static int after_position(const struct page *page, char id[static NAME_RESOURCE_MAX + 1],
			  struct store_position *position, struct store_position **ret,
			  struct error *err)
{
	uint64_t ordinal;
	char *slash;

	*ret = NULL;
	if (page->token[0] == '\0')
		return 0;
	(void)snprintf(id, NAME_RESOURCE_MAX + 1, "%s", page->token);
	slash = strchr(id, '/');
	if (slash == NULL || str_to_u64(slash + 1, UINT32_MAX, &ordinal) < 0)
		return refuse_token(err);
	*slash = '\0';
	if (!name_is_id(id))
		return refuse_token(err);
	*position = (struct store_position){ id, (uint32_t)ordinal };
	*ret = position;
	return 0;
}

static int instance_visible(struct page *page, const char *id, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int r;

	if (strcmp(page->memo_id, id) == 0)
		return page->memo_visible;
	r = store_instance_get(page->store, id, &row, err);
	if (r < 0)
		return r;
	(void)snprintf(page->memo_id, sizeof(page->memo_id), "%s", id);
	page->memo_visible = request_may_view(page->request, row->bundle_name, row->owner);
	page->memo_readable =
		request_may(page->request, POLICY_VERB_READ, row->bundle_name, row->owner);
	return page->memo_visible;
}

static int fill_page(struct page *page, const struct view *view, bool *ret_more, struct error *err)
{
	for (;;) {
		_cleanup_free_ void *rows = NULL;
		size_t n = 0;
		int r = view->read(page, &rows, &n, err);

		for (size_t i = 0; r >= 0 && i < n; i++) {
			ProtobufCMessage *item = NULL;

			if (page->n == page->size) {
				*ret_more = true;
				return 0;
			}
			r = view->show(page, (const char *)rows + i * view->row_size, &item, err);
			if (item != NULL)
				page->items[page->n++] = item;
		}
		if (r < 0 || n < ROWS_AT_ONCE)
			return r;
	}
}

/* Answers a List call; `page` has the filters. */
static int list(struct request *request, const struct view *view, struct page *page,
		uint32_t page_size, const char *token, ProtobufCMessage **ret, struct error *err)
{
	const ProtobufCFieldDescriptor *items = &view->response->fields[0];
	const ProtobufCFieldDescriptor *next =
		protobuf_c_message_descriptor_get_field_by_name(view->response, "next_page_token");
	char *response = request_response(request, view->response, err);
	bool more = false;
	int r;

	if (page_size > PAGE_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "page_size is at most %u",
				   PAGE_MAX);
	if (strlen(token) >= sizeof(page->token) ||
	    (view->by_id && token[0] != '\0' && !name_is_id(token)))
		return refuse_token(err);
	(void)snprintf(page->token, sizeof(page->token), "%s", token);
	page->request = request;
	page->store = request->core->store;
	page->size = page_size == 0 ? PAGE_DEFAULT : page_size;
	page->items = arena_alloc(request->arena, page->size * sizeof(*page->items));
	if (page->items == NULL || response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "a list of %zu", page->size);
	r = fill_page(page, view, &more, err);
	memcpy(response + items->quantifier_offset, &page->n, sizeof(page->n));
	memcpy(response + items->offset, &page->items, sizeof(page->items));
	if (more) {
		token = convert_text(request->arena, page->token);
		memcpy(response + next->offset, &token, sizeof(token));
	}
	*ret = (ProtobufCMessage *)(void *)response;
	return r;
}

/* ---- bundles */

static int read_bundles(const struct page *page, void **ret_rows, size_t *ret_n, struct error *err)
{
	struct resource_name after = { 0 };
	struct store_bundle *rows = NULL;
	uint32_t version[3];
	int r = 0;

	if (page->token[0] != '\0' &&
	    resource_parse_kind(page->token, RESOURCE_BUNDLE, &after, err) < 0)
		return refuse_token(err);
	version[0] = after.bundle.version.major;
	version[1] = after.bundle.version.minor;
	version[2] = after.bundle.version.patch;
	r = store_bundle_list(page->store, page->token[0] == '\0' ? NULL : after.bundle.name,
			      page->token[0] == '\0' ? NULL : version, ROWS_AT_ONCE, &rows, ret_n,
			      err);
	*ret_rows = rows;
	return r;
}

static int show_bundle(struct page *page, const void *item, ProtobufCMessage **ret,
		       struct error *err)
{
	const struct store_bundle *row = item;
	const struct version version = { row->version[0], row->version[1], row->version[2] };

	resource_format_bundle(row->name, &version, page->token);
	if (!request_may_view(page->request, row->name, NULL))
		return 0;
	return convert_bundle(page->request->core, page->request->arena, row,
			      (Bpfleet__V1__BundleInfo **)(void *)ret, err);
}

int serve_list_bundles(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	static const struct view view = { &bpfleet__v1__list_bundles_response__descriptor, false,
					  sizeof(struct store_bundle), read_bundles, show_bundle };
	const Bpfleet__V1__ListBundlesRequest *message = (const void *)request->message;
	struct page page = { 0 };

	return list(request, &view, &page, message->page_size, message->page_token, ret_response,
		    err);
}

/* ---- instances */

static int read_instances(const struct page *page, void **ret_rows, size_t *ret_n,
			  struct error *err)
{
	struct store_instance *rows = NULL;
	int r = store_instance_list(page->store, &page->filter, after_key(page), ROWS_AT_ONCE,
				    &rows, ret_n, err);

	*ret_rows = rows;
	return r;
}

static int show_instance(struct page *page, const void *item, ProtobufCMessage **ret,
			 struct error *err)
{
	const struct store_instance *row = item;

	(void)snprintf(page->token, sizeof(page->token), "%s", row->id);
	if (!request_may_view(page->request, row->bundle_name, row->owner))
		return 0;
	return convert_instance(page->request->core, page->request->arena, row,
				(Bpfleet__V1__Instance **)(void *)ret, err);
}

int serve_list_instances(struct request *request, ProtobufCMessage **ret_response,
			 struct error *err)
{
	static const struct view view = { &bpfleet__v1__list_instances_response__descriptor, true,
					  sizeof(struct store_instance), read_instances,
					  show_instance };
	const Bpfleet__V1__ListInstancesRequest *message = (const void *)request->message;
	struct page page = { 0 };
	struct resource_name bundle;
	uint32_t version[3];
	int r;

	if (message->bundle[0] != '\0') {
		r = resource_parse_kind(message->bundle, RESOURCE_BUNDLE, &bundle, err);
		if (r < 0)
			return r;
		page.filter.bundle_name = bundle.bundle.name;
		version[0] = bundle.bundle.version.major;
		version[1] = bundle.bundle.version.minor;
		version[2] = bundle.bundle.version.patch;
		page.filter.bundle_version = bundle.bundle.has_version ? version : NULL;
	}
	return list(request, &view, &page, message->page_size, message->page_token, ret_response,
		    err);
}

int serve_get_instance(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetInstanceRequest *message = (const void *)request->message;
	Bpfleet__V1__GetInstanceResponse *response =
		request_response(request, &bpfleet__v1__get_instance_response__descriptor, err);
	_cleanup_free_ struct store_instance *row = NULL;
	int r = request_find_named_instance(request, message->name, POLICY_VERB_VIEW, &row, err);

	if (response == NULL || r < 0)
		return response == NULL ? -ENOMEM : r;
	r = convert_instance(request->core, request->arena, row, &response->instance, err);
	*ret_response = &response->base;
	return r;
}

/* ---- what instances have */

/* A List call that may be of one instance alone. */
static int list_of(struct request *request, const struct view *view, const char *instance,
		   uint32_t page_size, const char *token, ProtobufCMessage **ret, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	struct page page = { 0 };
	int r = 0;

	if (instance[0] != '\0')
		r = request_find_named_instance(request, instance, POLICY_VERB_VIEW, &row, err);
	if (row != NULL)
		page.instance = row->id;
	return r < 0 ? r : list(request, view, &page, page_size, token, ret, err);
}

static int read_programs(const struct page *page, void **ret_rows, size_t *ret_n, struct error *err)
{
	struct store_position position, *after;
	struct store_program *rows = NULL;
	char id[NAME_RESOURCE_MAX + 1];
	int r = after_position(page, id, &position, &after, err);

	if (r >= 0)
		r = store_program_list(page->store, page->instance, after, ROWS_AT_ONCE, &rows,
				       ret_n, err);
	*ret_rows = rows;
	return r;
}

static int show_program(struct page *page, const void *item, ProtobufCMessage **ret,
			struct error *err)
{
	const struct store_program *row = item;
	int r = instance_visible(page, row->instance, err);

	(void)snprintf(page->token, sizeof(page->token), "%s/%u", row->instance, row->ordinal);
	if (r > 0)
		r = convert_program(page->request->arena, row, (Bpfleet__V1__Program **)(void *)ret,
				    err);
	return r;
}

int serve_list_programs(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	static const struct view view = { &bpfleet__v1__list_programs_response__descriptor, false,
					  sizeof(struct store_program), read_programs,
					  show_program };
	const Bpfleet__V1__ListProgramsRequest *message = (const void *)request->message;

	return list_of(request, &view, message->instance, message->page_size, message->page_token,
		       ret_response, err);
}

int serve_get_program(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetProgramRequest *message = (const void *)request->message;
	Bpfleet__V1__GetProgramResponse *response =
		request_response(request, &bpfleet__v1__get_program_response__descriptor, err);
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *row = NULL;
	struct resource_name name;
	int r = resource_parse_kind(message->name, RESOURCE_PROGRAM, &name, err);

	if (r >= 0)
		r = request_find_instance(request, name.id, POLICY_VERB_VIEW, &instance, err);
	if (r >= 0)
		r = store_program_get(request->core->store, instance->id, name.member, &row, err);
	if (response == NULL || r < 0)
		return response == NULL ? -ENOMEM : r;
	r = convert_program(request->arena, row, &response->program, err);
	*ret_response = &response->base;
	return r;
}

/* ---- maps */

static int read_maps(const struct page *page, void **ret_rows, size_t *ret_n, struct error *err)
{
	struct store_position position, *after;
	struct store_map *rows = NULL;
	char id[NAME_RESOURCE_MAX + 1];
	int r = after_position(page, id, &position, &after, err);

	if (r >= 0)
		r = store_map_list(page->store, page->instance, after, ROWS_AT_ONCE, &rows, ret_n,
				   err);
	*ret_rows = rows;
	return r;
}

static int show_map(struct page *page, const void *item, ProtobufCMessage **ret, struct error *err)
{
	const struct store_map *row = item;
	Bpfleet__V1__Map *map = NULL;
	int r = instance_visible(page, row->instance, err);

	(void)snprintf(page->token, sizeof(page->token), "%s/%u", row->instance, row->ordinal);
	if (r > 0)
		r = convert_map(page->request->core, page->request->arena, row, &map, err);
	if (map != NULL && !page->memo_readable)
		map->n_metrics = 0;
	*ret = (ProtobufCMessage *)map;
	return r;
}

int serve_list_maps(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	static const struct view view = { &bpfleet__v1__list_maps_response__descriptor, false,
					  sizeof(struct store_map), read_maps, show_map };
	const Bpfleet__V1__ListMapsRequest *message = (const void *)request->message;

	return list_of(request, &view, message->instance, message->page_size, message->page_token,
		       ret_response, err);
}

int serve_get_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetMapRequest *message = (const void *)request->message;
	Bpfleet__V1__GetMapResponse *response =
		request_response(request, &bpfleet__v1__get_map_response__descriptor, err);
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_bytes *btf = NULL;
	_cleanup_free_ struct store_map *row = NULL;
	int r = request_find_map(request, message->name, POLICY_VERB_VIEW, &instance, &row, err);

	if (response == NULL || r < 0)
		return response == NULL ? -ENOMEM : r;
	r = convert_map(request->core, request->arena, row, &response->map, err);
	if (r >= 0 &&
	    !request_may(request, POLICY_VERB_READ, instance->bundle_name, instance->owner))
		response->map->n_metrics = 0;
	if (r >= 0)
		r = store_btf_get(request->core->store, instance->digest, row->object, &btf, err);
	if (r >= 0)
		r = convert_bytes(request->arena, btf->data, btf->size, &response->btf, err);
	else if (err->code == ERROR_NOT_FOUND)
		r = 0;
	*ret_response = &response->base;
	return r;
}

/* ---- links */

static int read_links(const struct page *page, void **ret_rows, size_t *ret_n, struct error *err)
{
	const struct store_link_filter filter = { .instance = page->instance };
	struct store_link *rows = NULL;
	int r = store_link_list(page->store, &filter, after_key(page), ROWS_AT_ONCE, &rows, ret_n,
				err);

	*ret_rows = rows;
	return r;
}

static int show_link(struct page *page, const void *item, ProtobufCMessage **ret, struct error *err)
{
	const struct store_link *row = item;
	int r = instance_visible(page, row->instance, err);

	(void)snprintf(page->token, sizeof(page->token), "%s", row->id);
	if (r > 0)
		r = convert_link(page->request->arena, row, (Bpfleet__V1__Link **)(void *)ret, err);
	return r;
}

int serve_list_links(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	static const struct view view = { &bpfleet__v1__list_links_response__descriptor, true,
					  sizeof(struct store_link), read_links, show_link };
	const Bpfleet__V1__ListLinksRequest *message = (const void *)request->message;

	return list_of(request, &view, message->instance, message->page_size, message->page_token,
		       ret_response, err);
}

int serve_get_link(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetLinkRequest *message = (const void *)request->message;
	Bpfleet__V1__GetLinkResponse *response =
		request_response(request, &bpfleet__v1__get_link_response__descriptor, err);
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_link *row = NULL;
	int r = request_find_link(request, message->name, POLICY_VERB_VIEW, &instance, &row, err);

	if (response == NULL || r < 0)
		return response == NULL ? -ENOMEM : r;
	r = convert_link(request->arena, row, &response->link, err);
	*ret_response = &response->base;
	return r;
}
