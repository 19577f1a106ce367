#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "bundle/hook.h"
#include "client/node.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "tests/e2e/hammer/hammer.h"

#define CALL_NS (10 * NS_PER_SEC)
#define ANSWER_NS (20 * NS_PER_SEC)
#define PAUSE_US 20000

enum answer {
	DONE,
	REFUSED,
	UNKNOWN, /* given up after the connection was lost */
};

void hammer_fail(struct hammer *hammer, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	atomic_fetch_add(&hammer->n_failures, 1);
	(void)fprintf(stderr, "FAILED round %u, seed %llu: %s\n", hammer->round,
		      (unsigned long long)hammer->seed, text);
}

/* splitmix64, <https://prng.di.unimi.it/splitmix64.c> (public domain). */
unsigned int worker_random(struct worker *worker, unsigned int n)
{
	uint64_t z = (worker->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (unsigned int)((z ^ (z >> 31)) % n);
}

/* ---- calls */

static struct rpc_channel *channel_of(struct worker *worker)
{
	char target[256];
	struct error err = { 0 };

	if (worker->channel != NULL)
		return worker->channel;
	(void)snprintf(target, sizeof(target), "unix:%s", worker->hammer->socket);
	if (rpc_channel_open(target, NULL, &worker->channel, &err) < 0)
		errx(2, "%s", err.message);
	return worker->channel;
}

static void drop_channel(struct worker *worker)
{
	rpc_channel_close(worker->channel);
	worker->channel = NULL;
}

static int call_once(struct worker *worker, const char *method, const ProtobufCMessage *request,
		     struct arena *arena, ProtobufCMessage **ret, struct error *err)
{
	*err = (struct error){ 0 };
	return rpc_unary(channel_of(worker), &bpfleet__v1__node_service__descriptor, method,
			 request, clock_monotonic_ns() + CALL_NS, arena, ret, err);
}

static bool is_passing(enum error_code code)
{
	return code == ERROR_UNAVAILABLE || code == ERROR_CANCELLED ||
	       code == ERROR_DEADLINE_EXCEEDED || code == ERROR_UNAUTHENTICATED ||
	       code == ERROR_REQUEST_IN_PROGRESS || code == ERROR_INSTANCE_BUSY;
}

/* A repeated call must read the answer of the first. */
static void repeat(struct worker *worker, const char *method, const ProtobufCMessage *request,
		   const ProtobufCMessage *first)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
	_cleanup_free_ uint8_t *a = NULL, *b = NULL;
	ProtobufCMessage *again;
	struct error err = { 0 };
	size_t n_a, n_b;

	if (arena == NULL)
		errx(2, "memory");
	if (call_once(worker, method, request, arena, &again, &err) < 0) {
		if (!is_passing(err.code))
			hammer_fail(worker->hammer, "worker %u: %s answered, repeated: %s",
				    worker->number, method, err.message);
		return;
	}
	worker->n_repeated++;
	n_a = protobuf_c_message_get_packed_size(first);
	n_b = protobuf_c_message_get_packed_size(again);
	a = malloc(n_a + 1);
	b = malloc(n_b + 1);
	if (a == NULL || b == NULL)
		errx(2, "memory");
	if (n_a != n_b || protobuf_c_message_pack(first, a) != protobuf_c_message_pack(again, b) ||
	    memcmp(a, b, n_a) != 0)
		hammer_fail(worker->hammer, "worker %u: %s repeated has another answer",
			    worker->number, method);
}

/* One change with its request_id, repeated while its answer is lost, or given up at that point. */
static enum answer change(struct worker *worker, const char *method,
			  const ProtobufCMessage *request, struct arena *arena,
			  ProtobufCMessage **ret, struct error *err)
{
	const uint64_t give_up = clock_monotonic_ns() + ANSWER_NS;
	const bool patient = worker_random(worker, 3) > 0;

	while (call_once(worker, method, request, arena, ret, err) < 0) {
		bool lost = err->code == ERROR_UNAVAILABLE || err->code == ERROR_CANCELLED ||
			    err->code == ERROR_DEADLINE_EXCEEDED;

		if (!is_passing(err->code)) {
			worker->n_refused++;
			return REFUSED;
		}
		if (clock_monotonic_ns() > give_up)
			hammer_fail(worker->hammer, "worker %u: %s has no answer: %s",
				    worker->number, method, err->message);
		if ((lost && !patient) || clock_monotonic_ns() > give_up) {
			drop_channel(worker);
			worker->n_unknown++;
			return UNKNOWN;
		}
		if (lost || err->code == ERROR_UNAUTHENTICATED)
			drop_channel(worker);
		(void)usleep(PAUSE_US);
	}
	worker->n_done++;
	if (worker_random(worker, 4) == 0)
		repeat(worker, method, request, *ret);
	return DONE;
}

