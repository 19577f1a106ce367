#include "client/test-fake.h"

#include <bpf/btf.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "proto/arena.h"
#include "rpc/listener.h"
#include "rpc/server.h"

#define TYPE_U32 1U
#define TYPE_U64 2U
#define TYPE_EVENT 3U
#define N_CPUS 2U

static struct fake *fake;
static pthread_t thread;
static struct btf *btf;

static void die(const char *what)
{
	(void)fprintf(stderr, "fake: %s\n", what);
	abort();
}

/* True if the call was answered with the error that the test ordered. */
static bool failed(struct rpc_call *call)
{
	enum error_code code = atomic_load(&fake->fail_with);
	struct error error = { 0 };

	atomic_fetch_add(&fake->n_calls, 1);
	if (atomic_load(&fake->silent))
		return true;
	if (code == ERROR_NONE)
		return false;
	if (atomic_load(&fake->fail_times) > 0 && atomic_fetch_sub(&fake->fail_times, 1) == 1)
		atomic_store(&fake->fail_with, ERROR_NONE);
	(void)error_raise(&error, code, "told to fail");
	error_detail(&error, "object", "the\x1b[31m one");
	(void)rpc_call_fail(call, &error);
	return true;
}

/* ---- what there is */

static Bpfleet__V1__Signer signer = BPFLEET__V1__SIGNER__INIT;
static Bpfleet__V1__Signer *signers[] = { &signer };
static Bpfleet__V1__BundleInfo bundle = BPFLEET__V1__BUNDLE_INFO__INIT;
static Bpfleet__V1__Instance instance = BPFLEET__V1__INSTANCE__INIT;
static Bpfleet__V1__Program program = BPFLEET__V1__PROGRAM__INIT;
static Bpfleet__V1__Link link_object = BPFLEET__V1__LINK__INIT;
static Bpfleet__V1__Map maps[3] = { BPFLEET__V1__MAP__INIT, BPFLEET__V1__MAP__INIT,
				    BPFLEET__V1__MAP__INIT };
static char *hooks[] = { (char *)"xdp:*" };
static uint8_t digest[64];

static void set_up_objects(void)
{
	signer.key_id = (char *)"0123456789ABCDEF";
	signer.name = (char *)"release";
	bundle.name = (char *)"bundles/sample@1.2.3";
	bundle.digest = (ProtobufCBinaryData){ sizeof(digest), digest };
	bundle.size_bytes = 14540;
	bundle.pushed_at_ns = NS_PER_SEC;
	bundle.pushed_by = (char *)"uid:0";
	bundle.signers = signers;
	bundle.n_signers = 1;
	instance.name = (char *)"instances/" FAKE_ID;
	instance.label = (char *)"web";
	instance.owner = (char *)"uid:0";
	instance.bundle = bundle.name;
	instance.state = BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_ATTACHED;
	instance.durability = BPFLEET__V1__DURABILITY__DURABILITY_PERSISTENT;
	instance.n_programs = 1;
	instance.n_links = 1;
	program.name = (char *)"instances/" FAKE_ID "/programs/count";
	program.type = (char *)"xdp";
	program.kernel_id = 42;
	program.hooks = hooks;
	program.n_hooks = 1;
	link_object.name = (char *)"links/" FAKE_LINK;
	link_object.program = program.name;
	link_object.hook_text = (char *)"xdp:veth0";
	link_object.state = BPFLEET__V1__LINK_STATE__LINK_STATE_TARGET_GONE;
	link_object.reason = (char *)"TARGET_NOT_FOUND there is no veth0\x1b[2J";
	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		maps[i].access = BPFLEET__V1__ACCESS__ACCESS_WRITE;
		maps[i].contents = BPFLEET__V1__CONTENTS__CONTENTS_DURABLE;
		maps[i].key_size = 4;
		maps[i].value_size = 8;
		maps[i].max_entries = 16;
		maps[i].key_type_id = TYPE_U32;
		maps[i].value_type_id = TYPE_U64;
	}
	maps[0].name = (char *)"instances/" FAKE_ID "/maps/counts";
	maps[0].type = (char *)"hash";
	maps[1].name = (char *)"instances/" FAKE_ID "/maps/per_cpu";
	maps[1].type = (char *)"percpu_hash";
	maps[1].n_cpus = N_CPUS;
	maps[2].name = (char *)"instances/" FAKE_ID "/maps/events";
	maps[2].type = (char *)"ringbuf";
	maps[2].key_size = maps[2].value_size = 0;
	maps[2].key_type_id = maps[2].value_type_id = 0;
	maps[2].event_type_id = TYPE_EVENT;
}

