#include "client/manifest-view.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/enums.h"
#include "client/units.h"

static int print_head(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
		      struct error *err)
{
	const Bpfleet__V1__Version *floor = manifest->obsoletes_below;
	_cleanup_(str_done) struct str s = { 0 };

	if (manifest->description[0] != '\0') {
		(void)str_append(&s, "  ");
		(void)str_append_escaped(&s, manifest->description, SIZE_MAX);
		(void)str_append(&s, "\n");
	}
	if (manifest->expires_at_ns != 0) {
		(void)str_append(&s, "  expires ");
		(void)units_append_time(&s, manifest->expires_at_ns);
		(void)str_append(&s, "\n");
	}
	if (floor != NULL)
		(void)str_appendf(&s, "  makes versions below %u.%u.%u obsolete\n", floor->major,
				  floor->minor, floor->patch);
	if (manifest->requirements != NULL && manifest->requirements->min_kernel[0] != '\0') {
		(void)str_append(&s, "  needs kernel ");
		(void)str_append_escaped(&s, manifest->requirements->min_kernel, SIZE_MAX);
		(void)str_append(&s, " or newer\n");
	}
	return s.failed || s.len > 0 ? cli_print_str(cli, &s, err) : 0;
}

static void list_cell(struct sheet *sheet, char **texts, size_t n)
{
	struct str s = { 0 };

	for (size_t i = 0; i < n; i++) {
		(void)str_append(&s, i == 0 ? "" : " ");
		(void)str_append_escaped(&s, texts[i], SIZE_MAX);
	}
	sheet_take(sheet, &s);
}

static int print_programs(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
			  struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0)
		return r;
	sheet_column(sheet, "PROGRAM", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "NEED", 0);
	sheet_column(sheet, "GROUP", SHEET_OPTIONAL);
	sheet_column(sheet, "HOOKS", SHEET_CUT);
	sheet_column(sheet, "DEFAULT HOOKS", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < manifest->n_programs; i++) {
		const Bpfleet__V1__ProgramSpec *program = manifest->programs[i];

		sheet_text(sheet, program->name);
		sheet_text(sheet, program->type);
		sheet_text(sheet, enum_text(&bpfleet__v1__need__descriptor, (int)program->need));
		sheet_text(sheet, program->fallback_group);
		list_cell(sheet, program->hooks, program->n_hooks);
		list_cell(sheet, program->default_hooks, program->n_default_hooks);
	}
	return cli_flush(sheet, err);
}

/* "migrate (packets sum, last_seen max)"; nothing where the versions share the map. */
static void upgrade_cell(struct sheet *sheet, const Bpfleet__V1__MapSpec *map)
{
	struct str s = { 0 };

	if (map->upgrade != BPFLEET__V1__UPGRADE__UPGRADE_UNSPECIFIED)
		(void)str_append(&s,
				 enum_text(&bpfleet__v1__upgrade__descriptor, (int)map->upgrade));
	for (size_t i = 0; i < map->n_merge; i++) {
		(void)str_append(&s, i == 0 ? " (" : ", ");
		(void)str_append_escaped(&s, map->merge[i]->path, SIZE_MAX);
		(void)str_appendf(
			&s, " %s",
			enum_text(&bpfleet__v1__merge__descriptor, (int)map->merge[i]->rule));
	}
	(void)str_append(&s, map->n_merge > 0 ? ")" : "");
	sheet_take(sheet, &s);
}

static void events_cell(struct sheet *sheet, const Bpfleet__V1__EventSpec *events)
{
	_cleanup_(str_done) struct str cell = { 0 };

	if (events != NULL)
		(void)str_append(&cell, events->record_type);
	for (size_t i = 0; events != NULL && i < events->n_variants; i++)
		(void)str_appendf(&cell, "%s%s", i > 0 ? "|" : "",
				  events->variants[i]->record_type);
	sheet_text(sheet, cell.data != NULL ? cell.data : "");
}

