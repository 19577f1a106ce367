#define _GNU_SOURCE
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct error_info infos[ERROR_N_CODES] = {
	[ERROR_NONE] = { "NONE", ERROR_STATUS_OK, 0, false, "no error" },
#define X(name, status, err, retryable, text) \
	[ERROR_##name] = { #name, ERROR_STATUS_##status, err, retryable, text },
#include "base/errors.def"
#undef X
};

static const char *const status_names[] = {
	"OK",
	"CANCELLED",
	"UNKNOWN",
	"INVALID_ARGUMENT",
	"DEADLINE_EXCEEDED",
	"NOT_FOUND",
	"ALREADY_EXISTS",
	"PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION",
	"ABORTED",
	"OUT_OF_RANGE",
	"UNIMPLEMENTED",
	"INTERNAL",
	"UNAVAILABLE",
	"DATA_LOSS",
	"UNAUTHENTICATED",
};

const struct error_info *error_info(enum error_code code)
{
	if ((unsigned int)code >= ERROR_N_CODES)
		code = ERROR_INTERNAL;
	return &infos[code];
}

enum error_code error_code_from_reason(const char *reason)
{
	for (unsigned int i = 1; i < ERROR_N_CODES; i++) {
		if (strcmp(infos[i].reason, reason) == 0)
			return (enum error_code)i;
	}
	return ERROR_NONE;
}

const char *error_status_name(int status)
{
	if (status < 0 || (size_t)status >= sizeof(status_names) / sizeof(status_names[0]))
		return "UNKNOWN";
	return status_names[status];
}

const char *error_errno_name(int sys_errno)
{
	const char *name = strerrorname_np(sys_errno);

	if (name != NULL)
		return name;
	/* Kernel-internal, and yet bpf(2) lets it out (include/linux/errno.h). */
	if (sys_errno == 524)
		return "ENOTSUPP";
	return "E?";
}

int error_raise(struct error *err, enum error_code code, const char *format, ...)
{
	va_list args;

	if (err != NULL) {
		*err = (struct error){ .code = code };
		va_start(args, format);
		(void)vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
	}
	return -error_info(code)->sys_errno;
}

int error_raise_errno(struct error *err, enum error_code code, int sys_errno, const char *format,
		      ...)
{
	va_list args;
	size_t used;

	if (err != NULL) {
		*err = (struct error){ .code = code, .sys_errno = sys_errno };
		va_start(args, format);
		(void)vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
		used = strlen(err->message);
		(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
			       error_errno_name(sys_errno));
	}
	return -error_info(code)->sys_errno;
}

int error_context(struct error *err, int r, const char *format, ...)
{
	char inner[ERROR_MESSAGE_MAX];
	va_list args;
	size_t used;

	if (err == NULL)
		return r;
	memcpy(inner, err->message, sizeof(inner));
	va_start(args, format);
	(void)vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", inner);
	return r;
}

void error_detail(struct error *err, const char *key, const char *format, ...)
{
	struct error_detail *detail;
	va_list args;

	if (err == NULL || err->n_details >= ERROR_DETAILS_MAX)
		return;
	detail = &err->details[err->n_details++];
	(void)snprintf(detail->key, sizeof(detail->key), "%s", key);
	va_start(args, format);
	(void)vsnprintf(detail->value, sizeof(detail->value), format, args);
	va_end(args);
}
