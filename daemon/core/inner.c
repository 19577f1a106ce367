#include "daemon/core/inner.h"

#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/map-type.h"
#include "daemon/core/kernel/maps.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/state.pb-c.h"
#include "proto/arena.h"

static struct kernel_pin pin_of(const struct outer *outer, uint32_t id)
{
	return (struct kernel_pin){ .instance = outer->instance,
				    .kind = KERNEL_PIN_INNER,
				    .ordinal = id };
}

/* Pins the map, or gives the lease an fd of it. */
static int keep(const struct outer *outer, int fd, uint32_t id, struct error *err)
{
	struct held_instance *held = held_find(outer->core, outer->instance);
	const struct kernel_pin pin = pin_of(outer, id);
	_cleanup_free_ struct held_inner *inner = NULL;
	_cleanup_close_ int own = -1;

	if (held == NULL)
		return kernel_pin(outer->core->pins, &pin, fd, err);
	inner = calloc(1, sizeof(*inner));
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (inner == NULL || own < 0)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "keep an inner map");
	*inner = (struct held_inner){ held->inner, id, TAKE_FD(own) };
	held->inner = TAKE_PTR(inner);
	return 0;
}

static int make_fresh(const struct outer *outer, struct arena *arena, int *ret_fd,
		      struct error *err)
{
	const Bpfleet__V1__InnerMapSpec *spec;
	_cleanup_close_ int fd = -1;
	ProtobufCMessage *record;
	uint32_t id;
	int r = arena_unpack(arena, &bpfleet__state__map_record__descriptor, outer->map->spec.data,
			     outer->map->spec.size, &record, err);

	if (r < 0)
		return r;
	spec = ((const Bpfleet__State__MapRecord *)record)->spec->inner;
	if (spec == NULL)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "the bundle does not say what a fresh map in '%s' is like; name "
				   "one of its maps",
				   outer->map->name);
	r = kernel_map_create(spec, &fd, &id, err);
	if (r >= 0)
		r = keep(outer, fd, id, err);
	if (r >= 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int outer_resolve(const struct outer *outer, const char *reference, struct arena *arena,
		  int *ret_fd, struct error *err)
{
	_cleanup_free_ struct store_program *program = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	const bool maps = outer->shape->kind->value == MAP_VALUE_MAP;
	int r;

	if (maps && strcmp(reference, "+") == 0)
		return make_fresh(outer, arena, ret_fd, err);
	if (maps)
		r = store_map_get(outer->core->store, outer->instance, reference, &map, err);
	else
		r = store_program_get(outer->core->store, outer->instance, reference, &program,
				      err);
	if (r < 0)
		return error_context(err, r, "the instance's %s '%.64s'", maps ? "map" : "program",
				     reference);
	if (maps)
		return instance_map_fd(outer->core, outer->instance, map->ordinal, false, ret_fd,
				       err);
	return instance_program_fd(outer->core, outer->instance, program->ordinal, ret_fd, err);
}

static int open_fresh(const struct outer *outer, uint32_t id, int *ret_fd, struct error *err)
{
	const struct held_instance *held = held_find(outer->core, outer->instance);
	const struct kernel_pin pin = pin_of(outer, id);

	if (held == NULL)
		return kernel_pin_open(outer->core->pins, &pin, false, ret_fd, err);
	for (const struct held_inner *inner = held->inner; inner != NULL; inner = inner->next) {
		if (inner->id == id) {
			*ret_fd = fcntl(inner->fd, F_DUPFD_CLOEXEC, 0);
			return 0;
		}
	}
	return error_raise(err, ERROR_NOT_FOUND, "inner map %u is not ours", id);
}

int outer_open_inner(const struct outer *outer, uint32_t id, int *ret_fd,
		     struct store_map **ret_map, struct error *err)
{
	_cleanup_free_ struct store_map *maps = NULL;
	size_t n = 0;
	int r = store_map_list(outer->core->store, outer->instance, NULL, BUNDLE_MAPS_MAX, &maps,
			       &n, err);

	for (size_t i = 0; r >= 0 && i < n; i++) {
		if (maps[i].kernel_id != id)
			continue;
		r = store_map_get(outer->core->store, outer->instance, maps[i].name, ret_map, err);
		return r < 0 ? r
			     : instance_map_fd(outer->core, outer->instance, maps[i].ordinal, false,
					       ret_fd, err);
	}
	*ret_map = NULL;
	return r < 0 ? r : open_fresh(outer, id, ret_fd, err);
}

void outer_drop_inner(const struct outer *outer, uint32_t id)
{
	struct held_instance *held = held_find(outer->core, outer->instance);
	const struct kernel_pin pin = pin_of(outer, id);
	struct error ignored = { 0 };

	int r;

	/* What is left of a failure goes with the instance. */
	if (held == NULL) {
		r = kernel_unpin(outer->core->pins, &pin, &ignored);
		(void)r;
		return;
	}
	for (struct held_inner **at = &held->inner; *at != NULL; at = &(*at)->next) {
		struct held_inner *inner = *at;

		if (inner->id != id)
			continue;
		*at = inner->next;
		(void)close(inner->fd);
		free(inner);
		return;
	}
}
