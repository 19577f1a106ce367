#include "daemon/core/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/config/config.h"
#include "daemon/core/apply.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/netdevs.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/links.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/request.h"
#include "daemon/core/select.h"
#include "proto/arena.h"

#define ROWS_MAX 65536

/* A reply that waits for links of an instance. */
struct select_wait {
	struct select_wait *next;
	struct request *request;
	const ProtobufCMessage *response;
	char instance[STORE_ID_LEN + 1];
	size_t n_left;
};

/* What one comparison works on. */
struct selection {
	struct core *core;
	struct store_link *selectors, *selected;
	size_t n_selectors, n_selected;
	struct kernel_netdev *netdevs;
	size_t n_netdevs;
	const char *instance; /* whose links are counted */
	size_t n_begun;
};

static bool is_labelled(const struct config *config, const char *label, const char *name)
{
	for (size_t i = 0; i < config->n_labels; i++) {
		if (strcmp(config->labels[i].name, label) != 0)
			continue;
		for (size_t k = 0; k < config->labels[i].n_values; k++) {
			if (strcmp(config->labels[i].values[k], name) == 0)
				return true;
		}
	}
	return false;
}

static bool matches(const struct core *core, const struct hook *hook,
		    const struct kernel_netdev *netdev)
{
	const char *selector = hook_selector(hook), *name = strchr(selector, '/');

	if (selector[0] != '@')
		return hook_selects(hook, netdev->name);
	if (name == NULL)
		return netdev->default_route != 0;
	return selector[1] == 'd' ? strcmp(netdev->driver, name + 1) == 0
				  : is_labelled(core->config, name + 1, netdev->name);
}

static void count_begun(struct selection *selection, const char *instance)
{
	if (selection->instance != NULL && strcmp(selection->instance, instance) == 0)
		selection->n_begun++;
}

/* ---- what is selected no more */

struct deselect {
	struct job job;
	struct core *core;
	struct kernel_pins *pins;
	char instance[STORE_ID_LEN + 1];
	struct link_removal removal;
	int r;
	struct error err;
};

static void deselect_work(struct job *job)
{
	struct deselect *deselect = (struct deselect *)(void *)job;

	deselect->r = link_removal_run(deselect->pins, deselect->instance, &deselect->removal,
				       &deselect->err);
}

