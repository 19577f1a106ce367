#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/map-type.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/fd.h"
#include "client/loading.h"
#include "client/map-view.h"
#include "client/node.h"
#include "client/progress.h"
#include "decode/entry.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define KEYS_PER_CALL 1024U
#define LINES_PER_CALL 1024U
#define BYTES_PER_CALL ((size_t)256 << 10)

/* The keys of the command line, from its second argument. */
static int parse_keys(struct cli *cli, struct map_view *view, ProtobufCBinaryData **ret,
		      size_t *ret_n, struct error *err)
{
	size_t n = cli->args.n_arguments - 1;
	ProtobufCBinaryData *keys = arena_alloc(view->arena, (n + 1) * sizeof(*keys));
	int r;

	if (keys == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	if (n > KEYS_PER_CALL)
		return cli_usage(cli, err, "at most %u keys", KEYS_PER_CALL);
	for (size_t i = 0; i < n; i++) {
		r = map_view_parse(cli, view, DECODER_KEY, cli_argument(&cli->args, i + 1),
				   &keys[i], err);
		if (r < 0)
			return r;
	}
	*ret = keys;
	*ret_n = n;
	return 0;
}

static int check_entry(const struct map_view *view, size_t key_size, size_t value_size,
		       struct error *err)
{
	if (key_size == view->key_size && value_size == view->value_size)
		return 0;
	return error_raise(err, ERROR_PROTOCOL, "an entry of %s does not have the map's sizes",
			   view->name);
}

/* Those that are there are printed; then the others are the error. */
static int print_found(struct cli *cli, struct map_view *view, const ProtobufCBinaryData *keys,
		       const Bpfleet__V1__LookupMapResponse *response, struct error *err)
{
	_cleanup_(str_done) struct str missing = { 0 };
	size_t n_missing = 0;
	int r = 0;

	for (size_t i = 0; i < response->n_entries && r == 0; i++) {
		const Bpfleet__V1__MapEntry *entry = response->entries[i];

		if (!entry->found) {
			(void)str_append(&missing, n_missing++ == 0 ? "" : ", ");
			(void)str_append(&missing, cli_argument(&cli->args, i + 1));
			continue;
		}
		r = check_entry(view, keys[i].len, entry->value.len, err);
		if (r == 0)
			r = map_view_entry(cli, view, keys[i].data, entry->value.data, err);
	}
	if (r == 0 && n_missing < response->n_entries)
		r = map_view_flush(cli, view, err);
	if (r == 0 && n_missing > 0)
		r = error_raise(err, ERROR_KEY_NOT_IN_MAP, "%s has no key %.400s", view->name,
				missing.failed || missing.len == 0 ? "" : missing.data);
	return r;
}

/* Those of key and value whose bytes are the declared types are read and typed here, the rest
 * there. */
static bool is_plain(const struct map_view *view)
{
	const struct map_type *type = map_type_find(view->map->type);

	return view->decoder != NULL && type != NULL && type->key == MAP_KEY_TYPED &&
	       (type->value == MAP_VALUE_TYPED || type->value == MAP_VALUE_TARGET);
}

static bool is_variable(const struct map_view *view, const char *key)
{
	uint32_t offset;
	size_t n;

	return is_plain(view) && decoder_variable(view->decoder, key, &offset, &n);
}

static int print_line(struct cli *cli, const char *json, struct error *err)
{
	struct str line = { 0 };
	int r;

	(void)str_append(&line, json);
	r = cli_print_str(cli, &line, err);
	str_done(&line);
	return r;
}

static void warn_about_symbols(const char *why)
{
	_cleanup_(str_done) struct str text = { 0 };

	if (*why != '\0' && str_append_escaped(&text, why, SIZE_MAX) == 0)
		cli_warn("kernel addresses have no names: %s", text.data);
}

/* Keys that the daemon reads as text; entries come back as JSON. */
static int get_as_text(struct cli *cli, struct map_view *view, struct error *err)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	const Bpfleet__V1__LookupMapResponse *response;
	const size_t n = cli->args.n_arguments - 1;
	char **texts = arena_alloc(view->arena, (n + 1) * sizeof(*texts));
	size_t n_missing = 0;
	ProtobufCMessage *answer;
	int r;

	if (texts == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++)
		texts[i] = (char *)(uintptr_t)cli_argument(&cli->args, i + 1);
	request.map = view->name;
	request.key_texts = texts;
	request.n_key_texts = n;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_JSON;
	r = node_call(cli->node, "LookupMap", &request.base, view->arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__LookupMapResponse *)answer;
	warn_about_symbols(response->no_symbols);
	for (size_t i = 0; r == 0 && i < response->n_entries; i++) {
		n_missing += !response->entries[i]->found;
		if (response->entries[i]->found)
			r = print_line(cli, response->entries[i]->json, err);
	}
	if (r == 0 && n_missing > 0)
		r = error_raise(err, ERROR_KEY_NOT_IN_MAP, "%s lacks %zu of them", view->name,
				n_missing);
	return r;
}

