/*
 * A client without capabilities that policy lets view and read one bundle, "shown", and nothing of
 * another, "secret". It reads, streams and looks up all that it may, tries everything else over the
 * API, and then by itself: with the descriptor it was given, with bpf(2), and at the daemon's own
 * processes and files.
 *
 *     outsider SOCKET BPFFS OPEN-BPFFS STATE CORE-PID FRONT-PID
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/bpfleet.h"
#include "client/node.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define SHOWN "instances/shown/"
#define SECRET "instances/secret/"
#define N_EVENTS 100

static struct node *raw;
static struct bpfleet *node;
static struct arena *arena;
static unsigned int n_checks, n_wrong;

__attribute__((format(printf, 2, 3))) static bool check(bool right, const char *format, ...)
{
	va_list arguments;

	n_checks++;
	if (right)
		return true;
	n_wrong++;
	va_start(arguments, format);
	(void)printf("wrong: ");
	(void)vprintf(format, arguments);
	(void)printf("\n");
	va_end(arguments);
	return false;
}

/* A system call that must not succeed; errno is what it failed with. */
static void denied(long result, const char *what)
{
	check(result < 0 && (errno == EPERM || errno == EACCES || errno == ESRCH), "%s: %s", what,
	      result >= 0 ? "done" : strerror(errno));
}

/* ---- what it may */

/* Names of shown objects begin so, once its id is known. */
static char shown_id[128];

static void check_name(const char *name, const char *kind)
{
	const size_t n = strlen(shown_id);

	check(strncmp(name, shown_id, n) == 0 && (name[n] == '\0' || name[n] == '/'),
	      "%s %s is listed", kind, name);
}

#define LIST(kind, type, member, ...)                                                             \
	do {                                                                                      \
		const struct bpfleet_##type *list = NULL;                                         \
		size_t n_list = 0;                                                                \
		if (check(bpfleet_list_##type##s(node, __VA_ARGS__, &list, &n_list, &error) == 0, \
			  kind "s: %s", error.message)) {                                         \
			check(n_list > 0, "no " kind " is listed");                               \
			for (size_t i = 0; i < n_list; i++)                                       \
				check_name(list[i].member, kind);                                 \
			bpfleet_free(list);                                                       \
		}                                                                                 \
	} while (0)

static void lists_show_what_is_granted(void)
{
	const struct bpfleet_instance *instances = NULL;
	const struct bpfleet_bundle *bundles = NULL;
	struct bpfleet_error error = { 0 };
	size_t n = 0;

	if (bpfleet_list_instances(node, NULL, &instances, &n, &error) < 0 || n == 0)
		errx(2, "no instances are seen: %s", error.message);
	check(n == 1, "%zu instances are listed", n);
	(void)snprintf(shown_id, sizeof(shown_id), "%s", instances[0].name);
	check(strcmp(instances[0].label, "shown") == 0, "instance %s is listed",
	      instances[0].label);
	bpfleet_free(instances);
	if (check(bpfleet_list_bundles(node, &bundles, &n, &error) == 0, "%s", error.message)) {
		check(n == 1 && strcmp(bundles[0].name, "bundles/shown@1.0.0") == 0,
		      "%zu bundles are listed", n);
		bpfleet_free(bundles);
	}
	LIST("program", program, name, NULL);
	LIST("link", link, program, NULL);
	LIST("map", map, name, NULL);
}

static void watching_shows_no_more(void)
{
	Bpfleet__V1__WatchRequest request = BPFLEET__V1__WATCH_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	struct error cause = { 0 };
	unsigned int n = 0;
	int r = node_subscribe(raw, "Watch", &request.base, UINT64_MAX, &stream, &cause);

	for (;;) {
		const Bpfleet__V1__WatchResponse *response;
		const Bpfleet__V1__Change *change;
		ProtobufCMessage *message = NULL;

		if (r >= 0)
			r = rpc_stream_receive(stream, arena, &message, &cause);
		if (!check(r > 0, "Watch: %s", cause.message))
			break;
		response = (const Bpfleet__V1__WatchResponse *)message;
		if (response->part_case != BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE)
			break;
		change = response->change;
		n++;
		switch (change->object_case) {
		case BPFLEET__V1__CHANGE__OBJECT_INSTANCE:
			check_name(change->instance->name, "instance");
			break;
		case BPFLEET__V1__CHANGE__OBJECT_PROGRAM:
			check_name(change->program->name, "program");
			break;
		case BPFLEET__V1__CHANGE__OBJECT_MAP:
			check_name(change->map->name, "map");
			break;
		case BPFLEET__V1__CHANGE__OBJECT_LINK:
			check_name(change->link->program, "link");
			break;
		case BPFLEET__V1__CHANGE__OBJECT_BUNDLE:
			check(strstr(change->bundle->name, "shown") != NULL, "bundle %s is told",
			      change->bundle->name);
			break;
		case BPFLEET__V1__CHANGE__OBJECT__NOT_SET:
		case _BPFLEET__V1__CHANGE__OBJECT__CASE_IS_INT_SIZE:
		default:
			check(false, "a change of nothing");
		}
	}
	check(n > 5, "%u objects are told", n);
	node_stream_free(raw, stream);
}

