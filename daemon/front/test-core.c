#define _GNU_SOURCE
#include "daemon/front/test-core.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "rpc/listener.h"
#include "rpc/loop.h"

#define VERSION "test"

struct answer {
	const ProtobufCMessage *message;
	const char *reason;
	int fd;
	bool held;
};

static void send_frame(struct test_core *core, Bpfleet__Ipc__Frame *frame, const uint8_t *body,
		       size_t n, int fd)
{
	struct error err = { 0 };

	if (channel_send(core->channel, frame, body, n, fd, &err) < 0 &&
	    err.code != ERROR_UNAVAILABLE)
		fail_msg("core cannot send: %s", err.message);
}

static void reply(struct test_core *core, uint64_t id, const struct answer *answer)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Reply message = BPFLEET__IPC__REPLY__INIT;
	static uint8_t body[1 << 20];
	size_t n = answer->message != NULL ? protobuf_c_message_pack(answer->message, body) : 0;

	message.id = id;
	if (answer->reason != NULL) {
		message.reason = (char *)(uintptr_t)answer->reason;
		message.message = "said by the core of clay";
	}
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REPLY;
	frame.reply = &message;
	(void)atomic_fetch_sub(&core->n_outstanding, 1);
	send_frame(core, &frame, body, n, answer->fd);
}

static const struct test_map *find_map(const struct test_core *core, const char *name)
{
	for (size_t i = 0; i < core->n_maps; i++)
		if (strcmp(core->maps[i].name, name) == 0)
			return &core->maps[i];
	return NULL;
}

static const ProtobufCMessage *unpack(struct channel_frame *frame,
				      const ProtobufCMessageDescriptor *descriptor)
{
	ProtobufCMessage *message = NULL;
	struct error err = { 0 };

	assert_int_equal(arena_unpack(frame->arena, descriptor, frame->body, frame->body_size,
				      &message, &err),
			 0);
	return message;
}

static void open_session(struct test_core *core, struct channel_frame *frame)
{
	Bpfleet__Ipc__OpenSessionReply opened = BPFLEET__IPC__OPEN_SESSION_REPLY__INIT;
	struct answer answer = { .message = &opened.base, .fd = -1 };
	uint8_t session[CHANNEL_SESSION_LEN];
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	assert_int_equal(getrandom(session, sizeof(session), 0), sizeof(session));
	assert_int_equal(getsockopt(frame->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size), 0);
	assert_int_equal(credentials.uid, getuid());
	session[0] = 's';
	opened.session = (ProtobufCBinaryData){ .len = sizeof(session), .data = session };
	opened.identity = "uid:0";
	(void)atomic_fetch_add(&core->n_sessions, 1);
	(void)atomic_fetch_add(&core->n_opened, 1);
	reply(core, frame->frame->request->id, &answer);
}

