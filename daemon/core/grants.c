/* Letting front read: map fds for a session, and tickets that an fd of a frozen map is redeemed
 * with. */
#include <linux/bpf.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/map-type.h"
#include "daemon/config/config.h"
#include "daemon/core/convert.h"
#include "daemon/core/inner.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/hooks.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/kernel/storage.h"
#include "daemon/core/lease.h"
#include "daemon/core/methods.h"
#include "daemon/core/session.h"
#include "daemon/core/state.pb-c.h"
#include "daemon/core/supervisor_link.h"
#include "daemon/mapread/mapread.h"
#include "proto/arena.h"
#include "store/bundles.h"

#define TICKET_LEN 32
#define TICKET_LIFE_NS (10 * NS_PER_SEC)
#define TICKETS_MAX 1024u
#define TICKETS_EACH_MAX 32u
/* A grant travels in one frame beside its fd; a BTF that does not fit is fetched with GetMap. */
#define GRANT_MAX (CHANNEL_FRAME_MAX - 4096)

struct ticket {
	struct ticket *next;
	uint8_t bytes[TICKET_LEN];
	uid_t uid;
	char map[NAME_RESOURCE_MAX + 1];
	uint64_t deadline; /* monotonic */
};

static int check_readable(const struct store_map *map, struct error *err)
{
	if (map->access == BPFLEET__V1__ACCESS__ACCESS_PRIVATE)
		return error_raise(err, ERROR_MAP_PRIVATE, "the manifest keeps map '%s' private",
				   map->name);
	return 0;
}

static int fill_grant(struct request *request, const struct store_instance *instance,
		      const struct store_map *map, Bpfleet__Ipc__GrantMapReply **ret,
		      struct error *err)
{
	struct core *core = request->core;
	Bpfleet__Ipc__GrantMapReply *reply = arena_alloc(request->arena, sizeof(*reply));
	_cleanup_free_ struct store_bytes *btf = NULL;
	int r;

	if (reply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "grant a map");
	bpfleet__ipc__grant_map_reply__init(reply);
	reply->policy_epoch = core->policy_epoch;
	r = convert_map(core, request->arena, map, &reply->map, err);
	if (r < 0)
		return r;
	r = store_btf_get(core->store, instance->digest, map->object, &btf, err);
	if (r >= 0 &&
	    protobuf_c_message_get_packed_size(&reply->base) + btf->size + 16 <= GRANT_MAX)
		r = convert_bytes(request->arena, btf->data, btf->size, &reply->btf, err);
	else if (r < 0 && err->code == ERROR_NOT_FOUND)
		r = 0;
	*ret = reply;
	return r;
}

/* What a map of maps or of programs can hold of its instance, so that ids get names. */
static int add_held(struct request *request, const struct store_instance *instance,
		    const struct map_type *type, Bpfleet__Ipc__GrantMapReply *reply,
		    struct error *err)
{
	_cleanup_free_ struct store_program *programs = NULL;
	_cleanup_free_ struct store_map *maps = NULL;
	struct store *store = request->core->store;
	size_t n = 0;
	int r = 0;

	if (type->value == MAP_VALUE_MAP)
		r = store_map_list(store, instance->id, NULL, BUNDLE_MAPS_MAX, &maps, &n, err);
	else if (type->value == MAP_VALUE_PROGRAM)
		r = store_program_list(store, instance->id, NULL, BUNDLE_PROGRAMS_MAX, &programs,
				       &n, err);
	if (r < 0 || n == 0)
		return r;
	reply->held_ids = arena_alloc(request->arena, n * sizeof(*reply->held_ids));
	reply->held_names = arena_alloc(request->arena, n * sizeof(*reply->held_names));
	for (size_t i = 0; reply->held_ids != NULL && reply->held_names != NULL && i < n; i++) {
		reply->held_ids[i] = maps != NULL ? maps[i].kernel_id : programs[i].kernel_id;
		reply->held_names[i] = convert_text(request->arena,
						    maps != NULL ? maps[i].name : programs[i].name);
		if (reply->held_names[i] == NULL)
			break;
		reply->n_held_ids = reply->n_held_names = i + 1;
	}
	return reply->n_held_ids == n ? 0 : error_raise(err, ERROR_OUT_OF_MEMORY, "grant a map");
}

