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
	ProtobufCMessage **items;
	size_t n, size;
	char token[NAME_RESOURCE_MAX + 1]; /* key of the last row looked at */
	bool more;
};

static int page_start(struct request *request, uint32_t page_size, const char *token,
		      struct page *page, struct error *err)
{
	*page = (struct page){ .request = request };
	if (page_size > PAGE_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "page_size is at most %u",
				   PAGE_MAX);
	if (strlen(token) >= sizeof(page->token))
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	(void)snprintf(page->token, sizeof(page->token), "%s", token);
	page->size = page_size == 0 ? PAGE_DEFAULT : page_size;
	page->items = arena_alloc(request->arena, page->size * sizeof(*page->items));
	if (page->items == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "a list of %zu", page->size);
	return 0;
}

/* The same, where the rows' key is an id. */
static int page_start_by_id(struct request *request, uint32_t page_size, const char *token,
			    struct page *page, struct error *err)
{
	if (token[0] != '\0' && !name_is_id(token))
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	return page_start(request, page_size, token, page, err);
}

static char *page_token(const struct page *page)
{
	return convert_text(page->request->arena, page->more ? page->token : "");
}

/* Key "INSTANCE/ORDINAL" of the lists in the order of manifests. */
static int parse_position(char *token, struct store_position *ret, struct error *err)
{
	char *slash = strchr(token, '/');
	uint64_t ordinal;

	if (slash == NULL || str_to_u64(slash + 1, UINT32_MAX, &ordinal) < 0)
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	*slash = '\0';
	if (!name_is_id(token))
		return error_raise(err, ERROR_INVALID_PAGE_TOKEN, "no page_token of ours");
	*ret = (struct store_position){ token, (uint32_t)ordinal };
	return 0;
}

static int parse_instance_filter(struct request *request, const char *name,
				 struct store_instance **ret, struct error *err)
{
	if (name[0] == '\0')
		return 0;
	return request_find_named_instance(request, name, POLICY_VERB_VIEW, ret, err);
}

/* ---- bundles */

static bool next_bundle(struct page *page, const struct store_bundle *row, struct error *err,
			int *r)
{
	Bpfleet__V1__BundleInfo *info;

	if (page->n == page->size) {
		page->more = true;
		return false;
	}
	resource_format_bundle(
		row->name, &(struct version){ row->version[0], row->version[1], row->version[2] },
		page->token);
	if (!request_may_view(page->request, row->name, NULL))
		return true;
	*r = convert_bundle(page->request->core, page->request->arena, row, &info, err);
	if (*r < 0)
		return false;
	page->items[page->n++] = &info->base;
	return true;
}

static int list_bundles(struct page *page, struct error *err)
{
	bool go_on = true;
	int r = 0;

	while (go_on && r >= 0) {
		_cleanup_free_ struct store_bundle *rows = NULL;
		struct resource_name after = { 0 };
		uint32_t version[3];
		size_t n = 0;

		if (page->token[0] != '\0') {
			r = resource_parse_kind(page->token, RESOURCE_BUNDLE, &after, err);
			if (r < 0)
				return error_raise(err, ERROR_INVALID_PAGE_TOKEN,
						   "no page_token of ours");
			version[0] = after.bundle.version.major;
			version[1] = after.bundle.version.minor;
			version[2] = after.bundle.version.patch;
		}
		r = store_bundle_list(page->request->core->store,
				      page->token[0] == '\0' ? NULL : after.bundle.name,
				      page->token[0] == '\0' ? NULL : version, ROWS_AT_ONCE, &rows,
				      &n, err);
		for (size_t i = 0; r >= 0 && go_on && i < n; i++)
			go_on = next_bundle(page, &rows[i], err, &r);
		go_on = go_on && n == ROWS_AT_ONCE;
	}
	return r;
}

