#include "rpc/status.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "google/protobuf/any.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "proto/arena.h"

#define TYPE_URL "type.googleapis.com/google.rpc.ErrorInfo"
#define ERRNO_KEY "errno"
#define ERRNO_MAX 4095
#define MAX_METADATA (ERROR_DETAILS_MAX + 1)
#define DECODE_ARENA_BYTES 32768
/* Tags and lengths around the message text in a Status that holds one
 * ErrorInfo. */
#define STATUS_OVERHEAD 80

/* Length of the well-formed UTF-8 sequence at p (0: it is none). Surrogates and
 * overlong forms are none. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
	static const struct {
		unsigned char mask, lead;
		unsigned int min;
	} forms[] = { { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	if (p[0] < 0x80)
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t length = i + 2;
		unsigned int value = p[0] & (unsigned char)~forms[i].mask;

		if ((p[0] & forms[i].mask) != forms[i].lead || length > n)
			continue;
		for (size_t k = 1; k < length; k++) {
			if ((p[k] & 0xc0) != 0x80)
				return 0;
			value = value << 6 | (p[k] & 0x3f);
		}
		if (value < forms[i].min || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
			return 0;
		return length;
	}
	return 0;
}

/* gRPC percent-encodes everything but printable ASCII, and the percent sign. */
static size_t percent_size(const unsigned char *p, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += p[i] >= 0x20 && p[i] <= 0x7e && p[i] != '%' ? 1 : 3;
	return size;
}

/*
 * Copies text into out (which holds max + 1 bytes) as UTF-8, as many characters
 * as fit into max bytes, counted as gRPC encodes them if `percent`.
 */
static void text_copy(char *out, size_t max, const char *text, bool percent)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t n = strlen(text), used = 0;

	while (n > 0) {
		size_t length = utf8_length(p, n);
		unsigned char question = '?';
		const unsigned char *from = length > 0 ? p : &question;
		size_t n_out = length > 0 ? length : 1;
		size_t cost = percent ? percent_size(from, n_out) : n_out;

		if (used + cost > max)
			break;
		memcpy(out, from, n_out);
		out += n_out;
		used += cost;
		p += n_out;
		n -= n_out;
	}
	*out = '\0';
}

struct metadata_text {
	char key[32];
	char value[160];
};

/* ---- error to status */

static size_t metadata_fill(const struct error *error, struct metadata_text texts[MAX_METADATA],
			    Google__Rpc__ErrorInfo__MetadataEntry entries[MAX_METADATA],
			    Google__Rpc__ErrorInfo__MetadataEntry *pointers[MAX_METADATA])
{
	size_t n = 0;

	for (; n < error->n_details && n < ERROR_DETAILS_MAX; n++) {
		text_copy(texts[n].key, sizeof(texts[n].key) - 1, error->details[n].key, false);
		text_copy(texts[n].value, sizeof(texts[n].value) - 1, error->details[n].value,
			  false);
	}
	if (error->sys_errno != 0) {
		(void)snprintf(texts[n].key, sizeof(texts[n].key), ERRNO_KEY);
		(void)snprintf(texts[n].value, sizeof(texts[n].value), "%s",
			       error_errno_name(error->sys_errno));
		n++;
	}
	for (size_t i = 0; i < n; i++) {
		google__rpc__error_info__metadata_entry__init(&entries[i]);
		entries[i].key = texts[i].key;
		entries[i].value = texts[i].value;
		pointers[i] = &entries[i];
	}
	return n;
}

static void details_pack(const struct error *error, int code, struct rpc_status *ret)
{
	struct metadata_text texts[MAX_METADATA];
	Google__Rpc__ErrorInfo__MetadataEntry entries[MAX_METADATA];
	Google__Rpc__ErrorInfo__MetadataEntry *pointers[MAX_METADATA];
	Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *anys[] = { &any };
	uint8_t packed[MAX_METADATA * (sizeof(texts[0]) + 16) + 128];
	char message[ERROR_MESSAGE_MAX];
	size_t room;

	info.reason = (char *)(uintptr_t)error_info(error->code)->reason;
	info.domain = (char *)(uintptr_t)RPC_STATUS_DOMAIN;
	info.n_metadata = metadata_fill(error, texts, entries, pointers);
	info.metadata = pointers;
	any.type_url = (char *)(uintptr_t)TYPE_URL;
	any.value.data = packed;
	any.value.len = google__rpc__error_info__pack(&info, packed);
	room = sizeof(ret->details) - STATUS_OVERHEAD - any.value.len;
	text_copy(message, room < sizeof(message) ? room : sizeof(message) - 1, error->message,
		  false);
	status.code = code;
	status.message = message;
	status.n_details = 1;
	status.details = anys;
	ret->n_details = google__rpc__status__pack(&status, ret->details);
}