static void maps_are_read(void)
{
	struct bpfleet_error error = { 0 };
	struct bpfleet_dump *dump = NULL;
	struct bpfleet_entry entry;
	uint64_t value = 0;
	uint32_t key = 7;
	unsigned int n = 0;

	check(bpfleet_map_lookup(node, SHOWN "maps/table", &key, sizeof(key), &value, sizeof(value),
				 &error) == 0 &&
		      value == 70,
	      "lookup: %lu, %s", value, error.message);
	check(bpfleet_dump_open(node, SHOWN "maps/table", true, &dump, &error) == 0, "dump: %s",
	      error.message);
	while (dump != NULL && bpfleet_dump_next(dump, &entry, &error) == 1)
		n += strcmp(entry.json, "{\"key\":7,\"value\":70}") == 0;
	check(n == 1, "the dump has its entry %u times", n);
	bpfleet_dump_close(dump);
}

struct told {
	unsigned int n, wrong;
};

/* The program tells each getppid() of this user. */
static int on_event(const struct bpfleet_event *event, void *arg)
{
	struct told *told = arg;
	uint32_t ids[2];

	if (event != NULL && event->size == sizeof(ids)) {
		memcpy(ids, event->data, sizeof(ids));
		told->n++;
		told->wrong += ids[1] == 0;
	}
	if (told->n < N_EVENTS)
		(void)syscall(SYS_getppid);
	return told->n >= N_EVENTS;
}

static int count_tasks(const void *data, size_t size, void *arg)
{
	unsigned int *n = arg;

	for (size_t i = 0; i < size; i++)
		*n += ((const char *)data)[i] == 't';
	return 0;
}

static void streams_are_read(void)
{
	const struct bpfleet_link *links = NULL;
	struct bpfleet_error error = { 0 };
	struct told told = { 0 };
	unsigned int n_tasks = 0;
	size_t n = 0;

	check(bpfleet_events(node, SHOWN "maps/events", false, on_event, &told, &error) == 0 &&
		      told.n == N_EVENTS && told.wrong == 0,
	      "%u events, %u wrong: %s", told.n, told.wrong, error.message);
	if (!check(bpfleet_list_links(node, "shown", &links, &n, &error) == 0, "%s", error.message))
		return;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(links[i].hook, "iter", 4) == 0)
			check(bpfleet_read(node, links[i].name, count_tasks, &n_tasks, &error) == 0,
			      "iterator: %s", error.message);
	}
	check(n_tasks > 0, "the iterator shows no tasks");
	bpfleet_free(links);
}

/* ---- what it may not, over the API */

static void refused(const char *method, const ProtobufCMessage *request, const char *reason)
{
	struct rpc_stream *stream = NULL;
	ProtobufCMessage *answer;
	struct error cause = { 0 };
	const bool streams = strcmp(method, "DumpMap") == 0 ||
			     strcmp(method, "StreamEvents") == 0 ||
			     strcmp(method, "ReadIterator") == 0;
	int r;

	if (streams) {
		r = node_subscribe(raw, method, request, UINT64_MAX, &stream, &cause);
		if (r >= 0)
			r = rpc_stream_receive(stream, arena, &answer, &cause);
		if (r < 0)
			(void)node_explain(raw, r, &cause);
		node_stream_free(raw, stream);
	} else {
		r = node_call(raw, method, request, arena, &answer, &cause);
	}
	check(r < 0 && strcmp(error_info(cause.code)->reason, reason) == 0, "%s: %s", method,
	      r >= 0 ? "done" : cause.message);
}

