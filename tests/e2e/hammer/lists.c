#include "tests/e2e/hammer/lists.h"

#include <stdio.h>
#include <string.h>

#include "tests/e2e/hammer/view.h"

#define WRONG(...) ((void)snprintf(why, size, __VA_ARGS__), false)

bool lists_take(struct bpfleet *node, struct lists *l, char *why, size_t size)
{
	struct bpfleet_error error = { 0 };

	*l = (struct lists){ 0 };
	if (bpfleet_get_status(node, &l->status, &error) < 0 ||
	    bpfleet_list_bundles(node, &l->bundles, &l->n_bundles, &error) < 0 ||
	    bpfleet_list_instances(node, NULL, &l->instances, &l->n_instances, &error) < 0 ||
	    bpfleet_list_programs(node, NULL, &l->programs, &l->n_programs, &error) < 0 ||
	    bpfleet_list_links(node, NULL, &l->links, &l->n_links, &error) < 0 ||
	    bpfleet_list_maps(node, NULL, &l->maps, &l->n_maps, &error) < 0)
		return WRONG("%s: %.200s", error.reason, error.message);
	return true;
}

void lists_done(struct lists *l)
{
	bpfleet_free(l->status);
	bpfleet_free(l->bundles);
	bpfleet_free(l->instances);
	bpfleet_free(l->programs);
	bpfleet_free(l->links);
	bpfleet_free(l->maps);
}

bool lists_belongs(const char *name, const char *instance)
{
	size_t n = strlen(instance);

	return strncmp(name, instance, n) == 0 && name[n] == '/';
}

/*
 * The API lists what runs. Of an instance that soaks the kernel has the version before, too, which
 * in these tests has programs and maps of the same names; they share all maps but the constants and
 * the table of struct_ops.
 */
static void count_kept(const struct lists *l, size_t *ret_programs, size_t *ret_maps,
		       size_t *ret_pins)
{
	*ret_programs = *ret_maps = *ret_pins = 0;
	for (size_t i = 0; i < l->n_instances; i++) {
		const char *name = l->instances[i].name;

		if (l->instances[i].state != BPFLEET_INSTANCE_SOAKING)
			continue;
		for (size_t k = 0; k < l->n_programs; k++)
			*ret_programs += lists_belongs(l->programs[k].name, name);
		for (size_t k = 0; k < l->n_maps; k++) {
			const bool belongs = lists_belongs(l->maps[k].name, name);

			*ret_maps += belongs && (strstr(l->maps[k].name, ".rodata") != NULL ||
						 strstr(l->maps[k].name, "/table") != NULL);
			*ret_pins += belongs;
		}
	}
	*ret_pins += *ret_programs;
}

static size_t pins_wanted(const struct lists *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n_instances; i++) {
		const char *name = l->instances[i].name;

		if (l->instances[i].durability == BPFLEET_DURABILITY_LEASE)
			continue;
		for (size_t k = 0; k < l->n_programs; k++)
			n += lists_belongs(l->programs[k].name, name);
		for (size_t k = 0; k < l->n_maps; k++)
			n += lists_belongs(l->maps[k].name, name);
		for (size_t k = 0; k < l->n_links; k++)
			n += lists_belongs(l->links[k].program, name);
	}
	return n;
}

bool lists_agree(const struct lists *l, const struct view *view, char *why, size_t size)
{
	size_t kept_programs, kept_maps, kept_pins;

	count_kept(l, &kept_programs, &kept_maps, &kept_pins);
	if (l->n_programs + kept_programs != view->programs.n)
		return WRONG("%zu programs are listed and %zu kept, the kernel has %zu",
			     l->n_programs, kept_programs, view->programs.n);
	for (size_t i = 0; i < l->n_programs; i++) {
		if (!id_set_has(&view->programs, l->programs[i].kernel_id))
			return WRONG("%s: kernel program %u is not there", l->programs[i].name,
				     l->programs[i].kernel_id);
	}
	if (l->n_links != view->links.n)
		return WRONG("%zu links are listed, the kernel has %zu", l->n_links, view->links.n);
	for (size_t i = 0; i < l->n_links; i++) {
		if (!id_set_has(&view->links, l->links[i].kernel_id))
			return WRONG("%s: kernel link %u is not there", l->links[i].name,
				     l->links[i].kernel_id);
	}
	if (l->n_maps + kept_maps != view->maps.n)
		return WRONG("%zu maps are listed and %zu kept, the kernel has %zu", l->n_maps,
			     kept_maps, view->maps.n);
	for (size_t i = 0; i < l->n_maps; i++) {
		if (!id_set_has(&view->maps, l->maps[i].kernel_id))
			return WRONG("%s: kernel map %u is not there", l->maps[i].name,
				     l->maps[i].kernel_id);
	}
	if (view->n_pins != pins_wanted(l) + kept_pins)
		return WRONG("bpffs has %zu pins of ours, not %zu", view->n_pins,
			     pins_wanted(l) + kept_pins);
	if (l->status->n_orphan_pins != 0)
		return WRONG("%u orphan pins", l->status->n_orphan_pins);
	if (l->status->n_alarms != 0)
		return WRONG("alarm: %.200s", l->status->alarms[0]);
	return true;
}
