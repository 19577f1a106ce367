#include "rpc/reflection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "descriptor.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/arena.h"
#include "rpc/server.h"

#define MAX_REQUEST_BYTES 4096
#define MAX_SET_ARENA_BYTES (16U * 1024U * 1024U)
#define MAX_NAME_BYTES 512
#define V1ALPHA_NAME "grpc.reflection.v1alpha.ServerReflection"

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define REQUEST(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define RESPONSE(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

struct rpc_reflection {
	struct arena *arena;
	const Bpfleet__Rpc__FileSet *set;
	const Bpfleet__Rpc__File **files; /* as set->files */
	const char *const *services;
	size_t n_services;
	struct rpc_method method;
	struct rpc_service v1;
	struct rpc_service v1alpha;
	/* The messages of both versions are alike, so v1alpha is v1 under another
	 * name. */
	ProtobufCServiceDescriptor v1alpha_descriptor;
};

/* ---- finding */

/* If `name` is `part`, or begins with it and a dot, what follows ("" or the
 * rest); else NULL. */
static const char *name_after(const char *name, const char *part)
{
	size_t n = strlen(part);

	if (n == 0)
		return name;
	if (strncmp(name, part, n) != 0)
		return NULL;
	if (name[n] == '.')
		return name + n + 1;
	return name[n] == '\0' ? name + n : NULL;
}

static bool named_has(Bpfleet__Rpc__Named *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(list[i]->name, name) == 0)
			return true;
	}
	return false;
}

/* Enum values are named beside their enum, not inside it. */
static bool enums_have(Bpfleet__Rpc__Enum *const *enums, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(enums[i]->name, name) == 0 ||
		    named_has(enums[i]->values, enums[i]->n_values, name))
			return true;
	}
	return false;
}

static bool types_have(Bpfleet__Rpc__Type *const *types, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		const Bpfleet__Rpc__Type *type = types[i];
		const char *rest = name_after(name, type->name);

		if (rest != NULL &&
		    (*rest == '\0' || named_has(type->fields, type->n_fields, rest) ||
		     named_has(type->oneofs, type->n_oneofs, rest) ||
		     enums_have(type->enums, type->n_enums, rest) ||
		     types_have(type->types, type->n_types, rest)))
			return true;
	}
	return false;
}

static bool services_have(Bpfleet__Rpc__Service *const *services, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		const char *rest = name_after(name, services[i]->name);

		if (rest != NULL && (*rest == '\0' ||
				     named_has(services[i]->methods, services[i]->n_methods, rest)))
			return true;
	}
	return false;
}

static bool file_has(const Bpfleet__Rpc__File *file, const char *symbol)
{
	const char *name = name_after(symbol, file->package);

	return name != NULL && *name != '\0' &&
	       (types_have(file->types, file->n_types, name) ||
		enums_have(file->enums, file->n_enums, name) ||
		services_have(file->services, file->n_services, name));
}

static bool type_exists(const struct rpc_reflection *reflection, const char *name)
{
	for (size_t i = 0; i < reflection->set->n_files; i++) {
		const Bpfleet__Rpc__File *file = reflection->files[i];
		const char *rest = name_after(name, file->package);

		if (rest != NULL && *rest != '\0' && types_have(file->types, file->n_types, rest))
			return true;
	}
	return false;
}

/* ---- answering */

struct answer {
	struct rpc_call *call;
	const struct rpc_reflection *reflection;
	reflection_response response;
};

static void answer_send(const struct answer *answer)
{
	struct error error = { 0 };

	if (rpc_call_send(answer->call, &answer->response.base) >= 0)
		return;
	(void)error_raise(&error, ERROR_OUT_OF_MEMORY, "cannot send an answer");
	(void)rpc_call_fail(answer->call, &error);
}

static void answer_error(struct answer *answer, enum error_status status, const char *text,
			 const char *name)
{
	Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
	char message[MAX_NAME_BYTES + 64];

	(void)snprintf(message, sizeof(message), "%s '%.*s'", text, MAX_NAME_BYTES, name);
	error.error_code = (int32_t)status;
	error.error_message = message;
	answer->response.message_response_case = RESPONSE(ERROR_RESPONSE);
	answer->response.error_response = &error;
	answer_send(answer);
}

