/* Everything that changes the node: push, load, attach, detach, unload, remove, leases. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "bundle/format.h"
#include "bundle/hook.h"
#include "client/fd.h"
#include "client/file.h"
#include "client/lib.h"
#include "client/ref.h"
#include "client/upload.h"

static int no_memory(struct error *err)
{
	return error_raise(err, ERROR_OUT_OF_MEMORY, "out of memory");
}

static int push(struct bpfleet *node, struct upload *upload,
		const struct bpfleet_push_options *options, struct arena *arena,
		const struct bpfleet_bundle **ret, struct error *err)
{
	struct bpfleet_push_options all = BPFLEET_PUSH_OPTIONS_INIT;
	Bpfleet__V1__PushBundleResponse *response;
	struct bpfleet_bundle *bundle;
	int r;

	r = lib_options(&all, sizeof(all), options, err);
	if (r < 0)
		return r;
	upload->progress = all.progress;
	upload->user = all.user_data;
	r = upload_push(node->node, upload, arena, &response, err);
	if (r < 0)
		return r;
	if (response->bundle == NULL)
		return error_raise(err, ERROR_PROTOCOL, "a push was answered without a bundle");
	bundle = lib_block(arena, 1, sizeof(*bundle));
	if (bundle == NULL)
		return no_memory(err);
	r = lib_bundle(arena, &response->bundle->base, bundle, err);
	if (r < 0)
		return r;
	*ret = bundle;
	return 0;
}

static int push_bytes(struct bpfleet *node, const void *bytes, size_t size,
		      const struct bpfleet_signature *signatures, size_t n,
		      const struct bpfleet_push_options *options,
		      const struct bpfleet_bundle **ret_bundle, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	struct upload upload = { .bytes = bytes, .size = size };
	Bpfleet__V1__Signature *messages;
	int r;

	if (n > UPLOAD_SIGNATURES_MAX)
		return error_raise(err, ERROR_INVALID_ARGUMENT,
				   "%zu signatures; at most %d are sent with a bundle", n,
				   UPLOAD_SIGNATURES_MAX);
	if (arena == NULL)
		return no_memory(err);
	messages = arena_alloc(arena, (n + 1) * sizeof(*messages));
	upload.signatures = arena_alloc(arena, (n + 1) * sizeof(Bpfleet__V1__Signature *));
	if (messages == NULL || upload.signatures == NULL)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		bpfleet__v1__signature__init(&messages[i]);
		messages[i].minisig.data = (uint8_t *)signatures[i].bytes;
		messages[i].minisig.len = signatures[i].size;
		upload.signatures[i] = &messages[i];
	}
	upload.n_signatures = n;
	r = push(node, &upload, options, arena, ret_bundle, err);
	if (r == 0)
		(void)TAKE_PTR(arena);
	return r;
}

int bpfleet_push(struct bpfleet *node, const void *bytes, size_t size,
		 const struct bpfleet_signature *signatures, size_t n_signatures,
		 const struct bpfleet_push_options *options,
		 const struct bpfleet_bundle **ret_bundle, struct bpfleet_error *error)
{
	struct error err = { 0 };
	int r;

	r = push_bytes(node, bytes, size, signatures, n_signatures, options, ret_bundle, &err);
	return lib_result(r, &err, error);
}

static int push_file(struct bpfleet *node, const char *path, const char *const *signature_paths,
		     size_t n, const struct bpfleet_push_options *options,
		     const struct bpfleet_bundle **ret_bundle, struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	_cleanup_free_ uint8_t *bytes = NULL;
	struct upload upload = { 0 };
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = file_read(path, BUNDLE_SIZE_MAX, &bytes, &upload.size, err);
	if (r < 0)
		return r;
	upload.bytes = bytes;
	r = upload_read_signatures(path, signature_paths, n, arena, &upload.signatures,
				   &upload.n_signatures, err);
	if (r < 0)
		return r;
	r = push(node, &upload, options, arena, ret_bundle, err);
	if (r == 0)
		(void)TAKE_PTR(arena);
	return r;
}

int bpfleet_push_file(struct bpfleet *node, const char *path, const char *const *signature_paths,
		      size_t n_signature_paths, const struct bpfleet_push_options *options,
		      const struct bpfleet_bundle **ret_bundle, struct bpfleet_error *error)
{
	struct error err = { 0 };
	int r;

	r = push_file(node, path, signature_paths, n_signature_paths, options, ret_bundle, &err);
	return lib_result(r, &err, error);
}

/* One call of which only the success matters. */
static int call(struct bpfleet *node, const char *method, const ProtobufCMessage *request,
		struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	ProtobufCMessage *response;

	if (arena == NULL)
		return no_memory(err);
	return node_call(node->node, method, request, arena, &response, err);
}

int bpfleet_remove_bundle(struct bpfleet *node, const char *bundle, struct bpfleet_error *error)
{
	Bpfleet__V1__RemoveBundleRequest request = BPFLEET__V1__REMOVE_BUNDLE_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	struct error err = { 0 };
	int r;

	request.name = name;
	request.request_id = request_id;
	r = ref_bundle(bundle, name, &err);
	if (r == 0)
		r = node_request_id(request_id, &err);
	if (r == 0)
		r = call(node, "RemoveBundle", &request.base, &err);
	return lib_result(r, &err, error);
}

int bpfleet_detach(struct bpfleet *node, const char *link, struct bpfleet_error *error)
{
	Bpfleet__V1__DetachRequest request = BPFLEET__V1__DETACH_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	struct error err = { 0 };
	int r;

	request.link = name;
	request.request_id = request_id;
	r = ref_link(link, name, &err);
	if (r == 0)
		r = node_request_id(request_id, &err);
	if (r == 0)
		r = call(node, "Detach", &request.base, &err);
	return lib_result(r, &err, error);
}