static int print_maps(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
		      struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0)
		return r;
	sheet_column(sheet, "MAP", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "KEY", SHEET_RIGHT);
	sheet_column(sheet, "VALUE", SHEET_RIGHT);
	sheet_column(sheet, "ENTRIES", SHEET_RIGHT);
	sheet_column(sheet, "ACCESS", 0);
	sheet_column(sheet, "CONTENTS", 0);
	sheet_column(sheet, "EVENTS", SHEET_OPTIONAL);
	sheet_column(sheet, "UPGRADE", SHEET_OPTIONAL);
	for (size_t i = 0; i < manifest->n_maps; i++) {
		const Bpfleet__V1__MapSpec *map = manifest->maps[i];

		sheet_text(sheet, map->name);
		sheet_text(sheet, map->type);
		sheet_textf(sheet, "%u", map->key_size);
		sheet_textf(sheet, "%u", map->value_size);
		sheet_textf(sheet, "%u", map->max_entries);
		sheet_text(sheet, enum_text(&bpfleet__v1__access__descriptor, (int)map->access));
		sheet_text(sheet,
			   enum_text(&bpfleet__v1__contents__descriptor, (int)map->contents));
		events_cell(sheet, map->events);
		upgrade_cell(sheet, map);
	}
	return cli_flush(sheet, err);
}

/* Without a default in bundle.yaml the variable keeps the value that it has in the object. */
static const char *default_text(const Bpfleet__V1__ParameterSpec *parameter)
{
	if (parameter->required)
		return "(required)";
	return parameter->default_value[0] == '\0' ? "(as compiled)" : parameter->default_value;
}

static int print_parameters(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
			    struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0)
		return r;
	sheet_column(sheet, "PARAMETER", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "BYTES", SHEET_RIGHT);
	sheet_column(sheet, "DEFAULT", 0);
	sheet_column(sheet, "MIN", SHEET_OPTIONAL | SHEET_RIGHT);
	sheet_column(sheet, "MAX", SHEET_OPTIONAL | SHEET_RIGHT);
	sheet_column(sheet, "MEANING", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < manifest->n_parameters; i++) {
		const Bpfleet__V1__ParameterSpec *parameter = manifest->parameters[i];

		sheet_text(sheet, parameter->name);
		sheet_text(sheet, enum_text(&bpfleet__v1__parameter_type__descriptor,
					    (int)parameter->type));
		sheet_textf(sheet, "%u", parameter->size_bytes);
		sheet_text(sheet, default_text(parameter));
		sheet_text(sheet, parameter->min);
		sheet_text(sheet, parameter->max);
		sheet_text(sheet, parameter->description);
	}
	return cli_flush(sheet, err);
}

static int print_metrics(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
			 struct error *err)
{
	_cleanup_(sheet_freep) struct sheet *sheet = NULL;
	int r = cli_sheet(cli, &sheet, err);

	if (r < 0)
		return r;
	sheet_column(sheet, "METRIC", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "MAP", 0);
	sheet_column(sheet, "VALUE", 0);
	sheet_column(sheet, "LABELS", SHEET_OPTIONAL);
	sheet_column(sheet, "MEANING", SHEET_OPTIONAL | SHEET_CUT);
	for (size_t i = 0; i < manifest->n_metrics; i++) {
		const Bpfleet__V1__MetricSpec *metric = manifest->metrics[i];
		struct str labels = { 0 };

		sheet_text(sheet, metric->name);
		sheet_text(sheet,
			   enum_text(&bpfleet__v1__metric_type__descriptor, (int)metric->type));
		sheet_text(sheet, metric->map);
		sheet_text(sheet, metric->value);
		for (size_t k = 0; k < metric->n_labels; k++)
			(void)str_appendf(&labels, "%s%s=%s", k == 0 ? "" : " ",
					  metric->labels[k]->name, metric->labels[k]->key);
		sheet_take(sheet, &labels);
		sheet_text(sheet, metric->help);
	}
	return cli_flush(sheet, err);
}

int manifest_view_print(const struct cli *cli, const Bpfleet__V1__Manifest *manifest,
			struct error *err)
{
	int r = print_head(cli, manifest, err);

	if (r == 0 && manifest->n_programs > 0)
		r = print_programs(cli, manifest, err);
	if (r == 0 && manifest->n_maps > 0) {
		cli_say(cli, "%s", "");
		r = print_maps(cli, manifest, err);
	}
	if (r == 0 && manifest->n_parameters > 0) {
		cli_say(cli, "%s", "");
		r = print_parameters(cli, manifest, err);
	}
	if (r == 0 && manifest->n_metrics > 0) {
		cli_say(cli, "%s", "");
		r = print_metrics(cli, manifest, err);
	}
	return r;
}
