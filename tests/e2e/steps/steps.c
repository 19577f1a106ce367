/*
 * Has core die at a named step of a change, starts it again, and looks: before the intent nothing
 * may have happened, after the commit everything, and in between all of it is undone (load, attach,
 * push, replace, rollback) or finished (detach, unload, commit). The same call again, by its
 * request_id, has the one outcome. A replaced instance runs one version or the other, whole. At
 * steps of a switch of links core dies each time that it passes one, and at the next start again.
 *
 *     steps BPFLEETD CONFIG STEPS_CONFIG LOG SOCKET BPFFS CORE_UID BUNDLE OTHER_BUNDLE all|few
 *           STEP...
 *
 * few: the kernel has no links of netfilter or struct_ops, and the bundles no programs for them.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/hook.h"
#include "client/node.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "tests/e2e/hammer/lists.h"
#include "tests/e2e/hammer/process.h"
#include "tests/e2e/hammer/view.h"

#define WAIT_NS (15 * NS_PER_SEC)
#define LABEL "under-test"
#define HOOK "raw_tp:sched_process_exec"
#define LAST_HOOK "tc:lo:ingress"
#define VERSION "bundles/e2e@1.0.0"
#define OTHER_VERSION "bundles/e2e@1.0.1"
/* How often a call may pass a step of a switch at most. */
#define PASSES_MAX 32
/* An entry of a map that both versions share. */
#define ENTRY_KEY 5u
#define ENTRY_VALUE UINT64_C(0x5eed)

/* The links of an instance that is replaced, in the order in which they go over. */
static const struct {
	const char *program, *hook;
	bool in_all; /* and not in few */
} version_links[] = {
	{ "on_raw_tp", HOOK, false },
	/* Goes over in two stages, as no two programs have one priority. */
	{ "on_netfilter", "netfilter:ipv4:input,priority=5", true },
	{ "cc_ssthresh", "struct_ops:table", true },
	{ "on_tc", LAST_HOOK, false },
};

/* What a change did: as the daemon shows it afterwards. */
enum outcome {
	NOTHING,
	ALL,
	ANYTHING_ELSE,
};

struct test {
	struct daemon normal, dying;
	const char *socket, *bpffs, *bundle, *other_bundle;
	uid_t core_uid;
	struct bpfleet *node;
	char instance[96], link[96]; /* of the setting */
	char request_id[NODE_REQUEST_ID_LEN + 1];
	bool all_links;
	unsigned int n_failures, n_cases, n_second_deaths;
	bool hit; /* the last case */
	/* Of the link that somebody else has run a program of his own. */
	int drifted_fd, own_fd, foreign_fd;
};

struct operation {
	const char *name;
	const char *prefixes[3]; /* of the steps that it passes */
	bool needs_instance, needs_link;
	bool lease;
	bool finishes; /* once its intent is there, in place of being undone */
	bool versions; /* version_links, and the other version is stored */
	bool soaks;    /* and runs */
	bool fails;    /* at the last link, when the others have switched */
	int (*call)(struct test *test, struct rpc_channel *channel, struct error *err);
	enum outcome (*look)(const struct test *test, const struct lists *lists);
};

/* ---- the calls */

static int call(struct rpc_channel *channel, const char *method, const ProtobufCMessage *request,
		struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
	ProtobufCMessage *response;

	return rpc_unary(channel, &bpfleet__v1__node_service__descriptor, method, request,
			 clock_monotonic_ns() + 5 * NS_PER_SEC, arena, &response, err);
}

static int load_as(struct test *test, struct rpc_channel *channel,
		   Bpfleet__V1__Durability durability, bool defaults, struct error *err)
{
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;

	request.bundle = (char *)"bundles/e2e@1.0.0";
	request.label = (char *)LABEL;
	request.durability = durability;
	request.attach_defaults = defaults;
	request.request_id = test->request_id;
	return call(channel, "Load", &request.base, err);
}

static int call_load(struct test *test, struct rpc_channel *channel, struct error *err)
{
	return load_as(test, channel, BPFLEET__V1__DURABILITY__DURABILITY_PERSISTENT, false, err);
}

