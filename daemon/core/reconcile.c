#include "daemon/core/reconcile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/links.h"
#include "daemon/core/observe.h"
#include "daemon/core/reconcile-private.h"
#include "daemon/core/replace.h"
#include "daemon/core/request.h"
#include "daemon/core/select.h"
#include "daemon/core/trusted.h"

#define ROWS_MAX 65536
#define RETRY_NS (5 * NS_PER_SEC)
#define DESCRIBED_AT_ONCE 64
#define HELD_REASON \
	"held: `bpfleetd --detach-all` is in force; after `bpfleetd --resume` it is applied again"

/* Opens a pin and compares the kernel's id with the recorded one. */
static bool program_is_there(struct core *core, const struct store_program *row,
			     uint32_t generation)
{
	const struct kernel_pin pin = { .instance = row->instance,
					.kind = KERNEL_PIN_PROGRAM,
					.ordinal = row->ordinal,
					.generation = generation };
	_cleanup_close_ int fd = -1;
	struct kernel_program_info info;
	struct error ignored = { 0 };

	return kernel_pin_open(core->pins, &pin, false, &fd, &ignored) >= 0 &&
	       kernel_program_info(fd, &info, &ignored) >= 0 && info.id == row->kernel_id;
}

static bool map_is_there(struct core *core, const struct store_map *row, uint32_t generation)
{
	const struct kernel_pin pin = { .instance = row->instance,
					.kind = KERNEL_PIN_MAP,
					.ordinal = row->ordinal,
					.generation = generation };
	_cleanup_close_ int fd = -1;
	struct kernel_map_info info;
	struct error ignored = { 0 };

	return kernel_pin_open(core->pins, &pin, false, &fd, &ignored) >= 0 &&
	       kernel_map_info(fd, &info, &ignored) >= 0 && info.id == row->kernel_id;
}

/* Returns 1 if every program and map is pinned as it was recorded, 0 if not. */
static int parts_are_there(struct core *core, const char *id, uint32_t generation,
			   struct error *err)
{
	_cleanup_free_ struct store_program *programs = NULL;
	_cleanup_free_ struct store_map *maps = NULL;
	size_t n_programs = 0, n_maps = 0;
	int r = store_program_list(core->store, id, NULL, ROWS_MAX, &programs, &n_programs, err);

	if (r >= 0)
		r = store_map_list(core->store, id, NULL, ROWS_MAX, &maps, &n_maps, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_programs; i++) {
		if (programs[i].kernel_id != 0 && !program_is_there(core, &programs[i], generation))
			return 0;
	}
	for (size_t i = 0; i < n_maps; i++) {
		if (maps[i].kernel_id != 0 && !map_is_there(core, &maps[i], generation))
			return 0;
	}
	return 1;
}

/* What the kernel shows of a recorded link. Returns 1 with the view, 0 if there is no such link. */
static int view_link(struct core *core, const struct store_link *row, uint32_t program_id,
		     struct kernel_link_view *ret, uint32_t *ret_kernel_id, struct error *err)
{
	const struct kernel_pin pin = { .instance = row->instance,
					.kind = KERNEL_PIN_LINK,
					.link = row->id };
	struct link_removal plan;
	struct kernel_link link = KERNEL_LINK_NONE;
	struct error cause = { 0 };
	int fd = -1, r = link_removal_init(core, row, &plan, err);

	if (r < 0)
		return r;
	plan.attach.link = plan.id;
	plan.attach.program_id = program_id;
	plan.attach.resolved = &plan.resolved;
	r = kernel_pin_open(core->pins, &pin, false, &fd, &cause);
	if (r < 0 && cause.code != ERROR_NOT_FOUND) {
		link_removal_done(&plan);
		*err = cause;
		return r;
	}
	r = kernel_adopt(&plan.attach, fd, &link, ret, &cause);
	if (r < 0) {
		if (fd >= 0)
			(void)close(fd);
		link_removal_done(&plan);
		if (cause.code == ERROR_NOT_FOUND)
			return 0;
		/* There is something, and it is not what was recorded. */
		ret->state = KERNEL_LINK_DRIFTED;
		(void)snprintf(ret->reason, sizeof(ret->reason), "%.150s", cause.message);
		*ret_kernel_id = 0;
		return 1;
	}
	*ret_kernel_id = link.id;
	kernel_link_close(&link);
	link_removal_done(&plan);
	return 1;
}

static enum link_state state_of_view(const struct kernel_link_view *view)
{
	switch (view->state) {
	case KERNEL_LINK_ATTACHED:
		return LINK_ATTACHED;
	case KERNEL_LINK_TARGET_GONE:
		return LINK_TARGET_GONE;
	case KERNEL_LINK_DRIFTED:
		break;
	}
	return LINK_DRIFTED;
}