/* A fresh inner map is described by the template of the one that holds it. */
static int describe_inner(struct request *request, const struct store_map *map,
			  Bpfleet__V1__Map *ret, struct error *err)
{
	const Bpfleet__State__MapRecord *record;
	ProtobufCMessage *message;
	int r = arena_unpack(request->arena, &bpfleet__state__map_record__descriptor,
			     map->spec.data, map->spec.size, &message, err);

	if (r < 0)
		return r;
	record = (const Bpfleet__State__MapRecord *)message;
	if (record->spec->inner == NULL)
		return error_raise(err, ERROR_NOT_FOUND, "there is no such inner map");
	ret->type = record->spec->inner->type;
	ret->key_size = record->spec->inner->key_size;
	ret->value_size = record->spec->inner->value_size;
	ret->n_cpus = map_type_find(ret->type)->flags & MAP_PER_CPU ? request->core->n_cpus : 0;
	ret->key_type_id = record->inner_key_type_id;
	ret->value_type_id = record->inner_value_type_id;
	ret->n_display = 0;
	return 0;
}

/* The grant is for a map that the named one holds; one of the manifest's has its own access. */
static int grant_inner(struct request *request, const struct store_instance *instance,
		       const struct store_map *map, uint32_t id, Bpfleet__Ipc__GrantMapReply *reply,
		       struct error *err)
{
	const struct outer outer = { request->core, instance->id, map, NULL };
	_cleanup_free_ struct store_map *inner = NULL;
	_cleanup_close_ int fd = -1;
	char *name = reply->map->name;
	int r = map_type_find(map->type)->value == MAP_VALUE_MAP
			? outer_open_inner(&outer, id, &fd, &inner, err)
			: error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "a %s holds no maps",
				      map->type);

	if (r >= 0)
		r = inner != NULL ? check_readable(inner, err)
				  : describe_inner(request, map, reply->map, err);
	if (r >= 0 && inner != NULL)
		r = convert_map(request->core, request->arena, inner, &reply->map, err);
	if (r >= 0)
		r = kernel_reopen_map(request->core->pins, fd, BPF_F_RDONLY, &request->reply_fd,
				      err);
	reply->map->name = name;
	return r;
}

/* The entries of a perf buffer go with the file that they were made through: it must be of nobody
 * else. */
static int own_file(struct request *request, struct error *err)
{
	_cleanup_close_ int fd = TAKE_FD(request->reply_fd);

	return kernel_reopen_map(request->core->pins, fd, 0, &request->reply_fd, err);
}

/* ---- what takes longer than the loop may wait */

struct slow_grant {
	struct job job;
	struct request *request;
	ProtobufCMessage *reply;
	struct mapread_map shape; /* fd -1: for symbols */
	int fd;
	int r;
	struct error err;
};

static void slow_grant_work(struct job *job)
{
	struct slow_grant *grant = (struct slow_grant *)(void *)job;

	grant->r = grant->shape.fd < 0
			   ? supervisor_kallsyms(grant->request->core->supervisor, &grant->fd,
						 &grant->err)
			   : kernel_walk_storage(&grant->shape, &grant->fd, &grant->err);
}

static void slow_grant_done(struct job *job)
{
	_cleanup_free_ struct slow_grant *grant = (struct slow_grant *)(void *)job;

	if (grant->shape.fd >= 0)
		(void)close(grant->shape.fd);
	grant->request->reply_fd = grant->fd;
	if (grant->r < 0)
		request_fail(grant->request, &grant->err);
	else
		request_reply(grant->request, grant->reply);
}

static int grant_slowly(struct request *request, const struct store_instance *instance,
			const struct store_map *map, bool symbols, ProtobufCMessage *reply,
			struct error *err)
{
	const struct map_type *type = map_type_find(map->type);
	_cleanup_free_ struct slow_grant *grant = calloc(1, sizeof(*grant));
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (symbols ? type->value != MAP_VALUE_STACK : (type->flags & MAP_ITERATES) == 0)
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   "a %s has no symbols and no iterator", type->name);
	if (grant == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "grant a map");
	*grant = (struct slow_grant){ .job = { .work = slow_grant_work, .done = slow_grant_done },
				      .request = request,
				      .reply = reply,
				      .shape.fd = -1,
				      .fd = -1 };
	if (!symbols)
		r = instance_map_fd(request->core, instance->id, map->ordinal, false, &fd, err);
	if (r >= 0 && !symbols)
		r = mapread_open(fd, request->core->n_cpus, &grant->shape, err);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	jobs_submit(request->core->jobs, &TAKE_PTR(grant)->job);
	return REQUEST_PENDING;
}

