// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A map with room for a million flows, which the bench fills. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct flow {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__type(key, __u64);
	__type(value, struct flow);
} flows SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u64 key = 0;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);

	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
