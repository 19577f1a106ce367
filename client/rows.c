#include "client/rows.h"

#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "client/enums.h"
#include "client/ref.h"
#include "client/sheet.h"
#include "client/units.h"

/* "instances/ID/programs/NAME" as two cells, ID and NAME. */
static void member_cells(struct sheet *sheet, const char *name)
{
	const char *id = ref_short(name), *slash = strchr(id, '/'), *member = strrchr(id, '/');

	if (slash == NULL) {
		sheet_text(sheet, id);
		sheet_text(sheet, "");
		return;
	}
	sheet_bytes(sheet, id, (size_t)(slash - id));
	sheet_text(sheet, member + 1);
}

static void bytes_cell(struct sheet *sheet, uint64_t bytes)
{
	struct str s = { 0 };

	(void)units_append_bytes(&s, bytes);
	sheet_take(sheet, &s);
}

static void age_cell(struct sheet *sheet, uint64_t at_ns, uint64_t now_ns)
{
	struct str s = { 0 };

	(void)units_append_relative(&s, at_ns, now_ns);
	sheet_take(sheet, &s);
}

void rows_bundle_columns(struct sheet *sheet)
{
	sheet_column(sheet, "BUNDLE", 0);
	sheet_column(sheet, "SIZE", SHEET_RIGHT);
	sheet_column(sheet, "PUSHED", 0);
	sheet_column(sheet, "BY", 0);
	sheet_column(sheet, "SIGNED BY", SHEET_CUT);
	sheet_column(sheet, "INSTANCES", SHEET_RIGHT);
	sheet_column(sheet, "EXPIRES", SHEET_OPTIONAL);
	sheet_column(sheet, "REFUSED", SHEET_OPTIONAL | SHEET_CUT);
}

void rows_bundle(struct sheet *sheet, const Bpfleet__V1__BundleInfo *bundle, uint64_t now_ns)
{
	struct str signers = { 0 };

	for (size_t i = 0; i < bundle->n_signers; i++) {
		const Bpfleet__V1__Signer *signer = bundle->signers[i];

		(void)str_append(&signers, i == 0 ? "" : ", ");
		(void)str_append_escaped(&signers,
					 signer->name[0] == '\0' ? signer->key_id : signer->name,
					 SIZE_MAX);
	}
	sheet_text(sheet, ref_short(bundle->name));
	bytes_cell(sheet, bundle->size_bytes);
	age_cell(sheet, bundle->pushed_at_ns, now_ns);
	sheet_text(sheet, bundle->pushed_by);
	sheet_take(sheet, &signers);
	sheet_textf(sheet, "%u", bundle->n_instances);
	if (bundle->expires_at_ns == 0)
		sheet_text(sheet, "");
	else
		age_cell(sheet, bundle->expires_at_ns, now_ns);
	sheet_coloured(sheet, SHEET_BAD, bundle->refused_reason);
}

void rows_instance_columns(struct sheet *sheet)
{
	sheet_column(sheet, "INSTANCE", 0);
	sheet_column(sheet, "LABEL", SHEET_OPTIONAL);
	sheet_column(sheet, "BUNDLE", 0);
	sheet_column(sheet, "STATE", 0);
	sheet_column(sheet, "OWNER", 0);
	sheet_column(sheet, "DURABILITY", 0);
	sheet_column(sheet, "PROGRAMS", SHEET_RIGHT);
	sheet_column(sheet, "LINKS", SHEET_RIGHT);
	sheet_column(sheet, "LOADED", 0);
	sheet_column(sheet, "LEASE ENDS", SHEET_OPTIONAL);
	sheet_column(sheet, "REASON", SHEET_OPTIONAL | SHEET_CUT);
}

void rows_instance(struct sheet *sheet, const Bpfleet__V1__Instance *instance, uint64_t now_ns)
{
	int state = (int)instance->state;

	sheet_text(sheet, ref_short(instance->name));
	sheet_text(sheet, instance->label);
	sheet_text(sheet, ref_short(instance->bundle));
	sheet_coloured(sheet, enum_instance_colour(state),
		       enum_text(&bpfleet__v1__instance_state__descriptor, state));
	sheet_text(sheet, instance->owner);
	sheet_text(sheet,
		   enum_text(&bpfleet__v1__durability__descriptor, (int)instance->durability));
	sheet_textf(sheet, "%u", instance->n_programs);
	sheet_textf(sheet, "%u", instance->n_links);
	age_cell(sheet, instance->loaded_at_ns, now_ns);
	if (instance->lease_ends_at_ns == 0)
		sheet_text(sheet, "");
	else
		age_cell(sheet, instance->lease_ends_at_ns, now_ns);
	sheet_text(sheet, instance->reason);
}

void rows_program_columns(struct sheet *sheet)
{
	sheet_column(sheet, "INSTANCE", SHEET_OPTIONAL);
	sheet_column(sheet, "PROGRAM", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "KERNEL ID", SHEET_RIGHT);
	sheet_column(sheet, "VERIFIED INSNS", SHEET_RIGHT);
	sheet_column(sheet, "LINKS", SHEET_RIGHT);
	sheet_column(sheet, "HOOKS", SHEET_CUT);
	sheet_column(sheet, "LEFT OUT", SHEET_OPTIONAL | SHEET_CUT);
}