int serve_grant_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__GrantMapRequest *message = (const void *)request->message;
	bool events = message->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_EVENTS;
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	Bpfleet__Ipc__GrantMapReply *reply = NULL;
	int r = request_find_map(request, message->map, POLICY_VERB_READ, &instance, &map, err);

	if (r >= 0)
		r = check_readable(map, err);
	if (r < 0)
		return r;
	if (events != ((map_type_find(map->type)->flags & MAP_EVENTS) != 0))
		return error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED,
				   events ? "map '%s' is of type %s, which has no events"
					  : "map '%s' is of type %s: stream its events instead",
				   map->name, map->type);
	r = fill_grant(request, instance, map, &reply, err);
	if (r >= 0 && (message->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_SYMBOLS ||
		       message->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_ENTRIES))
		return grant_slowly(request, instance, map,
				    message->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_SYMBOLS,
				    &reply->base, err);
	if (r >= 0)
		r = add_held(request, instance, map_type_find(map->type), reply, err);
	if (r >= 0 && message->inner_id != 0)
		r = grant_inner(request, instance, map, message->inner_id, reply, err);
	else if (r >= 0)
		r = instance_map_fd(request->core, instance->id, map->ordinal, !events,
				    &request->reply_fd, err);
	if (r >= 0 && events)
		r = own_file(request, err);
	if (r >= 0)
		*ret_response = &reply->base;
	return r;
}

