/*
 * One error object for all layers: raised where the cause is known, given context once for each
 * layer it crosses, turned into a gRPC status or an exit code at the edge. It owns no memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The codes of base/errors.def, ERROR_NONE first. */
enum error_code {
	ERROR_NONE = 0,
#define X(name, status, err, retryable, text) ERROR_##name,
#include "base/errors.def"
#undef X
	ERROR_N_CODES,
};

/* The status numbers of gRPC (https://grpc.io/docs/guides/status-codes/), by their gRPC names. */
enum error_status {
	ERROR_STATUS_OK = 0,
	ERROR_STATUS_CANCELLED = 1,
	ERROR_STATUS_UNKNOWN = 2,
	ERROR_STATUS_INVALID_ARGUMENT = 3,
	ERROR_STATUS_DEADLINE_EXCEEDED = 4,
	ERROR_STATUS_NOT_FOUND = 5,
	ERROR_STATUS_ALREADY_EXISTS = 6,
	ERROR_STATUS_PERMISSION_DENIED = 7,
	ERROR_STATUS_RESOURCE_EXHAUSTED = 8,
	ERROR_STATUS_FAILED_PRECONDITION = 9,
	ERROR_STATUS_ABORTED = 10,
	ERROR_STATUS_OUT_OF_RANGE = 11,
	ERROR_STATUS_UNIMPLEMENTED = 12,
	ERROR_STATUS_INTERNAL = 13,
	ERROR_STATUS_UNAVAILABLE = 14,
	ERROR_STATUS_DATA_LOSS = 15,
	ERROR_STATUS_UNAUTHENTICATED = 16,
};

/* What errors.def says about one code. `reason` is the stable name on the wire. */
struct error_info {
	const char *reason;
	enum error_status status;
	int sys_errno;
	bool retryable;
	const char *text;
};

#define ERROR_MESSAGE_MAX 1024
#define ERROR_DETAILS_MAX 6

struct error_detail {
	char key[32];
	char value[160];
};

/* A zeroed struct error is "no error". Strings are always terminated and cut to fit. */
struct error {
	enum error_code code;
	int sys_errno;			 /* of the failing system call, 0 if there was none */
	char message[ERROR_MESSAGE_MAX]; /* outermost context first, what to do next last */
	size_t n_details;
	struct error_detail details[ERROR_DETAILS_MAX]; /* become ErrorInfo.metadata */
};

/* The row of a code; an unknown code gives INTERNAL's. Never NULL. */
const struct error_info *error_info(enum error_code code);

/* The code of a reason as it came over the wire; ERROR_NONE if there is no such reason. */
enum error_code error_code_from_reason(const char *reason);

/* Name of a gRPC status number ("NOT_FOUND"); "UNKNOWN" outside 0..16. */
const char *error_status_name(int status);

/*
 * Fills err (which may be NULL) with code and message and returns the code's negative errno:
 *     return error_raise(err, ERROR_NOT_FOUND, "no instance '%s'", id);
 */
int error_raise(struct error *err, enum error_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a failed system call: notes sys_errno (positive) and appends ": " and its name. */
int error_raise_errno(struct error *err, enum error_code code, int sys_errno, const char *format,
		      ...) __attribute__((format(printf, 4, 5)));

/* Puts "context: " before the message; returns r, so that it ends a statement as error_raise does.
 */
int error_context(struct error *err, int r, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Adds a detail; beyond ERROR_DETAILS_MAX it is dropped. */
void error_detail(struct error *err, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Name of an errno ("ENOENT"), kernel-internal ones (ENOTSUPP 524) included; "E?" if unknown. */
const char *error_errno_name(int sys_errno);