static int call_load_attached(struct test *test, struct rpc_channel *channel, struct error *err)
{
	return load_as(test, channel, BPFLEET__V1__DURABILITY__DURABILITY_BOOT, true, err);
}

static int call_load_lease(struct test *test, struct rpc_channel *channel, struct error *err)
{
	return load_as(test, channel, BPFLEET__V1__DURABILITY__DURABILITY_LEASE, true, err);
}

static int attach_to(struct test *test, struct rpc_channel *channel, const char *name,
		     const char *text, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	char program[160];
	struct hook *hook;
	int r = hook_parse(text, &hook, err);

	if (r < 0)
		return r;
	r = hook_to_message(hook, arena, &request.hook, err);
	hook_free(hook);
	(void)snprintf(program, sizeof(program), "%s/programs/%s", test->instance, name);
	request.program = program;
	request.request_id = test->request_id;
	return r < 0 ? r : call(channel, "Attach", &request.base, err);
}

static int call_attach(struct test *test, struct rpc_channel *channel, struct error *err)
{
	return attach_to(test, channel, "on_raw_tp", HOOK, err);
}

static int call_replace(struct test *test, struct rpc_channel *channel, struct error *err)
{
	Bpfleet__V1__ReplaceRequest request = BPFLEET__V1__REPLACE_REQUEST__INIT;

	request.instance = test->instance;
	request.bundle = (char *)OTHER_VERSION;
	request.keep_parameters = true;
	request.request_id = test->request_id;
	return call(channel, "Replace", &request.base, err);
}

static int call_rollback(struct test *test, struct rpc_channel *channel, struct error *err)
{
	Bpfleet__V1__RollbackRequest request = BPFLEET__V1__ROLLBACK_REQUEST__INIT;

	request.instance = test->instance;
	request.request_id = test->request_id;
	return call(channel, "Rollback", &request.base, err);
}

static int call_commit(struct test *test, struct rpc_channel *channel, struct error *err)
{
	Bpfleet__V1__CommitRequest request = BPFLEET__V1__COMMIT_REQUEST__INIT;

	request.instance = test->instance;
	request.request_id = test->request_id;
	return call(channel, "Commit", &request.base, err);
}

static int call_detach(struct test *test, struct rpc_channel *channel, struct error *err)
{
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;

	request.link = test->link;
	request.request_id = test->request_id;
	return call(channel, "Detach", &request.base, err);
}

static int call_unload(struct test *test, struct rpc_channel *channel, struct error *err)
{
	Bpfleet__V1__UnloadRequest request = BPFLEET__V1__UNLOAD_REQUEST__INIT;

	request.instance = test->instance;
	request.request_id = test->request_id;
	return call(channel, "Unload", &request.base, err);
}

static int push_file(struct bpfleet *node, const char *path, struct error *err)
{
	const struct bpfleet_bundle *bundle;
	struct bpfleet_error error = { 0 };

	if (bpfleet_push_file(node, path, NULL, 0, NULL, &bundle, &error) < 0)
		return error_raise(err, error_code_from_reason(error.reason), "%s", error.message);
	bpfleet_free(bundle);
	return 0;
}

static int call_push(struct test *test, struct rpc_channel *channel, struct error *err)
{
	(void)channel;
	return push_file(test->node, test->other_bundle, err);
}

/* ---- what they did */

static enum outcome of_count(size_t n, size_t all)
{
	if (n == 0)
		return NOTHING;
	return n == all ? ALL : ANYTHING_ELSE;
}

static enum outcome look_load(const struct test *test, const struct lists *l)
{
	if (l->n_instances == 0)
		return l->n_programs + l->n_maps + l->n_links == 0 ? NOTHING : ANYTHING_ELSE;
	if (l->n_instances != 1 || strcmp(l->instances[0].label, LABEL) != 0 ||
	    l->n_programs != (test->all_links ? 10 : 6) || l->n_maps != (test->all_links ? 4 : 3))
		return ANYTHING_ELSE;
	if (l->n_links == 0)
		return l->instances[0].state == BPFLEET_INSTANCE_READY ? ALL : ANYTHING_ELSE;
	return l->n_links == 3 && l->instances[0].state == BPFLEET_INSTANCE_ATTACHED
		       ? ALL
		       : ANYTHING_ELSE;
}

