/* Enum values of the messages for people: LINK_STATE_TARGET_GONE is "target gone". */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "client/sheet.h"

/* Lower case, without the prefix all values share; "?" for one of a newer version. Static storage,
 * of the calling thread, good until 8 calls later. */
const char *enum_text(const ProtobufCEnumDescriptor *descriptor, int value);

/* The colours of instance and link states. */
enum sheet_colour enum_instance_colour(int state);
enum sheet_colour enum_link_colour(int state);
