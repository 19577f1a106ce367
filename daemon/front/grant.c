#include "daemon/front/grant.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "daemon/front/session.h"
#include "decode/types.h"

struct grants {
	struct grants_limits limits;
	struct grant *oldest, *newest; /* by last use */
	size_t n;
};

struct grants *grants_new(const struct grants_limits *limits)
{
	struct grants *grants = calloc(1, sizeof(*grants));

	if (grants != NULL)
		grants->limits = *limits;
	return grants;
}

void grants_free(struct grants *grants)
{
	free(grants);
}

uint32_t grants_n_possible_cpus(const struct grants *grants)
{
	return grants->limits.n_possible_cpus;
}

size_t grants_n(const struct grants *grants)
{
	return grants->n;
}

/* Copies the reply, whose memory ends with the callback, into the grant's own arena. */
static int grant_copy(struct grant *grant, const struct core_reply *reply, struct error *err)
{
	const Bpfleet__Ipc__GrantMapReply *granted;
	ProtobufCMessage *message = NULL;
	int r;

	grant->arena = arena_new(2 * reply->body_size + CHANNEL_FRAME_MAX);
	if (grant->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a map");
	r = arena_unpack(grant->arena, &bpfleet__ipc__grant_map_reply__descriptor, reply->body,
			 reply->body_size, &message, err);
	granted = (const Bpfleet__Ipc__GrantMapReply *)message;
	if (r < 0 || granted->map == NULL)
		return error_raise(err, ERROR_PROTOCOL, "core's answer to GrantMap is malformed");
	grant->map = granted->map;
	grant->btf = granted->btf.data;
	grant->n_btf = granted->btf.len;
	grant->policy_epoch = granted->policy_epoch;
	if (granted->n_held_ids == granted->n_held_names) {
		grant->held_ids = granted->held_ids;
		grant->held_names = granted->held_names;
		grant->n_held = granted->n_held_ids;
	}
	return 0;
}

int grant_from_reply(const struct core_reply *reply, uint32_t n_possible_cpus, struct grant **ret,
		     struct error *err)
{
	_cleanup_(grant_unrefp) struct grant *grant = calloc(1, sizeof(*grant));
	int r;

	if (grant == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a map");
	grant->n_refs = 1;
	grant->fd = TAKE_FD(*reply->fd);
	if (grant->fd < 0)
		return error_raise(err, ERROR_PROTOCOL, "core granted a map without its fd");
	r = grant_copy(grant, reply, err);
	if (r == 0)
		r = mapread_open(grant->fd, n_possible_cpus, &grant->shape, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(grant);
	return 0;
}

struct grant *grant_ref(struct grant *grant)
{
	grant->n_refs++;
	return grant;
}

void grant_unref(struct grant *grant)
{
	if (grant == NULL || --grant->n_refs > 0)
		return;
	decoder_free(grant->decoder);
	free(grant->own_btf);
	arena_free(grant->arena);
	if (grant->fd >= 0)
		(void)close(grant->fd);
	free(grant);
}

bool grant_lacks_btf(const struct grant *grant)
{
	return grant->n_btf == 0 &&
	       (grant->map->key_type_id != 0 || grant->map->value_type_id != 0 ||
		grant->map->event_type_id != 0 || grant->map->n_event_variants > 0);
}

int grant_take_btf(struct grant *grant, const struct core_reply *reply, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena =
		arena_new(2 * reply->body_size + CHANNEL_FRAME_MAX);
	const Bpfleet__V1__GetMapResponse *response;
	ProtobufCMessage *message = NULL;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a map's types");
	if (arena_unpack(arena, &bpfleet__v1__get_map_response__descriptor, reply->body,
			 reply->body_size, &message, err) < 0)
		return error_raise(err, ERROR_PROTOCOL, "core's answer to GetMap is malformed");
	response = (const Bpfleet__V1__GetMapResponse *)message;
	if (response->btf.len == 0)
		return 0;
	grant->own_btf = malloc(response->btf.len);
	if (grant->own_btf == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a map's types");
	memcpy(grant->own_btf, response->btf.data, response->btf.len);
	grant->btf = grant->own_btf;
	grant->n_btf = response->btf.len;
	return 0;
}

int grant_decoder(struct grant *grant, const struct decoder **ret, struct error *err)
{
	int r = 0;

	if (grant->decoder == NULL)
		r = decoder_new_for_map(grant->map, grant->btf, grant->n_btf, &grant->decoder, err);
	if (r == 0)
		*ret = grant->decoder;
	return r;
}

static void lru_unlink(struct grants *grants, struct grant *grant)
{
	*(grant->older != NULL ? &grant->older->newer : &grants->oldest) = grant->newer;
	*(grant->newer != NULL ? &grant->newer->older : &grants->newest) = grant->older;
	grant->older = NULL;
	grant->newer = NULL;
}

static void lru_append(struct grants *grants, struct grant *grant)
{
	grant->older = grants->newest;
	grant->newer = NULL;
	*(grants->newest != NULL ? &grants->newest->newer : &grants->oldest) = grant;
	grants->newest = grant;
}

/* Out of the cache; who holds a reference sees it voided. */
static void grant_drop(struct grants *grants, struct grant *grant)
{
	struct grant **at = &grant->session->grants;

	while (*at != grant)
		at = &(*at)->session_next;
	*at = grant->session_next;
	grant->session->n_grants--;
	lru_unlink(grants, grant);
	grants->n--;
	grant->voided = true;
	grant->session = NULL;
	grant_unref(grant);
}

struct grant *grants_find(struct grants *grants, struct session *session, const char *name)
{
	for (struct grant *grant = session->grants; grant != NULL; grant = grant->session_next) {
		if (strcmp(grant->name, name) != 0)
			continue;
		if (grant != grants->newest) {
			lru_unlink(grants, grant);
			lru_append(grants, grant);
		}
		return grant;
	}
	return NULL;
}

static struct grant *oldest_of(struct grants *grants, const struct session *session)
{
	struct grant *grant = grants->oldest;

	while (session != NULL && grant != NULL && grant->session != session)
		grant = grant->newer;
	return grant;
}

void grants_keep(struct grants *grants, struct session *session, const char *name,
		 struct grant *grant)
{
	struct grant *old = grants_find(grants, session, name);

	if (strlen(name) >= sizeof(grant->name) || grant->voided || grant->session != NULL)
		return;
	if (old != NULL)
		grant_drop(grants, old);
	if (session->n_grants >= grants->limits.n_grants_per_session)
		grant_drop(grants, oldest_of(grants, session));
	if (grants->n >= grants->limits.n_grants)
		grant_drop(grants, oldest_of(grants, NULL));
	strcpy(grant->name, name);
	grant->session = session;
	grant->session_next = session->grants;
	session->grants = grant_ref(grant);
	session->n_grants++;
	lru_append(grants, grant);
	grants->n++;
}

void grants_drop_session(struct grants *grants, struct session *session)
{
	while (session->grants != NULL)
		grant_drop(grants, session->grants);
}

void grants_drop_epoch(struct grants *grants, uint64_t policy_epoch)
{
	struct grant *newer = NULL;

	for (struct grant *grant = grants->oldest; grant != NULL; grant = newer) {
		newer = grant->newer;
		if (grant->policy_epoch < policy_epoch)
			grant_drop(grants, grant);
	}
}

void grants_drop_instance(struct grants *grants, const char *instance)
{
	size_t n = strlen(instance);
	struct grant *newer = NULL;

	for (struct grant *grant = grants->oldest; grant != NULL; grant = newer) {
		newer = grant->newer;
		if (strncmp(grant->map->name, instance, n) == 0 && grant->map->name[n] == '/')
			grant_drop(grants, grant);
	}
}
