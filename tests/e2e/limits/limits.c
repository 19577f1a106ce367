/*
 * Behaviour that takes a connection held open, two calls at once, or fields the CLI does not show.
 *
 *     limits SOCKET reuse | race | pages | watch       checks, and says what was wrong
 *     limits SOCKET lease LABEL                         loads one, prints INSTANCE TOKEN, keeps it
 *     limits SOCKET keep INSTANCE TOKEN                 comes back to it, and keeps it
 *     limits SOCKET read MAP                            reads key 0 until that fails; prints why
 */
#include <err.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/bpfleet.h"
#include "client/node.h"
#include "proto/arena.h"

#define BUNDLE "e2e"
#define N_THREADS 6
#define READ_MS 30

static const char *socket_path;
static unsigned int n_wrong;

__attribute__((format(printf, 2, 3))) static void check(bool right, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (!right) {
		n_wrong++;
		(void)printf("wrong: ");
		(void)vprintf(format, arguments);
		(void)printf("\n");
	}
	va_end(arguments);
}

static struct bpfleet *open_node(void)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error error;
	struct bpfleet *node;

	options.socket_path = socket_path;
	if (bpfleet_open(&options, &node, &error) < 0)
		errx(2, "%s", error.message);
	return node;
}

static struct node *open_raw(void)
{
	struct error err = { 0 };
	struct node *node;

	if (node_open(socket_path, 0, &node, &err) < 0)
		errx(2, "%s", err.message);
	return node;
}

/* The stable reason of a failed call, "" for success. */
static const char *call(struct node *node, const char *method, const ProtobufCMessage *request,
			struct arena *arena, ProtobufCMessage **ret)
{
	struct error err = { 0 };

	return node_call(node, method, request, arena, ret, &err) < 0 ? error_info(err.code)->reason
								      : "";
}

static const struct bpfleet_loaded *load(struct bpfleet *node, const char *label,
					 enum bpfleet_durability durability)
{
	struct bpfleet_load_options options = BPFLEET_LOAD_OPTIONS_INIT;
	const struct bpfleet_loaded *loaded;
	struct bpfleet_error error;

	options.label = label;
	options.durability = durability;
	if (bpfleet_load(node, BUNDLE, &options, &loaded, &error) < 0)
		errx(2, "load: %s: %s", error.reason, error.message);
	return loaded;
}

/* ---- request_id */

static const char *load_raw(struct node *node, const char *label, const char *request_id,
			    char name[static 64])
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	ProtobufCMessage *response;
	const char *reason;

	request.bundle = (char *)"bundles/" BUNDLE;
	request.label = (char *)(uintptr_t)label;
	request.request_id = (char *)(uintptr_t)request_id;
	reason = call(node, "Load", &request.base, arena, &response);
	if (reason[0] == '\0')
		(void)snprintf(name, 64, "%s",
			       ((const Bpfleet__V1__LoadResponse *)response)->instance->name);
	return reason;
}

struct caller {
	pthread_t thread;
	const char *request_id, *reason;
	char name[64];
};

static void *load_at_once(void *argument)
{
	struct caller *caller = argument;
	struct node *node = open_raw();

	do {
		caller->reason = load_raw(node, "", caller->request_id, caller->name);
	} while (strcmp(caller->reason, "REQUEST_IN_PROGRESS") == 0 && usleep(2000) == 0);
	node_close(node);
	return NULL;
}

