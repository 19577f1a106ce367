#define _GNU_SOURCE
#include "daemon/front/percpu.h"

#include <sched.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "daemon/front/core.h"
#include "daemon/front/front.h"
#include "daemon/front/reader.h"
#include "daemon/ipc/ipc.pb-c.h"
#include "rpc/loop.h"

#define TICK_MS 1000
/* Many hosts have far more possible CPUs than they will ever see online. They are asked for when
 * our own set of CPUs changes, as the kernel shows it; and, in case we are confined to a few, every
 * so many ticks. */
#define TICKS_ALL 10
/* A resource name and a number. */
#define BODY_MAX 512

struct percpu {
	struct percpu_options options;
	bool opened;
	cpu_set_t own; /* CPUs that are online, of those that we may run on */
	unsigned int n_ticks;
	bool all;	/* in this round CPUs that are offline are asked for, too */
	bool *offline;	/* as core said, by CPU */
	uint32_t cpu;	/* being asked for */
	uint64_t asked; /* id of the request at core, 0: none */
	uint8_t session[CHANNEL_SESSION_LEN]; /* that asked */
	struct rpc_timer *timer;
};

static void percpu_go_on(struct percpu *percpu);

static void percpu_tick(void *arg)
{
	struct percpu *percpu = arg;

	cpu_set_t own;

	CPU_ZERO(&own);
	(void)sched_getaffinity(0, sizeof(own), &own);
	percpu->all = percpu->n_ticks++ % TICKS_ALL == 0 || !CPU_EQUAL(&own, &percpu->own);
	percpu->own = own;
	percpu->timer = NULL;
	percpu->cpu = 0;
	percpu_go_on(percpu);
}

static void percpu_rest(struct percpu *percpu)
{
	const bool opened = percpu->opened;

	percpu->opened = true;
	percpu->timer = rpc_loop_after(percpu->options.front->loop, TICK_MS, percpu_tick, percpu);
	if (opened)
		percpu->options.on_counted(percpu->options.arg);
	else
		percpu->options.on_opened(percpu->options.arg, NULL);
}

static void percpu_fail(struct percpu *percpu, const struct error *error)
{
	/* Who listens already goes on with the CPUs that there are. */
	if (percpu->opened)
		percpu_rest(percpu);
	else
		percpu->options.on_opened(percpu->options.arg, error);
}

static void on_event(void *arg, const struct core_reply *reply)
{
	struct percpu *percpu = arg;
	struct error err = { 0 };

	percpu->asked = 0;
	/* Who asked may have left. */
	if (reply->error != NULL &&
	    memcmp(percpu->session, percpu->options.session(percpu->options.arg),
		   sizeof(percpu->session)) != 0) {
		percpu_go_on(percpu);
		return;
	}
	if (reply->error != NULL) {
		percpu_fail(percpu, reply->error);
		return;
	}
	percpu->offline[percpu->cpu] = *reply->fd < 0;
	if (*reply->fd < 0)
		reader_close_cpu(percpu->options.buffer, percpu->cpu);
	else if (reader_open_cpu(percpu->options.buffer, percpu->cpu, TAKE_FD(*reply->fd), &err) <
		 0) {
		percpu_fail(percpu, &err);
		return;
	}
	percpu->cpu++;
	percpu_go_on(percpu);
}

static int percpu_ask(struct percpu *percpu, struct error *err)
{
	const struct percpu_options *options = &percpu->options;
	Bpfleet__Ipc__GrantPerfRequest message = BPFLEET__IPC__GRANT_PERF_REQUEST__INIT;
	struct core_request request = { .session = percpu->session,
					.method = "GrantPerf",
					.deadline = UINT64_MAX,
					.fd = options->map_fd };
	uint8_t body[BODY_MAX];

	message.map = (char *)(uintptr_t)options->map;
	message.cpu = percpu->cpu;
	request.body = body;
	request.body_size = protobuf_c_message_get_packed_size(&message.base);
	if (options->front->core == NULL || request.body_size > sizeof(body))
		return error_raise(err, ERROR_UNAVAILABLE, "the daemon is stopping");
	(void)protobuf_c_message_pack(&message.base, body);
	memcpy(percpu->session, options->session(options->arg), sizeof(percpu->session));
	return core_call(options->front->core, &request, on_event, percpu, &percpu->asked, err);
}

/* Asks for the next CPU that does not deliver. */
static void percpu_go_on(struct percpu *percpu)
{
	struct error err = { 0 };

	while (percpu->cpu < percpu->options.n_cpus &&
	       (reader_cpu_runs(percpu->options.buffer, percpu->cpu) ||
		(percpu->offline[percpu->cpu] && !percpu->all)))
		percpu->cpu++;
	if (percpu->cpu == percpu->options.n_cpus)
		percpu_rest(percpu);
	else if (percpu_ask(percpu, &err) < 0)
		percpu_fail(percpu, &err);
}

int percpu_new(const struct percpu_options *options, struct percpu **ret, struct error *err)
{
	struct percpu *percpu = calloc(1, sizeof(*percpu));

	if (percpu == NULL) {
		(void)close(options->map_fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a perf buffer");
	}
	percpu->options = *options;
	percpu->offline = calloc(options->n_cpus, sizeof(*percpu->offline));
	percpu->timer = rpc_loop_after(options->front->loop, 0, percpu_tick, percpu);
	if (percpu->timer == NULL || percpu->offline == NULL) {
		percpu_free(percpu);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for a perf buffer");
	}
	*ret = percpu;
	return 0;
}

void percpu_free(struct percpu *percpu)
{
	if (percpu == NULL)
		return;
	rpc_timer_cancel(percpu->timer);
	if (percpu->options.front->core != NULL)
		core_cancel(percpu->options.front->core, percpu->asked);
	(void)close(percpu->options.map_fd);
	free(percpu->offline);
	free(percpu);
}