int serve_list_bundles(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__ListBundlesRequest *message = (const void *)request->message;
	Bpfleet__V1__ListBundlesResponse *response = arena_alloc(request->arena, sizeof(*response));
	struct page page;
	int r = page_start(request, message->page_size, message->page_token, &page, err);

	if (r >= 0)
		r = list_bundles(&page, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list bundles");
	bpfleet__v1__list_bundles_response__init(response);
	response->n_bundles = page.n;
	response->bundles = (Bpfleet__V1__BundleInfo **)(void *)page.items;
	response->next_page_token = page_token(&page);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

/* ---- instances */

static int list_instances(struct page *page, const struct store_instance_filter *filter,
			  struct error *err)
{
	struct request *request = page->request;

	for (;;) {
		_cleanup_free_ struct store_instance *rows = NULL;
		size_t n = 0;
		int r = store_instance_list(request->core->store, filter,
					    page->token[0] == '\0' ? NULL : page->token,
					    ROWS_AT_ONCE, &rows, &n, err);

		for (size_t i = 0; r >= 0 && i < n; i++) {
			Bpfleet__V1__Instance *instance;

			if (page->n == page->size) {
				page->more = true;
				return 0;
			}
			(void)snprintf(page->token, sizeof(page->token), "%s", rows[i].id);
			if (!request_may_view(request, rows[i].bundle_name, rows[i].owner))
				continue;
			r = convert_instance(request->core, request->arena, &rows[i], &instance,
					     err);
			if (r >= 0)
				page->items[page->n++] = &instance->base;
		}
		if (r < 0 || n < ROWS_AT_ONCE)
			return r;
	}
}

int serve_list_instances(struct request *request, ProtobufCMessage **ret_response,
			 struct error *err)
{
	const Bpfleet__V1__ListInstancesRequest *message = (const void *)request->message;
	Bpfleet__V1__ListInstancesResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	struct store_instance_filter filter = { 0 };
	struct resource_name bundle;
	uint32_t version[3];
	struct page page;
	int r = page_start_by_id(request, message->page_size, message->page_token, &page, err);

	if (r >= 0 && message->bundle[0] != '\0') {
		r = resource_parse_kind(message->bundle, RESOURCE_BUNDLE, &bundle, err);
		filter.bundle_name = bundle.bundle.name;
		if (r >= 0 && bundle.bundle.has_version) {
			version[0] = bundle.bundle.version.major;
			version[1] = bundle.bundle.version.minor;
			version[2] = bundle.bundle.version.patch;
			filter.bundle_version = version;
		}
	}
	if (r >= 0)
		r = list_instances(&page, &filter, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list instances");
	bpfleet__v1__list_instances_response__init(response);
	response->n_instances = page.n;
	response->instances = (Bpfleet__V1__Instance **)(void *)page.items;
	response->next_page_token = page_token(&page);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

int serve_get_instance(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetInstanceRequest *message = (const void *)request->message;
	Bpfleet__V1__GetInstanceResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *row = NULL;
	int r = request_find_named_instance(request, message->name, POLICY_VERB_VIEW, &row, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "get an instance");
	bpfleet__v1__get_instance_response__init(response);
	r = convert_instance(request->core, request->arena, row, &response->instance, err);
	*ret_response = &response->base;
	return r;
}

/*
 * Programs, maps and links are seen by whoever may view their instance. Lists over all instances
 * ask once for each instance: its rows come one after the other.
 */
struct instance_memo {
	char id[NAME_LABEL_MAX + 1];
	bool visible, readable;
};

static int instance_visible(struct request *request, const char *id, struct instance_memo *memo,
			    struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	int r;

	if (strcmp(memo->id, id) == 0)
		return memo->visible;
	r = store_instance_get(request->core->store, id, &row, err);
	if (r < 0)
		return r;
	(void)snprintf(memo->id, sizeof(memo->id), "%s", id);
	memo->visible = request_may_view(request, row->bundle_name, row->owner);
	memo->readable = request_may(request, POLICY_VERB_READ, row->bundle_name, row->owner);
	return memo->visible;
}

/* ---- programs */

static int list_programs(struct page *page, const char *instance, struct error *err)
{
	struct request *request = page->request;
	struct instance_memo memo = { .id = "" };
	struct store_position after;

	for (;;) {
		_cleanup_free_ struct store_program *rows = NULL;
		bool started = page->token[0] != '\0';
		size_t n = 0;
		int r = started ? parse_position(page->token, &after, err) : 0;

		if (r >= 0)
			r = store_program_list(request->core->store, instance,
					       started ? &after : NULL, ROWS_AT_ONCE, &rows, &n,
					       err);
		for (size_t i = 0; r >= 0 && i < n; i++) {
			Bpfleet__V1__Program *program;

			if (page->n == page->size) {
				page->more = true;
				return 0;
			}
			(void)snprintf(page->token, sizeof(page->token), "%s/%u", rows[i].instance,
				       rows[i].ordinal);
			r = instance_visible(request, rows[i].instance, &memo, err);
			if (r <= 0)
				continue;
			r = convert_program(request->arena, &rows[i], &program, err);
			if (r >= 0)
				page->items[page->n++] = &program->base;
		}
		if (r < 0 || n < ROWS_AT_ONCE)
			return r;
	}
}

int serve_list_programs(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__ListProgramsRequest *message = (const void *)request->message;
	Bpfleet__V1__ListProgramsResponse *response =
		arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	struct page page;
	int r = page_start(request, message->page_size, message->page_token, &page, err);

	if (r >= 0)
		r = parse_instance_filter(request, message->instance, &instance, err);
	if (r >= 0)
		r = list_programs(&page, instance == NULL ? NULL : instance->id, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list programs");
	bpfleet__v1__list_programs_response__init(response);
	response->n_programs = page.n;
	response->programs = (Bpfleet__V1__Program **)(void *)page.items;
	response->next_page_token = page_token(&page);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

int serve_get_program(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetProgramRequest *message = (const void *)request->message;
	Bpfleet__V1__GetProgramResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *row = NULL;
	struct resource_name name;
	int r = resource_parse_kind(message->name, RESOURCE_PROGRAM, &name, err);

	if (r >= 0)
		r = request_find_instance(request, name.id, POLICY_VERB_VIEW, &instance, err);
	if (r >= 0)
		r = store_program_get(request->core->store, instance->id, name.member, &row, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "get a program");
	bpfleet__v1__get_program_response__init(response);
	r = convert_program(request->arena, row, &response->program, err);
	*ret_response = &response->base;
	return r;
}

/* ---- maps */

static int list_maps(struct page *page, const char *instance, struct error *err)
{
	struct request *request = page->request;
	struct instance_memo memo = { .id = "" };
	struct store_position after;

	for (;;) {
		_cleanup_free_ struct store_map *rows = NULL;
		bool started = page->token[0] != '\0';
		size_t n = 0;
		int r = started ? parse_position(page->token, &after, err) : 0;

		if (r >= 0)
			r = store_map_list(request->core->store, instance, started ? &after : NULL,
					   ROWS_AT_ONCE, &rows, &n, err);
		for (size_t i = 0; r >= 0 && i < n; i++) {
			Bpfleet__V1__Map *map;

			if (page->n == page->size) {
				page->more = true;
				return 0;
			}
			(void)snprintf(page->token, sizeof(page->token), "%s/%u", rows[i].instance,
				       rows[i].ordinal);
			r = instance_visible(request, rows[i].instance, &memo, err);
			if (r <= 0)
				continue;
			r = convert_map(request->core, request->arena, &rows[i], &map, err);
			if (r < 0)
				return r;
			if (!memo.readable)
				map->n_metrics = 0;
			page->items[page->n++] = &map->base;
		}
		if (r < 0 || n < ROWS_AT_ONCE)
			return r;
	}
}

int serve_list_maps(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__ListMapsRequest *message = (const void *)request->message;
	Bpfleet__V1__ListMapsResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	struct page page;
	int r = page_start(request, message->page_size, message->page_token, &page, err);

	if (r >= 0)
		r = parse_instance_filter(request, message->instance, &instance, err);
	if (r >= 0)
		r = list_maps(&page, instance == NULL ? NULL : instance->id, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list maps");
	bpfleet__v1__list_maps_response__init(response);
	response->n_maps = page.n;
	response->maps = (Bpfleet__V1__Map **)(void *)page.items;
	response->next_page_token = page_token(&page);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

int serve_get_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetMapRequest *message = (const void *)request->message;
	Bpfleet__V1__GetMapResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_bytes *btf = NULL;
	_cleanup_free_ struct store_map *row = NULL;
	int r = request_find_map(request, message->name, POLICY_VERB_VIEW, &instance, &row, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "get a map");
	bpfleet__v1__get_map_response__init(response);
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

static int list_links(struct page *page, const struct store_link_filter *filter, struct error *err)
{
	struct request *request = page->request;
	struct instance_memo memo = { .id = "" };

	for (;;) {
		_cleanup_free_ struct store_link *rows = NULL;
		size_t n = 0;
		int r = store_link_list(request->core->store, filter,
					page->token[0] == '\0' ? NULL : page->token, ROWS_AT_ONCE,
					&rows, &n, err);

		for (size_t i = 0; r >= 0 && i < n; i++) {
			Bpfleet__V1__Link *link;

			if (page->n == page->size) {
				page->more = true;
				return 0;
			}
			(void)snprintf(page->token, sizeof(page->token), "%s", rows[i].id);
			r = instance_visible(request, rows[i].instance, &memo, err);
			if (r <= 0)
				continue;
			r = convert_link(request->arena, &rows[i], &link, err);
			if (r >= 0)
				page->items[page->n++] = &link->base;
		}
		if (r < 0 || n < ROWS_AT_ONCE)
			return r;
	}
}

int serve_list_links(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__ListLinksRequest *message = (const void *)request->message;
	Bpfleet__V1__ListLinksResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	struct store_link_filter filter = { 0 };
	struct page page;
	int r = page_start_by_id(request, message->page_size, message->page_token, &page, err);

	if (r >= 0)
		r = parse_instance_filter(request, message->instance, &instance, err);
	if (instance != NULL)
		filter.instance = instance->id;
	if (r >= 0)
		r = list_links(&page, &filter, err);
	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "list links");
	bpfleet__v1__list_links_response__init(response);
	response->n_links = page.n;
	response->links = (Bpfleet__V1__Link **)(void *)page.items;
	response->next_page_token = page_token(&page);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

int serve_get_link(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__GetLinkRequest *message = (const void *)request->message;
	Bpfleet__V1__GetLinkResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_link *row = NULL;
	int r = request_find_link(request, message->name, POLICY_VERB_VIEW, &instance, &row, err);

	if (r < 0)
		return r;
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "get a link");
	bpfleet__v1__get_link_response__init(response);
	r = convert_link(request->arena, row, &response->link, err);
	*ret_response = &response->base;
	return r;
}