static void set_up_btf(void)
{
	btf = btf__new_empty();
	if (btf == NULL || btf__add_int(btf, "u32", 4, 0) != (int)TYPE_U32 ||
	    btf__add_int(btf, "u64", 8, 0) != (int)TYPE_U64 ||
	    btf__add_struct(btf, "event", 8) != (int)TYPE_EVENT ||
	    btf__add_field(btf, "pid", (int)TYPE_U32, 0, 0) != 0 ||
	    btf__add_field(btf, "uid", (int)TYPE_U32, 32, 0) != 0)
		die("no BTF");
	fake->btf = btf__raw_data(btf, &fake->n_btf);
}

static Bpfleet__V1__Map *map_named(const char *name)
{
	const char *member = strrchr(name, '/');

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		if (member != NULL && strcmp(strrchr(maps[i].name, '/'), member) == 0)
			return &maps[i];
	}
	return NULL;
}

static void not_found(struct rpc_call *call, const char *name)
{
	struct error error = { 0 };

	(void)error_raise(&error, ERROR_NOT_FOUND, "%s does not exist", name);
	(void)rpc_call_fail(call, &error);
}

/* ---- bundles */

static void get_upload(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__GetUploadResponse response = BPFLEET__V1__GET_UPLOAD_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.received_bytes = fake->n_pushed;
	(void)rpc_call_reply(call, &response.base);
}

static void push_begin(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	(void)message;
	(void)user;
	if (!failed(call))
		(void)rpc_call_receive(call);
}

static void push_message(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__PushBundleRequest *part = (const void *)message;
	struct error error = { 0 };

	(void)user;
	if (part->part_case == BPFLEET__V1__PUSH_BUNDLE_REQUEST__PART_HEADER) {
		fake->last_offset = part->header->offset_bytes;
		fake->n_pushed = (size_t)part->header->offset_bytes;
		fake->n_signatures = part->header->n_signatures;
	} else if (part->chunk.len <= sizeof(fake->pushed) - fake->n_pushed) {
		memcpy(fake->pushed + fake->n_pushed, part->chunk.data, part->chunk.len);
		fake->n_pushed += part->chunk.len;
		if (atomic_load(&fake->drop_pushes) > 0) {
			atomic_fetch_sub(&fake->drop_pushes, 1);
			(void)error_raise(&error, ERROR_UNAVAILABLE, "the push broke off");
			(void)rpc_call_fail(call, &error);
			return;
		}
	}
	(void)rpc_call_receive(call);
}

static void push_end(struct rpc_call *call, void *user)
{
	Bpfleet__V1__PushBundleResponse response = BPFLEET__V1__PUSH_BUNDLE_RESPONSE__INIT;

	(void)user;
	if (atomic_load(&fake->silent_streams))
		return;
	response.bundle = &bundle;
	(void)rpc_call_reply(call, &response.base);
}

static void list_bundles(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__ListBundlesResponse response = BPFLEET__V1__LIST_BUNDLES_RESPONSE__INIT;
	Bpfleet__V1__BundleInfo *items[] = { &bundle };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.bundles = items;
	response.n_bundles = 1;
	(void)rpc_call_reply(call, &response.base);
}

static void get_bundle(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__GetBundleResponse response = BPFLEET__V1__GET_BUNDLE_RESPONSE__INIT;
	Bpfleet__V1__ProgramSpec spec = BPFLEET__V1__PROGRAM_SPEC__INIT, *specs[] = { &spec };
	Bpfleet__V1__Manifest manifest = BPFLEET__V1__MANIFEST__INIT;
	char *hook = (char *)atomic_load(&fake->default_hook);

	(void)message;
	(void)user;
	if (failed(call))
		return;
	spec.name = (char *)"count";
	spec.default_hooks = &hook;
	spec.n_default_hooks = hook == NULL ? 0 : 1;
	manifest.programs = specs;
	manifest.n_programs = 1;
	response.bundle = &bundle;
	response.manifest = &manifest;
	(void)rpc_call_reply(call, &response.base);
}

static void remove_bundle(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__RemoveBundleResponse response = BPFLEET__V1__REMOVE_BUNDLE_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (!failed(call))
		(void)rpc_call_reply(call, &response.base);
}

/* ---- instances */

