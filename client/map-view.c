#include "client/map-view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/node.h"
#include "client/sheet.h"
#include "proto/arena.h"

/* Rows whose widths are known before the first is printed; later ones may push columns. */
#define ROWS_PER_FLUSH 1000U

static size_t padded(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

static int fetch(struct cli *cli, struct map_view *view, Bpfleet__V1__GetMapResponse **ret,
		 struct error *err)
{
	Bpfleet__V1__GetMapRequest request = BPFLEET__V1__GET_MAP_REQUEST__INIT;
	ProtobufCMessage *response;
	const char *text = cli_argument(&cli->args, 0), *key = strchr(text, '[');
	_cleanup_free_ char *outer =
		strndup(text, key == NULL ? strlen(text) : (size_t)(key - text));
	size_t n;
	int r;

	if (outer == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = cli_usage_if(cli, ref_map(outer, view->name, err));
	if (r == 0)
		r = cli_connect(cli, err);
	if (r < 0)
		return r;
	request.name = view->name;
	r = node_call(cli->node, "GetMap", &request.base, view->arena, &response, err);
	if (r < 0)
		return r;
	*ret = (Bpfleet__V1__GetMapResponse *)response;
	if ((*ret)->map == NULL)
		return error_raise(err, ERROR_PROTOCOL, "GetMap was answered without a map");
	view->map = (*ret)->map;
	/* The inner map of MAP[KEY] is the daemon's to find. */
	n = strlen(view->name);
	if (key != NULL &&
	    (size_t)snprintf(view->name + n, REF_SIZE - n, "%s", key) >= REF_SIZE - n)
		return error_raise(err, ERROR_INVALID_NAME, "the name of the map is too long");
	view->key_size = view->map->key_size;
	view->value_size = view->map->n_cpus == 0
				   ? view->map->value_size
				   : view->map->n_cpus * padded(view->map->value_size);
	return 0;
}

static int make_decoders(struct cli *cli, struct map_view *view,
			 const Bpfleet__V1__GetMapResponse *response, struct error *err)
{
	Bpfleet__V1__Map one_cpu = *response->map;
	int r;

	r = decoder_new_for_map(response->map, response->btf.data, response->btf.len,
				&view->decoder, err);
	if (r < 0 || response->map->n_cpus == 0 || !cli_has(&cli->args, OPTION_PER_CPU))
		return r;
	one_cpu.n_cpus = 0;
	return decoder_new_for_map(&one_cpu, response->btf.data, response->btf.len,
				   &view->cpu_decoder, err);
}

static void add_columns(struct sheet *sheet, const struct decoder *decoder, enum decoder_part part)
{
	for (size_t i = 0; i < decoder_n_columns(decoder, part); i++)
		sheet_column(sheet, decoder_column_name(decoder, part, i),
			     decoder_column_is_number(decoder, part, i) ? SHEET_RIGHT : SHEET_CUT);
}

static int make_sheet(struct cli *cli, struct map_view *view, struct error *err)
{
	int r = cli_sheet(cli, &view->sheet, err);

	if (r < 0)
		return r;
	add_columns(view->sheet, view->decoder, DECODER_KEY);
	if (view->cpu_decoder != NULL) {
		sheet_column(view->sheet, "cpu", SHEET_RIGHT);
		add_columns(view->sheet, view->cpu_decoder, DECODER_VALUE);
	} else {
		add_columns(view->sheet, view->decoder, DECODER_VALUE);
	}
	return 0;
}

int map_view_new(struct cli *cli, struct map_view **ret, struct error *err)
{
	_cleanup_(map_view_freep) struct map_view *view = calloc(1, sizeof(*view));
	Bpfleet__V1__GetMapResponse *response;
	int r;

	if (view == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = cli_arena(&view->arena, err);
	if (r == 0)
		r = fetch(cli, view, &response, err);
	if (r == 0)
		r = make_decoders(cli, view, response, err);
	if (r == 0 && !cli->json)
		r = make_sheet(cli, view, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(view);
	return 0;
}

void map_view_free(struct map_view *view)
{
	if (view == NULL)
		return;
	sheet_free(view->sheet);
	decoder_free(view->cpu_decoder);
	decoder_free(view->decoder);
	arena_free(view->arena);
	free(view);
}

int map_view_parse(struct cli *cli, struct map_view *view, enum decoder_part part, const char *text,
		   ProtobufCBinaryData *ret, struct error *err)
{
	size_t n = part == DECODER_KEY ? view->key_size : view->map->value_size;
	uint8_t *bytes = arena_alloc(view->arena, n + 1);
	int r;

	if (bytes == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
	r = decoder_parse(view->decoder, part, text, bytes, n, err);
	if (r < 0)
		return cli_usage_if(cli, r);
	ret->data = bytes;
	ret->len = n;
	return 0;
}

static void add_cells(struct sheet *sheet, const struct decoder *decoder, enum decoder_part part,
		      const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < decoder_n_columns(decoder, part); i++) {
		struct str s = { 0 };

		(void)decoder_column_text(decoder, part, i, bytes, n, &s);
		sheet_take(sheet, &s);
	}
}

static void add_rows(struct map_view *view, const uint8_t *key, const uint8_t *value)
{
	size_t stride = padded(view->map->value_size);

	if (view->cpu_decoder == NULL) {
		add_cells(view->sheet, view->decoder, DECODER_KEY, key, view->key_size);
		add_cells(view->sheet, view->decoder, DECODER_VALUE, value, view->value_size);
		return;
	}
	for (uint32_t cpu = 0; cpu < view->map->n_cpus; cpu++) {
		add_cells(view->sheet, view->decoder, DECODER_KEY, key, view->key_size);
		sheet_textf(view->sheet, "%u", cpu);
		add_cells(view->sheet, view->cpu_decoder, DECODER_VALUE, value + cpu * stride,
			  view->map->value_size);
	}
}

int map_view_entry(struct cli *cli, struct map_view *view, const uint8_t *key, const uint8_t *value,
		   struct error *err)
{
	_cleanup_(str_done) struct str line = { 0 };

	if (cli->json) {
		(void)decoder_entry_json(view->decoder, key, value, &line);
		return cli_print_str(cli, &line, err);
	}
	add_rows(view, key, value);
	return sheet_n_rows(view->sheet) < ROWS_PER_FLUSH ? 0 : cli_flush(view->sheet, err);
}

int map_view_flush(struct cli *cli, struct map_view *view, struct error *err)
{
	return cli->json ? 0 : cli_flush(view->sheet, err);
}