static enum outcome look_attach(const struct test *test, const struct lists *l)
{
	(void)test;
	return l->n_instances == 1 ? of_count(l->n_links, 1) : ANYTHING_ELSE;
}

static enum outcome look_detach(const struct test *test, const struct lists *l)
{
	(void)test;
	if (l->n_instances != 1 || l->n_links > 1)
		return ANYTHING_ELSE;
	return l->n_links == 0 ? ALL : NOTHING;
}

static enum outcome look_unload(const struct test *test, const struct lists *l)
{
	(void)test;
	return l->n_instances == 0 ? ALL : NOTHING;
}

static enum outcome look_push(const struct test *test, const struct lists *l)
{
	size_t n = 0;

	(void)test;
	for (size_t i = 0; i < l->n_bundles; i++)
		n += strcmp(l->bundles[i].name, OTHER_VERSION) == 0;
	return of_count(n, 1);
}

static uint32_t kernel_id_of(const struct lists *l, const char *program)
{
	for (size_t i = 0; i < l->n_programs; i++) {
		if (strcmp(l->programs[i].name, program) == 0)
			return l->programs[i].kernel_id;
	}
	return 0;
}

static uint32_t map_id(const struct lists *l, const char *name)
{
	for (size_t i = 0; i < l->n_maps; i++) {
		if (strcmp(strrchr(l->maps[i].name, '/') + 1, name) == 0)
			return l->maps[i].kernel_id;
	}
	return 0;
}

static int map_fd(const struct lists *l, const char *name)
{
	return bpf_map_get_fd_by_id(map_id(l, name));
}

static bool entry_is_there(const struct lists *l)
{
	const uint32_t key = ENTRY_KEY;
	const int fd = map_fd(l, "settings");
	uint64_t value = 0;
	bool there = fd >= 0 && bpf_map_lookup_elem(fd, &key, &value) == 0;

	if (fd >= 0)
		(void)close(fd);
	return there && value == ENTRY_VALUE;
}

/* The one instance runs this bundle, with all its links and its entry; any state will do with 0. */
static bool runs(const struct test *test, const struct lists *l, const char *bundle, int state)
{
	const size_t n = test->all_links ? ARRAY_SIZE(version_links) : 2;
	char why[256];

	if (l->n_instances != 1 || l->n_links != n || !entry_is_there(l) ||
	    strcmp(l->instances[0].bundle, bundle) != 0 ||
	    (state != 0 && (int)l->instances[0].state != state))
		return false;
	for (size_t i = 0; i < l->n_links; i++) {
		const bool of_table = strncmp(l->links[i].hook, "struct_ops:", 11) == 0;

		if (view_link_fits(l->links[i].kernel_id,
				   of_table ? map_id(l, "table")
					    : kernel_id_of(l, l->links[i].program),
				   l->links[i].hook, why))
			continue;
		(void)fprintf(stderr, "%s\n", why);
		return false;
	}
	return true;
}

static enum outcome look_replace(const struct test *test, const struct lists *l)
{
	if (runs(test, l, OTHER_VERSION, BPFLEET_INSTANCE_SOAKING))
		return ALL;
	return runs(test, l, VERSION, BPFLEET_INSTANCE_ATTACHED) ? NOTHING : ANYTHING_ELSE;
}

/* One link shows as drifted, whatever else. */
static enum outcome look_failed_replace(const struct test *test, const struct lists *l)
{
	return runs(test, l, VERSION, 0) && l->instances[0].state != BPFLEET_INSTANCE_SOAKING
		       ? NOTHING
		       : ANYTHING_ELSE;
}

static enum outcome look_rollback(const struct test *test, const struct lists *l)
{
	if (runs(test, l, VERSION, BPFLEET_INSTANCE_ATTACHED))
		return ALL;
	return runs(test, l, OTHER_VERSION, BPFLEET_INSTANCE_SOAKING) ? NOTHING : ANYTHING_ELSE;
}

static enum outcome look_commit(const struct test *test, const struct lists *l)
{
	if (runs(test, l, OTHER_VERSION, BPFLEET_INSTANCE_ATTACHED))
		return ALL;
	return runs(test, l, OTHER_VERSION, BPFLEET_INSTANCE_SOAKING) ? NOTHING : ANYTHING_ELSE;
}