static void files_add(const struct rpc_reflection *reflection, size_t index, bool *seen,
		      ProtobufCBinaryData *list, size_t *n)
{
	const Bpfleet__Rpc__File *file = reflection->files[index];

	if (seen[index])
		return;
	seen[index] = true;
	list[(*n)++] = reflection->set->files[index];
	for (size_t d = 0; d < file->n_dependencies; d++) {
		for (size_t i = 0; i < reflection->set->n_files; i++) {
			if (strcmp(reflection->files[i]->name, file->dependencies[d]) == 0)
				files_add(reflection, i, seen, list, n);
		}
	}
}

static void answer_file(struct answer *answer, size_t index)
{
	const struct rpc_reflection *reflection = answer->reflection;
	struct arena *arena = rpc_call_arena(answer->call);
	size_t n_files = reflection->set->n_files;
	bool *seen = arena_alloc(arena, n_files * sizeof(bool));
	ProtobufCBinaryData *list = arena_alloc(arena, n_files * sizeof(*list));
	Grpc__Reflection__V1__FileDescriptorResponse files =
		GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;

	if (seen == NULL || list == NULL) {
		answer_error(answer, ERROR_STATUS_RESOURCE_EXHAUSTED, "out of memory", "");
		return;
	}
	files_add(reflection, index, seen, list, &files.n_file_descriptor_proto);
	files.file_descriptor_proto = list;
	answer->response.message_response_case = RESPONSE(FILE_DESCRIPTOR_RESPONSE);
	answer->response.file_descriptor_response = &files;
	answer_send(answer);
}

static void answer_filename(struct answer *answer, const char *name)
{
	for (size_t i = 0; i < answer->reflection->set->n_files; i++) {
		if (strcmp(answer->reflection->files[i]->name, name) == 0) {
			answer_file(answer, i);
			return;
		}
	}
	answer_error(answer, ERROR_STATUS_NOT_FOUND, "no file", name);
}

static void answer_symbol(struct answer *answer, const char *symbol)
{
	for (size_t i = 0; i < answer->reflection->set->n_files; i++) {
		if (file_has(answer->reflection->files[i], symbol)) {
			answer_file(answer, i);
			return;
		}
	}
	answer_error(answer, ERROR_STATUS_NOT_FOUND, "no symbol", symbol);
}

/* Messages of proto3 have no extensions: of a type that exists, there are none.
 */
static void answer_extension_numbers(struct answer *answer, const char *type)
{
	Grpc__Reflection__V1__ExtensionNumberResponse numbers =
		GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;

	if (!type_exists(answer->reflection, type)) {
		answer_error(answer, ERROR_STATUS_NOT_FOUND, "no type", type);
		return;
	}
	numbers.base_type_name = (char *)(uintptr_t)type;
	answer->response.message_response_case = RESPONSE(ALL_EXTENSION_NUMBERS_RESPONSE);
	answer->response.all_extension_numbers_response = &numbers;
	answer_send(answer);
}

static void answer_services(struct answer *answer)
{
	const struct rpc_reflection *reflection = answer->reflection;
	struct arena *arena = rpc_call_arena(answer->call);
	size_t n = reflection->n_services;
	Grpc__Reflection__V1__ServiceResponse *services = arena_alloc(arena, n * sizeof(*services));
	Grpc__Reflection__V1__ServiceResponse **pointers = arena_alloc(arena, n * sizeof(void *));
	Grpc__Reflection__V1__ListServiceResponse list =
		GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;

	if (services == NULL || pointers == NULL) {
		answer_error(answer, ERROR_STATUS_RESOURCE_EXHAUSTED, "out of memory", "");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		grpc__reflection__v1__service_response__init(&services[i]);
		services[i].name = (char *)(uintptr_t)reflection->services[i];
		pointers[i] = &services[i];
	}
	list.n_service = n;
	list.service = pointers;
	answer->response.message_response_case = RESPONSE(LIST_SERVICES_RESPONSE);
	answer->response.list_services_response = &list;
	answer_send(answer);
}

static void answer_request(struct answer *answer, const reflection_request *request)
{
	switch (request->message_request_case) {
	case REQUEST(FILE_BY_FILENAME):
		answer_filename(answer, request->file_by_filename);
		return;
	case REQUEST(FILE_CONTAINING_SYMBOL):
		answer_symbol(answer, request->file_containing_symbol);
		return;
	case REQUEST(FILE_CONTAINING_EXTENSION):
		answer_error(answer, ERROR_STATUS_NOT_FOUND, "no extension of type",
			     request->file_containing_extension->containing_type);
		return;
	case REQUEST(ALL_EXTENSION_NUMBERS_OF_TYPE):
		answer_extension_numbers(answer, request->all_extension_numbers_of_type);
		return;
	case REQUEST(LIST_SERVICES):
		answer_services(answer);
		return;
	case REQUEST(_NOT_SET):
	case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
		break;
	}
	answer_error(answer, ERROR_STATUS_INVALID_ARGUMENT, "nothing was asked of", request->host);
}

