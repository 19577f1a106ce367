// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Packets have fewer bits: no value of the versions before fits for sure. */
#include <linux/types.h>

struct flow {
	__u32 packets;
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