static const struct operation operations[] = {
	{ .name = "load", .prefixes = { "load." }, .call = call_load, .look = look_load },
	{ .name = "load, attached",
	  .prefixes = { "load." },
	  .call = call_load_attached,
	  .look = look_load },
	{ .name = "load of a lease",
	  .prefixes = { "load." },
	  .lease = true,
	  .call = call_load_lease,
	  .look = look_load },
	{ .name = "attach",
	  .prefixes = { "attach." },
	  .needs_instance = true,
	  .call = call_attach,
	  .look = look_attach },
	{ .name = "detach",
	  .prefixes = { "detach." },
	  .needs_instance = true,
	  .needs_link = true,
	  .finishes = true,
	  .call = call_detach,
	  .look = look_detach },
	{ .name = "unload",
	  .prefixes = { "unload.", "detach." },
	  .needs_instance = true,
	  .needs_link = true,
	  .finishes = true,
	  .call = call_unload,
	  .look = look_unload },
	{ .name = "replace",
	  .prefixes = { "replace.", "switch.", "load." },
	  .needs_instance = true,
	  .versions = true,
	  .call = call_replace,
	  .look = look_replace },
	{ .name = "replace that fails",
	  .prefixes = { "replace.", "switch." },
	  .needs_instance = true,
	  .versions = true,
	  .fails = true,
	  .call = call_replace,
	  .look = look_failed_replace },
	{ .name = "rollback",
	  .prefixes = { "rollback.", "switch.", "commit." },
	  .needs_instance = true,
	  .versions = true,
	  .soaks = true,
	  .call = call_rollback,
	  .look = look_rollback },
	{ .name = "commit",
	  .prefixes = { "commit." },
	  .needs_instance = true,
	  .versions = true,
	  .soaks = true,
	  .call = call_commit,
	  .look = look_commit },
	{ .name = "push", .prefixes = { "push." }, .call = call_push, .look = look_push },
};

/* ---- the daemon */

static void fail(struct test *test, const char *step, const struct operation *operation,
		 const char *what)
{
	test->n_failures++;
	(void)fprintf(stderr, "FAILED %s killed at %s: %s\n", operation->name, step, what);
}

static void wait_ready(struct test *test, struct daemon *daemon)
{
	const uint64_t deadline = clock_monotonic_ns() + WAIT_NS;
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error error = { 0 };

	options.socket_path = test->socket;
	options.timeout_ms = 5000;
	bpfleet_close(test->node);
	test->node = NULL;
	while (clock_monotonic_ns() < deadline) {
		const struct bpfleet_status *status;

		if (daemon_look(daemon) &&
		    (test->node != NULL || bpfleet_open(&options, &test->node, &error) == 0) &&
		    bpfleet_get_status(test->node, &status, &error) == 0) {
			bpfleet_free(status);
			return;
		}
		(void)usleep(5000);
	}
	errx(2, "the daemon does not start: %s", error.message);
}

static void fresh_id(struct test *test)
{
	struct error err = { 0 };

	if (node_request_id(test->request_id, &err) < 0)
		errx(2, "%s", err.message);
}

static struct rpc_channel *open_channel(const struct test *test)
{
	struct rpc_channel *channel;
	struct error err = { 0 };
	char target[256];

	(void)snprintf(target, sizeof(target), "unix:%s", test->socket);
	if (rpc_channel_open(target, NULL, &channel, &err) < 0)
		errx(2, "%s", err.message);
	return channel;
}

/* ---- one case */

/* Somebody else has the last link run a program of his own, or gives it back. */
static void drift(const struct test *test, bool away)
{
	if (test->drifted_fd >= 0 &&
	    bpf_link_update(test->drifted_fd, away ? test->foreign_fd : test->own_fd, NULL) < 0)
		err(2, "update a link");
}