/* A request of the fields given, with a fresh request_id. */
#define REFUSED(method, type, init, reason, ...)                                            \
	do {                                                                                \
		Bpfleet__V1__##type##Request request = BPFLEET__V1__##init##_REQUEST__INIT; \
		char id[NODE_REQUEST_ID_LEN + 1];                                           \
		struct error cause = { 0 };                                                 \
		if (node_request_id(id, &cause) < 0)                                        \
			errx(2, "%s", cause.message);                                       \
		request.request_id = id;                                                    \
		__VA_ARGS__;                                                                \
		refused(method, &request.base, reason);                                     \
	} while (0)
#define NOT_READ(method, type, init, reason, ...)                                           \
	do {                                                                                \
		Bpfleet__V1__##type##Request request = BPFLEET__V1__##init##_REQUEST__INIT; \
		__VA_ARGS__;                                                                \
		refused(method, &request.base, reason);                                     \
	} while (0)

static void nothing_is_changed_through_the_api(const char *link)
{
	static char json[] = "{\"key\":7,\"value\":1}", key[] = "7", hook_kind[] = "xdp",
		    target[] = "lo";
	Bpfleet__V1__Hook hook = BPFLEET__V1__HOOK__INIT;
	char *jsons[] = { json }, *keys[] = { key };

	hook.kind = hook_kind;
	hook.target = (ProtobufCBinaryData){ sizeof(target) - 1, (uint8_t *)target };
#define NO "PERMISSION_DENIED"
	REFUSED("UpdateMap", UpdateMap, UPDATE_MAP, NO, request.map = SHOWN "maps/table";
		request.json = jsons; request.n_json = 1);
	REFUSED("DeleteMapKeys", DeleteMapKeys, DELETE_MAP_KEYS, NO,
		request.map = SHOWN "maps/table";
		request.key_texts = keys; request.n_key_texts = 1);
	REFUSED("PopMap", PopMap, POP_MAP, NO, request.map = SHOWN "maps/line");
	REFUSED("Load", Load, LOAD, NO, request.bundle = "bundles/shown@1.0.0");
	REFUSED("Load", Load, LOAD, NO, request.bundle = "bundles/shown@1.0.0";
		request.validate_only = true);
	REFUSED("Attach", Attach, ATTACH, NO, request.program = SHOWN "programs/on_packet";
		request.hook = &hook);
	REFUSED("Detach", Detach, DETACH, NO, request.link = (char *)(uintptr_t)link);
	REFUSED("Unload", Unload, UNLOAD, NO, request.instance = "instances/shown");
	REFUSED("Replace", Replace, REPLACE, NO, request.instance = "instances/shown";
		request.bundle = "bundles/shown@1.0.0");
	REFUSED("Rollback", Rollback, ROLLBACK, NO, request.instance = "instances/shown");
	REFUSED("Commit", Commit, COMMIT, NO, request.instance = "instances/shown");
	REFUSED("RemoveBundle", RemoveBundle, REMOVE_BUNDLE, NO,
		request.name = "bundles/shown@1.0.0");
	REFUSED("RunProgram", RunProgram, RUN_PROGRAM, NO,
		request.program = SHOWN "programs/on_demand");
	NOT_READ("CollectGarbage", CollectGarbage, COLLECT_GARBAGE, NO, );
	NOT_READ("QueryAudit", QueryAudit, QUERY_AUDIT, NO, );
#undef NO
}

static void the_rest_is_not_there(void)
{
	static char key[] = "7";
	char *keys[] = { key };

#define NONE "NOT_FOUND"
	NOT_READ("GetBundle", GetBundle, GET_BUNDLE, NONE, request.name = "bundles/secret@1.0.0");
	NOT_READ("GetInstance", GetInstance, GET_INSTANCE, NONE, request.name = "instances/secret");
	NOT_READ("GetProgram", GetProgram, GET_PROGRAM, NONE,
		 request.name = SECRET "programs/on_packet");
	NOT_READ("GetMap", GetMap, GET_MAP, NONE, request.name = SECRET "maps/table");
	NOT_READ("LookupMap", LookupMap, LOOKUP_MAP, NONE, request.map = SECRET "maps/table";
		 request.key_texts = keys; request.n_key_texts = 1);
	NOT_READ("DumpMap", DumpMap, DUMP_MAP, NONE, request.map = SECRET "maps/table");
	NOT_READ("OpenMap", OpenMap, OPEN_MAP, NONE, request.map = SECRET "maps/frozen");
	NOT_READ("StreamEvents", StreamEvents, STREAM_EVENTS, NONE,
		 request.source = SECRET "maps/events");
	REFUSED("UpdateMap", UpdateMap, UPDATE_MAP, NONE, request.map = SECRET "maps/table");
	REFUSED("Unload", Unload, UNLOAD, NONE, request.instance = "instances/secret");
	REFUSED("Load", Load, LOAD, NONE, request.bundle = "bundles/secret@1.0.0");
#undef NONE
	NOT_READ("LookupMap", LookupMap, LOOKUP_MAP, "MAP_PRIVATE",
		 request.map = SHOWN "maps/hidden";
		 request.key_texts = keys; request.n_key_texts = 1);
	NOT_READ("DumpMap", DumpMap, DUMP_MAP, "MAP_PRIVATE", request.map = SHOWN "maps/hidden");
	NOT_READ("OpenMap", OpenMap, OPEN_MAP, "MAP_PRIVATE", request.map = SHOWN "maps/hidden");
	NOT_READ("OpenMap", OpenMap, OPEN_MAP, "MAP_NOT_FREEZABLE",
		 request.map = SHOWN "maps/table");
}

