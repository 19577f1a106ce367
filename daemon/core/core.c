#include "daemon/core/core.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/version.h"
#include "daemon/config/settings.h"
#include "daemon/core/jobs.h"
#include "daemon/core/kernel/load.h"
#include "daemon/core/kernel/order.h"
#include "daemon/core/kernel/pins.h"
#include "daemon/core/lease.h"
#include "daemon/core/netns.h"
#include "daemon/core/observe.h"
#include "daemon/core/reconcile.h"
#include "daemon/core/request.h"
#include "daemon/core/session.h"
#include "daemon/core/statistics.h"
#include "daemon/core/supervisor_link.h"
#include "daemon/core/trusted.h"
#include "daemon/ipc/channel.h"
#include "daemon/mapread/mapread.h"
#include "proto/arena.h"
#include "store/audit.h"
#include "store/journal.h"

#define CHORES_NS (10 * NS_PER_SEC)
#define PURGE_AT_ONCE 256
#define AUDIT_ROWS_CHECKED 64
/* Parsed bundles kept in memory: enough for what is loaded over and over. */
#define TRUSTED_BYTES_MAX ((size_t)4 << 20)
/* A bundle of the audit log's row is about 400 bytes with its indices. */
#define AUDIT_ROW_BYTES 512u

void core_hash(const void *bytes, size_t n, uint8_t out[static STORE_HASH_LEN])
{
	(void)crypto_generichash(out, STORE_HASH_LEN, bytes, n, NULL, 0);
}

/* ---- front */

static void lose_front(struct core *core)
{
	if (core->front == NULL)
		return;
	loop_unwatch(core->loop, &core->front_source);
	channel_free(core->front);
	core->front = NULL;
	request_abandon_all(core);
	sessions_close_all(core->sessions);
}

void core_front_failed(struct core *core, const struct error *err)
{
	bool misbehaves = err->code != ERROR_UNAVAILABLE;

	if (!core->stopping)
		log_error(misbehaves ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, err, "front is gone");
	lose_front(core);
	if (misbehaves)
		supervisor_restart_front(core->supervisor);
}

static void watch_front(struct core *core)
{
	uint32_t events = EPOLLIN;
	struct error err = { 0 };

	if (core->front == NULL)
		return;
	if (channel_wants_write(core->front))
		events |= EPOLLOUT;
	if (loop_watch(core->loop, &core->front_source, events, &err) < 0)
		core_front_failed(core, &err);
}

static int greet(struct core *core, const struct channel_frame *frame, struct error *err)
{
	uint32_t credits;
	int r = channel_check_hello(frame, BPFLEET_VERSION, &credits, err);

	if (r < 0)
		return r;
	core->front_greeted = true;
	supervisor_front_ready(core->supervisor);
	return 0;
}

static int serve_frame(struct core *core, struct channel_frame *frame, struct error *err)
{
	if (!core->front_greeted)
		return greet(core, frame, err);
	if (frame->frame->kind_case != BPFLEET__IPC__FRAME__KIND_REQUEST)
		return error_raise(err, ERROR_PROTOCOL, "front sent something else than a request");
	return request_receive(core, frame, err);
}

/* A bounded number at a time, so that finished jobs and timers are not kept waiting. */
static void on_front(struct loop_fd *source, uint32_t epoll_events)
{
	struct core *core =
		(struct core *)(void *)((char *)source - offsetof(struct core, front_source));
	struct error err = { 0 };
	int r = 0;

	if (epoll_events & EPOLLOUT)
		r = channel_flush(core->front, &err);
	for (int i = 0; i < 64 && r >= 0 && core->front != NULL; i++) {
		struct channel_frame frame = { .fd = -1 };

		r = channel_receive(core->front, &frame, &err);
		if (r == 0)
			break;
		if (r > 0)
			r = serve_frame(core, &frame, &err);
		channel_frame_done(&frame);
	}
	if (r < 0)
		core_front_failed(core, &err);
	else
		watch_front(core);
}

