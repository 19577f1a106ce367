#include "daemon/front/watch.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "proto/arena.h"

#define PAGE_SIZE_MAX 200
/* A page or a batch of changes with everything unpacked from it. */
#define PAGE_ARENA_MAX ((size_t)16 << 20)

struct watchers {
	struct watch *first;
};

enum watch_phase {
	WATCH_REVISION, /* learns where the changes will go on */
	WATCH_LIST,	/* sends what is there, a kind and a page at a time */
	WATCH_SYNCED,	/* has that to say */
	WATCH_FOLLOW,
};

struct watch {
	struct job job;
	struct watch *next, **prev;
	enum watch_phase phase;
	uint64_t revision; /* everything up to it has been, or is being, sent */
	size_t kind;	   /* WATCH_LIST: index into kinds */
	char *page_token;
	uint64_t seen; /* the newest revision core had told when it was last asked */
	bool again;    /* core said that there are more */
	/* Changes to be sent, in an arena of their own. */
	struct arena *arena;
	Bpfleet__V1__Change **changes;
	size_t n_changes;
	size_t n_sent;
};

/* One kind of object: how it is listed, and what a change of it is. */
struct watch_kind {
	const char *method;
	const ProtobufCMessageDescriptor *response;
	size_t n_offset, list_offset, token_offset; /* in the response's struct */
	Bpfleet__V1__Change__ObjectCase object_case;
};

