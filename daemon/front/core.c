#include "daemon/front/core.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/front/closer.h"
#include "rpc/loop.h"

/* Datagrams read in one turn of the loop, so that replies do not hold up clients. */
#define FRAMES_A_TURN 64
/* Bounds what a core of another mind could make front allocate. */
#define CREDITS_MAX 4096

/* A request that core has not answered; the slot's index is in the id. */
struct pending {
	uint64_t id;	  /* 0: free */
	core_reply_fn fn; /* NULL: cancelled */
	void *arg;
	struct core_lane *lane;
	struct parcel *parcel;
};

struct waiting {
	struct waiting *next;
	uint64_t id;
	struct core_request request; /* pointers into this object, but for lane */
	core_reply_fn fn;
	void *arg;
	Bpfleet__Ipc__ResolvedTarget resolved;
	uint8_t session[CHANNEL_SESSION_LEN];
	int fd;
	uint8_t body[];
};

struct core {
	struct channel *channel;
	struct rpc_watch *watch;
	struct core_options options;
	bool ready;
	bool lost;
	uint64_t serial;
	uint32_t credits;
	struct pending *pending;
	uint32_t n_pending;
	struct waiting *first, **last;
	size_t n_waiting;
	size_t waiting_bytes;
};

static void waiting_free(struct waiting *waiting)
{
	if (waiting->fd >= 0)
		(void)close(waiting->fd);
	parcel_unref(waiting->request.parcel);
	free(waiting);
}

/* Takes the element at *at out of the queue. */
static struct waiting *waiting_unlink(struct core *core, struct waiting **at)
{
	struct waiting *waiting = *at;

	*at = waiting->next;
	if (core->last == &waiting->next)
		core->last = at;
	if (!waiting->request.urgent) {
		core->n_waiting--;
		core->waiting_bytes -= waiting->request.body_size;
	}
	return waiting;
}

static void fail(core_reply_fn fn, void *arg, const struct error *error)
{
	int fd = -1;
	struct core_reply reply = { .error = error, .fd = &fd };

	if (fn != NULL)
		fn(arg, &reply);
}

/* Everything outstanding fails; the callbacks may call core_call(), which then refuses. */
static void core_shut(struct core *core)
{
	struct error gone = { 0 };

	core->lost = true;
	if (core->watch != NULL)
		rpc_watch_free(core->watch);
	core->watch = NULL;
	(void)error_raise(&gone, ERROR_UNAVAILABLE,
			  "the daemon's core is gone; it is being restarted");
	for (uint32_t i = 0; i < core->credits; i++) {
		struct pending pending = core->pending[i];

		if (pending.id == 0)
			continue;
		core->pending[i] = (struct pending){ 0 };
		core->n_pending--;
		fail(pending.fn, pending.arg, &gone);
		parcel_unref(pending.parcel);
	}
	while (core->first != NULL) {
		struct waiting *waiting = waiting_unlink(core, &core->first);

		fail(waiting->fn, waiting->arg, &gone);
		waiting_free(waiting);
	}
}

static uint32_t lane_max(const struct core *core)
{
	return core->credits >= 8 ? core->credits / 4 : 1;
}

static bool may_send(const struct core *core, const struct core_request *request)
{
	if (!core->ready || core->n_pending >= core->credits)
		return false;
	/* One credit is left for what is urgent. */
	if (!request->urgent && core->credits > 1 && core->n_pending + 1 >= core->credits)
		return false;
	return request->lane == NULL || request->lane->n_outstanding < lane_max(core);
}

static void watch_write(struct core *core)
{
	if (core->watch != NULL)
		rpc_watch_set(core->watch,
			      EPOLLIN | (channel_wants_write(core->channel) ? EPOLLOUT : 0u));
}

static int core_transmit(struct core *core, uint64_t serial, const struct core_request *request,
			 core_reply_fn fn, void *arg, struct error *err)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Request message = BPFLEET__IPC__REQUEST__INIT;
	uint32_t slot = 0;
	int r;

	while (core->pending[slot].id != 0)
		slot++;
	message.id = serial;
	message.method = (char *)(uintptr_t)request->method;
	if (request->session != NULL) {
		message.session.data = (uint8_t *)(uintptr_t)request->session;
		message.session.len = CHANNEL_SESSION_LEN;
	}
	if (request->deadline != UINT64_MAX)
		message.deadline_ns = request->deadline;
	message.resolved = (Bpfleet__Ipc__ResolvedTarget *)(uintptr_t)request->resolved;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REQUEST;
	frame.request = &message;
	r = channel_send(core->channel, &frame, request->body, request->body_size, request->fd,
			 err);
	if (r < 0)
		return r;
	core->pending[slot] = (struct pending){ .id = serial,
						.fn = fn,
						.arg = arg,
						.lane = request->lane,
						.parcel = parcel_ref(request->parcel) };
	core->n_pending++;
	if (request->lane != NULL)
		request->lane->n_outstanding++;
	watch_write(core);
	return 0;
}

