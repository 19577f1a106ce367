// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What every program of the hook matrix begins with: a counter, and who is watched. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* The actor of the matrix; written by it at load. */
const volatile __u32 watched_pid = 0;

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&counts, &zero);

	if (value != 0)
		__sync_fetch_and_add(value, 1);
}

static __always_inline int is_watched_task(void)
{
	return bpf_get_current_pid_tgid() >> 32 == watched_pid;
}

/* A datagram of place_send(): UDP over IPv4 without options, from an IP header on. */
static __always_inline int is_watched_packet(void *ip, void *end)
{
	unsigned char *p = ip;

	if (p + 28 > (unsigned char *)end)
		return 0;
	return p[0] == 0x45 && p[9] == 17 && (p[22] << 8 | p[23]) == 7777;
}

/* Loads everywhere: the first of a fallback group, so that the group's others are left alone. */
SEC("xdp")
int spare(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