static void grant_map(struct test_core *core, struct channel_frame *frame, bool counter)
{
	const Bpfleet__Ipc__GrantMapRequest *request =
		(const Bpfleet__Ipc__GrantMapRequest *)unpack(
			frame, &bpfleet__ipc__grant_map_request__descriptor);
	const struct test_map *map = find_map(core, request->map);
	Bpfleet__Ipc__GrantMapReply granted = BPFLEET__IPC__GRANT_MAP_REPLY__INIT;
	Bpfleet__Ipc__GrantCounterReply counted = BPFLEET__IPC__GRANT_COUNTER_REPLY__INIT;
	Bpfleet__V1__Map description = BPFLEET__V1__MAP__INIT;
	struct answer answer = { .message = &granted.base, .fd = -1 };

	if (map == NULL || map->denied) {
		answer = (struct answer){ .reason = map == NULL ? "NOT_FOUND" : "PERMISSION_DENIED",
					  .fd = -1 };
		(void)atomic_fetch_add(&core->n_denied, 1);
	} else if (request->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_SYMBOLS) {
		(void)atomic_fetch_add(&core->n_symbols, 1);
		answer.fd = core->symbols_fd;
		answer.reason = core->symbols_fd < 0 ? "KERNEL_UNSUPPORTED" : NULL;
	} else if (request->purpose == BPFLEET__IPC__PURPOSE__PURPOSE_ENTRIES) {
		(void)atomic_fetch_add(&core->n_walks, 1);
		answer.fd = core->entries_fd;
	} else if (counter) {
		counted.known = core->counter_fd >= 0;
		counted.offset = 8;
		counted.value_size = 16;
		answer = (struct answer){ .message = &counted.base, .fd = core->counter_fd };
		(void)atomic_fetch_add(&core->n_counters, 1);
	} else {
		description.name = (char *)(uintptr_t)map->name;
		description.type = map->events ? "ringbuf" : "hash";
		description.key_size = map->events ? 0 : 4;
		description.value_size = map->events ? 0 : 8;
		description.key_type_id = core->btf != NULL && !map->events ? 1 : 0;
		description.value_type_id = core->btf != NULL && !map->events ? 2 : 0;
		description.event_type_id = core->event_type_id;
		granted.map = &description;
		granted.policy_epoch = core->policy_epoch;
		answer.fd = map->fd;
		(void)atomic_fetch_add(&core->n_grants, 1);
	}
	reply(core, frame->frame->request->id, &answer);
}

