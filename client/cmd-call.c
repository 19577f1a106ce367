#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/file.h"
#include "client/node.h"
#include "client/ref.h"
#include "proto/arena.h"

#define CONTEXT_MAX 65535

/* --context into the arena. */
static int read_context(struct cli *cli, struct arena *arena, ProtobufCBinaryData *ret,
			struct error *err)
{
	const char *text = cli_text(&cli->args, OPTION_CONTEXT, NULL);
	size_t n;

	ret->data = arena_alloc(arena, CONTEXT_MAX);
	if (ret->data == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (text == NULL)
		return 0;
	if (text[0] == '@')
		return file_read_into(text + 1, ret->data, CONTEXT_MAX, &ret->len, err);
	if (strncmp(text, "0x", 2) == 0)
		text += 2;
	n = strlen(text) / 2;
	if (n > CONTEXT_MAX || strlen(text) % 2 != 0 || str_unhex(text, ret->data, n) < 0)
		return cli_usage(cli, err,
				 "--context: expected an even number of hex digits, for at most %d "
				 "bytes, or @FILE",
				 CONTEXT_MAX);
	ret->len = n;
	return 0;
}

static int print(const struct cli *cli, const Bpfleet__V1__RunProgramResponse *response,
		 struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_appendf(&s,
			  "returned %" PRIu32 " (0x%" PRIx32 ") after %" PRIu64 ".%03" PRIu64 " ms",
			  response->return_value, response->return_value,
			  response->duration_ns / 1000000, response->duration_ns / 1000 % 1000);
	if (response->context.len > 0)
		(void)str_append(&s, "\ncontext ");
	for (size_t i = 0; i < response->context.len; i++)
		(void)str_appendf(&s, "%02x", response->context.data[i]);
	return cli_print_str(cli, &s, err);
}

int cmd_call(struct cli *cli, struct error *err)
{
	Bpfleet__V1__RunProgramRequest request = BPFLEET__V1__RUN_PROGRAM_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	char request_id[NODE_REQUEST_ID_LEN + 1], name[REF_SIZE];
	ProtobufCMessage *answer;
	int r;

	r = cli_usage_if(cli, ref_program(cli_argument(&cli->args, 0), name, err));
	if (r == 0)
		r = cli_arena(&arena, err);
	if (r == 0)
		r = read_context(cli, arena, &request.context, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.program = name;
	request.request_id = request_id;
	r = node_call(cli->node, "RunProgram", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	return cli->json ? cli_print_message(cli, answer, err)
			 : print(cli, (const Bpfleet__V1__RunProgramResponse *)answer, err);
}
