#include "daemon/core/request.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/config/settings.h"
#include "daemon/core/links.h"
#include "daemon/core/session.h"
#include "store/audit.h"
#include "store/journal.h"

static void request_free(struct request *request)
{
	for (struct request **at = &request->core->requests; *at != NULL; at = &(*at)->next) {
		if (*at == request) {
			*at = request->next;
			break;
		}
	}
	if (request->reply_fd >= 0)
		(void)close(request->reply_fd);
	session_unref(request->session);
	arena_free(request->arena);
	channel_frame_done(&request->frame);
	free(request);
}

/* ---- replies */

/* A request has exactly one reply: if the answer cannot go, why it cannot goes; if not even that,
 * front is ended. */
static void reply_failed(const struct request *request, const struct error *cause)
{
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	Bpfleet__Ipc__Reply reply = BPFLEET__IPC__REPLY__INIT;
	enum error_code code =
		cause->code == ERROR_REQUEST_TOO_LARGE || cause->code == ERROR_PROTOCOL
			? ERROR_RESPONSE_TOO_LARGE
			: cause->code;
	struct error err = { 0 };

	log_error(LOG_LEVEL_WARNING, cause, "reply to %s", request->method->name);
	reply.id = request->id;
	reply.reason = (char *)(uintptr_t)error_info(code)->reason;
	reply.message = (char *)(uintptr_t)cause->message;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REPLY;
	frame.reply = &reply;
	if (cause->code == ERROR_UNAVAILABLE || cause->code == ERROR_SLOW_CONSUMER ||
	    channel_send(request->core->front, &frame, NULL, 0, -1, &err) < 0)
		core_front_failed(request->core, cause);
}

static void send_reply(struct request *request, Bpfleet__Ipc__Reply *reply, const uint8_t *body,
		       size_t body_size)
{
	struct core *core = request->core;
	Bpfleet__Ipc__Frame frame = BPFLEET__IPC__FRAME__INIT;
	struct error err = { 0 };

	if (core->front == NULL || request->id == 0) {
		request_free(request);
		return;
	}
	reply->id = request->id;
	frame.kind_case = BPFLEET__IPC__FRAME__KIND_REPLY;
	frame.reply = reply;
	core->n_outstanding--;
	if (channel_send(core->front, &frame, body, body_size, request->reply_fd, &err) < 0)
		reply_failed(request, &err);
	request_free(request);
	core_notice(core);
}

/*
 * A descriptor that came along is closed before the answer, while front still holds it, and on a
 * worker: if front does not, the close may wait.
 */
static void close_work(struct job *job)
{
	struct request *request = (struct request *)(void *)job;

	(void)close(TAKE_FD(request->frame.fd));
}

static void close_done(struct job *job)
{
	struct request *request = (struct request *)(void *)job;
	Bpfleet__Ipc__Reply reply = BPFLEET__IPC__REPLY__INIT;

	if (request->failure.code != ERROR_NONE)
		request_fail(request, &request->failure);
	else
		send_reply(request, &reply, request->answer, request->answer_size);
}

static void close_first(struct request *request)
{
	request->closing = (struct job){ .work = close_work, .done = close_done };
	jobs_submit(request->core->jobs, &request->closing);
}

/* The body is the arena's. */
static void answer(struct request *request, uint8_t *body, size_t size)
{
	Bpfleet__Ipc__Reply reply = BPFLEET__IPC__REPLY__INIT;

	request->answer = body;
	request->answer_size = size;
	if (request->frame.fd >= 0)
		close_first(request);
	else
		send_reply(request, &reply, body, size);
}

void *request_response(const struct request *request, const ProtobufCMessageDescriptor *descriptor,
		       struct error *err)
{
	ProtobufCMessage *response = arena_alloc(request->arena, descriptor->sizeof_message);

	if (response == NULL)
		(void)error_raise(err, ERROR_OUT_OF_MEMORY, "answer %s", request->method->name);
	else
		protobuf_c_message_init(descriptor, response);
	return response;
}