static void on_call(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	(void)message;
	(void)user;
	(void)rpc_call_receive(call);
}

/* The send queue holds one: the next question is read when the answer before it
 * is on its way. */
static void on_message(struct rpc_call *call, const ProtobufCMessage *message, void *user)
{
	const reflection_request *request = (const void *)message;
	struct answer answer = {
		.call = call,
		.reflection = user,
		.response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT,
	};

	answer.response.valid_host = request->host;
	answer.response.original_request = (reflection_request *)(uintptr_t)request;
	answer_request(&answer, request);
	if (rpc_call_send_queue(call) == 0)
		(void)rpc_call_receive(call);
}

static void on_writable(struct rpc_call *call, void *user)
{
	(void)user;
	(void)rpc_call_receive(call);
}

static void on_half_close(struct rpc_call *call, void *user)
{
	(void)user;
	(void)rpc_call_finish(call);
}

/* ---- life */

static int files_parse(struct rpc_reflection *reflection, struct error *err)
{
	const Bpfleet__Rpc__FileSet *set = reflection->set;

	reflection->files = arena_alloc(reflection->arena, set->n_files * sizeof(void *));
	if (reflection->files == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot read descriptors");
	for (size_t i = 0; i < set->n_files; i++) {
		ProtobufCMessage *file;
		int r = arena_unpack(reflection->arena, &bpfleet__rpc__file__descriptor,
				     set->files[i].data, set->files[i].len, &file, err);

		if (r < 0)
			return r;
		reflection->files[i] = (const Bpfleet__Rpc__File *)file;
	}
	return 0;
}

int rpc_reflection_new(const uint8_t *descriptor_set, size_t n_descriptor_set,
		       const char *const *services, size_t n_services, struct rpc_reflection **ret,
		       struct error *err)
{
	_cleanup_(rpc_reflection_freep) struct rpc_reflection *reflection =
		calloc(1, sizeof(*reflection));
	ProtobufCMessage *set;
	int r;

	if (reflection == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot read descriptors");
	reflection->arena = arena_new(MAX_SET_ARENA_BYTES);
	if (reflection->arena == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "cannot read descriptors");
	r = arena_unpack(reflection->arena, &bpfleet__rpc__file_set__descriptor, descriptor_set,
			 n_descriptor_set, &set, err);
	if (r < 0)
		return error_context(err, r, "descriptor set");
	reflection->set = (const Bpfleet__Rpc__FileSet *)set;
	r = files_parse(reflection, err);
	if (r < 0)
		return error_context(err, r, "descriptor set");
	reflection->services = services;
	reflection->n_services = n_services;
	reflection->method = (struct rpc_method){ .name = "ServerReflectionInfo",
						  .kind = RPC_BIDI,
						  .max_message_bytes = MAX_REQUEST_BYTES,
						  .max_send_queue = 1,
						  .on_call = on_call,
						  .on_message = on_message,
						  .on_half_close = on_half_close,
						  .on_writable = on_writable,
						  .user = reflection };
	reflection->v1 = (struct rpc_service){
		.descriptor = &grpc__reflection__v1__server_reflection__descriptor,
		.methods = &reflection->method,
		.n_methods = 1,
	};
	reflection->v1alpha = reflection->v1;
	reflection->v1alpha_descriptor = *reflection->v1.descriptor;
	reflection->v1alpha_descriptor.name = V1ALPHA_NAME;
	reflection->v1alpha.descriptor = &reflection->v1alpha_descriptor;
	*ret = TAKE_PTR(reflection);
	return 0;
}

void rpc_reflection_free(struct rpc_reflection *reflection)
{
	if (reflection == NULL)
		return;
	arena_free(reflection->arena);
	free(reflection);
}

const struct rpc_service *rpc_reflection_v1(const struct rpc_reflection *reflection)
{
	return &reflection->v1;
}

const struct rpc_service *rpc_reflection_v1alpha(const struct rpc_reflection *reflection)
{
	return &reflection->v1alpha;
}