static void refuse_validation(Bpfleet__V1__LoadResponse *response, Bpfleet__V1__Program *rejected)
{
	static Bpfleet__V1__Rejection rejection;

	bpfleet__v1__program__init(rejected);
	rejected->name = (char *)"count";
	rejected->type = (char *)"xdp";
	rejected->verifier_log = (char *)"0: (b7) r0 = 1\nR1 invalid mem access\x07\n";
	response->refused_reason = (char *)"VERIFIER_REJECTED";
	response->refused_message = (char *)"the verifier refused count";
	bpfleet__v1__rejection__init(&rejection);
	rejection.program = (char *)"count";
	rejection.object = (char *)"main";
	rejection.file = (char *)"main.bpf.c";
	rejection.line = 42;
	rejection.source = (char *)"return *v;\x07";
	rejection.verdict = (char *)"R1 invalid mem access 'map_value_or_null'";
	response->rejection = &rejection;
}

static void load(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__LoadRequest *request = (const void *)message;
	Bpfleet__V1__LoadResponse response = BPFLEET__V1__LOAD_RESPONSE__INIT;
	Bpfleet__V1__Program rejected, *programs[] = { &program };
	Bpfleet__V1__Link *links[] = { &link_object };
	static uint8_t token[32] = { 7 };

	(void)user;
	if (failed(call))
		return;
	atomic_fetch_add(&fake->n_loads, 1);
	fake->last_defaults = request->attach_defaults;
	fake->last_durability = request->durability;
	if (request->n_parameters > 0)
		(void)snprintf(fake->last_parameter, sizeof(fake->last_parameter), "%s=%s",
			       request->parameters[0]->name, request->parameters[0]->value);
	response.programs = programs;
	response.n_programs = 1;
	if (!request->validate_only) {
		response.instance = &instance;
		response.links = links;
		response.n_links = request->attach_defaults ? 1 : 0;
	} else if (atomic_load(&fake->refuse_validation)) {
		refuse_validation(&response, &rejected);
		programs[0] = &rejected;
	}
	if (request->durability == BPFLEET__V1__DURABILITY__DURABILITY_LEASE)
		response.lease_token = (ProtobufCBinaryData){ sizeof(token), token };
	(void)rpc_call_reply(call, &response.base);
}

static void replace(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__ReplaceRequest *request = (const void *)message;
	Bpfleet__V1__ReplaceResponse response = BPFLEET__V1__REPLACE_RESPONSE__INIT;
	Bpfleet__V1__MapReplacement map = BPFLEET__V1__MAP_REPLACEMENT__INIT, *told[] = { &map };
	char *differences[] = { (char *)"value.n: u64 at 0 became u32 at 0" };
	Bpfleet__V1__Link *links[] = { &link_object };
	Bpfleet__V1__Instance soaking = instance;

	(void)user;
	if (failed(call))
		return;
	if (request->n_parameters > 0)
		(void)snprintf(fake->last_parameter, sizeof(fake->last_parameter), "%s=%s%s",
			       request->parameters[0]->name, request->parameters[0]->value,
			       request->keep_parameters ? "" : " alone");
	if (atomic_load(&fake->refuse_validation)) {
		response.refused_reason = (char *)"REPLACE_REFUSED";
		response.refused_message = (char *)"map 'counts' cannot be kept";
	}
	map.map = (char *)"counts";
	map.outcome = request->n_reset_maps > 0 ? BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_RESET
						: BPFLEET__V1__MAP_OUTCOME__MAP_OUTCOME_MIGRATED;
	map.n_entries = 5;
	map.differences = differences;
	map.n_differences = 1;
	soaking.state = BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_SOAKING;
	soaking.previous_bundle = (char *)"bundles/sample@1.2.2";
	soaking.soak_ends_at_ns = request->soak_ns;
	response.instance = &soaking;
	response.links = links;
	response.n_links = 1;
	response.maps = told;
	response.n_maps = 1;
	(void)rpc_call_reply(call, &response.base);
}

static void rollback(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__RollbackResponse response = BPFLEET__V1__ROLLBACK_RESPONSE__INIT;

	(void)message;
	(void)user;
	response.instance = &instance;
	if (!failed(call))
		(void)rpc_call_reply(call, &response.base);
}

static void commit(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__CommitResponse response = BPFLEET__V1__COMMIT_RESPONSE__INIT;

	(void)message;
	(void)user;
	response.instance = &instance;
	if (!failed(call))
		(void)rpc_call_reply(call, &response.base);
}

static void attach(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__AttachRequest *request = (const void *)message;
	Bpfleet__V1__AttachResponse response = BPFLEET__V1__ATTACH_RESPONSE__INIT;

	(void)user;
	if (failed(call))
		return;
	atomic_fetch_add(&fake->n_attaches, 1);
	if (strstr(request->program, "/missing") != NULL) {
		not_found(call, request->program);
		return;
	}
	(void)snprintf(fake->last_hook, sizeof(fake->last_hook), "%s:%.*s", request->hook->kind,
		       (int)request->hook->target.len, (const char *)request->hook->target.data);
	response.link = &link_object;
	(void)rpc_call_reply(call, &response.base);
}

