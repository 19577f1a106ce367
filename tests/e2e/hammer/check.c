#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/hammer/hammer.h"
#include "tests/e2e/hammer/lists.h"
#include "tests/e2e/hammer/view.h"

struct check {
	struct hammer *hammer;
	struct lists lists;
	struct view view;
	char *why;
	size_t size;
};

#define WRONG(check, ...) ((void)snprintf((check)->why, (check)->size, __VA_ARGS__), false)

static const struct bpfleet_instance *find_instance(const struct check *check,
						    const struct model_instance *model)
{
	for (size_t i = 0; i < check->lists.n_instances; i++) {
		if (strcmp(check->lists.instances[i].label, model->label) == 0)
			return &check->lists.instances[i];
	}
	return NULL;
}

/* ---- one link */

static const struct bpfleet_link *find_link(const struct check *check,
					    const struct model_instance *instance,
					    const struct model_link *model)
{
	for (size_t i = 0; i < check->lists.n_links; i++) {
		const struct bpfleet_link *link = &check->lists.links[i];

		if (model->name[0] != '\0' && strcmp(link->name, model->name) == 0)
			return link;
	}
	if (model->doubt != MAYBE_THERE)
		return NULL;
	for (size_t i = 0; i < check->lists.n_links; i++) {
		const struct bpfleet_link *link = &check->lists.links[i];
		bool known = !lists_belongs(link->program, instance->name) ||
			     strcmp(link->hook, model->hook) != 0 ||
			     strcmp(strrchr(link->program, '/') + 1, model->program) != 0;

		for (size_t k = 0; k < instance->n_links; k++)
			known |= strcmp(instance->links[k].name, link->name) == 0;
		if (!known)
			return link;
	}
	return NULL;
}

static uint32_t program_of(const struct check *check, const struct bpfleet_link *link)
{
	for (size_t i = 0; i < check->lists.n_programs; i++) {
		if (strcmp(check->lists.programs[i].name, link->program) == 0)
			return check->lists.programs[i].kernel_id;
	}
	return 0;
}

static bool check_link(struct check *check, struct model_link *model,
		       const struct bpfleet_link *link)
{
	char why[256];

	if (link->state != BPFLEET_LINK_ATTACHED)
		return WRONG(check, "%s at %s has state %d: %.200s", link->name, link->hook,
			     (int)link->state, link->reason);
	if (!view_link_fits(link->kernel_id, program_of(check, link), link->hook, why))
		return WRONG(check, "%s: %.256s", link->name, why);
	if (model->kernel_id != 0 && model->kernel_id != link->kernel_id)
		return WRONG(check, "%s was kernel link %u and is %u", link->name, model->kernel_id,
			     link->kernel_id);
	model->kernel_id = link->kernel_id;
	model->doubt = SURE;
	(void)snprintf(model->name, sizeof(model->name), "%s", link->name);
	return true;
}

static bool check_links(struct check *check, struct model_instance *instance)
{
	size_t n_listed = 0;

	for (size_t i = instance->n_links; i-- > 0;) {
		struct model_link *model = &instance->links[i];
		const struct bpfleet_link *link = find_link(check, instance, model);

		if (link == NULL && model->doubt == SURE)
			return WRONG(check, "%s of %s at %s was acknowledged and is not listed",
				     model->name, instance->name, model->hook);
		if (link == NULL)
			*model = instance->links[--instance->n_links];
		else if (!check_link(check, model, link))
			return false;
	}
	for (size_t i = 0; i < check->lists.n_links; i++)
		n_listed += lists_belongs(check->lists.links[i].program, instance->name);
	if (n_listed != instance->n_links)
		return WRONG(check, "%s has %zu links listed, %zu acknowledged", instance->name,
			     n_listed, instance->n_links);
	return true;
}

/* ---- one instance */

static bool check_programs(struct check *check, struct model_instance *instance)
{
	size_t n = 0;

	for (size_t i = 0; i < check->lists.n_programs; i++) {
		const struct bpfleet_program *program = &check->lists.programs[i];

		if (!lists_belongs(program->name, instance->name))
			continue;
		if (n == N_PROGRAMS || !id_set_has(&check->view.programs, program->kernel_id))
			return WRONG(check, "%s: kernel program %u is not there", program->name,
				     program->kernel_id);
		if (instance->program_ids[n] != 0 && instance->program_ids[n] != program->kernel_id)
			return WRONG(check, "%s was kernel program %u and is %u", program->name,
				     instance->program_ids[n], program->kernel_id);
		instance->program_ids[n++] = program->kernel_id;
	}
	return n == N_PROGRAMS ||
	       WRONG(check, "%s has %zu programs, not %d", instance->name, n, N_PROGRAMS);
}