#define KIND(Name, NAME, list)                                                                 \
	{                                                                                      \
		.method = "List" #Name "s",                                                    \
		.response = &bpfleet__v1__list_##list##_response__descriptor,                  \
		.n_offset = offsetof(Bpfleet__V1__List##Name##sResponse, n_##list),            \
		.list_offset = offsetof(Bpfleet__V1__List##Name##sResponse, list),             \
		.token_offset = offsetof(Bpfleet__V1__List##Name##sResponse, next_page_token), \
		.object_case = BPFLEET__V1__CHANGE__OBJECT_##NAME                              \
	}

static const struct watch_kind kinds[] = {
	KIND(Bundle, BUNDLE, bundles),	  KIND(Instance, INSTANCE, instances),
	KIND(Program, PROGRAM, programs), KIND(Map, MAP, maps),
	KIND(Link, LINK, links),
};

static int watch_step(struct watch *watch, struct error *err);

static void watch_fail(struct watch *watch, const struct error *error)
{
	job_fail(&watch->job, error);
}

/* ---- sending */

static void changes_drop(struct watch *watch)
{
	arena_free(TAKE_PTR(watch->arena));
	watch->changes = NULL;
	watch->n_changes = 0;
	watch->n_sent = 0;
}

/* 1: there is room for more, 0: not now. */
static int watch_send(struct watch *watch, const Bpfleet__V1__WatchResponse *response,
		      struct error *err)
{
	int r = rpc_call_send(watch->job.call, &response->base);

	if (r == -ENOMEM)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a change");
	return r < 0 ? 0 : r;
}

static int send_change(struct watch *watch, struct error *err)
{
	Bpfleet__V1__WatchResponse response = BPFLEET__V1__WATCH_RESPONSE__INIT;
	int r;

	response.part_case = BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE;
	response.change = watch->changes[watch->n_sent];
	r = watch_send(watch, &response, err);
	if (r >= 0 && ++watch->n_sent == watch->n_changes)
		changes_drop(watch);
	return r;
}

static int send_synced(struct watch *watch, struct error *err)
{
	Bpfleet__V1__WatchResponse response = BPFLEET__V1__WATCH_RESPONSE__INIT;
	Bpfleet__V1__Synced synced = BPFLEET__V1__SYNCED__INIT;
	int r;

	synced.revision = watch->revision;
	response.part_case = BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED;
	response.synced = &synced;
	r = watch_send(watch, &response, err);
	if (r >= 0)
		watch->phase = WATCH_FOLLOW;
	return r;
}

/* ---- asking core */

static int changes_arena(struct watch *watch, struct error *err)
{
	changes_drop(watch);
	watch->arena = arena_new(PAGE_ARENA_MAX);
	if (watch->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a watch");
	return 0;
}

static int take_changes(struct watch *watch, const struct core_reply *reply, struct error *err)
{
	Bpfleet__Ipc__ChangesReply *changes;
	ProtobufCMessage *message = NULL;
	int r = changes_arena(watch, err);

	if (r == 0)
		r = arena_unpack(watch->arena, &bpfleet__ipc__changes_reply__descriptor,
				 reply->body, reply->body_size, &message, err);
	if (r < 0)
		return r;
	changes = (Bpfleet__Ipc__ChangesReply *)message;
	watch->revision = changes->revision;
	if (watch->phase == WATCH_REVISION) {
		watch->phase = WATCH_LIST;
		changes_drop(watch);
		return 0;
	}
	watch->again |= changes->more;
	watch->changes = changes->changes;
	watch->n_changes = changes->n_changes;
	if (watch->n_changes == 0)
		changes_drop(watch);
	return 0;
}

/* A page of a list as changes that put each object there. */
static int take_page(struct watch *watch, const struct core_reply *reply, struct error *err)
{
	const struct watch_kind *kind = &kinds[watch->kind];
	ProtobufCMessage *message = NULL;
	Bpfleet__V1__Change *changes;
	void **objects;
	const char *token;
	size_t n;
	int r = changes_arena(watch, err);

	if (r == 0)
		r = arena_unpack(watch->arena, kind->response, reply->body, reply->body_size,
				 &message, err);
	if (r < 0)
		return r;
	n = *(size_t *)(void *)((char *)message + kind->n_offset);
	objects = *(void ***)(void *)((char *)message + kind->list_offset);
	token = *(char **)(void *)((char *)message + kind->token_offset);
	changes = arena_alloc(watch->arena, n * sizeof(*changes));
	watch->changes = arena_alloc(watch->arena, n * sizeof(*watch->changes));
	if (n > 0 && (changes == NULL || watch->changes == NULL))
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a watch");
	for (size_t i = 0; i < n; i++) {
		bpfleet__v1__change__init(&changes[i]);
		changes[i].revision = watch->revision;
		changes[i].kind = BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_PUT;
		changes[i].object_case = kind->object_case;
		changes[i].bundle = objects[i]; /* a union of pointers */
		watch->changes[i] = &changes[i];
	}
	free(TAKE_PTR(watch->page_token));
	if (token[0] != '\0') {
		watch->page_token = strdup(token);
		if (watch->page_token == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a watch");
	} else if (++watch->kind == sizeof(kinds) / sizeof(kinds[0])) {
		watch->phase = WATCH_SYNCED;
	}
	watch->n_changes = n;
	if (n == 0)
		changes_drop(watch);
	return 0;
}

static void on_answer(void *arg, const struct core_reply *reply)
{
	struct watch *watch = arg;
	struct error err = { 0 };
	int r;

	watch->job.asked = 0;
	if (reply->error != NULL) {
		watch_fail(watch, reply->error);
		return;
	}
	r = watch->phase == WATCH_LIST ? take_page(watch, reply, &err)
				       : take_changes(watch, reply, &err);
	if (r == 0)
		r = watch_step(watch, &err);
	if (r < 0)
		watch_fail(watch, &err);
}

static int ask_changes(struct watch *watch, uint64_t since, struct error *err)
{
	Bpfleet__Ipc__ChangesRequest request = BPFLEET__IPC__CHANGES_REQUEST__INIT;

	watch->seen = watch->job.front->revision;
	request.since_revision = since;
	return job_ask_message(&watch->job, "Changes", &request.base, on_answer, err);
}

static int ask_page(struct watch *watch, struct error *err)
{
	/* The fields of all list requests that matter here have the same numbers and types. */
	Bpfleet__V1__ListBundlesRequest request = BPFLEET__V1__LIST_BUNDLES_REQUEST__INIT;

	request.page_size = PAGE_SIZE_MAX;
	if (watch->page_token != NULL)
		request.page_token = watch->page_token;
	return job_ask_message(&watch->job, kinds[watch->kind].method, &request.base, on_answer,
			       err);
}

/* Sends what there is to send, then asks for what comes next; nothing while either waits. */
static int watch_step(struct watch *watch, struct error *err)
{
	int r = 1;

	if (watch->job.asked != 0 || !rpc_call_alive(watch->job.call))
		return 0;
	while (r > 0 && watch->n_sent < watch->n_changes)
		r = send_change(watch, err);
	if (r > 0 && watch->n_changes == 0 && watch->phase == WATCH_SYNCED)
		r = send_synced(watch, err);
	if (r <= 0)
		return r;
	if (watch->phase == WATCH_REVISION)
		return ask_changes(watch, 0, err);
	if (watch->phase == WATCH_LIST)
		return ask_page(watch, err);
	if (!watch->again && (watch->job.front->revision <= watch->revision ||
			      watch->job.front->revision <= watch->seen))
		return 0;
	watch->again = false;
	return ask_changes(watch, watch->revision, err);
}

static void watch_go(struct watch *watch)
{
	struct error err = { 0 };

	if (watch_step(watch, &err) < 0)
		watch_fail(watch, &err);
}

/* ---- callbacks of the row */

void watch_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__WatchRequest *watch_request = (const Bpfleet__V1__WatchRequest *)request;
	struct watch *watch = job_new(call, sizeof(*watch));
	struct watchers *watchers;

	(void)user;
	if (watch == NULL)
		return;
	watchers = watch->job.front->watchers;
	watch->next = watchers->first;
	watch->prev = &watchers->first;
	if (watch->next != NULL)
		watch->next->prev = &watch->next;
	watchers->first = watch;
	if (watch_request->since_revision > 0) {
		watch->phase = WATCH_FOLLOW;
		watch->revision = watch_request->since_revision;
		watch->again = true;
	}
	watch_go(watch);
}

void watch_on_writable(struct rpc_call *call, void *user)
{
	struct watch *watch = rpc_call_state(call);

	(void)user;
	if (watch != NULL)
		watch_go(watch);
}

void watch_on_cancelled(struct rpc_call *call, void *user)
{
	struct watch *watch = rpc_call_state(call);

	(void)user;
	if (watch != NULL)
		job_cancel(&watch->job);
}

void watch_on_done(struct rpc_call *call, void *user)
{
	struct watch *watch = rpc_call_state(call);

	(void)user;
	if (watch == NULL)
		return;
	*watch->prev = watch->next;
	if (watch->next != NULL)
		watch->next->prev = watch->prev;
	changes_drop(watch);
	free(watch->page_token);
	job_free(&watch->job);
}

/* ---- all watches */

struct watchers *watchers_new(void)
{
	return calloc(1, sizeof(struct watchers));
}

void watchers_free(struct watchers *watchers)
{
	free(watchers);
}

void watchers_wake(struct watchers *watchers)
{
	for (struct watch *watch = watchers->first; watch != NULL; watch = watch->next)
		if (watch->phase == WATCH_FOLLOW)
			watch_go(watch);
}

void watchers_stop(struct watchers *watchers)
{
	struct error err = { 0 };

	(void)error_raise(&err, ERROR_UNAVAILABLE, "the daemon is stopping");
	for (struct watch *watch = watchers->first; watch != NULL; watch = watch->next)
		watch_fail(watch, &err);
}