void rpc_status_from_error(const struct error *error, struct rpc_status *ret)
{
	ret->code = (int)error_info(error->code)->status;
	ret->n_details = 0;
	ret->message[0] = '\0';
	if (error->code == ERROR_NONE) {
		ret->code = ERROR_STATUS_OK;
		return;
	}
	text_copy(ret->message, RPC_STATUS_MESSAGE_MAX, error->message, true);
	details_pack(error, ret->code, ret);
}

/* ---- status to error */

static enum error_code code_of_status(int status)
{
	switch (status) {
	case ERROR_STATUS_CANCELLED:
		return ERROR_CANCELLED;
	case ERROR_STATUS_INVALID_ARGUMENT:
		return ERROR_INVALID_ARGUMENT;
	case ERROR_STATUS_DEADLINE_EXCEEDED:
		return ERROR_DEADLINE_EXCEEDED;
	case ERROR_STATUS_NOT_FOUND:
		return ERROR_NOT_FOUND;
	case ERROR_STATUS_ALREADY_EXISTS:
		return ERROR_ALREADY_EXISTS;
	case ERROR_STATUS_PERMISSION_DENIED:
		return ERROR_PERMISSION_DENIED;
	case ERROR_STATUS_RESOURCE_EXHAUSTED:
		return ERROR_LIMIT_EXCEEDED;
	case ERROR_STATUS_UNIMPLEMENTED:
		return ERROR_UNIMPLEMENTED;
	case ERROR_STATUS_UNAVAILABLE:
		return ERROR_UNAVAILABLE;
	case ERROR_STATUS_UNAUTHENTICATED:
		return ERROR_UNAUTHENTICATED;
	default:
		return ERROR_INTERNAL;
	}
}

static int errno_of_name(const char *name)
{
	for (int number = 1; number <= ERRNO_MAX; number++) {
		if (strcmp(error_errno_name(number), name) == 0)
			return number;
	}
	return 0;
}

static void metadata_take(const Google__Rpc__ErrorInfo *info, struct error *err)
{
	for (size_t i = 0; i < info->n_metadata; i++) {
		const char *key = info->metadata[i]->key;
		const char *value = info->metadata[i]->value;

		if (strcmp(key, ERRNO_KEY) == 0)
			err->sys_errno = errno_of_name(value);
		else
			error_detail(err, key, "%s", value);
	}
}

/* The first ErrorInfo of ours among the details; NULL if there is none. */
static const Google__Rpc__ErrorInfo *info_find(struct arena *arena,
					       const Google__Rpc__Status *status)
{
	for (size_t i = 0; i < status->n_details; i++) {
		const Google__Protobuf__Any *any = status->details[i];
		ProtobufCMessage *message;
		const Google__Rpc__ErrorInfo *info;

		if (strcmp(any->type_url, TYPE_URL) != 0 ||
		    arena_unpack(arena, &google__rpc__error_info__descriptor, any->value.data,
				 any->value.len, &message, NULL) < 0)
			continue;
		info = (const Google__Rpc__ErrorInfo *)message;
		if (strcmp(info->domain, RPC_STATUS_DOMAIN) == 0)
			return info;
	}
	return NULL;
}

int rpc_status_to_error(int code, const char *message, const uint8_t *details, size_t n_details,
			struct error *err)
{
	_cleanup_(arena_freep) struct arena *arena = arena_new(DECODE_ARENA_BYTES);
	enum error_code error_code = code_of_status(code);
	const Google__Rpc__ErrorInfo *info = NULL;
	ProtobufCMessage *status = NULL;
	int r;

	if (arena != NULL && n_details > 0 &&
	    arena_unpack(arena, &google__rpc__status__descriptor, details, n_details, &status,
			 NULL) == 0) {
		info = info_find(arena, (const Google__Rpc__Status *)status);
		if (info != NULL)
			message = ((const Google__Rpc__Status *)status)->message;
	}
	if (info != NULL && error_code_from_reason(info->reason) != ERROR_NONE)
		error_code = error_code_from_reason(info->reason);
	r = error_raise(err, error_code, "%s",
			message != NULL && message[0] != '\0' ? message : error_status_name(code));
	if (err == NULL || info == NULL)
		return r;
	metadata_take(info, err);
	if (error_code_from_reason(info->reason) == ERROR_NONE)
		error_detail(err, "reason", "%s", info->reason);
	return r;
}