static void check_reuse(void)
{
	char id[NODE_REQUEST_ID_LEN + 1], first[64] = "", again[64] = "", long_id[80];
	struct bpfleet *client = open_node();
	struct node *node = open_raw();
	struct caller callers[N_THREADS];
	struct bpfleet_error error = { 0 };
	struct error err = { 0 };
	const char *reason;

	if (node_request_id(id, &err) < 0)
		errx(2, "%s", err.message);
	reason = load_raw(node, "one", id, first);
	check(reason[0] == '\0', "load: %s", reason);
	reason = load_raw(node, "one", id, again);
	check(strcmp(first, again) == 0, "repeated: %s, %s in place of %s", reason, again, first);
	reason = load_raw(node, "two", id, again);
	check(strcmp(reason, "REQUEST_ID_REUSED") == 0, "another body: '%s'", reason);
	memset(long_id, 'a', sizeof(long_id));
	long_id[sizeof(long_id) - 1] = '\0';
	reason = load_raw(node, "three", long_id, again);
	check(strcmp(reason, "INVALID_ARGUMENT") == 0, "a long request_id: '%s'", reason);

	if (node_request_id(id, &err) < 0)
		errx(2, "%s", err.message);
	for (size_t i = 0; i < N_THREADS; i++) {
		callers[i] = (struct caller){ .request_id = id };
		(void)pthread_create(&callers[i].thread, NULL, load_at_once, &callers[i]);
	}
	for (size_t i = 0; i < N_THREADS; i++) {
		(void)pthread_join(callers[i].thread, NULL);
		check(callers[i].reason[0] == '\0', "at once: %s", callers[i].reason);
		check(strcmp(callers[i].name, callers[0].name) == 0, "at once: %s and %s",
		      callers[i].name, callers[0].name);
	}
	check(bpfleet_unload(client, first, &error) == 0, "unload: %s", error.message);
	check(bpfleet_unload(client, callers[0].name, &error) == 0, "unload: %s", error.message);
	node_close(node);
	bpfleet_close(client);
}

/* ---- detach and unload at once */

struct racer {
	pthread_t thread;
	struct bpfleet *node;
	const char *instance, *link; /* link NULL: unloads */
	bool strange;
	struct bpfleet_error error;
};

static void *race(void *argument)
{
	struct racer *racer = argument;

	for (int i = 0; i < 400; i++) {
		int r = racer->link != NULL
				? bpfleet_detach(racer->node, racer->link, &racer->error)
				: bpfleet_unload(racer->node, racer->instance, &racer->error);

		if (r == 0 || strcmp(racer->error.reason, "NOT_FOUND") == 0)
			return NULL;
		racer->strange |= strcmp(racer->error.reason, "INSTANCE_BUSY") != 0;
		(void)usleep(2000);
	}
	racer->strange = true;
	return NULL;
}

static void check_race_once(struct bpfleet *node)
{
	static const char *const hooks[] = { "raw_tp:sched_process_exec",
					     "tp_btf:sched_process_exec",
					     "tracepoint:sched:sched_process_exec" };
	static const char *const programs[] = { "on_raw_tp", "on_tp_btf", "on_tracepoint" };
	const struct bpfleet_loaded *loaded = load(node, NULL, BPFLEET_DURABILITY_PERSISTENT);
	const struct bpfleet_link *links[ARRAY_SIZE(hooks)];
	struct racer racers[2 * ARRAY_SIZE(hooks) + 2];
	const struct bpfleet_instance *gone;
	struct bpfleet_error error = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (bpfleet_attach(node, loaded->instance->name, programs[i], hooks[i], &links[i],
				   &error) < 0)
			errx(2, "attach: %s", error.message);
	}
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer){ .node = node, .instance = loaded->instance->name };
		if (i < 2 * ARRAY_SIZE(hooks))
			racers[i].link = links[i / 2]->name;
		(void)pthread_create(&racers[i].thread, NULL, race, &racers[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
		(void)pthread_join(racers[i].thread, NULL);
		check(!racers[i].strange, "%s: %s: %s", racers[i].link ? "detach" : "unload",
		      racers[i].error.reason, racers[i].error.message);
	}
	check(bpfleet_get_instance(node, loaded->instance->name, &gone, &error) < 0 &&
		      strcmp(error.reason, "NOT_FOUND") == 0,
	      "the instance is still there");
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		bpfleet_free(links[i]);
	bpfleet_free(loaded);
}