/* In how many versions there is a pin of that name. */
static size_t n_pins(const struct check *check, const char *instance, char kind, const char *name)
{
	char path[256];
	size_t n = 0, len;

	len = (size_t)snprintf(path, sizeof(path), "%s/%c_%s", strchr(instance, '/') + 1, kind,
			       name);
	for (size_t i = 0; i < check->view.n_pins; i++) {
		const char *pin = check->view.pins[i];

		n += strncmp(pin, path, len) == 0 && (pin[len] == '\0' || pin[len] == '_');
	}
	return n;
}

static bool has_numbered_pins(const struct check *check, const char *instance, char kind,
			      unsigned int n, size_t n_versions)
{
	for (unsigned int i = 0; i < n; i++) {
		char number[16];

		(void)snprintf(number, sizeof(number), "%u", i);
		if (n_pins(check, instance, kind, number) != n_versions)
			return false;
	}
	return true;
}

static bool check_pins(struct check *check, const struct model_instance *instance)
{
	const size_t n_versions = instance->versions == TWO_VERSIONS ? 2 : 1;
	size_t n = 0, n_wanted = n_versions * (N_PROGRAMS + N_MAPS) + instance->n_links;
	const char *id = strchr(instance->name, '/') + 1;

	for (size_t i = 0; i < check->view.n_pins; i++)
		n += strncmp(check->view.pins[i], id, strlen(id)) == 0;
	if (instance->durability == BPFLEET_DURABILITY_LEASE)
		return n == 0 || WRONG(check, "lease %s has %zu pins", instance->name, n);
	if (n != n_wanted)
		return WRONG(check, "%s has %zu pins, not %zu", instance->name, n, n_wanted);
	if (!has_numbered_pins(check, instance->name, 'p', N_PROGRAMS, n_versions) ||
	    !has_numbered_pins(check, instance->name, 'm', N_MAPS, n_versions))
		return WRONG(check, "%s has other pins than its own", instance->name);
	for (size_t i = 0; i < instance->n_links; i++) {
		if (n_pins(check, instance->name, 'l', strchr(instance->links[i].name, '/') + 1) !=
		    1)
			return WRONG(check, "%s is not pinned", instance->links[i].name);
	}
	return true;
}

static bool check_setting(struct check *check, struct model_instance *instance)
{
	char map[2 * NAME_SIZE];
	struct bpfleet_error error = { 0 };
	uint32_t key = 1;
	uint64_t value = 0;

	if (instance->setting == 0 && instance->setting_maybe == 0)
		return true;
	(void)snprintf(map, sizeof(map), "%s/maps/settings", instance->name);
	if (bpfleet_map_lookup(check->hammer->node, map, &key, sizeof(key), &value, sizeof(value),
			       &error) < 0 &&
	    strcmp(error.reason, "KEY_NOT_IN_MAP") != 0)
		return WRONG(check, "%s: %.200s", map, error.message);
	if (value != instance->setting && (value == 0 || value != instance->setting_maybe))
		return WRONG(check, "%s: %llu was written (perhaps %llu), %llu is read", map,
			     (unsigned long long)instance->setting,
			     (unsigned long long)instance->setting_maybe,
			     (unsigned long long)value);
	instance->setting = value;
	instance->setting_maybe = 0;
	return true;
}