void rows_program(struct sheet *sheet, const Bpfleet__V1__Program *program)
{
	struct str hooks = { 0 };

	for (size_t i = 0; i < program->n_hooks; i++) {
		(void)str_append(&hooks, i == 0 ? "" : " ");
		(void)str_append_escaped(&hooks, program->hooks[i], SIZE_MAX);
	}
	/* What was only validated has no instance and no kernel id. */
	if (strchr(program->name, '/') == NULL) {
		sheet_text(sheet, "");
		sheet_text(sheet, program->name);
	} else {
		member_cells(sheet, program->name);
	}
	sheet_text(sheet, program->type);
	if (program->kernel_id == 0)
		sheet_text(sheet, "-");
	else
		sheet_textf(sheet, "%u", program->kernel_id);
	sheet_textf(sheet, "%u", program->verified_insns);
	sheet_textf(sheet, "%u", program->n_links);
	sheet_take(sheet, &hooks);
	sheet_coloured(sheet, SHEET_DOUBTFUL, program->skipped_reason);
}

void rows_foreign_columns(struct sheet *sheet)
{
	sheet_column(sheet, "KERNEL ID", SHEET_RIGHT);
	sheet_column(sheet, "NAME", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "LOADED BY", 0);
	sheet_column(sheet, "LOADED", 0);
	sheet_column(sheet, "LINKS", SHEET_CUT);
}

void rows_foreign(struct sheet *sheet, const Bpfleet__V1__ForeignProgram *program, uint64_t now_ns)
{
	struct str links = { 0 };

	for (size_t i = 0; i < program->n_links; i++) {
		(void)str_append(&links, i == 0 ? "" : ", ");
		(void)str_append_escaped(&links, program->links[i]->hook, SIZE_MAX);
	}
	sheet_textf(sheet, "%u", program->kernel_id);
	sheet_text(sheet, program->name);
	sheet_text(sheet, program->type);
	sheet_textf(sheet, "uid:%u", program->loaded_by_uid);
	age_cell(sheet, program->loaded_at_ns, now_ns);
	sheet_take(sheet, &links);
}

void rows_link_columns(struct sheet *sheet)
{
	sheet_column(sheet, "LINK", 0);
	sheet_column(sheet, "INSTANCE", 0);
	sheet_column(sheet, "PROGRAM", 0);
	sheet_column(sheet, "HOOK", SHEET_CUT);
	sheet_column(sheet, "STATE", 0);
	sheet_column(sheet, "KERNEL ID", SHEET_RIGHT);
	sheet_column(sheet, "ATTACHED", 0);
	sheet_column(sheet, "REASON", SHEET_OPTIONAL | SHEET_CUT);
}

void rows_link(struct sheet *sheet, const Bpfleet__V1__Link *link)
{
	int state = (int)link->state;

	sheet_text(sheet, ref_short(link->name));
	member_cells(sheet, link->program);
	sheet_text(sheet, link->hook_text);
	sheet_coloured(sheet, enum_link_colour(state),
		       enum_text(&bpfleet__v1__link_state__descriptor, state));
	if (link->kernel_id == 0)
		sheet_text(sheet, "-");
	else
		sheet_textf(sheet, "%u", link->kernel_id);
	age_cell(sheet, link->attached_at_ns, clock_realtime_ns());
	sheet_text(sheet, link->reason);
}

void rows_map_columns(struct sheet *sheet)
{
	sheet_column(sheet, "INSTANCE", 0);
	sheet_column(sheet, "MAP", 0);
	sheet_column(sheet, "TYPE", 0);
	sheet_column(sheet, "KEY", SHEET_RIGHT);
	sheet_column(sheet, "VALUE", SHEET_RIGHT);
	sheet_column(sheet, "ENTRIES", SHEET_RIGHT);
	sheet_column(sheet, "ACCESS", 0);
	sheet_column(sheet, "CONTENTS", 0);
	sheet_column(sheet, "KERNEL ID", SHEET_RIGHT);
}

void rows_map(struct sheet *sheet, const Bpfleet__V1__Map *map)
{
	member_cells(sheet, map->name);
	sheet_text(sheet, map->type);
	sheet_textf(sheet, "%u", map->key_size);
	if (map->n_cpus == 0)
		sheet_textf(sheet, "%u", map->value_size);
	else
		sheet_textf(sheet, "%u x %u CPUs", map->value_size, map->n_cpus);
	sheet_textf(sheet, "%u", map->max_entries);
	sheet_text(sheet, enum_text(&bpfleet__v1__access__descriptor, (int)map->access));
	sheet_text(sheet, enum_text(&bpfleet__v1__contents__descriptor, (int)map->contents));
	sheet_textf(sheet, "%u", map->kernel_id);
}
