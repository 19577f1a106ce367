/* What the rows of the method table call; each is described in proto/bpfleet/v1/node.proto. */
#pragma once

#include "daemon/core/request.h"

#define METHOD_SERVE(name) \
	int name(struct request *request, ProtobufCMessage **ret_response, struct error *err)

/* sessions.c */
METHOD_SERVE(serve_open_session);
METHOD_SERVE(serve_close_session);
/* bundles.c */
METHOD_SERVE(serve_store_bundle);
METHOD_SERVE(serve_list_bundles);
METHOD_SERVE(serve_get_bundle);
METHOD_SERVE(serve_remove_bundle);
/* load.c, attach.c, detach.c, unload.c, lease.c */
METHOD_SERVE(serve_load);
METHOD_SERVE(serve_attach);
METHOD_SERVE(serve_detach);
METHOD_SERVE(serve_unload);
METHOD_SERVE(serve_keep_lease);
METHOD_SERVE(serve_count_events);
/* reattach.c */
METHOD_SERVE(serve_resolve_link);
/* replace.c, rollback.c */
METHOD_SERVE(serve_replace);
METHOD_SERVE(serve_rollback);
METHOD_SERVE(serve_commit);
/* view.c, changes.c */
METHOD_SERVE(serve_get_instance);
METHOD_SERVE(serve_list_instances);
METHOD_SERVE(serve_get_program);
METHOD_SERVE(serve_list_programs);
METHOD_SERVE(serve_get_link);
METHOD_SERVE(serve_list_links);
METHOD_SERVE(serve_get_map);
METHOD_SERVE(serve_list_maps);
METHOD_SERVE(serve_changes);
/* grants.c, entries.c */
METHOD_SERVE(serve_grant_map);
METHOD_SERVE(serve_grant_counter);
METHOD_SERVE(serve_grant_perf);
METHOD_SERVE(serve_open_map);
METHOD_SERVE(serve_redeem_ticket);
METHOD_SERVE(serve_update_map);
METHOD_SERVE(serve_delete_map_keys);
METHOD_SERVE(serve_pop_map);
/* calls.c */
METHOD_SERVE(serve_run_program);
METHOD_SERVE(serve_grant_iterator);
/* statistics.c, quarantine.c */
METHOD_SERVE(serve_get_statistics);
METHOD_SERVE(serve_stream_statistics);
METHOD_SERVE(serve_list_quarantine);
METHOD_SERVE(serve_release_quarantine);
/* status.c */
METHOD_SERVE(serve_get_status);
METHOD_SERVE(serve_list_foreign_programs);
METHOD_SERVE(serve_query_audit);
METHOD_SERVE(serve_collect_garbage);
