#include "client/enums.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bpfleet/v1/node.pb-c.h"

#define BUFFERS 8
#define BUFFER_BYTES 64

/* How much all names of the enum share, up to an underscore: "LINK_STATE_". */
static size_t shared_prefix(const ProtobufCEnumDescriptor *descriptor)
{
	const char *first = descriptor->values[0].name;
	size_t n = strlen(first);

	for (unsigned int i = 1; i < descriptor->n_values; i++) {
		size_t same = 0;

		while (same < n && descriptor->values[i].name[same] == first[same])
			same++;
		n = same;
	}
	while (n > 0 && first[n - 1] != '_')
		n--;
	return n;
}

const char *enum_text(const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *found = protobuf_c_enum_descriptor_get_value(descriptor, value);
	static __thread char buffers[BUFFERS][BUFFER_BYTES];
	static __thread unsigned int next;
	char *out;

	if (found == NULL)
		return "?";
	out = buffers[next++ % BUFFERS];
	(void)snprintf(out, BUFFER_BYTES, "%s", found->name + shared_prefix(descriptor));
	for (char *c = out; *c != '\0'; c++) {
		if (*c == '_')
			*c = ' ';
		else
			*c = (char)tolower((unsigned char)*c);
	}
	return out;
}

struct coloured {
	int value;
	enum sheet_colour colour;
};

static const struct coloured instance_colours[] = {
	{ BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_ATTACHED, SHEET_GOOD },
	{ BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_DEGRADED, SHEET_DOUBTFUL },
	{ BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_FAILED, SHEET_BAD },
	{ BPFLEET__V1__INSTANCE_STATE__INSTANCE_STATE_QUARANTINED, SHEET_BAD },
};
static const struct coloured link_colours[] = {
	{ BPFLEET__V1__LINK_STATE__LINK_STATE_ATTACHED, SHEET_GOOD },
	{ BPFLEET__V1__LINK_STATE__LINK_STATE_PENDING_TARGET, SHEET_DOUBTFUL },
	{ BPFLEET__V1__LINK_STATE__LINK_STATE_TARGET_GONE, SHEET_DOUBTFUL },
	{ BPFLEET__V1__LINK_STATE__LINK_STATE_DRIFTED, SHEET_BAD },
};

static enum sheet_colour find_colour(const struct coloured *rows, size_t n, int value)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].value == value)
			return rows[i].colour;
	}
	return SHEET_PLAIN;
}

enum sheet_colour enum_instance_colour(int state)
{
	return find_colour(instance_colours, ARRAY_SIZE(instance_colours), state);
}

enum sheet_colour enum_link_colour(int state)
{
	return find_colour(link_colours, ARRAY_SIZE(link_colours), state);
}