static int core_enqueue(struct core *core, uint64_t serial, const struct core_request *request,
			core_reply_fn fn, void *arg, struct error *err)
{
	struct waiting *waiting;

	if (!request->urgent && (core->n_waiting >= CORE_QUEUE_MAX ||
				 core->waiting_bytes + request->body_size > CORE_QUEUE_BYTES_MAX))
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the daemon is busy: %zu requests wait; retry", core->n_waiting);
	waiting = malloc(sizeof(*waiting) + request->body_size);
	if (waiting == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "queue a request");
	*waiting = (struct waiting){
		.id = serial, .request = *request, .fn = fn, .arg = arg, .fd = -1
	};
	if (request->fd >= 0) {
		waiting->fd = fcntl(request->fd, F_DUPFD_CLOEXEC, 0);
		if (waiting->fd < 0) {
			free(waiting);
			return error_raise(err, ERROR_LIMIT_EXCEEDED,
					   "the daemon has too many files open; retry");
		}
	}
	waiting->request.fd = waiting->fd;
	(void)parcel_ref(request->parcel);
	if (request->body_size > 0)
		memcpy(waiting->body, request->body, request->body_size);
	waiting->request.body = waiting->body;
	if (request->session != NULL) {
		memcpy(waiting->session, request->session, CHANNEL_SESSION_LEN);
		waiting->request.session = waiting->session;
	}
	if (request->resolved != NULL) {
		waiting->resolved = *request->resolved;
		waiting->request.resolved = &waiting->resolved;
	}
	if (request->urgent) {
		waiting->next = core->first;
		if (core->first == NULL)
			core->last = &waiting->next;
		core->first = waiting;
	} else {
		*core->last = waiting;
		core->last = &waiting->next;
		core->n_waiting++;
		core->waiting_bytes += request->body_size;
	}
	return 0;
}

int core_call(struct core *core, const struct core_request *request, core_reply_fn fn, void *arg,
	      uint64_t *ret_id, struct error *err)
{
	uint64_t serial = core->serial + 1;
	int r;

	if (core->lost)
		return error_raise(err, ERROR_UNAVAILABLE,
				   "the daemon's core is gone; it is being restarted");
	/* Who may go passes those who wait: they wait for their own lanes. */
	if (may_send(core, request))
		r = core_transmit(core, serial, request, fn, arg, err);
	else
		r = core_enqueue(core, serial, request, fn, arg, err);
	if (r < 0)
		return r;
	core->serial = serial;
	if (ret_id != NULL)
		*ret_id = serial;
	return 0;
}

/* Sends what waits and may go, oldest first, passing over lanes that have their share. */
static void core_pump(struct core *core)
{
	struct waiting **at = &core->first;
	uint64_t now = clock_monotonic_ns();

	while (!core->lost && *at != NULL && core->n_pending < core->credits) {
		struct waiting *waiting = *at;
		struct error error = { 0 };
		bool late = now >= waiting->request.deadline;

		if (!late && !may_send(core, &waiting->request)) {
			at = &waiting->next;
			continue;
		}
		waiting = waiting_unlink(core, at);
		if (late)
			(void)error_raise(&error, ERROR_DEADLINE_EXCEEDED,
					  "the deadline passed while the request waited");
		else if (core_transmit(core, waiting->id, &waiting->request, waiting->fn,
				       waiting->arg, &error) == 0)
			waiting->fn = NULL;
		if (waiting->fn != NULL) {
			/* The callback may change the queue: begin again. */
			fail(waiting->fn, waiting->arg, &error);
			at = &core->first;
		}
		waiting_free(waiting);
	}
}

void core_cancel(struct core *core, uint64_t id)
{
	if (id == 0)
		return;
	for (uint32_t i = 0; i < core->credits; i++) {
		if (core->pending[i].id == id) {
			core->pending[i].fn = NULL;
			return;
		}
	}
	for (struct waiting **at = &core->first; *at != NULL; at = &(*at)->next) {
		if ((*at)->id == id) {
			waiting_free(waiting_unlink(core, at));
			return;
		}
	}
}

void core_forget_lane(struct core *core, struct core_lane *lane)
{
	for (uint32_t i = 0; i < core->credits; i++)
		if (core->pending[i].lane == lane)
			core->pending[i].lane = NULL;
	for (struct waiting *w = core->first; w != NULL; w = w->next)
		if (w->request.lane == lane)
			w->request.lane = NULL;
}

/* What went wrong in core, as it was raised there. */
static void error_from_reply(const Bpfleet__Ipc__Reply *reply, struct error *ret)
{
	enum error_code code = error_code_from_reason(reply->reason);

	(void)error_raise(ret, code == ERROR_NONE ? ERROR_INTERNAL : code, "%s", reply->message);
	ret->sys_errno = reply->sys_errno;
	for (size_t i = 0; i < reply->n_details; i++)
		error_detail(ret, reply->details[i]->key, "%s", reply->details[i]->value);
}