static void unexpected(struct worker *worker, const char *method, const char *what,
		       const struct error *err)
{
	hammer_fail(worker->hammer, "worker %u: %s of %s: %s: %s", worker->number, method, what,
		    error_info(err->code)->reason, err->message);
}

static void fresh_id(char out[static NODE_REQUEST_ID_LEN + 1])
{
	struct error err = { 0 };

	if (node_request_id(out, &err) < 0)
		errx(2, "%s", err.message);
}

/* ---- bundles */

static const struct bpfleet_bundle *push_once(struct worker *worker, unsigned int i,
					      struct bpfleet_error *error)
{
	const struct bundle_file *file = &worker->hammer->bundles[i];
	const struct bpfleet_signature signature = { file->signature, file->signature_size };
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	const struct bpfleet_bundle *bundle;

	options.socket_path = worker->hammer->socket;
	options.timeout_ms = 5000;
	if (worker->node == NULL && bpfleet_open(&options, &worker->node, error) < 0)
		return NULL;
	if (bpfleet_push(worker->node, file->bytes, file->size, &signature, 1, NULL, &bundle,
			 error) == 0)
		return bundle;
	return NULL;
}

static void push(struct worker *worker)
{
	const uint64_t give_up = clock_monotonic_ns() + ANSWER_NS;
	const bool patient = worker_random(worker, 3) > 0;

	for (;;) {
		struct bpfleet_error error = { 0 };
		const struct bpfleet_bundle *bundle = push_once(worker, worker->number, &error);

		if (bundle != NULL) {
			bpfleet_free(bundle);
			worker->bundle_there = true;
			worker->bundle_doubtful = false;
			worker->n_done++;
			return;
		}
		if (!error.retryable || clock_monotonic_ns() > give_up) {
			hammer_fail(worker->hammer, "worker %u: push: %s: %s", worker->number,
				    error.reason, error.message);
			return;
		}
		if (!worker->bundle_there)
			worker->bundle_doubtful = true;
		if (!patient) {
			worker->n_unknown++;
			return;
		}
		(void)usleep(PAUSE_US);
	}
}

bool worker_push_common(struct worker *worker)
{
	struct bpfleet_error error = { 0 };
	const struct bpfleet_bundle *bundle = push_once(worker, N_BUNDLES - 1, &error);

	if (bundle == NULL)
		hammer_fail(worker->hammer, "push: %s: %s", error.reason, error.message);
	bpfleet_free(bundle);
	return bundle != NULL;
}

static bool uses_own_bundle(const struct worker *worker)
{
	/* Which bundle an instance is of shows in its label: 'o' own, 'c' common. */
	for (size_t i = 0; i < worker->n_instances; i++) {
		if (worker->instances[i].label[0] == 'o')
			return true;
	}
	return false;
}

static void remove_bundle(struct worker *worker)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__RemoveBundleRequest request = BPFLEET__V1__REMOVE_BUNDLE_REQUEST__INIT;
	char id[NODE_REQUEST_ID_LEN + 1], name[NAME_SIZE + 16];
	const bool used = uses_own_bundle(worker);
	ProtobufCMessage *response;
	struct error err;

	fresh_id(id);
	(void)snprintf(name, sizeof(name), "bundles/%s",
		       worker->hammer->bundles[worker->number].name);
	request.name = name;
	request.request_id = id;
	switch (change(worker, "RemoveBundle", &request.base, arena, &response, &err)) {
	case DONE:
		worker->bundle_there = worker->bundle_doubtful = false;
		break;
	case UNKNOWN:
		worker->bundle_doubtful = true;
		break;
	case REFUSED:
		if (!(err.code == ERROR_BUNDLE_IN_USE && used) &&
		    !(err.code == ERROR_NOT_FOUND &&
		      (!worker->bundle_there || worker->bundle_doubtful)))
			unexpected(worker, "RemoveBundle", name, &err);
	}
}

/* ---- instances */

