#include "bundle/build/diff.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

/*
 * Walks two manifests by their descriptors, so that a field added to bundle.proto is compared
 * without a line here. Lists of named messages are matched by name or path, other lists are sets of
 * texts.
 */

struct walk {
	struct bundle_diff *diff;
	bool failed;
};

static char *take(struct walk *walk, struct str *text)
{
	char *taken = str_take(text);

	walk->failed = walk->failed || taken == NULL;
	return taken;
}

static void add(struct walk *walk, enum bundle_change change, const char *object, const char *field,
		struct str *before, struct str *after)
{
	struct bundle_difference *items, *item;
	struct str object_text = { 0 }, field_text = { 0 };

	items = reallocarray(walk->diff->differences, walk->diff->n_differences + 1,
			     sizeof(*items));
	if (items == NULL) {
		walk->failed = true;
		str_done(before);
		str_done(after);
		return;
	}
	walk->diff->differences = items;
	item = &items[walk->diff->n_differences++];
	(void)str_append(&object_text, object);
	(void)str_append(&field_text, field);
	item->change = change;
	item->object = take(walk, &object_text);
	item->field = take(walk, &field_text);
	item->before = take(walk, before);
	item->after = take(walk, after);
}

/* The list or the member at a field of a message. */
static const void *field_at(const ProtobufCMessage *message, unsigned int offset)
{
	return (const uint8_t *)message + offset;
}

static size_t list_length(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	size_t n;

	memcpy(&n, field_at(message, field->quantifier_offset), sizeof(n));
	return n;
}

static void *list_item(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
		       size_t i)
{
	void *const *list;

	memcpy(&list, field_at(message, field->offset), sizeof(list));
	return list[i];
}

static void show_message(struct str *out, const ProtobufCMessage *message);

static void show_enum(struct str *out, const ProtobufCFieldDescriptor *field, int value)
{
	const ProtobufCEnumValue *row =
		protobuf_c_enum_descriptor_get_value(field->descriptor, value);

	if (row != NULL)
		(void)str_append(out, row->name);
	else
		(void)str_appendf(out, "%d", value);
}

/* Strings, numbers, bytes, enums and messages that are no list. */
static void show_value(struct str *out, const ProtobufCMessage *message,
		       const ProtobufCFieldDescriptor *field)
{
	const void *at = field_at(message, field->offset);

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		(void)str_append_escaped(out, *(char *const *)at, SIZE_MAX);
		return;
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *data = at;

		for (size_t i = 0; i < data->len; i++)
			(void)str_appendf(out, "%02x", data->data[i]);
		return;
	}
	case PROTOBUF_C_TYPE_BOOL:
		(void)str_append(out, *(const protobuf_c_boolean *)at ? "true" : "false");
		return;
	case PROTOBUF_C_TYPE_ENUM:
		show_enum(out, field, *(const int *)at);
		return;
	case PROTOBUF_C_TYPE_UINT64:
		(void)str_appendf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
		return;
	case PROTOBUF_C_TYPE_UINT32:
		(void)str_appendf(out, "%u", *(const uint32_t *)at);
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(ProtobufCMessage *const *)at != NULL)
			show_message(out, *(ProtobufCMessage *const *)at);
		return;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
	default:
		/* No field of bundle.proto has such a type; test-diff looks. */
		(void)str_append(out, "?");
	}
}

static bool is_named(const ProtobufCMessageDescriptor *descriptor)
{
	return protobuf_c_message_descriptor_get_field_by_name(descriptor, "name") != NULL ||
	       protobuf_c_message_descriptor_get_field_by_name(descriptor, "path") != NULL;
}

static const char *name_of(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(message->descriptor, "name");

	if (field == NULL)
		field = protobuf_c_message_descriptor_get_field_by_name(message->descriptor,
									"path");
	return *(char *const *)field_at(message, field->offset);
}

/* "1.2.3" for a version, "record_type=x, drop_counter=y" for others. */
static void show_list(struct str *out, const ProtobufCMessage *message,
		      const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; i < list_length(message, field); i++) {
		(void)str_append(out, i == 0 ? "[" : "; ");
		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			show_message(out, list_item(message, field, i));
		else
			(void)str_append_escaped(out, list_item(message, field, i), SIZE_MAX);
	}
	(void)str_append(out, list_length(message, field) > 0 ? "]" : "");
}

static void show_message(struct str *out, const ProtobufCMessage *message)
{
	bool is_version = message->descriptor == &bpfleet__v1__version__descriptor;

	for (unsigned int i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (i > 0)
			(void)str_append(out, is_version ? "." : ", ");
		if (!is_version)
			(void)str_appendf(out, "%s=", field->name);
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			show_list(out, message, field);
		else
			show_value(out, message, field);
	}
}

static const ProtobufCMessage *find(const ProtobufCMessage *message,
				    const ProtobufCFieldDescriptor *field, const char *name)
{
	for (size_t i = 0; i < list_length(message, field); i++) {
		const ProtobufCMessage *item = list_item(message, field, i);

		if (strcmp(name_of(item), name) == 0)
			return item;
	}
	return NULL;
}

static bool has_text(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
		     const char *text)
{
	for (size_t i = 0; i < list_length(message, field); i++) {
		if (strcmp(list_item(message, field, i), text) == 0)
			return true;
	}
	return false;
}

static void add_text(struct walk *walk, enum bundle_change change, const char *object,
		     const char *field, const char *text)
{
	struct str before = { 0 }, after = { 0 };

	(void)str_append_escaped(change == BUNDLE_CHANGE_ADDED ? &after : &before, text, SIZE_MAX);
	add(walk, change, object, field, &before, &after);
}