static void find_drifter(struct test *test, const struct lists *l)
{
	/* r0 = -1 (TCX_NEXT); exit */
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	for (size_t i = 0; i < l->n_links; i++) {
		if (strcmp(l->links[i].hook, LAST_HOOK) != 0)
			continue;
		test->drifted_fd = bpf_link_get_fd_by_id(l->links[i].kernel_id);
		test->own_fd = bpf_prog_get_fd_by_id(kernel_id_of(l, l->links[i].program));
	}
	test->foreign_fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "foreign", "GPL", insns, 2, NULL);
	if (test->drifted_fd < 0 || test->own_fd < 0 || test->foreign_fd < 0)
		err(2, "take a link over");
}

static void forget_drifter(struct test *test)
{
	int *fds[] = { &test->drifted_fd, &test->own_fd, &test->foreign_fd };

	drift(test, false);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
		*fds[i] = -1;
	}
}

/* Links, an entry in a map, and the other version at hand, or running. */
static int set_up_versions(struct test *test, const struct operation *operation,
			   struct rpc_channel *channel, struct error *err)
{
	const uint32_t key = ENTRY_KEY;
	const uint64_t value = ENTRY_VALUE;
	struct lists lists;
	char why[512] = "";
	int fd, r = push_file(test->node, test->other_bundle, err);

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(version_links); i++) {
		fresh_id(test);
		if (!version_links[i].in_all || test->all_links)
			r = attach_to(test, channel, version_links[i].program,
				      version_links[i].hook, err);
	}
	fresh_id(test);
	if (r >= 0 && operation->soaks)
		r = call_replace(test, channel, err);
	if (r < 0)
		return r;
	if (!lists_take(test->node, &lists, why, sizeof(why)))
		errx(2, "set up %s: %s", operation->name, why);
	fd = map_fd(&lists, "settings");
	if (fd < 0 || bpf_map_update_elem(fd, &key, &value, BPF_ANY) < 0)
		errx(2, "set up %s: no map", operation->name);
	(void)close(fd);
	if (operation->fails)
		find_drifter(test, &lists);
	lists_done(&lists);
	return 0;
}

/* An instance, with a link, as far as the operation needs one. */
static void set_up(struct test *test, const struct operation *operation)
{
	struct rpc_channel *channel = open_channel(test);
	struct lists lists;
	struct error err = { 0 };
	char why[512];
	int r = 0;

	if (operation->needs_instance) {
		fresh_id(test);
		r = call_load(test, channel, &err);
	}
	if (r >= 0 && !lists_take(test->node, &lists, why, sizeof(why)))
		errx(2, "set up %s: %s", operation->name, why);
	if (lists.n_instances > 0)
		(void)snprintf(test->instance, sizeof(test->instance), "%s",
			       lists.instances[0].name);
	lists_done(&lists);
	if (r >= 0 && operation->needs_link) {
		fresh_id(test);
		r = call_attach(test, channel, &err);
		if (r >= 0 && lists_take(test->node, &lists, why, sizeof(why)) &&
		    lists.n_links == 1)
			(void)snprintf(test->link, sizeof(test->link), "%s", lists.links[0].name);
		lists_done(&lists);
	}
	if (r >= 0 && operation->versions)
		r = set_up_versions(test, operation, channel, &err);
	rpc_channel_close(channel);
	if (r < 0)
		errx(2, "set up %s: %s", operation->name, err.message);
}

static void tear_down(struct test *test)
{
	const struct bpfleet_instance *instances;
	struct bpfleet_error error = { 0 };
	size_t n;

	forget_drifter(test);
	if (bpfleet_list_instances(test->node, NULL, &instances, &n, &error) < 0)
		errx(2, "%s", error.message);
	for (size_t i = 0; i < n; i++) {
		if (bpfleet_unload(test->node, instances[i].name, &error) < 0)
			errx(2, "%s", error.message);
	}
	bpfleet_free(instances);
	if (bpfleet_remove_bundle(test->node, OTHER_VERSION, &error) < 0 &&
	    strcmp(error.reason, "NOT_FOUND") != 0)
		errx(2, "%s", error.message);
}

