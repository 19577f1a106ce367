#include "tests/bench/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/error.h"
#include "bpfleet/v1/node.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "proto/arena.h"
#include "rpc/client.h"
#include "tests/bench/place.h"
#include "tests/bench/signing.h"

#define CORE_UID 60001
#define FRONT_UID 60002
#define START_NS (10 * NS_PER_SEC)
#define CALL_NS (10 * NS_PER_SEC)
#define ARENA_BYTES ((size_t)1 << 20)

int daemon_failed(int r, const struct bpfleet_error *failure, const char *what, struct error *err)
{
	if (r >= 0)
		return r;
	return error_raise(err, ERROR_UNAVAILABLE, "%s: %s %s", what, failure->reason,
			   failure->message);
}

/* ---- files */

static int write_file(const struct daemon *daemon, const char *name, const char *text,
		      struct error *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[192];

	(void)snprintf(path, sizeof(path), "%s/%s", daemon->folder, name);
	file = fopen(path, "we");
	if (file == NULL || fputs(text, file) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "write %s", path);
	return 0;
}

static int write_files(const struct daemon *daemon, const char *prefix,
		       const struct signing *signing, struct error *err)
{
	const char *folder = daemon->folder;
	char text[2048];
	int r;

	(void)snprintf(text, sizeof(text),
		       "state_dir: %s/state\nrun_dir: %s/run\nbpffs_dir: %s/bpffs\n"
		       "libexec_dir: %s/libexec/bpfleet\n"
		       "core_uid: %d\ncore_gid: %d\nfront_uid: %d\nfront_gid: %d\n"
		       "policy: %s/policy.yaml\ntrust: %s/trust.yaml\nlog_level: warning\n"
		       "limits: {instances: 4096, connections: 1024}\n",
		       folder, folder, folder, prefix, CORE_UID, CORE_UID, FRONT_UID, FRONT_UID,
		       folder, folder);
	r = write_file(daemon, "bpfleetd.yaml", text, err);
	if (r == 0)
		r = write_file(daemon, "policy.yaml",
			       "- who: {uid: 0}\n  may: all\n  bundles: [\"*\"]\n  owner: any\n",
			       err);
	(void)snprintf(text, sizeof(text),
		       "threshold: 1\nkeys:\n  - name: bench\n    key: %s\n    scope: [\"*\"]\n",
		       signing_public_key(signing));
	return r < 0 ? r : write_file(daemon, "trust.yaml", text, err);
}

/* ---- processes */

pid_t daemon_child(const struct daemon *daemon, const char *name)
{
	_cleanup_fclose_ FILE *children = NULL;
	char path[64], comm[32];
	int pid;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", daemon->supervisor,
		       daemon->supervisor);
	children = fopen(path, "re");
	while (children != NULL && fscanf(children, "%d", &pid) == 1) {
		_cleanup_fclose_ FILE *file = NULL;

		(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		file = fopen(path, "re");
		/* comm holds 15 characters. */
		if (file != NULL && fscanf(file, "%31s", comm) == 1 && strncmp(comm, name, 15) == 0)
			return pid;
	}
	return -1;
}

static int add_memory(pid_t pid, uint64_t *rss, uint64_t *pss, struct error *err)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64], line[256];
	uint64_t kb;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return error_raise_errno(err, ERROR_IO, errno, "open %s", path);
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "Rss: %" SCNu64, &kb) == 1)
			*rss += kb * 1024;
		else if (sscanf(line, "Pss: %" SCNu64, &kb) == 1)
			*pss += kb * 1024;
	}
	return 0;
}

int daemon_memory(const struct daemon *daemon, uint64_t *ret_rss, uint64_t *ret_pss,
		  struct error *err)
{
	const pid_t pids[] = { daemon->supervisor, daemon_child(daemon, "bpfleet-core"),
			       daemon_child(daemon, "bpfleet-front") };
	uint64_t rss = 0, pss = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(pids); i++)
		r = add_memory(pids[i], &rss, &pss, err);
	if (r < 0)
		return r;
	*ret_rss = rss;
	*ret_pss = pss;
	return 0;
}

/* ---- calls */

static int call(struct rpc_channel *channel, const ProtobufCServiceDescriptor *service,
		const char *method, const ProtobufCMessage *request, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(ARENA_BYTES);
	ProtobufCMessage *response;

	if (arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "call %s", method);
	return rpc_unary(channel, service, method, request, clock_monotonic_ns() + CALL_NS, arena,
			 &response, err);
}

int daemon_call(struct daemon *daemon, const char *method, const ProtobufCMessage *request,
		struct error *err)
{
	return call(daemon->channel, &bpfleet__v1__node_service__descriptor, method, request, err);
}

int daemon_check_health(struct daemon *daemon, struct error *err)
{
	const Grpc__Health__V1__HealthCheckRequest request =
		GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;

	return call(daemon->channel, &grpc__health__v1__health__descriptor, "Check", &request.base,
		    err);
}