static int take_front(struct core *core, int fd, struct error *err)
{
	int r;

	lose_front(core);
	core->front = channel_new(fd, CORE_CREDITS + 64);
	if (core->front == NULL) {
		(void)close(fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "talk to front");
	}
	core->front_greeted = false;
	core->n_outstanding = 0;
	core->front_source = (struct loop_fd){ .fd = fd, .ready = on_front };
	r = channel_hello(core->front, BPFLEET_VERSION, CORE_CREDITS, err);
	if (r >= 0)
		r = loop_watch(core->loop, &core->front_source, EPOLLIN, err);
	if (r < 0)
		lose_front(core);
	return r;
}

static void send_notice(struct core *core, Bpfleet__Ipc__Notice *notice)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	struct error err = { 0 };

	if (core->front == NULL || !core->front_greeted)
		return;
	notice->revision = store_revision(core->store);
	notice->policy_epoch = core->policy_epoch;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_NOTICE;
	frame.notice = notice;
	/* A notice that is lost would leave grants in force and watchers behind. */
	if (channel_send(core->front, &frame, NULL, 0, -1, &err) < 0) {
		core_front_failed(core, &err);
		return;
	}
	core->noticed_revision = notice->revision;
	watch_front(core);
}

void core_notice(struct core *core)
{
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;

	if (store_revision(core->store) != core->noticed_revision)
		send_notice(core, &notice);
	else
		watch_front(core);
}

void core_notice_ended_instance(struct core *core, const char *id)
{
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;
	char name[NAME_RESOURCE_MAX + 1];

	resource_format_instance(id, name);
	notice.ended_instance = name;
	send_notice(core, &notice);
}

void core_notice_unresolved(struct core *core, const char *link, const struct hook *hook)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(65536);
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;
	struct error ignored = { 0 };

	notice.unresolved_link = (char *)(uintptr_t)link;
	if (arena != NULL && hook_to_message(hook, arena, &notice.unresolved_hook, &ignored) >= 0)
		send_notice(core, &notice);
}

static void on_session_ended(void *user, struct session *session)
{
	struct core *core = user;
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;

	lease_session_ended(core, session);
	notice.ended_session.data = (uint8_t *)(uintptr_t)session_id(session);
	notice.ended_session.len = SESSION_ID_LEN;
	send_notice(core, &notice);
}

/* ---- the supervisor */

static void on_new_front(void *user, int fd)
{
	struct core *core = user;
	struct error err = { 0 };

	if (take_front(core, fd, &err) < 0)
		log_error(LOG_LEVEL_ERROR, &err, "take a new front");
}

static void on_reload(void *user, int settings_fd)
{
	core_reload(user, settings_fd);
}

static void on_supervisor_gone(void *user)
{
	struct core *core = user;

	log_info("the supervisor has ended; programs stay attached");
	core->stopping = true;
	loop_stop(core->loop);
}

/* ---- policy and trust */

static int take_rules(struct core *core, struct settings *settings, struct error *err)
{
	int r;

	if (settings->policy == NULL || settings->trust == NULL) {
		*err = settings->err;
		return -error_info(err->code)->sys_errno;
	}
	r = trusted_bundles_take_trust(core->bundles, settings->trust, core->config->trust, err);
	if (r < 0)
		return r;
	if (core->rules != core->settings)
		settings_close(core->rules);
	core->rules = settings;
	core->policy_epoch++;
	return 0;
}

static void audit_reload(struct core *core, const struct error *cause)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct error err = { 0 };
	struct store_audit row = {
		.at_ns = clock_realtime_ns(),
		.verb = "policy",
		.object = core->config->policy,
		.outcome = cause == NULL ? "ok" : "failed",
		.reason = cause == NULL ? "" : error_info(cause->code)->reason,
		.detail = cause == NULL ? core->config->trust : cause->message,
	};
	int r = store_tx_begin(core->store, STORE_TX_GROW, &tx, &err);

	if (r >= 0)
		r = store_audit_append(&tx, &row, NULL, &err);
	if (r >= 0)
		r = store_tx_commit(&tx, &err);
	if (r < 0)
		log_error(LOG_LEVEL_WARNING, &err, "audit a reload");
}