static int record_removal(struct deselect *deselect, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	char object[64];
	int r = store_tx_begin(deselect->core->store, STORE_TX_RELEASE, &tx, err);

	(void)snprintf(object, sizeof(object), "links/%s", deselect->removal.id);
	if (r >= 0)
		r = store_link_delete(&tx, deselect->removal.id, err);
	if (r >= 0)
		r = instance_follow_links(deselect->core, &tx, deselect->instance, err);
	if (r >= 0)
		r = reconcile_audit(&tx, "", "deselect", object, hook_text(deselect->removal.hook),
				    err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

/* What fails is tried again at the next comparison: the row is still there. */
static void deselect_done(struct job *job)
{
	struct deselect *deselect = (struct deselect *)(void *)job;
	struct core *core = deselect->core;

	if (deselect->r >= 0)
		deselect->r = record_removal(deselect, &deselect->err);
	if (deselect->r < 0)
		log_error(LOG_LEVEL_WARNING, &deselect->err,
			  "detach link %s, which is not selected", deselect->removal.id);
	busy_leave(core, deselect->removal.id);
	busy_leave(core, deselect->instance);
	core_notice(core);
	select_settled(core, deselect->instance);
	link_removal_done(&deselect->removal);
	free(deselect);
}

static int deselect_begin(struct core *core, const struct store_link *row, struct error *err)
{
	_cleanup_free_ struct deselect *deselect = calloc(1, sizeof(*deselect));
	int r;

	if (deselect == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "detach a link");
	*deselect = (struct deselect){ .job = { .work = deselect_work, .done = deselect_done },
				       .core = core,
				       .pins = core->pins };
	(void)snprintf(deselect->instance, sizeof(deselect->instance), "%s", row->instance);
	r = busy_enter(core, row->instance, false, err);
	if (r < 0)
		return r;
	r = busy_enter(core, row->id, true, err);
	if (r >= 0) {
		r = link_removal_init(core, row, &deselect->removal, err);
		if (r < 0)
			busy_leave(core, row->id);
	}
	if (r < 0) {
		busy_leave(core, row->instance);
		return r;
	}
	jobs_submit_urgent(core->jobs, &TAKE_PTR(deselect)->job);
	return 0;
}

/* ---- what is selected now */

static bool is_attached_to(const struct selection *selection, const struct store_link *selector,
			   const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = 0; i < selection->n_selected; i++) {
		const struct store_link *row = &selection->selected[i];

		if (strcmp(row->selected_by, selector->id) == 0 && row->target.size == n &&
		    memcmp(row->target.data, name, n) == 0)
			return true;
	}
	return false;
}

/* Adds the row of a link, to be attached like one that waits for its target. */
static int add_row(struct selection *selection, const struct store_link *selector,
		   struct hook *hook, struct store_tx *tx, struct arena *arena,
		   struct store_link *ret, struct error *err)
{
	struct apply_link link = { .hook = hook, .link = KERNEL_LINK_NONE };
	char *id = arena_alloc(arena, sizeof(link.id));
	char object[64];
	int r = name_new_id(link.id, err);

	if (r >= 0)
		r = apply_link_row(&link, selector->instance, selector->program, arena, ret, err);
	if (r >= 0 && id == NULL)
		r = error_raise(err, ERROR_OUT_OF_MEMORY, "select an interface");
	if (r < 0)
		return r;
	memcpy(id, link.id, sizeof(link.id));
	ret->id = id;
	ret->hook = arena_strndup(arena, ret->hook, strlen(ret->hook));
	ret->state = LINK_PENDING_TARGET;
	ret->attached_at_ns = 0;
	ret->reason = "";
	ret->selected_by = selector->id;
	r = store_link_insert(tx, ret, err);
	(void)snprintf(object, sizeof(object), "links/%s", id);
	if (r >= 0)
		r = reconcile_audit(tx, "", "select", object, hook_text(hook), err);
	count_begun(selection, selector->instance);
	return r;
}

static int add_rows(struct selection *selection, const struct store_link *selector,
		    const struct store_program *program, const struct hook *hook,
		    struct arena *arena, struct store_link *rows, size_t *n_rows, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = 0;

	for (size_t i = 0; r >= 0 && i < selection->n_netdevs; i++) {
		const struct kernel_netdev *netdev = &selection->netdevs[i];
		_cleanup_(hook_freep) struct hook *concrete = NULL;
		struct error refused = { 0 };

		if (!matches(selection->core, hook, netdev) ||
		    is_attached_to(selection, selector, netdev->name))
			continue;
		r = hook_select(hook, netdev->name, &concrete, err);
		/* What the manifest does not allow is not selected. */
		if (r < 0 || links_check_program(program, concrete, arena, &refused) < 0)
			continue;
		if (*n_rows == 0)
			r = store_tx_begin(selection->core->store, STORE_TX_GROW, &tx, err);
		if (r >= 0)
			r = add_row(selection, selector, concrete, &tx, arena, &rows[(*n_rows)++],
				    err);
	}
	if (r >= 0 && *n_rows > 0)
		r = instance_follow_links(selection->core, &tx, selector->instance, err);
	return r < 0 || *n_rows == 0 ? r : store_tx_commit(&tx, err);
}

static int resolve(struct selection *selection, const struct store_link *selector,
		   struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)8 << 20);
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_link *rows = NULL;
	_cleanup_(hook_freep) struct hook *hook = NULL;
	struct core *core = selection->core;
	size_t n = 0;
	int r = store_instance_get(core->store, selector->instance, &instance, err);

	if (r < 0 || !instance_state_is_loaded(instance->state))
		return r;
	rows = calloc(selection->n_netdevs + 1, sizeof(*rows));
	if (arena == NULL || rows == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "select interfaces");
	r = store_program_get(core->store, selector->instance, selector->program, &program, err);
	if (r >= 0)
		r = link_hook(selector, &hook, err);
	for (size_t i = 0; r >= 0 && i < selection->n_selected; i++) {
		const struct store_link *row = &selection->selected[i];
		bool there = false;

		if (strcmp(row->selected_by, selector->id) != 0)
			continue;
		for (size_t k = 0; k < selection->n_netdevs && !there; k++) {
			const char *name = selection->netdevs[k].name;

			there = row->target.size == strlen(name) &&
				memcmp(row->target.data, name, row->target.size) == 0 &&
				matches(core, hook, &selection->netdevs[k]);
		}
		if (!there) {
			r = deselect_begin(core, row, err);
			if (r >= 0)
				count_begun(selection, row->instance);
		}
	}
	if (r >= 0)
		r = add_rows(selection, selector, program, hook, arena, rows, &n, err);
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = reattach_begin(core, &rows[i], err);
	return r;
}