int cmd_map_get(struct cli *cli, struct error *err)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	const Bpfleet__V1__LookupMapResponse *response;
	ProtobufCMessage *answer;
	int r;

	r = map_view_new(cli, &view, err);
	if (r < 0)
		return r;
	if (!is_plain(view) ||
	    (cli->args.n_arguments > 1 && is_variable(view, cli_argument(&cli->args, 1))))
		return get_as_text(cli, view, err);
	if (cli->args.n_arguments < 2)
		return cli_usage(cli, err, "a KEY is missing");
	r = parse_keys(cli, view, &request.keys, &request.n_keys, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_PACKED;
	r = node_call(cli->node, "LookupMap", &request.base, view->arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__LookupMapResponse *)answer;
	if (response->n_entries != request.n_keys)
		return error_raise(err, ERROR_PROTOCOL, "%zu keys were answered with %zu entries",
				   request.n_keys, response->n_entries);
	return print_found(cli, view, request.keys, response, err);
}

static int print_chunk(struct cli *cli, struct map_view *view,
		       const Bpfleet__V1__DumpMapResponse *chunk, struct error *err)
{
	size_t size = view->key_size + view->value_size;
	const uint8_t *at = chunk->entries.data;
	int r;

	if (chunk->entries.len != chunk->n_entries * size)
		return error_raise(err, ERROR_PROTOCOL,
				   "the entries of %s do not have the map's sizes", view->name);
	for (uint32_t i = 0; i < chunk->n_entries; i++, at += size) {
		r = map_view_entry(cli, view, at, at + view->key_size, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int print_lines(struct cli *cli, const Bpfleet__V1__DumpMapResponse *chunk, bool first,
		       struct error *err)
{
	int r = 0;

	if (first)
		warn_about_symbols(chunk->no_symbols);
	for (size_t i = 0; r == 0 && i < chunk->n_json; i++)
		r = print_line(cli, chunk->json[i], err);
	return r;
}

static int dump(struct cli *cli, struct map_view *view, struct rpc_stream *stream,
		struct error *err)
{
	const Bpfleet__V1__DumpMapResponse *chunk;
	struct progress progress;
	uint64_t n_entries = 0;
	int r;

	progress_init(&progress, cli, "entries read:", false);
	for (;;) {
		_cleanup_(arena_freep) struct arena *arena = NULL;
		ProtobufCMessage *message;

		r = cli_arena(&arena, err);
		if (r < 0)
			break;
		r = rpc_stream_receive(stream, arena, &message, err);
		if (r <= 0)
			break;
		progress_done(&progress);
		chunk = (const Bpfleet__V1__DumpMapResponse *)message;
		r = is_plain(view) ? print_chunk(cli, view, chunk, err)
				   : print_lines(cli, chunk, n_entries == 0, err);
		n_entries += chunk->n_entries;
		if (r < 0)
			break;
		progress_update(&progress, n_entries, 0);
	}
	progress_done(&progress);
	return r < 0 ? node_explain(cli->node, r, err) : map_view_flush(cli, view, err);
}

int cmd_map_dump(struct cli *cli, struct error *err)
{
	Bpfleet__V1__DumpMapRequest request = BPFLEET__V1__DUMP_MAP_REQUEST__INIT;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	struct rpc_stream *stream = NULL;
	int r;

	r = map_view_new(cli, &view, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.encoding = is_plain(view) ? BPFLEET__V1__ENCODING__ENCODING_PACKED
					  : BPFLEET__V1__ENCODING__ENCODING_JSON;
	r = node_subscribe(cli->node, "DumpMap", &request.base, UINT64_MAX, &stream, err);
	if (r == 0) {
		node_stream_limit(cli->node, stream);
		r = dump(cli, view, stream, err);
	}
	node_stream_free(cli->node, stream);
	return r;
}

/* Lines of JSON to the daemon; *ret_n counts up. */
static int send_lines(struct cli *cli, struct map_view *view, char **lines, size_t n,
		      uint64_t *ret_n, struct error *err)
{
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_close_ int connection = -1;
	ProtobufCMessage *response;
	int r = cli_arena(&arena, err);

	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = loading_hand_over(cli, arena, &connection, &request.socket_ticket, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.json = lines;
	request.n_json = n;
	request.request_id = request_id;
	r = node_call(cli->node, "UpdateMap", &request.base, arena, &response, err);
	if (r == 0)
		*ret_n += ((const Bpfleet__V1__UpdateMapResponse *)response)->n_written;
	return r < 0 ? error_context(err, r, "after %" PRIu64 " entries", *ret_n) : 0;
}

/* The keys of lines as they are printed by a dump; *ret_n counts those that were there. */
static int delete_lines(struct cli *cli, struct map_view *view, char **lines, size_t n,
			uint64_t *ret_n, struct error *err)
{
	Bpfleet__V1__DeleteMapKeysRequest request = BPFLEET__V1__DELETE_MAP_KEYS_REQUEST__INIT;
	char *keys[LINES_PER_CALL] = { 0 }, request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r = cli_arena(&arena, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		r = entry_member(lines[i], "key", &keys[i], err);
		if (r == 0 && keys[i] == NULL)
			r = error_raise(err, ERROR_INVALID_KEY, "a line has no \"key\"");
	}
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0) {
		request.map = view->name;
		request.key_texts = keys;
		request.n_key_texts = n;
		request.request_id = request_id;
		r = node_call(cli->node, "DeleteMapKeys", &request.base, arena, &response, err);
	}
	if (r == 0)
		*ret_n += ((const Bpfleet__V1__DeleteMapKeysResponse *)response)->n_deleted;
	for (size_t i = 0; i < n; i++)
		free(keys[i]);
	return r < 0 ? error_context(err, r, "after %" PRIu64 " entries", *ret_n) : 0;
}

static int report_written(struct cli *cli, uint64_t n, struct error *err)
{
	Bpfleet__V1__UpdateMapResponse response = BPFLEET__V1__UPDATE_MAP_RESPONSE__INIT;

	response.n_written = (uint32_t)n;
	if (cli->json)
		return cli_print_message(cli, &response.base, err);
	cli_say(cli, "%" PRIu64 " written", n);
	return 0;
}

/* Sends what a file has, many lines a call; *ret_n counts as `send` does. */
static int send_file(struct cli *cli, struct map_view *view, const char *path,
		     int (*send)(struct cli *cli, struct map_view *view, char **lines, size_t n,
				 uint64_t *ret_n, struct error *err),
		     uint64_t *ret_n, struct error *err)
{
	_cleanup_fclose_ FILE *opened = strcmp(path, "-") == 0 ? NULL : fopen(path, "re");
	FILE *file = opened != NULL ? opened : stdin;
	char *lines[LINES_PER_CALL] = { 0 };
	size_t n = 0, bytes = 0, capacity;
	struct progress progress;
	ssize_t got;
	int r = 0;

	if (opened == NULL && strcmp(path, "-") != 0)
		return error_raise_errno(err, ERROR_IO, errno, "cannot open %s", path);
	progress_init(&progress, cli, "entries sent:", false);
	do {
		got = getline(&lines[n], &capacity, file);
		if (got > 1) {
			bytes += (size_t)got;
			n++;
		}
		if (n > 0 && (got < 0 || n == LINES_PER_CALL || bytes > BYTES_PER_CALL)) {
			r = send(cli, view, lines, n, ret_n, err);
			progress_update(&progress, *ret_n, 0);
			n = bytes = 0;
		}
		for (size_t i = 0; n == 0 && i < LINES_PER_CALL; i++) {
			free(lines[i]);
			lines[i] = NULL;
		}
		capacity = 0;
	} while (r == 0 && got >= 0);
	for (size_t i = 0; i < LINES_PER_CALL; i++)
		free(lines[i]);
	progress_done(&progress);
	return r;
}

/* {"key":TEXT,"value":TEXT}, the texts as strings; NULL: none. */
static int text_entry(struct map_view *view, const char *key, const char *value, char **ret,
		      struct error *err)
{
	_cleanup_(str_done) struct str line = { 0 };

	(void)str_append(&line, "{");
	if (key != NULL) {
		(void)str_append(&line, "\"key\":");
		(void)str_append_json(&line, key, SIZE_MAX);
	}
	if (value != NULL) {
		(void)str_append(&line, key != NULL ? ",\"value\":" : "\"value\":");
		(void)str_append_json(&line, value, SIZE_MAX);
	}
	(void)str_append(&line, "}");
	*ret = line.failed ? NULL : arena_strndup(view->arena, line.data, line.len);
	return *ret == NULL ? error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory") : 0;
}

static int set_one(struct cli *cli, struct map_view *view, struct error *err);

int cmd_map_set(struct cli *cli, struct error *err)
{
	const char *path = cli_text(&cli->args, OPTION_FILE, NULL);
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	uint64_t n = 0;
	const bool has_socket = cli_has(&cli->args, OPTION_SOCKET_FD);
	const size_t n_wanted = path != NULL ? 1 : has_socket ? 2 : 3;
	char *line;
	int r;

	if (cli->args.n_arguments != n_wanted || (path != NULL && has_socket))
		return cli_usage(cli, err, "KEY and VALUE, KEY and --socket-fd N, or --file FILE");
	r = map_view_new(cli, &view, err);
	if (r < 0)
		return r;
	if (path != NULL) {
		r = send_file(cli, view, path, send_lines, &n, err);
		return r < 0 ? r : report_written(cli, n, err);
	}
	if (!has_socket && is_plain(view) && !is_variable(view, cli_argument(&cli->args, 1)))
		return set_one(cli, view, err);
	r = text_entry(view, cli_argument(&cli->args, 1),
		       has_socket ? NULL : cli_argument(&cli->args, 2), &line, err);
	if (r == 0)
		r = send_lines(cli, view, &line, 1, &n, err);
	return r < 0 ? r : report_written(cli, n, err);
}

int cmd_map_push(struct cli *cli, struct error *err)
{
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	const size_t n = cli->args.n_arguments - 1;
	uint64_t n_written = 0;
	char **lines;
	int r = map_view_new(cli, &view, err);

	if (r < 0)
		return r;
	lines = arena_alloc(view->arena, (n + 1) * sizeof(*lines));
	if (lines == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = text_entry(view, NULL, cli_argument(&cli->args, i + 1), &lines[i], err);
	if (r == 0)
		r = send_lines(cli, view, lines, n, &n_written, err);
	return r < 0 ? r : report_written(cli, n_written, err);
}

int cmd_map_pop(struct cli *cli, struct error *err)
{
	Bpfleet__V1__PopMapRequest request = BPFLEET__V1__POP_MAP_REQUEST__INIT;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	const Bpfleet__V1__PopMapResponse *response;
	ProtobufCMessage *answer;
	int r = map_view_new(cli, &view, err);

	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.count = cli_has(&cli->args, OPTION_COUNT)
				? (uint32_t)cli_number(&cli->args, OPTION_COUNT, 1)
				: 1;
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_JSON;
	request.request_id = request_id;
	r = node_call(cli->node, "PopMap", &request.base, view->arena, &answer, err);
	if (r < 0)
		return r;
	response = (const Bpfleet__V1__PopMapResponse *)answer;
	for (size_t i = 0; r == 0 && i < response->n_entries; i++)
		r = print_line(cli, response->entries[i]->json, err);
	if (r == 0 && response->n_entries == 0)
		r = error_raise(err, ERROR_KEY_NOT_IN_MAP, "%s is empty", view->name);
	return r;
}

static int set_one(struct cli *cli, struct map_view *view, struct error *err)
{
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	Bpfleet__V1__MapEntry entry = BPFLEET__V1__MAP_ENTRY__INIT, *entries = &entry;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	int r;

	r = map_view_parse(cli, view, DECODER_KEY, cli_argument(&cli->args, 1), &entry.key, err);
	if (r == 0)
		r = map_view_parse(cli, view, DECODER_VALUE, cli_argument(&cli->args, 2),
				   &entry.value, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.entries = &entries;
	request.n_entries = 1;
	request.request_id = request_id;
	r = node_call(cli->node, "UpdateMap", &request.base, view->arena, &response, err);
	if (r < 0)
		return r;
	if (cli->json)
		return cli_print_message(cli, response, err);
	cli_say(cli, "written");
	return 0;
}

static int report_deleted(struct cli *cli, uint64_t n, struct error *err)
{
	Bpfleet__V1__DeleteMapKeysResponse response = BPFLEET__V1__DELETE_MAP_KEYS_RESPONSE__INIT;

	response.n_deleted = (uint32_t)n;
	if (cli->json)
		return cli_print_message(cli, &response.base, err);
	cli_say(cli, "%" PRIu64 " deleted", n);
	return 0;
}

static int delete_arguments(struct cli *cli, struct map_view *view, uint64_t *ret_n,
			    struct error *err)
{
	Bpfleet__V1__DeleteMapKeysRequest request = BPFLEET__V1__DELETE_MAP_KEYS_REQUEST__INIT;
	const struct map_type *type = map_type_find(view->map->type);
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *answer;
	int r = 0;

	if (type != NULL && type->key != MAP_KEY_TYPED) {
		request.key_texts = (char **)(uintptr_t)(cli->args.arguments + 1);
		request.n_key_texts = cli->args.n_arguments - 1;
	} else {
		r = parse_keys(cli, view, &request.keys, &request.n_keys, err);
	}
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.request_id = request_id;
	r = node_call(cli->node, "DeleteMapKeys", &request.base, view->arena, &answer, err);
	if (r == 0)
		*ret_n = ((const Bpfleet__V1__DeleteMapKeysResponse *)answer)->n_deleted;
	return r;
}

int cmd_map_delete(struct cli *cli, struct error *err)
{
	const char *path = cli_text(&cli->args, OPTION_FILE, NULL);
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	const size_t n_keys = cli->args.n_arguments - 1;
	uint64_t n = 0;
	int r;

	if ((path != NULL) != (n_keys == 0))
		return cli_usage(cli, err, "KEY, or --file FILE");
	r = map_view_new(cli, &view, err);
	if (r == 0)
		r = path != NULL ? send_file(cli, view, path, delete_lines, &n, err)
				 : delete_arguments(cli, view, &n, err);
	if (r == 0)
		r = report_deleted(cli, n, err);
	if (r == 0 && n < n_keys)
		r = error_raise(err, ERROR_KEY_NOT_IN_MAP, "%zu of the %zu keys were not in %s",
				n_keys - (size_t)n, n_keys, view->name);
	return r;
}

int cmd_map_open(struct cli *cli, struct error *err)
{
	const size_t n = cli->args.n_arguments - 1;
	_cleanup_close_ int map_fd = -1;
	char name[REF_SIZE], number[16];
	char **command;
	int r;

	r = cli_usage_if(cli, ref_map(cli_argument(&cli->args, 0), name, err));
	if (r == 0)
		r = cli_connect(cli, err);
	if (r == 0)
		r = fd_open_map(cli->node, name, &map_fd, err);
	if (r < 0)
		return r;
	command = calloc(n + 1, sizeof(*command));
	if (command == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++)
		command[i] = (char *)(uintptr_t)cli_argument(&cli->args, i + 1);
	(void)snprintf(number, sizeof(number), "%d", map_fd);
	/* The command's own, across exec. */
	if (fcntl(map_fd, F_SETFD, 0) == 0 && setenv("BPFLEET_MAP_FD", number, 1) == 0)
		(void)execvp(command[0], command);
	r = error_raise_errno(err, ERROR_IO, errno, "cannot run %s", command[0]);
	free(command);
	return r;
}