static int core_handle_reply(struct core *core, struct channel_frame *frame, struct error *err)
{
	const Bpfleet__Ipc__Reply *message = frame->frame->reply;
	struct core_reply reply = { .body = frame->body,
				    .body_size = frame->body_size,
				    .arena = frame->arena,
				    .fd = &frame->fd };
	struct pending pending = { 0 };
	struct error error = { 0 };

	for (uint32_t i = 0; message->id != 0 && i < core->credits; i++) {
		if (core->pending[i].id != message->id)
			continue;
		pending = core->pending[i];
		core->pending[i] = (struct pending){ 0 };
		core->n_pending--;
		break;
	}
	if (pending.id == 0)
		return error_raise(err, ERROR_PROTOCOL,
				   "core answered a request that was not made");
	if (pending.lane != NULL)
		pending.lane->n_outstanding--;
	if (message->reason[0] != '\0') {
		error_from_reply(message, &error);
		reply.error = &error;
	}
	if (pending.fn != NULL)
		pending.fn(pending.arg, &reply);
	parcel_unref(pending.parcel);
	core_pump(core);
	return 0;
}

static int core_handle_hello(struct core *core, const struct channel_frame *frame,
			     struct error *err)
{
	uint32_t credits = 0;
	int r = channel_check_hello(frame, core->options.version, &credits, err);

	if (r < 0)
		return r;
	if (credits == 0 || credits > CREDITS_MAX)
		return error_raise(err, ERROR_PROTOCOL, "core gave %u credits", credits);
	core->pending = calloc(credits, sizeof(*core->pending));
	if (core->pending == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for %u requests", credits);
	core->credits = credits;
	core->ready = true;
	core->options.on_ready(core->options.user);
	core_pump(core);
	return 0;
}

static int core_handle(struct core *core, struct channel_frame *frame, struct error *err)
{
	if (!core->ready)
		return core_handle_hello(core, frame, err);
	switch (frame->frame->kind_case) {
	case BPFLEET__IPC__FRAME__KIND_REPLY:
		return core_handle_reply(core, frame, err);
	case BPFLEET__IPC__FRAME__KIND_NOTICE:
		core->options.on_notice(core->options.user, frame->frame->notice);
		return 0;
	case BPFLEET__IPC__FRAME__KIND_HELLO:
	case BPFLEET__IPC__FRAME__KIND_REQUEST:
	case BPFLEET__IPC__FRAME__KIND__NOT_SET:
	case _BPFLEET__IPC__FRAME__KIND__CASE_IS_INT_SIZE:
	default:
		return error_raise(err, ERROR_PROTOCOL,
				   "core sent a frame that front does not take");
	}
}

static void on_channel(void *arg, uint32_t events)
{
	struct core *core = arg;
	struct error err = { 0 };
	int r = 0;

	if (events & EPOLLOUT)
		r = channel_flush(core->channel, &err);
	for (int i = 0; r >= 0 && !core->lost && i < FRAMES_A_TURN; i++) {
		struct channel_frame frame;

		r = channel_receive(core->channel, &frame, &err);
		if (r <= 0)
			break;
		r = core_handle(core, &frame, &err);
		channel_frame_done(&frame);
	}
	if (r >= 0) {
		watch_write(core);
	} else if (!core->lost) {
		core_shut(core);
		core->options.on_lost(core->options.user, &err);
	}
}

int core_new(struct rpc_loop *loop, int fd, const struct core_options *options, struct core **ret,
	     struct error *err)
{
	_cleanup_(core_freep) struct core *core = calloc(1, sizeof(*core));
	int r;

	if (core != NULL)
		core->channel = channel_new(fd, CORE_QUEUE_MAX);
	if (core == NULL || core->channel == NULL) {
		(void)close(fd);
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory for core's channel");
	}
	core->options = *options;
	core->last = &core->first;
	r = channel_hello(core->channel, options->version, 0, err);
	if (r == 0)
		r = rpc_loop_watch(loop, channel_fd(core->channel), EPOLLIN, on_channel, core,
				   &core->watch, err);
	if (r < 0)
		return error_context(err, r, "greet core");
	*ret = TAKE_PTR(core);
	return 0;
}

void core_free(struct core *core)
{
	if (core == NULL)
		return;
	core_shut(core);
	channel_free(core->channel);
	free(core->pending);
	free(core);
}

size_t core_n_outstanding(const struct core *core)
{
	return core->n_pending;
}

size_t core_n_queued(const struct core *core)
{
	return core->n_waiting;
}

int core_reply_unpack(const struct core_reply *reply, const ProtobufCMessageDescriptor *descriptor,
		      ProtobufCMessage **ret, struct error *err)
{
	int r = arena_unpack(reply->arena, descriptor, reply->body, reply->body_size, ret, err);

	if (r < 0)
		return error_raise(err, ERROR_PROTOCOL, "core's answer is no %s", descriptor->name);
	return 0;
}