static void note_links(struct model_instance *instance, const Bpfleet__V1__LoadResponse *response)
{
	for (size_t i = 0; i < response->n_links && i < LINKS_MAX; i++) {
		struct model_link *link = &instance->links[instance->n_links++];

		*link = (struct model_link){ .doubt = SURE };
		(void)snprintf(link->name, sizeof(link->name), "%s", response->links[i]->name);
		(void)snprintf(link->program, sizeof(link->program), "%s",
			       strrchr(response->links[i]->program, '/') + 1);
		(void)snprintf(link->hook, sizeof(link->hook), "%s", response->links[i]->hook_text);
	}
}

static void note_load(struct model_instance *instance, const Bpfleet__V1__LoadResponse *response)
{
	(void)snprintf(instance->name, sizeof(instance->name), "%s", response->instance->name);
	if (response->lease_token.len == sizeof(instance->token))
		memcpy(instance->token, response->lease_token.data, sizeof(instance->token));
	note_links(instance, response);
	instance->doubt = SURE;
}

static void load(struct worker *worker)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
	Bpfleet__V1__LoadRequest request = BPFLEET__V1__LOAD_REQUEST__INIT;
	const bool own = worker_random(worker, 2) == 0;
	struct model_instance *instance = &worker->instances[worker->n_instances];
	char id[NODE_REQUEST_ID_LEN + 1], name[NAME_SIZE + 16];
	ProtobufCMessage *response;
	struct error err;

	*instance = (struct model_instance){
		.doubt = MAYBE_THERE,
		.durability = (enum bpfleet_durability)(1 + worker_random(worker, 3)),
		.asked_in = atomic_load(&worker->hammer->life),
	};
	(void)snprintf(instance->label, sizeof(instance->label), "%c%u-%u", own ? 'o' : 'c',
		       worker->number, worker->n_labels++);
	(void)snprintf(name, sizeof(name), "bundles/%s",
		       worker->hammer->bundles[own ? worker->number : N_BUNDLES - 1].name);
	fresh_id(id);
	request.bundle = name;
	request.label = instance->label;
	request.request_id = id;
	request.durability = (Bpfleet__V1__Durability)instance->durability;
	request.attach_defaults = worker_random(worker, 3) == 0;
	switch (change(worker, "Load", &request.base, arena, &response, &err)) {
	case DONE:
		note_load(instance, (const Bpfleet__V1__LoadResponse *)response);
		instance->answered_in = atomic_load(&worker->hammer->life);
		worker->n_instances++;
		break;
	case UNKNOWN:
		worker->n_instances++;
		break;
	case REFUSED:
		if (!(err.code == ERROR_NOT_FOUND && own &&
		      (!worker->bundle_there || worker->bundle_doubtful)))
			unexpected(worker, "Load", name, &err);
	}
}

static bool may_have_ended(const struct worker *worker, const struct model_instance *instance)
{
	return instance->doubt != SURE ||
	       (instance->durability == BPFLEET_DURABILITY_LEASE &&
		(instance->tokenless || instance->asked_in != atomic_load(&worker->hammer->life)));
}

static void forget_instance(struct worker *worker, struct model_instance *instance)
{
	*instance = worker->instances[--worker->n_instances];
}

static void unload(struct worker *worker, struct model_instance *instance)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__UnloadRequest request = BPFLEET__V1__UNLOAD_REQUEST__INIT;
	char id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	struct error err;

	fresh_id(id);
	request.instance = instance->name;
	request.request_id = id;
	switch (change(worker, "Unload", &request.base, arena, &response, &err)) {
	case DONE:
		forget_instance(worker, instance);
		break;
	case UNKNOWN:
		instance->doubt = MAYBE_GONE;
		break;
	case REFUSED:
		if (err.code != ERROR_NOT_FOUND || !may_have_ended(worker, instance))
			unexpected(worker, "Unload", instance->name, &err);
		else
			forget_instance(worker, instance);
	}
}

/* ---- versions */

/* Programs are other ones now, and so are links that the kernel cannot give another program. */
static void forget_ids(struct model_instance *instance)
{
	memset(instance->program_ids, 0, sizeof(instance->program_ids));
	for (size_t i = 0; i < instance->n_links; i++)
		instance->links[i].kernel_id = 0;
}

