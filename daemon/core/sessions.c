#include "base/error.h"
#include "daemon/core/convert.h"
#include "daemon/core/methods.h"
#include "daemon/core/session.h"
#include "proto/arena.h"

int serve_open_session(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	Bpfleet__Ipc__OpenSessionReply *response = arena_alloc(request->arena, sizeof(*response));
	struct session *session;
	int r;

	if (request->frame.fd < 0)
		return error_raise(err, ERROR_PROTOCOL, "no connection came with OpenSession");
	if (response == NULL)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "open a session");
	bpfleet__ipc__open_session_reply__init(response);
	r = session_open(request->core->sessions, request->frame.fd, &session, err);
	if (r < 0)
		return r;
	request->frame.fd = -1;
	response->identity = convert_text(request->arena, session_identity(session));
	r = convert_bytes(request->arena, session_id(session), SESSION_ID_LEN, &response->session,
			  err);
	*ret_response = &response->base;
	return r;
}

int serve_close_session(struct request *request, ProtobufCMessage **ret_response, struct error *err)
{
	(void)ret_response;
	(void)err;
	session_close(request->core->sessions, request->session);
	return REQUEST_DONE;
}
