/* A map as the CLI shows it: its description and types from the daemon, entries as rows or JSON. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/ref.h"
#include "decode/types.h"

struct arena;
struct cli;
struct error;
struct sheet;

struct map_view {
	struct arena *arena;
	char name[REF_SIZE];
	const Bpfleet__V1__Map *map;
	struct decoder *decoder;
	/* With --per-cpu: decodes the value of one CPU. */
	struct decoder *cpu_decoder;
	size_t key_size;
	size_t value_size;   /* of all CPUs */
	struct sheet *sheet; /* table output */
};

/* Asks the daemon for the map of the first argument. Free with map_view_free(). */
_must_check_ int map_view_new(struct cli *cli, struct map_view **ret, struct error *err);
void map_view_free(struct map_view *view);
DEFINE_CLEANUP(struct map_view, map_view_free)

/* A key, or the value of one CPU, from what was typed; bytes in the view's arena. */
_must_check_ int map_view_parse(struct cli *cli, struct map_view *view, enum decoder_part part,
				const char *text, ProtobufCBinaryData *ret, struct error *err);

/* Prints, or for a table adds, one entry of key_size and value_size bytes. */
_must_check_ int map_view_entry(struct cli *cli, struct map_view *view, const uint8_t *key,
				const uint8_t *value, struct error *err);
/* Prints the rows that are left. */
_must_check_ int map_view_flush(struct cli *cli, struct map_view *view, struct error *err);
