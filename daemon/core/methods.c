#include "daemon/core/methods.h"

#include <stddef.h>
#include <string.h>

#include "bundle/format.h"

#define KIB ((size_t)1024)
#define MIB ((size_t)1024 * 1024)

/* The name of a NodeService method is also that of its request message. */
#define READS(method, verb, message_name, function, bytes)                     \
	{                                                                      \
		.name = method, .audit_verb = verb,                            \
		.message = &bpfleet__v1__##message_name##_request__descriptor, \
		.arena_bytes = (bytes), .serve = function,                     \
	}
#define CHANGES(method, verb, message_name, type, function, bytes)                       \
	{                                                                                \
		.name = method, .audit_verb = verb,                                      \
		.message = &bpfleet__v1__##message_name##_request__descriptor,           \
		.arena_bytes = (bytes), .flags = METHOD_CHANGES,                         \
		.request_id_offset = offsetof(Bpfleet__V1__##type##Request, request_id), \
		.serve = function,                                                       \
	}
#define INTERNAL(method, verb, message_descriptor, function, bytes, method_flags)   \
	{                                                                           \
		.name = method, .audit_verb = verb, .message = message_descriptor,  \
		.arena_bytes = (bytes), .flags = (method_flags), .serve = function, \
	}

static const struct method methods[] = {
	CHANGES("Load", "load", load, Load, serve_load, 8 * MIB),
	CHANGES("Attach", "attach", attach, Attach, serve_attach, 512 * KIB),
	CHANGES("Detach", "detach", detach, Detach, serve_detach, 64 * KIB),
	CHANGES("Unload", "unload", unload, Unload, serve_unload, 64 * KIB),
	CHANGES("Replace", "replace", replace, Replace, serve_replace, 16 * MIB),
	CHANGES("Rollback", "replace", rollback, Rollback, serve_rollback, 8 * MIB),
	CHANGES("Commit", "replace", commit, Commit, serve_commit, 1 * MIB),
	CHANGES("RemoveBundle", "remove", remove_bundle, RemoveBundle, serve_remove_bundle,
		64 * KIB),
	CHANGES("UpdateMap", "write", update_map, UpdateMap, serve_update_map, 16 * MIB),
	CHANGES("DeleteMapKeys", "write", delete_map_keys, DeleteMapKeys, serve_delete_map_keys,
		4 * MIB),
	CHANGES("PopMap", "write", pop_map, PopMap, serve_pop_map, 4 * MIB),
	READS("KeepLease", "view", keep_lease, serve_keep_lease, 64 * KIB),
	READS("ListBundles", "view", list_bundles, serve_list_bundles, 16 * MIB),
	READS("GetBundle", "view", get_bundle, serve_get_bundle, BUNDLE_ARENA_LIMIT + 20 * MIB),
	READS("GetInstance", "view", get_instance, serve_get_instance, 2 * MIB),
	READS("ListInstances", "view", list_instances, serve_list_instances, 64 * MIB),
	READS("GetProgram", "view", get_program, serve_get_program, 1 * MIB),
	READS("ListPrograms", "view", list_programs, serve_list_programs, 64 * MIB),
	READS("GetMap", "view", get_map, serve_get_map, 20 * MIB),
	READS("ListMaps", "view", list_maps, serve_list_maps, 64 * MIB),
	READS("GetLink", "view", get_link, serve_get_link, 256 * KIB),
	READS("ListLinks", "view", list_links, serve_list_links, 32 * MIB),
	READS("OpenMap", "read", open_map, serve_open_map, 1 * MIB),
	CHANGES("RunProgram", "run", run_program, RunProgram, serve_run_program, 512 * KIB),
	READS("GetStatus", "view", get_status, serve_get_status, 256 * KIB),
	READS("GetStatistics", "view", get_statistics, serve_get_statistics, 64 * MIB),
	READS("StreamStatistics", "view", stream_statistics, serve_stream_statistics, 64 * MIB),
	READS("ListQuarantine", "view", list_quarantine, serve_list_quarantine, 4 * MIB),
	CHANGES("ReleaseQuarantine", "quarantine", release_quarantine, ReleaseQuarantine,
		serve_release_quarantine, 64 * KIB),
	READS("ListForeignPrograms", "audit", list_foreign_programs, serve_list_foreign_programs,
	      16 * MIB),
	READS("QueryAudit", "audit", query_audit, serve_query_audit, 16 * MIB),
	{
		.name = "CollectGarbage",
		.audit_verb = "gc",
		.message = &bpfleet__v1__collect_garbage_request__descriptor,
		.arena_bytes = 4 * MIB,
		.flags = METHOD_CHANGES,
		.serve = serve_collect_garbage,
	},
	{
		.name = "StoreBundle",
		.audit_verb = "push",
		.message = &bpfleet__ipc__store_bundle_request__descriptor,
		.arena_bytes = 2 * MIB,
		.flags = METHOD_CHANGES,
		.request_id_offset = offsetof(Bpfleet__Ipc__StoreBundleRequest, request_id),
		.serve = serve_store_bundle,
	},
	INTERNAL("OpenSession", "connect", NULL, serve_open_session, 16 * KIB, METHOD_NO_SESSION),
	INTERNAL("CloseSession", "connect", NULL, serve_close_session, 16 * KIB, 0),
	INTERNAL("CountEvents", "connect", &bpfleet__ipc__count_events_request__descriptor,
		 serve_count_events, 8 * MIB, METHOD_NO_SESSION),
	INTERNAL("ResolveLink", "connect", &bpfleet__ipc__resolve_link_request__descriptor,
		 serve_resolve_link, 256 * KIB, METHOD_NO_SESSION),
	INTERNAL("GrantMap", "read", &bpfleet__ipc__grant_map_request__descriptor, serve_grant_map,
		 1 * MIB, 0),
	INTERNAL("GrantCounter", "read", &bpfleet__ipc__grant_map_request__descriptor,
		 serve_grant_counter, 1 * MIB, 0),
	INTERNAL("GrantPerf", "read", &bpfleet__ipc__grant_perf_request__descriptor,
		 serve_grant_perf, 64 * KIB, 0),
	INTERNAL("RedeemTicket", "read", &bpfleet__ipc__redeem_ticket_request__descriptor,
		 serve_redeem_ticket, 1 * MIB, 0),
	INTERNAL("GrantIterator", "read", &bpfleet__v1__read_iterator_request__descriptor,
		 serve_grant_iterator, 64 * KIB, 0),
	INTERNAL("Changes", "view", &bpfleet__ipc__changes_request__descriptor, serve_changes,
		 32 * MIB, 0),
};

const struct method *method_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	}
	return NULL;
}
