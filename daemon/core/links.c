#include "daemon/core/links.h"

#include <stdio.h>
#include <string.h>
#include <sys/user.h>

#include "base/error.h"
#include "base/str.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/request.h"
#include "daemon/core/step.h"
#include "proto/arena.h"

int instance_follow_links(struct core *core, struct store_tx *tx, const char *id, struct error *err)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	struct store_link_filter filter = { .instance = id };
	struct link_census census = { { 0 } };
	enum instance_state state;
	char after[STORE_ID_LEN + 1] = "";
	size_t n;
	int r;

	do {
		_cleanup_free_ struct store_link *rows = NULL;

		r = store_link_list(core->store, &filter, after[0] == '\0' ? NULL : after, 256,
				    &rows, &n, err);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++) {
			if (rows[i].state < LINK_N_STATES)
				census.n[rows[i].state]++;
		}
		if (n > 0)
			(void)snprintf(after, sizeof(after), "%s", rows[n - 1].id);
	} while (n == 256);
	r = store_instance_get(core->store, id, &instance, err);
	if (r < 0)
		return r;
	/* What is not loaded stays what it is, whatever becomes of its links. */
	if (instance->state < INSTANCE_READY || instance->state > INSTANCE_DEGRADED)
		return 0;
	state = instance_state_of_links(&census);
	if (instance->state == (uint32_t)state && instance->reason[0] == '\0')
		return 0;
	return store_instance_set_state(tx, id, state, NULL, err);
}

static bool take_place(const Bpfleet__Ipc__ProbePlace *message, struct kernel_place *ret)
{
	if (message->n_arguments > KERNEL_ARGUMENTS_MAX)
		return false;
	ret->offset = message->offset;
	ret->semaphore = message->semaphore;
	ret->spec.n_arguments = (int16_t)message->n_arguments;
	for (size_t i = 0; i < message->n_arguments; i++) {
		const Bpfleet__Ipc__ProbeArgument *argument = message->arguments[i];

		/* Programs read there what is in the registers, and nothing beside them. */
		if (argument->type > 2 || argument->size == 0 || argument->size > 8 ||
		    (argument->size & (argument->size - 1)) != 0 ||
		    argument->register_offset % sizeof(unsigned long) != 0 ||
		    argument->register_offset >= sizeof(struct user_regs_struct))
			return false;
		ret->spec.arguments[i].value = argument->value;
		ret->spec.arguments[i].type = argument->type;
		ret->spec.arguments[i].reg = (int16_t)argument->register_offset;
		ret->spec.arguments[i].is_signed = argument->is_signed != 0;
		ret->spec.arguments[i].shift = (uint8_t)(64 - 8 * argument->size);
	}
	return true;
}

int links_take_resolved(const Bpfleet__Ipc__ResolvedTarget *target, struct arena *arena,
			struct kernel_resolved *ret, struct error *err)
{
	struct kernel_place *places;

	if (target->n_places > KERNEL_PLACES_MAX)
		return error_raise(err, ERROR_PROTOCOL, "a probe at %zu places", target->n_places);
	places = arena_alloc(arena, (target->n_places + 1) * sizeof(*places));
	if (places == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "take the places of a probe");
	memset(places, 0, (target->n_places + 1) * sizeof(*places));
	for (size_t i = 0; i < target->n_places; i++) {
		if (!take_place(target->places[i], &places[i]))
			return error_raise(err, ERROR_PROTOCOL,
					   "a probe with impossible arguments");
	}
	*ret = (struct kernel_resolved){ target->offset, target->dev, target->inode, places,
					 target->n_places };
	return 0;
}

int links_stored_resolved(const struct store_link *row, struct kernel_resolved *ret,
			  void **ret_block, struct error *err)
{
	struct kernel_place *places = malloc(row->places.size + 1);

	if (places == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "take the places of a probe");
	if (row->places.size > 0)
		memcpy(places, row->places.data, row->places.size);
	*ret = (struct kernel_resolved){ row->resolved_offset, row->resolved_dev,
					 row->resolved_inode, places,
					 row->places.size / sizeof(*places) };
	*ret_block = places;
	return 0;
}

int links_open_map(struct core *core, const char *instance, const struct hook *hook, int *ret_fd,
		   struct error *err)
{
	_cleanup_free_ struct store_map *map = NULL;
	bool optional;
	const char *name = kernel_hook_map(hook, &optional);
	int r;

	if (name == NULL)
		return 0;
	r = store_map_get(core->store, instance, name, &map, err);
	if (r < 0 && err->code == ERROR_NOT_FOUND && optional)
		return 0;
	if (r < 0 && err->code == ERROR_NOT_FOUND)
		return error_raise(err, ERROR_TARGET_NOT_FOUND,
				   "the instance has no map '%s', which %.200s needs", name,
				   hook_text(hook));
	return r < 0 ? r : instance_map_fd(core, instance, map->ordinal, false, ret_fd, err);
}

int links_set_all(struct core *core, struct store_tx *tx, const char *instance,
		  enum link_state state, const char *reason, struct error *err)
{
	const struct store_link_filter filter = { .instance = instance };
	char after[STORE_ID_LEN + 1] = "";
	size_t n;
	int r;

