#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "client/push.h"
#include "proto/arena.h"

/* A path with a slash or the suffix of bundle files, which no bundle name has. */
static bool is_file(const char *text)
{
	size_t n = strlen(text);

	return strchr(text, '/') != NULL && strncmp(text, "bundles/", 8) != 0
		       ? true
		       : n > 5 && strcmp(text + n - 5, ".bpfb") == 0;
}

/* What to load: the bundle as typed, or the one just pushed. */
static int choose_bundle(struct cli *cli, struct arena *arena, const char **ret, struct error *err)
{
	const char *text = cli_argument(&cli->args, 0);
	Bpfleet__V1__PushBundleResponse *pushed;
	int r;

	*ret = text;
	if (!is_file(text)) {
		if (cli_has(&cli->args, OPTION_SIGNATURE))
			return cli_usage(cli, err, "--signature goes with a bundle file");
		return 0;
	}
	r = push_file(cli, text, arena, &pushed, err);
	if (r < 0)
		return r;
	*ret = pushed->bundle->name;
	return cli->json ? 0 : push_say(cli, pushed, err);
}

/* The links of --attach take the place of the answer's, so that it shows all that was done. */
static int attach_given(struct cli *cli, struct arena *arena, Bpfleet__V1__LoadResponse *response,
			struct error *err)
{
	size_t n = cli_count(&cli->args, OPTION_ATTACH);
	Bpfleet__V1__Link **links = arena_alloc(arena, (n + 1) * sizeof(void *));
	int r;

	if (links == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const char *text = cli_nth(&cli->args, OPTION_ATTACH, i);
		const char *equals = strchr(text, '=');
		const char *program = arena_strndup(arena, text, (size_t)(equals - text));

		if (program == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		r = loading_attach(cli, response->instance->name, program, equals + 1, arena,
				   &links[i], err);
		if (r < 0)
			return error_context(err, r, "--attach %s", text);
	}
	response->links = links;
	response->n_links = n;
	response->instance->n_links = (uint32_t)n;
	if (n > 0)
		response->instance->state = BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_ATTACHED;
	return 0;
}

static int load_and_attach(struct cli *cli, const char *bundle, struct arena *arena,
			   Bpfleet__V1__LoadResponse **ret, struct error *err)
{
	bool defaults = !cli_has(&cli->args, OPTION_ATTACH);
	struct error undo = { 0 };
	int r;

	r = loading_call(cli, bundle, defaults, arena, ret, err);
	if (r < 0 || defaults)
		return r;
	r = attach_given(cli, arena, *ret, err);
	if (r < 0 && loading_unload(cli, (*ret)->instance->name, &undo) < 0)
		cli_warn("%s stays loaded: %s", (*ret)->instance->name, undo.message);
	return r;
}

int cmd_run(struct cli *cli, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	Bpfleet__V1__LoadResponse *response;
	const char *bundle;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0 && loading_is_lease(cli))
		r = cli_follow(cli, err);
	if (r == 0)
		r = choose_bundle(cli, arena, &bundle, err);
	if (r == 0)
		r = load_and_attach(cli, bundle, arena, &response, err);
	if (r == 0)
		r = loading_print(cli, response, err);
	if (r < 0)
		return r;
	if (response->n_links == 0)
		cli_warn("nothing is attached: the manifest names no default hooks; see `bpfleet "
			 "help attach`");
	return loading_is_lease(cli) ? lease_hold(cli, response, err) : 0;
}
