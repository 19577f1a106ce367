#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "bpfleet/v1/node.pb-c.h"
#include "client/cli.h"
#include "client/commands.h"
#include "client/enums.h"
#include "client/node.h"
#include "proto/arena.h"
#include "rpc/client.h"

#define MEMBER_WIDTH 16 /* of the names of most programs and maps */

struct watch {
	struct cli *cli;
	struct sheet *sheet;
	uint64_t limit; /* 0: none */
	uint64_t n_changes;
	bool synced;
};

/* What of an object a line of the table says. */
struct line {
	const char *kind;
	const char *name;
	const char *state;
	enum sheet_colour colour;
	const char *detail;
};

static struct line instance_line(const Bpfleet__V1__Instance *instance)
{
	int state = (int)instance->state;

	return (struct line){ "instance", instance->name,
			      enum_text(&bpfleet__v1__instance_state__descriptor, state),
			      enum_instance_colour(state),
			      instance->reason[0] != '\0' ? instance->reason
							  : ref_short(instance->bundle) };
}

static struct line link_line(const Bpfleet__V1__Link *link)
{
	int state = (int)link->state;

	return (struct line){ "link", link->name,
			      enum_text(&bpfleet__v1__link_state__descriptor, state),
			      enum_link_colour(state),
			      link->reason[0] != '\0' ? link->reason : link->hook_text };
}

static struct line line_of(const Bpfleet__V1__Change *change)
{
	switch (change->object_case) {
	case BPFLEET__V1__CHANGE__OBJECT_INSTANCE:
		return instance_line(change->instance);
	case BPFLEET__V1__CHANGE__OBJECT_LINK:
		return link_line(change->link);
	case BPFLEET__V1__CHANGE__OBJECT_PROGRAM:
		return (struct line){ "program", change->program->name, "", SHEET_PLAIN,
				      change->program->skipped_reason };
	case BPFLEET__V1__CHANGE__OBJECT_MAP:
		return (struct line){ "map", change->map->name, "", SHEET_PLAIN,
				      change->map->type };
	case BPFLEET__V1__CHANGE__OBJECT_BUNDLE:
		return (struct line){ "bundle", change->bundle->name, "", SHEET_PLAIN,
				      change->bundle->refused_reason };
	case BPFLEET__V1__CHANGE__OBJECT__NOT_SET:
	case _BPFLEET__V1__CHANGE__OBJECT__CASE_IS_INT_SIZE:
	default:
		return (struct line){ "?", "?", "", SHEET_PLAIN, "" };
	}
}

static int print_change(struct watch *watch, const Bpfleet__V1__Change *change, struct error *err)
{
	bool deleted = change->kind == BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED;
	struct line line = line_of(change);

	sheet_textf(watch->sheet, "%" PRIu64, change->revision);
	if (deleted)
		sheet_coloured(watch->sheet, SHEET_BAD, "gone");
	else
		sheet_text(watch->sheet, watch->synced ? "changed" : "is");
	sheet_text(watch->sheet, line.kind);
	sheet_text(watch->sheet, ref_short(line.name));
	sheet_coloured(watch->sheet, line.colour, deleted ? "" : line.state);
	sheet_text(watch->sheet, deleted ? "" : line.detail);
	return watch->synced ? cli_flush(watch->sheet, err) : 0;
}

static int print_response(struct watch *watch, const Bpfleet__V1__WatchResponse *response,
			  struct error *err)
{
	bool is_change = response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE;
	int r = 0;

	if (watch->cli->json)
		r = cli_print_line(watch->cli, &response->base, err);
	else if (is_change)
		r = print_change(watch, response->change, err);
	if (response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED) {
		/* What was there at the start is printed in one piece, with columns that fit. */
		watch->synced = true;
		if (r == 0 && !watch->cli->json)
			r = cli_flush(watch->sheet, err);
	}
	watch->n_changes += is_change;
	(void)fflush(watch->cli->out);
	return r;
}

static int step(struct watch *watch, struct rpc_stream *stream, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *message;
	int r;

	r = cli_arena(&arena, err);
	if (r < 0)
		return r;
	r = rpc_stream_receive(stream, arena, &message, err);
	if (r <= 0)
		return r < 0 ? r : 1;
	return print_response(watch, (const Bpfleet__V1__WatchResponse *)message, err);
}

static int follow(struct watch *watch, struct error *err)
{
	Bpfleet__V1__WatchRequest request = BPFLEET__V1__WATCH_REQUEST__INIT;
	struct cli *cli = watch->cli;
	uint64_t deadline = cli_deadline(cli);
	struct rpc_stream *stream = NULL;
	int r;

	request.since_revision = cli_number(&cli->args, OPTION_SINCE_REVISION, 0);
	watch->synced = request.since_revision != 0;
	r = cli_subscribe(cli, "Watch", &request.base, deadline, &stream, err);
	while (r == 0 && (watch->limit == 0 || watch->n_changes < watch->limit))
		r = step(watch, stream, err);
	r = cli_stream_end(cli, r, deadline, err);
	node_stream_free(cli->node, stream);
	return r < 0 || cli->json ? r : cli_flush(watch->sheet, err);
}

int cmd_watch(struct cli *cli, struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	struct watch watch = { .cli = cli, .limit = cli_number(&cli->args, OPTION_COUNT, 0) };
	int r;

	r = cli_follow_printing(cli, err);
	if (r == 0)
		r = cli_sheet(cli, &sheet, err);
	if (r < 0)
		return r;
	sheet_column(sheet, "REVISION", SHEET_RIGHT);
	sheet_column(sheet, "CHANGE", 0);
	sheet_widen(sheet, strlen("changed"));
	sheet_column(sheet, "KIND", 0);
	sheet_widen(sheet, strlen("instance"));
	sheet_column(sheet, "NAME", 0);
	/* Without a snapshot, members of instances may come at any time. */
	sheet_widen(sheet, cli_has(&cli->args, OPTION_SINCE_REVISION)
				   ? NAME_ID_LEN + strlen("/programs/") + MEMBER_WIDTH
				   : NAME_ID_LEN);
	sheet_column(sheet, "STATE", 0);
	sheet_widen(sheet, strlen("attached"));
	sheet_column(sheet, "DETAIL", 0);
	watch.sheet = sheet;
	return follow(&watch, err);
}