static void detach(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__DetachResponse response = BPFLEET__V1__DETACH_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (!failed(call))
		(void)rpc_call_reply(call, &response.base);
}

static void unload(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__UnloadRequest *request = (const void *)message;
	Bpfleet__V1__UnloadResponse response = BPFLEET__V1__UNLOAD_RESPONSE__INIT;

	(void)user;
	if (failed(call))
		return;
	if (strcmp(request->instance, "instances/gone") == 0) {
		not_found(call, request->instance);
		return;
	}
	atomic_fetch_add(&fake->n_unloads, 1);
	(void)rpc_call_reply(call, &response.base);
}

static void keep_lease(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__KeepLeaseResponse response = BPFLEET__V1__KEEP_LEASE_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (failed(call))
		return;
	atomic_fetch_add(&fake->n_kept, 1);
	response.lease_ends_at_ns = 99;
	(void)rpc_call_reply(call, &response.base);
}

/* ---- lists and objects */

/* Pages of ten: `web`, then as many as the test says. */
static void list_instances(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__ListInstancesRequest *request = (const void *)message;
	Bpfleet__V1__ListInstancesResponse response = BPFLEET__V1__LIST_INSTANCES_RESPONSE__INIT;
	unsigned int total = 1 + atomic_load(&fake->n_listed);
	unsigned int at = (unsigned int)strtoul(request->page_token, NULL, 10);
	Bpfleet__V1__Instance *items[10];
	char token[16] = "";

	(void)user;
	if (failed(call))
		return;
	while (at < total && response.n_instances < ARRAY_SIZE(items)) {
		items[response.n_instances++] = &instance;
		at++;
	}
	if (at < total)
		(void)snprintf(token, sizeof(token), "%u", at);
	response.instances = items;
	response.next_page_token = token;
	(void)rpc_call_reply(call, &response.base);
}

static void get_instance(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__GetInstanceResponse response = BPFLEET__V1__GET_INSTANCE_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.instance = &instance;
	(void)rpc_call_reply(call, &response.base);
}

static void list_programs(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__ListProgramsResponse response = BPFLEET__V1__LIST_PROGRAMS_RESPONSE__INIT;
	Bpfleet__V1__Program *items[] = { &program };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.programs = items;
	response.n_programs = 1;
	(void)rpc_call_reply(call, &response.base);
}

static void list_links(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__ListLinksResponse response = BPFLEET__V1__LIST_LINKS_RESPONSE__INIT;
	Bpfleet__V1__Link *items[] = { &link_object };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.links = items;
	response.n_links = 1;
	(void)rpc_call_reply(call, &response.base);
}

static Bpfleet__V1__MetricLabel metric_label = BPFLEET__V1__METRIC_LABEL__INIT;
static Bpfleet__V1__MetricLabel *metric_labels[] = { &metric_label };
static Bpfleet__V1__MetricSpec metric = BPFLEET__V1__METRIC_SPEC__INIT;
static Bpfleet__V1__MetricSpec *metrics[] = { &metric };

static void set_up_metrics(void)
{
	metric_label.name = (char *)"key";
	metric_label.key = (char *)"key";
	metric.name = (char *)"hits_total";
	metric.help = (char *)"Hits.";
	metric.type = BPFLEET__V1__METRIC_TYPE__METRIC_TYPE_COUNTER;
	metric.map = (char *)"counts";
	metric.value = (char *)"value";
	metric.labels = metric_labels;
	metric.n_labels = 1;
	for (size_t i = 0; i < 2; i++) {
		maps[i].metrics = metrics;
		maps[i].n_metrics = atomic_load(&fake->metrics) ? 1 : 0;
	}
}

static void list_maps(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__ListMapsResponse response = BPFLEET__V1__LIST_MAPS_RESPONSE__INIT;
	Bpfleet__V1__Map *items[] = { &maps[0], &maps[1], &maps[2] };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	set_up_metrics();
	response.maps = items;
	response.n_maps = ARRAY_SIZE(items);
	(void)rpc_call_reply(call, &response.base);
}

static void get_map(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__GetMapRequest *request = (const void *)message;
	Bpfleet__V1__GetMapResponse response = BPFLEET__V1__GET_MAP_RESPONSE__INIT;

	(void)user;
	if (failed(call))
		return;
	response.map = map_named(request->name);
	if (response.map == NULL) {
		not_found(call, request->name);
		return;
	}
	response.btf = (ProtobufCBinaryData){ fake->n_btf, (uint8_t *)fake->btf };
	(void)rpc_call_reply(call, &response.base);
}