int daemon_probe(const struct daemon *daemon, struct error *err)
{
	const Bpfleet__V1__GetStatusRequest request = BPFLEET__V1__GET_STATUS_REQUEST__INIT;
	_cleanup_(rpc_channel_closep) struct rpc_channel *channel = NULL;
	char target[sizeof(daemon->socket) + 8];
	int r;

	(void)snprintf(target, sizeof(target), "unix:%s", daemon->socket);
	r = rpc_channel_open(target, NULL, &channel, err);
	return r < 0 ? r
		     : call(channel, &bpfleet__v1__node_service__descriptor, "GetStatus",
			    &request.base, err);
}

int daemon_connect(const struct daemon *daemon, struct bpfleet **ret, struct error *err)
{
	struct bpfleet_open_options options = BPFLEET_OPEN_OPTIONS_INIT;
	struct bpfleet_error failure;
	int r;

	options.socket_path = daemon->socket;
	r = bpfleet_open(&options, ret, &failure);
	return daemon_failed(r, &failure, "open a connection", err);
}

/* ---- life */

static int push_all(struct daemon *daemon, const struct signing *signing, struct error *err)
{
	struct bpfleet_error failure;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < SIGNING_N_PROGRAMS; i++) {
		const struct signed_bundle *bundle = signing_bundle(signing, i);
		const struct bpfleet_signature signature = { bundle->signature,
							     strlen(bundle->signature) };
		const struct bpfleet_bundle *stored = NULL;

		r = bpfleet_push(daemon->client, bundle->bytes, bundle->size, &signature, 1, NULL,
				 &stored, &failure);
		bpfleet_free(stored);
	}
	return daemon_failed(r, &failure, "push", err);
}

static int wait_ready(struct daemon *daemon, struct error *err)
{
	const uint64_t deadline = clock_monotonic_ns() + START_NS;
	int r;

	do {
		r = daemon_probe(daemon, err);
		if (r == 0)
			return 0;
		(void)poll(NULL, 0, 5);
	} while (clock_monotonic_ns() < deadline &&
		 waitpid(daemon->supervisor, NULL, WNOHANG) == 0);
	return error_context(err, r, "the daemon does not start, see %s/log", daemon->folder);
}

static int connect_all(struct daemon *daemon, struct error *err)
{
	char target[sizeof(daemon->socket) + 8];
	int r = wait_ready(daemon, err);

	(void)snprintf(target, sizeof(target), "unix:%s", daemon->socket);
	if (r == 0)
		r = daemon_connect(daemon, &daemon->client, err);
	if (r == 0)
		r = rpc_channel_open(target, NULL, &daemon->channel, err);
	return r;
}

int daemon_start(const char *prefix, const char *folder, const struct signing *signing,
		 struct daemon *ret, struct error *err)
{
	struct daemon daemon = { .supervisor = -1 };
	char program[4096], config[160], log[160];
	const char *const argv[] = { program, "--config", config, NULL };
	int r;

	(void)snprintf(daemon.folder, sizeof(daemon.folder), "%s", folder);
	(void)snprintf(daemon.socket, sizeof(daemon.socket), "%s/run/bpfleet.sock", folder);
	(void)snprintf(program, sizeof(program), "%s/sbin/bpfleetd", prefix);
	(void)snprintf(config, sizeof(config), "%s/bpfleetd.yaml", folder);
	(void)snprintf(log, sizeof(log), "%s/log", folder);
	if (mkdir(folder, 0755) < 0)
		return error_raise_errno(err, ERROR_IO, errno, "make %s", folder);
	r = write_files(&daemon, prefix, signing, err);
	if (r == 0)
		r = place_spawn(argv, log, &daemon.supervisor, err);
	if (r == 0)
		r = connect_all(&daemon, err);
	if (r == 0)
		r = push_all(&daemon, signing, err);
	if (r < 0) {
		daemon_stop(&daemon);
		return r;
	}
	*ret = daemon;
	return 0;
}

void daemon_stop(struct daemon *daemon)
{
	bpfleet_close(TAKE_PTR(daemon->client));
	rpc_channel_close(TAKE_PTR(daemon->channel));
	if (daemon->supervisor <= 0)
		return;
	(void)kill(daemon->supervisor, SIGTERM);
	(void)waitpid(daemon->supervisor, NULL, 0);
	daemon->supervisor = -1;
}

int daemon_fill(struct daemon *daemon, size_t n, struct error *err)
{
	struct bpfleet_error failure;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		const struct bpfleet_loaded *loaded = NULL;

		r = bpfleet_load(daemon->client, "trivial", NULL, &loaded, &failure);
		bpfleet_free(loaded);
	}
	return daemon_failed(r, &failure, "load", err);
}
