/*
 * Every type of map that the kernel's header has, over the API: what its row in bundle/map-type.c
 * says it can is done and seen, and what it cannot is refused as such.
 *
 *     types SOCKET WRITABLE READABLE CGROUP      two instances of one bundle, a cgroup's path
 */
#define _GNU_SOURCE
#include <bpf/libbpf.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "bundle/map-type.h"
#include "client/bpfleet.h"
#include "client/node.h"
#include "decode/entry.h"
#include "proto/arena.h"
#include "rpc/client.h"

/* What a map of sockets takes. */
enum socket_kind { NO_SOCKET, LISTENING, XDP };

struct row {
	const char *type;  /* and name of the map */
	const char *key;   /* JSON; NULL: the type has none, or programs make the entries */
	const char *value; /* JSON, as it is written; NULL: clients write none */
	const char *shows; /* how it is read, or how that begins; NULL: as written */
	enum socket_kind socket;
};

#define STRUCT "{\"number\":7,\"name\":\"ab\"}"
#define INTERFACE "{\"ifindex\":1,\"bpf_prog\":{\"fd\":0,\"id\":0}}"
#define QUEUE_OF_CPU "{\"qsize\":192,\"bpf_prog\":{\"fd\":0,\"id\":0}}"

/* @CGROUP@ and @PID@ are put in. */
static const struct row rows[] = {
	{ "hash", "1", STRUCT, NULL, 0 },
	{ "array", "1", STRUCT, NULL, 0 },
	{ "prog_array", "1", "{\"program\":\"jump\"}", "{\"program\":\"jump\",\"id\":", 0 },
	{ "perf_event_array", "1", "1", NULL, 0 },
	{ "percpu_hash", "1", "5", NULL, 0 },
	{ "percpu_array", "1", "5", NULL, 0 },
	{ "stack_trace", NULL, NULL, "[\"", 0 },
	{ "cgroup_array", "1", "{\"cgroup\":\"@CGROUP@\"}", NULL, 0 },
	{ "lru_hash", "1", STRUCT, NULL, 0 },
	{ "lru_percpu_hash", "1", "5", NULL, 0 },
	{ "lpm_trie", "\"10.1.0.0/16\"", "5", NULL, 0 },
	{ "array_of_maps", "1", "{\"map\":\"inside\"}", "{\"map\":\"inside\",\"id\":", 0 },
	{ "hash_of_maps", "1", "{\"map\":\"inside\"}", "{\"map\":\"inside\",\"id\":", 0 },
	{ "devmap", "1", INTERFACE, NULL, 0 },
	{ "sockmap", "1", NULL, "", LISTENING },
	{ "cpumap", "1", QUEUE_OF_CPU, NULL, 0 },
	{ "xskmap", "1", NULL, "", XDP },
	{ "sockhash", "1", NULL, "", LISTENING },
	{ "cgroup_storage", NULL, "9", "9", 0 },
	{ "reuseport_sockarray", "1", NULL, "", LISTENING },
	{ "percpu_cgroup_storage", NULL, "9", NULL, 0 },
	{ "queue", NULL, "5", NULL, 0 },
	{ "stack", NULL, "5", NULL, 0 },
	{ "sk_storage", NULL, NULL, "{\"number\":7,", 0 },
	{ "devmap_hash", "1", INTERFACE, NULL, 0 },
	{ "struct_ops", "0", NULL, "", 0 },
	{ "ringbuf", NULL, "1", NULL, 0 },
	{ "inode_storage", "1", STRUCT, NULL, 0 },
	{ "task_storage", "@PID@", STRUCT, NULL, 0 },
	{ "bloom_filter", NULL, "5", NULL, 0 },
	{ "user_ringbuf", NULL, "1", NULL, 0 },
	{ "cgrp_storage", "\"@CGROUP@\"", STRUCT, NULL, 0 },
	{ "arena", NULL, "1", NULL, 0 },
};

struct test {
	struct node *node;
	struct bpfleet *client; /* the same daemon */
	const struct row *row;
	const struct map_type *type;
	struct arena *arena;
	char map[128];
	uint32_t n_cpus;
	/* JSON, with everything put in; empty: none. */
	char key[256], value[256], shows[512];
};