/* ---- map contents; on every CPU of per_cpu what counts has, times the CPU's number plus one */

static size_t value_bytes(const Bpfleet__V1__Map *map, uint32_t key, uint8_t *out)
{
	uint64_t values[N_CPUS] = { fake->counts[key], fake->counts[key] * 2 };
	size_t n = map->n_cpus == 0 ? 8 : sizeof(values);

	memcpy(out, values, n);
	return n;
}

static uint32_t key_of(ProtobufCBinaryData bytes)
{
	uint32_t key = UINT32_MAX;

	if (bytes.len == sizeof(key))
		memcpy(&key, bytes.data, sizeof(key));
	return key;
}

static void lookup_map(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__LookupMapRequest *request = (const void *)message;
	Bpfleet__V1__LookupMapResponse response = BPFLEET__V1__LOOKUP_MAP_RESPONSE__INIT;
	struct arena *arena = rpc_call_arena(call);
	const Bpfleet__V1__Map *map;

	(void)user;
	if (failed(call))
		return;
	map = map_named(request->map);
	response.entries = arena_alloc(arena, (request->n_keys + 1) * sizeof(void *));
	for (size_t i = 0; i < request->n_keys; i++) {
		Bpfleet__V1__MapEntry *entry = arena_alloc(arena, sizeof(*entry));
		uint32_t key = key_of(request->keys[i]);

		bpfleet__v1__map_entry__init(entry);
		entry->found = key < FAKE_KEYS && fake->present[key];
		if (entry->found) {
			entry->value.data = arena_alloc(arena, (size_t)8 * N_CPUS);
			entry->value.len = value_bytes(map, key, entry->value.data);
		}
		response.entries[response.n_entries++] = entry;
	}
	(void)rpc_call_reply(call, &response.base);
}

static void dump_map(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__DumpMapRequest *request = (const void *)message;
	const Bpfleet__V1__Map *map;

	(void)user;
	if (failed(call) || atomic_load(&fake->silent_streams))
		return;
	if (atomic_load(&fake->fail_dumps) != ERROR_NONE) {
		struct error error = { 0 };

		(void)error_raise(&error, atomic_load(&fake->fail_dumps), "told to fail");
		(void)rpc_call_fail(call, &error);
		return;
	}
	map = map_named(request->map);
	for (uint32_t key = 0; key < FAKE_KEYS; key++) {
		Bpfleet__V1__DumpMapResponse response = BPFLEET__V1__DUMP_MAP_RESPONSE__INIT;
		uint8_t entry[4 + 8 * (size_t)N_CPUS];
		char json[64], *texts[] = { json };

		if (!fake->present[key])
			continue;
		if (request->encoding == BPFLEET__V1__ENCODING__ENCODING_JSON) {
			(void)snprintf(json, sizeof(json), "{\"key\":%u,\"value\":%" PRIu64 "}",
				       key, fake->counts[key]);
			response.json = texts;
			response.n_json = 1;
		} else {
			memcpy(entry, &key, 4);
			response.entries.data = entry;
			response.entries.len = 4 + value_bytes(map, key, entry + 4);
			response.n_entries = 1;
		}
		if (rpc_call_send(call, &response.base) < 0)
			die("the dump's queue is full");
	}
	(void)rpc_call_finish(call);
}

static void update_map(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__UpdateMapRequest *request = (const void *)message;
	Bpfleet__V1__UpdateMapResponse response = BPFLEET__V1__UPDATE_MAP_RESPONSE__INIT;

	(void)user;
	if (failed(call))
		return;
	for (size_t i = 0; i < request->n_entries; i++) {
		uint32_t key = key_of(request->entries[i]->key);

		if (key >= FAKE_KEYS || request->entries[i]->value.len != 8)
			continue;
		memcpy(&fake->counts[key], request->entries[i]->value.data, 8);
		fake->present[key] = true;
		response.n_written++;
	}
	(void)rpc_call_reply(call, &response.base);
}

static void delete_map_keys(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__DeleteMapKeysRequest *request = (const void *)message;
	Bpfleet__V1__DeleteMapKeysResponse response = BPFLEET__V1__DELETE_MAP_KEYS_RESPONSE__INIT;

	(void)user;
	if (failed(call))
		return;
	for (size_t i = 0; i < request->n_keys; i++) {
		uint32_t key = key_of(request->keys[i]);

		response.n_deleted += key < FAKE_KEYS && fake->present[key];
		if (key < FAKE_KEYS)
			fake->present[key] = false;
	}
	(void)rpc_call_reply(call, &response.base);
}