int test_perf_event(uint32_t cpu, bool disabled)
{
	struct perf_event_attr attr = { .size = sizeof(attr),
					.type = PERF_TYPE_SOFTWARE,
					.config = PERF_COUNT_SW_BPF_OUTPUT,
					.sample_type = PERF_SAMPLE_RAW,
					.sample_period = 1,
					.read_format =
						PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_LOST,
					.disabled = disabled };

	return (int)syscall(SYS_perf_event_open, &attr, -1, (int)cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

static void grant_perf(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__GrantPerfRequest *request =
		(const Bpfleet__Ipc__GrantPerfRequest *)unpack(
			frame, &bpfleet__ipc__grant_perf_request__descriptor);
	const struct test_map *map = find_map(core, request->map);
	const int state = atomic_load(&core->perf[map - core->maps]);
	struct answer answer = { .fd = -1 };

	/* The map's file comes along each time. */
	assert_true(frame->fd >= 0);
	if (state != TEST_PERF_OFFLINE) {
		answer.fd = test_perf_event(request->cpu, state == TEST_PERF_STANDS_STILL);
		assert_true(answer.fd >= 0);
	}
	(void)atomic_fetch_add(&core->n_perf[map - core->maps], 1);
	reply(core, frame->frame->request->id, &answer);
	if (answer.fd >= 0)
		(void)close(answer.fd);
}

static void list_maps(struct test_core *core, uint64_t id)
{
	Bpfleet__V1__ListMapsResponse list = BPFLEET__V1__LIST_MAPS_RESPONSE__INIT;
	struct answer answer = { .message = &list.base, .fd = -1 };
	Bpfleet__V1__Map maps[TEST_MAPS_MAX], *pointers[TEST_MAPS_MAX];

	for (size_t i = 0; i < core->n_maps; i++) {
		bpfleet__v1__map__init(&maps[i]);
		maps[i].name = (char *)(uintptr_t)core->maps[i].name;
		maps[i].type = core->maps[i].events ? "ringbuf" : "hash";
		maps[i].access = BPFLEET__V1__ACCESS__ACCESS_READ;
		pointers[i] = &maps[i];
	}
	list.n_maps = core->n_maps;
	list.maps = pointers;
	reply(core, id, &answer);
}

static void changes(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__ChangesRequest *request = (const Bpfleet__Ipc__ChangesRequest *)unpack(
		frame, &bpfleet__ipc__changes_request__descriptor);
	Bpfleet__Ipc__ChangesReply list = BPFLEET__IPC__CHANGES_REPLY__INIT;
	struct answer answer = { .message = &list.base, .fd = -1 };
	Bpfleet__V1__Change objects[TEST_CHANGES_MAX], *pointers[TEST_CHANGES_MAX];
	Bpfleet__V1__Link link = BPFLEET__V1__LINK__INIT;

	link.name = "links/a";
	for (size_t i = 0; request->since_revision > 0 && i < core->n_changes; i++) {
		if (core->change_revisions[i] <= request->since_revision)
			continue;
		bpfleet__v1__change__init(&objects[i]);
		objects[i].revision = core->change_revisions[i];
		objects[i].kind = BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED;
		objects[i].object_case = BPFLEET__V1__CHANGE__OBJECT_LINK;
		objects[i].link = &link;
		pointers[list.n_changes++] = &objects[i];
	}
	list.changes = pointers;
	list.revision = core->revision;
	if (core->watch_expired && request->since_revision > 0)
		answer = (struct answer){ .reason = "WATCH_EXPIRED", .fd = -1 };
	reply(core, frame->frame->request->id, &answer);
}

static void store(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__StoreBundleRequest *request =
		(const Bpfleet__Ipc__StoreBundleRequest *)unpack(
			frame, &bpfleet__ipc__store_bundle_request__descriptor);
	Bpfleet__V1__PushBundleResponse response = BPFLEET__V1__PUSH_BUNDLE_RESPONSE__INIT;
	Bpfleet__V1__BundleInfo bundle = BPFLEET__V1__BUNDLE_INFO__INIT;
	struct answer answer = { .message = &response.base, .fd = -1 };
	struct error err = { 0 };
	void *mapping = NULL;

	(void)atomic_fetch_add(&core->n_stores, 1);
	assert_int_equal(channel_map_sealed(frame->fd, request->size_bytes, &mapping, &err), 0);
	assert_int_equal(request->digest.len, 64);
	memcpy(core->stored_digest, request->digest.data, 64);
	core->stored_size = request->size_bytes;
	core->stored_first = ((const uint8_t *)mapping)[0];
	core->stored_last = ((const uint8_t *)mapping)[request->size_bytes - 1];
	core->stored_signatures = request->n_signatures;
	(void)munmap(mapping, request->size_bytes);
	bundle.name = "bundles/x@1.0.0";
	response.bundle = &bundle;
	if (core->store_refusal != NULL)
		answer = (struct answer){ .reason = core->store_refusal, .fd = -1 };
	reply(core, frame->frame->request->id, &answer);
}

static void redeem(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__RedeemTicketRequest *request =
		(const Bpfleet__Ipc__RedeemTicketRequest *)unpack(
			frame, &bpfleet__ipc__redeem_ticket_request__descriptor);
	Bpfleet__Ipc__GrantMapReply granted = BPFLEET__IPC__GRANT_MAP_REPLY__INIT;
	struct answer answer = { .message = &granted.base, .fd = core->maps[0].fd };

	if (memcmp(request->ticket.data, core->ticket, sizeof(core->ticket)) != 0)
		answer = (struct answer){ .reason = "NOT_FOUND", .fd = -1 };
	reply(core, frame->frame->request->id, &answer);
}

static void count_events(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__CountEventsRequest *request =
		(const Bpfleet__Ipc__CountEventsRequest *)unpack(
			frame, &bpfleet__ipc__count_events_request__descriptor);
	struct answer answer = { .fd = -1 };

	for (size_t i = 0; i < request->n_counts; i++) {
		assert_string_equal(request->counts[i]->instance, "instances/i");
		(void)atomic_fetch_add(&core->n_counted, (unsigned int)request->counts[i]->records);
	}
	reply(core, frame->frame->request->id, &answer);
}

static void other(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__Request *request = frame->frame->request;
	Bpfleet__V1__GetStatusResponse status = BPFLEET__V1__GET_STATUS_RESPONSE__INIT;
	Bpfleet__V1__AttachResponse attached = BPFLEET__V1__ATTACH_RESPONSE__INIT;
	Bpfleet__V1__GetMapResponse map = BPFLEET__V1__GET_MAP_RESPONSE__INIT;
	struct answer answer = { .message = &status.base, .fd = -1 };

	status.version = "clay";
	status.caller = "uid:0";
	status.may_view = !core->hide_all;
	core->last_deadline = request->deadline_ns;
	if (strcmp(request->method, "Attach") == 0) {
		core->resolved = request->resolved != NULL ? *request->resolved
							   : (Bpfleet__Ipc__ResolvedTarget){ 0 };
		answer.message = &attached.base;
		if (frame->fd >= 0)
			(void)atomic_fetch_add(&core->n_sockets, 1);
		/* All the other tests attach uprobes. */
		if (core->takes_socket)
			answer.fd = -1;
		else if (core->refuse_attach)
			answer = (struct answer){ .reason = "PERMISSION_DENIED", .fd = -1 };
		else if (request->resolved == NULL)
			answer = (struct answer){ .reason = "TARGET_UNRESOLVED", .fd = -1 };
	} else if (strcmp(request->method, "GetMap") == 0) {
		map.btf = (ProtobufCBinaryData){ .len = core->n_btf,
						 .data = (uint8_t *)(uintptr_t)core->btf };
		answer.message = &map.base;
	} else if (strcmp(request->method, "GetInstance") == 0) {
		answer = (struct answer){ .reason = "NOT_FOUND", .fd = -1 };
		(void)atomic_fetch_add(&core->n_denied, 1);
	} else if (strcmp(request->method, "GetStatus") != 0) {
		answer.message = NULL;
	}
	if ((strcmp(request->method, "Load") == 0 && core->hold_loads) ||
	    (frame->fd >= 0 && core->hold_sockets)) {
		assert_true(core->n_held < TEST_HELD_MAX);
		core->held_fds[core->n_held] = TAKE_FD(frame->fd);
		core->held[core->n_held++] = request->id;
	} else {
		reply(core, request->id, &answer);
	}
}

static void handle_request(struct test_core *core, struct channel_frame *frame)
{
	const Bpfleet__Ipc__Request *request = frame->frame->request;
	unsigned int outstanding = atomic_fetch_add(&core->n_outstanding, 1) + 1;
	bool opens = strcmp(request->method, "OpenSession") == 0;
	bool counts = strcmp(request->method, "CountEvents") == 0;

	(void)atomic_fetch_add(&core->n_requests, 1);
	if (outstanding > atomic_load(&core->max_outstanding))
		atomic_store(&core->max_outstanding, outstanding);
	if (!opens && !counts &&
	    (request->session.len != CHANNEL_SESSION_LEN || request->session.data[0] != 's'))
		(void)atomic_fetch_add(&core->n_unknown_sessions, 1);
	if (opens) {
		open_session(core, frame);
	} else if (strcmp(request->method, "CloseSession") == 0) {
		struct answer answer = { .fd = -1 };

		(void)atomic_fetch_sub(&core->n_sessions, 1);
		reply(core, request->id, &answer);
	} else if (strcmp(request->method, "GrantMap") == 0) {
		grant_map(core, frame, false);
	} else if (strcmp(request->method, "GrantCounter") == 0) {
		grant_map(core, frame, true);
	} else if (strcmp(request->method, "GrantPerf") == 0) {
		grant_perf(core, frame);
	} else if (strcmp(request->method, "ListMaps") == 0) {
		list_maps(core, request->id);
	} else if (strcmp(request->method, "Changes") == 0) {
		changes(core, frame);
	} else if (strcmp(request->method, "StoreBundle") == 0) {
		store(core, frame);
	} else if (counts) {
		count_events(core, frame);
	} else if (strcmp(request->method, "RedeemTicket") == 0) {
		redeem(core, frame);
	} else {
		other(core, frame);
	}
}

static void release_held(struct test_core *core)
{
	struct answer answer = { .fd = -1 };

	for (size_t i = 0; i < core->n_held; i++) {
		cleanup_closep(&core->held_fds[i]);
		reply(core, core->held[i], &answer);
	}
	core->n_held = 0;
	core->release = false;
}

static bool core_turn(struct test_core *core)
{
	struct channel_frame frame;
	struct error err = { 0 };
	int r;

	while ((r = channel_receive(core->channel, &frame, &err)) > 0) {
		if (frame.frame->kind_case == BPFLEET__IPC__FRAME__KIND_REQUEST)
			handle_request(core, &frame);
		channel_frame_done(&frame);
	}
	if (core->release)
		release_held(core);
	if (channel_flush(core->channel, &err) < 0)
		r = -1;
	return r == 0;
}

static void *core_main(void *arg)
{
	struct test_core *core = arg;
	bool running = true;

	while (running) {
		struct pollfd fds[2] = {
			{ .fd = channel_fd(core->channel),
			  .events = (short)(POLLIN |
					    (channel_wants_write(core->channel) ? POLLOUT : 0)) },
			{ .fd = core->wake_fd, .events = POLLIN }
		};
		eventfd_t value;

		(void)poll(fds, 2, -1);
		(void)eventfd_read(core->wake_fd, &value);
		(void)pthread_mutex_lock(&core->lock);
		running = !core->quit && core_turn(core);
		(void)pthread_mutex_unlock(&core->lock);
	}
	return NULL;
}

void test_core_notice(struct test_core *core, uint64_t revision, uint64_t policy_epoch,
		      const char *ended_instance)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;

	(void)pthread_mutex_lock(&core->lock);
	core->revision = revision;
	core->policy_epoch = policy_epoch;
	notice.revision = revision;
	notice.policy_epoch = policy_epoch;
	if (ended_instance != NULL)
		notice.ended_instance = (char *)(uintptr_t)ended_instance;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_NOTICE;
	frame.notice = &notice;
	send_frame(core, &frame, NULL, 0, -1);
	(void)pthread_mutex_unlock(&core->lock);
}

void test_core_release(struct test_core *core)
{
	(void)pthread_mutex_lock(&core->lock);
	core->release = true;
	(void)pthread_mutex_unlock(&core->lock);
	(void)eventfd_write(core->wake_fd, 1);
}

unsigned int test_await(atomic_uint *counter, unsigned int value)
{
	uint64_t deadline = clock_monotonic_ns() + 5 * NS_PER_SEC;

	while (atomic_load(counter) != value && clock_monotonic_ns() < deadline)
		(void)usleep(1000);
	return atomic_load(counter);
}

int test_count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(directory) != NULL)
		n++;
	(void)closedir(directory);
	return n;
}

