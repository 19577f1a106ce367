#include "daemon/core/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/core/apply.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/methods.h"
#include "daemon/core/session.h"
#include "daemon/core/unload.h"
#include "proto/arena.h"

struct held_instance *held_find(struct core *core, const char *id)
{
	for (struct held_instance *held = core->held; held != NULL; held = held->next) {
		if (strcmp(held->id, id) == 0)
			return held;
	}
	return NULL;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; fds != NULL && i < n; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	free(fds);
}

void held_free(struct held_instance *held)
{
	struct held_link *next;

	for (struct held_link *link = held->links; link != NULL; link = next) {
		next = link->next;
		kernel_link_close(&link->link);
		free(link);
	}
	while (held->inner != NULL) {
		struct held_inner *inner = held->inner;

		held->inner = inner->next;
		(void)close(inner->fd);
		free(inner);
	}
	close_all(held->program_fds, held->n_programs);
	close_all(held->map_fds, held->n_maps);
	close_all(held->readonly_fds, held->n_maps);
	session_unref(held->session);
	free(held);
}

void held_remove(struct core *core, struct held_instance *held)
{
	for (struct held_instance **at = &core->held; *at != NULL; at = &(*at)->next) {
		if (*at == held) {
			*at = held->next;
			break;
		}
	}
	loop_unset_timer(core->loop, &held->ends);
	loop_unset_timer(core->loop, &held->grace);
	held_free(held);
}

static struct held_instance *held_of_timer(struct loop_timer *timer, size_t offset)
{
	return (struct held_instance *)(void *)((char *)timer - offset);
}

static void on_time_limit(struct loop_timer *timer)
{
	struct held_instance *held = held_of_timer(timer, offsetof(struct held_instance, ends));

	unload_lease(held->core, held->id, "its time is over", timer);
}

static void on_lost(struct loop_timer *timer)
{
	struct held_instance *held = held_of_timer(timer, offsetof(struct held_instance, grace));

	unload_lease(held->core, held->id, "its client did not come back", timer);
}

struct held_link *held_link_new(const char *id)
{
	struct held_link *entry = calloc(1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	(void)snprintf(entry->id, sizeof(entry->id), "%s", id);
	entry->link = KERNEL_LINK_NONE;
	return entry;
}

void held_add_link(struct held_instance *held, struct held_link *entry, struct kernel_link *link)
{
	entry->link = *link;
	*link = KERNEL_LINK_NONE;
	entry->next = held->links;
	held->links = entry;
}

struct kernel_link held_take_link(struct held_instance *held, const char *id)
{
	for (struct held_link **at = &held->links; *at != NULL; at = &(*at)->next) {
		struct held_link *entry = *at;
		struct kernel_link link = entry->link;

		if (strcmp(entry->id, id) != 0)
			continue;
		*at = entry->next;
		free(entry);
		return link;
	}
	return KERNEL_LINK_NONE;
}

int held_new(struct core *core, const struct apply *apply, struct held_instance **ret,
	     struct error *err)
{
	const struct kernel_object *object = apply->object;
	_cleanup_(held_freep) struct held_instance *held = calloc(1, sizeof(*held));

	if (held == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "hold a lease");
	held->core = core;
	held->ends.due = on_time_limit;
	held->grace.due = on_lost;
	(void)snprintf(held->id, sizeof(held->id), "%s", apply->id);
	held->program_fds = malloc((object->n_programs + 1) * sizeof(int));
	held->map_fds = malloc((object->n_maps + 1) * sizeof(int));
	if (held->program_fds == NULL || held->map_fds == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "hold a lease");
	for (size_t i = 0; i < apply->n_links; i++) {
		struct kernel_link none = KERNEL_LINK_NONE;
		struct held_link *entry = held_link_new(apply->links[i].id);

		if (entry == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "hold a lease");
		held_add_link(held, entry, &none);
	}
	*ret = TAKE_PTR(held);
	return 0;
}

static void take_links(struct held_instance *held, struct apply *apply)
{
	for (struct held_link *entry = held->links; entry != NULL; entry = entry->next) {
		for (size_t i = 0; i < apply->n_links; i++) {
			if (strcmp(apply->links[i].id, entry->id) != 0)
				continue;
			entry->link = apply->links[i].link;
			apply->links[i].link = KERNEL_LINK_NONE;
		}
	}
}

void held_take(struct held_instance *held, struct apply *apply, struct session *session,
	       uint64_t ends_at_ns)
{
	struct kernel_object *object = apply->object;
	struct core *core = held->core;
	uint64_t now = clock_realtime_ns();

	take_links(held, apply);
	for (size_t i = 0; i < object->n_programs; i++)
		held->program_fds[i] = TAKE_FD(object->programs[i].fd);
	for (size_t i = 0; i < object->n_maps; i++)
		held->map_fds[i] = TAKE_FD(object->maps[i].fd);
	held->readonly_fds = TAKE_PTR(apply->readonly_fds);
	held->n_programs = object->n_programs;
	held->n_maps = object->n_maps;
	held->session = session_ref(session);
	held->next = core->held;
	core->held = held;
	if (ends_at_ns > 0)
		loop_set_timer(core->loop, &held->ends,
			       clock_monotonic_ns() + (ends_at_ns > now ? ends_at_ns - now : 0));
	if (session_has_ended(session))
		lease_session_ended(core, session);
}

void lease_session_ended(struct core *core, const struct session *session)
{
	for (struct held_instance *held = core->held; held != NULL; held = held->next) {
		if (held->session != session)
			continue;
		session_unref(held->session);
		held->session = NULL;
		loop_set_timer(core->loop, &held->grace, clock_monotonic_ns() + LEASE_GRACE_NS);
	}
}

int serve_keep_lease(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__KeepLeaseRequest *message = (const void *)request->message;
	Bpfleet__V1__KeepLeaseResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	struct held_instance *held;
	uint8_t hash[STORE_HASH_LEN];
	int r = request_find_named_instance(request, message->instance, POLICY_VERB_VIEW, &instance,
					    err);

	if (r < 0)
		return r;
	held = held_find(request->core, instance->id);
	if (held == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "%s is not a lease", message->instance);
	if (instance->state == INSTANCE_UNLOADING)
		return error_raise(err, ERROR_NOT_FOUND, "the lease %s is ending",
				   message->instance);
	core_hash(message->lease_token.data, message->lease_token.len, hash);
	if (message->lease_token.len != LEASE_TOKEN_LEN || !instance->has_lease_token ||
	    sodium_memcmp(hash, instance->lease_token_hash, sizeof(hash)) != 0)
		return error_raise(err, ERROR_LEASE_TOKEN_INVALID, "that is not the token of %s",
				   message->instance);
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "keep a lease");
	bpfleet__v1__keep_lease_response__init(response);
	response->lease_ends_at_ns = instance->lease_ends_at_ns;
	loop_unset_timer(request->core->loop, &held->grace);
	session_unref(held->session);
	held->session = session_ref(request->session);
	*ret_response = &response->base;
	return REQUEST_DONE;
}

