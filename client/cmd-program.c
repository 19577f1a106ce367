/* program show */
#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/node.h"
#include "client/ref.h"
#include "client/sheet.h"
#include "client/trial.h"
#include "proto/arena.h"

static void row(struct sheet *sheet, const char *name, const char *value)
{
	sheet_text(sheet, name);
	sheet_text(sheet, value);
}

static int print(const struct cli *cli, const Bpfleet__V1__Program *program, struct error *err)
{
	const struct sheet_options options = { .colour = cli->colour, .no_header = true };
	_cleanup_(sheet_freep) struct sheet *sheet = sheet_new(cli->out, &options);
	struct str tag = { 0 };

	if (sheet == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	sheet_column(sheet, "", 0);
	sheet_column(sheet, "", 0);
	row(sheet, "program", program->name);
	row(sheet, "type", program->type);
	if (program->skipped_reason[0] != '\0')
		row(sheet, "left out", program->skipped_reason);
	sheet_text(sheet, "kernel id");
	sheet_textf(sheet, "%u", program->kernel_id);
	for (size_t i = 0; i < program->tag.len; i++)
		(void)str_appendf(&tag, "%02x", program->tag.data[i]);
	sheet_text(sheet, "tag");
	sheet_take(sheet, &tag);
	for (size_t i = 0; i < program->n_hooks; i++)
		row(sheet, i == 0 ? "hooks" : "", program->hooks[i]);
	sheet_text(sheet, "links");
	sheet_textf(sheet, "%u", program->n_links);
	trial_figures(sheet, program->verifier);
	return cli_flush(sheet, err);
}

int cmd_program_show(struct cli *cli, struct error *err)
{
	Bpfleet__V1__GetProgramRequest request = BPFLEET__V1__GET_PROGRAM_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	const Bpfleet__V1__Program *program;
	ProtobufCMessage *answer;
	char name[REF_SIZE];
	int r = cli_usage_if(cli, ref_program(cli_argument(&cli->args, 0), name, err));

	request.name = name;
	if (r == 0)
		r = cli_arena(&arena, err);
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = node_call(cli->node, "GetProgram", &request.base, arena, &answer, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, answer, err);
	program = ((const Bpfleet__V1__GetProgramResponse *)answer)->program;
	return program == NULL ? error_raise(err, ERROR_PROTOCOL,
					     "GetProgram was answered without a program")
			       : print(cli, program, err);
}