static void compare_texts(struct walk *walk, const char *object, const ProtobufCMessage *a,
			  const ProtobufCMessage *b, const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; i < list_length(a, field); i++) {
		const char *text = list_item(a, field, i);

		if (!has_text(b, field, text))
			add_text(walk, BUNDLE_CHANGE_REMOVED, object, field->name, text);
	}
	for (size_t i = 0; i < list_length(b, field); i++) {
		const char *text = list_item(b, field, i);

		if (!has_text(a, field, text))
			add_text(walk, BUNDLE_CHANGE_ADDED, object, field->name, text);
	}
}

static void compare_values(struct walk *walk, const char *object, const ProtobufCMessage *a,
			   const ProtobufCMessage *b, const ProtobufCFieldDescriptor *field)
{
	struct str before = { 0 }, after = { 0 };

	show_value(&before, a, field);
	show_value(&after, b, field);
	if (before.failed || after.failed) {
		walk->failed = true;
	} else if (strcmp(before.len > 0 ? before.data : "", after.len > 0 ? after.data : "") !=
		   0) {
		add(walk, BUNDLE_CHANGE_CHANGED, object, field->name, &before, &after);
		return;
	}
	str_done(&before);
	str_done(&after);
}

static void compare_messages(struct walk *walk, const char *object, const ProtobufCMessage *a,
			     const ProtobufCMessage *b);

/* "program count_xdp" below the bundle, "map flows: display value.addr" below a map. */
static char *item_label(struct walk *walk, const char *object,
			const ProtobufCFieldDescriptor *field, const char *name)
{
	size_t n = strlen(field->name);
	struct str label = { 0 };

	if (strcmp(object, "bundle") != 0)
		(void)str_appendf(&label, "%s: ", object);
	if (n > 1 && field->name[n - 1] == 's')
		n--;
	(void)str_append_bytes(&label, field->name, n);
	(void)str_append(&label, " ");
	(void)str_append_escaped(&label, name, SIZE_MAX);
	return take(walk, &label);
}

static void add_item(struct walk *walk, enum bundle_change change, const char *object,
		     const ProtobufCFieldDescriptor *field, const ProtobufCMessage *item)
{
	_cleanup_free_ char *label = item_label(walk, object, field, name_of(item));

	if (label != NULL)
		add_text(walk, change, label, "", "");
}

static void compare_lists(struct walk *walk, const char *object, const ProtobufCMessage *a,
			  const ProtobufCMessage *b, const ProtobufCFieldDescriptor *field)
{
	for (size_t i = 0; i < list_length(a, field); i++) {
		const ProtobufCMessage *item = list_item(a, field, i);

		if (find(b, field, name_of(item)) == NULL)
			add_item(walk, BUNDLE_CHANGE_REMOVED, object, field, item);
	}
	for (size_t i = 0; i < list_length(b, field); i++) {
		const ProtobufCMessage *item = list_item(b, field, i);
		const ProtobufCMessage *before = find(a, field, name_of(item));
		_cleanup_free_ char *label = NULL;

		if (before == NULL) {
			add_item(walk, BUNDLE_CHANGE_ADDED, object, field, item);
			continue;
		}
		label = item_label(walk, object, field, name_of(item));
		if (label != NULL)
			compare_messages(walk, label, before, item);
	}
}

static void compare_messages(struct walk *walk, const char *object, const ProtobufCMessage *a,
			     const ProtobufCMessage *b)
{
	for (unsigned int i = 0; i < a->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &a->descriptor->fields[i];

		if (field->label != PROTOBUF_C_LABEL_REPEATED)
			compare_values(walk, object, a, b, field);
		else if (field->type == PROTOBUF_C_TYPE_STRING)
			compare_texts(walk, object, a, b, field);
		else if (is_named(field->descriptor))
			compare_lists(walk, object, a, b, field);
	}
}

int bundle_diff_new(const Bpfleet__V1__Manifest *a, const Bpfleet__V1__Manifest *b,
		    struct bundle_diff **ret, struct error *err)
{
	_cleanup_(bundle_diff_freep) struct bundle_diff *diff = calloc(1, sizeof(*diff));
	struct walk walk = { .diff = diff };

	if (diff != NULL)
		compare_messages(&walk, "bundle", &a->base, &b->base);
	if (diff == NULL || walk.failed)
		return error_raise(err, ERROR_OUT_OF_MEMORY, "no memory to compare bundles");
	*ret = TAKE_PTR(diff);
	return 0;
}

void bundle_diff_free(struct bundle_diff *diff)
{
	if (diff == NULL)
		return;
	for (size_t i = 0; i < diff->n_differences; i++) {
		free(diff->differences[i].object);
		free(diff->differences[i].field);
		free(diff->differences[i].before);
		free(diff->differences[i].after);
	}
	free(diff->differences);
	free(diff);
}

char *bundle_difference_text(const struct bundle_difference *difference)
{
	static const char signs[] = { [BUNDLE_CHANGE_ADDED] = '+',
				      [BUNDLE_CHANGE_REMOVED] = '-',
				      [BUNDLE_CHANGE_CHANGED] = '~' };
	struct str text = { 0 };

	(void)str_appendf(&text, "%c %s", signs[difference->change], difference->object);
	if (difference->field[0] != '\0')
		(void)str_appendf(&text, ": %s", difference->field);
	if (difference->change == BUNDLE_CHANGE_CHANGED)
		(void)str_appendf(&text, ": %s -> %s",
				  difference->before[0] != '\0' ? difference->before : "(none)",
				  difference->after[0] != '\0' ? difference->after : "(none)");
	else if (difference->field[0] != '\0')
		(void)str_appendf(&text, ": %s%s", difference->before, difference->after);
	return str_take(&text);
}
