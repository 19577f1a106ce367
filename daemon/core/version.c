#include "daemon/core/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/step.h"
#include "proto/arena.h"

#define ROWS_MAX 65536

static int by_time(const void *a, const void *b)
{
	const uint64_t x = ((const struct store_link *)a)->attached_at_ns;
	const uint64_t y = ((const struct store_link *)b)->attached_at_ns;

	return x < y ? -1 : x > y;
}

static bool is_attached(const struct store_link *row)
{
	return row->state == LINK_ATTACHED || row->state == LINK_DRIFTED;
}

/* What is recorded is the version that the link comes from. */
static int add_link(struct version_switch *version, struct core *core, const struct store_link *row,
		    uint32_t to, uint32_t to_map, struct error *err)
{
	struct version_link *link = &version->links[version->n_links];
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	struct error absent = { 0 };
	bool optional;
	int r = link_removal_init(core, row, &link->link, err);

	if (r < 0)
		return r;
	version->n_links++;
	r = store_program_get(core->store, row->instance, row->program, &program, err);
	if (r < 0)
		return r;
	link->from = program->ordinal;
	link->to = to;
	link->from_map = UINT32_MAX;
	link->to_map = to_map;
	if (kernel_hook_map(link->link.hook, &optional) != NULL &&
	    store_map_get(core->store, row->instance, kernel_hook_map(link->link.hook, &optional),
			  &map, &absent) >= 0)
		link->from_map = map->ordinal;
	(void)snprintf(link->program, sizeof(link->program), "%s", row->program);
	return 0;
}

int version_switch_init(struct core *core, const char *instance, version_ordinals_fn ordinals,
			void *arg, struct version_switch *ret, struct error *err)
{
	const struct store_link_filter filter = { .instance = instance };
	_cleanup_free_ struct store_link *rows = NULL;
	size_t n = 0;
	int r = store_link_list(core->store, &filter, NULL, ROWS_MAX, &rows, &n, err);

	*ret = (struct version_switch){ .pins = core->pins };
	(void)snprintf(ret->instance, sizeof(ret->instance), "%s", instance);
	if (r < 0)
		return r;
	ret->links = calloc(n + 1, sizeof(*ret->links));
	if (ret->links == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "plan a switch");
	qsort(rows, n, sizeof(*rows), by_time);
	for (size_t i = 0; r >= 0 && i < n; i++) {
		_cleanup_(hook_freep) struct hook *hook = NULL;
		uint32_t to = 0, to_map = UINT32_MAX;
		bool optional;

		r = link_hook(&rows[i], &hook, err);
		if (r >= 0)
			r = ordinals(arg, &rows[i], hook, kernel_hook_map(hook, &optional), &to,
				     &to_map, err);
		if (r >= 0 && is_attached(&rows[i]) && hook_selector(hook) == NULL)
			r = add_link(ret, core, &rows[i], to, to_map, err);
	}
	return r;
}

void version_switch_done(struct version_switch *version)
{
	for (size_t i = 0; i < version->n_links; i++)
		link_removal_done(&version->links[i].link);
	free(version->links);
	*version = (struct version_switch){ 0 };
}

int version_switch_pack(const struct version_switch *version, struct arena *arena,
			struct store_bytes *ret, struct error *err)
{
	Bpfleet__State__Plan plan = BPFLEET__STATE__PLAN__INIT;
	uint8_t *bytes;
	size_t size;
	int r;

	plan.from_generation = version->from_generation;
	plan.to_generation = version->to_generation;
	plan.links = arena_alloc(arena, version->n_links * sizeof(*plan.links));
	for (size_t i = 0; i < version->n_links; i++) {
		Bpfleet__State__PlannedLink *link = arena_alloc(arena, sizeof(*link));

		if (plan.links == NULL || link == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "write the journal");
		bpfleet__state__planned_link__init(link);
		link->id = (char *)(uintptr_t)version->links[i].link.id;
		link->program = (char *)(uintptr_t)version->links[i].program;
		link->to_ordinal = version->links[i].to;
		plan.links[plan.n_links++] = link;
	}
	r = arena_pack(arena, &plan.base, &bytes, &size, err);
	if (r >= 0)
		*ret = (struct store_bytes){ bytes, size };
	return r;
}