static int adopt_link(struct core *core, const struct store_link *row, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	_cleanup_free_ struct store_program *program = NULL;
	struct kernel_link_view view = { .state = KERNEL_LINK_ATTACHED };
	uint32_t kernel_id = 0;
	enum link_state state;
	int r = store_program_get(core->store, row->instance, row->program, &program, err);

	if (r >= 0)
		r = view_link(core, row, program->kernel_id, &view, &kernel_id, err);
	if (r < 0)
		return r;
	if (r == 0) {
		if (row->state == LINK_ATTACHED)
			log_warning("link %s of %s is gone from the kernel: attaching it again",
				    row->id, row->instance);
		return reattach_begin(core, row, err);
	}
	state = state_of_view(&view);
	if ((uint32_t)state == row->state && kernel_id == row->kernel_id)
		return 0;
	r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = store_link_set_state(&tx, row->id, state, view.reason, err);
	if (r >= 0)
		r = instance_follow_links(core, &tx, row->instance, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static int adopt_links(struct core *core, const char *id, struct error *err)
{
	_cleanup_free_ struct store_link *rows = NULL;
	const struct store_link_filter filter = { .instance = id };
	size_t n = 0;
	int r = store_link_list(core->store, &filter, NULL, ROWS_MAX, &rows, &n, err);

	for (size_t i = 0; r >= 0 && i < n; i++)
		r = adopt_link(core, &rows[i], err);
	return r;
}

/* ---- instances */

static int hold(struct core *core, const struct store_instance *row, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = links_set_all(core, &tx, row->id, LINK_DETACHED, "held", err);
	if (r >= 0)
		r = store_instance_set_state(&tx, row->id, INSTANCE_FAILED, HELD_REASON, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

static int end(struct core *core, const struct store_instance *row, const char *verb,
	       const char *why, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = reconcile_remove_instance(core, row->id, row->owner, verb, why, &tx, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

int reconcile_instance(struct core *core, const struct store_instance *row, struct error *err)
{
	bool same_boot = strcmp(row->boot_id, core->boot_id) == 0;
	int r;

	if (row->durability == BPFLEET__V1__DURABILITY__DURABILITY_LEASE)
		return end(core, row, "lease_end", "the daemon has restarted", err);
	if (row->durability == BPFLEET__V1__DURABILITY__DURABILITY_BOOT && !same_boot)
		return end(core, row, "boot_end", "the host has rebooted", err);
	if (row->state == INSTANCE_UNLOADING)
		return end(core, row, "unload", "finished after a restart", err);
	if (row->state == INSTANCE_QUARANTINED)
		return 0;
	if (core->held_by_owner)
		return hold(core, row, err);
	r = same_boot ? parts_are_there(core, row->id, row->generation, err) : 0;
	if (r > 0 && reconcile_is_revoked(core, row->digest))
		return revoke_begin(core, row, err);
	if (r < 0)
		return r;
	/* One that was being loaded has links that no row describes. */
	if (r > 0 && instance_state_is_loaded(row->state))
		return adopt_links(core, row->id, err);
	if (same_boot && r == 0)
		log_warning("pins of instance %s are gone: loading it again", row->id);
	return reapply_begin(core, row, err);
}

static int settle_instances(struct core *core, struct error *err)
{
	char after[STORE_ID_LEN + 1] = "";
	size_t n;

	do {
		_cleanup_free_ struct store_instance *rows = NULL;
		int r = store_instance_list(core->store, NULL, after[0] == '\0' ? NULL : after, 256,
					    &rows, &n, err);

		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++) {
			struct error cause = { 0 };

			if (reconcile_instance(core, &rows[i], &cause) < 0)
				log_error(LOG_LEVEL_ERROR, &cause, "settle instance %s",
					  rows[i].id);
		}
		if (n > 0)
			(void)snprintf(after, sizeof(after), "%s", rows[n - 1].id);
	} while (n == 256);
	return 0;
}

static int note_boot(struct core *core, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_meta meta;
	int r = store_meta_get(core->store, &meta, err);

	if (r < 0 || strcmp(meta.boot_id, core->boot_id) == 0)
		return r;
	r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);
	if (r >= 0)
		r = store_meta_set_boot_id(&tx, core->boot_id, err);
	if (r >= 0)
		r = reconcile_audit(&tx, "", "boot", "", core->boot_id, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

int reconcile_start(struct core *core, struct error *err)
{
	int r = note_boot(core, err);

	if (r >= 0)
		r = reconcile_journal(core, err);
	if (r >= 0)
		r = settle_instances(core, err);
	if (r >= 0)
		loop_set_timer(core->loop, &core->retry, clock_monotonic_ns() + RETRY_NS);
	return r;
}

/* ---- later */

/* Whether the recorded reason of a failure may have gone by itself. */
static bool may_have_passed(const char *reason)
{
	const char *end = strchr(reason, ':');
	char name[64];

	if (end == NULL || (size_t)(end - reason) >= sizeof(name))
		return false;
	(void)snprintf(name, sizeof(name), "%.*s", (int)(end - reason), reason);
	return error_info(error_code_from_reason(name))->retryable;
}

static void retry_instances(struct core *core, bool all)
{
	const struct store_instance_filter filter = { .state = INSTANCE_FAILED };
	_cleanup_free_ struct store_instance *rows = NULL;
	struct error err = { 0 };
	size_t n = 0;

	if (store_instance_list(core->store, &filter, NULL, ROWS_MAX, &rows, &n, &err) < 0)
		log_error(LOG_LEVEL_ERROR, &err, "look for failed instances");
	for (size_t i = 0; i < n; i++) {
		if (!all && !may_have_passed(rows[i].reason))
			continue;
		err = (struct error){ 0 };
		if (reapply_begin(core, &rows[i], &err) < 0 && err.code != ERROR_INSTANCE_BUSY)
			log_error(LOG_LEVEL_WARNING, &err, "load instance %s again", rows[i].id);
	}
}

/* Compares a link with the kernel, or attaches it where it is not. */
static void look_at(struct core *core, const struct store_link *row)
{
	struct error err = { 0 };
	int r = 0;

	if (row->state == LINK_PENDING_TARGET || row->state == LINK_TARGET_GONE)
		r = reattach_begin(core, row, &err);
	else if (row->state == LINK_ATTACHED && held_find(core, row->instance) == NULL &&
		 !busy_is(core, row->instance) && !busy_is(core, row->id))
		r = adopt_link(core, row, &err);
	if (r < 0 && err.code != ERROR_INSTANCE_BUSY)
		log_error(LOG_LEVEL_WARNING, &err, "look at link %s", row->id);
}

/* A page of links; *after (an id, or empty) moves on, and is empty again after the last. */
static void look_at_some(struct core *core, const struct store_link_filter *filter, char *after)
{
	_cleanup_free_ struct store_link *rows = NULL;
	struct error err = { 0 };
	size_t n = 0;

	if (store_link_list(core->store, filter, after[0] == '\0' ? NULL : after, DESCRIBED_AT_ONCE,
			    &rows, &n, &err) < 0)
		log_error(LOG_LEVEL_ERROR, &err, "look at the links");
	for (size_t i = 0; i < n; i++)
		look_at(core, &rows[i]);
	(void)snprintf(after, STORE_ID_LEN + 1, "%s", n == DESCRIBED_AT_ONCE ? rows[n - 1].id : "");
}

void reconcile_look(struct core *core, const struct store_link_filter *filter)
{
	char after[STORE_ID_LEN + 1] = "";

	if (core->held_by_owner || core->stopping)
		return;
	do {
		look_at_some(core, filter, after);
	} while (after[0] != '\0');
}

static void revoke_running(struct core *core)
{
	char after[STORE_ID_LEN + 1] = "";
	struct error err = { 0 };
	size_t n;

	do {
		_cleanup_free_ struct store_instance *rows = NULL;

		n = 0;
		if (store_instance_list(core->store, NULL, after[0] == '\0' ? NULL : after, 256,
					&rows, &n, &err) < 0)
			log_error(LOG_LEVEL_ERROR, &err, "look for revoked instances");
		for (size_t i = 0; i < n; i++) {
			if (rows[i].state == INSTANCE_FAILED ||
			    !reconcile_is_revoked(core, rows[i].digest))
				continue;
			err = (struct error){ 0 };
			if (revoke_begin(core, &rows[i], &err) < 0 &&
			    err.code != ERROR_INSTANCE_BUSY)
				log_error(LOG_LEVEL_ERROR, &err, "revoke instance %s", rows[i].id);
		}
		if (n > 0)
			(void)snprintf(after, sizeof(after), "%s", rows[n - 1].id);
	} while (n == 256);
}

void reconcile_trust(struct core *core)
{
	if (core->held_by_owner)
		return;
	core->retry_tick = 0;
	retry_instances(core, true);
	revoke_running(core);
}

/* After 1, 2, 4 ... 64 ticks, and every 64 from then on: what fails again and again costs little.
 */
static bool is_due(uint32_t tick)
{
	return (tick & (tick - 1)) == 0 || tick % 64 == 0;
}

void reconcile_retry(struct core *core)
{
	if (core->held_by_owner || core->stopping)
		return;
	if (is_due(++core->retry_tick))
		retry_instances(core, false);
	reconcile_look(core, &(struct store_link_filter){ .state = LINK_PENDING_TARGET });
	reconcile_look(core, &(struct store_link_filter){ .state = LINK_TARGET_GONE });
	if (trust_ref_get(trusted_bundles_trust(core->bundles))->n_revoked > 0)
		revoke_running(core);
	/* Some of the others in turn: what no notice told of shows all the same. */
	look_at_some(core, NULL, core->describe_after);
	version_commit_due(core);
	select_resolve(core);
	observe_follow(core->observe);
	loop_set_timer(core->loop, &core->retry, clock_monotonic_ns() + RETRY_NS);
}
