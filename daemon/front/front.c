#include "daemon/front/front.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/front/connection.h"
#include "daemon/front/events.h"
#include "daemon/front/fdservice.h"
#include "daemon/front/forward.h"
#include "daemon/front/grant.h"
#include "daemon/front/kallsyms.h"
#include "daemon/front/resolve.h"
#include "daemon/front/service.h"
#include "daemon/front/session.h"
#include "daemon/front/tally.h"
#include "daemon/front/upload.h"
#include "daemon/front/walker.h"
#include "daemon/front/watch.h"
#include "rpc/health.h"
#include "rpc/listener.h"
#include "rpc/loop.h"
#include "rpc/reflection.h"
#include "rpc/server.h"

#define HOUSEKEEPING_MS 10000
#define N_CONNECTIONS_PER_UID_MIN 16
#define REFUSALS_PER_S 50
#define REFUSALS_BURST 200
#define GRACE_MS 5000
/* For the answers to calls that core's end cut off. */
#define LOST_GRACE_MS 200
#define SERVICE_NAME "bpfleet.v1.NodeService"

static const char *const reflected[] = { SERVICE_NAME, "grpc.health.v1.Health",
					 "grpc.reflection.v1.ServerReflection",
					 "grpc.reflection.v1alpha.ServerReflection" };

static void housekeeping(void *arg)
{
	struct front *front = arg;
	uint64_t now = clock_monotonic_ns();

	uploads_expire(front->uploads, now);
	peers_sweep(front->peers, now);
	/* Without memory for a timer the tables are bounded all the same. */
	front->housekeeping = rpc_loop_after(front->loop, HOUSEKEEPING_MS, housekeeping, front);
}

/* ---- core */

/* Core serves: from now on so do we. */
static void on_ready(void *user)
{
	struct front *front = user;
	struct error err = { 0 };
	int r;

	r = rpc_listener_new(front->loop, TAKE_FD(front->options.listen_fd),
			     front->options.n_connections, connection_accept, front,
			     &front->listener, &err);
	if (r == 0 && front->options.fdservice_fd >= 0)
		r = fdservice_new(front, TAKE_FD(front->options.fdservice_fd), &front->fdservice,
				  &err);
	if (r < 0) {
		log_error(LOG_LEVEL_ERROR, &err, "cannot serve");
		front->failed = true;
		front_stop(front);
	}
}

static void on_notice(void *user, const Bpfleet__Ipc__Notice *notice)
{
	struct front *front = user;
	bool wake = false;

	if (notice->policy_epoch > front->policy_epoch) {
		front->policy_epoch = notice->policy_epoch;
		grants_drop_epoch(front->grants, notice->policy_epoch);
		events_new_epoch(front->events);
	}
	if (notice->ended_instance[0] != '\0') {
		grants_drop_instance(front->grants, notice->ended_instance);
		events_end_instance(front->events, notice->ended_instance);
		tallies_end_instance(front->tallies, notice->ended_instance);
	}
	if (notice->ended_session.len > 0)
		session_ended(front, notice->ended_session.data, notice->ended_session.len);
	if (notice->unresolved_link[0] != '\0')
		attach_again(front, notice->unresolved_link, notice->unresolved_hook);
	if (notice->revision > front->revision) {
		front->revision = notice->revision;
		wake = true;
	}
	if (wake)
		watchers_wake(front->watchers);
}

static void on_lost(void *user, const struct error *error)
{
	struct front *front = user;

	if (!front->stopping) {
		log_error(LOG_LEVEL_ERROR, error, "the channel to core is lost");
		front->failed = true;
	}
	front->options.grace_ms = LOST_GRACE_MS;
	front_stop(front);
}

/* ---- life */

static void options_default(struct front_options *options)
{
	if (options->n_connections_per_uid == 0)
		options->n_connections_per_uid = options->n_connections / 4;
	if (options->n_connections_per_uid < N_CONNECTIONS_PER_UID_MIN)
		options->n_connections_per_uid = N_CONNECTIONS_PER_UID_MIN;
	if (options->refusals_per_s == 0)
		options->refusals_per_s = REFUSALS_PER_S;
	if (options->refusals_burst == 0)
		options->refusals_burst = REFUSALS_BURST;
	if (options->grace_ms == 0)
		options->grace_ms = GRACE_MS;
}