int bpfleet_unload(struct bpfleet *node, const char *instance, struct bpfleet_error *error)
{
	Bpfleet__V1__UnloadRequest request = BPFLEET__V1__UNLOAD_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	struct error err = { 0 };
	int r;

	request.instance = name;
	request.request_id = request_id;
	r = ref_instance(instance, name, &err);
	if (r == 0)
		r = node_request_id(request_id, &err);
	if (r == 0)
		r = call(node, "Unload", &request.base, &err);
	return lib_result(r, &err, error);
}

int bpfleet_rollback(struct bpfleet *node, const char *instance, struct bpfleet_error *error)
{
	Bpfleet__V1__RollbackRequest request = BPFLEET__V1__ROLLBACK_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	struct error err = { 0 };
	int r;

	request.instance = name;
	request.request_id = request_id;
	r = ref_instance(instance, name, &err);
	if (r == 0)
		r = node_request_id(request_id, &err);
	if (r == 0)
		r = call(node, "Rollback", &request.base, &err);
	return lib_result(r, &err, error);
}

int bpfleet_commit(struct bpfleet *node, const char *instance, struct bpfleet_error *error)
{
	Bpfleet__V1__CommitRequest request = BPFLEET__V1__COMMIT_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	struct error err = { 0 };
	int r;

	request.instance = name;
	request.request_id = request_id;
	r = ref_instance(instance, name, &err);
	if (r == 0)
		r = node_request_id(request_id, &err);
	if (r == 0)
		r = call(node, "Commit", &request.base, &err);
	return lib_result(r, &err, error);
}

/* socket -1: none. ret_link NULL: not wanted. */
static int attach(struct bpfleet *node, const char *instance, const char *program,
		  const char *hook_text, int socket, const struct bpfleet_link **ret_link,
		  struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__AttachRequest request = BPFLEET__V1__ATTACH_REQUEST__INIT;
	char name[REF_SIZE], request_id[NODE_REQUEST_ID_LEN + 1];
	_cleanup_(hook_freep) struct hook *hook = NULL;
	Bpfleet__V1__AttachResponse *response;
	_cleanup_close_ int connection = -1;
	uint8_t ticket[FD_TICKET_LEN];
	ProtobufCMessage *answer;
	struct bpfleet_link *link;
	int r;

	if (arena == NULL)
		return no_memory(err);
	r = ref_program_of(instance, program, name, err);
	if (r == 0)
		r = node_request_id(request_id, err);
	if (r == 0)
		r = hook_parse(hook_text, &hook, err);
	if (r == 0)
		r = hook_to_message(hook, arena, &request.hook, err);
	if (r == 0 && socket >= 0)
		r = fd_hand_over(node->node, socket, &connection, ticket, err);
	if (r < 0)
		return r;
	request.program = name;
	request.request_id = request_id;
	if (socket >= 0)
		request.socket_ticket = (ProtobufCBinaryData){ sizeof(ticket), ticket };
	r = node_call(node->node, "Attach", &request.base, arena, &answer, err);
	if (r < 0 || ret_link == NULL)
		return r;
	response = (Bpfleet__V1__AttachResponse *)answer;
	if (response->link == NULL)
		return error_raise(err, ERROR_PROTOCOL, "Attach was answered without a link");
	link = lib_block(arena, 1, sizeof(*link));
	if (link == NULL)
		return no_memory(err);
	r = lib_link(arena, &response->link->base, link, err);
	if (r < 0)
		return r;
	(void)TAKE_PTR(arena);
	*ret_link = link;
	return 0;
}

int bpfleet_attach(struct bpfleet *node, const char *instance, const char *program,
		   const char *hook, const struct bpfleet_link **ret_link,
		   struct bpfleet_error *error)
{
	struct error err = { 0 };
	int r;

	r = attach(node, instance, program, hook, -1, ret_link, &err);
	return lib_result(r, &err, error);
}

int bpfleet_attach_socket(struct bpfleet *node, const char *instance, const char *program,
			  const char *hook, int socket, struct bpfleet_error *error)
{
	struct error err = { 0 };
	int r = socket < 0 ? error_raise(&err, ERROR_INVALID_ARGUMENT, "%d is no socket", socket)
			   : attach(node, instance, program, hook, socket, NULL, &err);

	return lib_result(r, &err, error);
}

int bpfleet_keep_lease(struct bpfleet *node, const char *instance,
		       const uint8_t token[BPFLEET_LEASE_TOKEN_BYTES], uint64_t *ret_ends_at_ns,
		       struct bpfleet_error *error)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(NODE_ARENA_LIMIT);
	Bpfleet__V1__KeepLeaseRequest request = BPFLEET__V1__KEEP_LEASE_REQUEST__INIT;
	ProtobufCMessage *response = NULL;
	struct error err = { 0 };
	char name[REF_SIZE];
	int r;

	r = arena == NULL ? no_memory(&err) : ref_instance(instance, name, &err);
	if (r == 0) {
		request.instance = name;
		request.lease_token.data = (uint8_t *)token;
		request.lease_token.len = BPFLEET_LEASE_TOKEN_BYTES;
		r = node_call(node->node, "KeepLease", &request.base, arena, &response, &err);
	}
	if (r == 0 && ret_ends_at_ns != NULL)
		*ret_ends_at_ns = ((Bpfleet__V1__KeepLeaseResponse *)response)->lease_ends_at_ns;
	return lib_result(r, &err, error);
}
