/* Names for the completion script, one a line. Whatever fails, the shell is told nothing. */
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "proto/arena.h"

/* Words that need no quoting in any shell. */
static void print_word(const struct cli *cli, const char *before, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_@./-";

	if (word[0] != '\0' && word[strspn(word, plain)] == '\0')
		(void)fprintf(cli->out, "%s%s\n", before, word);
}

static void print_bundle(const struct cli *cli, const ProtobufCMessage *item)
{
	print_word(cli, "", ref_short(((const Bpfleet__V1__BundleInfo *)item)->name));
}

static void print_instance(const struct cli *cli, const ProtobufCMessage *item)
{
	const Bpfleet__V1__Instance *instance = (const Bpfleet__V1__Instance *)item;

	print_word(cli, "", ref_short(instance->name));
	print_word(cli, "", instance->label);
}

static void print_link(const struct cli *cli, const ProtobufCMessage *item)
{
	print_word(cli, "", ref_short(((const Bpfleet__V1__Link *)item)->name));
}

static void print_map(const struct cli *cli, const ProtobufCMessage *item)
{
	const char *id = ref_short(((const Bpfleet__V1__Map *)item)->name);
	const char *slash = strchr(id, '/'), *member = strrchr(id, '/');
	char before[REF_SIZE];

	if (slash == NULL)
		return;
	(void)snprintf(before, sizeof(before), "%.*s/", (int)(slash - id), id);
	print_word(cli, before, member + 1);
}

struct kind {
	const char *name;
	const char *method;
	const ProtobufCMessageDescriptor *request;
	void (*print)(const struct cli *cli, const ProtobufCMessage *item);
};

static const struct kind kinds[] = {
	{ "bundles", "ListBundles", &bpfleet__v1__list_bundles_request__descriptor, print_bundle },
	{ "instances", "ListInstances", &bpfleet__v1__list_instances_request__descriptor,
	  print_instance },
	{ "links", "ListLinks", &bpfleet__v1__list_links_request__descriptor, print_link },
	{ "maps", "ListMaps", &bpfleet__v1__list_maps_request__descriptor, print_map },
};

int cmd_complete(struct cli *cli, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const char *name = cli_argument(&cli->args, 0);
	ProtobufCMessage *request, **items;
	size_t n;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, name) != 0)
			continue;
		request = arena_alloc(arena, kinds[i].request->sizeof_message);
		if (request == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		protobuf_c_message_init(kinds[i].request, request);
		r = node_list(cli->node, kinds[i].method, request, 0, arena, &items, &n, err);
		for (size_t j = 0; r == 0 && j < n; j++)
			kinds[i].print(cli, items[j]);
	}
	return r;
}