void request_reply(struct request *request, const ProtobufCMessage *response)
{
	struct error err = { 0 };
	uint8_t *body = NULL;
	size_t size = 0;

	if (response != NULL && arena_pack(request->arena, response, &body, &size, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	answer(request, body, size);
}

static void send_error(struct request *request, const struct error *err)
{
	Bpfleet__Ipc__Detail details[ERROR_DETAILS_MAX], *pointers[ERROR_DETAILS_MAX];
	Bpfleet__Ipc__Reply reply = BPFLEET__IPC__REPLY__INIT;

	for (size_t i = 0; i < err->n_details; i++) {
		details[i] = (Bpfleet__Ipc__Detail)BPFLEET__IPC__DETAIL__INIT;
		details[i].key = (char *)(uintptr_t)err->details[i].key;
		details[i].value = (char *)(uintptr_t)err->details[i].value;
		pointers[i] = &details[i];
	}
	reply.reason = (char *)(uintptr_t)error_info(err->code)->reason;
	reply.message = (char *)(uintptr_t)err->message;
	reply.sys_errno = err->sys_errno;
	reply.n_details = err->n_details;
	reply.details = pointers;
	send_reply(request, &reply, NULL, 0);
}

/* ---- audit */

static struct store_audit audit_row(const struct request *request, const char *outcome,
				    const struct error *err)
{
	struct store_audit row = {
		.at_ns = clock_realtime_ns(),
		.identity = request->session == NULL ? "" : session_identity(request->session),
		.verb = request->method->audit_verb,
		.object = request->object,
		.signers = request->signers,
		.outcome = outcome,
		.detail = request->detail,
		.duration_ns = clock_monotonic_ns() - request->started_ns,
		.count = 1,
	};

	if (request->has_digest)
		row.digest = (struct store_bytes){ request->digest.bytes, BUNDLE_DIGEST_LEN };
	if (err != NULL) {
		row.reason = error_info(err->code)->reason;
		row.detail = err->message;
	}
	return row;
}

static bool is_denial(const struct error *err)
{
	return err->code == ERROR_PERMISSION_DENIED || err->code == ERROR_MAP_PRIVATE ||
	       err->code == ERROR_MAP_READ_ONLY || err->code == ERROR_LEASE_TOKEN_INVALID;
}

static int audit_failure(struct request *request, const struct error *cause, struct error *err)
{
	_cleanup_store_tx_ struct store_tx tx = { 0 };
	struct store_audit row;
	int r;

	/* What policy has not let in is counted, a row a minute, whatever is wrong with it. */
	if (request->denied || is_denial(cause) ||
	    (!request->authorized && (request->method->flags & METHOD_CHANGES))) {
		row = audit_row(request, request->denied || is_denial(cause) ? "denied" : "failed",
				cause);
		return store_audit_deny(request->core->store, &row, err);
	}
	/* Front comes back with the symbol looked up: that is when it fails or not. */
	if (!(request->method->flags & METHOD_CHANGES) || cause->code == ERROR_TARGET_UNRESOLVED)
		return 0;
	row = audit_row(request, "failed", cause);
	r = store_tx_begin(request->core->store, STORE_TX_GROW, &tx, err);
	if (r >= 0)
		r = store_audit_append(&tx, &row, NULL, err);
	return r < 0 ? r : store_tx_commit(&tx, err);
}

void request_fail(struct request *request, const struct error *err)
{
	struct error audit_err = { 0 }, told = *err;

	if (request->frame.fd >= 0) {
		request->failure = *err;
		close_first(request);
		return;
	}
	if (audit_failure(request, err, &audit_err) < 0)
		log_error(LOG_LEVEL_WARNING, &audit_err, "audit a refusal of %s",
			  request->method->name);
	if (err->code == ERROR_HOOK_BUSY)
		links_name_holder(request, &told);
	send_error(request, &told);
}

int request_commit(struct request *request, struct store_tx *tx, const ProtobufCMessage *response,
		   struct error *err)
{
	struct store_audit row = audit_row(request, "ok", NULL);
	struct store_request answer = {
		.identity = row.identity,
		.method = request->method->name,
		.request_id = request->request_id,
		.at_ns = row.at_ns,
	};
	uint8_t *bytes = NULL;
	size_t size = 0;
	int r = store_audit_append(tx, &row, NULL, err);

	if (r >= 0 && request->request_id[0] != '\0') {
		if (response != NULL)
			r = arena_pack(request->arena, response, &bytes, &size, err);
		answer.response = (struct store_bytes){ bytes, size };
		memcpy(answer.body_hash, request->body_hash, sizeof(answer.body_hash));
		if (r >= 0)
			r = store_request_insert(tx, &answer, err);
	}
	return r < 0 ? r : store_tx_commit(tx, err);
}

/* ---- a request's way in */

int request_check_deadline(const struct request *request, struct error *err)
{
	if (clock_monotonic_ns() >= request->deadline)
		return error_raise(err, ERROR_DEADLINE_EXCEEDED, "%s took too long to begin",
				   request->method->name);
	if (request->session != NULL && session_has_ended(request->session))
		return error_raise(err, ERROR_CANCELLED, "the connection closed before %s began",
				   request->method->name);
	return 0;
}

/* Returns 1 if the answer of an earlier call was sent in reply. */
static int replay(struct request *request, struct error *err)
{
	_cleanup_free_ struct store_request *earlier = NULL;
	const char *identity = session_identity(request->session);
	uint8_t *body;
	int r;

	if (request->request_id[0] == '\0')
		return 0;
	if (strlen(request->request_id) > 64)
		return error_raise(err, ERROR_INVALID_ARGUMENT, "a request_id is a UUID");
	for (struct request *other = request->core->requests; other != NULL; other = other->next) {
		if (other != request && other->method == request->method &&
		    strcmp(other->request_id, request->request_id) == 0 && other->session != NULL &&
		    strcmp(session_identity(other->session), identity) == 0)
			return error_raise(err, ERROR_REQUEST_IN_PROGRESS,
					   "%s with request_id %s is under way",
					   request->method->name, request->request_id);
	}
	r = store_request_get(request->core->store, identity, request->method->name,
			      request->request_id, &earlier, err);
	if (r < 0 && err->code == ERROR_NOT_FOUND)
		return 0;
	if (r < 0)
		return r;
	if (memcmp(earlier->body_hash, request->body_hash, STORE_HASH_LEN) != 0)
		return error_raise(err, ERROR_REQUEST_ID_REUSED,
				   "request_id %s was used for another %s", request->request_id,
				   request->method->name);
	body = arena_alloc(request->arena, earlier->response.size + 1);
	if (body == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "answer %s", request->method->name);
	if (earlier->response.size > 0)
		memcpy(body, earlier->response.data, earlier->response.size);
	answer(request, body, earlier->response.size);
	return 1;
}

static int unpack_message(struct request *request, struct error *err)
{
	const struct method *method = request->method;
	int r;

	request->arena = arena_new(method->arena_bytes);
	if (request->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "serve %s", method->name);
	if (method->message == NULL)
		return 0;
	r = arena_unpack(request->arena, method->message, request->frame.body,
			 request->frame.body_size, &request->message, err);
	if (r < 0 || method->request_id_offset == 0)
		return r;
	request->request_id = *(const char *const *)(const void *)((const char *)request->message +
								   method->request_id_offset);
	core_hash(request->frame.body, request->frame.body_size, request->body_hash);
	return 0;
}

static void serve(struct request *request)
{
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	int r = 0;

	if (!(request->method->flags & METHOD_NO_SESSION) && request->session == NULL)
		r = error_raise(&err, ERROR_UNAUTHENTICATED, "the session has ended");
	if (r >= 0)
		r = unpack_message(request, &err);
	if (r >= 0)
		r = request_check_deadline(request, &err);
	if (r >= 0 && request->method->request_id_offset != 0) {
		r = replay(request, &err);
		if (r > 0)
			return;
	}
	if (r >= 0)
		r = request->method->serve(request, &response, &err);
	if (r == REQUEST_DONE)
		request_reply(request, response);
	else if (r < 0)
		request_fail(request, &err);
}

int request_receive(struct core *core, struct channel_frame *frame, struct error *err)
{
	static const struct method unknown = { .name = "unknown", .arena_bytes = 4096 };
	const Bpfleet__Ipc__Request *wire = frame->frame->request;
	struct request *request;

	if (++core->n_outstanding > CORE_CREDITS)
		return error_raise(err, ERROR_PROTOCOL, "more than %u requests outstanding",
				   CORE_CREDITS);
	request = calloc(1, sizeof(*request));
	if (request == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "receive a request");
	request->core = core;
	request->next = core->requests;
	core->requests = request;
	request->id = wire->id;
	request->frame = *frame;
	*frame = (struct channel_frame){ .fd = -1 };
	request->reply_fd = -1;
	request->request_id = "";
	request->started_ns = clock_monotonic_ns();
	request->deadline = wire->deadline_ns == 0 ? UINT64_MAX : wire->deadline_ns;
	request->session = session_find(core->sessions, wire->session.data, wire->session.len);
	if (request->session != NULL)
		(void)session_ref(request->session);
	request->method = method_find(wire->method);
	if (request->method == NULL) {
		struct error unknown_err = { 0 };

		(void)error_raise(&unknown_err, ERROR_UNIMPLEMENTED,
				  "core serves no method '%.64s'", wire->method);
		request->method = &unknown;
		request_fail(request, &unknown_err);
		return 0;
	}
	store_snapshot_begin(core->store);
	serve(request);
	store_snapshot_end(core->store);
	return 0;
}

void request_abandon_all(struct core *core)
{
	/* Those that wait for a job stay until it has finished; they find that front has gone. */
	for (struct request *request = core->requests; request != NULL; request = request->next)
		request->id = 0;
	core->n_outstanding = 0;
}

/* ---- policy */

/* Owners of instances are identities in text. Returns false for one that is no uid. */
static bool owner_uid(const char *owner, uid_t *ret)
{
	uint64_t uid;

	if (strncmp(owner, "uid:", 4) != 0 || str_to_u64(owner + 4, UINT32_MAX, &uid) < 0)
		return false;
	*ret = (uid_t)uid;
	return true;
}

bool request_may(const struct request *request, enum policy_verb verb, const char *bundle,
		 const char *owner)
{
	uid_t uid = (uid_t)-1;

	if (owner != NULL && !owner_uid(owner, &uid))
		uid = (uid_t)-1;
	return policy_decide(request->core->rules->policy,
			     session_policy_identity(request->session), verb, bundle,
			     owner == NULL ? NULL : &uid)
		.allowed;
}

bool request_may_view(const struct request *request, const char *bundle, const char *owner)
{
	return request_may(request, POLICY_VERB_VIEW, bundle, owner);
}

int request_authorize(struct request *request, enum policy_verb verb, const char *bundle,
		      const char *owner, const char *what, struct error *err)
{
	if (request_may(request, verb, bundle, owner)) {
		request->authorized = true;
		return 0;
	}
	request->denied = true;
	if (what != NULL && !request_may_view(request, bundle, owner))
		return error_raise(err, ERROR_NOT_FOUND, "%s does not exist, or you may not see it",
				   what);
	(void)error_raise(err, ERROR_PERMISSION_DENIED, "no policy row lets %s %s %s%s",
			  session_identity(request->session), policy_verb_name(verb),
			  bundle == NULL ? "here" : bundle,
			  owner != NULL && strcmp(owner, session_identity(request->session)) != 0
				  ? " of another owner"
				  : "");
	error_detail(err, "verb", "%s", policy_verb_name(verb));
	return -error_info(ERROR_PERMISSION_DENIED)->sys_errno;
}

static int not_found(const char *what, struct error *err)
{
	return error_raise(err, ERROR_NOT_FOUND, "%s does not exist, or you may not see it", what);
}

int request_find_instance(struct request *request, const char *id_or_label, enum policy_verb verb,
			  struct store_instance **ret, struct error *err)
{
	_cleanup_free_ struct store_instance *row = NULL;
	char name[NAME_RESOURCE_MAX + 1];
	int r;

	if (name_is_id(id_or_label))
		r = store_instance_get(request->core->store, id_or_label, &row, err);
	else
		r = store_instance_get_label(request->core->store, id_or_label,
					     session_identity(request->session), &row, err);
	/* By the name the caller used: the id behind a label is for those who may see it. */
	resource_format_instance(id_or_label, name);
	(void)snprintf(request->object, sizeof(request->object), "%s", name);
	if (r < 0 && err->code == ERROR_NOT_FOUND)
		return not_found(name, err);
	if (r < 0)
		return r;
	r = request_authorize(request, verb, row->bundle_name, row->owner, name, err);
	if (r < 0)
		return r;
	resource_format_instance(row->id, request->object);
	memcpy(request->digest.bytes, row->digest, BUNDLE_DIGEST_LEN);
	request->has_digest = true;
	*ret = TAKE_PTR(row);
	return 0;
}

int request_find_named_instance(struct request *request, const char *name, enum policy_verb verb,
				struct store_instance **ret, struct error *err)
{
	struct resource_name parsed;
	int r = resource_parse_kind(name, RESOURCE_INSTANCE, &parsed, err);

	return r < 0 ? r : request_find_instance(request, parsed.id, verb, ret, err);
}

int request_find_map(struct request *request, const char *name, enum policy_verb verb,
		     struct store_instance **ret_instance, struct store_map **ret,
		     struct error *err)
{
	_cleanup_free_ struct store_instance *instance = NULL;
	struct resource_name parsed;
	int r = resource_parse_kind(name, RESOURCE_MAP, &parsed, err);

	if (r >= 0)
		r = request_find_instance(request, parsed.id, verb, &instance, err);
	if (r < 0)
		return r;
	resource_format_map(instance->id, parsed.member, request->object);
	r = store_map_get(request->core->store, instance->id, parsed.member, ret, err);
	if (r < 0)
		return err->code == ERROR_NOT_FOUND ? not_found(request->object, err) : r;
	*ret_instance = TAKE_PTR(instance);
	return 0;
}

int request_find_program(struct request *request, const char *name, enum policy_verb verb,
			 struct store_instance **ret_instance, struct store_program **ret,
			 struct error *err)
{
	struct resource_name parsed;
	int r = resource_parse_kind(name, RESOURCE_PROGRAM, &parsed, err);

	if (r >= 0)
		r = request_find_instance(request, parsed.id, verb, ret_instance, err);
	if (r < 0)
		return r;
	resource_format_program((*ret_instance)->id, parsed.member, request->object);
	r = store_program_get(request->core->store, (*ret_instance)->id, parsed.member, ret, err);
	if (r < 0 && err->code == ERROR_NOT_FOUND)
		return error_raise(err, ERROR_NOT_FOUND, "%s has no program '%s'",
				   (*ret_instance)->id, parsed.member);
	return r;
}

int request_find_link(struct request *request, const char *name, enum policy_verb verb,
		      struct store_instance **ret_instance, struct store_link **ret,
		      struct error *err)
{
	_cleanup_free_ struct store_link *link = NULL;
	struct resource_name parsed;
	int r = resource_parse_kind(name, RESOURCE_LINK, &parsed, err);

	if (r < 0)
		return r;
	r = store_link_get(request->core->store, parsed.id, &link, err);
	if (r >= 0)
		r = request_find_instance(request, link->instance, verb, ret_instance, err);
	(void)snprintf(request->object, sizeof(request->object), "%s", name);
	if (r < 0)
		return err->code == ERROR_NOT_FOUND ? not_found(name, err) : r;
	*ret = TAKE_PTR(link);
	return 0;
}

/* ---- what is being changed */

struct busy {
	struct busy *next;
	char id[NAME_LABEL_MAX + 1];
	unsigned int n_users;
	bool alone;
};

int busy_enter(struct core *core, const char *id, bool alone, struct error *err)
{
	struct busy *busy;

	for (busy = core->busy; busy != NULL; busy = busy->next) {
		if (strcmp(busy->id, id) != 0)
			continue;
		if (alone || busy->alone)
			return error_raise(err, ERROR_INSTANCE_BUSY,
					   "another change to %s is under way", id);
		busy->n_users++;
		return 0;
	}
	busy = calloc(1, sizeof(*busy));
	if (busy == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "note a change to %s", id);
	(void)snprintf(busy->id, sizeof(busy->id), "%s", id);
	busy->n_users = 1;
	busy->alone = alone;
	busy->next = core->busy;
	core->busy = busy;
	return 0;
}

bool busy_is(const struct core *core, const char *id)
{
	for (const struct busy *busy = core->busy; busy != NULL; busy = busy->next) {
		if (strcmp(busy->id, id) == 0)
			return true;
	}
	return false;
}

void busy_leave(struct core *core, const char *id)
{
	for (struct busy **at = &core->busy; *at != NULL; at = &(*at)->next) {
		struct busy *busy = *at;

		if (strcmp(busy->id, id) != 0)
			continue;
		if (--busy->n_users == 0) {
			*at = busy->next;
			free(busy);
		}
		return;
	}
}
