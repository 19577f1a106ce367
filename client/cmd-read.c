#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/ref.h"
#include "proto/arena.h"
#include "rpc/client.h"

/* The one link of a program that is an iterator's. */
static int find_link(struct cli *cli, const char *program, char name[static REF_SIZE],
		     struct error *err)
{
	Bpfleet__V1__GetProgramRequest get = BPFLEET__V1__GET_PROGRAM_REQUEST__INIT;
	Bpfleet__V1__ListLinksRequest list = BPFLEET__V1__LIST_LINKS_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__ListLinksResponse *links;
	const Bpfleet__V1__Program *found;
	char instance[REF_SIZE];
	ProtobufCMessage *answer;
	size_t n = 0;
	int r;

	r = cli_arena(&arena, err);
	get.name = (char *)(uintptr_t)program;
	/* Its full name: a label may have stood for the instance. */
	if (r == 0)
		r = node_call(cli->node, "GetProgram", &get.base, arena, &answer, err);
	if (r < 0)
		return r;
	found = ((const Bpfleet__V1__GetProgramResponse *)answer)->program;
	if (found == NULL || strstr(found->name, "/programs/") == NULL)
		return error_raise(err, ERROR_PROTOCOL,
				   "GetProgram was answered without a program");
	(void)snprintf(instance, sizeof(instance), "%.*s",
		       (int)(strstr(found->name, "/programs/") - found->name), found->name);
	list.instance = instance;
	do {
		r = node_call(cli->node, "ListLinks", &list.base, arena, &answer, err);
		if (r < 0)
			return r;
		links = (const Bpfleet__V1__ListLinksResponse *)answer;
		for (size_t i = 0; i < links->n_links; i++) {
			const Bpfleet__V1__Link *link = links->links[i];

			if (strcmp(link->program, found->name) != 0 || link->hook == NULL ||
			    strcmp(link->hook->kind, "iter") != 0)
				continue;
			(void)snprintf(name, REF_SIZE, "%s", link->name);
			n++;
		}
		list.page_token = links->next_page_token;
	} while (list.page_token[0] != '\0');
	if (n == 1)
		return 0;
	return error_raise(err, ERROR_NOT_FOUND,
			   n == 0 ? "%s has no link on a hook of kind iter: attach it first"
				  : "%s has several links on hooks of kind iter: name one of them",
			   ref_short(found->name));
}

static int print(struct cli *cli, const Bpfleet__V1__ReadIteratorResponse *chunk, struct error *err)
{
	if (cli->json)
		return cli_print_line(cli, &chunk->base, err);
	if (fwrite(chunk->data.data, 1, chunk->data.len, cli->out) != chunk->data.len)
		return error_raise_errno(err, ERROR_IO, errno, "cannot write to standard output");
	return 0;
}

int cmd_read(struct cli *cli, struct error *err)
{
	Bpfleet__V1__ReadIteratorRequest request = BPFLEET__V1__READ_ITERATOR_REQUEST__INIT;
	const char *text = cli_argument(&cli->args, 0);
	const bool is_link = strncmp(text, "links/", 6) == 0 || strchr(text, '/') == NULL;
	char given[REF_SIZE], name[REF_SIZE];
	struct rpc_stream *stream = NULL;
	int r;

	r = cli_usage_if(cli, is_link ? ref_link(text, name, err) : ref_program(text, given, err));
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0 && !is_link)
		r = find_link(cli, given, name, err);
	if (r < 0)
		return r;
	request.link = name;
	r = node_subscribe(cli->node, "ReadIterator", &request.base, UINT64_MAX, &stream, err);
	if (r == 0) {
		node_stream_limit(cli->node, stream);
		do {
			_cleanup_(arena_freep) struct arena *arena = NULL;
			ProtobufCMessage *message;

			r = cli_arena(&arena, err);
			if (r == 0)
				r = rpc_stream_receive(stream, arena, &message, err);
			if (r < 0)
				r = node_explain(cli->node, r, err);
			else if (r > 0 && print(cli, (const void *)message, err) < 0)
				r = -EIO;
		} while (r > 0);
	}
	node_stream_free(cli->node, stream);
	return r;
}