/* Replaces an instance by its own version; or commits that, or rolls it back. */
static void turn(struct worker *worker, struct model_instance *instance)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)16 << 20);
	Bpfleet__V1__ReplaceRequest replace = BPFLEET__V1__REPLACE_REQUEST__INIT;
	Bpfleet__V1__RollbackRequest rollback = BPFLEET__V1__ROLLBACK_REQUEST__INIT;
	Bpfleet__V1__CommitRequest commit = BPFLEET__V1__COMMIT_REQUEST__INIT;
	const bool own = instance->label[0] == 'o', back = worker_random(worker, 2) == 0;
	char id[NODE_REQUEST_ID_LEN + 1], name[NAME_SIZE + 16];
	const struct {
		const char *method;
		const ProtobufCMessage *request;
		enum versions then;
	} calls[] = { { "Replace", &replace.base, TWO_VERSIONS },
		      { "Rollback", &rollback.base, ONE_VERSION },
		      { "Commit", &commit.base, ONE_VERSION } },
	  *call = &calls[instance->versions == ONE_VERSION ? 0
			 : back				   ? 1
							   : 2];
	ProtobufCMessage *response;
	struct error err;

	fresh_id(id);
	(void)snprintf(name, sizeof(name), "bundles/%s",
		       worker->hammer->bundles[own ? worker->number : N_BUNDLES - 1].name);
	replace.bundle = name;
	replace.keep_parameters = true;
	replace.instance = rollback.instance = commit.instance = instance->name;
	replace.request_id = rollback.request_id = commit.request_id = id;
	switch (change(worker, call->method, call->request, arena, &response, &err)) {
	case DONE:
		instance->versions = call->then;
		break;
	case UNKNOWN:
		instance->versions = EITHER;
		break;
	case REFUSED:
		unexpected(worker, call->method, instance->name, &err);
		return;
	}
	forget_ids(instance);
}

/* ---- links */

static const char *pick_hook(struct worker *worker, char hook[static 160])
{
	static const char *const programs[] = { "on_xdp",	 "on_tc",     "on_cgroup",
						"on_tracepoint", "on_raw_tp", "on_tp_btf" };
	const unsigned int which = worker_random(worker, N_PROGRAMS);
	const char *way = worker_random(worker, 2) == 0 ? "ingress" : "egress";
	char device[16] = "hshared";

	if (worker_random(worker, 3) > 0)
		(void)snprintf(device, sizeof(device), "h%u", worker->number);
	switch (which) {
	case 0:
		(void)snprintf(hook, 160, "xdp:%s", device);
		break;
	case 1:
		(void)snprintf(hook, 160, "tc:%s:%s", device, way);
		break;
	case 2:
		(void)snprintf(hook, 160, "cgroup_skb:%s:%s", worker->hammer->cgroup, way);
		break;
	case 3:
		(void)snprintf(hook, 160, "tracepoint:sched:sched_process_exec");
		break;
	default:
		(void)snprintf(hook, 160, "%s:sched_process_exec",
			       which == 4 ? "raw_tp" : "tp_btf");
	}
	return programs[which];
}

static void attach(struct worker *worker, struct model_instance *instance)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	struct model_link *link = &instance->links[instance->n_links];
	char id[NODE_REQUEST_ID_LEN + 1], program[2 * NAME_SIZE];
	struct hook *hook;
	ProtobufCMessage *response;
	struct error err = { 0 };

	*link = (struct model_link){ .doubt = MAYBE_THERE };
	(void)snprintf(link->program, sizeof(link->program), "%s", pick_hook(worker, link->hook));
	(void)snprintf(program, sizeof(program), "%s/programs/%s", instance->name, link->program);
	fresh_id(id);
	if (hook_parse(link->hook, &hook, &err) < 0 ||
	    hook_to_message(hook, arena, &request.hook, &err) < 0)
		errx(2, "%s: %s", link->hook, err.message);
	hook_free(hook);
	request.program = program;
	request.request_id = id;
	switch (change(worker, "Attach", &request.base, arena, &response, &err)) {
	case DONE:
		(void)snprintf(link->name, sizeof(link->name), "%s",
			       ((const Bpfleet__V1__AttachResponse *)response)->link->name);
		link->doubt = SURE;
		instance->n_links++;
		break;
	case UNKNOWN:
		instance->n_links++;
		break;
	case REFUSED:
		if (err.code != ERROR_HOOK_BUSY &&
		    !(err.code == ERROR_NOT_FOUND && may_have_ended(worker, instance)))
			unexpected(worker, "Attach", link->hook, &err);
	}
}

static void detach(struct worker *worker, struct model_instance *instance, struct model_link *link)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;
	char id[NODE_REQUEST_ID_LEN + 1];
	ProtobufCMessage *response;
	struct error err;

	fresh_id(id);
	request.link = link->name;
	request.request_id = id;
	switch (change(worker, "Detach", &request.base, arena, &response, &err)) {
	case DONE:
		*link = instance->links[--instance->n_links];
		break;
	case UNKNOWN:
		link->doubt = MAYBE_GONE;
		break;
	case REFUSED:
		if (err.code == ERROR_NOT_FOUND && may_have_ended(worker, instance))
			*link = instance->links[--instance->n_links];
		else
			unexpected(worker, "Detach", link->name, &err);
	}
}

