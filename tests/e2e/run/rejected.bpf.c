// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For tests/e2e/run.sh: what the verifier refuses. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

volatile __u32 wanted = 3;
__u32 turns;

/* Reads a packet without looking where it ends. */
SEC("xdp")
int blind(struct xdp_md *ctx)
{
	return *(volatile int *)(long)ctx->data & XDP_PASS;
}

SEC("xdp")
int endless(struct xdp_md *ctx)
{
	while (wanted == 3) __sync_fetch_and_add(&turns, 1);
	return XDP_PASS;
}

SEC("xdp")
int unchecked(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);

	__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
