#include "daemon/front/service.h"

#include "bpfleet/v1/node.pb-c.h"
#include "daemon/front/events.h"
#include "daemon/front/forward.h"
#include "daemon/front/iterator.h"
#include "daemon/front/mapcall.h"
#include "daemon/front/mapwrite.h"
#include "daemon/front/push.h"
#include "daemon/front/statistics.h"
#include "daemon/front/watch.h"
#include "rpc/server.h"

#define MIB ((size_t)1 << 20)

#define UNARY(method, call, ...)                                                              \
	{                                                                                     \
		.name = method, .kind = RPC_UNARY, .on_call = call,                           \
		.on_cancelled = forward_on_cancelled, .on_done = forward_on_done, __VA_ARGS__ \
	}
#define FORWARD(method, ...) UNARY(method, forward_on_call, __VA_ARGS__)
#define MAP_WRITE(method, message_bytes, arena_bytes)                                  \
	{                                                                              \
		.name = method, .kind = RPC_UNARY, .max_message_bytes = message_bytes, \
		.max_arena_bytes = arena_bytes, .on_call = mapwrite_on_call,           \
		.on_cancelled = forward_on_cancelled, .on_done = mapwrite_on_done      \
	}
#define SERVER_STREAM(method, prefix)                                              \
	{                                                                          \
		.name = method, .kind = RPC_SERVER_STREAM, .max_send_queue = 1,    \
		.on_call = prefix##_on_call, .on_writable = prefix##_on_writable,  \
		.on_cancelled = prefix##_on_cancelled, .on_done = prefix##_on_done \
	}

static const struct rpc_method methods[] = {
	{ .name = "PushBundle",
	  .kind = RPC_CLIENT_STREAM,
	  .on_call = push_on_call,
	  .on_message = push_on_message,
	  .on_half_close = push_on_half_close,
	  .on_cancelled = push_on_cancelled,
	  .on_done = push_on_done },
	UNARY("GetUpload", get_upload_on_call),
	FORWARD("ListBundles"),
	FORWARD("GetBundle"),
	FORWARD("RemoveBundle"),
	FORWARD("Load"),
	{ .name = "Attach",
	  .kind = RPC_UNARY,
	  .on_call = attach_on_call,
	  .on_cancelled = attach_on_cancelled,
	  .on_done = attach_on_done },
	FORWARD("Detach"),
	FORWARD("Unload"),
	FORWARD("Replace"),
	FORWARD("Rollback"),
	FORWARD("Commit"),
	FORWARD("KeepLease"),
	FORWARD("GetInstance"),
	FORWARD("ListInstances"),
	FORWARD("GetProgram"),
	FORWARD("ListPrograms"),
	FORWARD("GetLink"),
	FORWARD("ListLinks"),
	FORWARD("GetMap"),
	FORWARD("ListMaps"),
	SERVER_STREAM("Watch", watch),
	{ .name = "LookupMap",
	  .kind = RPC_UNARY,
	  .max_message_bytes = MIB,
	  .max_arena_bytes = 16 * MIB,
	  .on_call = lookup_on_call,
	  .on_cancelled = forward_on_cancelled,
	  .on_done = lookup_on_done },
	SERVER_STREAM("DumpMap", dump),
	MAP_WRITE("UpdateMap", 4 * MIB, 16 * MIB),
	MAP_WRITE("DeleteMapKeys", MIB, 4 * MIB),
	MAP_WRITE("PopMap", MIB, 16 * MIB),
	FORWARD("OpenMap"),
	SERVER_STREAM("StreamEvents", events),
	SERVER_STREAM("ReadIterator", iterator),
	FORWARD("RunProgram", .max_message_bytes = 128 * 1024),
	UNARY("GetStatus", status_on_call),
	FORWARD("ListForeignPrograms"),
	FORWARD("QueryAudit"),
	UNARY("GetStatistics", get_statistics_on_call),
	SERVER_STREAM("StreamStatistics", statistics),
	FORWARD("ListQuarantine"),
	FORWARD("ReleaseQuarantine"),
	UNARY("CollectGarbage", garbage_on_call),
};

const struct rpc_service node_service = {
	.descriptor = &bpfleet__v1__node_service__descriptor,
	.methods = methods,
	.n_methods = sizeof(methods) / sizeof(methods[0]),
};