static const char *cgroup_path;
static unsigned int n_wrong, n_checks;

__attribute__((format(printf, 3, 4))) static bool check(const struct test *test, bool right,
							const char *format, ...)
{
	va_list arguments;

	n_checks++;
	if (right)
		return true;
	n_wrong++;
	va_start(arguments, format);
	(void)printf("wrong: %s: ", test->row->type);
	(void)vprintf(format, arguments);
	(void)printf("\n");
	va_end(arguments);
	return false;
}

static void put_in(const char *text, char *out, size_t size)
{
	const char *at = text == NULL ? NULL : strchr(text, '@');

	if (at == NULL)
		(void)snprintf(out, size, "%s", text == NULL ? "" : text);
	else if (strncmp(at, "@PID@", 5) == 0)
		(void)snprintf(out, size, "%.*s%d%s", (int)(at - text), text, getpid(), at + 5);
	else
		(void)snprintf(out, size, "%.*s%s%s", (int)(at - text), text, cgroup_path, at + 8);
}

/* The stable reason of a failed call, "" for success. */
static const char *call(struct test *test, const char *method, const ProtobufCMessage *request,
			ProtobufCMessage **ret)
{
	struct error err = { 0 };

	return node_call(test->node, method, request, test->arena, ret, &err) < 0
		       ? error_info(err.code)->reason
		       : "";
}

static bool can(const struct test *test, uint32_t flags)
{
	return (test->type->flags & flags) != 0;
}

/* A reason must be none where the row says so, else that the type cannot; maps without any writer
 * may be refused as such first. */
static bool check_as_said(const struct test *test, bool possible, const char *verb,
			  const char *reason)
{
	const char *expected = possible ? "" : "MAP_TYPE_UNSUPPORTED";

	return check(test,
		     strcmp(reason, expected) == 0 || (!can(test, MAP_UPDATES | MAP_DELETES) &&
						       strcmp(reason, "MAP_READ_ONLY") == 0),
		     "%s: %s, not %s", verb, *reason == '\0' ? "done" : reason,
		     possible ? "done" : expected);
}

/* ---- writing */

static const char *update(struct test *test, char *line)
{
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *answer;
	struct error err = { 0 };

	if (node_request_id(request_id, &err) < 0)
		errx(2, "%s", err.message);
	request.map = test->map;
	request.json = &line;
	request.n_json = 1;
	request.request_id = request_id;
	return call(test, "UpdateMap", &request.base, &answer);
}

static int make_socket(enum socket_kind kind)
{
	const struct sockaddr_in any = { .sin_family = AF_INET,
					 .sin_addr = { htonl(INADDR_LOOPBACK) } };
	const int one = 1;
	int fd;

	if (kind == XDP)
		return socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
	     bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 1) < 0))
		err(2, "cannot make a socket");
	return fd;
}

/* Stays in the map as long as it is open. */
static int write_socket(struct test *test)
{
	const int fd = make_socket(test->row->socket);
	struct bpfleet_error error = { 0 };
	uint32_t key = 1;
	char line[64];

	(void)snprintf(line, sizeof(line), "{\"key\":%s,\"value\":1}", test->key);
	check(test, strcmp(update(test, line), "INVALID_KEY") == 0, "a number passes for a socket");
	if (fd < 0) {
		check(test, test->row->socket == XDP && errno == EAFNOSUPPORT, "no socket: %s",
		      strerror(errno));
		(void)printf("%s: this kernel has no AF_XDP sockets to put in\n", test->row->type);
		return fd;
	}
	check(test,
	      bpfleet_map_put_socket(test->client, test->map, &key, sizeof(key), fd, &error) == 0,
	      "a socket: %s", error.message);
	return fd;
}

static void write_value(struct test *test)
{
	const bool has_key = test->type->key != MAP_KEY_NONE;
	char line[1024];

	if (test->row->socket == NO_SOCKET && test->value[0] == '\0' && can(test, MAP_UPDATES))
		errx(2, "%s can be written, and its row has no value", test->row->type);
	(void)snprintf(line, sizeof(line), "{%s%s%s\"value\":%s}", has_key ? "\"key\":" : "",
		       has_key && test->key[0] != '\0' ? test->key
		       : has_key		       ? "1"
						       : "",
		       has_key ? "," : "", test->value[0] != '\0' ? test->value : "1");
	check_as_said(test, can(test, MAP_UPDATES), "set", update(test, line));
}

