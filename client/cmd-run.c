#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/hook.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/loading.h"
#include "client/node.h"
#include "client/push.h"
#include "proto/arena.h"

struct attachment {
	const char *program;
	const char *hook;
};

struct run {
	struct cli *cli;
	struct arena *arena;
	const char *bundle;
	bool by_daemon; /* the load attaches the default hooks itself */
	/* Else these are attached one by one after it. */
	struct attachment *attachments;
	size_t n_attachments;
};

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

/* ---- what to attach */

static int read_attach_options(struct run *run, struct error *err)
{
	struct cli *cli = run->cli;
	size_t n = cli_count(&cli->args, OPTION_ATTACH);

	for (size_t i = 0; i < n; i++) {
		_cleanup_(hook_freep) struct hook *hook = NULL;
		const char *text = cli_nth(&cli->args, OPTION_ATTACH, i);
		const char *equals = strchr(text, '=');
		int r = cli_usage_if(cli, hook_parse(equals + 1, &hook, err));

		if (r < 0)
			return error_context(err, r, "--attach %.200s", text);
		run->attachments[i] = (struct attachment){
			arena_strndup(run->arena, text, (size_t)(equals - text)), equals + 1
		};
		if (run->attachments[i].program == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	}
	run->n_attachments = n;
	return 0;
}

/*
 * The daemon attaches default hooks as part of the load, but for those in files, whose symbols it
 * resolves only when they are attached one by one.
 */
static bool is_resolved(const char *text)
{
	_cleanup_(hook_freep) struct hook *hook = NULL;

	return hook_parse(text, &hook, NULL) == 0 && hook_kind_info(hook_kind(hook))->resolved;
}

static int read_default_hooks(struct run *run, const Bpfleet__V1__Manifest *manifest,
			      struct error *err)
{
	size_t n = 0, total = 0;

	for (size_t i = 0; i < manifest->n_programs; i++)
		total += manifest->programs[i]->n_default_hooks;
	run->attachments = arena_alloc(run->arena, (total + 1) * sizeof(*run->attachments));
	if (run->attachments == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (total == 0)
		return cli_usage(run->cli, err,
				 "%s names no default hooks: say with --attach PROGRAM=HOOK where "
				 "it goes, or only load it with `bpfleet load`",
				 ref_short(run->bundle));
	run->by_daemon = true;
	for (size_t i = 0; i < manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *program = manifest->programs[i];

		for (size_t k = 0; k < program->n_default_hooks; k++) {
			run->attachments[n++] =
				(struct attachment){ program->name, program->default_hooks[k] };
			if (is_resolved(program->default_hooks[k]))
				run->by_daemon = false;
		}
	}
	run->n_attachments = run->by_daemon ? 0 : n;
	return 0;
}

/* Asks for the manifest. Who may load a bundle without seeing it leaves all to the daemon. */
static int plan_default_hooks(struct run *run, struct error *err)
{
	Bpfleet__V1__GetBundleRequest request = BPFLEET__V1__GET_BUNDLE_REQUEST__INIT;
	const Bpfleet__V1__GetBundleResponse *response;
	struct error failure = { 0 };
	ProtobufCMessage *answer;
	char name[REF_SIZE];
	int r;

	r = cli_usage_if(run->cli, ref_bundle(run->bundle, name, err));
	if (r == 0)
		r = cli_connect(run->cli, err);
	if (r < 0)
		return r;
	request.name = name;
	run->by_daemon = true;
	r = node_call(run->cli->node, "GetBundle", &request.base, run->arena, &answer, &failure);
	if (failure.code == ERROR_NOT_FOUND || failure.code == ERROR_PERMISSION_DENIED)
		return 0;
	if (r < 0) {
		*err = failure;
		return r;
	}
	response = (const Bpfleet__V1__GetBundleResponse *)answer;
	if (response->bundle == NULL || response->manifest == NULL)
		return error_raise(err, ERROR_PROTOCOL, "GetBundle was answered without a bundle");
	/* The very version that was looked at, whatever is pushed meanwhile. */
	run->bundle = response->bundle->name;
	return read_default_hooks(run, response->manifest, err);
}

static int plan(struct run *run, struct error *err)
{
	size_t n = cli_count(&run->cli->args, OPTION_ATTACH);

	if (n == 0)
		return plan_default_hooks(run, err);
	run->attachments = arena_alloc(run->arena, n * sizeof(*run->attachments));
	if (run->attachments == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	return read_attach_options(run, err);
}

/* ---- doing it */

/* An optional program that this kernel does without; an unknown one is the daemon's to refuse. */
static bool is_skipped(const Bpfleet__V1__LoadResponse *response, const char *program)
{
	for (size_t i = 0; i < response->n_programs; i++) {
		const char *name = strrchr(response->programs[i]->name, '/');

		if (name != NULL && strcmp(name + 1, program) == 0)
			return response->programs[i]->skipped_reason[0] != '\0';
	}
	return false;
}

/* The links take the place of the answer's, so that it shows all that was done. */
static int attach_each(const struct run *run, bool given, Bpfleet__V1__LoadResponse *response,
		       struct error *err)
{
	Bpfleet__V1__Link **links =
		arena_alloc(run->arena, (run->n_attachments + 1) * sizeof(*links));
	size_t n = 0;
	int r;

	if (links == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < run->n_attachments; i++) {
		const struct attachment *attachment = &run->attachments[i];

		if (!given && is_skipped(response, attachment->program))
			continue;
		r = loading_attach(run->cli, response->instance->name, attachment->program,
				   attachment->hook, run->arena, &links[n], err);
		if (r < 0)
			return error_context(err, r, given ? "--attach %s=%s" : "attach %s to %s",
					     attachment->program, attachment->hook);
		n++;
	}
	response->links = links;
	response->n_links = n;
	return 0;
}

/* The instance as it is now that it is attached. */
static int read_again(const struct run *run, Bpfleet__V1__LoadResponse *response, struct error *err)
{
	Bpfleet__V1__GetInstanceRequest request = BPFLEET__V1__GET_INSTANCE_REQUEST__INIT;
	struct error failure = { 0 };
	ProtobufCMessage *answer;
	int r;

	request.name = response->instance->name;
	r = node_call(run->cli->node, "GetInstance", &request.base, run->arena, &answer, &failure);
	/* Who may not look keeps what the load said. */
	if (failure.code == ERROR_NOT_FOUND || failure.code == ERROR_PERMISSION_DENIED)
		return 0;
	if (r < 0)
		*err = failure;
	else if (((Bpfleet__V1__GetInstanceResponse *)answer)->instance != NULL)
		response->instance = ((Bpfleet__V1__GetInstanceResponse *)answer)->instance;
	return r;
}

static int attach_all(const struct run *run, Bpfleet__V1__LoadResponse *response, struct error *err)
{
	int r = 0;

	if (!run->by_daemon)
		r = attach_each(run, cli_has(&run->cli->args, OPTION_ATTACH), response, err);
	if (r == 0 && response->n_links == 0)
		r = error_raise(err, ERROR_KERNEL_UNSUPPORTED,
				"nothing would be attached: no program of %s that has a default "
				"hook is loaded here",
				ref_short(run->bundle));
	if (r == 0 && !run->by_daemon)
		r = read_again(run, response, err);
	return r;
}

static int load_and_attach(const struct run *run, Bpfleet__V1__LoadResponse **ret,
			   struct error *err)
{
	Bpfleet__V1__LoadResponse *response;
	struct error undo = { 0 };
	int r;

	r = loading_call(run->cli, run->bundle, run->by_daemon, run->arena, &response, err);
	if (r < 0)
		return r;
	r = attach_all(run, response, err);
	if (r < 0 && loading_unload(run->cli, response->instance->name, &undo) < 0)
		cli_warn("%s stays loaded: %s", ref_short(response->instance->name), undo.message);
	if (r == 0)
		*ret = response;
	return r;
}

int cmd_run(struct cli *cli, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	struct run run = { .cli = cli };
	Bpfleet__V1__LoadResponse *response;
	int r;

	r = cli_arena(&arena, err);
	run.arena = arena;
	if (r == 0 && loading_is_lease(cli))
		r = cli_follow(cli, err);
	if (r == 0)
		r = choose_bundle(cli, arena, &run.bundle, err);
	if (r == 0)
		r = plan(&run, err);
	if (r == 0)
		r = load_and_attach(&run, &response, err);
	if (r == 0)
		r = loading_print(cli, response, err);
	if (r < 0)
		return r;
	return loading_is_lease(cli) ? lease_hold(cli, response, err) : 0;
}