/* ---- by itself */

static void the_descriptor_only_reads(int fd)
{
	uint32_t key = 1, keys[2] = { 0, 1 }, n = 2;
	uint64_t value = 0, values[2] = { 5, 5 };
	uint64_t *page;

	check(bpf_map_lookup_elem(fd, &key, &value) == 0 && value >= N_EVENTS, "lookup: %lu",
	      value);
	page = mmap(NULL, 32, PROT_READ, MAP_SHARED, fd, 0);
	check(page != MAP_FAILED && page[1] >= value, "mmap");
	denied(bpf_map_update_elem(fd, &key, values, BPF_ANY), "update");
	denied(bpf_map_update_batch(fd, keys, values, &n, NULL), "update_batch");
	check(bpf_map_delete_elem(fd, &key) < 0, "delete");
	check(bpf_map_lookup_and_delete_elem(fd, &key, &value) < 0, "lookup_and_delete");
	check(bpf_map_freeze(fd) < 0, "freeze");
	check(mmap(NULL, 32, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED,
	      "a writable mapping");
	if (page != MAP_FAILED)
		denied(mprotect(page, 32, PROT_READ | PROT_WRITE), "mprotect");
}

/* Pins it, opens the pin again with all rights, and writes. 1: it could be pinned. */
static int repin(int fd, const char *folder)
{
	_cleanup_close_ int again = -1;
	const uint64_t value = 5;
	uint32_t key = 1;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/outsider", folder);
	if (bpf_obj_pin(fd, path) < 0)
		return 0;
	again = bpf_obj_get(path);
	check(again >= 0, "what was pinned is not there");
	denied(bpf_map_update_elem(again, &key, &value, BPF_ANY), "update after a pin");
	check(mmap(NULL, 32, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED,
	      "a writable mapping after a pin");
	(void)unlink(path);
	return 1;
}

static void nothing_is_pinned(int fd, const char *bpffs, const char *open_bpffs)
{
	char own[] = "/tmp/outsider.XXXXXX";

	check(repin(fd, bpffs) == 0, "pinned among the daemon's");
	check(errno == EACCES || errno == EPERM, "pinning: %s", strerror(errno));
	/* A bpffs of one's own: not to be had, in a user namespace of one's own either. */
	if (check(mkdtemp(own) != NULL, "%s", own)) {
		denied(mount("bpf", own, "bpf", 0, NULL), "mount a bpffs");
		denied(syscall(SYS_fsopen, "bpf", 0) < 0
			       ? -1
			       : syscall(SYS_fsconfig, syscall(SYS_fsopen, "bpf", 0), 6, NULL, NULL,
					 0),
		       "make a bpffs");
		(void)rmdir(own);
	}
	/* Where somebody left one open to all, it can be pinned, and is as frozen as before. */
	check(repin(fd, open_bpffs) == 1, "pinning where all may: %s", strerror(errno));
}

static void bpf_is_out_of_reach(const uint32_t *ids, size_t n_ids, int map_fd)
{
	const struct bpf_insn program[] = { { .code = 0xb7 }, { .code = 0x95 } };
	const uint32_t count = 1;
	uint32_t next = 0;

	for (size_t i = 0; i < n_ids; i++) {
		denied(bpf_map_get_fd_by_id(ids[i]), "a map by its id");
		denied(bpf_prog_get_fd_by_id(ids[i]), "a program by its id");
		denied(bpf_link_get_fd_by_id(ids[i]), "a link by its id");
		denied(bpf_btf_get_fd_by_id(ids[i]), "types by their id");
	}
	denied(bpf_map_get_next_id(0, &next), "the list of maps");
	denied(bpf_prog_get_next_id(0, &next), "the list of programs");
	denied(bpf_link_get_next_id(0, &next), "the list of links");
	denied(bpf_map_create(BPF_MAP_TYPE_HASH, "mine", 4, 4, count, NULL), "a hash");
	denied(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "mine", "GPL", program, 2, NULL),
	       "a program");
	denied(bpf_enable_stats(BPF_STATS_RUN_TIME), "statistics");
	/* The map's descriptor is no program's. */
	check(bpf_link_create(map_fd, 1, BPF_TCX_INGRESS, NULL) < 0, "attach a map");
	check(bpf_prog_attach(map_fd, 0, BPF_CGROUP_INET_EGRESS, 0) < 0,
	      "attach a map to a cgroup");
	check(bpf_iter_create(map_fd) < 0, "iterate a map");
}

static void the_daemon_is_out_of_reach(pid_t pid, const char *state, const char *bpffs)
{
	const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[512], byte;
	struct iovec here = { &byte, 1 }, there = { &byte, 1 };

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	denied(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "the daemon's descriptors");
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	denied(open(path, O_RDONLY | O_CLOEXEC), "the daemon's memory");
	(void)snprintf(path, sizeof(path), "/proc/%d/root%s", pid, bpffs);
	denied(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "the pins, through /proc");
	for (int fd = 0; pidfd >= 0 && fd < 64; fd++)
		denied(syscall(SYS_pidfd_getfd, pidfd, fd, 0), "a descriptor of the daemon's");
	denied(ptrace(PTRACE_SEIZE, pid, NULL, NULL), "tracing the daemon");
	denied(process_vm_readv(pid, &here, 1, &there, 1, 0), "reading the daemon");
	denied(kill(pid, SIGKILL), "ending the daemon");
	denied(open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "the state");
	denied(open(bpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "the pins");
	if (pidfd >= 0)
		(void)close(pidfd);
}

int main(int argc, char **argv)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	const struct bpfleet_link *links = NULL;
	const struct bpfleet_map *maps = NULL;
	struct bpfleet_error error = { 0 };
	struct error cause = { 0 };
	uint32_t ids[256];
	size_t n = 0, n_ids = 0;
	int fd = -1;

	if (argc != 7)
		errx(2, "usage: outsider SOCKET BPFFS OPEN-BPFFS STATE CORE-PID FRONT-PID");
	options.socket_path = argv[1];
	arena = arena_new(NODE_ARENA_LIMIT);
	if (arena == NULL || bpfleet_open(&options, &node, &error) < 0 ||
	    node_open(argv[1], 0, &raw, &cause) < 0)
		errx(2, "cannot connect: %s %s", error.message, cause.message);
	lists_show_what_is_granted();
	watching_shows_no_more();
	maps_are_read();
	streams_are_read();
	if (bpfleet_list_links(node, NULL, &links, &n, &error) < 0 || n == 0)
		errx(2, "no links are seen: %s", error.message);
	nothing_is_changed_through_the_api(links[0].name);
	for (size_t i = 0; i < n && n_ids < 16; i++)
		ids[n_ids++] = links[i].kernel_id;
	the_rest_is_not_there();
	if (bpfleet_list_maps(node, NULL, &maps, &n, &error) < 0)
		errx(2, "no maps are seen: %s", error.message);
	/* Those of the other bundle are near. */
	for (size_t i = 0; i < n && n_ids + 8 < ARRAY_SIZE(ids); i++)
		for (uint32_t near = 0; near < 8; near++)
			ids[n_ids++] = maps[i].kernel_id + near;
	if (!check(bpfleet_open_map(node, SHOWN "maps/frozen", &fd, &error) == 0, "open: %s",
		   error.message))
		return 1;
	the_descriptor_only_reads(fd);
	nothing_is_pinned(fd, argv[2], argv[3]);
	bpf_is_out_of_reach(ids, n_ids, fd);
	the_daemon_is_out_of_reach(atoi(argv[5]), argv[4], argv[2]);
	the_daemon_is_out_of_reach(atoi(argv[6]), argv[4], argv[2]);
	/* All of it may still be read. */
	maps_are_read();
	(void)printf("%u checks, %u wrong\n", n_checks, n_wrong);
	bpfleet_free(links);
	bpfleet_free(maps);
	bpfleet_close(node);
	node_close(raw);
	arena_free(arena);
	return n_wrong == 0 ? 0 : 1;
}