void test_assert_no_leaked_fds(const struct test_front *test)
{
	uint64_t deadline = clock_monotonic_ns() + 5 * NS_PER_SEC;

	/* gRPC closes the client's ends in its own time. */
	while (test_count_fds() > test->n_fds_before && clock_monotonic_ns() < deadline)
		(void)usleep(1000);
	assert_true(test_count_fds() <= test->n_fds_before);
}

/* gRPC keeps some fds from its first use on: they are no leak of a test. */
static void hold_grpc(void)
{
	static struct rpc_channel *channel;
	struct error err = { 0 };

	if (channel == NULL)
		assert_int_equal(rpc_channel_open("unix:/nonexistent", NULL, &channel, &err), 0);
}

static int listen_seqpacket(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static void *front_main(void *arg)
{
	struct test_front *test = arg;
	struct error err = { 0 };

	test->result = front_run(test->front, &err);
	return NULL;
}

void test_front_start(struct test_front *test, const struct test_options *given)
{
	static const struct test_options none = { 0 };
	const struct test_options *options = given != NULL ? given : &none;
	struct test_core *core = &test->core;
	struct error err = { 0 };
	struct front_options front = {
		.version = VERSION,
		.resolver = options->resolver != NULL ? options->resolver : "/nonexistent",
		.n_connections = options->n_connections > 0 ? options->n_connections : 64,
		.n_calls = options->n_calls > 0 ? options->n_calls : 256,
		.n_possible_cpus = 2,
		.refusals_burst = options->refusals_burst,
		.refusals_per_s = options->refusals_per_s,
		.grace_ms = 500
	};
	int pair[2];

	memset(test, 0, sizeof(*test));
	strcpy(test->directory, "/tmp/test-front-XXXXXX");
	assert_non_null(mkdtemp(test->directory));
	snprintf(test->path, sizeof(test->path), "%s/sock", test->directory);
	snprintf(test->fd_path, sizeof(test->fd_path), "%s/fd", test->directory);
	snprintf(test->target, sizeof(test->target), "unix:%s", test->path);
	hold_grpc();
	test->n_fds_before = test_count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	front.core_fd = pair[0];
	front.fdservice_fd = listen_seqpacket(test->fd_path);
	assert_int_equal(rpc_listen_unix(test->path, 0666, &front.listen_fd, &err), 0);
	core->channel = channel_new(pair[1], 4096);
	core->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	core->counter_fd = -1;
	core->symbols_fd = -1;
	core->entries_fd = -1;
	core->policy_epoch = 1;
	core->revision = 1;
	core->credits = options->credits > 0 ? options->credits : 16;
	(void)pthread_mutex_init(&core->lock, NULL);
	if (!options->no_hello)
		assert_int_equal(channel_hello(core->channel, VERSION, core->credits, &err), 0);
	assert_int_equal(pthread_create(&core->thread, NULL, core_main, core), 0);
	if (front_new(&front, &test->front, &err) < 0)
		fail_msg("front_new: %s", err.message);
	assert_int_equal(pthread_create(&test->thread, NULL, front_main, test), 0);
}

static void stop(void *arg)
{
	front_stop(arg);
}

void test_front_ask_to_stop(struct test_front *test)
{
	assert_int_equal(rpc_loop_post(test->front->loop, stop, test->front), 0);
}

static void stop_core(struct test_core *core)
{
	(void)pthread_mutex_lock(&core->lock);
	core->quit = true;
	(void)pthread_mutex_unlock(&core->lock);
	(void)eventfd_write(core->wake_fd, 1);
	assert_int_equal(pthread_join(core->thread, NULL), 0);
	(void)close(core->wake_fd);
	channel_free(core->channel);
	(void)pthread_mutex_destroy(&core->lock);
}

void test_front_stop(struct test_front *test)
{
	test_front_ask_to_stop(test);
	assert_int_equal(pthread_join(test->thread, NULL), 0);
	assert_int_equal(test->result, 0);
	assert_int_equal(test_await(&test->core.n_sessions, 0), 0);
	assert_int_equal(test->core.n_unknown_sessions, 0);
	assert_true(atomic_load(&test->core.max_outstanding) <= test->core.credits);
	front_free(test->front);
	stop_core(&test->core);
	assert_int_equal(unlink(test->path), 0);
	assert_int_equal(unlink(test->fd_path), 0);
	assert_int_equal(rmdir(test->directory), 0);
	test_assert_no_leaked_fds(test);
}

struct rpc_channel *test_connect(const struct test_front *test)
{
	struct rpc_channel *channel = NULL;
	struct error err = { 0 };

	assert_int_equal(rpc_channel_open(test->target, NULL, &channel, &err), 0);
	return channel;
}

enum error_code test_call(struct rpc_channel *channel, const char *method,
			  const ProtobufCMessage *request, struct arena *arena,
			  ProtobufCMessage **ret)
{
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	int r = rpc_unary(channel, &bpfleet__v1__node_service__descriptor, method, request,
			  clock_monotonic_ns() + 10 * NS_PER_SEC, arena, &response, &err);

	if (r == 0 && ret != NULL)
		*ret = response;
	return r == 0 ? ERROR_NONE : err.code;
}