int version_switch_unpack(struct core *core, const struct store_op *op, struct version_switch *ret,
			  struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)8 << 20);
	const Bpfleet__State__Plan *plan;
	ProtobufCMessage *message;
	int r;

	*ret = (struct version_switch){ .pins = core->pins };
	(void)snprintf(ret->instance, sizeof(ret->instance), "%s", op->instance);
	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read the journal");
	r = arena_unpack(arena, &bpfleet__state__plan__descriptor, op->data.data, op->data.size,
			 &message, err);
	if (r < 0)
		return r;
	plan = (const Bpfleet__State__Plan *)message;
	ret->from_generation = plan->from_generation;
	ret->to_generation = plan->to_generation;
	ret->links = calloc(plan->n_links + 1, sizeof(*ret->links));
	if (ret->links == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read the journal");
	for (size_t i = 0; r >= 0 && i < plan->n_links; i++) {
		_cleanup_free_ struct store_link *row = NULL;

		r = store_link_get(core->store, plan->links[i]->id, &row, err);
		if (r >= 0)
			r = add_link(ret, core, row, plan->links[i]->to_ordinal, UINT32_MAX, err);
	}
	return r;
}

/* ---- on a worker */

struct program {
	int fd;
	uint32_t id;
	int map_fd; /* that its hook needs; -1: none */
	uint32_t map_id;
};

static void program_done(struct program *program)
{
	if (program->fd >= 0)
		(void)close(program->fd);
	if (program->map_fd >= 0)
		(void)close(program->map_fd);
}

/* The link's program in the version that the switch leads to, or from. */
static int open_program(const struct version_switch *version, bool to,
			const struct version_link *link, struct program *ret, struct error *err)
{
	const struct kernel_pin pin = {
		.instance = version->instance,
		.kind = KERNEL_PIN_PROGRAM,
		.ordinal = to ? link->to : link->from,
		.generation = to ? version->to_generation : version->from_generation,
	};
	const struct kernel_pin map = {
		.instance = version->instance,
		.kind = KERNEL_PIN_MAP,
		.ordinal = to ? link->to_map : link->from_map,
		.generation = pin.generation,
	};
	struct kernel_program_info info;
	struct kernel_map_info map_info = { 0 };
	int r = kernel_pin_open(version->pins, &pin, false, &ret->fd, err);

	if (r >= 0 && map.ordinal != UINT32_MAX)
		r = kernel_pin_open(version->pins, &map, false, &ret->map_fd, err);
	if (r >= 0 && ret->map_fd >= 0)
		r = kernel_map_info(ret->map_fd, &map_info, err);
	if (r >= 0)
		r = kernel_program_info(ret->fd, &info, err);
	if (r >= 0)
		ret->id = info.id;
	ret->map_id = map_info.id;
	return r;
}

static bool is_running(const struct program *program, const struct kernel_link_view *view)
{
	return view->map_id != 0 ? view->map_id == program->map_id
				 : view->program_id == program->id;
}

static int update(const struct version_switch *version, struct version_link *link,
		  const struct program *from, const struct program *to, struct kernel_link *now,
		  struct error *err)
{
	const struct kernel_pin pin = { .instance = version->instance,
					.kind = KERNEL_PIN_LINK,
					.link = link->link.id };
	struct kernel_attach attach = link->link.attach;
	struct kernel_link old = KERNEL_LINK_NONE;
	struct error ignored = { 0 };
	int r;

