#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/rows.h"
#include "proto/arena.h"

static void link_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	(void)now_ns;
	rows_link(sheet, (const Bpfleet__V1__Link *)item);
}

static void program_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	(void)now_ns;
	rows_program(sheet, (const Bpfleet__V1__Program *)item);
}

static void map_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	(void)now_ns;
	rows_map(sheet, (const Bpfleet__V1__Map *)item);
}

static void foreign_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	rows_foreign(sheet, (const Bpfleet__V1__ForeignProgram *)item, now_ns);
}

static void bundle_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	rows_bundle(sheet, (const Bpfleet__V1__BundleInfo *)item, now_ns);
}

static void instance_row(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns)
{
	rows_instance(sheet, (const Bpfleet__V1__Instance *)item, now_ns);
}

enum filter {
	FILTER_NONE,
	FILTER_BUNDLE,
	FILTER_INSTANCE,
};

struct kind {
	const char *name;
	const char *method;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	enum filter filter;
	void (*columns)(struct sheet *sheet);
	void (*row)(struct sheet *sheet, const ProtobufCMessage *item, uint64_t now_ns);
};

static const struct kind kinds[] = {
	{ "instances", "ListInstances", &bpfleet__v1__list_instances_request__descriptor,
	  &bpfleet__v1__list_instances_response__descriptor, FILTER_BUNDLE, rows_instance_columns,
	  instance_row },
	{ "bundles", "ListBundles", &bpfleet__v1__list_bundles_request__descriptor,
	  &bpfleet__v1__list_bundles_response__descriptor, FILTER_NONE, rows_bundle_columns,
	  bundle_row },
	{ "programs", "ListPrograms", &bpfleet__v1__list_programs_request__descriptor,
	  &bpfleet__v1__list_programs_response__descriptor, FILTER_INSTANCE, rows_program_columns,
	  program_row },
	{ "links", "ListLinks", &bpfleet__v1__list_links_request__descriptor,
	  &bpfleet__v1__list_links_response__descriptor, FILTER_INSTANCE, rows_link_columns,
	  link_row },
	{ "maps", "ListMaps", &bpfleet__v1__list_maps_request__descriptor,
	  &bpfleet__v1__list_maps_response__descriptor, FILTER_INSTANCE, rows_map_columns,
	  map_row },
	{ "foreign", "ListForeignPrograms", &bpfleet__v1__list_foreign_programs_request__descriptor,
	  &bpfleet__v1__list_foreign_programs_response__descriptor, FILTER_NONE,
	  rows_foreign_columns, foreign_row },
};

static const struct kind *kind_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (name != NULL && strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return &kinds[0];
}

/* A fresh message of any type, in the arena. */
static ProtobufCMessage *new_message(struct arena *arena,
				     const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = arena_alloc(arena, descriptor->sizeof_message);

	if (message != NULL)
		protobuf_c_message_init(descriptor, message);
	return message;
}

static int set_filter(struct cli *cli, const struct kind *kind, ProtobufCMessage *request,
		      char name[static REF_SIZE], struct error *err)
{
	const char *bundle = cli_text(&cli->args, OPTION_BUNDLE, NULL);
	const char *instance = cli_text(&cli->args, OPTION_INSTANCE, NULL);
	const char *field = kind->filter == FILTER_BUNDLE ? "bundle" : "instance";
	const ProtobufCFieldDescriptor *descriptor;
	int r;

	if (bundle != NULL && kind->filter != FILTER_BUNDLE)
		return cli_usage(cli, err, "--bundle goes with `list instances`");
	if (instance != NULL && kind->filter != FILTER_INSTANCE)
		return cli_usage(cli, err, "--instance goes with `list programs|links|maps`");
	if (bundle == NULL && instance == NULL)
		return 0;
	r = bundle != NULL ? ref_bundle(bundle, name, err) : ref_instance(instance, name, err);
	if (r < 0)
		return cli_usage_if(cli, r);
	descriptor = protobuf_c_message_descriptor_get_field_by_name(request->descriptor, field);
	*(char **)(void *)((uint8_t *)request + descriptor->offset) = name;
	return 0;
}

static int print_table(const struct cli *cli, const struct kind *kind, ProtobufCMessage **items,
		       size_t n, struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	uint64_t now_ns = clock_realtime_ns();
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0)
		return r;
	kind->columns(sheet);
	for (size_t i = 0; i < n; i++)
		kind->row(sheet, items[i], now_ns);
	return cli_flush(sheet, err);
}

/* One answer that holds all pages. */
static int print_document(const struct cli *cli, const struct kind *kind, struct arena *arena,
			  ProtobufCMessage **items, size_t n, struct error *err)
{
	ProtobufCMessage *response = new_message(arena, kind->response);
	const ProtobufCFieldDescriptor *field = &kind->response->fields[0];

	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	*(size_t *)(void *)((uint8_t *)response + field->quantifier_offset) = n;
	*(ProtobufCMessage ***)(void *)((uint8_t *)response + field->offset) = items;
	return cli_print_message(cli, response, err);
}

int cmd_list(struct cli *cli, struct error *err)
{
	const struct kind *kind = kind_named(cli_argument(&cli->args, 0));
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *request, **items;
	char name[REF_SIZE];
	size_t n;
	int r;

	r = cli_arena(&arena, err);
	if (r < 0)
		return r;
	request = new_message(arena, kind->request);
	if (request == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = set_filter(cli, kind, request, name, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_list(cli->node, kind->method, request, 0, arena, &items, &n, err);
	if (r < 0)
		return r;
	return cli->json ? print_document(cli, kind, arena, items, n, err)
			 : print_table(cli, kind, items, n, err);
}