static void check_race(void)
{
	struct bpfleet *node = open_node();

	for (int i = 0; i < 10; i++)
		check_race_once(node);
	bpfleet_close(node);
}

/* ---- pages */

static size_t read_pages(struct node *node, uint32_t page_size, size_t *ret_n_pages)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)64 << 20);
	Bpfleet__V1__ListInstancesRequest request = BPFLEET__V1__LIST_INSTANCES_REQUEST__INIT;
	const Bpfleet__V1__ListInstancesResponse *page;
	const char *last = "";
	size_t n = 0;

	request.page_size = page_size;
	*ret_n_pages = 0;
	do {
		ProtobufCMessage *response;
		const char *reason = call(node, "ListInstances", &request.base, arena, &response);

		if (reason[0] != '\0') {
			check(false, "page: %s", reason);
			return n;
		}
		page = (const Bpfleet__V1__ListInstancesResponse *)response;
		check(page_size == 0 || page->n_instances <= page_size, "%zu on a page of %u",
		      page->n_instances, page_size);
		for (size_t i = 0; i < page->n_instances; i++) {
			check(strcmp(last, page->instances[i]->name) < 0, "%s after %s",
			      page->instances[i]->name, last);
			last = page->instances[i]->name;
		}
		n += page->n_instances;
		request.page_token = page->next_page_token;
		++*ret_n_pages;
	} while (page->next_page_token[0] != '\0' && *ret_n_pages < 1000);
	return n;
}

static void check_pages(void)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__ListInstancesRequest request = BPFLEET__V1__LIST_INSTANCES_REQUEST__INIT;
	struct bpfleet *client = open_node();
	struct node *node = open_raw();
	const struct bpfleet_loaded *loaded[23];
	struct bpfleet_error error = { 0 };
	ProtobufCMessage *response;
	const char *reason;
	size_t n_pages, n;

	for (size_t i = 0; i < ARRAY_SIZE(loaded); i++)
		loaded[i] = load(client, NULL, BPFLEET_DURABILITY_BOOT);
	n = read_pages(node, 5, &n_pages);
	check(n == ARRAY_SIZE(loaded) && n_pages == 5, "%zu instances on %zu pages", n, n_pages);
	n = read_pages(node, ARRAY_SIZE(loaded), &n_pages);
	check(n == ARRAY_SIZE(loaded), "%zu instances on pages of all", n);
	n = read_pages(node, 0, &n_pages);
	check(n == ARRAY_SIZE(loaded) && n_pages == 1, "%zu on %zu pages of 100", n, n_pages);
	request.page_token = (char *)"no token of ours";
	reason = call(node, "ListInstances", &request.base, arena, &response);
	check(strcmp(reason, "INVALID_PAGE_TOKEN") == 0, "a wrong token: '%s'", reason);
	request.page_token = (char *)"";
	request.page_size = 1001;
	reason = call(node, "ListInstances", &request.base, arena, &response);
	check(strcmp(reason, "INVALID_ARGUMENT") == 0, "1001 on a page: '%s'", reason);
	for (size_t i = 0; i < ARRAY_SIZE(loaded); i++) {
		check(bpfleet_unload(client, loaded[i]->instance->name, &error) == 0, "unload: %s",
		      error.message);
		bpfleet_free(loaded[i]);
	}
	node_close(node);
	bpfleet_close(client);
}

/* ---- watch */

struct watched {
	const char *label;
	uint64_t last, since;
	bool put, deleted, synced;
	char name[96];
};

