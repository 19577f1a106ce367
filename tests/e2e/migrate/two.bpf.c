// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Values grew, lost and reordered members. */
#include <linux/types.h>

struct flow {
	__u64 last_seen;
	__u32 added[3];
	__u32 flags;
	__u64 bytes;
	__u64 first_seen;
	__u64 packets;
};

struct setting {
	char name[8];
	__u64 added;
	__u32 limit;
};

/* Before `total`, so that it moves within the section. */
__u64 restarts;

#include "flows.bpf.h"

SEC("raw_tp/sched_process_exec")
int on_exec(void *ctx)
{
	__sync_fetch_and_add(&restarts, 1);
	return 0;
}
