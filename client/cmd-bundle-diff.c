#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "bundle/build/diff.h"
#include "bundle/build/upgrade.h"
#include "client/bundle-file.h"
#include "client/cli.h"
#include "client/commands.h"
#include "proto/arena.h"

static const char *const change_names[] = {
	[BUNDLE_CHANGE_ADDED] = "ADDED",
	[BUNDLE_CHANGE_REMOVED] = "REMOVED",
	[BUNDLE_CHANGE_CHANGED] = "CHANGED",
};

static void append_member(struct str *s, const char *name, const char *value)
{
	(void)str_appendf(s, ",\"%s\":", name);
	(void)str_append_json(s, value == NULL ? "" : value, SIZE_MAX);
}

static int print_json(struct cli *cli, const struct bundle_diff *diff,
		      const struct bundle_upgrades *upgrades, struct error *err)
{
	_cleanup_(str_done) struct str s = { 0 };

	(void)str_append(&s, "{\"differences\":[");
	for (size_t i = 0; i < diff->n_differences; i++) {
		const struct bundle_difference *d = &diff->differences[i];

		(void)str_appendf(&s, "%s\n  {\"change\":\"%s\"", i == 0 ? "" : ",",
				  change_names[d->change]);
		append_member(&s, "object", d->object);
		append_member(&s, "field", d->field);
		append_member(&s, "before", d->before);
		append_member(&s, "after", d->after);
		(void)str_append(&s, "}");
	}
	(void)str_append(&s, diff->n_differences == 0 ? "]" : "\n]");
	(void)str_append(&s, ",\"maps\":[");
	for (size_t i = 0; i < upgrades->n_maps; i++) {
		const struct bundle_upgrade *map = &upgrades->maps[i];

		(void)str_appendf(&s, "%s\n  {\"outcome\":\"%s\"", i == 0 ? "" : ",", map->outcome);
		append_member(&s, "map", map->map);
		append_member(&s, "difference", map->difference);
		(void)str_append(&s, "}");
	}
	(void)str_append(&s, upgrades->n_maps == 0 ? "]}" : "\n]}");
	return cli_print_str(cli, &s, err);
}

/* What a Replace would do; that all is kept goes without saying. */
static int print_maps(const struct cli *cli, const struct bundle_upgrades *upgrades,
		      struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < upgrades->n_maps; i++) {
		const struct bundle_upgrade *map = &upgrades->maps[i];
		_cleanup_(str_done) struct str s = { 0 };

		if (strcmp(map->outcome, "kept") == 0)
			continue;
		(void)str_append(&s, "in a replace, map ");
		(void)str_append_escaped(&s, map->map, SIZE_MAX);
		(void)str_appendf(&s, " is %s%s", map->outcome,
				  map->difference[0] == '\0' ? "" : ": ");
		(void)str_append_escaped(&s, map->difference, SIZE_MAX);
		r = cli_print_str(cli, &s, err);
	}
	return r;
}

static int print_text(struct cli *cli, const struct bundle_diff *diff,
		      const struct bundle_upgrades *upgrades, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < diff->n_differences; i++) {
		_cleanup_free_ char *line = bundle_difference_text(&diff->differences[i]);
		_cleanup_(str_done) struct str s = { 0 };

		if (line == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
		(void)str_append_escaped(&s, line, SIZE_MAX);
		r = cli_print_str(cli, &s, err);
	}
	if (r == 0 && diff->n_differences == 0)
		cli_say(cli, "no difference");
	return r < 0 || diff->n_differences == 0 ? r : print_maps(cli, upgrades, err);
}

static int read_bundle(const char *path, struct arena *arena, Bpfleet__V1__Bundle **ret,
		       struct error *err)
{
	_cleanup_(bundle_file_done) struct bundle_file file = { 0 };
	int r;

	r = bundle_file_read(path, &file, err);
	if (r < 0)
		return r;
	r = bundle_parse(arena, file.bytes, file.size, ret, err);
	if (r < 0)
		return error_context(err, r, "%.200s", path);
	return 0;
}

int cmd_bundle_diff(struct cli *cli, struct error *err)
{
	_cleanup_(bundle_diff_freep) struct bundle_diff *diff = NULL;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	_cleanup_(bundle_upgrades_freep) struct bundle_upgrades *upgrades = NULL;
	Bpfleet__V1__Bundle *before, *after;
	int r;

	r = cli_arena(&arena, err);
	if (r == 0)
		r = read_bundle(cli_argument(&cli->args, 0), arena, &before, err);
	if (r == 0)
		r = read_bundle(cli_argument(&cli->args, 1), arena, &after, err);
	if (r == 0)
		r = bundle_diff_new(before->manifest, after->manifest, &diff, err);
	if (r == 0)
		r = bundle_upgrades_new(before, after, &upgrades, err);
	if (r < 0)
		return r;
	return cli->json ? print_json(cli, diff, upgrades, err)
			 : print_text(cli, diff, upgrades, err);
}
