#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "client/cli.h"
#include "client/exit.h"
#include "client/loading.h"
#include "client/node.h"
#include "client/units.h"
#include "proto/arena.h"
#include "rpc/client.h"

/* How long a daemon keeps a lease whose connection is gone. */
#define COME_BACK_NS (10 * NS_PER_SEC)
#define COME_BACK_PAUSE_MS 300U
#define BLIND_PAUSE_MS 60000U

struct lease {
	struct cli *cli;
	const Bpfleet__V1__LoadResponse *loaded;
	bool seen; /* since the watch began */
	bool ended;
};

static void look_at(struct lease *lease, const Bpfleet__V1__WatchResponse *response)
{
	if (response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_SYNCED) {
		lease->ended = !lease->seen;
	} else if (response->part_case == BPFLEET__V1__WATCH_RESPONSE__PART_CHANGE &&
		   response->change->object_case == BPFLEET__V1__CHANGE__OBJECT_INSTANCE &&
		   strcmp(response->change->instance->name, lease->loaded->instance->name) == 0) {
		lease->seen = true;
		lease->ended =
			response->change->kind == BPFLEET__V1__CHANGE_KIND__CHANGE_KIND_DELETED;
	}
}

/* Follows the instance until it is gone (0) or the stream fails. */
static int watch(struct lease *lease, struct error *err)
{
	Bpfleet__V1__WatchRequest request = BPFLEET__V1__WATCH_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	int r;

	lease->seen = false;
	r = cli_subscribe(lease->cli, "Watch", &request.base, UINT64_MAX, &stream, err);
	while (r == 0 && !lease->ended) {
		_cleanup_(arena_freep) struct arena *arena = NULL;
		ProtobufCMessage *message;

		r = cli_arena(&arena, err);
		if (r < 0)
			break;
		r = rpc_stream_receive(stream, arena, &message, err);
		if (r == 0)
			r = error_raise(err, ERROR_UNAVAILABLE, "the daemon ended the watch");
		if (r < 0)
			break;
		look_at(lease, (const Bpfleet__V1__WatchResponse *)message);
		r = 0;
	}
	node_stream_free(lease->cli->node, stream);
	return r;
}

/* Binds the lease to a connection to the daemon that came back, while it is still kept. */
static int come_back(struct lease *lease, struct error *err)
{
	Bpfleet__V1__KeepLeaseRequest request = BPFLEET__V1__KEEP_LEASE_REQUEST__INIT;
	uint64_t give_up = clock_monotonic_ns() + COME_BACK_NS;
	_cleanup_(arena_freep) struct arena *arena = NULL;
	ProtobufCMessage *response;
	int r;

	r = cli_arena(&arena, err);
	if (r < 0)
		return r;
	request.instance = lease->loaded->instance->name;
	request.lease_token = lease->loaded->lease_token;
	for (;;) {
		struct error failure = { 0 };

		r = node_call(lease->cli->node, "KeepLease", &request.base, arena, &response,
			      &failure);
		if (r == 0)
			return 0;
		if (failure.code == ERROR_NOT_FOUND || failure.code == ERROR_LEASE_TOKEN_INVALID)
			return error_raise(err, ERROR_CANCELLED,
					   "the lease has ended with the daemon, which is back: "
					   "load again");
		if (failure.code != ERROR_UNAVAILABLE || clock_monotonic_ns() >= give_up ||
		    cli_wait(lease->cli, COME_BACK_PAUSE_MS)) {
			*err = failure;
			return error_context(err, r, "the lease is lost");
		}
	}
}

static int hold(struct lease *lease, struct error *err)
{
	for (;;) {
		struct error failure = { 0 };
		int r = watch(lease, &failure);

		if (r == 0 || cli_interrupted(lease->cli))
			return 0;
		if (failure.code == ERROR_PERMISSION_DENIED) {
			/* Its end cannot be seen then; only Ctrl-C is left to wait for. */
			while (!cli_wait(lease->cli, BLIND_PAUSE_MS))
				continue;
			return 0;
		}
		if (failure.code != ERROR_UNAVAILABLE && failure.code != ERROR_CANCELLED &&
		    failure.code != ERROR_SLOW_CONSUMER) {
			*err = failure;
			return error_context(err, r, "the lease cannot be followed");
		}
		r = come_back(lease, err);
		if (r < 0)
			return cli_interrupted(lease->cli) ? 0 : r;
	}
}

static void say_held(const struct cli *cli, const Bpfleet__V1__Instance *instance)
{
	struct str s = { 0 };

	(void)str_append(&s, "holding the lease");
	if (instance->lease_ends_at_ns != 0) {
		(void)str_append(&s, ", which ends ");
		(void)units_append_relative(&s, instance->lease_ends_at_ns, clock_realtime_ns());
	}
	if (!s.failed)
		cli_say(cli, "%s; Ctrl-C ends it", s.data);
	str_done(&s);
	(void)fflush(cli->out);
}

int lease_hold(struct cli *cli, const Bpfleet__V1__LoadResponse *loaded, struct error *err)
{
	struct lease lease = { .cli = cli, .loaded = loaded };
	int r;

	say_held(cli, loaded->instance);
	r = hold(&lease, err);
	if (r < 0)
		return r;
	if (lease.ended) {
		cli_say(cli, "the lease has ended");
		return EXIT_CODE_OK;
	}
	r = loading_unload(cli, loaded->instance->name, err);
	if (r < 0)
		return r;
	cli_say(cli, "unloaded");
	return EXIT_CODE_OK;
}
