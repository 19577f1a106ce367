#include "rpc/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "grpc/health/v1/health.pb-c.h"
#include "rpc/server.h"

#define MAX_REQUEST_BYTES 1024

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

struct entry {
	struct entry *next;
	serving_status status;
	char service[];
};

struct watcher {
	struct watcher *next;
	struct watcher **link;
	struct rpc_call *call;
	const char *service;
	serving_status sent;
	bool full; /* on_writable will come */
};

struct rpc_health {
	struct entry *entries;
	struct watcher *watchers;
	struct rpc_method methods[2];
	struct rpc_service service;
};

static struct entry *entry_find(const struct rpc_health *health, const char *service)
{
	struct entry *entry = health->entries;

	while (entry != NULL && strcmp(entry->service, service) != 0)
		entry = entry->next;
	return entry;
}

static void check(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
	Grpc__Health__V1__HealthCheckResponse response =
		GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	const struct entry *entry = entry_find(user, request->service);
	struct error error = { 0 };

	if (entry == NULL) {
		(void)error_raise(&error, ERROR_NOT_FOUND, "no service '%s' here",
				  request->service);
		(void)rpc_call_fail(call, &error);
		return;
	}
	response.status = entry->status;
	(void)rpc_call_reply(call, &response.base);
}

static void watcher_tell(const struct rpc_health *health, struct watcher *watcher)
{
	const struct entry *entry = entry_find(health, watcher->service);
	Grpc__Health__V1__HealthCheckResponse response =
		GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	response.status = entry != NULL ? entry->status : STATUS(SERVICE_UNKNOWN);
	if (watcher->full || response.status == watcher->sent)
		return;
	watcher->sent = response.status;
	watcher->full = rpc_call_send(watcher->call, &response.base) == 0;
}

static void watch(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
	struct rpc_health *health = user;
	struct watcher *watcher = calloc(1, sizeof(*watcher));
	struct error error = { 0 };

	if (watcher == NULL) {
		(void)error_raise(&error, ERROR_OUT_OF_MEMORY, "cannot watch");
		(void)rpc_call_fail(call, &error);
		return;
	}
	watcher->call = call;
	watcher->service = request->service;
	watcher->sent = STATUS(UNKNOWN);
	watcher->next = health->watchers;
	watcher->link = &health->watchers;
	if (watcher->next != NULL)
		watcher->next->link = &watcher->next;
	health->watchers = watcher;
	rpc_call_set_state(call, watcher);
	watcher_tell(health, watcher);
}

static void watch_writable(struct rpc_call *call, void *user)
{
	struct watcher *watcher = rpc_call_state(call);

	watcher->full = false;
	watcher_tell(user, watcher);
}

static void watch_done(struct rpc_call *call, void *user)
{
	struct watcher *watcher = rpc_call_state(call);

	(void)user;
	if (watcher == NULL)
		return;
	*watcher->link = watcher->next;
	if (watcher->next != NULL)
		watcher->next->link = watcher->link;
	free(watcher);
}

int rpc_health_new(struct rpc_health **ret, struct error *err)
{
	struct rpc_health *health = calloc(1, sizeof(*health));

	if (health == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot keep health statuses");
	health->methods[0] = (struct rpc_method){ .name = "Check",
						  .kind = RPC_UNARY,
						  .max_message_bytes = MAX_REQUEST_BYTES,
						  .on_call = check,
						  .user = health };
	health->methods[1] = (struct rpc_method){ .name = "Watch",
						  .kind = RPC_SERVER_STREAM,
						  .max_message_bytes = MAX_REQUEST_BYTES,
						  .max_send_queue = 1,
						  .on_call = watch,
						  .on_writable = watch_writable,
						  .on_done = watch_done,
						  .user = health };
	health->service = (struct rpc_service){ .descriptor = &grpc__health__v1__health__descriptor,
						.methods = health->methods,
						.n_methods = ARRAY_SIZE(health->methods) };
	*ret = health;
	return 0;
}

void rpc_health_free(struct rpc_health *health)
{
	struct entry *next;

	if (health == NULL)
		return;
	for (struct entry *entry = health->entries; entry != NULL; entry = next) {
		next = entry->next;
		free(entry);
	}
	free(health);
}

int rpc_health_set(struct rpc_health *health, const char *service, bool serving, struct error *err)
{
	struct entry *entry = entry_find(health, service);

	if (entry == NULL) {
		size_t size = strlen(service) + 1;

		entry = calloc(1, sizeof(*entry) + size);
		if (entry == NULL)
			return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot keep a status");
		memcpy(entry->service, service, size);
		entry->next = health->entries;
		health->entries = entry;
	}
	entry->status = serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
	for (struct watcher *watcher = health->watchers; watcher != NULL; watcher = watcher->next)
		watcher_tell(health, watcher);
	return 0;
}

const struct rpc_service *rpc_health_service(const struct rpc_health *health)
{
	return &health->service;
}