/* Links whose selector was detached. */
static int drop_orphans(struct selection *selection, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < selection->n_selected; i++) {
		const struct store_link *row = &selection->selected[i];
		size_t k = 0;

		while (k < selection->n_selectors &&
		       strcmp(selection->selectors[k].id, row->selected_by) != 0)
			k++;
		if (k < selection->n_selectors)
			continue;
		r = deselect_begin(selection->core, row, err);
		if (r >= 0)
			count_begun(selection, row->instance);
	}
	return r;
}

static int compare(struct selection *selection, struct error *err)
{
	static const struct store_link_filter selectors = { .target = { "", 0 } };
	static const struct store_link_filter selected = { .selected = true };
	struct store *store = selection->core->store;
	bool want_routes = false;
	int r = store_link_list(store, &selectors, NULL, ROWS_MAX, &selection->selectors,
				&selection->n_selectors, err);

	if (r >= 0)
		r = store_link_list(store, &selected, NULL, ROWS_MAX, &selection->selected,
				    &selection->n_selected, err);
	if (r >= 0)
		r = drop_orphans(selection, err);
	if (r < 0 || selection->n_selectors == 0)
		return r;
	for (size_t i = 0; i < selection->n_selectors; i++)
		want_routes |= strstr(selection->selectors[i].hook, ":@default-route") != NULL;
	r = kernel_netdevs_list(want_routes, &selection->netdevs, &selection->n_netdevs, err);
	for (size_t i = 0; r >= 0 && i < selection->n_selectors; i++) {
		struct error cause = { 0 };

		/* A busy instance is looked at again at the next tick. */
		if (resolve(selection, &selection->selectors[i], &cause) < 0 &&
		    cause.code != ERROR_INSTANCE_BUSY)
			log_error(LOG_LEVEL_WARNING, &cause, "select interfaces for link %s",
				  selection->selectors[i].id);
	}
	return r;
}

static size_t begin(struct core *core, const char *instance)
{
	struct selection selection = { .core = core, .instance = instance };
	struct error err = { 0 };

	if (core->held_by_owner || core->stopping)
		return 0;
	if (compare(&selection, &err) < 0 && err.code != ERROR_INSTANCE_BUSY)
		log_error(LOG_LEVEL_WARNING, &err, "select interfaces");
	free(selection.selectors);
	free(selection.selected);
	free(selection.netdevs);
	return selection.n_begun;
}

void select_resolve(struct core *core)
{
	(void)begin(core, NULL);
}

/* ---- replies */

void select_reply(struct request *request, const ProtobufCMessage *response, const char *instance)
{
	struct select_wait *wait = calloc(1, sizeof(*wait));
	struct core *core = request->core;
	const size_t n = begin(core, instance);

	if (wait == NULL || n == 0) {
		free(wait);
		request_reply(request, response);
		return;
	}
	*wait = (struct select_wait){ core->select_waits, request, response, "", n };
	(void)snprintf(wait->instance, sizeof(wait->instance), "%s", instance);
	core->select_waits = wait;
}

void select_settled(struct core *core, const char *instance)
{
	struct select_wait **at = &core->select_waits;

	while (*at != NULL) {
		struct select_wait *wait = *at;

		if (strcmp(wait->instance, instance) != 0 || --wait->n_left > 0) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		request_reply(wait->request, wait->response);
		free(wait);
	}
}