/* ---- the durable map */

static void write_setting(struct worker *worker, struct model_instance *instance)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);
	Bpfleet__V1__UpdateMapRequest request = BPFLEET__V1__UPDATE_MAP_REQUEST__INIT;
	Bpfleet__V1__MapEntry entry = BPFLEET__V1__MAP_ENTRY__INIT, *entries = &entry;
	uint64_t value = 1 + worker_random(worker, 1u << 30);
	char id[NODE_REQUEST_ID_LEN + 1], map[2 * NAME_SIZE];
	uint32_t key = 1;
	ProtobufCMessage *response;
	struct error err;

	fresh_id(id);
	(void)snprintf(map, sizeof(map), "%s/maps/settings", instance->name);
	entry.key = (ProtobufCBinaryData){ sizeof(key), (uint8_t *)&key };
	entry.value = (ProtobufCBinaryData){ sizeof(value), (uint8_t *)&value };
	request.map = map;
	request.entries = &entries;
	request.n_entries = 1;
	request.request_id = id;
	switch (change(worker, "UpdateMap", &request.base, arena, &response, &err)) {
	case DONE:
		instance->setting = value;
		instance->setting_maybe = 0;
		break;
	case UNKNOWN:
		instance->setting_maybe = value;
		break;
	case REFUSED:
		if (err.code != ERROR_NOT_FOUND || !may_have_ended(worker, instance))
			unexpected(worker, "UpdateMap", map, &err);
	}
}

/* ---- the mix */

static void act_on(struct worker *worker, struct model_instance *instance)
{
	const unsigned int dice = worker_random(worker, 100);

	/* What is doubtful rests until the check has settled it. */
	if (instance->doubt != SURE)
		return;
	if (dice < 45 && instance->n_links < LINKS_MAX) {
		attach(worker, instance);
	} else if (dice < 75 && instance->n_links > 0) {
		struct model_link *link =
			&instance->links[worker_random(worker, (unsigned int)instance->n_links)];

		if (link->doubt == SURE)
			detach(worker, instance, link);
	} else if (dice < 82 && instance->setting_maybe == 0) {
		write_setting(worker, instance);
	} else if (dice < 92) {
		/* Leases are not replaced. */
		if (instance->durability != BPFLEET_DURABILITY_LEASE &&
		    instance->versions != EITHER)
			turn(worker, instance);
	} else {
		unload(worker, instance);
	}
}

static void act(struct worker *worker)
{
	const unsigned int dice = worker_random(worker, 100);

	if (dice < 6)
		push(worker);
	else if (dice < 9)
		remove_bundle(worker);
	else if (dice < 35 && worker->n_instances < INSTANCES_MAX)
		load(worker);
	else if (worker->n_instances > 0)
		act_on(worker, &worker->instances[worker_random(
				       worker, (unsigned int)worker->n_instances)]);
	else
		(void)usleep(1000);
}

void worker_run(struct worker *worker)
{
	while (atomic_load(&worker->hammer->running))
		act(worker);
}

void worker_keep_leases(struct worker *worker)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new((size_t)1 << 20);

	for (size_t i = 0; i < worker->n_instances; i++) {
		struct model_instance *instance = &worker->instances[i];
		Bpfleet__V1__KeepLeaseRequest request = BPFLEET__V1__KEEP_LEASE_REQUEST__INIT;
		ProtobufCMessage *response;
		struct error err;

		if (instance->durability != BPFLEET_DURABILITY_LEASE || instance->doubt != SURE ||
		    may_have_ended(worker, instance))
			continue;
		request.instance = instance->name;
		request.lease_token =
			(ProtobufCBinaryData){ sizeof(instance->token), instance->token };
		if (change(worker, "KeepLease", &request.base, arena, &response, &err) == REFUSED)
			unexpected(worker, "KeepLease", instance->name, &err);
	}
}

void worker_clear(struct worker *worker)
{
	while (worker->n_instances > 0) {
		const size_t n = worker->n_instances;

		unload(worker, &worker->instances[0]);
		if (worker->n_instances == n)
			return;
	}
	remove_bundle(worker);
}

void worker_close(struct worker *worker)
{
	drop_channel(worker);
	bpfleet_close(worker->node);
	worker->node = NULL;
}
