/*
 * The one place where errors become gRPC statuses and back: status code,
 * message, and grpc-status-details-bin, which is a google.rpc.Status with one
 * google.rpc.ErrorInfo {reason, domain "bpfleet", metadata}. On the wire all of
 * it stays under 4 KB: beyond about 8 KB clients drop the status itself.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct error;

#define RPC_STATUS_DOMAIN "bpfleet"
#define RPC_STATUS_DETAILS_KEY "grpc-status-details-bin"
#define RPC_STATUS_MESSAGE_MAX 1000 /* as percent-encoded on the wire */
#define RPC_STATUS_DETAILS_MAX 2250 /* before base64 */

struct rpc_status {
	int code; /* gRPC's number */
	char message[RPC_STATUS_MESSAGE_MAX + 1];
	uint8_t details[RPC_STATUS_DETAILS_MAX]; /* empty for success */
	size_t n_details;
};

/* Text that does not fit is cut at a character; bytes that are not UTF-8 become
 * '?'. */
void rpc_status_from_error(const struct error *error, struct rpc_status *ret);

/*
 * Fills err from a status that is not OK and returns the negative errno of its
 * code. Without details of ours the code is the closest for the gRPC code.
 * details may be NULL. What comes is untrusted and may be malformed.
 */
int rpc_status_to_error(int code, const char *message, const uint8_t *details, size_t n_details,
			struct error *err);