	do {
		_cleanup_free_ struct store_link *rows = NULL;

		r = store_link_list(core->store, &filter, after[0] == '\0' ? NULL : after, 256,
				    &rows, &n, err);
		for (size_t i = 0; r >= 0 && i < n; i++) {
			struct store_link row = rows[i];

			row.state = state;
			row.reason = reason;
			row.kernel_id = 0;
			row.attached_at_ns = 0;
			r = store_link_update(tx, &row, err);
		}
		if (r < 0)
			return r;
		if (n > 0)
			(void)snprintf(after, sizeof(after), "%s", rows[n - 1].id);
	} while (n == 256);
	return 0;
}

int link_hook(const struct store_link *row, struct hook **ret, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	ProtobufCMessage *message;
	int r;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "read a hook");
	r = arena_unpack(arena, &bpfleet__v1__hook__descriptor, row->spec.data, row->spec.size,
			 &message, err);
	return r < 0 ? r : hook_from_message((const Bpfleet__V1__Hook *)message, ret, err);
}

int link_removal_init(struct core *core, const struct store_link *row, struct link_removal *ret,
		      struct error *err)
{
	struct held_instance *held = held_find(core, row->instance);
	int r;

	*ret = (struct link_removal){ .link = KERNEL_LINK_NONE };
	r = link_hook(row, &ret->hook, err);
	if (r < 0)
		return r;
	(void)snprintf(ret->id, sizeof(ret->id), "%s", row->id);
	r = links_stored_resolved(row, &ret->resolved, &ret->places, err);
	if (r < 0) {
		link_removal_done(ret);
		return r;
	}
	ret->attach = (struct kernel_attach){
		.context = &core->kernel, .hook = ret->hook, .program_fd = -1, .is_again = true
	};
	if (held != NULL)
		ret->link = held_take_link(held, row->id);
	return 0;
}

void link_removal_done(struct link_removal *removal)
{
	kernel_link_close(&removal->link);
	hook_free(removal->hook);
	removal->hook = NULL;
	free(removal->places);
	removal->places = NULL;
}

int link_removal_run(struct kernel_pins *pins, const char *instance, struct link_removal *removal,
		     struct error *err)
{
	const struct kernel_pin pin = { .instance = instance,
					.kind = KERNEL_PIN_LINK,
					.link = removal->id };
	struct kernel_link_view view;
	struct error ignored = { 0 };
	int fd = -1, r;

	removal->attach.link = removal->id;
	removal->attach.resolved = &removal->resolved;
	if (removal->link.fd < 0 && removal->link.form == KERNEL_LINK_FD) {
		if (kernel_pin_open(pins, &pin, false, &fd, &ignored) < 0)
			fd = -1;
		if (kernel_adopt(&removal->attach, fd, &removal->link, &view, &ignored) < 0) {
			/* Nothing there that is ours, or no link at all: the pin still goes. */
			if (fd >= 0)
				(void)close(fd);
			return kernel_unpin(pins, &pin, err);
		}
	}
	r = kernel_unpin(pins, &pin, err);
	core_step("detach.unpinned");
	if (r < 0) {
		kernel_link_close(&removal->link);
		return r;
	}
	return kernel_detach(&removal->attach, &removal->link, err);
}

/* Takes a detail out of an error; false if it has none of that name. */
static bool take_detail(struct error *err, const char *key, struct error_detail *ret)
{
	for (size_t i = 0; i < err->n_details; i++) {
		struct error_detail *detail = &err->details[i];

		if (strcmp(detail->key, key) != 0)
			continue;
		*ret = *detail;
		err->n_details--;
		memmove(detail, detail + 1, (err->n_details - i) * sizeof(*detail));
		return true;
	}
	return false;
}

void links_name_holder(const struct request *request, struct error *err)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_program *program = NULL;
	const bool may_audit = request_may(request, POLICY_VERB_AUDIT, NULL, NULL);
	struct store *store = request->core->store;
	struct error_detail holder, foreign;
	char name[NAME_RESOURCE_MAX + 1];
	struct error ignored = { 0 };
	uint64_t id;

	if (take_detail(err, "holder_program", &foreign) && may_audit) {
		(void)snprintf(err->message + strlen(err->message),
			       sizeof(err->message) - strlen(err->message),
			       ": it is %s, and not bpfleet's", foreign.value);
		error_detail(err, foreign.key, "%s", foreign.value);
	}
	if (!take_detail(err, "holder_program_id", &holder) ||
	    str_to_u64(holder.value, UINT32_MAX, &id) < 0)
		return;
	if (store_program_of_kernel(store, (uint32_t)id, &program, &ignored) < 0) {
		error_detail(err, holder.key, "%s", holder.value);
		return;
	}
	if (store_instance_get(store, program->instance, &instance, &ignored) < 0 ||
	    !request_may_view(request, instance->bundle_name, instance->owner))
		return;
	resource_format_program(program->instance, program->name, name);
	(void)snprintf(err->message + strlen(err->message),
		       sizeof(err->message) - strlen(err->message), ": it is %s of bundle %s", name,
		       instance->bundle_name);
	error_detail(err, "holder", "%s", name);
}
