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

/* Whether a program or map, "instances/ID/...", is of an instance that keeps a version for
 * Rollback. Both versions of the test's bundle have as many of them. */
static bool is_double(const struct lists *l, const char *name)
{
	for (size_t i = 0; i < l->n_instances; i++) {
		const size_t n = strlen(l->instances[i].name);

		if (l->instances[i].state == BPFLEET_INSTANCE_SOAKING &&
		    strncmp(l->instances[i].name, name, n) == 0 && name[n] == '/')
			return true;
	}
	return false;
}

bool lists_agree(const struct lists *l, const struct view *view, char *why, size_t size)
{
	size_t more_programs = 0, more_maps = 0;

	for (size_t i = 0; i < l->n_programs; i++)
		more_programs += is_double(l, l->programs[i].name);
	for (size_t i = 0; i < l->n_maps; i++)
		more_maps += is_double(l, l->maps[i].name);
	if (l->n_programs + more_programs != view->programs.n)
		return WRONG("%zu programs are listed, %zu kept, the kernel has %zu", l->n_programs,
			     more_programs, view->programs.n);
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
	/* Maps that both versions share are one in the kernel. */
	if (view->maps.n < l->n_maps || view->maps.n > l->n_maps + more_maps)
		return WRONG("%zu maps are listed, %zu kept, the kernel has %zu", l->n_maps,
			     more_maps, view->maps.n);
	for (size_t i = 0; i < l->n_maps; i++) {
		if (!id_set_has(&view->maps, l->maps[i].kernel_id))
			return WRONG("%s: kernel map %u is not there", l->maps[i].name,
				     l->maps[i].kernel_id);
	}
	if (view->n_pins != pins_wanted(l) + more_programs + more_maps)
		return WRONG("bpffs has %zu pins of ours, not %zu", view->n_pins,
			     pins_wanted(l) + more_programs + more_maps);
	if (l->status->n_orphan_pins != 0)
		return WRONG("%u orphan pins", l->status->n_orphan_pins);
	if (l->status->n_alarms != 0)
		return WRONG("alarm: %.200s", l->status->alarms[0]);
	return true;
}
