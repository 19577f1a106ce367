// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#include <linux/types.h>

struct flow {
	__u64 packets;
	__u64 bytes;
	__u64 lost;
	__u64 last_seen;
};

struct setting {
	__u32 limit;
	__u32 gone;
	char name[8];
};

#include "flows.bpf.h"