	attach.program_fd = to->fd;
	attach.program_id = to->id;
	attach.target_fd = to->map_fd;
	r = kernel_update(&attach, from->fd, from->id, now, &old, err);
	core_step("switch.link_updated");
	if (r < 0 || old.fd < 0)
		return r;
	/* The kernel has two links now; the pin decides which of them lives on. */
	r = kernel_pin_swap(version->pins, &pin, now->fd, err);
	core_step("switch.link_pinned");
	attach.program_fd = from->fd;
	attach.program_id = from->id;
	if (r >= 0) {
		r = kernel_detach(&attach, &old, err);
		if (r < 0 || !now->beside)
			return r;
		return from != to ? update(version, link, to, to, now, err)
				  : error_raise(err, ERROR_HOOK_BUSY, "its place has been taken");
	}
	/* The new one ends with its fd at the latest, as nothing pins it. */
	if (kernel_detach(&attach, now, &ignored) < 0)
		log_error(LOG_LEVEL_WARNING, &ignored, "take link %s back", link->link.id);
	*now = old;
	return r;
}

static int switch_link(struct version_switch *version, struct version_link *link, bool back,
		       struct error *err)
{
	const struct kernel_pin pin = { .instance = version->instance,
					.kind = KERNEL_PIN_LINK,
					.link = link->link.id };
	_cleanup_(program_done) struct program from = { .fd = -1, .map_fd = -1 };
	_cleanup_(program_done) struct program to = { .fd = -1, .map_fd = -1 };
	struct kernel_link now = KERNEL_LINK_NONE;
	struct kernel_link_view view = { 0 };
	struct error missing = { 0 };
	int fd = -1, r;

	link->link.attach.link = link->link.id;
	link->link.attach.resolved = &link->link.resolved;
	r = open_program(version, !back, link, &to, err);
	if (r >= 0 && kernel_pin_open(version->pins, &pin, false, &fd, &missing) < 0 &&
	    missing.code != ERROR_NOT_FOUND) {
		*err = missing;
		r = -1;
	}
	if (r >= 0) {
		r = kernel_adopt(&link->link.attach, fd, &now, &view, err);
		if (r < 0 && fd >= 0)
			(void)close(fd);
	}
	/* Of a Replace that died early there may be nothing to come from, or half of the way. */
	if (r >= 0 && is_running(&to, &view)) {
		if (view.beside)
			r = update(version, link, &to, &to, &now, err);
	} else if (r >= 0) {
		r = open_program(version, back, link, &from, err);
		if (r >= 0)
			r = update(version, link, &from, &to, &now, err);
	}
	link->kernel_id = now.id;
	kernel_link_close(&now);
	return r < 0 ? error_context(err, r, "link %s, %.200s", link->link.id,
				     hook_text(link->link.hook))
		     : 0;
}

static int back_from(struct version_switch *version, size_t n, struct error *err)
{
	int result = 0;

	for (size_t i = n; i-- > 0;) {
		struct error cause = { 0 };
		const int r = switch_link(version, &version->links[i], true, &cause);

		if (r < 0 && result >= 0) {
			*err = cause;
			result = r;
		}
	}
	return result;
}

int version_switch_run(struct version_switch *version, struct error *err)
{
	for (size_t i = 0; i < version->n_links; i++) {
		struct error undo_err = { 0 };
		const int r = switch_link(version, &version->links[i], false, err);

		if (r < 0) {
			/* The failed one, too: it may be half-way. */
			if (back_from(version, i + 1, &undo_err) < 0)
				(void)error_context(err, r, "%s; and back: %.200s",
						    "not all links could be switched",
						    undo_err.message);
			return r;
		}
	}
	return 0;
}

int version_switch_back(struct version_switch *version, struct error *err)
{
	return back_from(version, version->n_links, err);
}

int version_switch_record(struct core *core, const struct version_switch *version,
			  struct store_tx *tx, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < version->n_links; i++) {
		_cleanup_free_ struct store_link *row = NULL;

		r = store_link_get(core->store, version->links[i].link.id, &row, err);
		if (r < 0)
			return r;
		if (version->links[i].kernel_id == 0 ||
		    version->links[i].kernel_id == row->kernel_id)
			continue;
		row->kernel_id = version->links[i].kernel_id;
		row->attached_at_ns = clock_realtime_ns();
		r = store_link_update(tx, row, err);
	}
	return r;
}