int serve_grant_perf(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__GrantPerfRequest *message = (const void *)request->message;
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	int r = request_find_map(request, message->map, POLICY_VERB_READ, &instance, &map, err);

	(void)ret_response;
	if (r >= 0)
		r = check_readable(map, err);
	if (r >= 0 && map_type_find(map->type)->number != BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		r = error_raise(err, ERROR_MAP_TYPE_UNSUPPORTED, "map '%s' is a %s", map->name,
				map->type);
	return r < 0 ? r
		     : kernel_perf_output(request->frame.fd, map->kernel_id, message->cpu,
					  &request->reply_fd, err);
}

/* The map and offset of a drop counter, as the manifest names the variable. */
static int find_counter(struct request *request, const struct store_instance *instance,
			const struct store_map *map, Bpfleet__Ipc__GrantCounterReply *reply,
			struct error *err)
{
	_cleanup_free_ struct store_map *section = NULL;
	const Bpfleet__State__MapRecord *record;
	ProtobufCMessage *message;
	int r = arena_unpack(request->arena, &bpfleet__state__map_record__descriptor,
			     map->spec.data, map->spec.size, &message, err);

	if (r < 0)
		return r;
	record = (const Bpfleet__State__MapRecord *)message;
	if (record->counter_map[0] == '\0')
		return 0;
	r = store_map_get(request->core->store, instance->id, record->counter_map, &section, err);
	if (r >= 0)
		r = instance_map_fd(request->core, instance->id, section->ordinal, true,
				    &request->reply_fd, err);
	if (r < 0)
		return r;
	reply->known = true;
	reply->offset = record->counter_offset;
	reply->value_size = section->value_size;
	return 0;
}

int serve_grant_counter(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__GrantMapRequest *message = (const void *)request->message;
	Bpfleet__Ipc__GrantCounterReply *reply = arena_alloc(request->arena, sizeof(*reply));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	int r = request_find_map(request, message->map, POLICY_VERB_READ, &instance, &map, err);

	if (r >= 0)
		r = check_readable(map, err);
	if (r < 0)
		return r;
	if (reply == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "grant a counter");
	bpfleet__ipc__grant_counter_reply__init(reply);
	r = find_counter(request, instance, map, reply, err);
	*ret_response = &reply->base;
	return r;
}

/* ---- tickets */

static void drop_stale_tickets(struct core *core)
{
	uint64_t now = clock_monotonic_ns();

	for (struct ticket **at = &core->tickets; *at != NULL;) {
		struct ticket *ticket = *at;

		if (ticket->deadline > now) {
			at = &ticket->next;
			continue;
		}
		*at = ticket->next;
		free(ticket);
	}
}

static int add_ticket(struct request *request, struct ticket **ret, struct error *err)
{
	struct core *core = request->core;
	struct ticket *ticket;
	unsigned int n = 0, n_own = 0;

	drop_stale_tickets(core);
	for (ticket = core->tickets; ticket != NULL; ticket = ticket->next) {
		n++;
		n_own += ticket->uid == session_uid(request->session);
	}
	if (n >= TICKETS_MAX || n_own >= TICKETS_EACH_MAX)
		return error_raise(err, ERROR_RATE_LIMITED,
				   "%u tickets of yours wait to be redeemed", n_own);
	ticket = calloc(1, sizeof(*ticket));
	if (ticket == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "make a ticket");
	randombytes_buf(ticket->bytes, sizeof(ticket->bytes));
	ticket->uid = session_uid(request->session);
	ticket->deadline = clock_monotonic_ns() + TICKET_LIFE_NS;
	(void)snprintf(ticket->map, sizeof(ticket->map), "%s", request->object);
	ticket->next = core->tickets;
	core->tickets = ticket;
	*ret = ticket;
	return 0;
}

int serve_open_map(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__V1__OpenMapRequest *message = (const void *)request->message;
	Bpfleet__V1__OpenMapResponse *response = arena_alloc(request->arena, sizeof(*response));
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	struct ticket *ticket;
	int r = request_find_map(request, message->map, POLICY_VERB_READ, &instance, &map, err);

	if (r >= 0)
		r = check_readable(map, err);
	if (r < 0)
		return r;
	if (!map->frozen)
		return error_raise(err, ERROR_MAP_NOT_FREEZABLE, "map '%s' (%s) is not frozen",
				   map->name, map->type);
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "open a map");
	bpfleet__v1__open_map_response__init(response);
	r = add_ticket(request, &ticket, err);
	if (r >= 0)
		r = convert_bytes(request->arena, ticket->bytes, TICKET_LEN, &response->ticket,
				  err);
	response->fd_socket = request->core->config->fd_socket;
	*ret_response = &response->base;
	return r;
}

static struct ticket *take_ticket(struct core *core, const uint8_t *bytes, size_t n)
{
	drop_stale_tickets(core);
	for (struct ticket **at = &core->tickets; n == TICKET_LEN && *at != NULL;
	     at = &(*at)->next) {
		struct ticket *ticket = *at;

		if (sodium_memcmp(ticket->bytes, bytes, TICKET_LEN) == 0) {
			*at = ticket->next;
			return ticket;
		}
	}
	return NULL;
}

/* Policy is asked again: it may have changed since the ticket was made. */
int serve_redeem_ticket(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	const Bpfleet__Ipc__RedeemTicketRequest *message = (const void *)request->message;
	_cleanup_free_ struct ticket *ticket =
		take_ticket(request->core, message->ticket.data, message->ticket.len);
	_cleanup_free_ struct store_instance *instance = NULL;
	_cleanup_free_ struct store_map *map = NULL;
	Bpfleet__Ipc__GrantMapReply *reply = NULL;
	int r;

	if (ticket == NULL || ticket->uid != session_uid(request->session))
		return error_raise(err, ERROR_PERMISSION_DENIED,
				   "no such ticket; it is good once, for ten seconds, for the one "
				   "who asked for it");
	r = request_find_map(request, ticket->map, POLICY_VERB_READ, &instance, &map, err);
	if (r >= 0 && !map->frozen)
		r = error_raise(err, ERROR_MAP_NOT_FREEZABLE, "map '%s' is not frozen", map->name);
	if (r >= 0)
		r = fill_grant(request, instance, map, &reply, err);
	if (r >= 0)
		/* A read-only fd cannot be mapped; a frozen map is written through none. */
		r = instance_map_fd(request->core, instance->id, map->ordinal, false,
				    &request->reply_fd, err);
	if (r >= 0)
		*ret_response = &reply->base;
	return r;
}