void core_reload(struct core *core, int settings_fd)
{
	Bpfleet__Ipc__Notice notice = BPFLEET__IPC__NOTICE__INIT;
	struct settings *settings = NULL;
	struct error err = { 0 };

	if (settings_open(settings_fd, &settings, &err) < 0 ||
	    take_rules(core, settings, &err) < 0) {
		settings_close(settings);
		log_error(LOG_LEVEL_ERROR, &err, "policy and trust stay as they were");
		(void)snprintf(core->trust_alarm, sizeof(core->trust_alarm),
			       "policy or trust on disk is not in force: %.180s", err.message);
		audit_reload(core, &err);
		return;
	}
	core->trust_alarm[0] = '\0';
	audit_reload(core, NULL);
	log_info("policy and trust are read again, epoch %llu",
		 (unsigned long long)core->policy_epoch);
	send_notice(core, &notice);
	reconcile_trust(core);
}

/* ---- chores */

static int purge_answers(struct core *core, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	uint64_t now = clock_realtime_ns();
	size_t n = 0;
	int r = store_tx_begin(core->store, STORE_TX_RELEASE, &tx, err);

	if (r >= 0)
		r = store_request_purge(&tx, now - STORE_REQUEST_TTL_NS, PURGE_AT_ONCE, &n, err);
	if (r >= 0)
		r = store_tx_commit(&tx, err);
	return r < 0 ? r : n == PURGE_AT_ONCE;
}

static void on_chores(struct loop_timer *timer)
{
	struct core *core = (struct core *)(void *)((char *)timer - offsetof(struct core, chores));
	struct error err = { 0 };
	int r = store_audit_flush(core->store, clock_realtime_ns(), &err);

	uint64_t next = clock_monotonic_ns() + CHORES_NS;

	if (r >= 0)
		r = purge_answers(core, &err);
	if (r > 0)
		next = clock_monotonic_ns() + NS_PER_SEC / 10;
	if (r >= 0 && core->requests == NULL)
		r = store_checkpoint(core->store, &err);
	if (r < 0)
		log_error(LOG_LEVEL_WARNING, &err, "chores of the store");
	loop_set_timer(core->loop, &core->chores, next);
}

static void on_retry(struct loop_timer *timer)
{
	reconcile_retry((struct core *)(void *)((char *)timer - offsetof(struct core, retry)));
}

/* ---- start */

static int tracepoint_id(void *user, const char *category, const char *name, uint32_t *ret,
			 struct error *err)
{
	return supervisor_tracepoint_id(((struct core *)user)->supervisor, category, name, ret,
					err);
}

static int traceable(void *user, int *ret_fd, struct error *err)
{
	return supervisor_traceable(((struct core *)user)->supervisor, ret_fd, err);
}

static int in_netns(void *user, const struct netns_request *request, int program_fd,
		    struct netns_reply *ret, int *ret_fd, struct error *err)
{
	struct core *core = user;

	return netns_ask(core->supervisor, &core->netns_lock, request, program_fd, ret, ret_fd,
			 err);
}

static int read_boot_id(struct core *core, struct error *err)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, core->boot_id, STORE_UUID_LEN) != STORE_UUID_LEN)
		return error_raise_errno(err, ERROR_IO, errno, "read the boot id");
	return 0;
}

static int open_store(struct core *core, struct error *err)
{
	char path[4096];
	const struct store_options options = {
		.path = path,
		.hash = core_hash,
		.now_ns = clock_realtime_ns(),
		.audit_max_bytes = core->config->limits.n_audit_rows * AUDIT_ROW_BYTES,
	};
	struct store_meta meta;
	int r;

	(void)snprintf(path, sizeof(path), "%s/state.db", core->config->state_dir);
	r = store_open(&options, &core->store, err);
	if (r >= 0)
		r = store_meta_get(core->store, &meta, err);
	if (r >= 0)
		/* The supervisor starts core in the bpffs directory, which may lie below a folder
		 * of root's that core cannot pass. */
		r = kernel_pins_open(".", meta.uuid, &core->pins, err);
	return r;
}

/* A log that was tampered with is no reason to stand still: it is shown, and goes on from there. */
static int check_audit(struct core *core, struct error *err)
{
	struct store_audit_verdict verdict = { 0 };
	int r = store_audit_verify_tail(core->store, AUDIT_ROWS_CHECKED, &verdict, err);

	if (r < 0 || verdict.broken_sequence == 0)
		return r;
	(void)snprintf(core->audit_alarm, sizeof(core->audit_alarm),
		       "the audit log was altered at row %llu: %.120s",
		       (unsigned long long)verdict.broken_sequence, verdict.what);
	log_line(LOG_LEVEL_ERROR, "%s", core->audit_alarm);
	return 0;
}