/* ---- streams */

static void send_sources(struct rpc_call *call)
{
	Bpfleet__V1__StreamEventsResponse response = BPFLEET__V1__STREAM_EVENTS_RESPONSE__INIT;
	Bpfleet__V1__EventSources sources = BPFLEET__V1__EVENT_SOURCES__INIT;
	ProtobufCBinaryData types = { fake->n_btf, (uint8_t *)fake->btf };
	Bpfleet__V1__Map *items[] = { &maps[2] };

	sources.maps = items;
	sources.n_maps = 1;
	sources.btfs = &types;
	sources.n_btfs = 1;
	response.part_case = BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_SOURCES;
	response.sources = &sources;
	if (rpc_call_send(call, &response.base) < 0)
		die("the sources were not sent");
}

static void send_events(struct rpc_call *call, uint32_t n, uint64_t subscriber_lost)
{
	Bpfleet__V1__StreamEventsResponse response = BPFLEET__V1__STREAM_EVENTS_RESPONSE__INIT;
	Bpfleet__V1__EventBatch batch = BPFLEET__V1__EVENT_BATCH__INIT;
	uint32_t records[3 * 16];

	if (n == 0)
		return;
	for (size_t i = 0; i < n && i < 16; i++) {
		records[3 * i] = 8;
		records[3 * i + 1] = 1000 + (uint32_t)i;
		records[3 * i + 2] = (uint32_t)i;
	}
	batch.events = (ProtobufCBinaryData){ (size_t)12 * n, (uint8_t *)records };
	batch.n_events = n;
	batch.first_sequence = 5;
	batch.subscriber_lost = subscriber_lost;
	response.part_case = BPFLEET__V1__STREAM_EVENTS_RESPONSE__PART_BATCH;
	response.batch = &batch;
	if (rpc_call_send(call, &response.base) < 0)
		die("the events were not sent");
}

static void stream_events(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	(void)message;
	(void)user;
	if (failed(call))
		return;
	atomic_fetch_add(&fake->n_streams, 1);
	rpc_call_set_state(call, fake);
	send_sources(call);
	send_events(call, atomic_load(&fake->n_events), 3);
}

static void send_change(struct rpc_call *call, Bpfleet__V1__ChangeKind kind)
{
	Bpfleet__V1__WatchResponse response = BPFLEET__V1__WATCH_RESPONSE__INIT;
	Bpfleet__V1__Change change = BPFLEET__V1__CHANGE__INIT;

	change.revision = 7;
	change.kind = kind;
	change.object_case = BPFLEET__V1__CHANGE__OBJECT_INSTANCE;
	change.instance = &instance;
	response.part_case = BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE;
	response.change = &change;
	if (rpc_call_send(call, &response.base) < 0)
		die("the change was not sent");
}

static void watch(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__WatchResponse response = BPFLEET__V1__WATCH_RESPONSE__INIT;
	Bpfleet__V1__Synced synced = BPFLEET__V1__SYNCED__INIT;

	(void)message;
	(void)user;
	if (failed(call))
		return;
	atomic_fetch_add(&fake->n_streams, 1);
	rpc_call_set_state(call, fake);
	send_change(call, BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_PUT);
	synced.revision = 7;
	response.part_case = BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED;
	response.synced = &synced;
	if (rpc_call_send(call, &response.base) < 0)
		die("synced was not sent");
	if (atomic_load(&fake->end_lease))
		send_change(call, BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED);
}

static void stream_done(struct rpc_call *call, void *user)
{
	(void)user;
	if (rpc_call_state(call) != NULL)
		atomic_fetch_sub(&fake->n_streams, 1);
}

/* ---- status and audit */

static void get_status(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__GetStatusResponse response = BPFLEET__V1__GET_STATUS_RESPONSE__INIT;
	Bpfleet__V1__HookSupport xdp = BPFLEET__V1__HOOK_SUPPORT__INIT, *kinds[] = { &xdp };
	Bpfleet__V1__StatusCalls refused = BPFLEET__V1__STATUS_CALLS__INIT,
				 *failures[] = { &refused };
	Bpfleet__V1__MethodCalls loads = BPFLEET__V1__METHOD_CALLS__INIT, *calls[] = { &loads };
	char *alarms[] = { (char *)"the clock went back" };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	xdp.kind = (char *)"xdp";
	xdp.supported = true;
	response.version = (char *)"0.1.0";
	response.caller = (char *)"uid:0";
	response.kernel_release = (char *)"6.18";
	response.n_instances = 1;
	response.hooks = kinds;
	response.n_hooks = 1;
	response.alarms = alarms;
	response.n_alarms = 1;
	refused.status = (char *)"NOT_FOUND";
	refused.n = 2;
	loads.method = (char *)"Load";
	loads.n_ok = 5;
	loads.n_failed = 2;
	loads.failures = failures;
	loads.n_failures = 1;
	response.calls = calls;
	response.n_calls = 1;
	(void)rpc_call_reply(call, &response.base);
}