/* ---- reading */

/* {"key":...,"value":...} as the row says that it is shown. */
static bool is_as_shown(const struct test *test, const char *json)
{
	_cleanup_(str_done) struct str expected = { 0 };
	const char *shows = test->row->shows != NULL ? test->shows : test->value;

	(void)str_append(&expected, "{");
	if (test->type->key != MAP_KEY_NONE)
		(void)str_appendf(&expected, "\"key\":%s,", test->key);
	(void)str_append(&expected, "\"value\":");
	if (test->n_cpus > 0) {
		(void)str_append(&expected, "{\"cpus\":[");
		for (uint32_t i = 0; i < test->n_cpus; i++)
			(void)str_appendf(&expected, "%s%s", i > 0 ? "," : "", shows);
		(void)str_appendf(&expected, "],\"sum\":%lu}}",
				  test->n_cpus * strtoul(shows, NULL, 10));
	} else {
		(void)str_append(&expected, shows);
		if (test->row->shows == NULL)
			(void)str_append(&expected, "}");
	}
	return check(test, strncmp(json, expected.data, expected.len) == 0, "shows %s, not %s",
		     json, expected.data);
}

static const char *lookup(struct test *test, const Bpfleet__V1__MapEntry **ret)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	char *text = test->type->key == MAP_KEY_NONE ? test->value
		     : test->key[0] == '\0'	     ? (char[]){ "1" }
						     : test->key;
	ProtobufCMessage *answer = NULL;
	const char *reason;

	request.map = test->map;
	request.key_texts = &text;
	/* A queue shows what comes next. */
	request.n_key_texts = can(test, MAP_POPS) ? 0 : 1;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_JSON;
	reason = call(test, "LookupMap", &request.base, &answer);
	*ret = *reason == '\0' ? ((const Bpfleet__V1__LookupMapResponse *)answer)->entries[0]
			       : NULL;
	return reason;
}

static void look_up(struct test *test, bool there)
{
	const Bpfleet__V1__MapEntry *entry = NULL;
	const char *reason = lookup(test, &entry);

	if (!check_as_said(test, can(test, MAP_LOOKS_UP), "get", reason) || entry == NULL)
		return;
	if (check(test, entry->found == there, "get: %sfound", there ? "not " : "") && there)
		is_as_shown(test, entry->json);
}

/* Calls fn with each line; the reason if there is no dump. */
static const char *dump(struct test *test, Bpfleet__V1__Encoding encoding,
			void (*fn)(struct test *test, const Bpfleet__V1__DumpMapResponse *message,
				   void *arg),
			void *arg)
{
	Bpfleet__V1__DumpMapRequest request = BPFLEET__V1__DUMP_MAP_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	ProtobufCMessage *message;
	struct error err = { 0 };
	int r;

	request.map = test->map;
	request.encoding = encoding;
	r = node_subscribe(test->node, "DumpMap", &request.base, UINT64_MAX, &stream, &err);
	while (r >= 0 && (r = rpc_stream_receive(stream, test->arena, &message, &err)) > 0)
		fn(test, (const Bpfleet__V1__DumpMapResponse *)message, arg);
	r = r < 0 ? node_explain(test->node, r, &err) : 0;
	node_stream_free(test->node, stream);
	return r < 0 ? error_info(err.code)->reason : "";
}

/* The first line whose key is the test's, or the first of all while it has none. */
static void find_line(struct test *test, const Bpfleet__V1__DumpMapResponse *message, void *arg)
{
	char **found = arg;

	for (size_t i = 0; i < message->n_json; i++) {
		_cleanup_free_ char *key = NULL;

		if (entry_member(message->json[i], "key", &key, NULL) < 0 || key == NULL)
			continue;
		if (*found == NULL && (test->key[0] == '\0' || strcmp(test->key, key) == 0)) {
			*found = message->json[i];
			(void)snprintf(test->key, sizeof(test->key), "%s", key);
		}
	}
}