static int on_change(const struct bpfleet_change *change, void *user_data)
{
	struct watched *w = user_data;

	if (change->synced) {
		w->synced = true;
		return 0;
	}
	check(change->revision > w->since, "revision %llu after %llu",
	      (unsigned long long)change->revision, (unsigned long long)w->since);
	check(change->revision >= w->last, "revision %llu after %llu",
	      (unsigned long long)change->revision, (unsigned long long)w->last);
	w->last = change->revision;
	if (change->instance != NULL && strcmp(change->instance->name, w->name) == 0) {
		w->put |= !change->deleted;
		w->deleted |= change->deleted;
	}
	/* The last change of all. */
	return w->deleted;
}

static void check_watch(void)
{
	struct bpfleet *node = open_node();
	const struct bpfleet_status *status;
	const struct bpfleet_loaded *loaded;
	struct bpfleet_error error = { 0 };
	struct watched w = { 0 };

	if (bpfleet_get_status(node, &status, &error) < 0)
		errx(2, "%s", error.message);
	w.since = status->revision;
	loaded = load(node, NULL, BPFLEET_DURABILITY_PERSISTENT);
	(void)snprintf(w.name, sizeof(w.name), "%s", loaded->instance->name);
	check(bpfleet_unload(node, w.name, &error) == 0, "unload: %s", error.message);
	check(bpfleet_watch(node, w.since, on_change, &w, &error) == 0, "watch: %s", error.message);
	check(w.deleted, "the end of %s was not told", w.name);
	check(bpfleet_watch(node, w.since + 1000000, on_change, &w, &error) < 0 &&
		      error.reason[0] != '\0',
	      "a revision that never was is watched");
	bpfleet_free(loaded);
	bpfleet_free(status);
	bpfleet_close(node);
}

/* ---- clients that stay */

static void hold_lease(const char *label)
{
	struct bpfleet *node = open_node();
	const struct bpfleet_loaded *loaded = load(node, label, BPFLEET_DURABILITY_LEASE);
	char token[2 * BPFLEET_LEASE_TOKEN_BYTES + 1];

	str_hex(loaded->lease_token, BPFLEET_LEASE_TOKEN_BYTES, token);
	(void)printf("%s %s\n", loaded->instance->name, token);
	(void)fflush(stdout);
	(void)pause();
}

static void keep_lease(const char *instance, const char *hex)
{
	struct bpfleet *node = open_node();
	uint8_t token[BPFLEET_LEASE_TOKEN_BYTES];
	struct bpfleet_error error;

	for (size_t i = 0; i < sizeof(token); i++) {
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			errx(2, "not a token");
		token[i] = (uint8_t)byte;
	}
	if (bpfleet_keep_lease(node, instance, token, NULL, &error) < 0)
		errx(1, "%s: %s", error.reason, error.message);
	(void)printf("kept\n");
	(void)fflush(stdout);
	(void)pause();
}

static void read_on(const char *map)
{
	struct bpfleet *node = open_node();
	struct bpfleet_error error;
	uint32_t key = 0;
	uint64_t value;

	while (bpfleet_map_lookup(node, map, &key, sizeof(key), &value, sizeof(value), &error) ==
	       0) {
		(void)printf("read\n");
		(void)fflush(stdout);
		(void)usleep(1000 * READ_MS);
	}
	(void)printf("%s\n", error.reason);
	bpfleet_close(node);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: limits SOCKET WHAT [ARGUMENT...]");
	socket_path = argv[1];
	if (strcmp(argv[2], "reuse") == 0)
		check_reuse();
	else if (strcmp(argv[2], "race") == 0)
		check_race();
	else if (strcmp(argv[2], "pages") == 0)
		check_pages();
	else if (strcmp(argv[2], "watch") == 0)
		check_watch();
	else if (strcmp(argv[2], "lease") == 0 && argc == 4)
		hold_lease(argv[3]);
	else if (strcmp(argv[2], "keep") == 0 && argc == 5)
		keep_lease(argv[3], argv[4]);
	else if (strcmp(argv[2], "read") == 0 && argc == 4)
		read_on(argv[3]);
	else
		errx(2, "what is %s?", argv[2]);
	return n_wrong == 0 ? 0 : 1;
}
