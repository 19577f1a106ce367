// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program for each kind of hook that a network namespace has: each counts its runs. */
#include <linux/bpf.h>
#include <linux/netfilter.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

enum hook {
	xdp,
	tc,
	sk_lookup,
	netfilter,
	flow_dissector,
	n_hooks,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, n_hooks);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static void count(enum hook hook)
{
	__u32 key = hook;
	__u64 *value = bpf_map_lookup_elem(&runs, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
	count(xdp);
	return XDP_PASS;
}

SEC("tc")
int on_tc(struct __sk_buff *skb)
{
	count(tc);
	return TCX_NEXT;
}

/* Its manifest says nothing of other namespaces. */
SEC("tc")
int on_tc_here(struct __sk_buff *skb)
{
	return TCX_NEXT;
}

SEC("sk_lookup")
int on_sk_lookup(struct bpf_sk_lookup *ctx)
{
	count(sk_lookup);
	return SK_PASS;
}

SEC("netfilter")
int on_netfilter(void *ctx)
{
	count(netfilter);
	return NF_ACCEPT;
}

SEC("flow_dissector")
int on_flow_dissector(struct __sk_buff *skb)
{
	count(flow_dissector);
	return BPF_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