static void count_events(struct core *core, const Bpfleet__Ipc__EventCount *count)
{
	struct resource_name name;
	struct error ignored = { 0 };
	struct held_instance *held;

	if (resource_parse_kind(count->instance, RESOURCE_INSTANCE, &name, &ignored) < 0)
		return;
	held = held_find(core, name.id);
	if (held == NULL)
		return;
	held->n_events += count->records;
	held->event_bytes += count->bytes;
	if (busy_is(core, held->id))
		return;
	if ((held->max_events > 0 && held->n_events >= held->max_events) ||
	    (held->max_event_bytes > 0 && held->event_bytes >= held->max_event_bytes))
		unload_lease(core, held->id, "its budget of events is used up", &held->grace);
}

int serve_count_events(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__CountEventsRequest *message = (const void *)request->message;

	(void)ret_response;
	(void)err;
	for (size_t i = 0; i < message->n_counts; i++)
		count_events(request->core, message->counts[i]);
	return REQUEST_DONE;
}

static int duplicate(int fd, int *ret, struct error *err)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return error_raise(err, ERROR_NOT_FOUND, "the lease holds no such thing");
	*ret = copy;
	return 0;
}

/* What is recorded and not pinned is on its way back, or failed to come back. */
static int open_pin(struct core *core, const struct kernel_pin *pin, bool readonly, int *ret,
		    struct error *err)
{
	struct error cause = { 0 };
	int r = kernel_pin_open(core->pins, pin, readonly, ret, &cause);

	if (r >= 0)
		return r;
	if (cause.code == ERROR_NOT_FOUND)
		return error_raise(err, ERROR_INSTANCE_NOT_READY, "instance %s is not loaded now",
				   pin->instance);
	*err = cause;
	return r;
}

int instance_program_fd(struct core *core, const char *id, uint32_t ordinal, int *ret,
			struct error *err)
{
	struct kernel_pin pin = { .instance = id, .kind = KERNEL_PIN_PROGRAM, .ordinal = ordinal };
	const struct held_instance *held = held_find(core, id);
	int r;

	if (held != NULL)
		return duplicate(ordinal < held->n_programs ? held->program_fds[ordinal] : -1, ret,
				 err);
	r = store_instance_generation(core->store, id, &pin.generation, err);
	return r < 0 ? r : open_pin(core, &pin, false, ret, err);
}

int instance_link_fd(struct core *core, const char *id, const char *link, int *ret,
		     struct error *err)
{
	const struct kernel_pin pin = { .instance = id, .kind = KERNEL_PIN_LINK, .link = link };
	const struct held_instance *held = held_find(core, id);

	if (held == NULL)
		return open_pin(core, &pin, false, ret, err);
	for (const struct held_link *entry = held->links; entry != NULL; entry = entry->next) {
		if (strcmp(entry->id, link) == 0)
			return duplicate(entry->link.fd, ret, err);
	}
	return duplicate(-1, ret, err);
}

int instance_map_fd(struct core *core, const char *id, uint32_t ordinal, bool readonly, int *ret,
		    struct error *err)
{
	struct kernel_pin pin = { .instance = id, .kind = KERNEL_PIN_MAP, .ordinal = ordinal };
	const struct held_instance *held = held_find(core, id);
	const int *fds;
	int r;

	if (held != NULL) {
		fds = readonly ? held->readonly_fds : held->map_fds;
		return duplicate(ordinal < held->n_maps ? fds[ordinal] : -1, ret, err);
	}
	r = store_instance_generation(core->store, id, &pin.generation, err);
	return r < 0 ? r : open_pin(core, &pin, readonly, ret, err);
}