/* The outcome, once kernel and bpffs agree with the lists. */
static enum outcome look(struct test *test, const struct operation *operation, char *why,
			 size_t size)
{
	/* The kernel may take seconds to free a table of struct_ops. */
	const uint64_t deadline = clock_monotonic_ns() + WAIT_NS;
	enum outcome outcome = ANYTHING_ELSE;
	bool good;

	do {
		struct lists lists;
		struct view view = { 0 };

		good = lists_take(test->node, &lists, why, size);
		(void)daemon_look(&test->normal);
		view_take(test->core_uid, test->bpffs, &test->normal, &view);
		good = good && lists_agree(&lists, &view, why, size);
		if (good)
			outcome = operation->look(test, &lists);
		view_done(&view);
		lists_done(&lists);
		if (!good)
			(void)usleep(20000);
	} while (!good && clock_monotonic_ns() < deadline);
	return good ? outcome : ANYTHING_ELSE;
}

/* Makes the call on a core that dies at the step ("NAME" or "NAME:N": the n-th time). Returns
 * whether core died. */
static bool let_die(struct test *test, const struct operation *operation, const char *step,
		    int *ret_r, struct error *err)
{
	struct rpc_channel *channel;
	unsigned int tries = 1000;
	pid_t core;
	bool died;

	(void)setenv("BPFLEET_KILL_AT", step, 1);
	daemon_start(&test->dying);
	(void)unsetenv("BPFLEET_KILL_AT");
	wait_ready(test, &test->dying);
	core = test->dying.pids[VICTIM_CORE];
	channel = open_channel(test);
	fresh_id(test);
	drift(test, true);
	*ret_r = operation->call(test, channel, err);
	drift(test, false);
	rpc_channel_close(channel);
	/* A dead process keeps its number for a moment. */
	do {
		(void)usleep(1000);
		died = !daemon_look(&test->dying) || test->dying.pids[VICTIM_CORE] != core;
	} while (!died && *ret_r < 0 && err->code == ERROR_UNAVAILABLE && --tries > 0);
	daemon_kill(&test->dying, VICTIM_SUPERVISOR);
	return died;
}

/* Whether the log has come to say this after so many bytes. */
static bool log_says(const char *path, off_t from, const char *what)
{
	char text[8192];
	FILE *log = fopen(path, "re");
	size_t n = 0;

	if (log != NULL && fseeko(log, from, SEEK_SET) == 0)
		n = fread(text, 1, sizeof(text) - 1, log);
	if (log != NULL)
		(void)fclose(log);
	text[n] = '\0';
	return strstr(text, what) != NULL;
}

/* And once more at the first pass of that step, if the start passes it. */
static void let_die_at_start(struct test *test, const char *step)
{
	const uint64_t deadline = clock_monotonic_ns() + WAIT_NS;
	bool died, ready;
	struct stat st;

	if (stat(test->dying.log, &st) < 0)
		err(2, "%s", test->dying.log);
	(void)setenv("BPFLEET_KILL_AT", step, 1);
	daemon_start(&test->dying);
	(void)unsetenv("BPFLEET_KILL_AT");
	do {
		(void)usleep(1000);
		died = log_says(test->dying.log, st.st_size, "ended: signal 9");
		ready = log_says(test->dying.log, st.st_size, "ready");
	} while (!died && !ready && clock_monotonic_ns() < deadline);
	if (!died && !ready)
		errx(2, "the daemon neither starts nor dies at %s", step);
	test->n_second_deaths += died;
	daemon_kill(&test->dying, VICTIM_SUPERVISOR);
}

static enum outcome expected(const struct operation *operation, const char *step, bool died)
{
	const char *what = strrchr(step, '.') + 1;

	if (operation->lease)
		return NOTHING; /* ended with core, whatever the call said */
	if (operation->fails)
		return NOTHING;
	if (!died || operation->finishes || strcmp(what, "committed") == 0 ||
	    strcmp(step, "commit.unpinned") == 0)
		return ALL;
	return NOTHING;
}

static bool is_of_switch(const char *step)
{
	return strncmp(step, "switch.", strlen("switch.")) == 0;
}