static bool check_instance(struct check *check, struct model_instance *model,
			   const struct bpfleet_instance *listed)
{
	enum bpfleet_instance_state state;

	(void)snprintf(model->name, sizeof(model->name), "%s", listed->name);
	/* Links that a load made which was never answered. */
	for (size_t i = 0; model->doubt == MAYBE_THERE && i < check->lists.n_links; i++) {
		const struct bpfleet_link *link = &check->lists.links[i];
		struct model_link *row = &model->links[model->n_links];

		if (!lists_belongs(link->program, model->name) || model->n_links == LINKS_MAX)
			continue;
		*row = (struct model_link){ .doubt = SURE };
		(void)snprintf(row->name, sizeof(row->name), "%s", link->name);
		(void)snprintf(row->hook, sizeof(row->hook), "%s", link->hook);
		model->n_links++;
	}
	/* An unanswered Replace, Rollback or Commit has been done whole, or not at all, or core is
	 * still at it. */
	if (listed->state == BPFLEET_INSTANCE_REPLACING)
		return WRONG(check, "%s is still being replaced", model->name);
	if (model->versions == EITHER)
		model->versions =
			listed->state == BPFLEET_INSTANCE_SOAKING ? TWO_VERSIONS : ONE_VERSION;
	if (!check_links(check, model) || !check_programs(check, model) ||
	    !check_pins(check, model) || !check_setting(check, model))
		return false;
	state = model->versions == TWO_VERSIONS ? BPFLEET_INSTANCE_SOAKING
		: model->n_links > 0		? BPFLEET_INSTANCE_ATTACHED
						: BPFLEET_INSTANCE_READY;
	if (listed->state != state)
		return WRONG(check, "%s has state %d, not %d: %.200s", model->name,
			     (int)listed->state, (int)state, listed->reason);
	model->asked_in = model->answered_in = atomic_load(&check->hammer->life);
	/* Whose token nobody knows may end at any time. */
	if (model->doubt == MAYBE_THERE)
		model->tokenless = true;
	model->doubt = SURE;
	return true;
}

/* A lease must be there (1), must be gone (-1), or either (0). */
static int expectation(const struct check *check, const struct model_instance *model)
{
	const unsigned int life = atomic_load(&check->hammer->life);

	if (model->doubt != SURE)
		return 0;
	if (model->durability != BPFLEET_DURABILITY_LEASE)
		return 1;
	/* While core was being killed the life is odd: it may have been the old one or the new. */
	if (!model->tokenless && model->asked_in == model->answered_in && model->asked_in % 2 == 0)
		return model->asked_in == life ? 1 : -1;
	return 0;
}

static bool check_worker(struct check *check, struct worker *worker)
{
	for (size_t i = worker->n_instances; i-- > 0;) {
		struct model_instance *model = &worker->instances[i];
		const struct bpfleet_instance *listed = find_instance(check, model);
		const int expected = expectation(check, model);

		if (listed == NULL && expected > 0)
			return WRONG(check, "%s (%s, durability %d) was acknowledged and is gone",
				     model->name, model->label, (int)model->durability);
		if (listed != NULL && expected < 0)
			return WRONG(check, "lease %s outlived core", model->name);
		if (listed == NULL)
			*model = worker->instances[--worker->n_instances];
		else if (!check_instance(check, model, listed))
			return false;
	}
	return true;
}

static bool check_bundle(struct check *check, struct worker *worker)
{
	const char *name = check->hammer->bundles[worker->number].name;
	bool there = false;

	for (size_t i = 0; i < check->lists.n_bundles; i++)
		there |= strcmp(strchr(check->lists.bundles[i].name, '/') + 1, name) == 0;
	if (!worker->bundle_doubtful && there != worker->bundle_there)
		return WRONG(check, "bundle %s is %slisted", name, there ? "" : "not ");
	worker->bundle_there = there;
	worker->bundle_doubtful = false;
	return true;
}

/* ---- the whole */

static bool check_sums(struct check *check)
{
	size_t n = 0;

	for (size_t i = 0; i < N_WORKERS; i++)
		n += check->hammer->workers[i].n_instances;
	if (check->lists.n_instances != n)
		return WRONG(check, "%zu instances are listed, %zu were acknowledged",
			     check->lists.n_instances, n);
	return lists_agree(&check->lists, &check->view, check->why, check->size);
}

bool check_all(struct hammer *hammer, char *why, size_t size)
{
	struct check check = { .hammer = hammer, .why = why, .size = size };
	bool good = lists_take(hammer->node, &check.lists, why, size);

	if (good) {
		(void)daemon_look(&hammer->daemon);
		view_take(hammer->core_uid, hammer->bpffs, &hammer->daemon, &check.view);
	}
	for (size_t i = 0; good && i < N_WORKERS; i++)
		good = check_worker(&check, &hammer->workers[i]) &&
		       check_bundle(&check, &hammer->workers[i]);
	good = good && check_sums(&check);
	good = good && foreign_is_whole(hammer->foreign, why);
	view_done(&check.view);
	lists_done(&check.lists);
	return good;
}