static int front_tables(struct front *front, struct error *err)
{
	const struct front_options *options = &front->options;
	const struct peer_limits peers = { .n_connections = options->n_connections + 64,
					   .n_connections_per_uid = options->n_connections_per_uid,
					   .refusals_per_s = options->refusals_per_s,
					   .refusals_burst = options->refusals_burst };
	const struct upload_limits uploads = { .total_bytes = 8 * (uint64_t)UPLOAD_SIZE_MAX,
					       .identity_bytes = 2 * (uint64_t)UPLOAD_SIZE_MAX,
					       .keep_ns = 600 * NS_PER_SEC };
	const struct grants_limits grants = { .n_grants = 512,
					      .n_grants_per_session = 64,
					      .n_possible_cpus = options->n_possible_cpus };
	int r;

	front->peers = peers_new(&peers);
	front->uploads = uploads_new(&uploads);
	front->grants = grants_new(&grants);
	front->watchers = watchers_new();
	front->tallies = tallies_new(front);
	front->resolver = resolver_new(front->loop, options->resolver);
	if (front->peers == NULL || front->uploads == NULL || front->grants == NULL ||
	    front->watchers == NULL || front->tallies == NULL || front->resolver == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for front's tables");
	r = kallsyms_new(front->loop, &front->kallsyms, err);
	if (r == 0)
		r = walker_new(front->loop, &front->walker, err);
	return r < 0 ? r : events_new(front, &front->events, err);
}

static int front_services(struct front *front, struct error *err)
{
	int r = rpc_health_new(&front->health, err);

	if (r == 0)
		r = rpc_health_set(front->health, "", true, err);
	if (r == 0)
		r = rpc_health_set(front->health, SERVICE_NAME, true, err);
	if (r == 0)
		r = rpc_reflection_new(rpc_descriptor_set, rpc_descriptor_set_size, reflected,
				       sizeof(reflected) / sizeof(reflected[0]), &front->reflection,
				       err);
	if (r < 0)
		return r;
	front->services[0] = &node_service;
	front->services[1] = rpc_health_service(front->health);
	front->services[2] = rpc_reflection_v1(front->reflection);
	front->services[3] = rpc_reflection_v1alpha(front->reflection);
	return 0;
}

int front_new(const struct front_options *options, struct front **ret, struct error *err)
{
	_cleanup_(front_freep) struct front *front = calloc(1, sizeof(*front));
	_cleanup_close_ int core_fd = options->core_fd;
	struct core_options core = { .version = options->version,
				     .on_ready = on_ready,
				     .on_notice = on_notice,
				     .on_lost = on_lost };
	int r;

	if (front == NULL) {
		cleanup_closep(&options->listen_fd);
		cleanup_closep(&options->fdservice_fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for front");
	}
	front->options = *options;
	options_default(&front->options);
	r = rpc_loop_new(&front->loop, err);
	if (r == 0)
		r = front_tables(front, err);
	if (r == 0)
		r = front_services(front, err);
	if (r < 0)
		return r;
	core.user = front;
	r = core_new(front->loop, TAKE_FD(core_fd), &core, &front->core, err);
	if (r < 0)
		return r;
	housekeeping(front);
	*ret = TAKE_PTR(front);
	return 0;
}

int front_run(struct front *front, struct error *err)
{
	(void)rpc_loop_run(front->loop);
	if (front->failed)
		return error_raise(err, ERROR_UNAVAILABLE, "front lost its core");
	return 0;
}

void front_stop(struct front *front)
{
	struct error err = { 0 };

	if (!front->stopping) {
		front->stopping = true;
		events_stop(front->events);
		watchers_stop(front->watchers);
		if (rpc_health_set(front->health, "", false, &err) < 0 ||
		    rpc_health_set(front->health, SERVICE_NAME, false, &err) < 0)
			log_error(LOG_LEVEL_DEBUG, &err, "health probes are not told");
	}
	rpc_loop_drain(front->loop, front->options.grace_ms);
}

void front_free(struct front *front)
{
	if (front == NULL)
		return;
	fdservice_free(front->fdservice);
	rpc_timer_cancel(front->housekeeping);
	core_free(TAKE_PTR(front->core));
	rpc_listener_free(TAKE_PTR(front->listener));
	attach_again_end(front);
	resolver_free(front->resolver);
	tallies_stop(front->tallies);
	kallsyms_free(TAKE_PTR(front->kallsyms));
	walker_free(TAKE_PTR(front->walker));
	rpc_loop_free(front->loop);
	events_free(front->events);
	tallies_free(front->tallies);
	watchers_free(front->watchers);
	grants_free(front->grants);
	uploads_free(front->uploads);
	peers_free(front->peers);
	rpc_health_free(front->health);
	rpc_reflection_free(front->reflection);
	cleanup_closep(&front->options.listen_fd);
	cleanup_closep(&front->options.fdservice_fd);
	free(front);
}