static void count_packed(struct test *test, const Bpfleet__V1__DumpMapResponse *message, void *arg)
{
	size_t *n = arg;

	*n += message->n_entries;
	check(test, message->n_entries > 0 && message->entries.len % message->n_entries == 0,
	      "%u entries of %zu bytes", message->n_entries, message->entries.len);
}

/* Dumps the map; what comes is what was written, and writing that changes nothing. */
static void dump_and_put_back(struct test *test)
{
	const bool dumps = can(test, MAP_WALKS | MAP_ITERATES);
	char *line = NULL, *again = NULL;
	size_t n = 0;

	if (!check_as_said(test, dumps, "dump",
			   dump(test, BPFLEET__V1__ENCODING__ENCODING_JSON, find_line, &line)) ||
	    !dumps || !check(test, line != NULL, "the dump has no entry %s", test->key))
		return;
	is_as_shown(test, line);
	check_as_said(test, can(test, MAP_WALKS), "dump packed",
		      dump(test, BPFLEET__V1__ENCODING__ENCODING_PACKED, count_packed, &n));
	check(test, n > 0 || !can(test, MAP_WALKS), "a packed dump has no entries");
	if (!can(test, MAP_UPDATES) || test->row->socket != NO_SOCKET)
		return;
	check_as_said(test, true, "set what was dumped", update(test, line));
	(void)dump(test, BPFLEET__V1__ENCODING__ENCODING_JSON, find_line, &again);
	check(test, again != NULL && strcmp(again, line) == 0, "%s became %s", line, again);
}

/* ---- taking out */

static void delete_key(struct test *test)
{
	Bpfleet__V1__DeleteMapKeysRequest request = BPFLEET__V1__DELETE_MAP_KEYS_REQUEST__INIT;
	char *key = test->key[0] == '\0' ? (char[]){ "1" } : test->key;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *answer = NULL;
	struct error err = { 0 };

	if (node_request_id(request_id, &err) < 0)
		errx(2, "%s", err.message);
	request.map = test->map;
	request.key_texts = &key;
	request.n_key_texts = 1;
	request.request_id = request_id;
	if (check_as_said(test, can(test, MAP_DELETES), "delete",
			  call(test, "DeleteMapKeys", &request.base, &answer)) &&
	    answer != NULL)
		check(test, ((Bpfleet__V1__DeleteMapKeysResponse *)answer)->n_deleted == 1,
		      "nothing was deleted");
	if (can(test, MAP_DELETES) && can(test, MAP_LOOKS_UP) &&
	    test->type->value != MAP_VALUE_STACK)
		look_up(test, false);
}

static void pop(struct test *test)
{
	Bpfleet__V1__PopMapRequest request = BPFLEET__V1__POP_MAP_REQUEST__INIT;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	const Bpfleet__V1__PopMapResponse *response;
	ProtobufCMessage *answer = NULL;
	struct error err = { 0 };

	if (node_request_id(request_id, &err) < 0)
		errx(2, "%s", err.message);
	request.map = test->map;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_JSON;
	request.request_id = request_id;
	if (!check_as_said(test, can(test, MAP_POPS), "pop",
			   call(test, "PopMap", &request.base, &answer)) ||
	    answer == NULL)
		return;
	response = (const Bpfleet__V1__PopMapResponse *)answer;
	if (check(test, response->n_entries == 1, "%zu values popped", response->n_entries))
		is_as_shown(test, response->entries[0]->json);
}

static void stream_events(struct test *test)
{
	Bpfleet__V1__StreamEventsRequest request = BPFLEET__V1__STREAM_EVENTS_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	ProtobufCMessage *message;
	struct error err = { 0 };
	int r;

	request.source = test->map;
	r = node_subscribe(test->node, "StreamEvents", &request.base, UINT64_MAX, &stream, &err);
	if (r >= 0)
		r = rpc_stream_receive(stream, test->arena, &message, &err);
	if (r < 0)
		(void)node_explain(test->node, r, &err);
	check_as_said(test, can(test, MAP_EVENTS), "events",
		      r < 0 ? error_info(err.code)->reason : "");
	node_stream_free(test->node, stream);
}

/* ---- the whole */

