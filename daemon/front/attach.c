#include "daemon/front/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/call.h"
#include "daemon/front/closer.h"
#include "daemon/front/resolve.h"
#include "daemon/resolver/protocol.h"
#include "proto/arena.h"

#define PATH_MAX_BYTES 4095

struct attach {
	struct job job;
	const Bpfleet__V1__Hook *hook; /* of the request; NULL if it has none */
	ProtobufCBinaryData socket_ticket;
	bool resolved; /* the symbol was looked up once */
	struct resolving *resolving;
};

static void attach_resolve_now(struct attach *attach);

static void on_attached(void *arg, const struct core_reply *reply)
{
	struct attach *attach = arg;

	attach->job.asked = 0;
	if (reply->error != NULL && reply->error->code == ERROR_TARGET_UNRESOLVED &&
	    attach->hook != NULL && !attach->resolved)
		attach_resolve_now(attach);
	else if (reply->error != NULL)
		job_fail(&attach->job, reply->error);
	else
		(void)rpc_call_reply_bytes(attach->job.call, reply->body, reply->body_size);
}

static void attach_forward(struct attach *attach, const Bpfleet__Ipc__ResolvedTarget *target)
{
	struct core_request request = { .method = "Attach", .fd = -1, .resolved = target };
	struct error err = { 0 };
	int r = job_take_socket(&attach->job, &attach->socket_ticket, &request.parcel, &err);

	if (request.parcel != NULL)
		request.fd = request.parcel->kept;
	rpc_call_request_bytes(attach->job.call, &request.body, &request.body_size);
	if (r == 0)
		r = job_ask_with(&attach->job, &request, on_attached, &err);
	if (r < 0)
		job_fail(&attach->job, &err);
}

static void on_resolved(void *arg, const Bpfleet__Ipc__ResolvedTarget *target,
			const struct error *error)
{
	struct attach *attach = arg;

	attach->resolving = NULL;
	if (error != NULL)
		job_fail(&attach->job, error);
	else
		attach_forward(attach, target);
}

/* A copy as a string, NULL if it is too long or holds a NUL. */
static const char *as_string(struct arena *arena, const ProtobufCBinaryData *bytes, size_t max)
{
	if (bytes->len == 0 || bytes->len > max || memchr(bytes->data, '\0', bytes->len) != NULL)
		return NULL;
	return arena_strndup(arena, (const char *)bytes->data, bytes->len);
}

/* A function, or with usdt a probe. */
static const char *hook_symbol(struct arena *arena, const Bpfleet__V1__Hook *hook, bool usdt)
{
	for (size_t i = 0; i < hook->n_options; i++)
		if (strcmp(hook->options[i]->key, usdt ? "probe" : "symbol") == 0)
			return as_string(arena, &hook->options[i]->value, RESOLVER_SYMBOL_MAX - 1);
	return NULL;
}

static int resolve(struct front *front, struct arena *arena, const Bpfleet__V1__Hook *hook,
		   resolver_fn fn, void *arg, struct resolving **ret, struct error *err)
{
	const char *path = as_string(arena, &hook->target, PATH_MAX_BYTES);
	const bool usdt = strcmp(hook->kind, "usdt") == 0;
	const char *symbol = hook_symbol(arena, hook, usdt);

	if (path == NULL || path[0] != '/')
		return error_raise(err, ERROR_INVALID_HOOK,
				   "the target of a hook in a file is an absolute path");
	if (symbol == NULL)
		return error_raise(
			err, ERROR_INVALID_HOOK,
			"a hook in a file needs its symbol or probe: uprobe:PATH:SYMBOL");
	return resolver_start(front->resolver, path, symbol, usdt, fn, arg, ret, err);
}

/* Core lets this caller attach there, and asks where the symbol is. */
static void attach_resolve_now(struct attach *attach)
{
	struct error err = { 0 };

	attach->resolved = true;
	if (resolve(attach->job.front, rpc_call_arena(attach->job.call), attach->hook, on_resolved,
		    attach, &attach->resolving, &err) < 0)
		job_fail(&attach->job, &err);
}

void attach_on_call(struct rpc_call *call, const ProtobufCMessage *request, void *user)
{
	const Bpfleet__V1__AttachRequest *message = (const void *)request;
	struct attach *attach = job_new(call, sizeof(*attach));

	(void)user;
	if (attach == NULL)
		return;
	attach->hook = message->hook;
	attach->socket_ticket = message->socket_ticket;
	attach_forward(attach, NULL);
}

void attach_on_cancelled(struct rpc_call *call, void *user)
{
	struct attach *attach = rpc_call_state(call);

	(void)user;
	if (attach == NULL)
		return;
	job_cancel(&attach->job);
	resolver_cancel(TAKE_PTR(attach->resolving));
}

void attach_on_done(struct rpc_call *call, void *user)
{
	attach_on_cancelled(call, user);
	job_free(rpc_call_state(call));
}

/* ---- links whose file is another one now */

#define AGAIN_ARENA ((size_t)64 << 10)

struct again {
	struct front *front;
	struct again *next; /* in front->agains */
	struct arena *arena;
	char link[64];
	struct resolving *resolving;
};

static void again_end(struct again *again)
{
	struct again **at = &again->front->agains;

	while (*at != again)
		at = &(*at)->next;
	*at = again->next;
	arena_free(again->arena);
	free(again);
}

static void on_again_told(void *arg, const struct core_reply *reply)
{
	(void)arg;
	if (reply->error != NULL && reply->error->code != ERROR_UNAVAILABLE)
		log_error(LOG_LEVEL_WARNING, reply->error, "tell core where a symbol is");
}

static void on_again(void *arg, const Bpfleet__Ipc__ResolvedTarget *target,
		     const struct error *error)
{
	Bpfleet__Ipc__ResolveLinkRequest message = BPFLEET__IPC__RESOLVE_LINK_REQUEST__INIT;
	struct core_request request = {
		.method = "ResolveLink", .deadline = UINT64_MAX, .fd = -1, .resolved = target
	};
	struct again *again = arg;
	struct error err = { 0 };
	uint8_t *bytes = NULL;
	int r;

	message.link = again->link;
	if (error != NULL)
		message.problem = (char *)(uintptr_t)error->message;
	r = arena_pack(again->arena, &message.base, &bytes, &request.body_size, &err);
	request.body = bytes;
	if (r == 0)
		r = core_call(again->front->core, &request, on_again_told, NULL, NULL, &err);
	if (r < 0)
		log_error(LOG_LEVEL_WARNING, &err, "tell core where a symbol is");
	again_end(again);
}

void attach_again(struct front *front, const char *link, const Bpfleet__V1__Hook *hook)
{
	struct again *again = front->agains;
	struct error err = { 0 };

	while (again != NULL && strcmp(again->link, link) != 0)
		again = again->next;
	/* Core asks again as long as the link waits. */
	if (again != NULL || hook == NULL || (again = calloc(1, sizeof(*again))) == NULL)
		return;
	again->front = front;
	again->next = front->agains;
	front->agains = again;
	again->arena = arena_new(AGAIN_ARENA);
	(void)snprintf(again->link, sizeof(again->link), "%s", link);
	if (again->arena == NULL ||
	    resolve(front, again->arena, hook, on_again, again, &again->resolving, &err) < 0)
		again_end(again);
}

void attach_again_end(struct front *front)
{
	while (front->agains != NULL) {
		resolver_cancel(front->agains->resolving);
		again_end(front->agains);
	}
}