static int start_parts(struct core *core, const struct core_options *options, struct error *err)
{
	const struct supervisor_handler handler = { on_new_front, on_reload, on_supervisor_gone,
						    core };
	int r = loop_new(&core->loop, err);

	if (r >= 0)
		r = jobs_new(core->loop, core->config->limits.n_workers, &core->jobs, err);
	if (r >= 0)
		r = sessions_new(core->loop, on_session_ended, core, &core->sessions, err);
	if (r >= 0)
		r = supervisor_link_new(core->loop, options->supervisor_fd, &handler,
					&core->supervisor, err);
	if (r >= 0)
		r = trusted_bundles_new(TRUSTED_BYTES_MAX, &core->bundles, err);
	if (r >= 0)
		r = sessions_add_address(core->sessions, core->config->socket, err);
	if (r >= 0)
		r = sessions_add_address(core->sessions, core->config->fd_socket, err);
	if (r < 0)
		return r;
	sessions_refuse_uid(core->sessions, core->config->core_uid);
	sessions_refuse_uid(core->sessions, core->config->front_uid);
	return 0;
}

int core_start(struct core *core, const struct core_options *options, struct error *err)
{
	int r;

	core->front_source.fd = -1;
	core->started_at_ns = clock_realtime_ns();
	core->chores = (struct loop_timer){ .deadline = UINT64_MAX, .due = on_chores };
	core->retry = (struct loop_timer){ .deadline = UINT64_MAX, .due = on_retry };
	(void)pthread_mutex_init(&core->netns_lock, NULL);
	core->kernel = (struct kernel_context){ .tracepoint_id = tracepoint_id,
						.traceable = traceable,
						.netns = in_netns,
						.user = core,
						.order = order_new() };
	if (core->kernel.order == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "start");
	if (sodium_init() < 0)
		return error_raise(err, ERROR_INTERNAL, "libsodium does not start");
	kernel_init();
	r = supervisor_settings(options->supervisor_fd, &core->settings, err);
	if (r < 0)
		return r;
	core->config = core->settings->config;
	log_init("bpfleet-core", core->config->log_level);
	core->held_by_owner = config_is_held(core->config);
	r = mapread_possible_cpus();
	if (r <= 0)
		return error_raise(err, ERROR_IO, "read the number of possible CPUs");
	core->n_cpus = (uint32_t)r;
	r = read_boot_id(core, err);
	if (r >= 0)
		r = open_store(core, err);
	if (r >= 0)
		r = check_audit(core, err);
	if (r >= 0)
		r = start_parts(core, options, err);
	if (r >= 0)
		r = take_rules(core, core->settings, err);
	for (size_t i = 0; r >= 0 && i < HOOK_N_KINDS; i++)
		kernel_probe(i, &core->support[i]);
	for (size_t i = 0; i < n_map_types && i < MAP_TYPES_MAX; i++)
		kernel_probe_map(i, &core->map_support[i]);
	if (r >= 0)
		r = reconcile_start(core, err);
	if (r >= 0)
		r = observe_new(core, &core->observe, err);
	if (r >= 0)
		r = take_front(core, options->front_fd, err);
	if (r >= 0)
		r = statistics_new(core, &core->statistics, err);
	if (r < 0)
		return r;
	loop_set_timer(core->loop, &core->chores, clock_monotonic_ns() + CHORES_NS);
	supervisor_core_ready(core->supervisor);
	return 0;
}

int core_run(struct core *core, struct error *err)
{
	return loop_run(core->loop, err);
}

void core_done(struct core *core)
{
	core->stopping = true;
	if (core->supervisor != NULL)
		supervisor_link_stop(core->supervisor);
	jobs_free(core->jobs);
	statistics_free(core->statistics);
	if (core->loop != NULL)
		lose_front(core);
	observe_free(core->observe);
	while (core->held != NULL)
		held_remove(core, core->held);
	sessions_free(core->sessions);
	trusted_bundles_free(core->bundles);
	supervisor_link_free(core->supervisor);
	kernel_pins_close(core->pins);
	store_close(core->store);
	if (core->rules != core->settings)
		settings_close(core->rules);
	settings_close(core->settings);
	loop_free(core->loop);
	order_free(core->kernel.order);
}