static void get_statistics(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__GetStatisticsResponse response = BPFLEET__V1__GET_STATISTICS_RESPONSE__INIT;

	(void)message;
	(void)user;
	if (!failed(call))
		(void)rpc_call_reply(call, &response.base);
}

static void query_audit(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Bpfleet__V1__QueryAuditRequest *request = (const void *)message;
	Bpfleet__V1__QueryAuditResponse response = BPFLEET__V1__QUERY_AUDIT_RESPONSE__INIT;
	Bpfleet__V1__AuditRow rows[2] = { BPFLEET__V1__AUDIT_ROW__INIT,
					  BPFLEET__V1__AUDIT_ROW__INIT };
	Bpfleet__V1__AuditRow *items[2];

	(void)user;
	if (failed(call))
		return;
	(void)snprintf(fake->last_identity, sizeof(fake->last_identity), "%s", request->identity);
	fake->last_since = request->since_ns;
	for (size_t i = 0; i < 2; i++) {
		rows[i].sequence = i + 1;
		rows[i].at_ns = (i + 1) * NS_PER_SEC;
		rows[i].identity = (char *)"uid:1000";
		rows[i].verb = (char *)"load";
		rows[i].object = (char *)"bundles/sample@1.2.3";
		rows[i].outcome = (char *)(i == 0 ? "ok" : "denied");
		rows[i].reason = (char *)(i == 0 ? "" : "PERMISSION_DENIED");
		items[request->newest_first ? 1 - i : i] = &rows[i];
	}
	response.rows = items;
	response.n_rows = 2;
	(void)rpc_call_reply(call, &response.base);
}

static void collect_garbage(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	Bpfleet__V1__CollectGarbageResponse response = BPFLEET__V1__COLLECT_GARBAGE_RESPONSE__INIT;
	char *pins[] = { (char *)"store/l_orphan" };

	(void)message;
	(void)user;
	if (failed(call))
		return;
	response.removed_pins = pins;
	response.n_removed_pins = 1;
	response.freed_bytes = 2048;
	(void)rpc_call_reply(call, &response.base);
}

/* ---- the server */

static const struct rpc_method methods[] = {
	{ .name = "GetUpload", .on_call = get_upload },
	{ .name = "PushBundle",
	  .kind = RPC_CLIENT_STREAM,
	  .on_call = push_begin,
	  .on_message = push_message,
	  .on_half_close = push_end },
	{ .name = "ListBundles", .on_call = list_bundles },
	{ .name = "GetBundle", .on_call = get_bundle },
	{ .name = "RemoveBundle", .on_call = remove_bundle },
	{ .name = "Load", .on_call = load },
	{ .name = "Replace", .on_call = replace },
	{ .name = "Rollback", .on_call = rollback },
	{ .name = "Commit", .on_call = commit },
	{ .name = "Attach", .on_call = attach },
	{ .name = "Detach", .on_call = detach },
	{ .name = "Unload", .on_call = unload },
	{ .name = "KeepLease", .on_call = keep_lease },
	{ .name = "GetInstance", .on_call = get_instance },
	{ .name = "ListInstances", .on_call = list_instances },
	{ .name = "ListPrograms", .on_call = list_programs },
	{ .name = "ListLinks", .on_call = list_links },
	{ .name = "ListMaps", .on_call = list_maps },
	{ .name = "GetMap", .on_call = get_map },
	{ .name = "LookupMap", .on_call = lookup_map },
	{ .name = "DumpMap", .kind = RPC_SERVER_STREAM, .on_call = dump_map },
	{ .name = "UpdateMap", .on_call = update_map },
	{ .name = "DeleteMapKeys", .on_call = delete_map_keys },
	{ .name = "StreamEvents",
	  .kind = RPC_SERVER_STREAM,
	  .on_call = stream_events,
	  .on_done = stream_done },
	{ .name = "Watch", .kind = RPC_SERVER_STREAM, .on_call = watch, .on_done = stream_done },
	{ .name = "GetStatus", .on_call = get_status },
	{ .name = "GetStatistics", .on_call = get_statistics },
	{ .name = "QueryAudit", .on_call = query_audit },
	{ .name = "CollectGarbage", .on_call = collect_garbage },
};
static const struct rpc_service service = { &bpfleet__v1__node_service__descriptor, methods,
					    ARRAY_SIZE(methods) };
