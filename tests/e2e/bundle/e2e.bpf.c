// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A program for every kind of hook that needs no target of its own: each counts its runs, times the
 * parameter `step`, and lets everything pass. `settings` is a durable map with a writer.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

enum hook {
	xdp,
	tc,
	cgroup,
	tracepoint,
	raw_tp,
	tp_btf,
	n_hooks,
};

/* What one run counts for, unless entry 0 of `settings` says otherwise. */
const volatile __u32 step = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, n_hooks);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} settings SEC(".maps");

static void count(enum hook hook)
{
	__u32 key = hook, zero = 0;
	__u64 *value = bpf_map_lookup_elem(&runs, &key);
	__u64 *set = bpf_map_lookup_elem(&settings, &zero);

	if (value)
		__sync_fetch_and_add(value, set ? *set : step);
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

SEC("cgroup/skb")
int on_cgroup(struct __sk_buff *skb)
{
	count(cgroup);
	return 1;
}

SEC("tracepoint/sched/sched_process_exec")
int on_tracepoint(void *ctx)
{
	count(tracepoint);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int on_raw_tp(void *ctx)
{
	count(raw_tp);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int on_tp_btf(void *ctx)
{
	count(tp_btf);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
