#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/map-view.h"
#include "client/node.h"
#include "client/progress.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define KEYS_PER_CALL 1024U

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

int cmd_map_get(struct cli *cli, struct error *err)
{
	Bpfleet__V1__LookupMapRequest request = BPFLEET__V1__LOOKUP_MAP_REQUEST__INIT;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	const Bpfleet__V1__LookupMapResponse *response;
	ProtobufCMessage *answer;
	int r;

	r = map_view_new(cli, &view, err);
	if (r == 0)
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

static int dump(struct cli *cli, struct map_view *view, struct rpc_stream *stream,
		struct error *err)
{
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
		n_entries += ((const Bpfleet__V1__DumpMapResponse *)message)->n_entries;
		progress_done(&progress);
		r = print_chunk(cli, view, (const Bpfleet__V1__DumpMapResponse *)message, err);
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
	request.encoding = BPFLEET__V1__ENCODING__ENCODING_PACKED;
	r = node_subscribe(cli->node, "DumpMap", &request.base, UINT64_MAX, &stream, err);
	if (r == 0) {
		node_stream_limit(cli->node, stream);
		r = dump(cli, view, stream, err);
	}
	node_stream_free(cli->node, stream);
	return r;
}

int cmd_map_set(struct cli *cli, struct error *err)
{
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	Bpfleet__V1__MapEntry entry = BPFLEET__V1__MAP_ENTRY__INIT, *entries = &entry;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	int r;

	r = map_view_new(cli, &view, err);
	if (r == 0)
		r = map_view_parse(cli, view, DECODER_KEY, cli_argument(&cli->args, 1), &entry.key,
				   err);
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

int cmd_map_delete(struct cli *cli, struct error *err)
{
	Bpfleet__V1__DeleteMapKeysRequest request = BPFLEET__V1__DELETE_MAP_KEYS_REQUEST__INIT;
	_cleanup_(map_view_freep) struct map_view *view = NULL;
	char request_id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *answer;
	uint32_t n_deleted;
	int r;

	r = map_view_new(cli, &view, err);
	if (r == 0)
		r = parse_keys(cli, view, &request.keys, &request.n_keys, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r < 0)
		return r;
	request.map = view->name;
	request.request_id = request_id;
	r = node_call(cli->node, "DeleteMapKeys", &request.base, view->arena, &answer, err);
	if (r < 0)
		return r;
	n_deleted = ((const Bpfleet__V1__DeleteMapKeysResponse *)answer)->n_deleted;
	if (cli->json)
		r = cli_print_message(cli, answer, err);
	else
		cli_say(cli, "%u deleted", n_deleted);
	if (r == 0 && n_deleted < request.n_keys)
		r = error_raise(err, ERROR_KEY_NOT_IN_MAP, "%zu of the %zu keys were not in %s",
				request.n_keys - n_deleted, request.n_keys, view->name);
	return r;
}