static const struct rpc_service *const services[] = { &service };

#define CONNECTIONS_MAX 64
static struct rpc_connection *connections[CONNECTIONS_MAX];

static void replace_connection(struct rpc_connection *from, struct rpc_connection *to)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (connections[i] == from) {
			connections[i] = to;
			return;
		}
	}
}

static void on_closed(struct rpc_connection *connection, void *user)
{
	(void)user;
	replace_connection(connection, NULL);
	rpc_listener_release(fake->listener);
}

static void on_accept(void *user, int fd)
{
	struct rpc_connection_options options = { .on_closed = on_closed };
	struct rpc_connection *connection;

	(void)user;
	if (rpc_connection_new(fake->loop, fd, services, 1, &options, NULL, &connection, NULL) < 0)
		rpc_listener_release(fake->listener);
	else
		replace_connection(NULL, connection);
}

static void close_all(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (connections[i] != NULL)
			rpc_connection_close(connections[i]);
	}
}

void fake_drop(struct fake *started)
{
	if (rpc_loop_post(started->loop, close_all, NULL) < 0)
		die("no memory");
}

static void *serve(void *arg)
{
	(void)arg;
	(void)rpc_loop_run(fake->loop);
	return NULL;
}

static void reset(void *arg)
{
	struct fake *started = arg;

	set_up_objects();
	atomic_store(&started->fail_with, ERROR_NONE);
	atomic_store(&started->fail_times, 0);
	atomic_store(&started->drop_pushes, 0);
	atomic_store(&started->n_events, 0);
	atomic_store(&started->refuse_validation, false);
	atomic_store(&started->default_hook, "xdp:veth0");
	atomic_store(&started->n_listed, 0);
	atomic_store(&started->silent, false);
	atomic_store(&started->silent_streams, false);
	atomic_store(&started->end_lease, false);
	atomic_store(&started->metrics, false);
	atomic_store(&started->fail_dumps, ERROR_NONE);
	atomic_store(&started->n_calls, 0);
	atomic_store(&started->n_loads, 0);
	atomic_store(&started->n_attaches, 0);
	atomic_store(&started->n_unloads, 0);
	atomic_store(&started->n_kept, 0);
	started->n_pushed = 0;
	started->last_offset = 0;
	started->last_parameter[0] = '\0';
	started->last_hook[0] = '\0';
	for (uint32_t i = 0; i < FAKE_KEYS; i++) {
		started->present[i] = i < 2;
		started->counts[i] = 100 + i;
	}
	atomic_fetch_add(&started->n_resets, 1);
}

struct fake *fake_start(void)
{
	struct error error = { 0 };
	int fd;

	fake = calloc(1, sizeof(*fake));
	if (fake == NULL)
		die("no memory");
	(void)snprintf(fake->directory, sizeof(fake->directory), "/tmp/bpfleet-client-XXXXXX");
	if (mkdtemp(fake->directory) == NULL)
		die("no directory");
	(void)snprintf(fake->socket, sizeof(fake->socket), "%s/s", fake->directory);
	set_up_btf();
	reset(fake);
	if (rpc_loop_new(&fake->loop, &error) < 0 ||
	    rpc_listen_unix(fake->socket, 0600, &fd, &error) < 0 ||
	    rpc_listener_new(fake->loop, fd, 64, on_accept, NULL, &fake->listener, &error) < 0 ||
	    pthread_create(&thread, NULL, serve, NULL) != 0)
		die(error.message);
	return fake;
}

void fake_stop(struct fake *started)
{
	rpc_loop_drain(started->loop, 0);
	(void)pthread_join(thread, NULL);
	rpc_loop_free(started->loop);
	rpc_listener_free(started->listener);
	btf__free(btf);
	(void)unlink(started->socket);
	(void)rmdir(started->directory);
	free(started);
	fake = NULL;
}

bool fake_wait(const atomic_uint *counter, unsigned int n)
{
	const struct timespec pause = { .tv_nsec = 2 * (long)NS_PER_MS };

	for (unsigned int i = 0; i < 5000; i++) {
		if (atomic_load(counter) == n)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return false;
}

/* On the thread that reads what is reset, behind the calls that a test has left. */
void fake_reset(struct fake *started)
{
	const unsigned int n = atomic_load(&started->n_resets) + 1;

	if (rpc_loop_post(started->loop, reset, started) < 0 || !fake_wait(&started->n_resets, n))
		die("cannot be reset");
}