/* The step the n-th time; n > 0. */
static void check_case(struct test *test, const struct operation *operation, const char *name,
		       unsigned int n)
{
	static const char *const texts[] = { "nothing", "all", "neither nothing nor all" };
	struct error err = { 0 };
	char why[1024] = "", what[2048], step[96];
	struct rpc_channel *channel;
	enum outcome seen, wanted;
	bool died;
	int r;

	(void)snprintf(step, sizeof(step), "%s:%u", name, n);
	died = let_die(test, operation, step, &r, &err);
	test->hit = died;
	if (died && is_of_switch(name))
		let_die_at_start(test, name);
	if (!died && (r < 0) != operation->fails)
		fail(test, step, operation, r < 0 ? err.message : "it succeeds");
	daemon_start(&test->normal);
	wait_ready(test, &test->normal);
	wanted = expected(operation, name, died);
	seen = look(test, operation, why, sizeof(why));
	if (seen != wanted) {
		(void)snprintf(what, sizeof(what), "%s of it is there, not %s; %s", texts[seen],
			       texts[wanted], why);
		fail(test, step, operation, what);
	}
	channel = open_channel(test);
	err = (struct error){ 0 };
	drift(test, true);
	r = operation->call(test, channel, &err);
	drift(test, false);
	if ((r < 0) != operation->fails) {
		(void)snprintf(what, sizeof(what), "repeated: %s: %s", error_info(err.code)->reason,
			       err.message);
		fail(test, step, operation, what);
	}
	/* A lease's answer outlives the lease. */
	wanted = operation->fails ||
				 (operation->lease && (!died || strstr(step, ".committed") != NULL))
			 ? NOTHING
			 : ALL;
	seen = look(test, operation, why, sizeof(why));
	if (seen != wanted) {
		(void)snprintf(what, sizeof(what), "after the repeated call %s of it is there; %s",
			       texts[seen], why);
		fail(test, step, operation, what);
	}
	rpc_channel_close(channel);
}

static bool passes(const struct operation *operation, const char *step)
{
	for (size_t i = 0; i < 3 && operation->prefixes[i] != NULL; i++) {
		if (strncmp(step, operation->prefixes[i], strlen(operation->prefixes[i])) == 0)
			return true;
	}
	return false;
}

/* Every operation that may pass the step; at least one has to. */
static void check_step(struct test *test, const char *step)
{
	bool hit = false;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *operation = &operations[i];

		if (!passes(operation, step))
			continue;
		for (unsigned int n = 1; n == 1 || (test->hit && n <= PASSES_MAX); n++) {
			set_up(test, operation);
			bpfleet_close(test->node); /* front waits for idle clients, too */
			test->node = NULL;
			(void)daemon_stop(&test->normal);
			check_case(test, operation, step, n);
			tear_down(test);
			test->n_cases++;
			hit |= test->hit;
			if (!is_of_switch(step))
				break;
		}
	}
	if (!hit) {
		test->n_failures++;
		(void)fprintf(stderr, "FAILED no operation passes %s\n", step);
	}
}

int main(int argc, char **argv)
{
	struct test test = { .drifted_fd = -1, .own_fd = -1, .foreign_fd = -1 };
	struct error err = { 0 };

	if (argc < 12)
		errx(2,
		     "usage: steps BPFLEETD CONFIG STEPS_CONFIG LOG SOCKET BPFFS CORE_UID BUNDLE "
		     "OTHER_BUNDLE all|few STEP...");
	(void)signal(SIGPIPE, SIG_IGN);
	test.normal = (struct daemon){ .program = argv[1], .config = argv[2], .log = argv[4] };
	test.dying = (struct daemon){ .program = argv[1], .config = argv[3], .log = argv[4] };
	test.socket = argv[5];
	test.bpffs = argv[6];
	test.core_uid = (uid_t)strtoul(argv[7], NULL, 10);
	test.bundle = argv[8];
	test.other_bundle = argv[9];
	test.all_links = strcmp(argv[10], "all") == 0;
	daemon_start(&test.normal);
	wait_ready(&test, &test.normal);
	if (push_file(test.node, test.bundle, &err) < 0)
		errx(2, "%s", err.message);
	for (int i = 11; i < argc; i++)
		check_step(&test, argv[i]);
	(void)daemon_stop(&test.normal);
	(void)printf("%d steps, %s links, %u cases, %u with a second death, %u failures\n",
		     argc - 11, argv[10], test.n_cases, test.n_second_deaths, test.n_failures);
	return test.n_failures == 0 ? 0 : 1;
}