static const Bpfleet__V1__Map *get_map(struct test *test, const char *instance)
{
	Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;
	ProtobufCMessage *answer = NULL;
	const char *reason;

	(void)snprintf(test->map, sizeof(test->map), "instances/%s/maps/%s", instance,
		       test->row->type);
	request.name = test->map;
	reason = call(test, "GetMap", &request.base, &answer);
	if (strcmp(reason, "NOT_FOUND") == 0 &&
	    libbpf_probe_bpf_map_type((enum bpf_map_type)test->type->number, NULL) == 0) {
		(void)printf("%s: this kernel has none\n", test->row->type);
		return NULL;
	}
	if (!check(test, *reason == '\0', "there is no such map: %s", reason))
		return NULL;
	return ((const Bpfleet__V1__GetMapResponse *)answer)->map;
}

/* Of a bundle that gives no map a writer. */
static void freeze(struct test *test, const char *instance)
{
	const Bpfleet__V1__Map *map = get_map(test, instance);
	struct bpfleet_error error = { 0 };
	int fd = -1, r;

	if (map == NULL)
		return;
	check(test, map->frozen == can(test, MAP_FREEZES), "it is %sfrozen",
	      map->frozen ? "" : "not ");
	r = bpfleet_open_map(test->client, test->map, &fd, &error);
	check(test, r == 0 ? map->frozen : strcmp(error.reason, "MAP_NOT_FREEZABLE") == 0,
	      "opened: %s", r == 0 ? "yes" : error.message);
	if (fd >= 0)
		(void)close(fd);
}

static void run(struct test *test, const char *writable, const char *readable)
{
	const Bpfleet__V1__Map *map = get_map(test, writable);
	_cleanup_close_ int socket = -1;

	if (map == NULL)
		return;
	check(test, strcmp(map->type, test->row->type) == 0, "it is a %s", map->type);
	check(test, (map->n_cpus > 0) == can(test, MAP_PER_CPU), "it has values for %u CPUs",
	      map->n_cpus);
	test->n_cpus = map->n_cpus;
	/* Those that programs make. */
	if (test->row->key == NULL && can(test, MAP_WALKS | MAP_ITERATES)) {
		char *line = NULL;

		(void)dump(test, BPFLEET__V1__ENCODING__ENCODING_JSON, find_line, &line);
		check(test, line != NULL, "the programs have put nothing in");
	}
	if (test->row->socket != NO_SOCKET)
		socket = write_socket(test);
	else
		write_value(test);
	if (test->row->socket == NO_SOCKET || socket >= 0) {
		look_up(test, true);
		dump_and_put_back(test);
		delete_key(test);
	}
	pop(test);
	stream_events(test);
	freeze(test, readable);
}

static const struct row *row_of(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].type, type) == 0)
			return &rows[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error error;
	struct test test = { 0 };
	/* That a program marks. */
	_cleanup_close_ int marked = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct error cause = { 0 };

	if (marked < 0)
		err(2, "cannot make a socket");
	if (argc != 5)
		errx(2, "usage: types SOCKET WRITABLE READABLE CGROUP");
	options.socket_path = argv[1];
	cgroup_path = argv[4];
	if (node_open(argv[1], 0, &test.node, &cause) < 0)
		errx(2, "%s", cause.message);
	if (bpfleet_open(&options, &test.client, &error) < 0)
		errx(2, "%s", error.message);
	/* Every type of the header, 0 being none. */
	for (uint32_t number = 1; number < __MAX_BPF_MAP_TYPE; number++) {
		test.type = map_type_of(number);
		test.row = row_of(test.type->name);
		if (test.row == NULL) {
			(void)printf("wrong: type %u (%s) has no row\n", number, test.type->name);
			n_wrong++;
			continue;
		}
		test.arena = arena_new(NODE_ARENA_LIMIT);
		put_in(test.row->key, test.key, sizeof(test.key));
		put_in(test.row->value, test.value, sizeof(test.value));
		put_in(test.row->shows, test.shows, sizeof(test.shows));
		run(&test, argv[2], argv[3]);
		arena_free(test.arena);
	}
	bpfleet_close(test.client);
	node_close(test.node);
	(void)printf("%d types, %u checks, %u wrong\n", __MAX_BPF_MAP_TYPE - 1, n_checks, n_wrong);
	return n_wrong == 0 ? 0 : 1;
}
