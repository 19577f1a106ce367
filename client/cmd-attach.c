#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "proto/arena.h"

static int say_attached(const struct cli *cli, const Bpfleet__V1__Link *link, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_append(&s, "attached ");
	(void)str_append_escaped(&s, ref_short(link->program), SIZE_MAX);
	(void)str_append(&s, " to ");
	(void)str_append_escaped(&s, link->hook_text, SIZE_MAX);
	if (link->name[0] == '\0') {
		(void)str_append(&s, ", until that socket is closed");
	} else {
		(void)str_append(&s, ": link ");
		(void)str_append_escaped(&s, ref_short(link->name), SIZE_MAX);
	}
	return cli_print_str(cli, &s, err);
}

int cmd_attach(struct cli *cli, struct error *err)
{
	Bpfleet__V1__AttachResponse document = BPFLEET__V1__ATTACH_RESPONSE__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = loading_attach(cli, cli_argument(&cli->args, 0), cli_argument(&cli->args, 1),
				   cli_argument(&cli->args, 2), arena, &document.link, err);
	if (r < 0)
		return r;
	return cli->json ? cli_print_message(cli, &document.base, err)
			 : say_attached(cli, document.link, err);
}
